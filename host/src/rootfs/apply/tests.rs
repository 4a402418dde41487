//! Every case is carried out on a directory of this machine and on an index, and must come out the same.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink as link_to};
use std::sync::Arc;

use super::*;
use crate::context::IgnoreFile;
use crate::fs::Root;
use crate::layer::{Compression, LayerOptions, LayerWriter};
use crate::operation::{Copy, MakeDirectory, Source, WriteFile};
use crate::rootfs::disk::Disk;
use crate::rootfs::layered::Layered;
use crate::rootfs::list::{FileList, ListedData, ListedFile};

const CREATED: Time = Time { seconds: 9, nanoseconds: 0 };

struct Case {
    dir: tempfile::TempDir,
    disk: Disk,
    layered: Layered,
    source: CopySource,
}

/// Files as `path` or `path=content`, links as `path@target`, directories as `path/`.
fn fill(dir: &Path, files: &[&str]) {
    for file in files {
        if let Some((path, target)) = file.split_once('@') {
            link_to(target, dir.join(path)).unwrap();
        } else if let Some(path) = file.strip_suffix('/') {
            std::fs::create_dir_all(dir.join(path)).unwrap();
            std::fs::set_permissions(dir.join(path), std::fs::Permissions::from_mode(0o750)).unwrap();
        } else {
            let (path, content) = file.split_once('=').unwrap_or((file, file));
            std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.join(path), content).unwrap();
            std::fs::set_permissions(dir.join(path), std::fs::Permissions::from_mode(0o640)).unwrap();
        }
    }
}

impl Case {
    fn new(files: &[&str], ignored: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (context, root) = (dir.path().join("context"), dir.path().join("root"));
        std::fs::create_dir(&context).unwrap();
        std::fs::create_dir(&root).unwrap();
        fill(&context, files);
        let patterns = Arc::new(IgnoreFile::parse(ignored).unwrap());
        let tree = Arc::new(Disk::context(Root::open(&context).unwrap(), patterns, ".dockerignore"));
        let layered = Layered::scratch(dir.path());
        let disk = Disk::new(Root::open(&root).unwrap());
        Self { source: CopySource { tree, keep_owner: false }, disk, layered, dir }
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), String> {
        let context = ApplyContext { working_dir: "/w".into(), created: CREATED };
        let layered = apply(&mut self.layered, operation, Some(&self.source), &context);
        let disk = apply(&mut self.disk, operation, Some(&self.source), &context);
        let text = |done: Result<()>| done.map_err(|error| error.to_string());
        let (layered, disk) = (text(layered), text(disk));
        assert_eq!(layered, disk, "{operation:?}");
        assert_eq!(dump(&self.layered), dump(&self.disk), "{operation:?}");
        layered
    }

    /// `--flags sources destination`
    fn copy(&mut self, words: &str) -> Result<(), String> {
        self.apply(&Operation::Copy(parse(words)))
    }

    fn shown(&self) -> String {
        dump(&self.layered).into_iter().map(|(path, what)| format!("{} {what}", path.display())).collect::<Vec<_>>().join("\n")
    }
}

fn parse(words: &str) -> Copy {
    let mut copy = Copy {
        from: Source::Context(String::new()),
        paths: Vec::new(),
        exclude: Vec::new(),
        destination: String::new(),
        ownership: Ownership::default(),
        unpack: false,
        parents: false,
        independent: false,
    };
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("--chown", owner) => copy.ownership.owner = Some(owner.to_owned()),
            ("--chmod", mode) => copy.ownership.mode = Some(mode.to_owned()),
            ("--exclude", pattern) => copy.exclude.push(pattern.to_owned()),
            ("--parents", _) => copy.parents = true,
            ("--unpack", _) => copy.unpack = true,
            _ => copy.paths.push(word.to_owned()),
        }
    }
    copy.destination = copy.paths.pop().unwrap();
    copy
}

