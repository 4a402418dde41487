//! COPY, scenario by scenario: owners, modes, links and places, as BuildKit's own tests expect them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::image::{files, files_below};
use crate::support::{Kind, TestEnv, run};

// scenarios 34 and 35
#[test]
fn an_empty_destination_is_the_working_directory_and_a_slash_makes_a_directory() {
    let env = TestEnv::new();
    env.files(&["a"]);
    let dockerfile = "FROM scratch\nWORKDIR /work\nENV empty=\"\"\nCOPY a $empty\nCOPY a /slash/\nCOPY a /plain\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    assert_eq!(files(&tree), ["plain", "slash/a", "work/a"]);
    assert_eq!(tree["slash"].rights(), "0755 0:0");
}

// scenario 36
#[test]
fn a_linked_copy_starts_at_the_working_directory() {
    let env = TestEnv::new();
    env.files(&["a", "b", "c", "d/e"]);
    let dockerfile = "FROM scratch\nWORKDIR /app/deep\nENV empty=\"\"\nCOPY --link a .\nCOPY --link b $empty\nCOPY --link c ./sub/\n\
        COPY --link --chown=3:4 a other\nCOPY --link d .\nCOPY --link c ../up\n";
    let image = env.build(dockerfile).succeed();
    let tree = image.tree_above(0);
    assert_eq!(files(&tree), ["app/deep/a", "app/deep/b", "app/deep/e", "app/deep/other", "app/deep/sub/c", "app/up"]);
    assert_eq!(tree["app/deep/other"].rights(), "0644 3:4");
    assert_eq!(image.layers(), 7, "each copy is a layer");
    assert_eq!(files(&image.layer(2)), ["app/deep/b"], "which holds its own files alone");
}

// scenario 37
#[test]
fn a_copy_leaves_the_destination_to_its_owner_and_brings_owners_below_it() {
    let env = TestEnv::new();
    let dockerfile = r"
FROM {registry}/base/busybox:latest AS made
RUN mkdir -p /out/dir && echo x > /out/dir/file && echo y > /out/top && chown -R 1000:1001 /out && chmod 0750 /out /out/dir
FROM {registry}/base/busybox:latest
RUN mkdir -p /kept /flag/dir && chown -R 5:6 /kept /flag && chmod 0700 /kept /flag
COPY --from=made /out /kept
COPY --from=made --chown=7:8 /out/ /flag/
COPY --from=made /out /new
COPY --from=made --chown=7:8 /out /new-flag
";
    let tree = env.build(dockerfile).succeed().tree_above(1);
    for (path, rights) in [
        ("kept", "0700 5:6"),
        ("kept/dir", "0750 1000:1001"),
        ("kept/dir/file", "0644 1000:1001"),
        ("flag", "0700 5:6"),
        ("flag/dir", "0750 7:8"),
        ("flag/dir/file", "0644 7:8"),
        ("new", "0755 0:0"),
        ("new/dir", "0750 1000:1001"),
        ("new/top", "0644 1000:1001"),
        ("new-flag", "0755 7:8"),
        ("new-flag/dir", "0750 7:8"),
        ("new-flag/top", "0644 7:8"),
    ] {
        assert_eq!(tree[path].rights(), rights, "{path}");
    }
}

// scenario 41
#[test]
fn the_owner_of_a_copy_is_the_owner_of_the_directories_made_for_it() {
    let env = TestEnv::new();
    env.files(&["one", "dir/two"]);
    let dockerfile = r"
FROM {registry}/base/busybox:latest
ARG owner=1000
ARG group=1001
COPY --chown=${owner}:${group} . /dest01
COPY --chown=daemon . /dest02/new/
COPY --chown=daemon:nobody one /dest03
COPY --chown=7 one /dest04/
COPY one /dest05/
";
    let tree = env.build(dockerfile).args(["--build-arg", "group=1002"]).succeed().tree_above(1);
    for (path, rights) in [
        ("dest01", "0755 1000:1002"),
        ("dest01/dir", "0755 1000:1002"),
        ("dest01/dir/two", "0644 1000:1002"),
        ("dest02", "0755 1:1"),
        ("dest02/new", "0755 1:1"),
        ("dest02/new/one", "0644 1:1"),
        ("dest03", "0644 1:65534"),
        ("dest04", "0755 7:7"),
        ("dest04/one", "0644 7:7"),
        ("dest05/one", "0644 0:0"),
    ] {
        assert_eq!(tree[path].rights(), rights, "{path}");
    }
}

