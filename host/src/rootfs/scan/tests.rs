use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

use super::*;
use crate::fs::Root;
use crate::layer::entries::{EntryKind, EntryMeta, Limits, for_each_entry};
use crate::layer::{LayerOptions, LayerWriter};
use crate::rootfs::disk::Disk;

fn take(path: &Path) -> Snapshot {
    let root = Root::open(path).unwrap();
    let snapshot = Snapshot::take(root.as_fd(), &BTreeSet::from([PathBuf::from("skipped")])).unwrap();
    snapshot.settle();
    snapshot
}

/// The entries that a script's changes make, one a word; directories end with a slash, links name their targets.
fn changes(prepare: &str, script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (tree, copy) = (dir.path().join("tree"), dir.path().join("copy"));
    std::fs::create_dir(&tree).unwrap();
    let sh = |script: &str| assert!(std::process::Command::new("sh").args(["-euc", script]).current_dir(&tree).status().unwrap().success());
    sh(prepare);
    assert!(std::process::Command::new("cp").arg("-a").arg(&tree).arg(&copy).status().unwrap().success());
    let before = take(&tree);
    sh(script);
    let after = take(&tree);
    let mut layer = LayerWriter::create(dir.path().join("layer"), LayerOptions::default()).unwrap();
    let original = Disk::new(Root::open(&copy).unwrap());
    after.write_changes(&before, &Root::open(&tree).unwrap(), &original, &mut layer).unwrap();
    let made = layer.finish().unwrap();
    let mut words = Vec::new();
    for_each_entry(std::fs::File::open(&made.path).unwrap(), &Limits::default(), &mut |meta: &EntryMeta, _: &mut dyn std::io::Read| {
        let name = meta.path.display();
        words.push(match &meta.kind {
            EntryKind::Directory => format!("{name}/"),
            EntryKind::HardLink(target) => format!("{name}={}", target.display()),
            EntryKind::Symlink(target) => format!("{name}@{}", target.display()),
            EntryKind::Fifo => format!("{name}|"),
            _ => name.to_string(),
        });
        Ok::<_, crate::layer::entries::ReadError>(())
    })
    .unwrap();
    words.join(" ")
}

#[test]
fn what_a_step_did_is_what_the_layer_says() {
    let base = "mkdir -p a/b c/d skipped; echo 1 >a/b/f; echo 2 >a/g; echo 3 >c/d/h; ln a/g a/h; ln -s g a/l";
    for (script, want) in [
        ("true", ""),
        ("echo x >>a/b/f", "a/ a/b/ a/b/f"),
        ("chmod 600 a/b/f", "a/ a/b/ a/b/f"),
        ("chmod 700 a/b", "a/ a/b/"),
        ("touch -d @5 a", ""),
        ("rm a/b/f", "a/ a/b/ a/b/.wh.f"),
        ("rm -r a", ".wh.a"),
        ("rm -r c/d; mkdir c/d; echo 4 >c/d/i", "c/ c/d/ c/d/.wh..wh..opq c/d/i"),
        ("rm -r c; echo 5 >c", "c"),
        ("rm a/b/f; mkdir a/b/f", "a/ a/b/ a/b/f/"),
        ("mkfifo n; ln -s x y", "n| y@x"),
        ("mv c e", ".wh.c e/ e/d/ e/d/h"),
        ("echo 6 >e; ln e f", "e f=e"),
        // The first names an inode that has a new name; its old names come along.
        ("ln a/g z", "a/ a/g a/h=a/g z=a/g"),
        ("rm a/h", "a/ a/.wh.h"),
        // Nothing came of it.
        ("chmod 600 a/b/f; chmod 644 a/b/f", ""),
        ("chown 0:0 a/b/f a/l -h", ""),
        ("touch -r a/b/f t; echo 1 >a/b/f; touch -r t a/b/f; rm t", ""),
        // As above, but with other content of the same length.
        ("touch -r a/b/f t; echo 9 >a/b/f; touch -r t a/b/f; rm t", "a/ a/b/ a/b/f"),
        ("echo x >skipped/x; rm -r skipped", ""),
        ("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'", ""),
        ("printf x >a/b/f-; printf x >a-; printf x >a.b", "a/ a/b/ a/b/f- a- a.b"),
    ] {
        assert_eq!(changes(base, script), want, "{script}");
    }
}

#[test]
fn extended_attributes_count() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let base = "mkdir d; echo 1 >f";
    let set = "import os; os.setxattr(\"f\", \"user.x\", b\"1\")";
    assert_eq!(changes(base, &format!("python3 -c '{set}'")), "f");
    assert_eq!(changes(base, &format!("python3 -c '{}'", set.replace("\"f\"", "\"d\""))), "d/");
}

#[test]
fn names_that_mean_deletions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let before = take(dir.path());
    std::fs::write(dir.path().join(".wh.x"), "").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let mut layer = LayerWriter::create(dir.path().join("layer"), LayerOptions::default()).unwrap();
    let original = Disk::new(Root::open(dir.path()).unwrap());
    let error = take(dir.path()).write_changes(&before, &root, &original, &mut layer).unwrap_err();
    assert!(matches!(error, ScanError::ReservedName { .. }), "{error}");
}

/// The clock that ctimes come from ticks a few hundred times a second: a file must not be written twice in one tick unseen.
#[test]
fn two_writes_in_one_tick_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    for round in 0..40 {
        std::fs::write(&file, format!("{round:02}")).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let before = take(dir.path());
        std::fs::write(&file, format!("{:02}", round + 1)).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let after = take(dir.path());
        assert_eq!(after.changes(&before).unwrap().len(), 1, "round {round}");
    }
}

#[test]
fn deep_and_wide_trees_are_scanned_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let deep: PathBuf = std::iter::repeat_n("directory", 300).collect();
    root.make_dirs(&deep, 0o755, (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())).unwrap();
    for at in 0..5000 {
        std::fs::write(dir.path().join(format!("a-file-with-quite-a-long-name-{at}")), "").unwrap();
    }
    let snapshot = take(dir.path());
    assert_eq!(snapshot.len(), 5300);
    assert!(snapshot.memory() / snapshot.len() < 200, "{} bytes for each name", snapshot.memory() / snapshot.len());
}

/// Measures; run by hand: `LAYERWRIGHT_SCAN=DIRECTORY cargo test --release scan_speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures a tree of the machine"]
fn scan_speed() {
    let Some(path) = std::env::var_os("LAYERWRIGHT_SCAN") else { return };
    let root = Root::open(path).unwrap();
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let snapshot = Snapshot::take(root.as_fd(), &BTreeSet::new()).unwrap();
        println!("{} names in {:?}, {} bytes each", snapshot.len(), start.elapsed(), snapshot.memory() / snapshot.len().max(1));
    }
}
