//! Records of layers in an image layout.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::directory::read;
use super::prune::{Entry, Prunable};
use super::record::EMPTY_CONFIG;
use super::{Blobs, CacheError, CacheKey, Found, RecordStore, verified};
use crate::image::{Layout, LayoutError};
use crate::oci::{Descriptor, Digest, MediaType};
use crate::registry::{Client, PushBlob, PushContent};

/// Records in an image layout, each named by its key in the layout's index.
pub struct LayoutStore {
    path: PathBuf,
    /// For layers that are in a registry.
    client: Client,
}

impl LayoutStore {
    /// The records of a layout, which is made where it is not there and something is to be kept.
    pub fn new(path: &Path, client: &Client) -> Self {
        Self { path: path.to_owned(), client: client.clone() }
    }
}

#[async_trait]
impl RecordStore for LayoutStore {
    fn place(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Found>, CacheError> {
        if !self.path.join("index.json").exists() {
            return Ok(None);
        }
        let layout = Layout::open(&self.path)?;
        let name = key.hex();
        let Some(entry) = layout.entries()?.into_iter().find(|entry| Layout::name_of(entry) == Some(&name)) else { return Ok(None) };
        let path = layout.blob(entry.digest);
        match read(&path) {
            Ok(manifest) if Digest::of(&manifest) == entry.digest => {
                Ok(Some(Found { manifest: manifest.into(), blobs: Blobs::Directory(layout.blobs()) }))
            }
            Ok(_) => Err(CacheError::Spoilt(entry.digest)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::File { path, source }),
        }
    }

    async fn put(&self, key: &CacheKey, manifest: &[u8], blob: &PushBlob) -> Result<(), CacheError> {
        let (name, path, manifest) = (key.hex(), self.path.clone(), manifest.to_vec());
        let PushBlob { descriptor, content } = blob.clone();
        if let PushContent::Remote(source) = &content {
            let layout = Layout::create(&self.path)?;
            self.client.fetch_blob(source, &descriptor, &layout.blob(descriptor.digest)).await?;
        }
        let put = move || {
            let layout = Layout::create(&path)?;
            // Whoever prunes must not take a blob away that is about to be named.
            let lock = layout.lock()?;
            let there = layout.blob(descriptor.digest);
            if there.exists() && !verified(&there, &descriptor).unwrap_or(false) {
                // What is spoilt would never be replaced.
                std::fs::remove_file(&there).map_err(|source| LayoutError::File { path: there, source })?;
            }
            match &content {
                PushContent::File(file) => layout.put_file(descriptor.digest, file)?,
                PushContent::Bytes(bytes) => layout.put_bytes(descriptor.digest, bytes)?,
                PushContent::Remote(_) => {}
            }
            layout.put_bytes(Digest::of(EMPTY_CONFIG), EMPTY_CONFIG)?;
            let entry = Descriptor::new(MediaType::OciManifest, Digest::of(&manifest), manifest.len() as u64);
            layout.put_bytes(entry.digest, &manifest)?;
            layout.name(&lock, &name, entry)
        };
        let put = tokio::task::spawn_blocking(put).await.map_err(|_| CacheError::CutOff)?;
        Ok(put?)
    }
}

#[async_trait]
impl Prunable for LayoutStore {
    async fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        if !self.path.join("index.json").exists() {
            return Ok(Vec::new());
        }
        let layout = Layout::open(&self.path)?;
        let records = layout.entries()?.into_iter().filter(|entry| Layout::name_of(entry).is_some());
        Ok(records.filter_map(|entry| Entry::of(&read(&layout.blob(entry.digest)).ok()?)).collect())
    }

    async fn remove(&self, entries: &[Entry]) -> Result<(), CacheError> {
        if entries.is_empty() {
            return Ok(());
        }
        let names = entries.iter().map(|entry| entry.key.hex()).collect();
        let path = self.path.clone();
        let forget = move || {
            let layout = Layout::open(&path)?;
            layout.forget(&layout.lock()?, &names)
        };
        Ok(tokio::task::spawn_blocking(forget).await.map_err(|_| CacheError::CutOff)??)
    }
}