/// Kind, mode, owner and content of everything, times of directories included.
fn dump(tree: &dyn ReadTree) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        for entry in tree.entries(&directory).unwrap() {
            let path = directory.join(&entry.name);
            let node = tree.stat(&path).unwrap().unwrap();
            let mut text = format!("{:o} {}:{}", node.mode, node.uid, node.gid);
            match node.kind {
                Kind::Directory => {
                    todo.push(path.clone());
                    text.push('/');
                }
                Kind::Symlink => text = format!("-> {}", tree.read_link(&path).unwrap().display()),
                Kind::File => {
                    let mut content = String::new();
                    tree.open(&path, &node).unwrap().read_to_string(&mut content).unwrap();
                    text = format!("{text} {content}{}", if node.link.is_some() { " +" } else { "" });
                }
                other => text = format!("{text} {other}"),
            }
            all.insert(path, text);
        }
    }
    all
}

const STANDARD: [&str; 8] = ["a=A", "b=B", "dir/", "dir/one=1", "dir/sub/", "dir/sub/two=2", "dir/lnk@one", "to-dir@dir"];

/// What a sequence of copies leaves; a line that starts with `!` must be refused with that text in the message.
fn check(files: &[&str], ignored: &str, copies: &[&str], want: &str) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut case = Case::new(files, ignored);
    for copy in copies {
        match copy.strip_prefix('!') {
            None => case.copy(copy).unwrap(),
            Some(refused) => {
                let (message, copy) = refused.split_once('!').unwrap();
                let error = case.copy(copy).unwrap_err();
                assert!(error.contains(message), "{error}");
            }
        }
    }
    let want: Vec<&str> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(case.shown(), want.join("\n"), "{copies:?}");
}

#[test]
fn files_and_directories() {
    check(&STANDARD, "", &["a /x"], "x 640 0:0 A");
    check(&STANDARD, "", &["a rel/"], "w 755 0:0/\nw/rel 755 0:0/\nw/rel/a 640 0:0 A");
    check(&STANDARD, "", &["a b /d"], "d 640 0:0 B");
    check(&STANDARD, "", &["/dir /d"], "d 755 0:0/\nd/lnk -> one\nd/one 640 0:0 1\nd/sub 750 0:0/\nd/sub/two 640 0:0 2");
    check(&STANDARD, "", &["../../a/ /x"], "x 640 0:0 A");
    check(&STANDARD, "", &["to-dir/one /x"], "x 640 0:0 1");
    check(&STANDARD, "", &["dir/l* /d/"], "d 755 0:0/\nd/lnk 640 0:0 1");
    check(&STANDARD, "", &["d*/s* /d/"], "d 755 0:0/\nd/two 640 0:0 2");
    check(&STANDARD, "", &["zz* /d/"], "");
    check(&STANDARD, "", &["!did you mean \"dir/one\"?!dir/ome /d/"], "");
    check(&STANDARD, "", &["![!a[ /d/"], "");
}

#[test]
fn what_is_there_already() {
    check(&STANDARD, "", &["a /d", "!not a directory!b /d/x"], "d 640 0:0 A");
    check(
        &STANDARD,
        "",
        &["dir /d/a", "!in place of a directory!a /d/"],
        "d 755 0:0/\nd/a 755 0:0/\nd/a/lnk -> one\nd/a/one 640 0:0 1\nd/a/sub 750 0:0/\nd/a/sub/two 640 0:0 2",
    );
    check(&["x/", "x/s=1", "y/", "y/s/"], "", &["x /d", "!in place of a regular file!y /d"], "d 755 0:0/\nd/s 640 0:0 1");
    check(&["x/", "x/s@/q", "y/", "y/s=1"], "", &["x /d", "y /d"], "d 755 0:0/\nd/s 640 0:0 1");
}

#[test]
fn links_at_the_destination_stay_inside() {
    check(
        &["t/", "t/up@../../../e", "t/abs@/deep/er", "a=A"],
        "",
        &["t /t", "a /t/up/x", "a /t/abs"],
        "
        deep 755 0:0/
        deep/er 640 0:0 A
        e 755 0:0/
        e/x 640 0:0 A
        t 755 0:0/
        t/abs -> /deep/er
        t/up -> ../../../e",
    );
    check(&["t/", "t/l@l", "a=A"], "", &["t /t", "!too many symbolic links!a /t/l/x"], "t 755 0:0/\nt/l -> l");
}

