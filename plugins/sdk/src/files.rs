//! Files that were granted by path.

#[cfg(target_arch = "wasm32")]
use crate::bindings::shared::layerwright::plugin::files as host;
use crate::{Error, ErrorCode};

/// The content of a regular file. The path is absolute, or starts with `~/` for the user's home.
///
/// # Errors
/// [`crate::ErrorCode::Denied`] without a grant, [`crate::ErrorCode::NotFound`] where nothing is there,
/// [`crate::ErrorCode::TooLarge`] over 1 MiB.
pub fn read(path: &str) -> Result<Vec<u8>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::read(path);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.read_file(path))
}

/// The content of a file; none where nothing is there or it is not granted.
///
/// # Errors
/// Where it is there and cannot be read.
pub fn optional(path: &str) -> Result<Option<Vec<u8>>, Error> {
    match read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Denied) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names in a directory, sorted.
///
/// # Errors
/// [`crate::ErrorCode::Denied`] without a grant, [`crate::ErrorCode::NotFound`] where nothing is there.
pub fn entries(path: &str) -> Result<Vec<String>, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::entries(path);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.list_files(path))
}
