//! Manifests: which one a tag stands for, which one of an index fits a platform, and fetching them with proof.

use std::path::PathBuf;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use crate::oci::{Descriptor, Digest, Document, ImageIndex, Manifest, MediaType, Platform, Version};

use super::endpoint::{Endpoint, Request};
use super::error::{Cause, clean};

/// What registries must take at least (distribution-spec, "Pushing Manifests"), and what is read at most.
pub(super) const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// Indexes within indexes.
const DEEPEST: u32 = 3;
const DIGEST_HEADER: &str = "docker-content-digest";
/// What a registry says of a manifest that is not the one that was sent.
const SPOILT: [&str; 4] = ["DIGEST_INVALID", "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNVERIFIED"];
/// Said by registries that keep lists of what points at a manifest (distribution-spec, "Pushing Manifests with Subject").
const SUBJECT_HEADER: &str = "oci-subject";
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest whose bytes have the digest.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Of the bytes.
    pub digest: Digest,
    /// As served.
    pub bytes: Bytes,
    /// What the bytes say.
    pub document: Document,
}

/// Manifests and configurations that are at hand already, by digest.
#[derive(Clone, Default)]
pub(super) struct ContentCache(pub(super) Option<PathBuf>);

impl ContentCache {
    /// Content of this digest and at most `limit` bytes. What does not have the digest is not there.
    pub(super) async fn get(&self, digest: Digest, limit: u64) -> Option<Bytes> {
        let path = self.0.as_ref()?.join(digest.hex());
        let size = tokio::fs::metadata(&path).await.ok()?.len();
        if size > limit {
            return None;
        }
        let bytes = tokio::fs::read(&path).await.ok()?;
        (Digest::of(&bytes) == digest).then(|| bytes.into())
    }

