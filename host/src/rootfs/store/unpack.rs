use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::uses::touch;
use super::{Lock, Result, Store, StoreError, TemporaryDirectory, failed};
use crate::fs::{Attributes, Root, Time};
use crate::layer::entries::Limits;
use crate::layer::extract::{ExtractError, ExtractMode, ExtractOptions, Lowers, extract};
use crate::oci::{ChainId, DiffId};

/// Written when a layer's files are complete. Its time is when they were used, its text their size, where somebody has asked.
pub(super) const DONE: &str = "done";
/// Layers unpacked at a time; each takes two threads and a few MiB.
const AT_A_TIME: usize = 3;

/// A layer of an image and where its blob is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayerSource {
    /// From the image's configuration; checked.
    pub diff_id: DiffId,
    /// The blob, compressed in whatever way.
    pub blob: PathBuf,
}

impl Store {
    /// The unpacked files of a stack of layers, lowest first; those that are not there yet are unpacked, several at a time.
    ///
    /// Other threads and processes that want the same layer wait for it.
    pub fn unpack(&self, layers: &[LayerSource]) -> Result<Vec<PathBuf>> {
        let mut chain: Option<ChainId> = None;
        let mut chains = Vec::new();
        for layer in layers {
            let next = chain.map_or(ChainId(layer.diff_id.0), |chain| chain.then(layer.diff_id));
            chains.push(next);
            chain = Some(next);
        }
        let names =
            |(layer, chain): (&LayerSource, &ChainId)| [layer.diff_id.0.hex(), chain_name(*chain)].map(|name| self.layer_name(&name));
        self.claim(&layers.iter().zip(&chains).flat_map(names).collect::<Vec<_>>())?;
        let mut found: Vec<Option<PathBuf>> =
            layers.iter().zip(&chains).map(|(layer, chain)| self.unpacked(layer.diff_id, *chain)).collect();
        // Most layers stand for themselves and are unpacked in any order.
        let todo: Vec<usize> = found.iter().enumerate().filter(|(_, path)| path.is_none()).map(|(at, _)| at).collect();
        let results = Mutex::new(Vec::new());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(todo.len()) {
                scope.spawn(|| {
                    while let Some(&at) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let Some(layer) = layers.get(at) else { return };
                        let result = self.unpack_alone(layer);
                        if result.is_err() {
                            next.store(todo.len(), Ordering::Relaxed);
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                    }
                });
            }
        });
        for (at, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Some(slot) = found.get_mut(at) {
                *slot = result?;
            }
        }
        // The others want those below them to be there.
        let mut paths: Vec<PathBuf> = Vec::new();
        for ((layer, chain), found) in layers.iter().zip(chains).zip(found) {
            let path = found.map_or_else(|| self.unpack_onto(layer, chain, &paths), Ok)?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// Takes the files of a layer that was just made, so that they need not be unpacked. The directory must lie in the store.
    pub fn adopt(&self, files: &Path, diff_id: DiffId) -> Result<PathBuf> {
        let name = diff_id.0.hex();
        self.claim(&[self.layer_name(&name)])?;
        let _lock = self.lock(&name)?;
        if let Some(there) = self.layer(&name) {
            return Ok(there);
        }
        let work = self.temporary_directory()?;
        let inside = work.path().join("fs");
        std::fs::rename(files, &inside).map_err(failed("rename", files))?;
        self.keep(work, &name)
    }

    fn unpacked(&self, diff_id: DiffId, chain: ChainId) -> Option<PathBuf> {
        self.layer(&diff_id.0.hex()).or_else(|| self.layer(&chain_name(chain)))
    }

    /// The files of a layer, if it is there, whole.
    pub(super) fn layer(&self, name: &str) -> Option<PathBuf> {
        let path = self.layers.join(name);
        let done = path.join(DONE);
        done.is_file().then(|| {
            touch(&done);
            path.join("fs")
        })
    }

    /// The name of a layer among what is used.
    pub(super) fn layer_name(&self, name: &str) -> PathBuf {
        Path::new(self.layers.file_name().unwrap_or_default()).join(name)
    }

    /// None where the layer cannot do without those below.
    fn unpack_alone(&self, layer: &LayerSource) -> Result<Option<PathBuf>> {
        let name = layer.diff_id.0.hex();
        let needs_lowers = self.layers.join(format!("{name}.needs-lowers"));
        if needs_lowers.exists() {
            return Ok(None);
        }
        let _lock = self.lock(&name)?;
        if let Some(there) = self.layer(&name) {
            return Ok(Some(there));
        }
        match self.extract(layer, None) {
            Err(StoreError::Unpack { source: ExtractError::NeedsLowers { .. }, .. }) => {
                File::create(&needs_lowers).map_err(failed("create", &needs_lowers))?;
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(work) => self.keep(work, &name).map(Some),
        }
    }

    fn unpack_onto(&self, layer: &LayerSource, chain: ChainId, lowers: &[PathBuf]) -> Result<PathBuf> {
        let name = chain_name(chain);
        let _lock: Lock = self.lock(&name)?;
        if let Some(there) = self.layer(&name) {
            return Ok(there);
        }
        let lowers = Lowers::open(lowers)?;
        let work = self.extract(layer, Some(&lowers))?;
        self.keep(work, &name)
    }

    fn extract(&self, layer: &LayerSource, lowers: Option<&Lowers>) -> Result<TemporaryDirectory> {
        let work = self.temporary_directory()?;
        let top = Root::open(work.path())?;
        top.make_dir("fs", 0o755)?;
        // For layers that say nothing of the root itself.
        let plain = Attributes { owner: Some((0, 0)), mode: Some(0o755), mtime: Some(Time::default()), ..Attributes::default() };
        top.set_attributes("fs", &plain)?;
        let blob = File::open(&layer.blob).map_err(failed("open", &layer.blob))?;
        let options = ExtractOptions { mode: ExtractMode::Overlay(lowers), limits: Limits::default(), expected: Some(layer.diff_id) };
        extract(blob, &top.sub_root("fs")?, &options).map_err(|source| StoreError::Unpack { layer: layer.diff_id, source })?;
        Ok(work)
    }

    /// Makes a directory with `fs` in it a layer.
    fn keep(&self, work: TemporaryDirectory, name: &str) -> Result<PathBuf> {
        let done = work.path().join(DONE);
        File::create(&done).map_err(failed("create", &done))?;
        let path = self.layers.join(name);
        work.persist(&path).map_err(failed("create", &path))?;
        Ok(path.join("fs"))
    }
}

fn chain_name(chain: ChainId) -> String {
    format!("chain-{}", chain.0.hex())
}
