//! Images that lie on disk: OCI layouts, and archives as `docker save` and this program write them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::export::ReadyImage;
use crate::image::{Documents, Image, ImageError, LayerContent, Layout, LayoutError};
use crate::layer::entries::{Limits, ReadError, for_each_entry};
use crate::layer::{Compression, compress};
use crate::oci::{Descriptor, DiffId, Digest, Hasher, ImageConfig, LayerCompression, Manifest, MediaType};
use crate::registry::{PushBlob, PushContent};
use crate::rootfs::store::Store;

/// The largest document in an archive, in bytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// Entries of an archive.
const MOST_ENTRIES: usize = 10_000;
/// The start of every gzip file (RFC 1952), and of every Zstandard frame (RFC 8878).
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why what lies there is no image.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The disk says no.
    #[error("{}: {source}", .path.display())]
    File {
        /// What was touched.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is none, or more than one.
    #[error("{0}")]
    Unusable(String),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// What the documents say.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A layer.
    #[error("layer {name}: {source}")]
    Layer {
        /// As the archive calls it.
        name: String,
        /// What is wrong.
        source: ReadError,
    },
}

/// The one image of a layout's directory or of an archive. Layers of an archive go through the store, and are compressed if they are not.
///
/// # Errors
/// There is none, there are several, or it is broken.
pub fn read(path: &Path, store: &Store) -> Result<ReadyImage, StoredError> {
    if path.is_dir() { of_layout(path) } else { of_archive(path, store) }
}

fn unusable(why: impl Into<String>) -> StoredError {
    StoredError::Unusable(why.into())
}

fn of_layout(path: &Path) -> Result<ReadyImage, StoredError> {
    let layout = Layout::open(path)?;
    let entries = layout.entries()?;
    let [entry] = entries.as_slice() else {
        return Err(unusable(format!("the layout holds {} images, want one", entries.len())));
    };
    if !entry.media_type.is_manifest() {
        return Err(unusable("the layout holds an index of several images; `index create` pushes those"));
    }
    let bytes = layout.document(entry)?;
    let manifest: Manifest = parse(&bytes, "manifest")?;
    for layer in &manifest.layers {
        layout.verify(layer)?;
    }
    let config = layout.document(&manifest.config)?;
    let about = Image::from_parts(&manifest, parse(&config, "configuration")?, |layer| LayerContent::File(layout.blob(layer.digest)))?;
    let layers = manifest.layers.iter();
    let layers = layers.map(|layer| PushBlob { descriptor: layer.clone(), content: PushContent::File(layout.blob(layer.digest)) });
    let documents = Documents {
        config_descriptor: manifest.config.clone(),
        config,
        descriptor: Descriptor::new(entry.media_type.clone(), entry.digest, bytes.len() as u64),
        manifest: bytes,
    };
    Ok(ReadyImage { documents, layers: layers.collect(), about: about.annotate(manifest.annotations) })
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoredError> {
    serde_json::from_slice(bytes).map_err(|error| unusable(format!("its {what} cannot be read: {error}")))
}

/// What the list in an archive says of an image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    layers: Vec<String>,
}

fn of_archive(path: &Path, store: &Store) -> Result<ReadyImage, StoredError> {
    let entries = unpack(path, store)?;
    let find = |name: &str| entries.get(&clean(name)).ok_or_else(|| unusable(format!("the archive has no {name:?}")));
    let small = |name: &str| {
        let path = find(name)?;
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed(path))?;
        file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).map_err(failed(path))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(unusable(format!("{name:?} in the archive is larger than {DOCUMENT_LIMIT} bytes")));
        }
        Ok(bytes)
    };
    let listed: Vec<Listed> = parse(&small("manifest.json")?, "manifest.json")?;
    let [listed] = listed.as_slice() else {
        return Err(unusable(format!("the archive holds {} images, want one", listed.len())));
    };
    let config_bytes = small(&listed.config)?;
    let config: ImageConfig = parse(&config_bytes, "configuration")?;
    if config.rootfs.diff_ids.len() != listed.layers.len() {
        return Err(unusable(format!("{} layers but {} diff-ids", listed.layers.len(), config.rootfs.diff_ids.len())));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in listed.layers.iter().zip(&config.rootfs.diff_ids) {
        layers.push(layer(name, find(name)?, *diff_id, store)?);
    }
    // Docker's family has no name for Zstandard that registries take.
    let docker = layers.iter().all(|(_, how)| *how != LayerCompression::Zstd);
    let kind = |how| if docker { MediaType::DockerLayer(how) } else { MediaType::OciLayer(how) };
    let layers: Vec<PushBlob> = layers
        .into_iter()
        .map(|(mut blob, how)| {
            blob.descriptor.media_type = kind(how);
            blob
        })
        .collect();
    let config_type = if docker { MediaType::DockerConfig } else { MediaType::OciConfig };
    let config_descriptor = Descriptor::new(config_type, Digest::of(&config_bytes), config_bytes.len() as u64);
    let manifest_type = if docker { MediaType::DockerManifest } else { MediaType::OciManifest };
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(manifest_type.clone()),
        config: config_descriptor.clone(),
        layers: layers.iter().map(|blob| blob.descriptor.clone()).collect(),
        annotations: Default::default(),
        other: serde_json::Map::new(),
    };
    let about = Image::from_parts(&manifest, config, |_| LayerContent::File(PathBuf::new()))?;
    let manifest = serde_json::to_vec(&manifest).map_err(|error| unusable(error.to_string()))?;
    let descriptor = Descriptor::new(manifest_type, Digest::of(&manifest), manifest.len() as u64);
    let documents = Documents { config: config_bytes, config_descriptor, manifest, descriptor };
    Ok(ReadyImage { documents, layers, about })
}

