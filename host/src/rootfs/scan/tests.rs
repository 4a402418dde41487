use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

use super::*;
use crate::fs::{Attributes, Kind, Root, Time};
use crate::layer::entries::{EntryKind, EntryMeta, Limits, for_each_entry};
use crate::layer::extract::{ExtractMode, ExtractOptions, extract};
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

/// Small, the same everywhere (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % end
    }
}

/// Fills a directory with every kind of entry, under names of any bytes.
fn grow(root: &Root, random: &mut Random) {
    let mut directories = vec![PathBuf::new()];
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..60 {
        let parent = directories[random.below(directories.len())].clone();
        let mut name = format!("{number}-").into_bytes();
        let length = [1, 5, 120, 240][random.below(4)];
        name.extend((0..length).map(|_| [b'a', b' ', b'\n', 0xff, b'\\', b'.'][random.below(6)]));
        let path = parent.join(OsStr::from_bytes(&name));
        let owner = [(0, 0), (12, 34), (2_147_483_647, 5), (3, 2_147_483_647)][random.below(4)];
        let mode = [0o644, 0o4755, 0o2711, 0o1777, 0o000, 0o7777][random.below(6)];
        let seconds = [0, 1_000_000_000, -5, 8_589_934_592][random.below(4)];
        let mut attributes =
            Attributes { owner: Some(owner), mode: Some(mode), mtime: Some(Time { seconds, nanoseconds: 0 }), ..Attributes::default() };
        match random.below(8) {
            0 | 1 => {
                root.make_dir(&path, 0o700).unwrap();
                directories.push(path.clone());
            }
            2 => root.symlink(["../..", "/etc/passwd", "nowhere"][random.below(3)], &path).unwrap(),
            3 if !files.is_empty() => {
                root.hard_link(&files[random.below(files.len())], &path).unwrap();
                continue;
            }
            4 => root.make_node(&path, Kind::Fifo, 0o600, (0, 0)).unwrap(),
            5 => root.make_node(&path, [Kind::CharDevice, Kind::BlockDevice][random.below(2)], 0o600, (7, 300)).unwrap(),
            _ => {
                let file = root.create_file(&path, 0o600).unwrap();
                file.set_len([0, 1, 511, 512, 200_000][random.below(5)]).unwrap();
                if random.below(3) == 0 {
                    attributes.xattrs.insert("user.note".into(), vec![0, 255, b'=', b'\n']);
                    attributes.xattrs.insert("security.capability".into(), b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
                }
                files.push(path.clone());
            }
        }
        root.set_attributes(&path, &attributes).unwrap();
    }
    // What was put into them has changed their times.
    for path in directories.iter().rev().filter(|path| !path.as_os_str().is_empty()) {
        root.set_times(path, Time { seconds: 7, nanoseconds: 0 }).unwrap();
    }
}

/// All that a layer says of a tree, in words.
fn described(root: &Root) -> Vec<String> {
    let mut walk = root.walk("").unwrap();
    let mut words = Vec::new();
    let mut names = std::collections::HashMap::new();
    while let Some(entry) = walk.next().unwrap() {
        let found = entry.metadata;
        let first = names.entry((found.dev, found.ino)).or_insert_with(|| entry.path.to_owned()).clone();
        let link = if found.kind == Kind::Symlink { entry.read_link().unwrap() } else { Default::default() };
        let size = if found.kind == Kind::File { found.size } else { 0 };
        words.push(format!(
            "{:?} {:?} {:o} {}:{} {:?} {:?} {size} {link:?} {first:?} {:?}",
            entry.path,
            found.kind,
            found.mode,
            found.uid,
            found.gid,
            found.mtime,
            found.device,
            entry.xattrs().unwrap()
        ));
    }
    words
}

/// `extract(create(tree)) == tree`.
#[test]
fn what_is_made_of_a_tree_unpacks_to_that_tree() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for seed in 1..=30 {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tree", "copy"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let [tree, copy] = ["tree", "copy"].map(|name| Root::open(dir.path().join(name)).unwrap());
        grow(&tree, &mut Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15)));
        let mut layer = LayerWriter::create(dir.path().join("layer"), LayerOptions::default()).unwrap();
        let nothing = Disk::new(copy.try_clone().unwrap());
        Snapshot::take(tree.as_fd(), &BTreeSet::new()).unwrap().write_changes(&Snapshot::default(), &tree, &nothing, &mut layer).unwrap();
        let made = layer.finish().unwrap();
        let options = ExtractOptions { mode: ExtractMode::Merge, limits: Limits::default(), expected: Some(made.diff_id) };
        extract(std::fs::File::open(&made.path).unwrap(), &copy, &options).unwrap();
        assert_eq!(described(&copy), described(&tree), "seed {seed}");
    }
}

