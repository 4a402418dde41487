//! Taking records away by age and size.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::record::{age, read_entry};
use super::{CacheError, CacheKey};
use crate::oci::Digest;

/// What is known of a record, for deciding whether it stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its key.
    pub key: CacheKey,
    /// Of its manifest.
    pub manifest: Digest,
    /// The blob that it names.
    pub blob: Digest,
    /// Of the blob, in bytes.
    pub size: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

impl Entry {
    /// What a manifest says; none where it is neither a record nor a note.
    pub(super) fn of(manifest: &[u8]) -> Option<Self> {
        let (key, layer, created) = read_entry(manifest)?;
        Some(Self { key, manifest: Digest::of(manifest), blob: layer.digest, size: layer.size, created })
    }
}

/// What stays.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Nothing that is older.
    pub max_age: Option<Duration>,
    /// No more bytes together, the youngest first.
    pub max_size: Option<u64>,
    /// Whether it is only said what would go.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pruned {
    /// Records that are gone.
    pub removed: usize,
    /// Bytes that nothing names any more.
    pub freed: u64,
    /// Records that stay.
    pub kept: usize,
    /// Bytes that they name.
    pub size: u64,
}

/// A place of records that can be taken away. Whatever else lies there is left alone.
#[async_trait]
pub trait Prunable: Send + Sync {
    /// All records.
    ///
    /// # Errors
    /// They cannot be listed.
    async fn entries(&self) -> Result<Vec<Entry>, CacheError>;

    /// Takes records away; those that are gone already are no error.
    ///
    /// # Errors
    /// One of them cannot be taken away.
    async fn remove(&self, entries: &[Entry]) -> Result<(), CacheError>;
}

/// Takes away what is not to stay.
///
/// # Errors
/// Records cannot be listed or taken away; some may be gone by then.
pub async fn prune(place: &dyn Prunable, keep: &Keep) -> Result<Pruned, CacheError> {
    let (stay, go) = sort(place.entries().await?, keep, SystemTime::now());
    if !keep.dry_run {
        place.remove(&go).await?;
    }
    let size = |entries: &[Entry]| {
        let blobs: BTreeSet<_> = entries.iter().map(|entry| (entry.blob, entry.size)).collect();
        blobs.iter().map(|(_, size)| size).sum::<u64>()
    };
    let mut all = stay.clone();
    all.extend(go.iter().cloned());
    Ok(Pruned { removed: go.len(), freed: size(&all) - size(&stay), kept: stay.len(), size: size(&stay) })
}

/// What stays and what goes.
fn sort(mut entries: Vec<Entry>, keep: &Keep, now: SystemTime) -> (Vec<Entry>, Vec<Entry>) {
    entries.sort_by_key(|entry| (std::cmp::Reverse(entry.created), entry.key));
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    let (mut blobs, mut size) = (BTreeSet::new(), 0_u64);
    let mut full = false;
    for entry in entries {
        let old = keep.max_age.is_some_and(|most| age(entry.created, now) > most);
        let more = if blobs.contains(&entry.blob) { 0 } else { entry.size };
        // What is older than something that had no room has none either.
        full |= !old && keep.max_size.is_some_and(|most| size.saturating_add(more) > most);
        if old || full {
            go.push(entry);
        } else {
            blobs.insert(entry.blob);
            size = size.saturating_add(more);
            stay.push(entry);
        }
    }
    (stay, go)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyWriter;

    fn entry(name: &str, blob: &str, size: u64, created: u64) -> Entry {
        let mut key = KeyWriter::new("test");
        key.part(name);
        let manifest = Digest::of(name.as_bytes());
        Entry { key: key.finish(), manifest, blob: Digest::of(blob.as_bytes()), size, created }
    }

    #[test]
    fn the_youngest_stay() {
        let all = vec![entry("a", "1", 10, 100), entry("b", "2", 10, 300), entry("c", "2", 10, 200), entry("d", "3", 5, 50)];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(400);
        let stay = |max_age: Option<u64>, max_size| {
            let keep = Keep { max_age: max_age.map(Duration::from_secs), max_size, dry_run: false };
            sort(all.clone(), &keep, now).0.iter().map(|entry| entry.created).collect::<Vec<_>>()
        };
        assert_eq!(stay(None, None), [300, 200, 100, 50]);
        assert_eq!(stay(Some(300), None), [300, 200, 100]);
        assert_eq!(stay(Some(99), None), [] as [u64; 0]);
        assert_eq!(stay(None, Some(20)), [300, 200, 100], "a blob counts once");
        assert_eq!(stay(None, Some(19)), [300, 200], "nothing younger goes for something older");
        assert_eq!(stay(None, Some(0)), [] as [u64; 0]);
        // A clock that was set back takes nothing away by age.
        assert_eq!(sort(all.clone(), &Keep { max_age: Some(Duration::ZERO), ..Keep::default() }, SystemTime::UNIX_EPOCH).0.len(), 4);
    }
}
