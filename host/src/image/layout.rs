//! Image layouts on disk (image-spec, image-layout.md).

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use oci_spec::image::{OciLayout, OciLayoutBuilder};

use crate::oci::{Descriptor, Digest, Document, DocumentError, Hasher, ImageConfig, ImageIndex, Manifest, MediaType, Platform};

use super::{Image, ImageError, LayerContent};

const VERSION: &str = "1.0.0";
pub(super) const DOCUMENT_LIMIT: u64 = 8 * 1024 * 1024;
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The disk says no.
    #[error("{}: {source}", .path.display())]
    File {
        /// What was touched.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a layout, or not one with this image.
    #[error("{}: {why}", .path.display())]
    Unusable {
        /// The layout.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A document that cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An image that makes no sense.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// A directory of blobs by digest, with an index.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    /// A layout to write to; the directory is made where it is not there, and blobs in it are kept.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create(root: &Path) -> Result<Self, LayoutError> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(failed(&blobs))?;
        Ok(Self { root: root.to_owned() })
    }

    /// A layout to read from.
    ///
    /// # Errors
    /// There is none, or one of another version.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        let layout = Self { root: root.to_owned() };
        let marker = layout.read(&root.join("oci-layout"), DOCUMENT_LIMIT)?;
        match serde_json::from_slice::<OciLayout>(&marker) {
            Ok(marker) if marker.image_layout_version() == VERSION => Ok(layout),
            Ok(marker) => Err(layout.unusable(format!("layout version {:?}, want {VERSION}", marker.image_layout_version()))),
            Err(error) => Err(layout.unusable(format!("oci-layout: {error}"))),
        }
    }

    /// Where all blobs are.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// Where a blob is, or is to be put.
    pub fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Puts bytes there.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put_bytes(&self, digest: Digest, bytes: &[u8]) -> Result<(), LayoutError> {
        self.place(&self.blob(digest), |file| fs::write(file, bytes))
    }

    /// Puts a copy of a file there: a link would let whoever edits the layout edit the file.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn put_file(&self, digest: Digest, source: &Path) -> Result<(), LayoutError> {
        let blob = self.blob(digest);
        if blob.exists() {
            return Ok(());
        }
        self.place(&blob, |file| fs::copy(source, file).map(drop))
    }

    /// Writes the marker and an index with this one manifest, which makes it an image to whoever reads the layout. The
    /// manifest carries no name, so that the directory alone names the image.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn finish(&self, manifest: &Descriptor) -> Result<(), LayoutError> {
        self.write_index(vec![manifest.clone()])
    }

    /// Writes the marker and an index.
    pub(super) fn write_index(&self, manifests: Vec<Descriptor>) -> Result<(), LayoutError> {
        let index = ImageIndex {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            manifests,
            annotations: Default::default(),
            other: serde_json::Map::new(),
        };
        let write = |name: &str, value: serde_json::Result<Vec<u8>>| {
            let bytes = value.map_err(|error| self.unusable(error.to_string()))?;
            self.place(&self.root.join(name), |file| fs::write(file, &bytes))
        };
        let marker = OciLayoutBuilder::default().image_layout_version(VERSION).build().map_err(|error| self.unusable(error.to_string()))?;
        write("oci-layout", serde_json::to_vec(&marker))?;
        write("index.json", serde_json::to_vec(&index))
    }

    /// The image for a platform, of this name where one is given and there are several. Its layers stay where they are;
    /// their bytes are not checked here.
    ///
    /// # Errors
    /// There is no such image, more than one, or its documents are broken.
    pub fn image(&self, name: Option<&str>, platform: &Platform) -> Result<(Image, Manifest, Digest), LayoutError> {
        self.image_of(name, None, platform)
    }

    /// As [`Layout::image`], with the digest of a manifest or index that the layout's own index lists.
    ///
    /// # Errors
    /// As there.
    pub fn image_of(
        &self,
        name: Option<&str>,
        digest: Option<Digest>,
        platform: &Platform,
    ) -> Result<(Image, Manifest, Digest), LayoutError> {
        let index = self.read(&self.root.join("index.json"), DOCUMENT_LIMIT)?;
        let mut index: ImageIndex = serde_json::from_slice(&index).map_err(DocumentError::from)?;
        if let Some(digest) = digest {
            index.manifests.retain(|entry| entry.digest == digest);
            if index.manifests.is_empty() {
                return Err(self.unusable(format!("its index lists no {digest}")));
            }
        } else if let Some(name) = name
            && !index.manifests.iter().any(|entry| entry.annotations.get(REF_NAME).is_none_or(|known| known == name))
        {
            return Err(self.unusable(format!("no image is called {name:?}")));
        }
        // A digest says all that there is to say.
        let name = name.filter(|_| digest.is_none());
        for _ in 0..4 {
            let entry = self.select(&index, name, platform)?;
            let bytes = self.document(entry)?;
            match Document::parse(&bytes, &entry.media_type)? {
                Document::Index(inner) => index = inner,
                Document::Manifest(manifest) => {
                    let digest = entry.digest;
                    let config = self.document(&manifest.config)?;
                    let config: ImageConfig = serde_json::from_slice(&config).map_err(DocumentError::from)?;
                    super::check_config(&config)?;
                    let image = Image::from_parts(&manifest, config, |layer| LayerContent::File(self.blob(layer.digest)))?;
                    return Ok((image, manifest, digest));
                }
            }
        }
        Err(self.unusable("its indexes lie too deep".to_owned()))
    }

    /// What the layout's own index lists.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let index = self.read(&self.root.join("index.json"), DOCUMENT_LIMIT)?;
        Ok(serde_json::from_slice::<ImageIndex>(&index).map_err(DocumentError::from)?.manifests)
    }

    fn select<'a>(&self, index: &'a ImageIndex, name: Option<&str>, platform: &Platform) -> Result<&'a Descriptor, LayoutError> {
        let named = |entry: &&Descriptor| match (name, entry.annotations.get(REF_NAME)) {
            (Some(wanted), Some(name)) => name == wanted,
            _ => true,
        };
        let serves = |entry: &&Descriptor| match &entry.platform {
            Some(known) => known.serves(platform),
            None => Some(u32::MAX),
        };
        let images = index.manifests.iter().filter(|entry| entry.media_type.is_manifest() || entry.media_type.is_index());
        let found: Vec<_> = images.filter(named).filter(|entry| serves(entry).is_some()).collect();
        let best = found.iter().filter_map(serves).min();
        let mut best = found.iter().filter(|entry| serves(entry) == best);
        match (best.next(), best.next()) {
            (Some(entry), None) => Ok(entry),
            (None, _) => Err(self.unusable(format!("no image for {platform}"))),
            (Some(_), Some(_)) => Err(self.unusable("several images; name one".to_owned())),
        }
    }

    /// A small blob, checked.
    ///
    /// # Errors
    /// It cannot be read, is too large, or has not its digest.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let bytes = self.read(&self.blob(descriptor.digest), DOCUMENT_LIMIT)?;
        match Digest::of(&bytes) == descriptor.digest {
            true => Ok(bytes),
            false => Err(self.unusable(format!("blob {} has another digest", descriptor.digest))),
        }
    }

    /// Whether a layer's file has its digest and size.
    ///
    /// # Errors
    /// It has not, or cannot be read.
    pub fn verify(&self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let path = self.blob(descriptor.digest);
        let mut file = fs::File::open(&path).map_err(failed(&path))?;
        let mut hasher = Hasher::default();
        let mut piece = vec![0; 256 * 1024];
        let mut size = 0;
        loop {
            let read = file.read(&mut piece).map_err(failed(&path))?;
            if read == 0 {
                break;
            }
            size += read as u64;
            hasher.update(piece.get(..read).unwrap_or_default());
        }
        match hasher.finish() == descriptor.digest && size == descriptor.size {
            true => Ok(()),
            false => Err(self.unusable(format!("blob {} has another digest or size", descriptor.digest))),
        }
    }

    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed(path))?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(failed(path))?;
        match bytes.len() as u64 > limit {
            true => Err(self.unusable(format!("{} is larger than {limit} bytes", path.display()))),
            false => Ok(bytes),
        }
    }

    /// Makes a file and then gives it its name, so that a name never stands for half a file.
    fn place(&self, path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), LayoutError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let beside = path.with_file_name(name);
        let made = make(&beside).and_then(|()| fs::rename(&beside, path));
        if made.is_err() {
            let _ = fs::remove_file(&beside);
        }
        made.map_err(failed(path))
    }

    fn unusable(&self, why: String) -> LayoutError {
        LayoutError::Unusable { path: self.root.clone(), why }
    }
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::File { path, source }
}
