//! Records of layers in a repository of a registry.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::prune::{Entry, Prunable};
use super::record::{EMPTY_CONFIG, RECORD_LIMIT, empty_config};
use super::{Blobs, CacheError, CacheKey, Found, RecordStore};
use crate::image::BlobSource;
use crate::oci::{MediaType, Reference};
use crate::registry::{Access, Client, PushBlob, PushContent};

/// Requests that are under way at a time where there is one for each record.
const AT_A_TIME: usize = 8;

/// Records in a repository, a tag each. The registry keeps a layer for as long as there is a record that names it.
pub struct RegistryStore {
    client: Client,
    repository: Reference,
    /// Whoever only reads asks for no more than that.
    access: Access,
}

impl RegistryStore {
    /// The records of a repository, which are only read where `push` does not say otherwise. The reference's tag does not count.
    pub fn new(client: &Client, repository: Reference, push: bool) -> Self {
        let access = if push { Access::Push } else { Access::Pull };
        Self { client: client.clone(), repository, access }
    }

    fn tag(&self, key: &CacheKey) -> Reference {
        self.repository.tagged(&key.hex())
    }
}

#[async_trait]
impl RecordStore for RegistryStore {
    fn place(&self) -> String {
        format!("{}/{}", self.repository.registry(), self.repository.repository())
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Found>, CacheError> {
        let found = self.client.find_manifest(&self.tag(key), self.access, RECORD_LIMIT).await?;
        let source = BlobSource { registry: self.repository.registry().to_owned(), repository: self.repository.repository().to_owned() };
        Ok(found.map(|manifest| Found { manifest, blobs: Blobs::Repository(source) }))
    }

    async fn put(&self, key: &CacheKey, manifest: &[u8], blob: &PushBlob) -> Result<(), CacheError> {
        let to = self.tag(key);
        let config = PushBlob { descriptor: empty_config(), content: PushContent::Bytes(Bytes::from_static(EMPTY_CONFIG)) };
        let (blob, config) = tokio::join!(self.client.push_blob(&to, blob), self.client.push_blob(&to, &config));
        blob?;
        config?;
        self.client.push_manifest(&to, manifest, &MediaType::OciManifest).await?;
        Ok(())
    }
}

#[async_trait]
impl Prunable for RegistryStore {
    async fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        // What has another name is not ours.
        let tags = self.client.tags(&self.repository).await?.into_iter();
        let keys: Vec<CacheKey> = tags.filter_map(|tag| tag.parse().ok()).collect();
        let mut entries = Vec::new();
        for some in keys.chunks(AT_A_TIME) {
            let tags: Vec<Reference> = some.iter().map(|key| self.tag(key)).collect();
            let found = tags.iter().map(|tag| self.client.find_manifest(tag, self.access, RECORD_LIMIT));
            for manifest in try_join_all(found).await? {
                entries.extend(manifest.and_then(|manifest| Entry::of(&manifest)));
            }
        }
        Ok(entries)
    }

    async fn remove(&self, entries: &[Entry]) -> Result<(), CacheError> {
        for some in entries.chunks(AT_A_TIME) {
            try_join_all(some.iter().map(|entry| self.client.delete_manifest(&self.repository, entry.manifest))).await?;
        }
        Ok(())
    }
}