/// A layer of an archive as a blob that has been seen to hold what the configuration says.
fn layer(name: &str, path: &Path, wanted: DiffId, store: &Store) -> Result<(PushBlob, LayerCompression), StoredError> {
    let mut magic = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic)).map_err(failed(path))?;
    let compressed =
        if magic.starts_with(&GZIP) { Some(LayerCompression::Gzip) } else { magic.starts_with(&ZSTD).then_some(LayerCompression::Zstd) };
    let (diff_id, digest, size, path, how) = match compressed {
        Some(how) => {
            let file = || File::open(path).map_err(failed(path));
            let read = for_each_entry::<ReadError>(BufReader::new(file()?), &Limits::default(), &mut |_, _| Ok(()));
            let read = read.map_err(|source| StoredError::Layer { name: name.to_owned(), source })?;
            let (digest, size) = digest_of(file()?).map_err(failed(path))?;
            (read.diff_id, digest, size, path.to_owned(), how)
        }
        None => {
            let to = store.temporary_path();
            let file = File::open(path).map_err(failed(path))?;
            let made = compress(file, &to, Compression::GZIP).map_err(failed(&to))?;
            (made.diff_id, made.digest, made.size, to, LayerCompression::Gzip)
        }
    };
    if diff_id != wanted {
        return Err(unusable(format!("layer {name:?} is {diff_id}, and the configuration says {wanted}")));
    }
    let descriptor = Descriptor::new(MediaType::DockerLayer(how), digest, size);
    Ok((PushBlob { descriptor, content: PushContent::File(path) }, how))
}

fn digest_of(mut file: File) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let mut piece = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((hasher.finish(), size)),
            read => {
                size += read as u64;
                hasher.update(piece.get(..read).unwrap_or_default());
            }
        }
    }
}

/// The files of an archive by their names, each in a file of the store that goes away with this process.
fn unpack(path: &Path, store: &Store) -> Result<HashMap<PathBuf, PathBuf>, StoredError> {
    let mut found = HashMap::new();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).map_err(failed(path))?));
    for (number, entry) in archive.entries().map_err(failed(path))?.enumerate() {
        if number >= MOST_ENTRIES {
            return Err(unusable(format!("the archive has more than {MOST_ENTRIES} entries")));
        }
        let mut entry = entry.map_err(failed(path))?;
        let name = clean(&entry.path().map_err(failed(path))?.to_string_lossy());
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let to = store.temporary_path();
                let mut file = File::create_new(&to).map_err(failed(&to))?;
                io::copy(&mut entry, &mut file).map_err(failed(&to))?;
                found.insert(name, to);
            }
            // Older versions of docker name a layer that several images have by a link to its first place.
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let Some(target) = entry.link_name().map_err(failed(path))? else { continue };
                let symbolic = entry.header().entry_type() == tar::EntryType::Symlink;
                let from = name.parent().filter(|_| symbolic).unwrap_or(Path::new(""));
                links.push((clean(&from.join(target).to_string_lossy()), name));
            }
            _ => {}
        }
    }
    for (target, name) in links {
        if let Some(file) = found.get(&target).cloned() {
            found.insert(name, file);
        }
    }
    Ok(found)
}

/// A name without `.` and `..`: it is looked up, and never a path of this machine.
fn clean(name: &str) -> PathBuf {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().collect()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoredError {
    let path = path.to_owned();
    move |source| StoredError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_out_of_the_archive() {
        for (name, cleaned) in [("./a/b", "a/b"), ("../../etc/passwd", "etc/passwd"), ("/x//y/../z", "x/z")] {
            assert_eq!(clean(name), PathBuf::from(cleaned));
        }
    }
}
