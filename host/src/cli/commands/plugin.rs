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
    let all = set.infos().iter().try_for_each(|info| {
        writeln!(out, "{} {}  {}", info.name, info.version, info.summary)?;
        writeln!(out, "  from     {}", info.origin)?;
        writeln!(out, "  world    {}", info.world)?;
        writeln!(out, "  digest   sha256:{}", info.digest)?;
        writeln!(out, "  imports  {}", info.imports.join(" "))?;
        let handled = set
            .handlers()
            .iter()
            .filter(|h| h.name() == info.name)
            .flat_map(|h| h.keywords().iter().map(|k| k.name.clone()))
            .collect::<Vec<_>>();
        if !handled.is_empty() {
            writeln!(out, "  handles  {}", handled.join(" "))?;
        }
        info.wants.iter().try_for_each(|want| writeln!(out, "  wants    {want}"))?;
        info.grants.iter().try_for_each(|grant| writeln!(out, "  granted  {grant}"))
    });
    if all.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
