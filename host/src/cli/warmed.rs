//! The directory of base images that a warmer fills and a build reads.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::args::{BuildArguments, path};
use crate::build::WarmedImages;
use crate::build::images::Images;
use crate::image::{Layout, LayoutError};
use crate::oci::{Descriptor, Digest, MediaType};
use crate::progress::Reporter;
use crate::registry::{Client, RegistryError, RemoteImage};

/// The flags for the directory, of a build.
#[derive(Debug, Args)]
pub struct WarmedArguments {
    /// Base images that a warmer has kept, as OCI layouts; used with --cache
    #[arg(long, default_value = "/cache", value_parser = path(), value_name = "DIR")]
    pub cache_dir: PathBuf,
}

/// Where a build has its base images from.
pub fn images(args: &BuildArguments, client: &Client, reporter: &Arc<dyn Reporter>) -> Arc<dyn Images> {
    let directory = &args.warmed.cache_dir;
    if !args.cache.cache || !directory.is_dir() {
        return Arc::new(client.clone());
    }
    let (ttl, reporter) = (args.cache.cache_ttl, Arc::clone(reporter));
    Arc::new(WarmedImages { client: client.clone(), directory: directory.clone(), ttl, reporter })
}

/// Where kaniko keeps the locks of its warmers.
const LOCKS: &str = ".warmer-locks";

/// Why an image could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// The disk says no.
    #[error("{}: {source}", .path.display())]
    File {
        /// What was touched.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What came of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmed {
    /// It was there, whole and fresh.
    Fresh,
    /// It is there now.
    Fetched,
}

/// Keeps an image in the directory, as an OCI layout under the digest of its manifest. Warmers that want the same image take turns.
///
/// # Errors
/// A layer cannot be had, or the directory cannot be written to. What was there before stays.
pub async fn keep(directory: &Path, image: &RemoteImage, ttl: Duration, force: bool, client: &Client) -> Result<Warmed, WarmError> {
    let name = image.manifest_digest.to_string();
    let _lock = lock(directory, &name)?;
    let place = directory.join(&name);
    if !force && is_fresh(&place, ttl) && tokio::task::block_in_place(|| is_whole(&place, image.manifest_digest)) {
        return Ok(Warmed::Fresh);
    }
    // Only whoever holds the lock writes there.
    let beside = directory.join(format!(".{name}.part"));
    remove(&beside)?;
    let layout = Layout::create(&beside)?;
    for layer in &image.manifest.layers {
        client.fetch_blob(&image.source, layer, &layout.blob(layer.digest)).await?;
    }
    layout.put_bytes(image.manifest.config.digest, &image.config_bytes)?;
    layout.put_bytes(image.manifest_digest, &image.manifest_bytes)?;
    let kind = image.manifest.media_type.clone().unwrap_or(match image.manifest.config.media_type.is_docker() {
        true => MediaType::DockerManifest,
        false => MediaType::OciManifest,
    });
    layout.finish(&Descriptor::new(kind, image.manifest_digest, image.manifest_bytes.len() as u64))?;
    remove(&place)?;
    fs::rename(&beside, &place).map_err(failed(&place))?;
    Ok(Warmed::Fetched)
}

fn is_fresh(place: &Path, ttl: Duration) -> bool {
    let modified = fs::metadata(place).and_then(|found| found.modified());
    modified.is_ok_and(|modified| modified.elapsed().unwrap_or_default() <= ttl)
}

/// Whether a layout has all of its one image.
fn is_whole(place: &Path, digest: Digest) -> bool {
    let check = || {
        let layout = Layout::open(place)?;
        let entries = layout.entries()?;
        let Some(entry) = entries.iter().find(|entry| entry.digest == digest) else { return Ok(false) };
        let manifest: crate::oci::Manifest = serde_json::from_slice(&layout.document(entry)?).map_err(crate::oci::DocumentError::from)?;
        layout.document(&manifest.config)?;
        manifest.layers.iter().try_for_each(|layer| layout.verify(layer))?;
        Ok::<_, LayoutError>(true)
    };
    check().unwrap_or(false)
}

/// Waits until no other warmer has the image locked.
fn lock(directory: &Path, name: &str) -> Result<File, WarmError> {
    let folder = directory.join(LOCKS);
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let path = folder.join(name);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed(&path))?;
    tokio::task::block_in_place(|| file.lock()).map_err(failed(&path))?;
    Ok(file)
}

fn remove(path: &Path) -> Result<(), WarmError> {
    // Older warmers of kaniko's kept an archive there, a file.
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => fs::remove_file(path),
        _ => fs::remove_dir_all(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> WarmError {
    let path = path.to_owned();
    move |source| WarmError::File { path, source }
}