/// kaniko-asks 2: what is remembered of a tree is small, and is taken without reading a file.
#[test]
fn a_name_takes_less_than_200_bytes_and_no_content_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for directory in 0..30 {
        let path = dir.path().join(format!("a-directory-with-a-long-name-{directory}"));
        std::fs::create_dir(&path).unwrap();
        for file in 0..100 {
            std::fs::write(path.join(format!("a-file-with-a-name-as-long-as-names-are-in-node-modules-{file}.js")), "content").unwrap();
        }
    }
    let root = Root::open(dir.path()).unwrap();
    let before = Snapshot::take(root.as_fd(), &BTreeSet::new()).unwrap();
    assert_eq!(before.len(), 3030);
    assert!(before.memory() / before.len() < 200, "{} bytes for {} names", before.memory(), before.len());
    // Nothing is opened but directories: what nobody may read is seen all the same, and no access time changes.
    let file = dir.path().join("a-directory-with-a-long-name-7/a-file-with-a-name-as-long-as-names-are-in-node-modules-7.js");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    std::fs::File::open(&file).unwrap().set_times(std::fs::FileTimes::new().set_accessed(old)).unwrap();
    let after = Snapshot::take(root.as_fd(), &BTreeSet::new()).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().accessed().unwrap(), old);
    assert_eq!(after.changes(&before).unwrap().len(), 1, "its change time has changed, and nothing else");
}

/// kaniko-asks 2: a scan costs about what it costs to look at each file once, which is what `find` does; and that is little.
#[test]
fn a_scan_takes_no_longer_than_looking_at_each_name() {
    const DIRECTORIES: u32 = 300;
    const FILES: u32 = 100;
    let dir = tempfile::tempdir().unwrap();
    for directory in 0..DIRECTORIES {
        let path = dir.path().join(format!("directory-{directory}"));
        std::fs::create_dir(&path).unwrap();
        for file in 0..FILES {
            std::fs::write(path.join(format!("a-file-of-a-package-{file}.js")), "content").unwrap();
        }
    }
    // Processor time, which other programs do not take away; of a process of its own, since other tests run in this one.
    let seconds = |command: &mut std::process::Command| {
        let measured = dir.path().join("measured");
        let mut timed = std::process::Command::new("time");
        timed.args(["--format=%U %S", "--output"]).arg(&measured).arg(command.get_program()).args(command.get_args());
        let output = timed.env("LAYERWRIGHT_SCAN", dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(&measured).unwrap().split_whitespace().map(|part| part.parse::<f64>().unwrap()).sum::<f64>()
    };
    let this = std::env::current_exe().unwrap();
    let scanned = seconds(std::process::Command::new(this).args(["--exact", "--ignored", "rootfs::scan::tests::scan_speed"])) / 5.0;
    let find = |_| seconds(std::process::Command::new("find").arg(dir.path()).args(["-printf", "%i %C@ %T@ %s %m %U %G\n"]));
    let found = (0..5).map(find).sum::<f64>() / 5.0;
    // Without optimisations, on a machine of any age.
    assert!(scanned < 4.0 * found + 0.05, "a scan took {scanned} s of the processor, find {found} s");
    let most = 3.0 * f64::from(DIRECTORIES * FILES) / 150_000.0;
    assert!(scanned < most, "a scan took {scanned} s of the processor, which is more than {most} s");
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
