use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::fs::{Kind, Time, Xattrs};
use crate::layer::entries::{EntryKind, EntryMeta};
use crate::layer::{LayerOptions, LayerWriter};
use crate::oci::DiffId;

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

fn meta(path: &str, kind: EntryKind) -> EntryMeta {
    let size = if kind == EntryKind::File { 4 } else { 0 };
    EntryMeta { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, mtime: Time::from_seconds(5), size, xattrs: Xattrs::new() }
}

/// A layer of directories (that end in a slash), links (`name -> target`) and files.
pub(super) fn layer(store: &Store, entries: &[&str]) -> LayerSource {
    let mut writer = LayerWriter::create(store.temporary_path(), LayerOptions::default()).unwrap();
    for entry in entries {
        if let Some((path, target)) = entry.split_once(" -> ") {
            writer.append(&meta(path, EntryKind::HardLink(target.into())), None).unwrap();
        } else if let Some(path) = entry.strip_suffix('/') {
            writer.append(&meta(path, EntryKind::Directory), None).unwrap();
        } else {
            writer.append(&meta(entry, EntryKind::File), Some(&mut "data".as_bytes())).unwrap();
        }
    }
    let mut layer = writer.finish().unwrap();
    layer.move_to(store.blob_path(&layer.digest)).unwrap();
    LayerSource { diff_id: layer.diff_id, blob: layer.path }
}

fn sessions(store: &Store) -> usize {
    std::fs::read_dir(store.path.join("tmp")).unwrap().count()
}

#[test]
fn blobs_appear_when_they_are_whole_and_right() {
    let (_dir, store) = store();
    let digest = Digest::of(b"hello");
    let mut blob = store.begin_blob().unwrap();
    blob.write_all(b"hello").unwrap();
    assert!(!store.has_blob(&digest));
    assert_eq!(blob.finish(Some((digest, 5))).unwrap(), (digest, 5));
    assert!(store.has_blob(&digest));
    for (content, size) in [("hullo", 5), ("hello", 6)] {
        let other = Digest::of(b"other");
        let mut blob = store.begin_blob().unwrap();
        blob.write_all(content.as_bytes()).unwrap();
        assert!(matches!(blob.finish(Some((other, size))), Err(StoreError::Blob { .. })));
        assert!(!store.has_blob(&other));
    }
    drop(store.begin_blob().unwrap());
    assert_eq!(std::fs::read_dir(&store.session.path).unwrap().count(), 2, "only the lock, and the names of what is used");
}

/// Where all have the same names ext4 puts all into one block group.
#[test]
fn no_name_for_work_comes_twice() {
    let name = |(_dir, store): (tempfile::TempDir, Store)| store.temporary_directory().unwrap().path().file_name().unwrap().to_owned();
    assert_ne!(name(store()), name(store()));
}

#[test]
fn a_layer_is_unpacked_once() {
    let (_dir, store) = store();
    let layers = [layer(&store, &["d/", "d/f"]), layer(&store, &["d/", "d/g"])];
    let first = store.unpack(&layers).unwrap();
    let ino = |paths: &[PathBuf]| Root::open(&paths[0]).unwrap().stat("d/f").unwrap().unwrap().ino;
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(&store.path).unwrap().unpack(&layers).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for again in found {
        assert_eq!((&again, ino(&again)), (&first, ino(&first)));
    }
}

#[test]
fn what_needs_the_layers_below_belongs_to_that_stack() {
    let (_dir, store) = store();
    let below = layer(&store, &["d/", "d/f"]);
    let other = layer(&store, &["d/", "d/f", "d/x"]);
    let above = layer(&store, &["h -> d/f", "new/file"]);
    let one = store.unpack(&[below.clone(), above.clone()]).unwrap();
    let two = store.unpack(&[other, above.clone()]).unwrap();
    assert_ne!(one[1], two[1]);
    assert_eq!(store.unpack(&[below, above.clone()]).unwrap(), one);
    let root = Root::open(&one[1]).unwrap();
    assert_eq!(root.stat("h").unwrap().unwrap().ino, root.stat("d/f").unwrap().unwrap().ino);
    assert!(matches!(store.unpack(&[above]), Err(StoreError::Unpack { .. })));
}

#[test]
fn a_layer_of_other_content_leaves_nothing() {
    let (_dir, store) = store();
    let mut layer = layer(&store, &["f"]);
    layer.diff_id = DiffId(Digest::of(b"other"));
    assert!(matches!(store.unpack(std::slice::from_ref(&layer)), Err(StoreError::Unpack { .. })));
    layer.blob = store.blob_path(&Digest::of(b"nothing"));
    assert!(matches!(store.unpack(&[layer]), Err(StoreError::Io { .. })));
    assert_eq!(std::fs::read_dir(store.path.join("layers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(&store.session.path).unwrap().count(), 2, "only the lock, and the names of what is used");
}

#[test]
fn a_made_layer_is_adopted() {
    let (_dir, store) = store();
    let work = store.temporary_directory().unwrap();
    let id = DiffId(Digest::of(b"made"));
    for _ in 0..2 {
        let files = work.path().join("files");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("f"), "").unwrap();
        let path = store.adopt(&files, id).unwrap();
        assert!(path.join("f").is_file());
        let source = LayerSource { diff_id: id, blob: PathBuf::from("/nowhere") };
        assert_eq!(store.unpack(&[source]).unwrap(), [path]);
        std::fs::remove_dir_all(&files).ok();
    }
}

#[test]
fn what_the_dead_leave_is_removed_and_the_living_are_left_alone() {
    let (_dir, store) = store();
    let alive = store.temporary_directory().unwrap();
    // Someone else has a session, and dies.
    let script = "mkdir -p $0/tmp/9-0/1/2; exec 9>$0/tmp/9-0/lock; flock 9; echo; read line";
    let child = Command::new("sh").args(["-c", script]).arg(&store.path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    std::fs::create_dir_all(store.path.join("tmp/8-0/left")).unwrap();
    drop(Store::open(&store.path).unwrap());
    assert!(store.path.join("tmp/9-0/1/2").is_dir());
    assert!(!store.path.join("tmp/8-0").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(Store::open(&store.path).unwrap());
    assert!(!store.path.join("tmp/9-0").exists());
    assert!(alive.path().is_dir());
    assert_eq!(sessions(&store), 1);
    let mode = Root::open(&store.path).unwrap().stat("layers").unwrap().unwrap();
    assert_eq!((mode.mode, mode.kind), (0o700, Kind::Directory));
    let path = store.path.clone();
    drop((alive, store));
    assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
}

#[test]
fn attributes_of_the_root_itself_are_plain_unless_the_layer_says() {
    let (_dir, store) = store();
    let plain = store.unpack(&[layer(&store, &["f"])]).unwrap();
    assert_eq!(Root::open(&plain[0]).unwrap().stat("").unwrap().unwrap().mode, 0o755);
    let mut writer = LayerWriter::create(store.temporary_path(), LayerOptions::default()).unwrap();
    writer.append(&EntryMeta { mode: 0o711, uid: 3, ..meta("", EntryKind::Directory) }, None).unwrap();
    let layer = writer.finish().unwrap();
    let said = store.unpack(&[LayerSource { diff_id: layer.diff_id, blob: layer.path }]).unwrap();
    let found = Root::open(&said[0]).unwrap().stat("").unwrap().unwrap();
    assert_eq!((found.mode, found.uid, found.mtime), (0o711, 3, Time::from_seconds(5)));
}
