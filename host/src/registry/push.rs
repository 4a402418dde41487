//! Pushing: blobs in any order, the manifest when they are all there.

use std::path::PathBuf;

use bytes::Bytes;

use crate::image::BlobSource;
use crate::oci::{Descriptor, Digest, Document, MediaType, Reference, Version};

use super::Client;
use super::auth::Access;
use super::endpoint::Endpoint;
use super::error::{Cause, RegistryError};
use super::manifest::MANIFEST_LIMIT;
use super::referrers::subject;
use super::upload::{Bulk, Opened, Session};

/// A blob to push.
#[derive(Clone, Debug)]
pub struct PushBlob {
    /// Names it; its digest and size must be right.
    pub descriptor: Descriptor,
    /// Where its bytes are.
    pub content: PushContent,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum PushContent {
    /// In a file, which must stay as it is while it is pushed.
    File(PathBuf),
    /// Here.
    Bytes(Bytes),
    /// In a registry; they are taken over within one registry, and streamed from one to another.
    Remote(BlobSource),
}

/// How a blob came to be in a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was there.
    Exists,
    /// The registry had it in another repository.
    Mounted,
    /// It was sent.
    Sent,
}

/// What is known of a blob before it is sent.
enum Probed {
    /// It need not be.
    There(Pushed),
    /// It has to be; a session may have been opened.
    Missing(Option<Session>),
}

impl Client {
    /// Whether whoever asks may push to a repository. Sends nothing that stays.
    ///
    /// # Errors
    /// He may not, or the registry cannot be reached.
    pub async fn check_push(&self, to: &Reference) -> Result<(), RegistryError> {
        let check = async {
            let endpoint = self.destination(to).await?;
            match endpoint.open_upload(None).await? {
                Opened::Session(session) => endpoint.abort_upload(session).await,
                Opened::Mounted => {}
            }
            Ok(())
        };
        check.await.map_err(|cause| RegistryError::new("push to", repository(to), cause))
    }

    /// Brings a blob into a repository, by the cheapest way there is. May be called for many blobs at once, and for one
    /// blob many times.
    ///
    /// # Errors
    /// The blob cannot be brought there.
    pub async fn push_blob(&self, to: &Reference, blob: &PushBlob) -> Result<Pushed, RegistryError> {
        let work = self.push_now(to, blob);
        let result = self.alone(format!("push {} {}", repository(to), blob.descriptor.digest), work).await;
        result.map_err(|cause| RegistryError::new("push", format!("{}@{}", repository(to), blob.descriptor.digest), cause))
    }

    async fn push_now(&self, to: &Reference, blob: &PushBlob) -> Result<Pushed, Cause> {
        let endpoint = self.destination(to).await?;
        let digest = blob.descriptor.digest;
        let place = (endpoint.host.registry.clone(), endpoint.repository.clone(), digest);
        if self.memory().pushed.contains(&place) {
            return Ok(Pushed::Exists);
        }
        let closed = || Cause::Settings("the client is shut down".to_owned());
        let found = {
            let _probe = self.inner.probes.acquire().await.map_err(|_| closed())?;
            self.probe(&endpoint, blob).await?
        };
        let pushed = match found {
            Probed::There(pushed) => pushed,
            Probed::Missing(session) => {
                let _permit = self.inner.uploads.acquire().await.map_err(|_| closed())?;
                self.bring(&endpoint, blob, session).await?
            }
        };
        let mut memory = self.memory();
        memory.pushed.insert(place.clone());
        memory.holders.entry(digest).or_default().push((place.0, place.1));
        drop(memory);
        let what = match pushed {
            Pushed::Exists => "exists",
            Pushed::Mounted => "mounted",
            Pushed::Sent => "pushed",
        };
        self.transferred(what, digest, blob.descriptor.size, &endpoint.place());
        Ok(pushed)
    }

    /// Asks whether a blob is there, or can be taken over.
    async fn probe(&self, endpoint: &Endpoint, blob: &PushBlob) -> Result<Probed, Cause> {
        let descriptor = &blob.descriptor;
        let Some(from) = self.mount_source(endpoint, blob) else {
            return Ok(if endpoint.has_blob(descriptor.digest).await? { Probed::There(Pushed::Exists) } else { Probed::Missing(None) });
        };
        let session = match endpoint.open_upload(Some((descriptor, &from))).await? {
            Opened::Mounted => return Ok(Probed::There(Pushed::Mounted)),
            Opened::Session(session) => session,
        };
        // The registry would not take it over, or does not have it there any more.
        if endpoint.has_blob(descriptor.digest).await? {
            endpoint.abort_upload(session).await;
            return Ok(Probed::There(Pushed::Exists));
        }
        Ok(Probed::Missing(Some(session)))
    }

