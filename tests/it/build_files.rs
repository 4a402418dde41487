//! Files on their way into layers: what is copied, what it is afterwards, and what a deletion leaves.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::support::container::{podman, runc};
use crate::support::{Entry, Kind, Registry, TestEnv, run};

#[test]
fn the_ignore_file_keeps_files_out() {
    let env = TestEnv::new();
    for name in ["a.txt", "a.log", "keep.log", "src/main.rs", "src/main.o", "deep/er/x.tmp", "target/debug/x", "Dockerfile"] {
        env.file(name, name);
    }
    env.file(".dockerignore", "# comment\n*.log\n!keep.log\n**/*.o\ndeep/**/*.tmp\n/target\nDockerfile\n.dockerignore\n");
    let image = env.build("FROM scratch\nCOPY . /\n").succeed();
    let files: Vec<_> = image.tree_above(0).into_iter().filter(|(_, entry)| entry.kind == Kind::File).map(|(path, _)| path).collect();
    assert_eq!(files, ["a.txt", "keep.log", "src/main.rs"]);
    let error = env.build("FROM scratch\nCOPY a.log /\n").fail(1);
    assert!(error.contains("a.log"), "{error}");
}

#[test]
fn what_a_copy_makes_of_sources_and_destinations() {
    let env = TestEnv::new();
    for name in ["one.txt", "two.txt", "dir/inner.txt", "dir/sub/deep.txt"] {
        env.file(name, name);
    }
    let dockerfile = r#"
FROM {registry}/base/busybox:latest
WORKDIR /w
COPY one.txt .
COPY one.txt renamed
COPY *.txt all/
COPY dir contents
COPY ["one.txt", "two.txt", "/with space/"]
COPY --chown=daemon:nobody --chmod=u=rwX,go=rX dir /owned
COPY --parents dir/sub/deep.txt /parents/
COPY --exclude=*.txt dir /excluded
"#;
    let tree = env.build(dockerfile).succeed().tree_above(1);
    for path in [
        "w/one.txt",
        "w/renamed",
        "w/all/one.txt",
        "w/all/two.txt",
        "w/contents/inner.txt",
        "w/contents/sub/deep.txt",
        "with space/two.txt",
    ] {
        assert_eq!(tree[path].rights(), "0644 0:0", "{path}");
    }
    assert_eq!(tree["w/renamed"].text(), "one.txt");
    assert_eq!(tree["owned/inner.txt"].rights(), "0644 1:65534");
    assert_eq!(tree["owned/sub"].rights(), "0755 1:65534");
    assert_eq!(tree["parents/dir/sub/deep.txt"].text(), "dir/sub/deep.txt");
    assert!(!tree.contains_key("excluded/inner.txt"));
}

#[test]
fn a_copy_follows_the_links_of_the_image_and_stays_inside() {
    let env = TestEnv::new();
    env.file("x", "x");
    let outside = env.path("outside");
    let dockerfile = format!(
        "FROM {{registry}}/base/busybox:latest\nRUN mkdir /real && ln -s real /link && ln -s ../../../../../..{0} /escape && ln -s {0} /absolute\n\
         COPY x /link/\nCOPY x /escape/\nCOPY x /absolute/\n",
        outside.display()
    );
    let tree = env.build(&dockerfile).succeed().tree_above(1);
    assert!(tree.contains_key("real/x"));
    assert_eq!(tree["link"].kind, Kind::Symlink, "the link stays");
    assert!(tree.contains_key(&format!("{}/x", outside.display().to_string().trim_start_matches('/'))), "the image's own root is the root");
    assert!(!outside.exists(), "nothing is written outside the image");
}

#[test]
fn a_link_in_the_context_does_not_lead_out_of_it() {
    let env = TestEnv::new();
    fs::write(env.path("private"), "not for the image").expect("a file");
    symlink("../private", env.path("context/up")).expect("a link");
    symlink(env.path(""), env.path("context/dir")).expect("a link");
    for source in ["up", "dir/private", "../private"] {
        let finished = env.build(&format!("FROM scratch\nCOPY {source} /got\n")).finish();
        // An error, or the link itself: anything but the file.
        if finished.code == Some(0) {
            let tree = finished.image().tree_above(0);
            assert!(tree.values().all(|entry| !entry.content.starts_with(b"not for")), "{source} brought a file from outside");
        }
    }
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let env = TestEnv::new();
    let made = "mkdir -p t/d && echo in > t/d/in && ln -s in t/d/link && ln t/d/in t/d/hard && chmod 4711 t/d/in && \
        for z in gz bz2 xz zst; do tar --owner=3 --group=4 -C t -caf a.tar.$z d; done && tar --owner=3 --group=4 -C t -cf plain d && rm -r t";
    run(Command::new("sh").current_dir(env.path("context")).args(["-c", made]));
    let dockerfile = "FROM scratch\nADD a.tar.gz /gz/\nADD a.tar.bz2 /bz2/\nADD a.tar.xz /xz/\nADD a.tar.zst /zst/\nADD plain /plain/\nCOPY a.tar.gz /copied/\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for folder in ["gz", "bz2", "xz", "zst", "plain"] {
        assert_eq!(tree[&format!("{folder}/d/in")].text(), "in\n", "{folder}");
        assert_eq!(tree[&format!("{folder}/d/in")].rights(), "4711 3:4", "{folder}");
        assert_eq!(tree[&format!("{folder}/d/hard")].text(), "in\n", "{folder}");
        assert_eq!(tree[&format!("{folder}/d/link")].link, "in", "{folder}");
    }
    assert_eq!(tree["copied/a.tar.gz"].kind, Kind::File);
    assert!(!tree.contains_key("copied/d"));
}

