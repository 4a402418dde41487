//! These mount: each test runs on a thread with a mount namespace of its own, and needs root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

use super::*;
use crate::fs::Kind;
use crate::layer::entries::{EntryKind, EntryMeta, Limits, for_each_entry};
use crate::rootfs::store::LayerSource;

/// Runs a test where its mounts end with it.
#[expect(deprecated, reason = "the safe form is for file descriptor tables, which are not unshared here")]
fn apart(test: impl FnOnce(&Store) + Send) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            let dir = tempfile::tempdir().unwrap();
            test(&Store::open(dir.path()).unwrap());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a script in the mount: a child inherits the namespace of the thread that starts it.
fn sh(rootfs: &mut OverlayRootFs, script: &str) {
    let merged = rootfs.merged().unwrap();
    let done = Command::new("sh").args(["-euc", script]).current_dir(merged).status().unwrap();
    assert!(done.success(), "{script}");
}

/// The entries of a layer, `path kind detail`.
fn entries(layer: &NewLayer) -> Vec<String> {
    let mut seen = Vec::new();
    let blob = std::fs::File::open(&layer.path).unwrap();
    for_each_entry::<crate::layer::entries::ReadError>(blob, &Limits::default(), &mut |meta: &EntryMeta, content| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        let path = meta.path.display();
        seen.push(match &meta.kind {
            EntryKind::Directory => format!("{path}/"),
            EntryKind::File => format!("{path}={text}"),
            EntryKind::Symlink(target) => format!("{path} -> {}", target.display()),
            EntryKind::HardLink(target) => format!("{path} => {}", target.display()),
            other => format!("{path} {other:?}"),
        });
        Ok(())
    })
    .unwrap();
    seen
}

fn tree(root: &Root) -> BTreeMap<PathBuf, (Kind, u32, u32, u64)> {
    let mut seen = BTreeMap::new();
    let mut walk = root.walk("").unwrap();
    while let Some(entry) = walk.next().unwrap() {
        let found = entry.metadata;
        let size = if found.kind == Kind::Directory { 0 } else { found.size };
        seen.insert(entry.path.to_owned(), (found.kind, found.mode, found.uid, size));
    }
    seen
}

#[test]
fn steps_become_layers_that_unpack_to_the_same_files() {
    apart(|store| {
        OverlayRootFs::probe(store).unwrap();
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        let mut layers = Vec::new();
        let mut step = |script: &str, expected: &[&str]| {
            sh(&mut rootfs, script);
            let layer = rootfs.commit_step(LayerOptions::default()).unwrap();
            assert_eq!(entries(&layer), expected, "{script}");
            assert_eq!(store.blob_path(&layer.digest), layer.path);
            layers.push(layer);
        };
        step(
            "mkdir -p a/b c; echo 1 > a/b/f; ln a/b/f a/h; ln -s ../x a/l; echo 2 > c/f; mkfifo p; mkdir c/deep; echo 3 > c/deep/f; echo 4 > top",
            &["a/", "a/b/", "a/b/f=1\n", "a/h => a/b/f", "a/l -> ../x", "c/", "c/deep/", "c/deep/f=3\n", "c/f=2\n", "p Fifo", "top=4\n"],
        );
        step("echo 5 > a/b/g", &["a/", "a/b/", "a/b/g=5\n"]);
        step("rm a/b/f; rm -r c/deep", &["a/", "a/b/", "a/b/.wh.f=", "c/", "c/.wh.deep="]);
        step("rm -r c; mkdir c; echo 6 > c/new; rm top; mkdir top; touch top/x", &["c/", "c/.wh..wh..opq=", "c/new=6\n", "top/", "top/x="]);
        step("true", &[]);
        step("touch a/tmp; rm a/tmp; mkdir d e; rmdir d; chmod 700 a/b", &["a/", "a/b/", "e/"]);
        step("chmod 755 a/b; echo 9 > a/b/g; mkdir -p n/m; touch n/m/o", &["a/", "a/b/", "a/b/g=9\n", "n/", "n/m/", "n/m/o="]);
        step("rm -rf n; mkdir n", &["n/", "n/.wh..wh..opq="]);
        step("mv a/b z; mv z/g a/", &["a/", "a/.wh.b=", "a/g=9\n", "z/"]);

        let merged = tree(&rootfs.read_root().unwrap());
        // The same layers, unpacked elsewhere from their blobs.
        let dir = tempfile::tempdir().unwrap();
        let other = Store::open(dir.path()).unwrap();
        let sources: Vec<_> = layers.iter().map(|layer| LayerSource { diff_id: layer.diff_id, blob: layer.path.clone() }).collect();
        let mut again = OverlayRootFs::new(other.clone(), other.unpack(&sources).unwrap()).unwrap();
        assert_eq!(tree(&again.read_root().unwrap()), merged);
        assert_eq!(tree(&Root::open(again.merged().unwrap()).unwrap()), merged);
        // And in one directory.
        let flat = tempfile::tempdir().unwrap();
        let root = Root::open(flat.path()).unwrap();
        for source in &sources {
            use crate::layer::extract::{ExtractMode, ExtractOptions, extract};
            let blob = std::fs::File::open(&source.blob).unwrap();
            let options = ExtractOptions { mode: ExtractMode::Merge, limits: Limits::default(), expected: Some(source.diff_id) };
            extract(blob, &root, &options).unwrap();
        }
        assert_eq!(tree(&root), merged);
        drop(again);
    });
}

