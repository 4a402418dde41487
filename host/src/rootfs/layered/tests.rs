use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use super::*;
use crate::fs::{Root, Time};
use crate::layer::entries::{EntryKind as E, EntryMeta};
use crate::layer::extract::{ExtractMode, ExtractOptions, extract};
use crate::layer::{Compression, LayerOptions, LayerWriter, NewLayer};
use crate::rootfs::disk::Disk;

fn meta(path: &str, kind: E, size: u64) -> EntryMeta {
    let mtime = Time::from_seconds(7);
    EntryMeta { path: path.into(), kind, mode: 0o751, uid: 1, gid: 2, mtime, size, xattrs: Xattrs::new() }
}

/// `a=content`, `a/`, `a@target`, `a&linked`, `-a` for a whiteout, `!a` for an opaque directory.
fn layer(dir: &Path, name: &str, entries: &[&str]) -> NewLayer {
    let options = LayerOptions { compression: Compression::ZSTD, latest_mtime: None };
    let mut writer = LayerWriter::create(dir.join(name), options).unwrap();
    for entry in entries {
        if let Some(path) = entry.strip_prefix('-') {
            writer.whiteout(Path::new(path)).unwrap();
        } else if let Some(path) = entry.strip_prefix('!') {
            writer.opaque(Path::new(path)).unwrap();
        } else if let Some((path, target)) = entry.split_once('@') {
            writer.append(&meta(path, E::Symlink(target.into()), 0), None).unwrap();
        } else if let Some((path, target)) = entry.split_once('&') {
            writer.append(&meta(path, E::HardLink(target.into()), 0), None).unwrap();
        } else if let Some((path, content)) = entry.split_once('=') {
            writer.append(&meta(path, E::File, content.len() as u64), Some(&mut content.as_bytes())).unwrap();
        } else {
            writer.append(&meta(entry.trim_end_matches('/'), E::Directory, 0), None).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn indexed(layer: &NewLayer) -> IndexedLayer {
    let path = layer.path.clone();
    IndexedLayer { diff_id: layer.diff_id, open: Arc::new(move || Ok(Box::new(std::fs::File::open(&path)?))) }
}

fn dump(tree: &dyn ReadTree) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        for entry in tree.entries(&directory).unwrap() {
            let path = directory.join(&entry.name);
            let node = tree.stat(&path).unwrap().unwrap();
            let mut text = format!("{:?} {:o} {} {}", node.kind, node.mode, node.uid, node.link.is_some());
            match node.kind {
                Kind::Directory => todo.push(path.clone()),
                Kind::Symlink => text.push_str(&tree.read_link(&path).unwrap().to_string_lossy()),
                _ => drop(tree.open(&path, &node).unwrap().read_to_string(&mut text).unwrap()),
            }
            all.insert(path, text);
        }
    }
    all
}

/// The index says what unpacking would have made.
#[test]
fn layers_are_indexed_as_they_are_unpacked() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let stacks: [&[&[&str]]; 9] = [
        &[&["a/", "a/f=1", "a/g=2"], &["a/", "-a/f"]],
        &[&["a/", "a/f=1", "a/d/", "a/d/x=1"], &["a/new=1", "!a", "a/d/y=2"]],
        &[&["a/", "a/f=1"], &["a=file"]],
        &[&["a=file"], &["a/", "a/b=1"]],
        &[&["real/", "link@/real", "link/f=1"], &["link/g=2", "-link/f", "real/h&real/g"]],
        &[&["f=1", "g&f"], &["f=2", "h&g"]],
        &[&["up@../../..", "up/x/y=1"], &["up/x/z=2", "-nothing", "-no/where"]],
        &[&["no/parent/f=1"], &["no/", "no/parent@f"]],
        &[&["d/", "d/e/", "d/e/f=1"], &["-d", "d/", "d/g=1"]],
    ];
    for (number, stack) in stacks.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let root = Root::open(dir.path().join("root")).unwrap();
        let mut layers = Vec::new();
        for (at, entries) in stack.iter().enumerate() {
            let layer = layer(dir.path(), &at.to_string(), entries);
            let options = ExtractOptions { mode: ExtractMode::Merge, limits: Default::default(), expected: Some(layer.diff_id) };
            extract(std::fs::File::open(&layer.path).unwrap(), &root, &options).unwrap();
            layers.push(indexed(&layer));
        }
        root.forget();
        assert_eq!(dump(&Layered::on(layers, dir.path())), dump(&Disk::new(root)), "stack {number}");
    }
}

