use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use crate::build::error::BuildError;
use crate::build::settings::{BuildSettings, Isolation};
use crate::build::{Backend, Deps, Handlers, build};
use crate::cli::args::{BuildArguments, Verbosity};
use crate::cli::inputs::inputs;
use crate::cli::isolation::Ground;
use crate::cli::report::Terminal;
use crate::cli::{container, contexts, diagnostic, env, isolation, plugins, settings};
use crate::export::{self, Outputs};
use crate::fetch::Fetcher;
use crate::plugin::PluginSet;
use crate::progress::{Level, Redacting, Reporter, Secrets};
use crate::registry::Client;

/// Builds, and says how it went.
pub fn run(args: &BuildArguments) -> ExitCode {
    // What providers of credentials come by, which is in nothing that is printed.
    let secrets = Arc::new(Secrets::default());
    attempt(args, &secrets).map_or_else(|stop| stop.finish_without(&secrets), |()| ExitCode::SUCCESS)
}

/// Why a command did not succeed.
pub(in crate::cli) enum Stop {
    Usage(settings::UsageError),
    Build(BuildError),
}

impl Stop {
    /// Says it, and the exit code.
    pub(in crate::cli) fn finish(self) -> ExitCode {
        self.finish_without(&Secrets::default())
    }

    /// Says it without the secrets, and the exit code.
    pub(in crate::cli) fn finish_without(self, secrets: &Secrets) -> ExitCode {
        match self {
            Self::Usage(error) => {
                eprint!("{}", diagnostic::render_plain(&error));
                ExitCode::FAILURE
            }
            Self::Build(error) => {
                eprint!("{}", secrets.redact(&diagnostic::render(&error)));
                u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
            }
        }
    }
}

