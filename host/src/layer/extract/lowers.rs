//! Looking things up in the unpacked layers below.

use std::path::{Path, PathBuf};

use crate::fs::{Kind, Metadata, Result, Root};
use crate::layer::whiteout::{is_device, opaque_xattr};

/// More roots than this keep no directories open.
const FEW: usize = 32;

/// Unpacked layers in the form that overlayfs reads.
#[derive(Debug, Default)]
pub struct Lowers {
    /// Lowest first.
    pub(super) roots: Vec<Root>,
}

/// Something in the layers below.
pub struct Found<'a> {
    /// The layer that has it.
    pub root: &'a Root,
    /// What it is.
    pub metadata: Metadata,
}

impl Lowers {
    /// Opens unpacked layers, lowest first.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        Ok(Self { roots: paths.iter().map(Root::open).collect::<Result<_>>()? })
    }

    /// What the layers together have at a path: the topmost that knows the path decides. Links on the way are followed
    /// within one layer only.
    pub fn find(&self, path: &Path) -> Result<Option<Found<'_>>> {
        for root in self.roots.iter().rev() {
            let found = root.stat(path)?;
            let hidden = match found {
                Some(metadata) if is_device(&metadata) => true,
                Some(metadata) => return Ok(Some(Found { root, metadata })),
                None => hides(root, path)?,
            };
            if self.roots.len() > FEW {
                root.forget();
            }
            if hidden {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// Whether a layer that has nothing at a path hides what is there further down.
fn hides(root: &Root, path: &Path) -> Result<bool> {
    for parent in path.ancestors().skip(1) {
        let Some(metadata) = root.stat(parent)? else { continue };
        // Every directory on the way may be the one that is opaque.
        if metadata.kind != Kind::Directory || root.xattr(parent, opaque_xattr())?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}