#[test]
fn owners_and_modes() {
    check(&STANDARD, "", &["--chown=5:6 --chmod=4711 a /p/q/"], "p 711 5:6/\np/q 711 5:6/\np/q/a 4711 5:6 A");
    check(&STANDARD, "", &["--chmod=u=rwX,go= dir /p"], "p 755 0:0/\np/lnk -> one\np/one 600 0:0 1\np/sub 700 0:0/\np/sub/two 600 0:0 2");
    check(&STANDARD, "", &["!unknown user!--chown=me a /x", "!invalid mode!--chmod=8 a /x"], "");
}

#[test]
fn patterns_of_what_to_leave_out() {
    check(&STANDARD, "", &["--exclude=s* --exclude=lnk dir /p"], "p 755 0:0/\np/one 640 0:0 1");
    check(&STANDARD, "", &["--exclude=* --exclude=!sub/two dir /p"], "p 755 0:0/\np/sub 750 0:0/\np/sub/two 640 0:0 2");
    check(&STANDARD, "", &["--exclude=a a /p"], "p 640 0:0 A");
    check(&["d/", "d/x@nowhere"], "", &["d /p", "!points to nothing!--exclude=q d /p"], "p 755 0:0/\np/x -> nowhere");
}

#[test]
fn parents_are_kept_on_request() {
    check(
        &STANDARD,
        "",
        &["--parents dir/sub/two a /p"],
        "p 755 0:0/\np/a 640 0:0 A\np/dir 750 0:0/\np/dir/sub 750 0:0/\np/dir/sub/two 640 0:0 2",
    );
    check(&STANDARD, "", &["--parents ./dir/./sub/two /p/"], "p 755 0:0/\np/sub 750 0:0/\np/sub/two 640 0:0 2");
    check(
        &STANDARD,
        "",
        &["--parents **/two d*/o* /p/"],
        "p 755 0:0/\np/dir 750 0:0/\np/dir/one 640 0:0 1\np/dir/sub 750 0:0/\np/dir/sub/two 640 0:0 2",
    );
    check(&STANDARD, "", &["--parents dir/no* /p", "!not found!--parents dir/no /p"], "p 755 0:0/");
}

#[test]
fn ignored_files_are_not_there() {
    check(
        &STANDARD,
        "dir\n!dir/sub\n",
        &[". /", "!excluded by .dockerignore!dir/one /x"],
        "
        a 640 0:0 A
        b 640 0:0 B
        dir 750 0:0/
        dir/sub 750 0:0/
        dir/sub/two 640 0:0 2
        to-dir -> dir",
    );
    check(&["dir/", "dir/x"], "dir\n!dir/y\n", &[". /d"], "d 755 0:0/");
}

#[test]
fn names_that_mean_removal_are_refused() {
    check(&["d/", "d/.wh.x"], "", &["!.wh.!d /p"], "p 755 0:0/");
    check(&["a"], "", &["!.wh.!a /.wh.a", "!.wh.!a /.wh..wh..opq/"], "");
}

#[test]
fn hard_links_and_fifos_are_kept() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut case = Case::new(&["d/", "d/h1=x", "d/s/"], "");
    let d = case.dir.path().join("context/d");
    std::fs::hard_link(d.join("h1"), d.join("s/h2")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, d.join("p"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(d.join("sock")).unwrap());
    std::fs::set_permissions(d.join("sock"), std::fs::Permissions::from_mode(0o700)).unwrap();
    case.copy("d /d").unwrap();
    assert_eq!(case.shown(), "d 755 0:0/\nd/h1 640 0:0 x +\nd/p 600 0:0 a FIFO\nd/s 750 0:0/\nd/s/h2 640 0:0 x +\nd/sock 700 0:0 ");
    let root = case.dir.path().join("root/d");
    assert_eq!(std::fs::metadata(root.join("h1")).unwrap().ino(), std::fs::metadata(root.join("s/h2")).unwrap().ino());
}

