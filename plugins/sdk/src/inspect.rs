//! What an instruction handler may look at while it lowers. The host records each look.

use crate::Error;
use crate::bindings::shared::layerwright::plugin::inspect as host;

pub use host::{FileInfo, FileKind, Place};

/// Looks at a file without following a final link; none where nothing is there.
///
/// # Errors
/// Where the place does not exist or cannot be read.
pub fn stat(place: &Place, path: &str) -> Result<Option<FileInfo>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::stat(place, path);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.stat(place, path))
}

/// The content of a regular file.
///
/// # Errors
/// [`crate::ErrorCode::NotFound`] where nothing is there, [`crate::ErrorCode::TooLarge`] over 1 MiB.
pub fn read(place: &Place, path: &str) -> Result<Vec<u8>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::read(place, path);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.read_in(place, path))
}

/// The names in a directory, sorted.
///
/// # Errors
/// [`crate::ErrorCode::NotFound`] where nothing is there, [`crate::ErrorCode::TooLarge`] over 10 000 names.
pub fn entries(place: &Place, path: &str) -> Result<Vec<String>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::entries(place, path);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.entries(place, path))
}
