use async_trait::async_trait;

use super::error::Failure;
use crate::image::Image;
use crate::oci::{Platform, Reference};
use crate::registry::Client;

/// Where base images come from: manifest and configuration, no layer.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image of a name for a platform. The same name and platform give the same image within one build.
    ///
    /// # Errors
    /// It is not there, or cannot be had.
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<Image, Failure>;
}

#[async_trait]
impl Images for Client {
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<Image, Failure> {
        let remote = self.pull_image(reference, platform).await.map_err(Failure::registry)?;
        Ok(remote.image()?)
    }
}

/// Has no image at all.
pub struct NoImages;

#[async_trait]
impl Images for NoImages {
    async fn image(&self, reference: &Reference, _: &Platform) -> Result<Image, Failure> {
        Err(Failure::new(format!("{reference} is not looked at")))
    }
}
