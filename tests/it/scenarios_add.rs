//! ADD of archives, scenario by scenario, as BuildKit's own tests expect it.

use std::process::Command;

use crate::support::image::{files, files_below};
use crate::support::{Kind, TestEnv, run};

/// Runs a script in the context, which makes archives there.
fn make(env: &TestEnv, script: &str) {
    run(Command::new("sh").current_dir(env.path("context")).args(["-ec", script]));
}

// scenario 66
#[test]
fn parents_that_an_archive_does_not_list_are_made_or_stay() {
    let env = TestEnv::new();
    make(
        &env,
        "mkdir -p t/etc/dnf/vars && echo x > t/etc/dnf/vars/file && chmod 0700 t/etc && chmod 0750 t/etc/dnf
        tar --owner=3 --group=4 --no-recursion -C t -cf implied.tar etc/dnf etc/dnf/vars etc/dnf/vars/file
        tar --owner=9 --group=9 --no-recursion -C t -cf etc.tar etc
        rm -r t",
    );
    let dockerfile = "FROM scratch\nADD implied.tar /new/\nADD etc.tar /there/\nADD implied.tar /there\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for (path, rights) in [
        ("new", "0755 0:0"),
        ("new/etc", "0755 0:0"),
        ("new/etc/dnf", "0750 3:4"),
        ("new/etc/dnf/vars/file", "0644 3:4"),
        ("there/etc", "0700 9:9"),
        ("there/etc/dnf", "0750 3:4"),
    ] {
        assert_eq!(tree[path].rights(), rights, "{path}");
    }
}

// scenario 67
#[test]
fn an_archive_is_unpacked_through_an_absolute_link_of_the_image() {
    let env = TestEnv::new();
    make(
        &env,
        "mkdir -p root/var root/run root/keep && ln -s /run root/var/run && tar -C root -cf root.tar var run keep
        mkdir -p act/var/run/act && echo x > act/var/run/act/file && ln act/var/run/act/file act/var/run/act/hard
        ln -s file act/var/run/act/soft && tar -C act -cf act.tar var/run/act
        rm -r root act",
    );
    let image = env.build("FROM scratch\nADD root.tar /\nADD act.tar /\n").succeed();
    let tree = image.tree_above(0);
    assert_eq!(files(&tree), ["run/act/file", "run/act/hard", "run/act/soft", "var/run"]);
    assert_eq!((tree["var/run"].kind, tree["var/run"].link.as_str()), (Kind::Symlink, "/run"), "the link stays");
    assert_eq!((tree["run/act/file"].text(), tree["run/act/hard"].text()), ("x\n", "x\n"));
    let layer = image.layer(-1);
    let hard: Vec<_> =
        layer.values().filter(|entry| entry.kind == Kind::Hardlink).map(|entry| entry.link.trim_start_matches('/')).collect();
    assert!(hard == ["run/act/file"] || hard == ["run/act/hard"], "the two names are one file: {hard:?}");
}

// scenario 68
#[test]
fn the_owner_of_an_unpacked_archive_is_that_of_its_entries_and_of_the_directory_made_for_it() {
    let env = TestEnv::new();
    make(
        &env,
        "mkdir -p t/dir && echo x > t/dir/file && ln -s file t/dir/link && chmod 4750 t/dir/file && chmod 0710 t/dir
        tar --owner=3 --group=4 -C t -cf a.tar dir && rm -r t",
    );
    let dockerfile = r"
FROM {registry}/base/busybox:latest
ARG user=100
ADD --chown=${user}:200 a.tar /new/out/
ADD --chown=daemon:nobody a.tar /names/
ADD --chown=100:200 a.tar /tmp
ADD a.tar /own/
";
    let tree = env.build(dockerfile).succeed().tree_above(1);
    for (path, rights) in [
        ("new", "0755 100:200"),
        ("new/out", "0755 100:200"),
        ("new/out/dir", "0710 100:200"),
        ("new/out/dir/file", "4750 100:200"),
        ("names/dir/file", "4750 1:65534"),
        ("tmp", "1777 0:0"),
        ("tmp/dir/file", "4750 100:200"),
        ("own", "0755 0:0"),
        ("own/dir", "0710 3:4"),
        ("own/dir/file", "4750 3:4"),
    ] {
        assert_eq!(tree[path].rights(), rights, "{path}");
    }
    let link = &tree["new/out/dir/link"];
    assert_eq!((link.kind, link.uid, link.gid), (Kind::Symlink, 100, 200));
}

// scenario 69
#[test]
fn each_archive_that_a_pattern_means_is_unpacked() {
    let env = TestEnv::new();
    make(
        &env,
        "mkdir t && echo one > t/foo && echo same > t/both && tar -C t -cf t1.tar foo both && rm t/foo
        echo two > t/bar && tar -C t -czf t2.tar bar both && rm -r t && echo text > t3.tar",
    );
    let dockerfile = "FROM scratch\nADD t[12].tar /dest\nADD *.tar /mixed/\nADD --unpack=false *.tar /packed/\nCOPY *.tar /copied/\nADD no*.tar /none/\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    assert_eq!(files_below(&tree, "dest"), ["bar", "both", "foo"]);
    assert_eq!((tree["dest/foo"].text(), tree["dest/bar"].text()), ("one\n", "two\n"));
    assert_eq!(files_below(&tree, "mixed"), ["bar", "both", "foo", "t3.tar"], "what is no archive is copied");
    for directory in ["packed", "copied"] {
        assert_eq!(files_below(&tree, directory), ["t1.tar", "t2.tar", "t3.tar"], "{directory}");
    }
    assert!(files_below(&tree, "none").is_empty());
}