#[test]
fn archives_are_unpacked_inside() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut case = Case::new(&["a=A"], "");
    case.copy("a /d/t").unwrap();
    let entry = |path: &str, kind, size| crate::layer::entries::EntryMeta {
        path: path.into(),
        kind,
        mode: 0o751,
        uid: 7,
        gid: 8,
        mtime: CREATED,
        size,
        xattrs: crate::fs::Xattrs::new(),
    };
    use crate::layer::entries::EntryKind as E;
    let path = case.dir.path().join("context/t.tar");
    let options = LayerOptions { compression: Compression::GZIP, latest_mtime: None };
    let mut writer = LayerWriter::create(&path, options).unwrap();
    writer.append(&entry("", E::Directory, 0), None).unwrap();
    writer.append(&entry("out", E::Symlink("/../../etc".into()), 0), None).unwrap();
    writer.append(&entry("out/x", E::File, 1), Some(&mut &b"x"[..])).unwrap();
    writer.append(&entry("t", E::Directory, 0), None).unwrap();
    writer.append(&entry("t/h", E::HardLink("out/x".into()), 0), None).unwrap();
    writer.finish().unwrap();
    case.copy("--unpack --chmod=777 t.tar /d").unwrap();
    assert_eq!(case.shown(), "d 755 0:0/\nd/etc 755 0:0/\nd/etc/x 751 7:8 x +\nd/out -> /../../etc\nd/t 751 7:8/\nd/t/h 751 7:8 x +");
    std::fs::remove_file(&path).unwrap();
    let mut writer = LayerWriter::create(&path, options).unwrap();
    writer.whiteout(Path::new("etc")).unwrap();
    writer.finish().unwrap();
    assert!(case.copy("--unpack t.tar /d").unwrap_err().contains(".wh."));
}

#[test]
fn other_operations() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut case = Case::new(&[], "");
    let owner = |owner: &str| Ownership { owner: Some(owner.to_owned()), mode: None };
    case.apply(&Operation::MakeDirectory(MakeDirectory { path: "x/../y/z".into(), ownership: owner("12:34") })).unwrap();
    case.apply(&Operation::Symlink(operation::Symlink { path: "/l".into(), target: "w/y".into() })).unwrap();
    case.apply(&Operation::WriteFile(WriteFile { path: "/l/f".into(), content: b"1".to_vec(), ownership: owner("5") })).unwrap();
    case.apply(&Operation::WriteFile(WriteFile { path: "/l/f".into(), content: b"2".to_vec(), ownership: Ownership::default() })).unwrap();
    case.apply(&Operation::Remove("/l/z".into())).unwrap();
    case.apply(&Operation::Remove("/nothing/here".into())).unwrap();
    assert_eq!(case.shown(), "l -> w/y\nw 755 12:34/\nw/y 755 12:34/\nw/y/f 644 0:0 2");
    assert!(case.apply(&Operation::WriteFile(WriteFile { path: "/w".into(), content: vec![], ownership: Ownership::default() })).is_err());
    assert!(case.apply(&Operation::MakeDirectory(MakeDirectory { path: "/l/f".into(), ownership: Ownership::default() })).is_err());
    case.apply(&Operation::Remove("/".into())).unwrap();
    assert_eq!(case.shown(), "");
}

#[test]
fn lists_are_copied_whole() {
    let list = |names: &[&str]| {
        let file =
            |name: &&str| ListedFile { name: (*name).into(), mode: 0o600, mtime: CREATED, data: ListedData::Bytes(name.as_bytes().into()) };
        CopySource { tree: Arc::new(FileList::new(names.iter().map(file).collect())), keep_owner: false }
    };
    let context = ApplyContext { working_dir: "/w".into(), created: CREATED };
    let mut tree = Layered::scratch(Path::new(""));
    for (names, destination) in [(&["A"][..], "one"), (&["A", "B[*"], "dir/")] {
        apply(&mut tree, &Operation::Copy(parse(destination)), Some(&list(names)), &context).unwrap();
    }
    let paths: Vec<_> = dump(&tree).into_keys().collect();
    assert_eq!(paths, ["w", "w/dir", "w/dir/A", "w/dir/B[*", "w/one"].map(PathBuf::from));
}

#[test]
fn the_fingerprint_is_that_of_what_is_selected() {
    let context = ApplyContext { working_dir: "/".into(), created: CREATED };
    let of = |files: &[&str], words: &str| fingerprint(&parse(words), &Case::new(files, "").source, &context).unwrap().digest;
    let one = of(&STANDARD, "dir /d");
    assert_eq!(one, of(&STANDARD, "--chown=nobody dir /d"), "the owner is the caller's");
    assert_eq!(one, of(&["z", "dir/", "dir/one=1", "dir/sub/", "dir/sub/two=2", "dir/lnk@one"], "dir /d"));
    assert_ne!(one, of(&["dir/", "dir/one=2", "dir/sub/", "dir/sub/two=2", "dir/lnk@one"], "dir /d"));
    assert_ne!(one, of(&STANDARD, "--exclude=one dir /d"));
}

