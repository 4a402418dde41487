use std::io::Write;

use anyhow::{Context, Result};

/// Prints the version; under kaniko's name in the form that its users look for.
pub fn run(as_executor: bool) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = std::io::stdout();
    let written = if as_executor { writeln!(out, "Layerwright version :  v{version}") } else { writeln!(out, "layerwright {version}") };
    written.context("failed to write to standard output")
}
