//! What points at an image: signatures, attestations and other artifacts that name it as their subject (distribution-spec, "Listing
//! Referrers"), by the registry's own list, or by a tag where it keeps none ("Referrers Tag Schema").

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::oci::{Descriptor, Digest, Document, ImageIndex, Manifest, MediaType, Reference, Version};

use super::Client;
use super::auth::Access;
use super::endpoint::{Endpoint, Request, Whole};
use super::error::{Cause, RegistryError};
use super::manifest::{ContentCache, MANIFEST_LIMIT};
use super::route::Attempts;

/// Pages of a list that are read.
const MOST_PAGES: usize = 64;
/// Entries of a list that are kept.
const MOST_REFERRERS: usize = 4096;

impl Client {
    /// What in the repository of `subject`, which names a digest, points at it; of one kind where `artifact_type` says so.
    ///
    /// # Errors
    /// `subject` names no digest, or the registry cannot be asked. Where it knows of nothing, the list is empty.
    pub async fn referrers(&self, subject: &Reference, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, RegistryError> {
        let listed = self.referrers_now(subject, artifact_type).await;
        listed.map_err(|cause| RegistryError::new("list what points at", subject, cause))
    }

    async fn referrers_now(&self, subject: &Reference, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Cause> {
        let digest = subject.digest().ok_or_else(|| Cause::Settings("it names no digest".to_owned()))?;
        let places = self.places(subject.registry(), subject.repository(), &Version::Digest(digest), Access::Pull).await?;
        let mut attempts = Attempts::default();
        for (place, endpoint) in places.iter().enumerate() {
            match endpoint.referrers(digest, artifact_type).await {
                Ok(mut found) => {
                    // Whether the registry left the others out or not.
                    found.retain(|entry| artifact_type.is_none_or(|wanted| is_of_type(entry, wanted)));
                    return Ok(found);
                }
                Err(cause) => attempts.failed(self, endpoint, cause, place + 1 < places.len())?,
            }
        }
        Err(attempts.cause())
    }
}

impl Endpoint {
    async fn referrers(&self, subject: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Cause> {
        let mut url = self.url(&format!("referrers/{subject}")).await?;
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut found = Vec::new();
        for page in 0..MOST_PAGES {
            let request = Request::new(Method::GET, url).tries(self.tries);
            let answer = match self.whole(&request, "the list of referrers", MANIFEST_LIMIT).await? {
                Ok(answer) => answer,
                Err(other) => match other.response.status().as_u16() {
                    // It keeps no such list: the tag is the list.
                    400 | 404 | 405 | 406 | 501 if page == 0 => return self.tagged_referrers(subject).await.map(|index| index.manifests),
                    _ => return Err(self.failed(other).await),
                },
            };
            let next = next_page(&answer)?;
            match Document::parse(&answer.body, &MediaType::OciIndex) {
                Ok(Document::Index(index)) => found.extend(index.manifests),
                // Some answer whatever they are asked with a page of their own.
                _ if page == 0 => return self.tagged_referrers(subject).await.map(|index| index.manifests),
                Ok(_) => return Err(Cause::Protocol("a list of referrers is no index".to_owned())),
                Err(error) => return Err(error.into()),
            }
            match next {
                Some(_) if found.len() >= MOST_REFERRERS => {
                    return Err(Cause::Protocol(format!("it lists more than {MOST_REFERRERS} referrers")));
                }
                Some(next) => url = next,
                None => return Ok(found),
            }
        }
        Err(Cause::Protocol(format!("its list of referrers has more than {MOST_PAGES} pages")))
    }

    /// The index under the tag that stands for a subject's referrers; an empty one where there is none.
    async fn tagged_referrers(&self, subject: Digest) -> Result<ImageIndex, Cause> {
        let tag = Version::Tag(fallback_tag(subject));
        match self.document(&tag, &ContentCache::default()).await {
            Ok(fetched) => match fetched.document {
                Document::Index(index) => Ok(index),
                Document::Manifest(_) => Err(Cause::Protocol(format!("the tag {tag} is no index"))),
            },
            Err(Cause::NotFound(_)) => Ok(ImageIndex {
                schema_version: 2,
                media_type: Some(MediaType::OciIndex),
                manifests: Vec::new(),
                annotations: Default::default(),
                other: Default::default(),
            }),
            Err(cause) => Err(cause),
        }
    }

    /// Adds a manifest to the list of its subject's referrers, where the registry did not do so itself.
    pub(super) async fn tag_referrer(&self, subject: Digest, bytes: &[u8], manifest: &Manifest) -> Result<(), Cause> {
        let mut index = self.tagged_referrers(subject).await?;
        let entry = entry(bytes, manifest);
        if index.manifests.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        index.manifests.push(entry);
        let bytes = serde_json::to_vec(&index).map_err(|error| Cause::Protocol(format!("no index can be made: {error}")))?;
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(Cause::TooLarge { what: "the list of referrers", limit: MANIFEST_LIMIT });
        }
        self.put_manifest(&Version::Tag(fallback_tag(subject)), &bytes, &MediaType::OciIndex).await.map(drop)
    }
}

/// The subject of a manifest, where it has one.
pub(super) fn subject(manifest: &Manifest) -> Option<Digest> {
    manifest.other.get("subject")?.get("digest")?.as_str()?.parse().ok()
}

/// A manifest in the list of referrers: its type is what it says, or that of its configuration.
fn entry(bytes: &[u8], manifest: &Manifest) -> Descriptor {
    let kind = manifest.media_type.clone().unwrap_or(MediaType::OciManifest);
    let mut entry = Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64);
    let said = manifest.other.get("artifactType").and_then(Value::as_str).filter(|said| !said.is_empty());
    let artifact_type = said.unwrap_or(manifest.config.media_type.as_str());
    entry.other.insert("artifactType".to_owned(), artifact_type.into());
    entry.annotations.clone_from(&manifest.annotations);
    entry
}

fn is_of_type(entry: &Descriptor, wanted: &str) -> bool {
    entry.other.get("artifactType").and_then(Value::as_str) == Some(wanted)
}

/// `sha256:…` as a tag.
fn fallback_tag(subject: Digest) -> String {
    subject.to_string().replace(':', "-")
}

/// Where a list goes on (RFC 8288): below the URL that answered, and nowhere else.
fn next_page(answer: &Whole) -> Result<Option<Url>, Cause> {
    let Some(target) = next_target(&answer.headers) else { return Ok(None) };
    let bad = || Cause::Protocol("its list of referrers goes on somewhere else".to_owned());
    let next = answer.url.join(target).map_err(|_| bad())?;
    let same = next.origin() == answer.url.origin() && next.username().is_empty() && next.password().is_none();
    if same { Ok(Some(next)) } else { Err(bad()) }
}

fn next_target(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut next = links.filter_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        is_next.then_some(target)
    });
    next.next()
}
