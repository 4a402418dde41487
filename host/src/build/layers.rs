//! The layers of images as a stage's files: fetched, unpacked, or indexed.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::task::block_in_place;

use super::Backend;
use super::error::Failure;
use super::stage::{Shared, StageFiles, StageOutcome};
use crate::image::{Image, Layer, LayerContent};
use crate::rootfs::layered::{IndexedLayer, Layered};
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::store::LayerSource;
use crate::rootfs::unpacked::UnpackedRootFs;

impl Shared {
    /// The backend of a stage: mounts where a process will run, else a tree in memory.
    ///
    /// The files are those of `image`, and of `parent` where that is given.
    pub(super) async fn open_files(&self, runs: bool, image: &Image, parent: Option<&StageOutcome>) -> Result<StageFiles, Failure> {
        if !runs || self.deps.executor.is_err() {
            return Ok(StageFiles::Layered(self.layered_upon(image, parent)?));
        }
        let own = match &self.deps.backend {
            Backend::Overlay => None,
            Backend::Chroot => Some(Arc::new(Mutex::new(UnpackedRootFs::in_store(&self.deps.store)?))),
            Backend::InPlace(shared) => Some(Arc::clone(shared)),
        };
        if let Some(tree) = own {
            return Ok(StageFiles::Unpacked(self.layered_upon(image, parent)?, tree));
        }
        let lowers = match parent.and_then(|parent| parent.files.get()) {
            Some(StageFiles::Overlay(files)) => files.lock().unwrap_or_else(PoisonError::into_inner).lowers().to_vec(),
            _ => self.unpack(image).await?,
        };
        Ok(StageFiles::Overlay(Mutex::new(OverlayRootFs::new(self.deps.store.clone(), lowers)?)))
    }

    /// A tree in memory of a stage's base.
    fn layered_upon(&self, image: &Image, parent: Option<&StageOutcome>) -> Result<Layered, Failure> {
        match parent.and_then(|parent| parent.files.get()).and_then(StageFiles::layered) {
            Some(tree) => {
                let mut tree = tree.clone();
                tree.begin();
                Ok(tree)
            }
            None => self.layered(image),
        }
    }

    /// The unpacked layers of an image, lowest first.
    pub async fn unpack(&self, image: &Image) -> Result<Vec<std::path::PathBuf>, Failure> {
        let layers = self.local(image).await?;
        Ok(block_in_place(|| self.deps.store.unpack(&layers))?)
    }

    /// The layers of an image as files here; those that are in a registry are fetched, several at a time, each once.
    pub async fn local(&self, image: &Image) -> Result<Vec<LayerSource>, Failure> {
        try_join_all(image.layers.iter().map(|layer| self.local_layer(layer))).await
    }

    async fn local_layer(&self, layer: &Layer) -> Result<LayerSource, Failure> {
        if !self.deps.store.has_layer(layer.diff_id) {
            self.fetch(layer).await?;
        }
        Ok(LayerSource { diff_id: layer.diff_id, blob: self.blob(layer) })
    }

    /// Brings a layer's blob here, once.
    pub(super) async fn fetch(&self, layer: &Layer) -> Result<(), Failure> {
        let LayerContent::Remote(source) = &layer.content else { return Ok(()) };
        let digest = layer.descriptor.digest;
        let cell = {
            let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(blobs.entry(digest).or_default())
        };
        let fetched = cell.get_or_try_init(|| async {
            if self.deps.store.has_blob(&digest) {
                return Ok(());
            }
            let fetched = self.deps.client.fetch_blob(source, &layer.descriptor, &self.deps.store.blob_path(&digest)).await;
            fetched.map_err(Failure::registry)
        });
        fetched.await?;
        Ok(())
    }

    /// The files of an image that is only read; its layers are indexed once.
    pub fn image_files(&self, image: &Image) -> Result<Layered, Failure> {
        let key = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect::<Vec<_>>().join(" ");
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = images.get(&key) {
            return Ok(tree.clone());
        }
        let tree = self.layered(image)?;
        images.insert(key, tree.clone());
        Ok(tree)
    }

    /// The layers of an image, whose blobs are here.
    pub(super) fn sources(&self, image: &Image) -> Vec<LayerSource> {
        image.layers.iter().map(|layer| LayerSource { diff_id: layer.diff_id, blob: self.blob(layer) }).collect()
    }

    /// Where a layer's blob is, or will be when it has been fetched.
    pub(super) fn blob(&self, layer: &Layer) -> std::path::PathBuf {
        match &layer.content {
            LayerContent::File(path) => path.clone(),
            LayerContent::Remote(_) => self.deps.store.blob_path(&layer.descriptor.digest),
        }
    }

    /// A tree in memory of an image's layers. Nothing is read before something asks for a file; the blobs must be here by then.
    fn layered(&self, image: &Image) -> Result<Layered, Failure> {
        let layers = self.sources(image).into_iter().map(indexed).collect();
        Ok(Layered::on(layers, self.deps.store.temporary_files()))
    }

    /// Brings the blobs of an image here, even where the store has its layers unpacked.
    pub async fn fetch_blobs(&self, image: &Image) -> Result<(), Failure> {
        try_join_all(image.layers.iter().map(|layer| self.fetch(layer))).await.map(drop)
    }
}

/// A layer of which the blob is here, to be read as a tree.
pub fn indexed(layer: LayerSource) -> IndexedLayer {
    let LayerSource { diff_id, blob } = layer;
    IndexedLayer { diff_id, open: Arc::new(move || Ok(Box::new(std::fs::File::open(&blob)?))) }
}