// scenario 42
#[test]
fn links_on_the_way_to_a_source_are_followed_in_the_context_and_in_a_stage() {
    let env = TestEnv::new();
    env.files(&["real/sub/file", "root/out/sub/foo"]);
    env.link("real", "link");
    env.link("sub", "real/again");
    env.link("/real", "absolute");
    env.link("/out/sub", "root/sub");
    env.link("out/sub", "root/sub2");
    env.link("foo", "root/out/sub/name");
    let dockerfile = r"
FROM scratch AS build
COPY root /
FROM scratch
COPY link/sub/file /context/1
COPY link/again/file /context/2
COPY absolute/sub/file /context/3
COPY link /context/4
COPY --from=build /sub/foo /stage/1
COPY --from=build /sub2/foo /stage/2
COPY --from=build /sub /stage/3
COPY --from=build /sub2/name /stage/4
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for path in ["context/1", "context/2", "context/3", "context/4/sub/file"] {
        assert_eq!(tree[path].text(), "real/sub/file", "{path}");
    }
    assert_eq!(tree["context/4/again"].link, "sub", "a link in a directory is copied as one");
    for path in ["stage/1", "stage/2", "stage/3/foo", "stage/4"] {
        assert_eq!(tree[path].text(), "root/out/sub/foo", "{path}");
    }
    assert_eq!(tree["stage/3/name"].link, "foo");
}

// scenario 43
#[test]
fn a_socket_becomes_an_empty_file() {
    let env = TestEnv::new();
    env.files(&["a"]);
    let socket = env.path("context/sock");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o755)).expect("a mode");
    let tree = env.build("FROM scratch\nCOPY . /d/\nCOPY sock /alone\n").succeed().tree_above(0);
    for path in ["d/sock", "alone"] {
        assert_eq!((tree[path].kind, tree[path].size), (Kind::File, 0), "{path}");
        assert_eq!(tree[path].rights(), "0755 0:0", "{path}");
    }
    assert_eq!(tree["d/a"].text(), "a");
}

// scenarios 44 and 45
#[test]
fn a_named_link_is_what_it_leads_to_and_one_in_a_directory_stays() {
    let env = TestEnv::new();
    env.files(&["bar", "sub/lfile"]);
    fs::create_dir(env.path("context/foo")).expect("a folder");
    env.link("../bar", "foo/sub");
    env.link("../bar", "sub/l1");
    env.link("l1", "sub/l2");
    env.link("/bar", "sub/l3");
    let tree = env.build("FROM scratch\nCOPY foo /\nCOPY foo/sub copied\nCOPY sub/l* alllinks/\n").succeed().tree_above(0);
    assert_eq!((tree["sub"].kind, tree["sub"].link.as_str()), (Kind::Symlink, "../bar"));
    assert_eq!(tree["copied"].text(), "bar");
    assert_eq!(files_below(&tree, "alllinks"), ["l1", "l2", "l3", "lfile"]);
    for name in ["l1", "l2", "l3"] {
        assert_eq!(tree[&format!("alllinks/{name}")].text(), "bar", "{name}");
    }
    assert_eq!(tree["alllinks/lfile"].text(), "sub/lfile");
}

