//! Listing tags (distribution-spec, "Listing Tags") and deleting manifests ("Deleting Manifests").

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::header::LINK;

use crate::oci::{Digest, Reference};

use super::Client;
use super::endpoint::{Endpoint, Request};
use super::error::{Cause, RegistryError};

/// Tags that are asked for at once.
const PAGE: usize = 1000;
/// What one page may weigh at most, in bytes: tags have 128 at most.
const PAGE_LIMIT: u64 = 8 * 1024 * 1024;
/// Tags that are read at most.
const MOST_TAGS: usize = 1_000_000;

#[derive(serde::Deserialize)]
struct Page {
    /// Some registries say null where there are none.
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags of a repository; none where the registry does not know it.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn tags(&self, repository: &Reference) -> Result<Vec<String>, RegistryError> {
        let list = async { self.destination(repository).await?.tags().await };
        list.await.map_err(|cause| RegistryError::new("list the tags of", repository, cause))
    }

    /// Deletes a manifest with all tags that name it; one that is not there is gone already. Its blobs are the registry's to collect.
    ///
    /// # Errors
    /// The registry does not delete, or not for whoever asks.
    pub async fn delete_manifest(&self, repository: &Reference, digest: Digest) -> Result<(), RegistryError> {
        let delete = async {
            let mut endpoint = self.destination(repository).await?;
            endpoint.deletes = true;
            endpoint.delete_manifest(digest).await
        };
        delete.await.map_err(|cause| RegistryError::new("delete", repository.at(digest), cause))
    }
}

impl Endpoint {
    async fn tags(&self) -> Result<Vec<String>, Cause> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        loop {
            let mut url = self.url("tags/list").await?;
            url.query_pairs_mut().append_pair("n", &PAGE.to_string());
            if let Some(last) = known.last() {
                url.query_pairs_mut().append_pair("last", last);
            }
            let request = Request::new(Method::GET, url).tries(self.tries);
            let answer = match self.whole(&request, "the list of tags", PAGE_LIMIT).await? {
                Ok(answer) => answer,
                Err(other) if other.response.status().as_u16() == 404 => return Ok(Vec::new()),
                Err(other) => return Err(self.failed(other).await),
            };
            let more = answer.headers.contains_key(LINK);
            let page: Page = serde_json::from_slice(&answer.body).map_err(|error| Cause::Protocol(format!("its list of tags: {error}")))?;
            let before = known.len();
            known.extend(page.tags.unwrap_or_default());
            // A registry that says the same again and again is not asked for ever.
            if !more || known.len() == before || known.len() > MOST_TAGS {
                return Ok(known.into_iter().collect());
            }
        }
    }

    async fn delete_manifest(&self, digest: Digest) -> Result<(), Cause> {
        let url = self.url(&format!("manifests/{digest}")).await?;
        let answer = self.send(&Request::new(Method::DELETE, url).tries(self.tries)).await?;
        match answer.response.status().as_u16() {
            200..=299 | 404 => Ok(()),
            _ => Err(self.failed(answer).await),
        }
    }
}
