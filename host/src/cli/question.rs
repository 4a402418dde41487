//! What is asked of a Dockerfile without building it.

use std::future::Future;
use std::sync::Arc;

use super::args::BuildArguments;
use super::commands::build::Stop;
use super::inputs::inputs;
use super::log::{LogArguments, Verbosity};
use super::{contexts, log, place, plugin_config, plugins, registry, settings};
use crate::build::error::BuildError;
use crate::build::settings::BuildSettings;
use crate::build::{Handlers, Inputs};
use crate::fetch::Fetcher;
use crate::progress::{Level, Redacting, Reporter, Secrets};
use crate::registry::Client;

/// Puts together what a question needs, and asks it. What providers of credentials come by is added to `secrets`, and nothing that is said of
/// the answer may hold it. Needs no privilege: nothing is mounted, run or unpacked.
///
/// # Errors
/// A flag that makes no sense, or an input that cannot be had.
pub fn ask<T, F: Future<Output = T>>(
    args: &BuildArguments,
    secrets: &Arc<Secrets>,
    question: impl FnOnce(Arc<BuildSettings>, Inputs) -> F,
) -> Result<T, Stop> {
    let build = settings::build_settings(args)?;
    let location = contexts::main_context(args)?;
    let mut fetching = settings::fetch_settings(args, &build.run, &location)?;
    let mut registry = registry::registry_settings(&args.registry)?;
    // Standard output belongs to the answer, and steps there are none.
    let quiet = if args.log.verbosity > Verbosity::Debug { args.log.verbosity.max(Verbosity::Warn) } else { args.log.verbosity };
    let reporter: Arc<dyn Reporter> =
        Arc::new(Redacting::new(Arc::new(log::reporter(&LogArguments { verbosity: quiet, ..args.log })), Arc::clone(secrets)));
    let mut plugin_settings =
        plugins::plugin_settings(&args.plugin, &args.registry, &mut |warning| reporter.log(Level::Warning, &warning))?;
    plugin_settings.secrets = Arc::clone(secrets);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| BuildError::because("failed to start", e))?;
    let plugins = plugin_config::load(&plugin_settings, &registry, &runtime, &reporter)?;
    let handlers = Arc::new(Handlers::new(plugins.handlers()).map_err(|e| BuildError::because("failed to load plugins", e))?);
    let store = place::open_store(place::store_path(&args.place)?)?;
    registry.content_cache = Some(store.blobs());
    let answer = runtime.block_on(async {
        let client = Client::new(registry, plugins.auth_providers(), plugins.mirror_resolvers(), Arc::clone(&reporter));
        let client = client.map_err(|e| BuildError::because("failed to set up the registry client", e))?;
        let _agent = settings::forward_keys(&mut fetching, &build.run, &store)?;
        let fetcher = Fetcher::new(fetching, store, Arc::clone(&reporter));
        let (dockerfile, context) = inputs(args, &args.context.dockerfile, &location, &fetcher).await?;
        let inputs = Inputs {
            handlers,
            images: Arc::new(client),
            fetcher: None,
            reporter,
            context: Arc::new(context),
            dockerfile: Arc::new(dockerfile),
        };
        Ok::<_, Stop>(question(Arc::new(build), inputs).await)
    });
    runtime.shutdown_background();
    answer
}
