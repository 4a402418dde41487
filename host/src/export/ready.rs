//! Images that are there already, pushed byte for byte as they are.

use super::{ExportError, Outputs, files, push_documents};
use crate::image::{Documents, Image};
use crate::oci::{Descriptor, MediaType, Reference};
use crate::registry::{Client, PushBlob};

/// An image with its documents as they were written.
#[derive(Clone, Debug)]
pub struct ReadyImage {
    /// Manifest and configuration, as they are.
    pub documents: Documents,
    /// The layers.
    pub layers: Vec<PushBlob>,
    /// What the documents say, for the files that describe the image.
    pub about: Image,
}

/// Pushes an image to all destinations and says so in the digest files.
///
/// # Errors
/// A destination that fails. No digest file is written then.
pub async fn push_ready(image: &ReadyImage, outputs: &Outputs, client: &Client) -> Result<Descriptor, ExportError> {
    let blobs = image.layers.clone();
    push_documents(blobs, &image.documents, outputs, client).await?;
    files::write(outputs, &image.documents, &image.about)?;
    super::tell(outputs, image.documents.descriptor.digest, client).await?;
    Ok(image.documents.descriptor.clone())
}

/// One of the images of an index.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place in the index: the descriptor of its manifest, with the platform.
    pub entry: Descriptor,
    /// The manifest, as it is.
    pub manifest: Vec<u8>,
    /// The configuration and the layers.
    pub blobs: Vec<PushBlob>,
}

/// Pushes an index after the images that it lists: blobs, manifests by digest, and the index last, under its name.
///
/// # Errors
/// Anything that cannot be pushed. The index is not pushed then.
pub async fn push_index(members: &[Member], index: &[u8], kind: &MediaType, to: &Reference, client: &Client) -> Result<(), ExportError> {
    for member in members {
        super::push_blobs(client, to, &member.blobs).await?;
        client.push_manifest(&to.at(member.entry.digest), &member.manifest, &member.entry.media_type).await?;
    }
    client.push_manifest(to, index, kind).await?;
    Ok(())
}
