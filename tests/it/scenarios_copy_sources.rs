//! Which files a COPY means, scenario by scenario: patterns, `--parents` and `--exclude`, as BuildKit's own tests expect them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::image::{files, files_below};
use crate::support::{Kind, TestEnv};

// scenarios 38 and 39
// With a cache: cache_keys, a_pattern_is_known_by_the_files_that_it_means.
#[test]
fn only_the_files_that_a_pattern_means_and_their_names_count_for_its_layer() {
    let env = TestEnv::new();
    env.files(&["foo1", "foo2", "bar"]);
    let dockerfile = "FROM scratch\nCOPY foo* /files/\n";
    let layer = || env.build(dockerfile).repeatable().succeed().diff_ids()[0].to_owned();
    let first = layer();
    env.file("bar", "changed");
    env.file("another", "new");
    assert_eq!(layer(), first, "another file has changed");
    env.file("foo2", "changed");
    let changed = layer();
    assert_ne!(changed, first, "one of the files has changed");
    fs::rename(env.path("context/foo2"), env.path("context/foo3")).expect("a new name");
    let renamed = env.build(dockerfile).repeatable().succeed();
    assert_ne!(renamed.diff_ids()[0], changed, "one of the files has another name");
    assert_eq!(files(&renamed.tree_above(0)), ["files/foo1", "files/foo3"]);
}

// scenario 40
#[test]
fn a_pattern_that_means_no_file_is_no_error() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let image = env.build("FROM scratch\nCOPY foo nomatch* /\nCOPY nothing* nowhere/* /none/\n").succeed();
    assert_eq!(files(&image.tree_above(0)), ["foo"]);
    assert_eq!(image.layers(), 2, "a copy of nothing is a layer all the same");
    let error = env.build("FROM scratch\nCOPY foo missing /\n").fail(1);
    assert!(error.contains("missing"), "{error}");
}

// scenario 51
#[test]
fn patterns() {
    let env = TestEnv::new();
    env.files(&["foo.go", "bar.go", "sub/dir1/dir2/foo", "x1", "x2", "x-", "x\\*"]);
    let dockerfile = r"
FROM scratch
COPY *.go /gofiles/
COPY f*.go foo2.go
COPY sub/* /subdest/
COPY sub/*/dir2/foo /subdest2/
COPY sub/*/dir2/foo /subdest3/bar
COPY . all/
COPY sub/dir1/ subdest4
COPY sub/dir1/. subdest5
COPY sub/dir1 subdest6
COPY x[0-9] /class/
COPY x[^0-9] /other/
COPY ??r.go /one/
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for (directory, wanted) in [
        ("gofiles", &["bar.go", "foo.go"] as &[_]),
        ("subdest", &["dir2/foo"]),
        ("subdest2", &["foo"]),
        ("subdest3", &["bar"]),
        ("all", &["bar.go", "foo.go", "sub/dir1/dir2/foo", "x-", "x1", "x2", "x\\*"]),
        ("subdest4", &["dir2/foo"]),
        ("subdest5", &["dir2/foo"]),
        ("subdest6", &["dir2/foo"]),
        ("class", &["x1", "x2"]),
        ("other", &["x-"]),
        ("one", &["bar.go"]),
    ] {
        assert_eq!(files_below(&tree, directory), wanted, "{directory}");
    }
    assert_eq!(tree["foo2.go"].text(), "foo.go");
}

// scenario 57
#[test]
fn parents_are_copied_from_the_root_or_from_the_pivot_on() {
    let env = TestEnv::new();
    let names = ["test/a/b/c/d/foo", "test/a/b/c/d/e/bay", "test/a/b2/c/d/e/bar", "test/a/b/c2/d/baz", "test/a/b/c2/d/e2/baz", "test/top"];
    env.files(&names);
    fs::set_permissions(env.path("context/test/a/b"), fs::Permissions::from_mode(0o710)).expect("a mode");
    let dockerfile = r"
FROM scratch AS base
COPY . /
FROM scratch
WORKDIR /work
COPY --parents test/a/b/c/d/foo .
COPY --from=base --parents /test/a/b/./c/d /middle/
COPY --from=base --parents ./test/a/b/c/d /start
COPY --from=base --parents /test/a/./b/./c /double/
COPY --from=base --parents /test/a/./*/c /wildcard/
COPY --from=base --parents /test/a/b*/./c/**/e /several-bases/
COPY --from=base --parents /test/a/./b*/**/ba[rz] /double-wildcard/
COPY --from=base --parents /test/a/b/c*/./d/**/baz /test/a/b*/./c/**/bar /sources/
COPY --parents --chown=3:4 test/a/./b/c/d/foo /owned/
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for (directory, wanted) in [
        ("work", &["test/a/b/c/d/foo"] as &[_]),
        ("middle", &["c/d/e/bay", "c/d/foo"]),
        ("start", &["test/a/b/c/d/e/bay", "test/a/b/c/d/foo"]),
        ("double", &["b/c/d/e/bay", "b/c/d/foo"]),
        ("wildcard", &["b/c/d/e/bay", "b/c/d/foo", "b2/c/d/e/bar"]),
        ("several-bases", &["c/d/e/bar", "c/d/e/bay"]),
        ("double-wildcard", &["b/c2/d/baz", "b/c2/d/e2/baz", "b2/c/d/e/bar"]),
        ("sources", &["c/d/e/bar", "d/baz", "d/e2/baz"]),
        ("owned", &["b/c/d/foo"]),
    ] {
        assert_eq!(files_below(&tree, directory), wanted, "{directory}");
    }
    assert_eq!(tree["work/test/a/b"].rights(), "0710 0:0", "parents have the source's mode");
    assert_eq!(tree["owned/b"].rights(), "0710 3:4");
    assert!(!tree.contains_key("several-bases/c/d/foo") && !tree.contains_key("wildcard/b/c2"));
}