    /// Whether nothing is at hand for sure.
    async fn is_empty(&self) -> bool {
        let Some(directory) = &self.0 else { return false };
        match tokio::fs::read_dir(directory).await {
            Ok(mut entries) => matches!(entries.next_entry().await, Ok(None)),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Keeps content; a cache that cannot be written to is no failure.
    pub(super) async fn put(&self, digest: Digest, bytes: &[u8]) {
        let Some(directory) = &self.0 else { return };
        let path = directory.join(digest.hex());
        if tokio::fs::try_exists(&path).await.unwrap_or(true) {
            return;
        }
        let beside = super::blob::temporary(&path);
        let written = match tokio::fs::create_dir_all(directory).await {
            Ok(()) => tokio::fs::write(&beside, bytes).await,
            Err(error) => Err(error),
        };
        if written.is_err() || tokio::fs::rename(&beside, &path).await.is_err() {
            let _ = tokio::fs::remove_file(&beside).await;
        }
    }
}

impl Endpoint {
    /// The manifest of one image: that of the version itself, or the one for `platform` where the version is an index.
    pub(super) async fn manifest(
        &self,
        version: &Version,
        platform: &Platform,
        cache: &ContentCache,
    ) -> Result<(Fetched, Manifest), Cause> {
        let mut fetched = self.document(version, cache).await?;
        for _ in 0..DEEPEST {
            let index = match &fetched.document {
                Document::Manifest(manifest) => {
                    let manifest = manifest.clone();
                    return Ok((fetched, manifest));
                }
                Document::Index(index) => index,
            };
            let entry = select(index, platform)?;
            if entry.size > MANIFEST_LIMIT {
                return Err(Cause::TooLarge { what: "the manifest", limit: MANIFEST_LIMIT });
            }
            let (wanted, kind) = (entry.size, entry.media_type.clone());
            fetched = self.document(&Version::Digest(entry.digest), cache).await?;
            if fetched.bytes.len() as u64 != wanted {
                return Err(Cause::SizeMismatch { wanted, received: fetched.bytes.len() as u64 });
            }
            // Read again as what the index says that it is.
            fetched.document = Document::parse(&fetched.bytes, &kind)?;
        }
        Err(Cause::Protocol(format!("indexes lie more than {DEEPEST} deep")))
    }

    /// The document that a version stands for. A tag is resolved without fetching, so that what is at hand is not fetched
    /// again, nor counted as a pull.
    pub(super) async fn document(&self, version: &Version, cache: &ContentCache) -> Result<Fetched, Cause> {
        let digest = match version {
            Version::Digest(digest) => Some(*digest),
            // Where nothing is at hand, it would be fetched all the same.
            Version::Tag(_) if cache.is_empty().await => None,
            Version::Tag(_) => self.resolve(version).await?,
        };
        let Some(digest) = digest else { return self.get_manifest(version, cache).await };
        if let Some(bytes) = cache.get(digest, MANIFEST_LIMIT).await {
            let document = Document::parse(&bytes, &MediaType::parse(""))?;
            return Ok(Fetched { digest, bytes, document });
        }
        self.get_manifest(&Version::Digest(digest), cache).await
    }

    /// The digest that a version stands for; none where the registry does not tell without sending the manifest.
    pub(super) async fn resolve(&self, version: &Version) -> Result<Option<Digest>, Cause> {
        let answer = self.send(&self.manifest_request(Method::HEAD, version).await?).await?;
        match answer.response.status().as_u16() {
            200 => Ok(digest_header(answer.response.headers())?),
            // 403: the answer to GET says why. 405 and the like: HEAD is not known there.
            400 | 403 | 405 | 406 | 501 => Ok(None),
            _ => Err(self.failed(answer).await),
        }
    }

    async fn get_manifest(&self, version: &Version, cache: &ContentCache) -> Result<Fetched, Cause> {
        let first = self.get_manifest_once(version, cache).await;
        if self.is_spoilt(&first) { self.get_manifest_once(version, cache).await } else { first }
    }

    async fn get_manifest_once(&self, version: &Version, cache: &ContentCache) -> Result<Fetched, Cause> {
        let request = self.manifest_request(Method::GET, version).await?;
        let answer = match self.whole(&request, "the manifest", MANIFEST_LIMIT).await? {
            Ok(answer) => answer,
            Err(other) => return Err(self.failed(other).await),
        };
        let stated = digest_header(&answer.headers)?;
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = MediaType::parse(kind);
        let bytes: Bytes = answer.body.into();
        let received = Digest::of(&bytes);
        let wanted = match version {
            Version::Digest(digest) => Some(*digest),
            Version::Tag(_) => stated,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != received) {
            return Err(Cause::DigestMismatch { wanted, received });
        }
        let document = Document::parse(&bytes, &kind)?;
        cache.put(received, &bytes).await;
        Ok(Fetched { digest: received, bytes, document })
    }

    /// The bytes under a version, whatever they say; none where there is nothing.
    pub(super) async fn find_manifest(&self, version: &Version, limit: u64) -> Result<Option<Bytes>, Cause> {
        let request = self.manifest_request(Method::GET, version).await?;
        match self.whole(&request, "the manifest", limit).await? {
            Ok(answer) => Ok(Some(answer.body.into())),
            Err(other) if other.response.status().as_u16() == 404 => Ok(None),
            Err(other) => Err(self.failed(other).await),
        }
    }

    async fn manifest_request(&self, method: Method, version: &Version) -> Result<Request, Cause> {
        let url = self.url(&format!("manifests/{version}")).await?;
        Request::new(method, url).tries(self.tries).header(ACCEPT, ACCEPTED)
    }

    /// Puts a manifest in its place, exactly these bytes. Also tells whether the registry took note of what the manifest points at.
    pub(super) async fn put_manifest(&self, version: &Version, bytes: &[u8], kind: &MediaType) -> Result<(Digest, bool), Cause> {
        let mut left = 2;
        loop {
            let put = self.put_manifest_once(version, bytes, kind).await;
            // The bytes are right: if others arrived, they may stand under the tag now, or name what is not there.
            let spoilt = match &put {
                Err(Cause::DigestMismatch { .. }) => true,
                Err(Cause::Status { status: 400, detail }) => SPOILT.iter().any(|code| detail.contains(code)),
                _ => false,
            };
            if !spoilt || left == 0 {
                return put;
            }
            left -= 1;
        }
    }

    async fn put_manifest_once(&self, version: &Version, bytes: &[u8], kind: &MediaType) -> Result<(Digest, bool), Cause> {
        let url = self.url(&format!("manifests/{version}")).await?;
        let mut request = Request::new(Method::PUT, url).tries(self.tries).header(CONTENT_TYPE, kind.as_str())?;
        request.body = super::body::Payload::Bytes(Bytes::copy_from_slice(bytes));
        let answer = self.send(&request).await?;
        if !answer.response.status().is_success() {
            return Err(self.failed(answer).await);
        }
        let digest = Digest::of(bytes);
        match digest_header(answer.response.headers())? {
            Some(received) if received != digest => Err(Cause::DigestMismatch { wanted: digest, received }),
            _ => Ok((digest, answer.response.headers().contains_key(SUBJECT_HEADER))),
        }
    }
}

fn digest_header(headers: &HeaderMap) -> Result<Option<Digest>, Cause> {
    let Some(value) = headers.get(DIGEST_HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map(Some).map_err(|error| Cause::Protocol(format!("{error}")))
}

/// The entry of an index that fits a platform best, the first among equals. An entry that says nothing of a platform is
/// the last resort: its configuration will say.
fn select<'a>(index: &'a ImageIndex, wanted: &Platform) -> Result<&'a Descriptor, Cause> {
    let images = index.manifests.iter().filter(|entry| entry.media_type.is_manifest() || entry.media_type.is_index());
    let score = |entry: &&Descriptor| match &entry.platform {
        Some(platform) => platform.serves(wanted),
        None => Some(u32::MAX),
    };
    let best = images.clone().filter(|entry| score(entry).is_some()).min_by_key(score);
    best.ok_or_else(|| {
        let known = |platform: &&Platform| platform.os != "unknown";
        let mut available: Vec<String> = images
            .filter_map(|entry| entry.platform.as_ref())
            .filter(known)
            .map(|platform| clean(&platform.to_string(), &[]))
            .take(64)
            .collect();
        available.dedup();
        Cause::WrongPlatform { wanted: wanted.to_string(), available }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_asked_processor_or_none() {
        let entry = |platform: &str| {
            let mut entry = Descriptor::new(MediaType::OciManifest, Digest::of(platform.as_bytes()), 1);
            entry.platform = Some(match platform {
                "unknown" => Platform::new("unknown", "unknown"),
                platform => platform.parse().unwrap(),
            });
            entry
        };
        let index = ImageIndex {
            schema_version: 2,
            media_type: None,
            manifests: ["unknown", "linux/386", "linux/arm/v6", "linux/arm/v7", "linux/amd64"].map(entry).to_vec(),
            annotations: Default::default(),
            other: Default::default(),
        };
        let pick = |wanted: &str| select(&index, &wanted.parse().unwrap()).map(|entry| entry.platform.clone().unwrap().to_string());
        assert_eq!(pick("linux/arm").ok().as_deref(), Some("linux/arm/v7"));
        assert_eq!(pick("linux/arm/v6").ok().as_deref(), Some("linux/arm/v6"));
        assert_eq!(pick("linux/amd64/v3").ok().as_deref(), Some("linux/amd64"));
        let Err(Cause::WrongPlatform { available, .. }) = pick("linux/arm64") else { panic!("an image for another processor was taken") };
        assert_eq!(available, ["linux/386", "linux/arm/v6", "linux/arm/v7", "linux/amd64"]);
    }
}
