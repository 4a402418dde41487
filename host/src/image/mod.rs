//! An image as one immutable value: a configuration, and layers that lie in files or wherever they came from.
//!
//! Changing an image makes a new one ([`mutate`](Image::append)); nothing here speaks to a registry.

mod archive;
mod layout;
mod mutate;
mod named;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::oci::{Descriptor, DiffId, Digest, ImageConfig, LayerCompression, Manifest, MediaType};

pub use archive::{Archive, Entry};
pub use layout::{Layout, LayoutError};
pub use named::LayoutLock;
pub use validate::{ImageError, check_config};

/// An image.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Image {
    /// What it says of itself; its diff-ids are those of `layers`.
    pub config: ImageConfig,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// Whether its documents are of Docker's media types and not of the OCI's.
    pub docker: bool,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// Of the bytes as stored.
    pub descriptor: Descriptor,
    /// Of the tar within.
    pub diff_id: DiffId,
    /// Where the bytes are.
    pub content: LayerContent,
}

/// Where a layer's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LayerContent {
    /// In a file, as stored.
    File(PathBuf),
    /// In a registry, not fetched.
    Remote(BlobSource),
}

/// A repository that has a blob.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobSource {
    /// As in a [`Reference`](crate::oci::Reference).
    pub registry: String,
    /// Path below the registry.
    pub repository: String,
}

impl fmt::Display for BlobSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// The documents that make an image of its layers.
#[derive(Clone, PartialEq, Debug)]
pub struct Documents {
    /// The configuration.
    pub config: Vec<u8>,
    /// Names it.
    pub config_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Names it; its digest is the image's.
    pub descriptor: Descriptor,
}

impl Image {
    /// An image without layers, of the OCI's media types.
    pub fn scratch(config: ImageConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// An image that was pulled: a manifest and its configuration, its layers where they are.
    ///
    /// # Errors
    /// Manifest and configuration do not fit each other.
    pub fn from_parts(manifest: &Manifest, config: ImageConfig, content: impl Fn(&Descriptor) -> LayerContent) -> Result<Self, ImageError> {
        let docker = match &manifest.media_type {
            Some(kind) => kind.is_docker(),
            None => manifest.config.media_type.is_docker(),
        };
        validate::check_counts(manifest.layers.len(), &config)?;
        let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids);
        let layers = layers
            .map(|(descriptor, diff_id)| Layer { descriptor: descriptor.clone(), diff_id: *diff_id, content: content(descriptor) })
            .collect();
        // The base's annotations are about the base.
        Ok(Self { config, layers, docker, annotations: BTreeMap::new() })
    }

    /// The media type of this image's manifest.
    pub fn manifest_type(&self) -> MediaType {
        if self.docker { MediaType::DockerManifest } else { MediaType::OciManifest }
    }

    /// The media type of a layer that is made for this image.
    pub fn layer_type(&self, compression: LayerCompression) -> MediaType {
        if self.docker { MediaType::DockerLayer(compression) } else { MediaType::OciLayer(compression) }
    }

    /// The same image with the media types of Docker, or of the OCI.
    #[must_use]
    pub fn with_format(mut self, docker: bool) -> Self {
        self.docker = docker;
        self
    }

    /// The image's documents. Equal images have equal bytes.
    ///
    /// # Errors
    /// The image contradicts itself, or cannot be written as JSON.
    pub fn documents(&self) -> Result<Documents, ImageError> {
        validate::check(self)?;
        let config = serde_json::to_vec(&self.config).map_err(|error| ImageError::Unwritable(error.to_string()))?;
        let config_type = if self.docker { MediaType::DockerConfig } else { MediaType::OciConfig };
        let config_descriptor = Descriptor::new(config_type, Digest::of(&config), config.len() as u64);
        let kind = self.manifest_type();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(kind.clone()),
            config: config_descriptor.clone(),
            layers: self.layers.iter().map(|layer| self.relabelled(&layer.descriptor)).collect(),
            annotations: self.annotations.clone(),
            other: serde_json::Map::new(),
        };
        let manifest = serde_json::to_vec(&manifest).map_err(|error| ImageError::Unwritable(error.to_string()))?;
        let descriptor = Descriptor::new(kind, Digest::of(&manifest), manifest.len() as u64);
        Ok(Documents { config, config_descriptor, manifest, descriptor })
    }

    /// A layer's descriptor with the media type of this image's family: the two are never mixed in one manifest.
    fn relabelled(&self, descriptor: &Descriptor) -> Descriptor {
        const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        let media_type = match &descriptor.media_type {
            MediaType::DockerLayer(how) | MediaType::OciLayer(how) => self.layer_type(*how),
            MediaType::Other(kind) if kind == DOCKER_FOREIGN && !self.docker => MediaType::Other(OCI_FOREIGN.to_owned()),
            MediaType::Other(kind) if kind == OCI_FOREIGN && self.docker => MediaType::Other(DOCKER_FOREIGN.to_owned()),
            other => other.clone(),
        };
        Descriptor { media_type, ..descriptor.clone() }
    }
}

#[cfg(test)]
mod tests;