#[test]
fn a_source_that_changes_before_it_is_read_is_an_error() {
    let mut case = Case::new(&["a=A"], "");
    let context = ApplyContext { working_dir: "/".into(), created: CREATED };
    apply(&mut case.layered, &Operation::Copy(parse("a /x")), Some(&case.source), &context).unwrap();
    std::fs::write(case.dir.path().join("context/a"), "longer").unwrap();
    let mut writer = LayerWriter::create(case.dir.path().join("layer"), LayerOptions::default()).unwrap();
    let error = case.layered.write_changes(&mut writer).unwrap_err();
    assert!(error.to_string().contains("changed"), "{error}");
}

/// Adversarial 61: what is as it was may have been something else meanwhile.
#[test]
fn what_was_changed_and_changed_back_is_told() {
    let case = Case::new(&["dir/a=A", "dir/sub/b=B", "one", "two", "link@one", "aside/c"], "");
    let context = ApplyContext { working_dir: "/".into(), created: CREATED };
    let at = |name: &str| case.dir.path().join("context").join(name);
    let relink = |target: &str| {
        link_to(target, at("new")).unwrap();
        std::fs::rename(at("new"), at("link")).unwrap();
    };
    let rewrite = |name: &str, content: &str| {
        let before = std::fs::metadata(at(name)).unwrap().modified().unwrap();
        let mut file = std::fs::File::options().write(true).truncate(true).open(at(name)).unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
        file.set_modified(before).unwrap();
    };
    let swap = |one: &str, other: &str| {
        for (from, to) in [(one, "third"), (other, one), ("third", other)] {
            std::fs::rename(at(from), at(to)).unwrap();
        }
    };
    let changes: [(&str, &dyn Fn(), bool); 9] = [
        ("dir /d", &|| (), true),
        ("dir /d", &|| ["X", "A"].iter().for_each(|content| rewrite("dir/a", content)), false),
        ("dir /d", &|| (0..2).for_each(|_| swap("dir/sub", "aside")), false),
        ("dir/sub/b /d", &|| (0..2).for_each(|_| swap("dir/sub", "aside")), false),
        ("dir /d", &|| (std::fs::write(at("dir/new"), "").unwrap(), std::fs::remove_file(at("dir/new")).unwrap()).0, false),
        ("link /d", &|| ["two", "one"].iter().for_each(|target| relink(target)), false),
        (". /d", &|| (std::fs::write(at("new"), "").unwrap(), std::fs::remove_file(at("new")).unwrap()).0, false),
        ("dir one /d", &|| (std::fs::write(at("new"), "").unwrap(), std::fs::remove_file(at("new")).unwrap()).0, true),
        ("dir one /d", &|| rewrite("aside/c", "other"), true),
    ];
    for (words, change, same) in changes {
        let copy = parse(words);
        let before = fingerprint(&copy, &case.source, &context).unwrap();
        change();
        let now = stamps(&copy, &case.source, &context).unwrap();
        assert_eq!(Some(now) == before.stamps, same, "{words}");
        assert_eq!(fingerprint(&copy, &case.source, &context).unwrap().digest, before.digest, "{words}: it is what it was");
    }
}

#[test]
fn of_what_is_written_to_without_end_nothing_is_said() {
    let case = Case::new(&["a=A"], "");
    let context = ApplyContext { working_dir: "/".into(), created: CREATED };
    let path = case.dir.path().join("context/a");
    let done = std::sync::atomic::AtomicBool::new(false);
    let selected = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            }
        });
        // Not before it has begun.
        let begun = std::fs::metadata(&path).unwrap().ctime_nsec();
        while std::fs::metadata(&path).unwrap().ctime_nsec() == begun {}
        let selected = fingerprint(&parse("a /a"), &case.source, &context);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        selected
    });
    assert_eq!(selected.unwrap().stamps, None);
}
