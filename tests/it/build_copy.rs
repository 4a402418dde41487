//! COPY by behaviours that other builders show; what they leave is compared by the goldens as well.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::support::{TestEnv, Tree};

/// Paths with their rights, below a directory.
fn rights(tree: &Tree, below: &str) -> Vec<String> {
    tree.iter().filter(|(path, _)| path.starts_with(below)).map(|(path, entry)| format!("{path} {}", entry.rights())).collect()
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.keys().map(String::as_str).collect()
}

// scenarios 34, 35, 36, 52
#[test]
fn destinations_are_relative_to_the_working_directory() {
    let env = TestEnv::new();
    env.file("f", "f");
    let image = env
        .build(
            "FROM scratch\nENV empty=\"\"\nWORKDIR /w\nCOPY f $empty\nCOPY f s/\nCOPY --link f l/\nCOPY --link f .\nWORKDIR x\nCOPY f ./bar/baz\n\
             COPY f ../up\nCOPY f ..\n",
        )
        .succeed();
    assert_eq!(paths(&image.tree_above(0)), ["w", "w/f", "w/l", "w/l/f", "w/s", "w/s/f", "w/up", "w/x", "w/x/bar", "w/x/bar/baz"]);
}

// scenarios 37, 41
#[test]
fn existing_directories_keep_their_owners() {
    let env = TestEnv::new();
    env.file("dir/f", "f");
    let tree = env
        .build(
            "FROM {registry}/base/busybox:latest AS base\nRUN mkdir -m 700 /there && chown 9:9 /there\nFROM base\nARG owner=daemon group=65534\n\
             COPY --chown=$owner:$group dir /there\nCOPY --chown=${owner}:${group} dir /new/er\nCOPY --from=base /there /kept\nCOPY dir /plain\n",
        )
        .succeed()
        .tree_above(1);
    assert_eq!(rights(&tree, "there"), ["there 0700 9:9", "there/f 0644 1:65534"]);
    assert_eq!(rights(&tree, "new"), ["new 0755 1:65534", "new/er 0755 1:65534", "new/er/f 0644 1:65534"]);
    assert_eq!(rights(&tree, "plain"), ["plain 0755 0:0", "plain/f 0644 0:0"]);
}

// An account that is not there is a mistake; BuildKit takes 0 for it.
#[test]
fn unknown_owners_are_refused() {
    let env = TestEnv::new();
    env.file("f", "f");
    let error = env.build("FROM {registry}/base/busybox:latest\nCOPY --chown=nosuch f /\n").fail(1);
    assert!(error.contains("unknown user \"nosuch\""), "{error}");
    let tree = env.build("FROM scratch\nCOPY --chown=: f /\n").succeed().tree_above(0);
    assert_eq!(rights(&tree, "f"), ["f 0644 0:0"]);
}

// scenarios 38, 39, 61, 63; the first three with a cache in cache_keys
#[test]
fn the_layer_follows_what_is_copied() {
    let env = TestEnv::new();
    let built = || env.build("FROM scratch\nCOPY file* /files/\n").succeed().diff_ids().join(" ");
    let age = |name: &str| {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let file = fs::File::open(env.path("context").join(name)).expect("it is there");
        file.set_modified(time).expect("it is ours");
    };
    env.file("file1", "one");
    age("file1");
    let first = built();
    env.file("other", "later");
    assert_eq!(built(), first, "what is not copied changes nothing");
    env.file("file1", "two");
    age("file1");
    let second = built();
    assert_ne!(second, first, "size and time are the same, the content is not");
    fs::rename(env.path("context/file1"), env.path("context/file2")).expect("it can be renamed");
    let renamed = built();
    assert_ne!(renamed, second);
    fs::remove_file(env.path("context/file2")).expect("it can be removed");
    env.file("file2/inner", "a directory now");
    assert_ne!(built(), renamed);
}

