//! Records of layers in a directory of the store, one file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::prune::{Entry, Prunable};
use super::record::RECORD_LIMIT;
use super::{Blobs, CacheError, CacheKey, Found, Record, RecordStore};
use crate::registry::{PushBlob, PushContent};
use crate::rootfs::store::Store;

/// Records in the store, beside the blobs that they name.
pub struct DirectoryStore {
    store: Store,
}

impl DirectoryStore {
    /// The records of a store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Where the records are, a file each.
    pub fn directory(store: &Path) -> PathBuf {
        store.join("cache")
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        Self::directory(self.store.path()).join(key.hex())
    }
}

#[async_trait]
impl RecordStore for DirectoryStore {
    fn place(&self) -> String {
        Self::directory(self.store.path()).display().to_string()
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Found>, CacheError> {
        let path = self.path(key);
        match read(&path) {
            // Whoever prunes the store is told so that the layer is in use.
            Ok(manifest) if Record::parse(&manifest).is_ok_and(|record| !self.store.has_blob(&record.layer.digest)) => Ok(None),
            Ok(manifest) => Ok(Some(Found { manifest: manifest.into(), blobs: Blobs::Directory(self.store.blobs()) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::File { path, source }),
        }
    }

    async fn put(&self, key: &CacheKey, manifest: &[u8], blob: &PushBlob) -> Result<(), CacheError> {
        let path = self.path(key);
        let here = self.store.blob_path(&blob.descriptor.digest);
        let kept = match &blob.content {
            // What came from elsewhere stays there.
            PushContent::File(file) if *file != here => Ok(()),
            PushContent::Remote(_) => Ok(()),
            PushContent::File(_) | PushContent::Bytes(_) => place(&path, manifest),
        };
        kept.map_err(|source| CacheError::File { path, source })
    }
}

#[async_trait]
impl Prunable for DirectoryStore {
    async fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let path = Self::directory(self.store.path());
        let files = match fs::read_dir(&path) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(CacheError::File { path, source }),
        };
        Ok(files.flatten().filter_map(|file| Entry::of(&read(&file.path()).ok()?)).collect())
    }

    /// The layers are the store's to take away.
    async fn remove(&self, entries: &[Entry]) -> Result<(), CacheError> {
        for entry in entries {
            let path = self.path(&entry.key);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(CacheError::File { path, source }),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

/// A record's bytes; of what is too large to be one, enough to tell.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, RECORD_LIMIT + 1), &mut bytes)?;
    Ok(bytes)
}

/// Makes a file that is whole as soon as it has its name.
fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let beside = path.with_file_name(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let made = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if made.is_err() {
        drop(fs::remove_file(&beside));
    }
    made
}