// scenario 58
#[test]
fn parents_of_what_is_missing() {
    let env = TestEnv::new();
    env.files(&["dir/sub/file"]);
    for source in ["dir/nope", "dir/./nope", "nope/./sub", "nope/sub/file"] {
        let error = env.build(&format!("FROM scratch\nCOPY --parents {source} /p/\n")).fail(1);
        assert!(error.contains(source), "{error}");
    }
    let tree = env.build("FROM scratch\nCOPY --parents dir/no* no/**/thing dir/./no*/sub /p/\n").succeed().tree_above(0);
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["p"], "no parent is made for nothing");
}

// scenario 59
#[test]
fn excluded_files_are_not_copied() {
    let env = TestEnv::new();
    env.files(&["top.png", "dir-a/one.png", "dir-a/song.mp3", "dir-a/text.txt", "dir-a/in/two.png", "dir-b/song.mp3", "dir-b/x.txt"]);
    env.link("text.txt", "dir-a/link");
    let dockerfile = r"
FROM scratch AS all
COPY . /from/
FROM scratch
COPY --exclude=*/*.png . /1/
COPY --exclude=*.mp3 dir-a/ /2/
COPY --exclude=*.png --exclude=*.mp3 dir* /3/
COPY --exclude=* dir-a /4
COPY --exclude=**/*.png --exclude=dir-b . /5/
COPY --exclude=*.png top.png /6/
COPY --exclude=* --exclude=!*.txt dir-a /7/
COPY --from=all --exclude=**/*.mp3 --exclude=dir-a/in /from /8/
COPY --parents --exclude=dir-a/*.png dir-a /9/
ADD --exclude=*.mp3 dir-b /10/
";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for (directory, wanted) in [
        ("1", &["dir-a/in/two.png", "dir-a/link", "dir-a/song.mp3", "dir-a/text.txt", "dir-b/song.mp3", "dir-b/x.txt", "top.png"] as &[_]),
        ("2", &["in/two.png", "link", "one.png", "text.txt"]),
        ("3", &["in/two.png", "link", "text.txt", "x.txt"]),
        ("4", &[]),
        ("5", &["dir-a/link", "dir-a/song.mp3", "dir-a/text.txt"]),
        ("6", &["top.png"]),
        ("7", &["text.txt"]),
        ("8", &["dir-a/link", "dir-a/one.png", "dir-a/text.txt", "dir-b/x.txt", "top.png"]),
        ("9", &["dir-a/in/two.png", "dir-a/link", "dir-a/song.mp3", "dir-a/text.txt"]),
        ("10", &["x.txt"]),
    ] {
        assert_eq!(files_below(&tree, directory), wanted, "{directory}");
    }
    assert_eq!(tree["4"].kind, Kind::Directory, "where everything is excluded the directory is empty");
    assert_eq!((tree["2/link"].kind, tree["2/link"].link.as_str()), (Kind::Symlink, "text.txt"));
}
