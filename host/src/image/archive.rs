//! Archives that `docker load` takes: the layers, the configuration and a list of what belongs together, in one tar.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::oci::{Digest, LayerCompression, Reference};

use super::{Documents, Image};

/// Writes an archive.
pub struct Archive<W: Write> {
    tar: tar::Builder<W>,
}

/// What the list says of an image.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl<W: Write> Archive<W> {
    /// An archive that goes to `to` piece by piece.
    pub fn new(to: W) -> Self {
        Self { tar: tar::Builder::new(to) }
    }

    /// Writes an image whose layers lie at `files`, in order, and ends the archive.
    ///
    /// # Errors
    /// A layer's file cannot be read, does not have the size that its descriptor says, or the archive cannot be written.
    pub fn write(mut self, image: &Image, documents: &Documents, files: &[impl AsRef<Path>], names: &[Reference]) -> io::Result<W> {
        let config = documents.config_descriptor.digest.to_string();
        self.add(&config, documents.config.len() as u64, documents.config.as_slice())?;
        let mut layers: Vec<String> = Vec::new();
        for (layer, file) in image.layers.iter().zip(files) {
            let name = layer_name(layer.descriptor.digest, layer.descriptor.media_type.layer_compression());
            // A layer that is there twice is written once.
            if !layers.contains(&name) {
                let file = File::open(file)?;
                if file.metadata()?.len() != layer.descriptor.size {
                    return Err(io::Error::other(format!("layer {} is not of the size that it should be", layer.descriptor.digest)));
                }
                self.add(&name, layer.descriptor.size, file)?;
            }
            layers.push(name);
        }
        let repo_tags = names.iter().map(tag).collect();
        let list = serde_json::to_vec(&[Entry { config, repo_tags, layers }])?;
        self.add("manifest.json", list.len() as u64, list.as_slice())?;
        self.tar.into_inner()
    }

    fn add(&mut self, name: &str, size: u64, content: impl io::Read) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        self.tar.append_data(&mut header, name, content)
    }
}

fn layer_name(digest: Digest, compression: Option<LayerCompression>) -> String {
    let ending = match compression {
        Some(LayerCompression::None) => "tar",
        Some(LayerCompression::Zstd) => "tar.zst",
        Some(LayerCompression::Gzip) | None => "tar.gz",
    };
    format!("{}.{ending}", digest.hex())
}

/// As Docker names images: short ones of Docker Hub stay short, and there is always a tag.
fn tag(name: &Reference) -> String {
    let tag = name.tag().unwrap_or("latest");
    match (name.registry(), name.repository().strip_prefix("library/")) {
        (crate::oci::DOCKER_HUB, Some(short)) => format!("{short}:{tag}"),
        (crate::oci::DOCKER_HUB, None) => format!("{}:{tag}", name.repository()),
        (registry, _) => format!("{registry}/{}:{tag}", name.repository()),
    }
}
