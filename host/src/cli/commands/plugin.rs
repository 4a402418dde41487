use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{diagnostic, plugins};
use crate::plugin::{PluginSet, PluginSource};
use crate::progress::Silent;

/// Shows what plugins are, claim and want; the standard ones where no file is named.
pub fn inspect(files: &[PathBuf]) -> ExitCode {
    let mut settings = plugins::surroundings();
    if !files.is_empty() {
        settings.plugins = files.iter().map(PluginSource::file).collect();
    }
    let set = match PluginSet::load(&settings, Arc::new(Silent)) {
        Ok(set) => set,
        Err(error) => {
            eprint!("{}", diagnostic::render_plain(&error));
            return ExitCode::FAILURE;
        }
    };
    let mut out = std::io::stdout().lock();
    let all = set.infos().iter().try_for_each(|info| writeln!(out, "{info}"));
    if all.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
