//! `push`: an image that lies on disk, to where it is named.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::build::{Stop, check_push};
use crate::build::error::BuildError;
use crate::cli::log::LogArguments;
use crate::cli::output::{DestinationArguments, destinations};
use crate::cli::place::{open_store, store_path_of};
use crate::cli::plugins::PluginArguments;
use crate::cli::registry::RegistryArguments;
use crate::cli::session::Session;
use crate::cli::settings::usage;
use crate::cli::stored::read;
use crate::export::push_ready;
use crate::progress::{Level, Secrets};

/// The flags of a push.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct PushArguments {
    /// A `docker save` archive, or the directory of an OCI layout, with one image
    pub path: PathBuf,
    /// Where it is pushed.
    #[command(flatten)]
    pub to: DestinationArguments,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArguments,
    /// Who knows logins.
    #[command(flatten)]
    pub plugin: PluginArguments,
    /// Where what does not fit into memory is kept meanwhile
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// What is said.
    #[command(flatten)]
    pub log: LogArguments,
}

/// Pushes an image that lies on disk.
pub fn run(args: &PushArguments) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    attempt(args, &secrets).map_or_else(|stop| stop.finish_with(&secrets, &args.log, true), |()| ExitCode::SUCCESS)
}

fn attempt(args: &PushArguments, secrets: &Arc<Secrets>) -> Result<(), Stop> {
    let outputs = destinations(&args.to)?;
    if outputs.destinations.is_empty() {
        return Err(usage("destination", "none is given").into());
    }
    let store = open_store(store_path_of(args.store.as_deref(), None)?)?;
    let session = Session::open(&args.plugin, &args.registry, &args.log, secrets, None)?;
    let failed = |error| Stop::Push(BuildError::because("failed to push the image", error));
    let pushed = session.runtime.block_on(async {
        if !args.to.skip_push_permission_check {
            check_push(&outputs, &session.client).await.map_err(Stop::Permission)?;
        }
        let image = tokio::task::block_in_place(|| read(&args.path, &store));
        let image = image.map_err(|e| Stop::Push(BuildError::because(format!("cannot read {}", args.path.display()), e)))?;
        push_ready(&image, &outputs, &session.client).await.map_err(failed)
    })?;
    session.reporter.log(Level::Info, &format!("image {}", pushed.digest));
    session.runtime.shutdown_background();
    Ok(())
}
