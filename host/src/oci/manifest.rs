use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Descriptor, MediaType};

/// One image for one platform (image-spec, manifest.md; also Docker's schema 2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own type; some registries refuse one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The image configuration.
    pub config: Descriptor,
    /// From the lowest up.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Free notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this program does not know, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Manifests by platform (image-spec, image-index.md; also Docker's manifest list).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// In the order of preference.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Free notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this program does not know, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a registry may serve under a tag.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, for as long as it takes to match it")]
pub enum Document {
    /// A manifest.
    Manifest(Manifest),
    /// An index.
    Index(ImageIndex),
}

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON of the expected shape.
    #[error("malformed manifest")]
    Malformed(#[from] serde_json::Error),
    /// Two readings are possible (CVE-2021-41190).
    #[error("ambiguous manifest: it has both layers and manifests, or its mediaType {stated:?} contradicts the served type {served:?}")]
    Ambiguous {
        /// In the document.
        stated: String,
        /// In the header or descriptor.
        served: String,
    },
    /// Docker schema 1, or something that is no image.
    #[error("unsupported manifest type {0:?}: want an OCI or Docker schema 2 manifest or index")]
    Unsupported(String),
}

impl Document {
    /// Reads a manifest or an index that was served as `served`.
    ///
    /// # Errors
    /// A document that does not fit `served`, is ambiguous, or is of a type that this program does not build on.
    pub fn parse(bytes: &[u8], served: &MediaType) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<MediaType>,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = serde_json::from_slice(bytes)?;
        let ambiguous = || DocumentError::Ambiguous {
            stated: shape.media_type.as_ref().map(ToString::to_string).unwrap_or_default(),
            served: served.to_string(),
        };
        if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(ambiguous());
        }
        let unsaid =
            matches!(served, MediaType::Other(text) if text.is_empty() || text == "application/json" || text.starts_with("text/plain"));
        let kind = match &shape.media_type {
            Some(stated) if !unsaid && stated != served => return Err(ambiguous()),
            Some(stated) => stated.clone(),
            None if unsaid && shape.manifests.is_some() => MediaType::OciIndex,
            None if unsaid && shape.config.is_some() => MediaType::OciManifest,
            None => served.clone(),
        };
        if kind.is_index() && shape.layers.is_none() && shape.config.is_none() {
            Ok(Self::Index(serde_json::from_slice(bytes)?))
        } else if kind.is_manifest() && shape.manifests.is_none() {
            Ok(Self::Manifest(serde_json::from_slice(bytes)?))
        } else if kind.is_index() || kind.is_manifest() {
            Err(ambiguous())
        } else {
            Err(DocumentError::Unsupported(kind.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_documents_are_refused() {
        let config = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        assert!(matches!(Document::parse(both.as_bytes(), &MediaType::OciManifest), Err(DocumentError::Ambiguous { .. })));
        let one = format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[]}}"#, MediaType::OciManifest);
        assert!(matches!(Document::parse(one.as_bytes(), &MediaType::OciIndex), Err(DocumentError::Ambiguous { .. })));
        assert!(matches!(Document::parse(one.as_bytes(), &MediaType::OciManifest), Ok(Document::Manifest(_))));
        assert!(matches!(Document::parse(one.as_bytes(), &MediaType::parse("application/json")), Ok(Document::Manifest(_))));
        assert!(matches!(
            Document::parse(b"{\"schemaVersion\":1}", &MediaType::parse("application/vnd.docker.distribution.manifest.v1+json")),
            Err(DocumentError::Unsupported(_))
        ));
    }
}