    /// Sends a blob, through a session that has been opened where there is one.
    async fn bring(&self, endpoint: &Endpoint, blob: &PushBlob, session: Option<Session>) -> Result<Pushed, Cause> {
        let descriptor = &blob.descriptor;
        let session = match session {
            Some(session) => session,
            None => match endpoint.open_upload(None).await? {
                Opened::Mounted => return Ok(Pushed::Mounted),
                Opened::Session(session) => session,
            },
        };
        let bulk = match &blob.content {
            PushContent::Bytes(bytes) => {
                check_size(bytes.len() as u64, descriptor, None)?;
                Bulk::Bytes(bytes.clone())
            }
            PushContent::File(path) => {
                let found = tokio::fs::metadata(path).await.map_err(|source| Cause::File { path: path.clone(), source })?;
                check_size(found.len(), descriptor, Some(path))?;
                Bulk::File(path.clone())
            }
            PushContent::Remote(source) => {
                Bulk::Remote { from: self.blob_places(source, descriptor).await?, descriptor: Box::new(descriptor.clone()) }
            }
        };
        endpoint.upload(session, descriptor, &bulk).await?;
        Ok(Pushed::Sent)
    }

    /// Another repository of the same registry that has the blob.
    fn mount_source(&self, endpoint: &Endpoint, blob: &PushBlob) -> Option<String> {
        let registry = &endpoint.host.registry;
        let other = |(held, repository): &&(String, String)| held == registry && *repository != endpoint.repository;
        let memory = self.memory();
        if let Some((_, repository)) = memory.holders.get(&blob.descriptor.digest).into_iter().flatten().find(other) {
            return Some(repository.clone());
        }
        match &blob.content {
            PushContent::Remote(source) if source.registry == *registry && source.repository != endpoint.repository => {
                Some(source.repository.clone())
            }
            _ => None,
        }
    }

    /// Puts a manifest in its place, exactly these bytes: under the reference's tag, or under its digest where it has only
    /// that. What the manifest names must be in the repository already. One that points at a subject is added to the list of
    /// what does, by the registry or else by the tag that stands for the list.
    ///
    /// # Errors
    /// The registry does not take it, or the reference names another digest.
    pub async fn push_manifest(&self, to: &Reference, bytes: &[u8], kind: &MediaType) -> Result<Digest, RegistryError> {
        self.put_now(to, bytes, kind).await.map_err(|cause| RegistryError::new("push", to, cause))
    }

    async fn put_now(&self, to: &Reference, bytes: &[u8], kind: &MediaType) -> Result<Digest, Cause> {
        let digest = Digest::of(bytes);
        if let Some(named) = to.digest().filter(|named| *named != digest) {
            return Err(Cause::DigestMismatch { wanted: named, received: digest });
        }
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(Cause::TooLarge { what: "the manifest", limit: MANIFEST_LIMIT });
        }
        let version = match (to.tag(), to.digest()) {
            (Some(tag), _) => Version::Tag(tag.to_owned()),
            (None, _) => to.version(),
        };
        let endpoint = self.destination(to).await?;
        let (digest, listed) = endpoint.put_manifest(&version, bytes, kind).await?;
        if !listed
            && let Ok(Document::Manifest(manifest)) = Document::parse(bytes, kind)
            && let Some(subject) = subject(&manifest)
        {
            // Read, changed and written: of two who do so at a time, one would forget the other.
            let list = format!("referrers {}/{} {subject}", endpoint.host.registry, endpoint.repository);
            self.alone(list, endpoint.tag_referrer(subject, bytes, &manifest)).await?;
        }
        self.transferred("pushed", digest, bytes.len() as u64, &endpoint.place());
        Ok(digest)
    }

    /// Where a push goes: to one place, whatever other places there are.
    pub(super) async fn destination(&self, to: &Reference) -> Result<Endpoint, Cause> {
        let mut places = self.places(to.registry(), to.repository(), &to.version(), Access::Push).await?;
        let mut endpoint = places.swap_remove(0);
        endpoint.tries = self.inner.transport.settings.tries(Access::Push);
        Ok(endpoint)
    }
}

fn repository(of: &Reference) -> String {
    format!("{}/{}", of.registry(), of.repository())
}

fn check_size(found: u64, descriptor: &Descriptor, path: Option<&PathBuf>) -> Result<(), Cause> {
    if found == descriptor.size {
        return Ok(());
    }
    let why = format!("{found} bytes where {} were to be pushed", descriptor.size);
    match path {
        Some(path) => Err(Cause::File { path: path.clone(), source: std::io::Error::other(why) }),
        None => Err(Cause::Settings(why)),
    }
}