// scenario 46
#[test]
fn a_mode_is_that_of_files_and_of_new_parents() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let dockerfile = r"
FROM scratch
ARG mode=0751
COPY --chmod=0644 foo /
COPY --chmod=777 foo /bar/baz
COPY --chmod=0 foo /zero
COPY --chmod=${mode} foo /arg
COPY --chmod=0700 foo /bar/new/foo
COPY --chmod=6755 foo /special
COPY --chmod=u=rw,go= foo /symbolic/foo
COPY foo /none/foo
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for (path, rights) in [
        ("foo", "0644 0:0"),
        ("bar", "0777 0:0"),
        ("bar/baz", "0777 0:0"),
        ("zero", "0000 0:0"),
        ("arg", "0751 0:0"),
        ("bar/new", "0700 0:0"),
        ("bar/new/foo", "0700 0:0"),
        ("special", "6755 0:0"),
        ("symbolic", "0755 0:0"),
        ("symbolic/foo", "0600 0:0"),
        ("none", "0755 0:0"),
        ("none/foo", "0644 0:0"),
    ] {
        assert_eq!(tree[path].rights(), rights, "{path}");
    }
}

// scenario 47
#[test]
fn a_mode_that_is_none_is_an_error_at_its_line() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    for instruction in ["COPY", "ADD"] {
        for mode in ["64a", "10000"] {
            let error = env.build(&format!("FROM scratch\n{instruction} --chmod={mode} foo /\n")).fail(1);
            let wanted = format!("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777");
            assert!(error.contains(&wanted), "{error}");
            assert!(error.contains(&format!("{instruction} --chmod={mode} foo /")), "the line is shown: {error}");
        }
    }
}

// scenario 48
#[test]
fn a_symbolic_mode_is_what_chmod_makes_of_it() {
    let env = TestEnv::new();
    let modes = [("file", 0o666), ("dir", 0o124), ("dir/program", 0o4711), ("other", 0o750)];
    env.files(&["t/file", "t/dir/program", "t/other/x"]);
    for (name, mode) in modes {
        fs::set_permissions(env.path("context/t").join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let expressions = ["go-w", "u=rw,g=r,o=r", "a+X", "u+rw,g+r,o-x,o+w", "u=rwX,go=rX", "g=u,o=", "u-s,g+s,a+t", "ug+w,o=g-x"];
    let mut dockerfile = "FROM scratch\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        dockerfile.push_str(&format!("COPY --chmod={expression} t /{number}/\n"));
    }
    let tree = env.build(&dockerfile).succeed().tree_above(0);
    for (number, expression) in expressions.iter().enumerate() {
        let copy = env.path(format!("chmod.{number}"));
        run(Command::new("cp").arg("-a").arg(env.path("context/t")).arg(&copy));
        // The inner ones first, and each by itself: chmod -R may shut itself out.
        for (name, _) in modes.iter().rev() {
            run(Command::new("chmod").arg("--").arg(expression).arg(copy.join(name)));
        }
        for (name, _) in modes {
            let wanted = fs::metadata(copy.join(name)).expect("a file").mode() & 0o7777;
            let path = format!("{number}/{name}");
            assert_eq!(format!("{:04o}", tree[&path].mode), format!("{wanted:04o}"), "{expression} of {name}");
        }
    }
}

// scenario 49
#[test]
fn files_take_the_place_of_files_and_directories_are_merged() {
    let env = TestEnv::new();
    env.files(&["sub/dir1/dir2/foo", "files/foo.go", "files/bar.go", "new/foo.go"]);
    let dockerfile = r"
FROM scratch
COPY sub sub
COPY sub sub
COPY files/foo.go dest/foo.go
COPY new/foo.go dest/foo.go
COPY files dest
COPY new dest
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    assert_eq!(files(&tree), ["dest/bar.go", "dest/foo.go", "sub/dir1/dir2/foo"]);
    assert_eq!(tree["dest/foo.go"].text(), "new/foo.go", "the last one counts");
}

// scenario 50
#[test]
fn a_source_may_be_a_variable_and_the_stage_may_not() {
    let env = TestEnv::new();
    env.files(&["bar", "two words"]);
    let tree = env.build("FROM scratch\nENV FOO=bar B=\"two words\"\nCOPY $FOO baz\nCOPY ${B} ${FOO}/\n").succeed().tree_above(0);
    assert_eq!(files(&tree), ["bar/two words", "baz"]);
    let error = env.build("FROM scratch AS base\nCOPY bar /\nFROM scratch\nARG STAGE=base\nCOPY --from=$STAGE /bar /\n").fail(1);
    assert!(error.contains("variable expansion is not supported for --from"), "{error}");
    assert!(error.contains("COPY --from=$STAGE /bar /"), "the line is shown: {error}");
}

// scenario 52
#[test]
fn a_relative_destination_starts_at_the_working_directory() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let dockerfile = r"
FROM scratch
WORKDIR /test1
WORKDIR test2
COPY foo ./
COPY foo ./bar/baz
COPY foo new/
COPY foo ..
COPY foo ../named
WORKDIR ..
COPY foo again
WORKDIR /test3/deep
COPY foo ../
COPY foo ../../../../../over
WORKDIR ../../test4
COPY foo .
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    let wanted = [
        "over",
        "test1/again",
        "test1/foo",
        "test1/named",
        "test1/test2/bar/baz",
        "test1/test2/foo",
        "test1/test2/new/foo",
        "test3/foo",
        "test4/foo",
    ];
    assert_eq!(files(&tree), wanted);
}

