use std::io::Write;

use anyhow::{Context, Result};

/// Prints the version.
pub fn run() -> Result<()> {
    writeln!(std::io::stdout(), "layerwright {}", env!("CARGO_PKG_VERSION")).context("failed to write to standard output")
}