#[test]
fn kinds_modes_and_attributes_survive_a_command() {
    let env = TestEnv::new();
    let destination = Registry::open().fresh();
    let dockerfile = r#"
FROM {registry}/base/debian:latest
RUN mkdir /t && cd /t && echo data > file && echo linked > one && ln one two && ln -s nowhere/at/all dangling && mkfifo fifo \
 && install -m 4755 /bin/true setuid && install -d -m 2770 -o 12 -g 34 setgid && install -d -m 1777 sticky \
 && echo x > "name with spaces äöü" && truncate -s 5M sparse && chown -h 5:6 dangling && touch -d @1500000000 file
RUN perl -e 'my ($f, $n, $v) = ("/t/file", "user.note", "kept"); syscall(188, $f, $n, $v, 4, 0) == 0 or die "$!"'
RUN perl -e 'my ($f, $n, $v) = ("/t/setuid", "security.capability", pack("VVVVV", 0x02000001, 1 << 10, 0, 0, 0)); syscall(188, $f, $n, $v, 20, 0) == 0 or die "$!"'
"#;
    let image = env.build(dockerfile).push_to(&destination).succeed();
    let tree = image.tree_above(1);
    assert_eq!(image.layer(1).values().filter(|entry| entry.kind == Kind::Hardlink).count(), 1, "one of the two names is a hard link");
    assert_eq!(tree["t/two"].text(), "linked\n");
    assert_eq!(tree["t/file"].mtime, 1_500_000_000);
    assert_eq!(tree["t/fifo"].kind, Kind::Fifo);
    assert_eq!(tree["t/setuid"].rights(), "4755 0:0");
    assert_eq!(tree["t/setgid"].rights(), "2770 12:34");
    assert_eq!(tree["t/sticky"].rights(), "1777 0:0");
    assert_eq!((tree["t/dangling"].link.as_str(), tree["t/dangling"].uid), ("nowhere/at/all", 5));
    assert_eq!(tree["t/sparse"].size, 5 << 20);
    assert_eq!(tree["t/name with spaces äöü"].text(), "x\n");
    assert_eq!(tree["t/file"].xattrs.get("user.note").map(Vec::as_slice), Some(b"kept".as_slice()));
    assert_eq!(tree["t/setuid"].xattrs["security.capability"].len(), 20);
    let attributes: Vec<_> = tree.values().flat_map(|entry| entry.xattrs.keys()).filter(|name| name.starts_with("trusted.")).collect();
    assert!(attributes.is_empty(), "the builder's own attributes are no part of the image: {attributes:?}");

    let said = podman(
        &env,
        &destination,
        &["sh", "-c", "cd /t && stat -c '%a %u:%g %F' setuid setgid sticky fifo && test one -ef two && cat two"],
    );
    assert_eq!(said, "4755 0:0 regular file\n2770 12:34 directory\n1777 0:0 directory\n644 0:0 fifo\nlinked\n");
}

#[test]
fn kinds_modes_and_attributes_survive_a_copy() {
    let env = TestEnv::new();
    let program = env.file("bin/tool", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("a mode");
    run(Command::new("setcap").arg("cap_net_raw+ep").arg(&program));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o750)).expect("a mode");
    run(Command::new("setcap").arg("cap_net_raw+ep").arg(&program));
    symlink("tool", env.path("context/bin/link")).expect("a link");
    fs::create_dir(env.path("context/bin/empty")).expect("a folder");
    fs::set_permissions(env.path("context/bin/empty"), fs::Permissions::from_mode(0o700)).expect("a mode");
    let tree = env.build("FROM scratch\nCOPY bin /bin\n").succeed().tree_above(0);
    assert_eq!(tree["bin/tool"].rights(), "0750 0:0");
    assert!(tree["bin/tool"].xattrs.contains_key("security.capability"), "{:?}", tree["bin/tool"].xattrs);
    assert_eq!(tree["bin/link"].link, "tool");
    assert_eq!((tree["bin/empty"].kind, tree["bin/empty"].mode), (Kind::Directory, 0o700));
}