// scenario 53
#[test]
fn names_in_other_scripts_and_with_signs_stay_what_they_are() {
    let env = TestEnv::new();
    let names = ["test-äöü.txt", "test-%C3%A4%C3%B6%C3%BC.txt", "test+aou.txt", "日本語", "per%cent"];
    env.files(&names);
    let mut dockerfile = "FROM scratch\nCOPY ./ /all/\nCOPY test* /some/\n".to_owned();
    for name in names {
        dockerfile.push_str(&format!("COPY {name} /one/{name}\n"));
    }
    let tree = env.build(&dockerfile).succeed().tree_above(0);
    let mut sorted = names;
    sorted.sort_unstable();
    for (directory, count) in [("all", 5), ("one", 5), ("some", 3)] {
        assert_eq!(files_below(&tree, directory).len(), count, "{directory}");
        for name in sorted.iter().filter(|name| count == 5 || name.starts_with("test")) {
            assert_eq!(tree[&format!("{directory}/{name}")].text(), *name, "{directory}");
        }
    }
}

// scenarios 54 and 55
#[test]
fn a_stage_comes_before_an_image_of_its_name_in_any_case() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    // No image of this name can be had here.
    let dockerfile = r"
FROM scratch AS golang
COPY foo /made
FROM scratch AS STAge1
COPY --from=GoLang /made /passed
FROM scratch
COPY --from=golang /made /stage
COPY --from=staGE1 /passed /case
COPY --from={registry}/base/busybox:latest /etc/passwd /image
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    assert_eq!(files(&tree), ["case", "image", "stage"]);
    assert_eq!((tree["stage"].text(), tree["case"].text()), ("foo", "foo"));
    assert!(tree["image"].text().contains("daemon"));
}

// scenario 56
#[test]
fn a_later_stage_cannot_be_copied_from() {
    let env = TestEnv::new();
    let error = env
        .build("FROM scratch AS target\nCOPY --from=build /out .\nFROM scratch AS build\nCOPY . /out\n")
        .args(["--target", "target"])
        .fail(1);
    let wanted = "cannot copy from stage \"build\", it needs to be defined before current stage \"target\"";
    assert!(error.contains(wanted), "{error}");
}