#[test]
fn changes_on_top_of_changes_give_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let base = layer(dir.path(), "base", &["a/", "a/f=1", "a/g&a/f", "b/", "b/c/", "b/c/d=1", "e=1"]);
    let mut tree = Layered::on(vec![indexed(&base)], dir.path());
    let plain = Attributes { mode: Some(0o600), owner: Some((3, 4)), mtime: Some(Time::from_seconds(5)), ..Attributes::default() };
    assert!(!tree.changed());
    tree.remove(Path::new("b/c/nothing")).unwrap();
    assert!(!tree.changed());
    let untouched = tree.clone();

    tree.put_file(Path::new("a/new"), &plain, Content::Bytes(b"new")).unwrap();
    tree.hard_link(Path::new("a/new"), Path::new("b/new")).unwrap();
    tree.remove(Path::new("b/c")).unwrap();
    tree.remove(Path::new("e")).unwrap();
    tree.make_dir(Path::new("e"), &plain).unwrap();
    tree.put_file(Path::new("e/s"), &plain, Content::Stream(&mut &b"spooled"[..], 7)).unwrap();
    assert!(tree.changed());
    let mut writer = LayerWriter::create(dir.path().join("one"), LayerOptions::default()).unwrap();
    tree.write_changes(&mut writer).unwrap();
    let one = writer.finish().unwrap();
    // a/ a/new b/ b/.wh.c b/new e/ e/s
    assert_eq!(one.entries, 7);
    let again = Layered::on(vec![indexed(&base), indexed(&one)], dir.path());
    assert_eq!(dump(&again), dump(&tree));

    // The clone went its own way, and so does the next step.
    assert_eq!(dump(&untouched), dump(&Layered::on(vec![indexed(&base)], dir.path())));
    tree.begin();
    assert!(!tree.changed());
    tree.set_attributes(Path::new("a"), &plain).unwrap();
    let mut writer = LayerWriter::create(dir.path().join("two"), LayerOptions::default()).unwrap();
    tree.write_changes(&mut writer).unwrap();
    let two = writer.finish().unwrap();
    assert_eq!(two.entries, 1);
    let mut again = again;
    again.push_layer(indexed(&two)).unwrap();
    assert_eq!(dump(&again), dump(&tree));
}

#[test]
fn a_tree_made_on_nothing_is_stacked() {
    let dir = tempfile::tempdir().unwrap();
    let base = layer(dir.path(), "base", &["ln@real", "real/", "real/f=1", "d/", "d/old=1", "x=1"]);
    let mut lower = Layered::on(vec![indexed(&base)], dir.path());
    let mut upper = Layered::scratch(dir.path());
    for entry in ["ln", "d", "x"] {
        upper.make_dir(Path::new(entry), &Attributes::default()).unwrap();
        upper.put_file(&Path::new(entry).join("n"), &Attributes::default(), Content::Bytes(entry.as_bytes())).unwrap();
    }
    let mut writer = LayerWriter::create(dir.path().join("upper"), LayerOptions::default()).unwrap();
    upper.write_changes(&mut writer).unwrap();
    let upper_layer = writer.finish().unwrap();
    lower.stack(&Arc::new(upper)).unwrap();
    assert_eq!(dump(&lower), dump(&Layered::on(vec![indexed(&base), indexed(&upper_layer)], dir.path())));
}

#[test]
fn files_of_layers_are_fetched_in_one_go() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let base = layer(dir.path(), "base", &["etc/", "etc/passwd=root:x:0:0", "a=1", "b=22", "c&b"]);
    let opened = Arc::new(AtomicUsize::new(0));
    let (count, plain) = (Arc::clone(&opened), indexed(&base));
    let counted = IndexedLayer {
        open: Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            (plain.open)()
        }),
        ..indexed(&base)
    };
    let tree = Layered::on(vec![counted], dir.path());
    let read = |path: &str| {
        let mut text = String::new();
        let node = tree.stat(Path::new(path)).unwrap().unwrap();
        tree.open(Path::new(path), &node).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!(opened.load(Ordering::Relaxed), 0, "nothing is read before it is needed");
    assert_eq!(read("etc/passwd"), "root:x:0:0");
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    tree.prefetch(&["a".into(), "b".into(), "c".into()]).unwrap();
    assert_eq!((read("a"), read("b"), read("c")), ("1".into(), "22".into(), "22".into()));
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

#[test]
fn a_layer_with_another_content_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (layer(dir.path(), "1", &["a=1"]), layer(dir.path(), "2", &["a=2"]));
    let wrong = IndexedLayer { diff_id: other.diff_id, ..indexed(&one) };
    assert!(matches!(Layered::on(vec![wrong], dir.path()).stat(Path::new("a")), Err(TreeError::WrongLayer { .. })));
}

#[test]
fn names_are_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let name = Path::new(OsStr::from_bytes(b"\xff\n"));
    let mut tree = Layered::scratch(dir.path());
    tree.put_file(name, &Attributes::default(), Content::Bytes(b"")).unwrap();
    let mut writer = LayerWriter::create(dir.path().join("l"), LayerOptions::default()).unwrap();
    tree.write_changes(&mut writer).unwrap();
    let layer = writer.finish().unwrap();
    assert!(Layered::on(vec![indexed(&layer)], dir.path()).stat(name).unwrap().is_some());
}