#[test]
fn what_is_touched_and_not_changed_makes_no_entry() {
    apart(|store| {
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        sh(&mut rootfs, "mkdir -p etc tmp a; echo 1 > etc/f; echo 1 > a/one; ln a/one a/two; ln -s x etc/l; touch -d @1000000000.5 etc/f");
        rootfs.commit_step(LayerOptions::default()).unwrap();
        let before = rootfs.lowers().to_vec();
        sh(
            &mut rootfs,
            "touch tmp/x; rm tmp/x; : >> etc/f; chmod u+x etc/f; chmod u-x etc/f; touch -d @1000000000.5 etc/f; chown -h 0:0 etc/l",
        );
        let layer = rootfs.commit_step(LayerOptions::default()).unwrap();
        assert_eq!(entries(&layer), [""; 0]);
        assert_eq!(rootfs.lowers(), before);
        // As long, at the same time, of the same owner: and yet another.
        sh(&mut rootfs, "touch tmp/x; rm tmp/x; echo 2 > etc/f; touch -d @1000000000.5 etc/f");
        let layer = rootfs.commit_step(LayerOptions::default()).unwrap();
        assert_eq!(entries(&layer), ["etc/", "etc/f=2\n"]);
        assert!(!rootfs.lowers().last().unwrap().join("tmp").exists(), "the stored layer has what its entries say");
        // A link broken by copying, and one made to a file from below.
        sh(&mut rootfs, "echo 3 >> a/one; ln etc/f etc/g");
        assert_eq!(
            entries(&rootfs.commit_step(LayerOptions::default()).unwrap()),
            ["a/", "a/one=1\n3\n", "etc/", "etc/f=2\n", "etc/g => etc/f"]
        );
    });
}

#[test]
fn names_and_nodes_that_a_layer_cannot_hold() {
    apart(|store| {
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        sh(&mut rootfs, "mkdir d; touch d/.wh.x");
        let error = rootfs.commit_step(LayerOptions::default()).unwrap_err();
        assert!(matches!(&error, OverlayError::ReservedName { path } if path == Path::new("d/.wh.x")), "{error}");
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(rootfs.merged().unwrap().join("socket")).unwrap();
        Root::open(rootfs.merged().unwrap()).unwrap().create_file(OsStr::from_bytes(b"n\xff\n"), 0o644).unwrap();
        drop(socket);
        let layer = rootfs.commit_step(LayerOptions::default()).unwrap();
        assert_eq!(layer.entries, 1);
        assert!(!rootfs.lowers()[0].join("socket").exists());
    });
}

#[test]
fn attributes_reach_the_layer_without_those_of_overlayfs() {
    apart(|store| {
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        let root = Root::open(rootfs.merged().unwrap()).unwrap();
        root.make_dir("d", 0o755).unwrap();
        root.create_file("d/f", 0o755).unwrap();
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut attributes = Attributes { owner: Some((5, 6)), mode: Some(0o6711), ..Attributes::default() };
        attributes.xattrs.insert("security.capability".into(), capability.to_vec());
        attributes.xattrs.insert("user.x".into(), b"1".to_vec());
        root.set_attributes("d/f", &attributes).unwrap();
        drop(root);
        rootfs.commit_step(LayerOptions::default()).unwrap();
        sh(&mut rootfs, "chmod 6755 d/f");
        let layer = rootfs.commit_step(LayerOptions::default()).unwrap();
        let mut metas = Vec::new();
        for_each_entry::<crate::layer::entries::ReadError>(
            std::fs::File::open(&layer.path).unwrap(),
            &Limits::default(),
            &mut |meta, _| {
                metas.push(meta.clone());
                Ok(())
            },
        )
        .unwrap();
        let file = metas.last().unwrap();
        assert_eq!((file.mode, file.uid, file.gid), (0o6755, 5, 6));
        assert_eq!(file.xattrs, attributes.xattrs);
    });
}

