use std::sync::atomic::{AtomicBool, Ordering};

use super::super::tests::{layer, store};
use super::*;
use crate::oci::Digest;

fn blob(store: &Store, content: &[u8], age: u64) -> Digest {
    let mut blob = store.begin_blob().unwrap();
    io::Write::write_all(&mut blob, content).unwrap();
    let (digest, _) = blob.finish(None).unwrap();
    grow_old(&store.blob_path(&digest), age);
    digest
}

fn grow_old(path: &Path, age: u64) {
    let then = SystemTime::now() - Duration::from_secs(age);
    File::open(path).unwrap().set_modified(then).unwrap();
}

/// Another process's view.
fn other(store: &Store) -> Store {
    Store::open(&store.path).unwrap()
}

fn there(store: &Store, digest: &Digest) -> bool {
    store.blob_path(digest).exists()
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let (_dir, store) = store();
    let digests: Vec<Digest> = [30, 10, 20].into_iter().map(|age| blob(&store, &[age; 10_000], age.into())).collect();
    store.release().unwrap();
    let before = store.prune(&Prune::default()).unwrap();
    assert_eq!((before.left.count, before.total()), (3, Amount::default()));
    let each = before.left.bytes / 3;
    let what = Prune { max_size: Some(2 * each), ..Prune::default() };
    let dry = store.prune(&Prune { dry_run: true, ..what.clone() }).unwrap();
    assert!(there(&store, &digests[0]), "nothing was removed");
    let pruned = store.prune(&what).unwrap();
    assert_eq!(pruned, dry, "what was said is what happens");
    assert_eq!((pruned.total(), pruned.left.bytes), (Amount { count: 1, bytes: each }, 2 * each));
    assert_eq!(digests.iter().map(|digest| there(&store, digest)).collect::<Vec<_>>(), [false, true, true]);
    // Use makes young again.
    assert!(other(&store).has_blob(&digests[2]));
    store.prune(&Prune { max_age: Some(Duration::from_secs(5)), ..Prune::default() }).unwrap();
    assert_eq!(digests.iter().map(|digest| there(&store, digest)).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn what_a_living_process_uses_stays() {
    let (_dir, store) = store();
    let builder = other(&store);
    let used = blob(&store, b"used", 100);
    let layers = [layer(&store, &["d/", "d/f"])];
    store.unpack(&layers).unwrap();
    store.release().unwrap();
    assert!(builder.has_blob(&used));
    let on_its_way = store.blob_path(&used).with_extension("17-3.part");
    std::fs::write(&on_its_way, "half").unwrap();
    let files = builder.unpack(&layers).unwrap();
    let all = Prune { all: true, ..Prune::default() };
    let pruned = store.prune(&all).unwrap();
    assert_eq!(pruned.in_use.count, 3, "{pruned:?}");
    assert!(there(&store, &used) && files[0].join("d/f").exists());
    assert_eq!(pruned.freed[&Holding::Blob].count, 1, "the layer's blob is nobody's");
    drop(builder);
    let pruned = store.prune(&all).unwrap();
    assert_eq!((pruned.total().count, pruned.left.count, pruned.in_use.count), (3, 0, 0), "{pruned:?}");
    assert!(!there(&store, &used) && !files[0].exists());
    assert_eq!(std::fs::read_dir(store.path.join("layers")).unwrap().count(), 0);
}

#[test]
fn a_cache_that_a_command_has_stays() {
    let (_dir, store) = store();
    let cache = store.path.join("caches/a");
    std::fs::create_dir_all(cache.join("files/deep")).unwrap();
    std::fs::write(cache.join("files/deep/f"), [0; 10_000]).unwrap();
    File::create(cache.join("lock")).unwrap();
    let all = Prune { all: true, ..Prune::default() };
    let held = File::open(cache.join("files")).unwrap();
    held.lock_shared().unwrap();
    assert_eq!(store.prune(&all).unwrap().in_use.count, 1);
    assert!(cache.join("files/deep/f").exists());
    drop(held);
    let pruned = store.prune(&all).unwrap();
    assert_eq!(pruned.freed[&Holding::Cache], Amount { count: 1, bytes: 3 * BLOCK + 2 * BLOCK });
    assert!(!cache.join("files").exists());
}

#[test]
fn the_size_of_a_layer_is_found_out_once() {
    let (_dir, store) = store();
    let layers = [layer(&store, &["d/", "d/f", "h -> d/f"])];
    let files = store.unpack(&layers).unwrap();
    store.release().unwrap();
    let first = store.prune(&Prune::default()).unwrap().left;
    let done = files[0].with_file_name(DONE);
    assert_eq!(std::fs::read_to_string(&done).unwrap(), format!("{}\n", 3 * BLOCK), "the root, a directory and a file of two names");
    std::fs::write(files[0].join("more"), [0; 9000]).unwrap();
    assert_eq!(store.prune(&Prune::default()).unwrap().left, first);
    assert_eq!(store.unpack(&layers).unwrap(), files, "the layer is still one");
}

#[test]
fn who_builds_and_who_prunes_do_not_disturb_each_other() {
    let (_dir, store) = store();
    let sources: Vec<_> = (0..4).map(|n| layer(&store, &["d/", &format!("d/{n}"), &format!("h{n} -> d/{n}")])).collect();
    // The blobs lie where nobody prunes, as those of a registry do.
    let registry = tempfile::tempdir().unwrap();
    let sources: Vec<_> = sources
        .into_iter()
        .enumerate()
        .map(|(n, mut source)| {
            let to = registry.path().join(n.to_string());
            std::fs::copy(&source.blob, &to).unwrap();
            source.blob = to;
            source
        })
        .collect();
    let ended = AtomicBool::new(false);
    let gone = std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut gone = 0;
            while !ended.load(Ordering::Relaxed) {
                let pruned = other(&store).prune(&Prune { all: true, ..Prune::default() }).unwrap();
                assert!(pruned.failed.is_empty(), "{:?}", pruned.failed);
                gone += pruned.total().count;
            }
            gone
        });
        let builders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let builder = other(&store);
                        let content = Digest::of(b"content");
                        if !builder.has_blob(&content) {
                            let mut blob = builder.begin_blob().unwrap();
                            io::Write::write_all(&mut blob, b"content").unwrap();
                            blob.finish(Some((content, 7))).unwrap();
                        }
                        let paths = builder.unpack(&sources).unwrap();
                        for (n, path) in paths.iter().enumerate() {
                            assert!(path.join("d").join(n.to_string()).exists() && path.join(format!("h{n}")).exists());
                        }
                        assert_eq!(std::fs::read(builder.blob_path(&content)).unwrap(), b"content");
                    }
                })
            })
            .collect();
        for builder in builders {
            builder.join().unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        pruner.join().unwrap()
    });
    assert!(gone > 0, "the pruner had something to do");
}
