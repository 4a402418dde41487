//! Image layouts that several programs add to: entries of the index by name, changed under a lock.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;

use crate::oci::{Descriptor, Digest, MediaType};

use super::layout::{DOCUMENT_LIMIT, Layout, LayoutError, REF_NAME, failed};

/// The index is ours alone to change, until the value is dropped.
#[derive(Debug)]
pub struct LayoutLock {
    _file: File,
}

impl Layout {
    /// Waits until nobody else changes the index.
    ///
    /// # Errors
    /// The layout cannot be written to.
    pub fn lock(&self) -> Result<LayoutLock, LayoutError> {
        let path = self.root.join(".lock");
        let file = File::create(&path).map_err(failed(&path))?;
        file.lock().map_err(failed(&path))?;
        Ok(LayoutLock { _file: file })
    }

    /// What the index lists; nothing where there is none yet.
    fn listed(&self) -> Result<Vec<Descriptor>, LayoutError> {
        match self.entries() {
            Err(LayoutError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries,
        }
    }

    /// The name that an entry has.
    pub fn name_of(entry: &Descriptor) -> Option<&String> {
        entry.annotations.get(REF_NAME)
    }

    /// Gives a manifest a name, and takes it from the one that had it.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn name(&self, _lock: &LayoutLock, name: &str, mut manifest: Descriptor) -> Result<(), LayoutError> {
        let mut entries = self.listed()?;
        entries.retain(|entry| Self::name_of(entry).is_none_or(|known| known != name));
        manifest.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        entries.push(manifest);
        self.write_index(entries)
    }

    /// Takes names out of the index, and removes the blobs that no manifest in it needs any more.
    ///
    /// # Errors
    /// The index or a manifest cannot be read, or the disk says no. No blob is gone that the index needs.
    pub fn forget(&self, _lock: &LayoutLock, names: &BTreeSet<String>) -> Result<(), LayoutError> {
        let mut entries = self.listed()?;
        entries.retain(|entry| Self::name_of(entry).is_none_or(|name| !names.contains(name)));
        let mut needed = BTreeSet::new();
        let mut todo: Vec<Digest> = entries.iter().map(|entry| entry.digest).collect();
        while let Some(digest) = todo.pop() {
            if needed.insert(digest.hex()) {
                let path = self.blob(digest);
                let bytes = match self.read(&path, DOCUMENT_LIMIT) {
                    Ok(bytes) => bytes,
                    Err(LayoutError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                let document = crate::oci::Document::parse(&bytes, &MediaType::parse(""))?;
                match document {
                    crate::oci::Document::Manifest(manifest) => {
                        needed.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest.hex()));
                    }
                    crate::oci::Document::Index(index) => todo.extend(index.manifests.iter().map(|entry| entry.digest)),
                }
            }
        }
        self.write_index(entries)?;
        let blobs = self.blobs();
        for blob in fs::read_dir(&blobs).map_err(failed(&blobs))? {
            let blob = blob.map_err(failed(&blobs))?;
            // What is being written has a name that is no digest.
            let name = blob.file_name().to_string_lossy().into_owned();
            if name.len() == 64 && !needed.contains(&name) {
                fs::remove_file(blob.path()).map_err(failed(&blob.path()))?;
            }
        }
        Ok(())
    }
}