#[test]
fn the_root_directory_keeps_its_attributes() {
    apart(|store| {
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        sh(&mut rootfs, "touch f; chmod 711 .; chown 3:4 .");
        rootfs.commit_step(LayerOptions::default()).unwrap();
        let found = Root::open(rootfs.merged().unwrap()).unwrap().stat("").unwrap().unwrap();
        assert_eq!((found.mode, found.uid, found.gid), (0o711, 3, 4));
        sh(&mut rootfs, "touch g");
        rootfs.commit_step(LayerOptions::default()).unwrap();
        assert_eq!(rootfs.read_root().unwrap().stat("").unwrap().unwrap().mode, 0o711);
    });
}

#[test]
fn what_was_opened_stays_readable() {
    apart(|store| {
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        assert!(rootfs.read_root().unwrap().read_dir("").unwrap().is_empty());
        sh(&mut rootfs, "echo 1 > f");
        rootfs.commit_step(LayerOptions::default()).unwrap();
        let root = rootfs.read_root().unwrap();
        assert!(root.create_file("new", 0o644).is_err());
        let temporary = rootfs.step.is_none();
        drop(rootfs);
        assert!(temporary);
        assert_eq!(std::io::read_to_string(root.open_file("f").unwrap()).unwrap(), "1\n");
    });
}

#[test]
fn many_layers_are_stacked_and_too_many_refused() {
    apart(|store| {
        let dirs: Vec<_> = (0..498)
            .map(|n| {
                let work = store.temporary_directory().unwrap();
                std::fs::write(work.path().join(format!("f{n}")), "").unwrap();
                work
            })
            .collect();
        let lowers: Vec<_> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        let mut rootfs = OverlayRootFs::new(store.clone(), lowers.clone()).unwrap();
        assert_eq!(Root::open(rootfs.merged().unwrap()).unwrap().read_dir("").unwrap().len(), 498);
        assert_eq!(rootfs.read_root().unwrap().read_dir("").unwrap().len(), 498);
        let one = store.temporary_directory().unwrap();
        let more = [lowers.clone(), vec![one.path().to_owned()]].concat();
        assert!(matches!(OverlayRootFs::new(store.clone(), more), Err(OverlayError::Layers(499))));
        // The form for older kernels.
        let old = store.temporary_directory().unwrap();
        mount::by_string(&Stack { lowers: &lowers[..150], upper: None }, old.path()).unwrap();
        assert_eq!(Root::open(old.path()).unwrap().read_dir("").unwrap().len(), 150);
        rustix::mount::unmount(old.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn an_opaque_root_hides_all_below() {
    apart(|store| {
        let part = |name: &str| {
            let work = store.temporary_directory().unwrap();
            std::fs::write(work.path().join(name), "").unwrap();
            work
        };
        let (below, opaque, above) = (part("below"), part("opaque"), part("above"));
        Root::open(opaque.path()).unwrap().set_xattr("", opaque_xattr(), b"y").unwrap();
        let lowers = [&below, &opaque, &above].map(|work| work.path().to_owned()).to_vec();
        let mut rootfs = OverlayRootFs::new(store.clone(), lowers).unwrap();
        let names: Vec<_> = rootfs.read_root().unwrap().read_dir("").unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["above", "opaque"]);
    });
}

#[test]
fn one_layer_may_be_there_twice() {
    apart(|store| {
        let mut rootfs = OverlayRootFs::new(store.clone(), Vec::new()).unwrap();
        let mut layers = Vec::new();
        for script in ["echo a > a", "rm a; echo b > b", "echo a > a; touch -d @0 a", "echo a > a; touch -d @0 a"] {
            sh(&mut rootfs, &format!("{script}; find . -exec touch -h -d @0 {{}} +"));
            let layer = rootfs.commit_step(LayerOptions::default()).unwrap();
            layers.push(LayerSource { diff_id: layer.diff_id, blob: layer.path });
        }
        let stack = vec![layers[0].clone(), layers[1].clone(), layers[0].clone()];
        let lowers = store.unpack(&stack).unwrap();
        let mut again = OverlayRootFs::new(store.clone(), lowers).unwrap();
        sh(&mut again, "test \"$(cat a b | tr -d '\\n')\" = ab");
    });
}
