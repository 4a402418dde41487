use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::cli::{plugin_config, plugins};
use crate::plugin::{PluginSet, PluginSource};
use crate::progress::{Reporter, Silent};

/// Approves the plugins of a configuration as they are, and shows what that means.
pub fn lock(config: &Path) -> Result<()> {
    let settings = plugins::surroundings();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("failed to start")?;
    let reporter: Arc<dyn Reporter> = Arc::new(Silent);
    let (path, lock) = runtime.block_on(plugin_config::lock(config, &settings, &reporter))?;
    let mut out = std::io::stdout().lock();
    write!(out, "{lock}").and_then(|()| writeln!(out, "\nwritten to {}", path.display())).context("failed to write to standard output")
}

/// Shows what plugins are, claim and want; the standard ones where no file is named.
pub fn inspect(files: &[PathBuf]) -> Result<()> {
    let mut settings = plugins::surroundings();
    if !files.is_empty() {
        settings.plugins = files.iter().map(PluginSource::file).collect();
    }
    let set = PluginSet::load(&settings, Arc::new(Silent)).context("failed to load plugins")?;
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
    all.context("failed to write to standard output")
}
