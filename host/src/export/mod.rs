//! Where a built image goes: registries, a layout, an archive, and files that say what it is.
//!
//! Nothing is said about an image before it is where it is to be: digest files are written last.

mod files;
mod ready;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use crate::image::{Archive, Documents, Image, ImageError, Layer, LayerContent, Layout, LayoutError};
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::{Client, PushBlob, PushContent, RegistryError};

pub use ready::{Member, ReadyImage, push_index, push_ready};

/// Where an image goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outputs {
    /// Names to push it under.
    pub destinations: Vec<Reference>,
    /// Whether it is not pushed after all; the names go into archives and digest files all the same.
    pub no_push: bool,
    /// A directory for an image layout.
    pub oci_layout_path: Option<PathBuf>,
    /// A file for an archive that `docker load` takes.
    pub tar_path: Option<PathBuf>,
    /// A file for the digest, without a line end.
    pub digest_file: Option<PathBuf>,
    /// A URL of `https` that the digest is put to.
    pub digest_url: Option<String>,
    /// A file for a line `repository@digest` for each destination.
    pub image_name_with_digest_file: Option<PathBuf>,
    /// A file for a line `repository:tag@digest` for each destination.
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// A file for what was made, in JSON, as buildx writes it.
    pub metadata_file: Option<PathBuf>,
    /// A directory for the file `images`: a line of JSON for each destination.
    pub builder_output: Option<PathBuf>,
    /// Whether a tag that the registry does not let go is as good as pushed.
    pub ignore_immutable_tags: bool,
}