// scenarios 40, 51, 53
#[test]
fn patterns_match_names_and_may_match_nothing() {
    let env = TestEnv::new();
    for name in ["foo", "a.go", "foo.go", "foo2.go", "sub/dir1/dir2/foo", "sub/dir1/bar", "日本語.txt", "a%+b"] {
        env.file(name, name);
    }
    let tree = env
        .build(
            "FROM scratch\nCOPY foo nomatch* /m/\nCOPY *.go /go/\nCOPY f*.go foo2.go /f/\nCOPY sub/* /s1/\nCOPY sub/*/dir2/foo /s2/\n\
             COPY sub/dir1/. /s3\nCOPY sub/dir1 /s4\nCOPY 日本語.txt a%+b /u/\nCOPY nothing* /\n",
        )
        .succeed()
        .tree_above(0);
    for path in
        ["m/foo", "go/a.go", "go/foo2.go", "f/foo.go", "s1/dir2/foo", "s1/bar", "s2/foo", "s3/dir2/foo", "s4/bar", "u/日本語.txt", "u/a%+b"]
    {
        assert!(tree.contains_key(path), "{path} of {:?}", paths(&tree));
    }
    assert_eq!(tree.keys().filter(|path| path.starts_with("m/")).count(), 1);
}

// scenarios 42, 44, 45
#[test]
fn named_links_are_followed_and_others_are_copied() {
    let env = TestEnv::new();
    env.file("real/bar", "bar");
    env.file("target", "t");
    fs::create_dir_all(env.path("context/sub")).expect("the folder can be made");
    for (to, at) in [("real", "link"), ("../target", "sub/l1"), ("l1", "sub/l2")] {
        symlink(to, env.path("context").join(at)).expect("the link can be made");
    }
    let tree = env
        .build(
            "FROM scratch AS a\nCOPY link/bar /x/bar\nCOPY sub /kept\nCOPY sub/l1 /one\nCOPY sub/l* /all/\nFROM scratch\nCOPY --from=a / /\n\
             COPY --from=a /kept/l2 /dangling-is-not-copied*\n",
        )
        .fail(1);
    assert!(tree.contains("/kept/l2"), "{tree}");
    let tree =
        env.build("FROM scratch\nCOPY link/bar /x/bar\nCOPY sub /kept\nCOPY sub/l1 /one\nCOPY sub/l* /all/\n").succeed().tree_above(0);
    assert_eq!([tree["x/bar"].text(), tree["one"].text(), tree["all/l1"].text(), tree["all/l2"].text()], ["bar", "t", "t", "t"]);
    assert_eq!([tree["kept/l1"].link.as_str(), tree["kept/l2"].link.as_str()], ["../target", "l1"]);
}

// scenarios 46, 47
#[test]
fn modes() {
    let env = TestEnv::new();
    env.file("f", "f");
    let dockerfile = "FROM scratch\nARG mode=755\nCOPY --chmod=0644 f /a\nCOPY --chmod=777 f /b\nCOPY --chmod=0 f /c\nCOPY --chmod=${mode} f /d\n\
                      COPY --chmod=711 f /new/f\nCOPY --chmod=600 f /new/g\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    let modes: Vec<String> = ["a", "b", "c", "d", "new", "new/f", "new/g"].map(|path| tree[path].rights()).to_vec();
    assert_eq!(modes, ["0644 0:0", "0777 0:0", "0000 0:0", "0755 0:0", "0711 0:0", "0711 0:0", "0600 0:0"]);
    for (instruction, mode) in [("COPY", "64a"), ("COPY", "10000"), ("ADD", "64a")] {
        let error = env.build(&format!("FROM scratch\n{instruction} --chmod={mode} f /\n")).fail(1);
        let expected = format!("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777");
        assert!(error.contains(&expected), "{error}");
    }
}

// scenario 48
#[test]
fn symbolic_modes_are_those_of_chmod() {
    let env = TestEnv::new();
    let file = env.file("d/f", "f");
    for expression in ["go-w", "u=rw,g=r,o=r", "a+X", "u+rw,g+r,o-x,o+w"] {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let tree = env.build(&format!("FROM scratch\nCOPY --chmod={expression} d /x\n")).succeed().tree_above(0);
        crate::support::run(std::process::Command::new("chmod").arg(expression).arg(&file));
        let mode = fs::metadata(&file).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(tree["x/f"].rights(), format!("{mode:04o} 0:0"), "{expression}");
    }
}

