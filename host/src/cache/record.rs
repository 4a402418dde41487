//! Records and notes of the cache, as the manifests that say them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Map;

use super::CacheKey;
use crate::oci::{Descriptor, DiffId, Digest, Document, LayerCompression, Manifest, MediaType};

/// What a record is, to a registry.
const ARTIFACT: &str = "application/vnd.layerwright.cache.record.v1+json";
/// What a note is, to a registry.
const NOTE_ARTIFACT: &str = "application/vnd.layerwright.cache.note.v1+json";
/// The configuration that the specification wants every manifest to have.
pub const EMPTY_CONFIG: &[u8] = b"{}";
/// What a note has for a layer: an archive without entries.
pub const EMPTY_LAYER: &[u8] = &[0; 1024];

const KEY: &str = "layerwright.cache.key";
const DIFF_ID: &str = "layerwright.cache.diff-id";
const BELOW: &str = "layerwright.cache.below";
const CONTENT: &str = "layerwright.cache.content";
const CREATED: &str = "layerwright.cache.created";
const BUILDER: &str = "layerwright.cache.builder";
const NOTE: &str = "layerwright.cache.note";

/// No honest record is larger, in bytes.
pub const RECORD_LIMIT: u64 = 64 * 1024;

/// What came of a step, by its key: one layer. It is kept as a manifest, so that whatever holds it holds the layer as well.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Whose result it is.
    pub key: CacheKey,
    /// The blob.
    pub layer: Descriptor,
    /// Of the tar within.
    pub diff_id: DiffId,
    /// What the processes of the steps below had made: the layer fits upon no other result of theirs.
    pub below: CacheKey,
    /// The key of the state after the step, by the content of all that it read.
    pub content: CacheKey,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// Something small that is known of a key; it has no layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Of what.
    pub key: CacheKey,
    /// What is known.
    pub text: String,
    /// When it was written, in seconds since 1970.
    pub created: u64,
}

/// Why a record is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Something else lies under the key.
    #[error("it is no cache record")]
    Other,
    /// A record that was put under another key.
    #[error("it is the record of another key")]
    WrongKey,
    /// A field that is not there or makes no sense.
    #[error("its {0} is missing or makes no sense")]
    Field(&'static str),
}

impl Record {
    /// The manifest that says it.
    pub fn manifest(&self) -> Manifest {
        let said = [(DIFF_ID, self.diff_id.to_string()), (BELOW, self.below.hex()), (CONTENT, self.content.hex())];
        manifest(ARTIFACT, self.layer.clone(), &self.key, self.created, &said)
    }

    /// Reads the record of a key.
    ///
    /// # Errors
    /// The bytes are none, or that of another key.
    pub fn read(key: &CacheKey, bytes: &[u8]) -> Result<Self, BadRecord> {
        let record = Self::parse(bytes)?;
        if record.key == *key { Ok(record) } else { Err(BadRecord::WrongKey) }
    }

    /// Reads a record of whatever key.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadRecord> {
        let manifest = read_manifest(bytes, ARTIFACT)?;
        let [layer] = manifest.layers.as_slice() else { return Err(BadRecord::Field("layer")) };
        if layer.media_type.layer_compression().is_none() || !layer.urls.is_empty() {
            return Err(BadRecord::Field("layer"));
        }
        Ok(Self {
            key: field(&manifest.annotations, KEY, "key")?,
            layer: Descriptor::new(layer.media_type.clone(), layer.digest, layer.size),
            diff_id: DiffId(field(&manifest.annotations, DIFF_ID, "diff-id")?),
            below: field(&manifest.annotations, BELOW, "state below")?,
            content: field(&manifest.annotations, CONTENT, "content key")?,
            created: field(&manifest.annotations, CREATED, "time")?,
        })
    }
}

impl Note {
    /// The manifest that says it.
    pub fn manifest(&self) -> Manifest {
        manifest(NOTE_ARTIFACT, empty_layer(), &self.key, self.created, &[(NOTE, self.text.clone())])
    }

    /// Reads the note of a key.
    ///
    /// # Errors
    /// The bytes are none, or that of another key.
    pub fn read(key: &CacheKey, bytes: &[u8]) -> Result<Self, BadRecord> {
        let manifest = read_manifest(bytes, NOTE_ARTIFACT)?;
        let note = Self {
            key: field(&manifest.annotations, KEY, "key")?,
            text: field(&manifest.annotations, NOTE, "text")?,
            created: field(&manifest.annotations, CREATED, "time")?,
        };
        if note.key == *key { Ok(note) } else { Err(BadRecord::WrongKey) }
    }
}

/// The key, the blob and the time of a record or a note; none of anything else.
pub fn read_entry(bytes: &[u8]) -> Option<(CacheKey, Descriptor, u64)> {
    let manifest = read_manifest(bytes, ARTIFACT).or_else(|_| read_manifest(bytes, NOTE_ARTIFACT)).ok()?;
    let key = field(&manifest.annotations, KEY, "key").ok()?;
    let created = field(&manifest.annotations, CREATED, "time").ok()?;
    Some((key, manifest.layers.into_iter().next()?, created))
}

/// How old something is that was made so many seconds after 1970. A clock that was set back makes nothing older than it is, and nothing
/// from the future is old.
pub fn age(created: u64, now: SystemTime) -> Duration {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(created))
}

/// Names the empty configuration. It goes by the type of an image's: some registries take no manifest with another one.
pub fn empty_config() -> Descriptor {
    Descriptor::new(MediaType::OciConfig, Digest::of(EMPTY_CONFIG), EMPTY_CONFIG.len() as u64)
}