/// Why an image is not where it is to be.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The image makes no sense.
    #[error("the image cannot be exported: {0}")]
    Image(#[from] ImageError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layout.
    #[error("the image layout cannot be written: {0}")]
    Layout(#[from] LayoutError),
    /// A file.
    #[error("{what} {} cannot be written: {source}", .path.display())]
    File {
        /// What was to be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Brings an image to all its outputs and says so in the digest files. `work` is a directory for blobs on their way,
/// `<hex>` each; what is in it already is not fetched again.
///
/// # Errors
/// The first output that fails; others may be complete by then. No digest file is written then.
pub async fn write(image: &Image, outputs: &Outputs, client: &Client, work: &Path) -> Result<Descriptor, ExportError> {
    let documents = image.documents()?;
    if !outputs.no_push {
        push(image, &documents, outputs, client).await?;
    }
    if outputs.oci_layout_path.is_some() || outputs.tar_path.is_some() {
        // What has to be fetched is fetched to where it is wanted.
        let fetched = match &outputs.oci_layout_path {
            Some(path) => Layout::create(path)?.blobs(),
            None => work.to_owned(),
        };
        let files = fetch(&image.layers, client, work, &fetched).await?;
        if let Some(path) = &outputs.oci_layout_path {
            let (path, documents, layers, files) = (path.clone(), documents.clone(), image.layers.clone(), files.clone());
            blocking(move || layout(&path, &documents, &layers, &files)).await??;
        }
        if let Some(path) = &outputs.tar_path {
            let (target, image, documents, names) = (path.clone(), image.clone(), documents.clone(), outputs.destinations.clone());
            let written = blocking(move || archive(&target, &image, &documents, &files, &names)).await?;
            written.map_err(|source| ExportError::File { what: "the archive", path: path.clone(), source })?;
        }
    }
    files::write(outputs, &documents, image)?;
    tell(outputs, documents.descriptor.digest, client).await?;
    Ok(documents.descriptor)
}

/// Tells the URL that wants to know it the digest.
async fn tell(outputs: &Outputs, digest: Digest, client: &Client) -> Result<(), ExportError> {
    match &outputs.digest_url {
        Some(url) => Ok(client.put_text(url, &digest.to_string()).await?),
        None => Ok(()),
    }
}

async fn push(image: &Image, documents: &Documents, outputs: &Outputs, client: &Client) -> Result<(), ExportError> {
    let mut blobs: Vec<PushBlob> = Vec::new();
    for layer in &image.layers {
        let content = match &layer.content {
            LayerContent::File(path) => PushContent::File(path.clone()),
            LayerContent::Remote(source) => PushContent::Remote(source.clone()),
        };
        blobs.push(PushBlob { descriptor: layer.descriptor.clone(), content });
    }
    push_documents(blobs, documents, outputs, client).await
}

/// Pushes to all destinations: blobs side by side, each once for a repository; a manifest when all blobs of its repository
/// are there; and no manifest at all where a blob fails anywhere.
async fn push_documents(mut blobs: Vec<PushBlob>, documents: &Documents, outputs: &Outputs, client: &Client) -> Result<(), ExportError> {
    let mut digests = BTreeSet::new();
    blobs.retain(|blob| digests.insert(blob.descriptor.digest));
    let config = PushContent::Bytes(documents.config.clone().into());
    blobs.push(PushBlob { descriptor: documents.config_descriptor.clone(), content: config });

    let mut seen = BTreeSet::new();
    let repositories = outputs.destinations.iter().filter(|to| seen.insert((to.registry(), to.repository())));
    // The second repository of a registry takes over what the first one has, so registries go side by side and the
    // repositories of one go in turn.
    let mut by_registry: Vec<Vec<Reference>> = Vec::new();
    for to in repositories {
        match by_registry.iter_mut().find(|group| group.iter().any(|other| other.registry() == to.registry())) {
            Some(group) => group.push(to.clone()),
            None => by_registry.push(vec![to.clone()]),
        }
    }
    let mut registries = JoinSet::new();
    for group in by_registry {
        let (client, blobs) = (client.clone(), blobs.clone());
        registries.spawn(async move {
            for to in &group {
                push_blobs(&client, to, &blobs).await?;
            }
            Ok::<(), ExportError>(())
        });
    }
    all(&mut registries).await?;
    for to in &outputs.destinations {
        let pushed = client.push_manifest(to, &documents.manifest, &documents.descriptor.media_type).await;
        match pushed {
            Err(error) if outputs.ignore_immutable_tags && is_immutable_tag(&error) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    Ok(())
}

async fn push_blobs(client: &Client, to: &Reference, blobs: &[PushBlob]) -> Result<(), ExportError> {
    let mut transfers = JoinSet::new();
    for blob in blobs {
        let (client, to, blob) = (client.clone(), to.clone(), blob.clone());
        transfers.spawn(async move { client.push_blob(&to, &blob).await.map(drop).map_err(ExportError::from) });
    }
    all(&mut transfers).await
}

/// Waits for all tasks; the first failure ends the others.
async fn all(tasks: &mut JoinSet<Result<(), ExportError>>) -> Result<(), ExportError> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(stopped)??;
    }
    Ok(())
}

/// What registries say where a tag may be set only once.
fn is_immutable_tag(error: &RegistryError) -> bool {
    let text = error.to_string();
    ["The repository has enabled tag immutability", "cannot be overwritten because the tag is immutable"]
        .iter()
        .any(|said| text.contains(said))
}

/// The files of all layers; those that are in a registry still, and not in `work`, are fetched into `to`.
async fn fetch(layers: &[Layer], client: &Client, work: &Path, to: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let made = tokio::fs::create_dir_all(to).await;
    made.map_err(|source| ExportError::File { what: "the directory for blobs", path: to.to_owned(), source })?;
    let mut transfers = JoinSet::new();
    let mut files = Vec::new();
    for layer in layers {
        match &layer.content {
            LayerContent::File(path) => files.push(path.clone()),
            LayerContent::Remote(source) => {
                let name = layer.descriptor.digest.hex();
                let here = work.join(&name);
                if tokio::fs::metadata(&here).await.is_ok_and(|found| found.is_file() && found.len() == layer.descriptor.size) {
                    files.push(here);
                    continue;
                }
                let to = to.join(&name);
                files.push(to.clone());
                let (client, source, descriptor) = (client.clone(), source.clone(), layer.descriptor.clone());
                transfers.spawn(async move { client.fetch_blob(&source, &descriptor, &to).await.map_err(ExportError::from) });
            }
        }
    }
    all(&mut transfers).await?;
    Ok(files)
}

fn layout(path: &Path, documents: &Documents, layers: &[Layer], files: &[PathBuf]) -> Result<(), ExportError> {
    let layout = Layout::create(path)?;
    for (layer, file) in layers.iter().zip(files) {
        layout.put_file(layer.descriptor.digest, file)?;
    }
    layout.put_bytes(documents.config_descriptor.digest, &documents.config)?;
    layout.put_bytes(documents.descriptor.digest, &documents.manifest)?;
    Ok(layout.finish(&documents.descriptor)?)
}

fn archive(path: &Path, image: &Image, documents: &Documents, layers: &[PathBuf], names: &[Reference]) -> std::io::Result<()> {
    files::replace(path, |file| {
        let to = std::io::BufWriter::with_capacity(1024 * 1024, file);
        let to = Archive::new(to).write(image, documents, layers, names)?;
        to.into_inner().map_err(|error| error.into_error()).map(drop)
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ExportError> {
    tokio::task::spawn_blocking(work).await.map_err(stopped)
}

fn stopped(error: tokio::task::JoinError) -> ExportError {
    ExportError::File { what: "an output", path: PathBuf::new(), source: std::io::Error::other(error) }
}

#[cfg(test)]
mod tests;
