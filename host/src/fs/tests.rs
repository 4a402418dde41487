use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A root in a directory whose other entries must never change.
fn cage() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("outside/dir")).unwrap();
    std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let root = Root::open(dir.path().join("root")).unwrap();
    (dir, root)
}

/// The root once with openat2 and once without.
fn both(root: &Root) -> [Root; 2] {
    let mut by_hand = root.try_clone().unwrap();
    by_hand.resolver.by_hand();
    [root.try_clone().unwrap(), by_hand]
}

fn write(root: &Root, path: &str, content: &str) {
    root.create_file(path, 0o644).unwrap().write_all(content.as_bytes()).unwrap();
}

fn read(root: &Root, path: &str) -> Result<String> {
    let mut text = String::new();
    root.open_file_follow(path)?.read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn no_path_leaves_the_root() {
    let (dir, root) = cage();
    root.make_dir("etc", 0o755).unwrap();
    write(&root, "etc/secret", "inside");
    root.symlink("/etc", "absolute").unwrap();
    root.symlink("../../../../../../etc", "up").unwrap();
    root.symlink("up/../../..//absolute/.", "nested").unwrap();
    root.symlink(dir.path().join("outside"), "out").unwrap();
    for root in both(&root) {
        for path in
            ["etc/secret", "/etc/secret", "../../etc/secret", "absolute/secret", "up/secret", "nested/secret", "/absolute/../etc//./secret"]
        {
            assert_eq!(read(&root, path).unwrap(), "inside", "{path}");
        }
        assert_eq!(root.stat("out/secret").unwrap(), None);
        assert_eq!(root.stat_follow("out").unwrap(), None);
        assert!(root.stat("up/../../outside").unwrap().is_none());
        assert_eq!(root.stat("").unwrap(), root.stat("up/../..").unwrap());
        assert_eq!(root.stat("/").unwrap().unwrap().kind, Kind::Directory);
    }
    root.create_file("up/../../outside", 0o600).unwrap();
    assert!(root.path().join("outside").is_file());
    assert_eq!(std::fs::read_dir(dir.path().join("outside")).unwrap().count(), 2);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let (_dir, root) = cage();
    root.make_node("fifo", Kind::Fifo, 0o600, (0, 0)).unwrap();
    root.symlink("fifo", "link").unwrap();
    write(&root, "file", "x");
    root.symlink("file", "good").unwrap();
    root.make_dir("dir", 0o755).unwrap();
    for root in both(&root) {
        for path in ["fifo", "link", "good", "dir", "/"] {
            assert!(root.open_file(path).is_err(), "{path}");
        }
        for path in ["fifo", "link", "dir"] {
            assert!(root.open_file_follow(path).is_err(), "{path}");
        }
        assert_eq!(read(&root, "good").unwrap(), "x");
    }
}

#[test]
fn a_loop_of_links_fails_for_that_path_alone() {
    let (_dir, root) = cage();
    root.symlink("b", "a").unwrap();
    root.symlink("a", "b").unwrap();
    for n in 0..45 {
        root.symlink(format!("c{}", n + 1), format!("c{n}")).unwrap();
    }
    root.make_dir("c45", 0o755).unwrap();
    for root in both(&root) {
        assert!(root.stat("a/x").is_err());
        assert!(root.stat("c0/x").is_err());
        assert_eq!(root.stat("c6/x").unwrap(), None);
        assert!(root.make_dirs("a/x", 0o755, (0, 0)).is_err());
    }
}

#[test]
fn directories_are_made_behind_links_too() {
    let (_dir, root) = cage();
    root.symlink("/var/../srv/new", "link").unwrap();
    let made = root.make_dirs("link/a/../b", 0o2751, (7, 8)).unwrap();
    assert_eq!(made.path, PathBuf::from("srv/new/b"));
    assert_eq!(made.created, ["var", "srv", "srv/new", "srv/new/a", "srv/new/b"].map(PathBuf::from));
    let found = root.stat("srv/new/b").unwrap().unwrap();
    assert_eq!((found.mode, found.uid, found.gid), (0o2751, 7, 8));
    assert!(root.make_dirs("link/b", 0o755, (0, 0)).unwrap().created.is_empty());
    write(&root, "file", "");
    assert!(root.make_dirs("file/x", 0o755, (0, 0)).is_err());
}

#[test]
fn names_are_bytes() {
    let (_dir, root) = cage();
    let name = OsStr::from_bytes(b"a\n\xff\x1b[31m");
    root.create_file(name, 0o600).unwrap();
    assert_eq!(root.read_dir("").unwrap().first().unwrap().name, name);
    let error = root.make_dir(name, 0o755).unwrap_err().to_string();
    assert_eq!(error, r#"cannot make the directory "a\n\xFF\u{1b}[31m""#);
    assert!(root.create_file("a\0b", 0o600).is_err());
    assert!(root.create_file("n".repeat(256), 0o600).is_err());
}

#[test]
fn deep_trees_are_walked_and_removed() {
    let (_dir, root) = cage();
    // Deeper than any path may be long, and than descriptors may be open.
    let mut at = root.try_clone().unwrap();
    for _ in 0..1100 {
        at.make_dir("deep", 0o755).unwrap();
        write(&at, "f", "");
        at = at.sub_root("deep").unwrap();
    }
    let mut walk = root.walk("").unwrap();
    let mut count = 0;
    while let Some(entry) = walk.next().unwrap() {
        count += 1;
        assert!(entry.xattrs().unwrap().is_empty());
    }
    assert_eq!(count, 2200);
    root.remove("deep").unwrap();
    assert_eq!(root.read_dir("").unwrap().len(), 1);
    root.clear("").unwrap();
    assert!(root.read_dir("").unwrap().is_empty());
}

#[test]
fn removal_does_not_follow_links() {
    let (dir, root) = cage();
    root.make_dirs("a/b", 0o755, (0, 0)).unwrap();
    root.symlink(dir.path().join("outside"), "a/b/out").unwrap();
    std::os::unix::fs::symlink("../../outside", root.path().join("a/up")).unwrap();
    root.remove("a").unwrap();
    root.remove("a").unwrap();
    root.remove("nothing/here").unwrap();
    assert!(root.remove("").is_err());
    assert!(root.remove("..").is_err());
    assert_eq!(std::fs::read_dir(dir.path().join("outside")).unwrap().count(), 2);
}

#[test]
fn a_walk_is_sorted_by_bytes() {
    let (_dir, root) = cage();
    for path in ["b/x", "a.b", "a/y", "a/b/c", "B", "é"] {
        root.make_dirs(path, 0o755, (0, 0)).unwrap();
    }
    let mut walk = root.walk("").unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = walk.next().unwrap() {
        seen.push(entry.path.to_str().unwrap().to_owned());
        if entry.path == Path::new("a/b") {
            walk.skip();
        }
    }
    assert_eq!(seen, ["B", "a", "a/b", "a/y", "a.b", "b", "b/x", "é"]);
}

#[test]
fn attributes_survive_each_other() {
    let (_dir, root) = cage();
    write(&root, "f", "x");
    root.symlink("f", "l").unwrap();
    let xattrs = Xattrs::from([("user.a".into(), b"1\0\n".to_vec())]);
    let mtime = Time { seconds: -5, nanoseconds: 123_456_789 };
    let all = Attributes { owner: Some((1, 2)), mode: Some(0o6755), xattrs: xattrs.clone(), mtime: Some(mtime) };
    root.set_attributes("f", &all).unwrap();
    let link = Attributes { xattrs: Xattrs::new(), mtime: Some(Time::from_seconds(9)), owner: Some((3, 4)), mode: Some(0o600) };
    root.set_attributes("l", &link).unwrap();
    let found = root.stat("f").unwrap().unwrap();
    assert_eq!((found.uid, found.gid, found.mode, found.mtime), (1, 2, 0o6755, mtime));
    assert_eq!(root.xattrs("f").unwrap(), xattrs);
    assert_eq!(root.xattr("f", "user.b").unwrap(), None);
    let found = root.stat("l").unwrap().unwrap();
    assert_eq!((found.uid, found.gid, found.kind, found.mtime), (3, 4, Kind::Symlink, Time::from_seconds(9)));
    assert!(root.xattrs("l").unwrap().is_empty());
}

/// Row 8 of the adversarial list.
#[test]
fn a_name_swapped_meanwhile_leads_nowhere_else() {
    let (dir, root) = cage();
    let outside = dir.path().join("outside/dir");
    root.make_dir("real", 0o755).unwrap();
    root.symlink(&outside, "evil").unwrap();
    std::fs::rename(root.path().join("real"), root.path().join("swapped")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root.fd, "swapped", &root.fd, "evil", flags).unwrap();
            }
        });
        for root in both(&root) {
            for n in 0..300 {
                root.forget();
                let name = format!("swapped/f{n}");
                // It fails where the link dangles inside, or the file is written inside.
                let _ = root.create_file(&name, 0o600);
                let _ = root.set_mode("swapped", 0o700);
                let _ = root.remove(&name);
                let _ = root.make_dirs(format!("swapped/d{n}"), 0o755, (0, 0));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}
