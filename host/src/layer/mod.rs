//! Layers as tar archives: files to tar and back (image-spec, layer.md).
//!
//! [`LayerWriter`] makes a layer, [`entries`] reads one, [`extract`] turns one into files, [`whiteout`] knows the names that
//! stand for what is not there. None of them holds more of a layer in memory than a few blocks.

pub mod archive;
mod compress;
mod create;
pub mod entries;
pub mod extract;
pub mod whiteout;

pub use compress::{Compressed, Compression, compress};
pub use create::{CreateError, LayerOptions, LayerWriter, NewLayer};