// scenarios 60 and 62
#[test]
fn links_at_the_destination_are_followed_and_sources_in_a_stage_start_at_its_root() {
    let env = TestEnv::new();
    env.files(&["foo", "t/keep/there"]);
    env.link("../tmp/x", "t/symlink");
    env.link("/tmp/y", "t/dangling");
    env.link("keep/there", "t/file");
    run(Command::new("tar").current_dir(env.path("context")).args(["-C", "t", "-cf", "links.tar", "keep", "symlink", "dangling", "file"]));
    let dockerfile = r"
FROM scratch AS base
COPY foo /
COPY t/keep /work/foo
FROM scratch
ADD links.tar /
WORKDIR /tmp/x
COPY foo /symlink/
COPY foo /dangling/
COPY foo /file
WORKDIR /work
COPY --from=base foo .
COPY --from=base ./foo ./named
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    assert_eq!(files(&tree), ["dangling", "file", "keep/there", "symlink", "tmp/x/foo", "tmp/y/foo", "work/foo", "work/named"]);
    for path in ["keep/there", "tmp/x/foo", "tmp/y/foo", "work/foo", "work/named"] {
        assert_eq!(tree[path].text(), "foo", "{path}");
    }
    assert_eq!(tree["symlink"].link, "../tmp/x", "the link stays");
}

// scenario 61
// With a cache: cache_keys, a_pattern_is_known_by_the_files_that_it_means.
#[test]
fn a_directory_of_the_context_may_be_a_file_the_next_time() {
    let env = TestEnv::new();
    env.files(&["foo/sub", "other"]);
    let dockerfile = "FROM scratch\nCOPY . /\n";
    assert_eq!(files(&env.build(dockerfile).succeed().tree_above(0)), ["foo/sub", "other"]);
    fs::remove_dir_all(env.path("context/foo")).expect("a folder");
    env.file("foo", "a file");
    assert_eq!(env.build(dockerfile).succeed().tree_above(0)["foo"].text(), "a file");
    // Neither the size nor the time tells them apart.
    let time = fs::metadata(env.path("context/foo")).and_then(|metadata| metadata.modified()).expect("a time");
    let file = fs::File::create(env.file("foo", "a fiLe")).expect("a file");
    std::io::Write::write_all(&mut &file, b"a FILE").expect("a file");
    file.set_modified(time).expect("a time");
    assert_eq!(env.build(dockerfile).succeed().tree_above(0)["foo"].text(), "a FILE");
    fs::remove_file(env.path("context/foo")).expect("a file");
    env.file("foo/back", "back");
    assert_eq!(files(&env.build(dockerfile).succeed().tree_above(0)), ["foo/back", "other"]);
}

// scenario 63
#[test]
fn a_second_build_of_the_same_leaves_nothing_more_behind() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let dockerfile = "FROM {registry}/base/busybox:latest AS one\nRUN echo x > /x && touch -d @1600000000 /x\nFROM {registry}/base/busybox:latest\n\
        COPY foo /\nCOPY --from=one /x /\nRUN rm /x && mkdir /d && touch -d @1600000000 /d\nWORKDIR /made\n";
    let left = || -> BTreeMap<String, u64> {
        let list = run(Command::new("find").arg(env.path("store")).args(["-type", "f", "-printf", "%P %s\n", "-o", "-printf", "%P 0\n"]));
        let lines = list.lines().filter_map(|line| line.rsplit_once(' '));
        lines.map(|(path, size)| (path.to_owned(), size.parse().expect("a number"))).collect()
    };
    let first = env.build(dockerfile).repeatable().succeed();
    let before = left();
    let second = env.build(dockerfile).repeatable().succeed();
    assert_eq!(first.digest, second.digest);
    let after = left();
    let more: Vec<_> = after.iter().filter(|(path, size)| before.get(*path) != Some(*size)).collect();
    assert!(more.is_empty() && after.len() == before.len(), "{more:?}");
}
