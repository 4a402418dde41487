//! One layer for all that a stage changes.

use tokio::task::block_in_place;

use super::error::Failure;
use super::layers::indexed;
use super::stage::Shared;
use super::work::image_layer;
use crate::image::Image;
use crate::layer::LayerWriter;
use crate::rootfs::layered::Layered;

impl Shared {
    /// The image with the layers above its base joined to one. What was made and removed again is in none, and what the base has and the
    /// stage removed stays removed. Its history says which instructions took part; the layer belongs to the last of them.
    ///
    /// # Errors
    /// A layer cannot be had, read or written.
    pub(super) async fn squash(&self, base: &Image, image: Image) -> Result<Image, Failure> {
        let kept = base.layers.len();
        if image.layers.len() == kept {
            return Ok(image);
        }
        self.fetch_blobs(&image).await?;
        let layer = block_in_place(|| {
            let store = &self.deps.store;
            let mut tree = Layered::on(self.sources(base).into_iter().map(indexed).collect(), store.temporary_files());
            for layer in self.sources(&image).into_iter().skip(kept) {
                tree.join_layer(indexed(layer))?;
            }
            let mut writer = LayerWriter::create(store.temporary_path(), self.final_layer_options())?;
            tree.write_changes(&mut writer)?;
            Ok::<_, Failure>(store.keep_blob(writer.finish()?)?)
        })?;
        let layer = image_layer(&image, layer);
        let mut image = image;
        image.layers.truncate(kept);
        image.layers.push(layer);
        let old = base.config.history.len();
        let mut made = image.config.history.iter_mut().skip(old).filter(|entry| !entry.empty_layer).rev();
        made.next();
        made.for_each(|entry| entry.empty_layer = true);
        // Which layers there are is the image's own business to say.
        Ok(image.configure(|_| ()))
    }
}
