//! Images made from images.

use crate::oci::{History, ImageConfig};

use super::{Image, Layer};

impl Image {
    /// This image with a layer on top and the instruction that made it.
    #[must_use]
    pub fn append(mut self, layer: Layer, history: History) -> Self {
        self.config.rootfs.diff_ids.push(layer.diff_id);
        self.config.history.push(History { empty_layer: false, ..history });
        self.layers.push(layer);
        self
    }

    /// This image with an instruction in its history that made no layer.
    #[must_use]
    pub fn remember(mut self, history: History) -> Self {
        self.config.history.push(History { empty_layer: true, ..history });
        self
    }

    /// This image with its configuration changed. Layers are not the business of `change`: what it does to the diff-ids
    /// is undone.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut ImageConfig)) -> Self {
        change(&mut self.config);
        self.config.rootfs.diff_ids = self.layers.iter().map(|layer| layer.diff_id).collect();
        self
    }

    /// This image with annotations on its manifest; those there are keep their value unless named.
    #[must_use]
    pub fn annotate(mut self, annotations: impl IntoIterator<Item = (String, String)>) -> Self {
        self.annotations.extend(annotations);
        self
    }
}