impl From<settings::UsageError> for Stop {
    fn from(error: settings::UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<BuildError> for Stop {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

fn attempt(args: &BuildArguments, secrets: &Arc<Secrets>) -> Result<(), Stop> {
    let settings = settings::build_settings(args)?;
    let location = contexts::main_context(args)?;
    let mut fetching = settings::fetch_settings(args, &settings.run)?;
    let outputs = settings::outputs(args)?;
    let mut registry = settings::registry_settings(args)?;
    let reporter: Arc<dyn Reporter> = Arc::new(Redacting::new(Arc::new(reporter(args.verbosity)), Arc::clone(secrets)));
    let mut plugin_settings = plugins::plugin_settings(args, &mut |warning| reporter.log(Level::Warning, &warning))?;
    plugin_settings.secrets = Arc::clone(secrets);
    // Before any thread exists: what is mounted from here on ends with this process, however it ends.
    let place = isolation::choose(settings.isolation, &store_path(args)?, &ground(args)).map_err(|why| match settings.isolation {
        Isolation::Auto | Isolation::None => BuildError::other(why),
        asked => BuildError::other(format!("--isolation {asked}: {why}")),
    })?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| BuildError::because("failed to start", e))?;
    let _inside = runtime.enter();
    let plugins = PluginSet::load(&plugin_settings, Arc::clone(&reporter)).map_err(|e| BuildError::because("failed to load plugins", e))?;
    let handlers = Arc::new(Handlers::new(plugins.handlers()).map_err(|e| BuildError::because("failed to load plugins", e))?);
    let store = place.store;
    registry.content_cache = Some(store.blobs());
    let client = Client::new(registry, plugins.auth_providers(), plugins.mirror_resolvers(), Arc::clone(&reporter));
    let client = client.map_err(|e| BuildError::because("failed to set up the registry client", e))?;
    let _agent = settings::forward_keys(&mut fetching, &settings.run, &store)?;
    let fetcher = Fetcher::new(fetching, store.clone(), Arc::clone(&reporter));
    let (dockerfile, context) = runtime.block_on(inputs(args, &location, &fetcher))?;
    reporter.log(Level::Info, &place.summary);
    for warning in &place.warnings {
        reporter.log(Level::Warning, warning);
    }
    for note in &place.notes {
        reporter.log(Level::Debug, note);
    }
    let tree = match &place.backend {
        Backend::InPlace(tree) if args.cleanup || env::is_true(env::KANIKO_CLEANUP) => Some(Arc::clone(tree)),
        _ => None,
    };
    let deps = Arc::new(Deps {
        handlers,
        client,
        fetcher: Arc::new(fetcher),
        store,
        executor: place.executor,
        backend: place.backend,
        reporter: Arc::clone(&reporter),
        context: Arc::new(context),
        dockerfile: Arc::new(dockerfile),
    });
    let done = runtime.block_on(async {
        tokio::select! {
            done = work(Arc::new(settings), outputs, deps, args.skip_push_permission_check) => done,
            _ = tokio::signal::ctrl_c() => Err(BuildError::other("interrupted")),
            () = terminated() => Err(BuildError::other("terminated")),
        }
    });
    // A step that is still running must not keep a failed build alive.
    runtime.shutdown_background();
    if let Some(tree) = tree {
        // Whoever runs a command there is told to end it, and holds the tree until then.
        let cleaned = tree.lock().unwrap_or_else(PoisonError::into_inner).clean();
        cleaned.map_err(|e| BuildError::because("failed to clean up", e))?;
    }
    Ok(done?)
}

/// Returns when the process is asked to end.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => drop(asked.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// What a build in place must not take away: all that the command line and the environment name.
fn ground(args: &BuildArguments) -> Ground {
    let home = env::get(env::HOME).map(PathBuf::from);
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let mut keep: Vec<PathBuf> = args.ignore_paths.clone();
    keep.extend(
        Some(PathBuf::from(args.context.strip_prefix("dir://").unwrap_or(&args.context)))
            .filter(|path| path.is_absolute() || path.exists()),
    );
    keep.extend(args.build_contexts.iter().filter_map(|text| {
        let (_, source) = text.split_once('=')?;
        let path = source.strip_prefix("oci-layout://").unwrap_or(source);
        Some(PathBuf::from(path)).filter(|path| path.exists())
    }));
    keep.extend(Some(PathBuf::from(&args.dockerfile)).filter(|path| path.exists()));
    keep.extend(args.plugins.iter().cloned());
    keep.extend(
        [&args.oci_layout_path, &args.tar_path, &args.digest_file]
            .into_iter()
            .chain([&args.image_name_with_digest_file, &args.image_name_tag_with_digest_file])
            .flatten()
            .cloned(),
    );
    keep.extend(
        [env::KANIKO_DIR, env::DOCKER_CONFIG, env::REGISTRY_AUTH_FILE, env::SSL_CERT_FILE, env::SSL_CERT_DIR]
            .into_iter()
            .filter_map(env::get)
            .map(PathBuf::from),
    );
    keep.extend(["/kaniko", "/busybox"].map(PathBuf::from).into_iter().filter(|path| path.exists()));
    keep.extend([".docker", ".config/containers", ".config/layerwright"].into_iter().filter_map(below_home).filter(|path| path.exists()));
    let keep = keep.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
    Ground { force: args.force, evidence: container::evidence(env::get(env::CONTAINER).as_deref()), keep }
}

async fn work(settings: Arc<BuildSettings>, outputs: Outputs, deps: Arc<Deps>, skip_check: bool) -> Result<(), BuildError> {
    if !outputs.no_push && !skip_check {
        for destination in &outputs.destinations {
            deps.client.check_push(destination).await.map_err(|e| BuildError::registry(format!("cannot push to {destination}"), e))?;
        }
    }
    let image = build(settings, Arc::clone(&deps)).await?;
    let descriptor = export::write(&image, &outputs, &deps.client, &deps.store.blobs()).await;
    let descriptor = descriptor.map_err(|e| BuildError::because("failed to write the image", e))?;
    deps.reporter.log(Level::Info, &format!("image {}", descriptor.digest));
    Ok(())
}

pub(in crate::cli) fn reporter(verbosity: Verbosity) -> Terminal {
    match verbosity {
        Verbosity::Trace | Verbosity::Debug => Terminal::new(Level::Debug, true),
        Verbosity::Info => Terminal::new(Level::Info, true),
        Verbosity::Warn | Verbosity::Error | Verbosity::Fatal | Verbosity::Panic => Terminal::new(Level::Warning, false),
    }
}

pub(in crate::cli) fn store_path(args: &BuildArguments) -> Result<std::path::PathBuf, BuildError> {
    let given = args.store.clone().or_else(|| env::get(env::LAYERWRIGHT_STORE).map(Into::into));
    let data = || {
        env::get(env::XDG_DATA_HOME)
            .map(std::path::PathBuf::from)
            .or_else(|| env::get(env::HOME).map(|home| std::path::Path::new(&home).join(".local/share")))
    };
    given.or_else(|| data().map(|d| d.join("layerwright"))).ok_or_else(|| BuildError::Other {
        message: "there is no place for the store".to_owned(),
        hint: Some("set HOME, or name one with --store".to_owned()),
        source: None,
    })
}
