//! The directories of cache mounts in the cache: restored where they are new here, and kept when the build is done.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::error::Failure;
use super::keys;
use super::stage::Shared;
use crate::cache::{CacheKey, KeyWriter, Record};
use crate::fs::{Root, Time};
use crate::image::{Layer, LayerContent};
use crate::layer::entries::Limits;
use crate::layer::extract::{ExtractMode, ExtractOptions, extract};
use crate::layer::{Compression, LayerOptions, LayerWriter, NewLayer};
use crate::oci::{Descriptor, LayerCompression, MediaType};
use crate::operation::{Copy, Operation, Source};
use crate::progress::Level;
use crate::rootfs::apply::{ApplyContext, CopySource, apply};
use crate::rootfs::disk::Disk;
use crate::rootfs::layered::Layered;
use crate::rootfs::store::Store;

fn key(directory: &str) -> CacheKey {
    let mut key = KeyWriter::new("cache mount");
    key.part(directory);
    key.finish()
}

impl Shared {
    /// Fills a new directory with what the cache has of it; whether it has anything.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub(super) fn restore_mount(&self, directory: &str, into: &Path) -> Result<bool, Failure> {
        let Some(cached) = self.cached.as_ref().filter(|cached| cached.cache.settings.mounts) else { return Ok(false) };
        let Some(hit) = Handle::current().block_on(cached.cache.get(&key(directory))) else { return Ok(false) };
        let layer = Layer { descriptor: hit.record.layer, diff_id: hit.record.diff_id, content: hit.content };
        Handle::current().block_on(self.fetch(&layer))?;
        let blob = std::fs::File::open(self.blob(&layer))?;
        let options = ExtractOptions { mode: ExtractMode::Merge, limits: Limits::default(), expected: Some(layer.diff_id) };
        extract(blob, &Root::open(into)?, &options)?;
        Ok(true)
    }

    /// Keeps the directories that this build has used. One that cannot be read now is said and left out.
    pub(super) async fn keep_mounts(&self) {
        let Some(cached) = self.cached.as_ref().filter(|cached| cached.cache.settings.mounts && cached.cache.settings.push) else { return };
        let used = self.caches.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for directory in used {
            let store = self.deps.store.clone();
            let path = super::caches::files(&store, &directory);
            match spawn_blocking(move || pack(&path, &store)).await.map_err(Failure::from).and_then(|packed| packed) {
                Ok(layer) => {
                    let key = key(&directory);
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                    let record = Record {
                        key,
                        layer: layer.descriptor.clone(),
                        diff_id: layer.diff_id,
                        below: keys::nothing_made(),
                        content: key,
                        created: now,
                    };
                    cached.cache.put(&[record], &layer);
                }
                Err(failure) => {
                    let message = format!("a cache directory is not kept in the cache: {}", failure.message);
                    self.deps.reporter.log(Level::Warning, &message);
                }
            }
        }
    }
}

/// A directory as a layer.
fn pack(directory: &Path, store: &Store) -> Result<Layer, Failure> {
    let tree = Arc::new(Disk::new(Root::open(directory)?));
    let all = Operation::Copy(Copy::all(Source::Context(String::new())));
    let mut layered = Layered::scratch(store.temporary_files());
    let context = ApplyContext { working_dir: "/".into(), created: Time::default() };
    apply(&mut layered, &all, Some(&CopySource { tree, keep_owner: true }), &context)?;
    let options = LayerOptions { compression: Compression::ZSTD, ..LayerOptions::default() };
    let mut writer = LayerWriter::create(store.temporary_path(), options)?;
    layered.write_changes(&mut writer)?;
    let NewLayer { diff_id, digest, size, path, .. } = store.keep_blob(writer.finish()?)?;
    let descriptor = Descriptor::new(MediaType::OciLayer(LayerCompression::Zstd), digest, size);
    Ok(Layer { descriptor, diff_id, content: LayerContent::File(path) })
}
