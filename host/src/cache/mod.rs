//! What earlier builds made, by a key of all that it was made of: one record for each layer, in a repository of a registry, an image layout
//! or the store. A lookup or an upload that fails costs time and never a build.

mod directory;
mod key;
mod layout;
mod prune;
mod record;
mod registry;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinSet;

pub use directory::DirectoryStore;
pub use key::{CacheKey, KeyWriter, NoKey};
pub use layout::LayoutStore;
pub use prune::{Entry, Keep, Prunable, Pruned, prune};
pub use record::{BadRecord, Note, Record};
pub use registry::RegistryStore;

use crate::image::{BlobSource, Layer, LayerContent, LayoutError};
use crate::oci::{Descriptor, DiffId, Digest, Manifest};
use crate::progress::{Level, Reporter, reasons};
use crate::registry::{PushBlob, PushContent, RegistryError};
use record::{EMPTY_LAYER, RECORD_LIMIT};

/// How many builds in a row a cache may spoil before it is left alone.
const MOST_DOUBTS: u32 = 3;

/// Why records cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file of the store.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The record's blob is not what it says.
    #[error("blob {0} has another content")]
    Spoilt(Digest),
    /// The work was cut off.
    #[error("the work was cut off")]
    CutOff,
}

/// What lies under a key.
#[derive(Clone, Debug)]
pub struct Found {
    /// The manifest, not yet believed.
    pub manifest: Bytes,
    /// Who has the blobs that it names.
    pub blobs: Blobs,
}

/// Who has blobs.
#[derive(Clone, Debug)]
pub enum Blobs {
    /// A repository, whose registry checks what it is given.
    Repository(BlobSource),
    /// A directory with a file for each, by its hexadecimal digits.
    Directory(PathBuf),
}

/// Keeps records. One key may be put by several builds at once; whoever is last counts.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// What lies under a key; none where nothing does. Sends nothing else, and fetches no blob.
    ///
    /// # Errors
    /// Nobody knows.
    async fn get(&self, key: &CacheKey) -> Result<Option<Found>, CacheError>;

    /// Keeps a manifest under a key, and the blob that it names. Nobody sees the one without the other.
    ///
    /// # Errors
    /// It is not kept.
    async fn put(&self, key: &CacheKey, manifest: &[u8], blob: &PushBlob) -> Result<(), CacheError>;
}

/// What is cached, and for how long.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Layers of commands, and of everything else that copies nothing.
    pub run_layers: bool,
    /// Layers of copied files.
    pub copy_layers: bool,
    /// Whether what is made is kept for other builds.
    pub push: bool,
    /// Whether what other builds kept is used.
    pub lookups: bool,
    /// Whether the directories of cache mounts are kept there as well.
    pub mounts: bool,
    /// Records of this age are not used any more.
    pub ttl: Duration,
}

/// A record, and where its layer is.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The record.
    pub record: Record,
    /// Its layer's bytes.
    pub content: LayerContent,
}

/// The cache of a build.
pub struct Cache {
    store: Arc<dyn RecordStore>,
    /// What is cached.
    pub settings: CacheSettings,
    reporter: Arc<dyn Reporter>,
    /// Records that were handed out.
    handed: Mutex<Vec<Hit>>,
    /// Layers, by digest and diff-id, of records that are not handed out any more.
    refused: Mutex<BTreeSet<(Digest, DiffId)>>,
    /// How often that came of something that failed.
    doubts: AtomicU32,
    /// Whether a lookup has failed: then there are no more.
    deaf: AtomicBool,
    /// Whether an upload has failed: likewise.
    mute: Arc<AtomicBool>,
    uploads: Mutex<JoinSet<()>>,
}

impl Cache {
    /// The cache of records in a store.
    pub fn new(store: Arc<dyn RecordStore>, settings: CacheSettings, reporter: Arc<dyn Reporter>) -> Self {
        Self {
            store,
            settings,
            reporter,
            handed: Mutex::default(),
            refused: Mutex::default(),
            doubts: AtomicU32::new(0),
            deaf: AtomicBool::new(false),
            mute: Arc::default(),
            uploads: Mutex::default(),
        }
    }

    /// The record of a key, if there is one that may be used. A store that cannot be asked is said once and not asked again.
    pub async fn get(&self, key: &CacheKey) -> Option<Hit> {
        if !self.asks() {
            return None;
        }
        self.heard(self.look_up(key).await)
    }

    /// What is known of a key, if that may be used.
    pub async fn note(&self, key: &CacheKey) -> Option<String> {
        if !self.asks() {
            return None;
        }
        let found = self.heard(self.store.get(key).await)?;
        let note = Note::read(key, &found.manifest).ok()?;
        (record::age(note.created, SystemTime::now()) < self.settings.ttl).then_some(note.text)
    }

    fn asks(&self) -> bool {
        self.settings.lookups && !self.deaf.load(Ordering::Relaxed)
    }

    fn heard<T>(&self, answer: Result<Option<T>, CacheError>) -> Option<T> {
        answer.unwrap_or_else(|error| {
            if !self.deaf.swap(true, Ordering::Relaxed) {
                let place = self.store.place();
                self.warn(&format!("the cache {place} cannot be read, so the build goes on without it: {}", reasons(&error)));
            }
            None
        })
    }

