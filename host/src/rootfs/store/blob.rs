use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::uses::blob_name;
use super::{Result, Store, StoreError, failed};
use crate::oci::{Digest, Hasher};

/// A blob on its way into the store; dropped before [`BlobWriter::finish`], it leaves nothing.
pub struct BlobWriter {
    store: Store,
    path: Option<PathBuf>,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    pub(super) fn new(store: &Store) -> Result<Self> {
        let path = store.temporary_path();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed("create", &path))?;
        Ok(Self { store: store.clone(), path: Some(path), file, hasher: Hasher::default(), size: 0 })
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the blob visible under its digest, which must be the expected one, as must be its size.
    pub fn finish(mut self, expected: Option<(Digest, u64)>) -> Result<(Digest, u64)> {
        let digest = std::mem::take(&mut self.hasher).finish();
        let found = (digest, self.size);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let (expected, expected_size) = expected;
            return Err(StoreError::Blob { expected, expected_size, found: digest, found_size: self.size });
        }
        self.store.claim(&[blob_name(&digest)])?;
        let to = self.store.blob_path(&digest);
        if let Some(path) = self.path.take() {
            std::fs::rename(&path, &to).map_err(failed("create", &to))?;
        }
        Ok(found)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            drop(std::fs::remove_file(path));
        }
    }
}
