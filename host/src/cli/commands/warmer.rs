//! `warmer`: base images, kept in a directory for builds to come.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use super::build::Stop;
use crate::build::error::BuildError;
use crate::build::images::NoImages;
use crate::build::settings::BuildSettings;
use crate::build::{Handlers, Inputs, bases};
use crate::cli::args::{read_build_arg, switch};
use crate::cli::duration::duration;
use crate::cli::log::LogArguments;
use crate::cli::place::{open_store, store_path_of};
use crate::cli::plugin_config;
use crate::cli::plugins::{self, PluginArguments};
use crate::cli::registry::{RegistryArguments, registry_settings};
use crate::cli::session::Session;
use crate::cli::settings::usage;
use crate::cli::warmed::{Warmed, keep};
use crate::context::BuildContext;
use crate::dockerfile::Source;
use crate::fetch::{FetchSettings, Fetcher, NamedBy};
use crate::oci::{Platform, Reference};
use crate::progress::{Level, Secrets};

/// The command line of the name `warmer`.
#[derive(Debug, Parser)]
#[command(
    name = "warmer",
    version,
    about = "Fills a directory with base images, from which builds with --cache and --cache-dir take them",
    args_override_self = true
)]
pub struct WarmerArguments {
    /// Image to keep; may be given several times
    #[arg(short, long = "image", value_name = "REFERENCE")]
    pub images: Vec<String>,
    /// Dockerfile, or its URL, the bases of whose stages are kept
    #[arg(short, long, value_name = "FILE")]
    pub dockerfile: Option<String>,
    /// Build argument for the Dockerfile's FROM
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// The directory
    #[arg(short, long, default_value = "/cache", value_name = "DIR")]
    pub cache_dir: PathBuf,
    /// Fetch also what is there
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub force: bool,
    /// How old an image in the directory may be, for instance 336h
    #[arg(long, default_value = "336h", allow_hyphen_values = true, value_parser = duration, value_name = "DURATION")]
    pub cache_ttl: Duration,
    /// Platform of the images
    #[arg(long = "customPlatform", alias = "custom-platform", value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// Host that the Dockerfile may be downloaded from although it lies on this machine or in a private network
    #[arg(long = "allow-private-host", value_name = "HOST[:PORT]")]
    pub private_hosts: Vec<String>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArguments,
    /// Who knows logins and mirrors.
    #[command(flatten)]
    pub plugin: PluginArguments,
    /// What is said.
    #[command(flatten)]
    pub log: LogArguments,
}

/// Fills the directory. Fails where not one image could be had.
pub fn run(args: &WarmerArguments) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    attempt(args, &secrets).map_or_else(|stop| stop.finish_with(&secrets, &args.log, false), |()| ExitCode::SUCCESS)
}

fn attempt(args: &WarmerArguments, secrets: &Arc<Secrets>) -> Result<(), Stop> {
    let platform = match &args.platform {
        Some(text) => text.parse().map_err(|e| usage("customPlatform", e))?,
        None => Platform::host(),
    };
    let named = |text: &String| text.parse::<Reference>().map(|reference| (reference, platform.clone())).map_err(|e| usage("image", e));
    let mut wanted = args.images.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let dockerfile = args.dockerfile.as_deref().filter(|name| !name.is_empty());
    if wanted.is_empty() && dockerfile.is_none() {
        return Err(usage("image", "none is given, and no --dockerfile").into());
    }
    let session = Session::open(&args.plugin, &args.registry, &args.log, secrets, None)?;
    if let Some(dockerfile) = dockerfile {
        for base in of_dockerfile(args, dockerfile, &platform, &session)? {
            if !wanted.contains(&base) {
                wanted.push(base);
            }
        }
    }
    std::fs::create_dir_all(&args.cache_dir)
        .map_err(|e| BuildError::because(format!("cannot make the directory {}", args.cache_dir.display()), e))?;
    let mut failures = Vec::new();
    let count = wanted.len();
    session.runtime.block_on(async {
        for (reference, platform) in wanted {
            match one(args, &reference, &platform, &session).await {
                Ok((Warmed::Fetched, digest)) => session.reporter.log(Level::Info, &format!("{reference} is kept as {digest}")),
                Ok((Warmed::Fresh, digest)) => session.reporter.log(Level::Info, &format!("{reference} is there as {digest}")),
                Err(error) => failures.push((reference, error)),
            }
        }
    });
    session.runtime.shutdown_background();
    if count > 0 && failures.len() == count {
        let all = failures.into_iter().map(|(_, error)| error).collect::<Vec<_>>();
        return Err(BuildError::from(all).into());
    }
    for (reference, error) in failures {
        session.reporter.log(Level::Warning, &format!("{reference} could not be kept: {}", crate::cli::diagnostic::one_line(&error)));
    }
    Ok(())
}

async fn one(
    args: &WarmerArguments,
    reference: &Reference,
    platform: &Platform,
    session: &Session,
) -> Result<(Warmed, crate::oci::Digest), BuildError> {
    let pulled = session.client.pull_image(reference, platform).await;
    let image = pulled.map_err(|e| BuildError::registry(format!("cannot warm {reference}"), e))?;
    let kept = keep(&args.cache_dir, &image, args.cache_ttl, args.force, &session.client).await;
    let kept = kept.map_err(|e| BuildError::because(format!("cannot warm {reference}"), e))?;
    Ok((kept, image.manifest_digest))
}

/// The bases of a Dockerfile's stages.
fn of_dockerfile(args: &WarmerArguments, name: &str, platform: &Platform, session: &Session) -> Result<Vec<(Reference, Platform)>, Stop> {
    let store = open_store(store_path_of(None, None)?)?;
    let bytes = if name.starts_with("https://") || name.starts_with("http://") {
        let settings = FetchSettings { private_hosts: args.private_hosts.clone(), ..FetchSettings::default() };
        let fetcher = Fetcher::new(settings, store.clone(), Arc::clone(&session.reporter));
        let file = session.runtime.block_on(fetcher.download(name, None, NamedBy::Operator));
        let path = file.map_err(|e| BuildError::because("cannot read the Dockerfile", e))?.path.clone();
        std::fs::read(path)
    } else {
        std::fs::read(Path::new(name))
    };
    let bytes = bytes.map_err(|e| BuildError::because(format!("cannot read {name}"), e))?;
    let settings = plugins::plugin_settings(&PluginArguments::default(), &args.registry, &mut |_| ())?;
    let registry = registry_settings(&args.registry)?;
    let handlers = plugin_config::load(&settings, &registry, &session.runtime, &session.reporter)?.handlers();
    let context = BuildContext::open(store.temporary_files(), None).map_err(|e| BuildError::because("failed to start", e))?;
    let inputs = Inputs {
        handlers: Arc::new(Handlers::new(handlers).map_err(|e| BuildError::because("failed to load plugins", e))?),
        images: Arc::new(NoImages),
        fetcher: None,
        reporter: Arc::clone(&session.reporter),
        context: Arc::new(context),
        dockerfile: Arc::new(Source::from_bytes(name.to_owned(), &bytes)),
    };
    let build_args = args.build_args.iter().filter_map(|text| read_build_arg(text, true)).collect();
    Ok(bases(&BuildSettings { build_args, ..BuildSettings::new(platform.clone()) }, &inputs)?)
}
