//! Messages for the user.

use crate::bindings::shared::layerwright::plugin::log as host;

pub use host::Level;

/// Says something for whoever looks for a fault.
pub fn debug(message: impl AsRef<str>) {
    log(Level::Debug, message.as_ref());
}

/// Says something good to know.
pub fn info(message: impl AsRef<str>) {
    log(Level::Info, message.as_ref());
}

/// Says what is likely a mistake, though the build goes on.
pub fn warning(message: impl AsRef<str>) {
    log(Level::Warning, message.as_ref());
}

fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.log(level, message));
}
