//! The images that the stages of a Dockerfile start from, and a directory of base images that are here already.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::error::{BuildError, Failure};
use super::images::Images;
use super::inputs::Inputs;
use super::report::checks;
use super::settings::BuildSettings;
use super::stages::graph;
use crate::dockerfile;
use crate::graph::Base;
use crate::image::{Image, Layout};
use crate::oci::{Digest, Platform, Reference};
use crate::progress::{Level, Reporter};
use crate::registry::Client;

/// The images that the stages of a Dockerfile start from, each once, with the platform that it is wanted for.
///
/// # Errors
/// What is wrong with the Dockerfile's FROM and ARG.
pub fn bases(settings: &BuildSettings, inputs: &Inputs) -> Result<Vec<(Reference, Platform)>, BuildError> {
    let parsed = dockerfile::parse(&inputs.dockerfile, inputs.handlers.keywords());
    let parsed = parsed.map_err(|errors| {
        let text = (*inputs.dockerfile).clone();
        BuildError::Dockerfile(Arc::new(super::error::DockerfileErrors { text, errors }))
    })?;
    let (graph, _) = graph(&parsed, settings, inputs, &checks(settings, inputs)?).map_err(BuildError::from)?;
    let mut bases = Vec::new();
    for stage in graph.stages {
        if let Base::Image(reference) = stage.base
            && !bases.contains(&(reference.clone(), stage.platform.clone()))
        {
            bases.push((reference, stage.platform));
        }
    }
    Ok(bases)
}

/// Base images from a directory of OCI layouts, `<digest of the manifest>` each, as a warmer fills it; what is not there, is too old or is
/// damaged comes from its registry.
pub struct WarmedImages {
    /// Where the rest comes from, and who knows which digest a tag has.
    pub client: Client,
    /// The directory.
    pub directory: PathBuf,
    /// How old a layout may be.
    pub ttl: Duration,
    /// Is told which images came from the directory, and which could not.
    pub reporter: Arc<dyn Reporter>,
}

#[async_trait]
impl Images for WarmedImages {
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<Image, Failure> {
        // A digest says what the image is without a registry; it may be that of an index, which a registry has to take apart.
        if let Some(digest) = reference.digest()
            && let Some(image) = self.warmed(reference, digest, platform)
        {
            return Ok(image);
        }
        let remote = self.client.pull_image(reference, platform).await.map_err(Failure::registry)?;
        match self.warmed(reference, remote.manifest_digest, platform) {
            Some(image) => Ok(image),
            None => Ok(remote.image()?),
        }
    }
}

impl WarmedImages {
    /// The image of that digest, if it is there, whole and fresh.
    fn warmed(&self, reference: &Reference, digest: Digest, platform: &Platform) -> Option<Image> {
        let path = self.directory.join(digest.to_string());
        let age = std::fs::metadata(&path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
        if age > self.ttl {
            self.reporter.log(Level::Info, &format!("{reference}: {} is older than --cache-ttl", path.display()));
            return None;
        }
        let read = || {
            let layout = Layout::open(&path)?;
            let (image, manifest, found) = layout.image_of(None, Some(digest), platform)?;
            manifest.layers.iter().try_for_each(|layer| layout.verify(layer))?;
            Ok::<_, crate::image::LayoutError>((image, found))
        };
        match tokio::task::block_in_place(read) {
            Ok((image, found)) if found == digest => {
                self.reporter.log(Level::Info, &format!("{reference} is taken from {}", path.display()));
                Some(image)
            }
            Ok(_) => None,
            Err(error) => {
                self.reporter.log(Level::Warning, &format!("{reference} is not taken from the cache directory: {error}"));
                None
            }
        }
    }
}