// scenarios 49, 50, 62
#[test]
fn copies_lie_over_each_other() {
    let env = TestEnv::new();
    env.file("dir/f", "1");
    env.file("f", "2");
    let tree = env
        .build("FROM scratch AS base\nWORKDIR /elsewhere\nCOPY f /Dockerfile\nFROM base\nENV FOO=f\nCOPY dir /d/\nCOPY dir /d/\nCOPY $FOO /d/\nCOPY --from=base Dockerfile .\n")
        .succeed()
        .tree_above(0);
    assert_eq!([tree["d/f"].text(), tree["elsewhere/Dockerfile"].text()], ["2", "2"]);
    let error = env.build("FROM scratch AS a\nFROM scratch\nARG S=a\nCOPY --from=$S / /\n").fail(1);
    assert!(error.contains("variable expansion is not supported for --from"), "{error}");
}

// scenarios 57, 58
#[test]
fn parents_are_kept_from_the_pivot_on() {
    let env = TestEnv::new();
    for name in ["a/b/c.txt", "a/b/d.md", "x/y/z.txt"] {
        env.file(name, name);
    }
    let tree = env
        .build("FROM scratch\nCOPY --parents a/b/c.txt x/y/z.txt /1/\nCOPY --parents a/./b/c.txt /2/\nCOPY --parents ./**/*.txt /3/\nCOPY --parents no*/x /4/\n")
        .succeed()
        .tree_above(0);
    for path in ["1/a/b/c.txt", "1/x/y/z.txt", "2/b/c.txt", "3/a/b/c.txt", "3/x/y/z.txt"] {
        assert!(tree.contains_key(path), "{path} of {:?}", paths(&tree));
    }
    assert!(!tree.contains_key("3/a/b/d.md"));
    assert!(env.build("FROM scratch\nCOPY --parents no/such /\n").fail(1).contains("no/such"));
}

// scenario 59
#[test]
fn what_is_excluded_stays_out() {
    let env = TestEnv::new();
    for name in ["dir/a.png", "dir/sub/b.png", "dir/c.mp3", "dir/keep.mp3"] {
        env.file(name, name);
    }
    let tree = env
        .build("FROM scratch\nCOPY --exclude=*/*.png . /1\nCOPY --exclude=*.mp3 --exclude=!keep.mp3 dir/ /2/\nCOPY --exclude=* dir /3\n")
        .succeed()
        .tree_above(0);
    let present = ["1/dir/a.png", "1/dir/sub/b.png", "2/c.mp3", "2/keep.mp3", "2/a.png", "3"].map(|path| tree.contains_key(path));
    assert_eq!(present, [false, true, false, true, true, true]);
    assert!(!tree.keys().any(|path| path.starts_with("3/")));
}

// scenario 43, 60
#[test]
fn links_at_the_destination_are_followed_unless_the_layer_is_independent() {
    let env = TestEnv::new();
    env.file("foo", "foo");
    fs::create_dir_all(env.path("context/links")).expect("the folder can be made");
    symlink("../tmp/x", env.path("context/links/symlink")).expect("the link can be made");
    drop(std::os::unix::net::UnixListener::bind(env.path("context/sock")).expect("a socket"));
    let followed = env.build("FROM scratch\nCOPY links /\nCOPY foo /symlink/\nCOPY sock /sock\n").succeed().tree_above(0);
    assert_eq!(followed["tmp/x/foo"].text(), "foo");
    assert_eq!(followed["sock"].text(), "");
    let replaced = env.build("FROM scratch\nCOPY links /\nCOPY --link foo /symlink/\n").succeed().tree_above(0);
    assert_eq!(replaced["symlink/foo"].text(), "foo");
}
