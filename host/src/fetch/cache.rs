//! What is known of earlier downloads: validators by URL; the bytes are blobs of the store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::FetchError;
use crate::oci::Digest;
use crate::rootfs::store::Store;

/// An earlier download of a URL. The URL itself is not in it: it may be a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// As the server said it.
    pub(super) etag: Option<String>,
    /// As the server said it.
    pub(super) last_modified: Option<String>,
    /// From `Content-Disposition`.
    pub(super) name: Option<String>,
}

/// The largest record, in bytes.
const LIMIT: u64 = 64 * 1024;

fn path(store: &Store, url: &str) -> PathBuf {
    store.path().join("downloads").join(Digest::of(url.as_bytes()).hex())
}

/// The last download of a URL, if its bytes are still there.
pub(super) fn find(store: &Store, url: &str) -> Option<Record> {
    let path = path(store, url);
    if std::fs::metadata(&path).ok()?.len() > LIMIT {
        return None;
    }
    let record: Record = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    if !store.has_blob(&record.digest) {
        return None;
    }
    let there = std::fs::metadata(store.blob_path(&record.digest)).ok()?;
    // What is used stays longest.
    drop(std::fs::File::open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now())));
    (there.is_file() && there.len() == record.size).then_some(record)
}

/// Remembers a download, in one step for whoever looks at the same time.
pub(super) fn keep(store: &Store, url: &str, record: &Record) -> Result<(), FetchError> {
    let path = path(store, url);
    let write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let temporary = store.temporary_path();
        std::fs::write(&temporary, serde_json::to_vec(record)?)?;
        std::fs::rename(&temporary, &path)
    };
    write().map_err(|error| FetchError::Store { path: path.clone(), why: error.to_string() })
}