#[test]
fn deletions() {
    let env = TestEnv::new();
    let destination = Registry::open().fresh();
    let dockerfile = r"
FROM {registry}/base/busybox:latest
RUN mkdir -p /d/gone/deep /d/again /d/file-to-dir-parent && touch /d/gone/deep/x /d/again/old /d/file /d/stays && mkdir /d/dir && touch /d/dir/x
RUN rm -r /d/gone && rm -r /d/again && mkdir /d/again && touch /d/again/new && rm /d/file && mkdir /d/file && touch /d/file/in && rm -r /d/dir && echo now > /d/dir
RUN rm -r /d/file-to-dir-parent && touch /d/never && rm /d/never && rm /etc/group
";
    let image = env.build(dockerfile).push_to(&destination).succeed();
    let tree = image.tree_above(1);
    let left: Vec<_> = tree.iter().filter(|(path, _)| path.starts_with("d/")).map(|(path, entry)| (path.as_str(), entry.kind)).collect();
    assert_eq!(
        left,
        [
            ("d/again", Kind::Directory),
            ("d/again/new", Kind::File),
            ("d/dir", Kind::File),
            ("d/file", Kind::Directory),
            ("d/file/in", Kind::File),
            ("d/stays", Kind::File)
        ]
    );
    let last = image.layer(-1);
    let whiteouts: Vec<_> = last.iter().filter(|(path, _)| path.contains(".wh.")).collect();
    assert_eq!(whiteouts.len(), 2, "{whiteouts:?}");
    for name in ["etc/.wh.group", "d/.wh.file-to-dir-parent"] {
        assert_eq!((last[name].kind, last[name].size), (Kind::File, 0), "{name}");
    }
    let command = ["sh", "-c", "cd / && find d | sort && cat d/dir && test ! -e /etc/group"];
    let said = "d\nd/again\nd/again/new\nd/dir\nd/file\nd/file/in\nd/stays\nnow\n";
    assert_eq!(podman(&env, &destination, &command), said);
    assert_eq!(runc(&env, &image, &command), said);
}

#[test]
fn a_copy_in_place_of_a_deleted_folder_does_not_bring_it_back() {
    let env = TestEnv::new();
    env.file("new/b", "b");
    let dockerfile = "FROM {registry}/base/busybox:latest\nRUN mkdir /d && touch /d/a\nRUN rm -r /d\nCOPY new /d\nRUN ls /d > /listing\n";
    let tree = env.build(dockerfile).succeed().tree_above(1);
    assert_eq!(tree["listing"].text(), "b\n");
    assert!(!tree.contains_key("d/a"));
}

#[test]
fn the_same_files_make_the_same_layers() {
    let env = TestEnv::new();
    let contexts = ["one", "two"].map(|name| {
        let context = env.path(name);
        let mut files: Vec<_> = (0..50).map(|number| format!("dir{}/file{number}", number % 7)).collect();
        if name == "two" {
            files.reverse();
        }
        for file in files {
            crate::support::write(&context.join(&file), file.repeat(100));
        }
        run(Command::new("find").arg(&context).args(["-exec", "touch", "-d", "@1600000000", "{}", "+"]));
        context
    });
    let dockerfile = "FROM {registry}/base/busybox:latest\nCOPY . /files/\nWORKDIR /made\n";
    let [first, second] = contexts.map(|context| {
        let store = env.path(format!("store-of-{}", context.file_name().expect("a name").display()));
        env.build(dockerfile).context(context).store(store).variable("SOURCE_DATE_EPOCH", "1700000000").succeed()
    });
    assert_eq!(first.diff_ids(), second.diff_ids());
    assert_eq!(first.digest, second.digest, "with SOURCE_DATE_EPOCH nothing else differs either");
    assert_eq!(first.config["created"], "2023-11-14T22:13:20Z");
    assert!(first.tree_above(1).values().all(|entry: &Entry| entry.mtime <= 1_700_000_000), "no time is later than the epoch");
}

#[test]
fn a_hard_link_in_the_context_is_one_file_with_the_content() {
    let env = TestEnv::new();
    let first = env.file("l/first", "linked");
    fs::hard_link(&first, env.path("context/l/second")).expect("a link");
    let tree = env.build("FROM scratch\nCOPY l /l\nCOPY l/second /alone\n").succeed().tree_above(0);
    for path in ["l/first", "l/second", "alone"] {
        assert_eq!(tree[path].text(), "linked", "{path}");
    }
}