/// Names the layer of a note.
pub fn empty_layer() -> Descriptor {
    Descriptor::new(MediaType::OciLayer(LayerCompression::None), Digest::of(EMPTY_LAYER), EMPTY_LAYER.len() as u64)
}

fn manifest(artifact: &str, layer: Descriptor, key: &CacheKey, created: u64, said: &[(&str, String)]) -> Manifest {
    let common = [(KEY, key.hex()), (CREATED, created.to_string()), (BUILDER, env!("CARGO_PKG_VERSION").to_owned())];
    let annotations = common.iter().chain(said).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut other = Map::new();
    other.insert("artifactType".to_owned(), artifact.into());
    let media_type = Some(MediaType::OciManifest);
    Manifest { schema_version: 2, media_type, config: empty_config(), layers: vec![layer], annotations, other }
}

fn read_manifest(bytes: &[u8], artifact: &str) -> Result<Manifest, BadRecord> {
    if bytes.len() as u64 > RECORD_LIMIT {
        return Err(BadRecord::Other);
    }
    match Document::parse(bytes, &MediaType::OciManifest) {
        Ok(Document::Manifest(manifest)) if manifest.other.get("artifactType").and_then(|kind| kind.as_str()) == Some(artifact) => {
            Ok(manifest)
        }
        _ => Err(BadRecord::Other),
    }
}

fn field<T: std::str::FromStr>(annotations: &BTreeMap<String, String>, name: &str, what: &'static str) -> Result<T, BadRecord> {
    annotations.get(name).and_then(|text| text.parse().ok()).ok_or(BadRecord::Field(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyWriter;

    fn key(name: &str) -> CacheKey {
        let mut writer = KeyWriter::new("test");
        writer.part(name);
        writer.finish()
    }

    /// Quay and GitLab have lists of the types that they take.
    #[test]
    fn manifests_have_the_types_of_an_image() {
        let note = Note { key: key("a"), text: "seen".to_owned(), created: 1 };
        for manifest in [record().manifest(), note.manifest()] {
            assert_eq!(manifest.config.media_type, MediaType::OciConfig);
            assert!(manifest.layers.iter().all(|layer| matches!(layer.media_type, MediaType::OciLayer(_))));
        }
    }

    fn record() -> Record {
        Record {
            key: key("a"),
            layer: Descriptor::new(MediaType::OciLayer(LayerCompression::Gzip), Digest::of(b"layer"), 5),
            diff_id: DiffId(Digest::of(b"tar")),
            below: key("b"),
            content: key("c"),
            created: 1_700_000_000,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let bytes = serde_json::to_vec(&record().manifest()).unwrap();
        assert_eq!(Record::read(&key("a"), &bytes), Ok(record()));
    }

    #[test]
    fn a_note_is_no_record_and_a_record_no_note() {
        let note = Note { key: key("a"), text: "x".to_owned(), created: 1 };
        let bytes = serde_json::to_vec(&note.manifest()).unwrap();
        assert_eq!(Note::read(&key("a"), &bytes), Ok(note));
        assert_eq!(Note::read(&key("b"), &bytes), Err(BadRecord::WrongKey));
        assert_eq!(Record::read(&key("a"), &bytes), Err(BadRecord::Other));
        assert_eq!(Note::read(&key("a"), &serde_json::to_vec(&record().manifest()).unwrap()), Err(BadRecord::Other));
    }

    /// Adversarial 59: what was put under a key and does not belong there is not taken.
    #[test]
    fn foreign_records_are_refused() {
        let bytes = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = record().manifest();
            change(&mut manifest);
            serde_json::to_vec(&manifest).unwrap()
        };
        let read = |bytes: &[u8]| Record::read(&key("a"), bytes);
        assert_eq!(Record::read(&key("b"), &bytes(&|_| ())), Err(BadRecord::WrongKey));
        assert_eq!(read(b"{}"), Err(BadRecord::Other));
        assert_eq!(read(&bytes(&|manifest| manifest.other.clear())), Err(BadRecord::Other));
        assert_eq!(read(&bytes(&|manifest| manifest.layers.clear())), Err(BadRecord::Field("layer")));
        assert_eq!(read(&bytes(&|manifest| manifest.layers.extend(manifest.layers.clone()))), Err(BadRecord::Field("layer")));
        assert_eq!(read(&bytes(&|manifest| manifest.layers[0].media_type = MediaType::OciConfig)), Err(BadRecord::Field("layer")));
        assert_eq!(read(&bytes(&|manifest| manifest.layers[0].urls.push("http://x".to_owned()))), Err(BadRecord::Field("layer")));
        for (name, what) in [(KEY, "key"), (DIFF_ID, "diff-id"), (BELOW, "state below"), (CONTENT, "content key"), (CREATED, "time")] {
            let spoilt = bytes(&|manifest| drop(manifest.annotations.insert(name.to_owned(), "../x".to_owned())));
            assert_eq!(read(&spoilt), Err(BadRecord::Field(what)));
        }
        let large = bytes(&|manifest| drop(manifest.annotations.insert("x".to_owned(), "x".repeat(RECORD_LIMIT as usize))));
        assert_eq!(read(&large), Err(BadRecord::Other));
    }

    #[test]
    fn nothing_is_older_than_it_can_be() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(age(1_700_000_000, at(1_700_000_060)), Duration::from_secs(60));
        assert_eq!(age(1_700_000_000, at(1_600_000_000)), Duration::ZERO);
        assert_eq!(age(0, SystemTime::UNIX_EPOCH - Duration::from_secs(5)), Duration::ZERO);
    }
}