    async fn look_up(&self, key: &CacheKey) -> Result<Option<Hit>, CacheError> {
        let found = match self.store.get(key).await {
            Err(CacheError::Spoilt(digest)) => {
                self.warn_of(key, &format!("blob {digest} has another content"));
                return Ok(None);
            }
            found => found?,
        };
        let Some(Found { manifest, blobs }) = found else { return Ok(None) };
        let record = match Record::read(key, &manifest) {
            Ok(record) => record,
            Err(error) => {
                self.warn_of(key, &error.to_string());
                return Ok(None);
            }
        };
        if record::age(record.created, SystemTime::now()) >= self.settings.ttl || self.refused().contains(&layer_of(&record)) {
            return Ok(None);
        }
        let content = match blobs {
            Blobs::Repository(source) => LayerContent::Remote(source),
            Blobs::Directory(directory) => {
                let path = directory.join(record.layer.digest.hex());
                let (file, layer) = (path.clone(), record.layer.clone());
                let verified = tokio::task::spawn_blocking(move || verified(&file, &layer)).await;
                match verified.map_err(|_| CacheError::CutOff)? {
                    Ok(true) => LayerContent::File(path),
                    Ok(false) => {
                        let digest = record.layer.digest;
                        self.warn_of(key, &format!("blob {digest} has another content"));
                        return Ok(None);
                    }
                    // Whoever pruned the blobs need not have known of the record.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(CacheError::File { path, source }),
                }
            }
        };
        let hit = Hit { record, content };
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).push(hit.clone());
        Ok(Some(hit))
    }

    /// The records that were handed out and not refused since.
    pub fn handed(&self) -> Vec<Hit> {
        let refused = self.refused();
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.iter().filter(|hit| !refused.contains(&layer_of(&hit.record))).cloned().collect()
    }

    /// Says that a record is not what it should be. Its layer is not handed out any more, under whatever key.
    pub fn refuse(&self, record: &Record, why: &str) {
        if self.refused().insert(layer_of(record)) {
            self.warn_of(&record.key, why);
        }
    }

    /// To be called when something failed because of records that have been refused now. A cache of which that is said again and again
    /// is not asked any more.
    pub fn doubt(&self) {
        if self.doubts.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_DOUBTS && !self.deaf.swap(true, Ordering::Relaxed) {
            self.warn(&format!("the cache {} has too much that cannot be used, so the build goes on without it", self.store.place()));
        }
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<(Digest, DiffId)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps records of a layer, beside whatever goes on. A store that does not take them is said once and not asked again.
    pub fn put(&self, records: &[Record], layer: &Layer) {
        let content = match &layer.content {
            LayerContent::File(path) => PushContent::File(path.clone()),
            LayerContent::Remote(source) => PushContent::Remote(source.clone()),
        };
        let manifests = records.iter().map(|record| (record.key, record.manifest())).collect();
        self.keep(manifests, PushBlob { descriptor: layer.descriptor.clone(), content });
    }

    /// Keeps what is known of a key, likewise; what is too long is forgotten.
    pub fn put_note(&self, note: &Note) {
        if note.text.len() as u64 <= RECORD_LIMIT / 2 {
            let content = PushContent::Bytes(Bytes::from_static(EMPTY_LAYER));
            self.keep(vec![(note.key, note.manifest())], PushBlob { descriptor: record::empty_layer(), content });
        }
    }

    fn keep(&self, manifests: Vec<(CacheKey, Manifest)>, blob: PushBlob) {
        if !self.settings.push || self.mute.load(Ordering::Relaxed) {
            return;
        }
        let (store, reporter, mute) = (Arc::clone(&self.store), Arc::clone(&self.reporter), Arc::clone(&self.mute));
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.spawn(async move {
            for (key, manifest) in manifests {
                let put = match serde_json::to_vec(&manifest) {
                    Ok(manifest) => store.put(&key, &manifest, &blob).await,
                    Err(error) => Err(CacheError::File { path: key.hex().into(), source: error.into() }),
                };
                if let Err(error) = put
                    && !mute.swap(true, Ordering::Relaxed)
                {
                    let place = store.place();
                    reporter
                        .log(Level::Warning, &format!("the cache {place} takes nothing, so nothing is kept there: {}", reasons(&error)));
                }
            }
        });
    }

    /// Waits until all that is to be kept has been kept.
    pub async fn settle(&self) {
        loop {
            let mut uploads = std::mem::take(&mut *self.uploads.lock().unwrap_or_else(PoisonError::into_inner));
            if uploads.is_empty() {
                return;
            }
            while uploads.join_next().await.is_some() {}
        }
    }

    fn warn_of(&self, key: &CacheKey, why: &str) {
        self.warn(&format!("the cache record {}:{key} is not used: {why}", self.store.place()));
    }

    fn warn(&self, message: &str) {
        self.reporter.log(Level::Warning, message);
    }
}

fn layer_of(record: &Record) -> (Digest, DiffId) {
    (record.layer.digest, record.diff_id)
}

/// Whether a file has a descriptor's size and digest.
///
/// # Errors
/// It cannot be read.
pub fn verified(path: &std::path::Path, descriptor: &Descriptor) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() != descriptor.size {
        return Ok(false);
    }
    let mut hasher = crate::oci::Hasher::default();
    let mut piece = vec![0; 256 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut piece)? {
            0 => return Ok(hasher.finish() == descriptor.digest),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
}
