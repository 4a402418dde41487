//! What a command that speaks to registries works with: a runtime, a client with its plugins, and whoever is told.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::commands::build::Stop;
use super::log::{self, LogArguments};
use super::plugin_config;
use super::plugins::{self, PluginArguments};
use super::registry::{RegistryArguments, registry_settings};
use crate::build::error::BuildError;
use crate::progress::{Level, Redacting, Reporter, Secrets};
use crate::registry::Client;

/// Everything that is needed to speak to registries.
pub struct Session {
    /// What the client works in.
    pub runtime: Runtime,
    /// Speaks to registries.
    pub client: Client,
    /// Is told of it.
    pub reporter: Arc<dyn Reporter>,
}

impl Session {
    /// Puts it together. Connects to nothing. `kept` is where documents of images are kept from run to run.
    ///
    /// # Errors
    /// A flag that makes no sense, or a plugin that does not load.
    pub fn open(
        plugin: &PluginArguments,
        registry: &RegistryArguments,
        log: &LogArguments,
        secrets: &Arc<Secrets>,
        kept: Option<PathBuf>,
    ) -> Result<Self, Stop> {
        let mut settings = registry_settings(registry)?;
        settings.content_cache = kept;
        let reporter: Arc<dyn Reporter> = Arc::new(Redacting::new(Arc::new(log::reporter(log)), Arc::clone(secrets)));
        let mut plugin_settings = plugins::plugin_settings(plugin, registry, &mut |warning| reporter.log(Level::Warning, &warning))?;
        plugin_settings.secrets = Arc::clone(secrets);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| BuildError::because("failed to start", e))?;
        let plugins = plugin_config::load(&plugin_settings, &settings, &runtime, &reporter)?;
        let client = {
            let _inside = runtime.enter();
            Client::new(settings, plugins.auth_providers(), plugins.mirror_resolvers(), Arc::clone(&reporter))
        };
        let client = client.map_err(|e| BuildError::because("failed to set up the registry client", e))?;
        Ok(Self { runtime, client, reporter })
    }
}
