use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use crate::build::error::BuildError;
use crate::build::settings::{BuildSettings, Isolation};
use crate::build::{Backend, Deps, Handlers, build, distrust, materialize};
use crate::cli::args::BuildArguments;
use crate::cli::aside::Aside;
use crate::cli::inputs::inputs;
use crate::cli::isolation::Chosen;
use crate::cli::log::LogArguments;
use crate::cli::store::{keep_to, store_limit};
use crate::cli::{
    cache, compat, contexts, diagnostic, env, isolation, log, output, place, plan, plugin_config, plugins, registry, settings, warmed,
};
use crate::context::Location;
use crate::export::{self, Outputs};
use crate::fetch::Fetcher;
use crate::progress::{Level, Redacting, Reporter, Secrets};
use crate::registry::Client;
use crate::rootfs::store::Store;
use crate::trust;

/// Builds, and says how it went.
pub fn run(args: &BuildArguments) -> ExitCode {
    // What providers of credentials come by, which is in nothing that is printed.
    let secrets = Arc::new(Secrets::default());
    attempt(args, &secrets).map_or_else(|stop| stop.finish_with(&secrets, &args.log, args.as_executor), |()| ExitCode::SUCCESS)
}

/// What kaniko ends with where a signal ended a RUN.
const KILLED: u8 = 255;

/// Why a command did not succeed.
pub(in crate::cli) enum Stop {
    Usage(settings::UsageError),
    Build(BuildError),
    /// There is an image, and it could not be brought where it is to be.
    Push(BuildError),
    /// The image could not be pushed if there were one.
    Permission(BuildError),
}

impl Stop {
    /// Says it without the secrets, and the exit code. `as_kaniko` says it in the words that kaniko's users look for.
    pub(in crate::cli) fn finish_with(self, secrets: &Secrets, log: &LogArguments, as_kaniko: bool) -> ExitCode {
        let (error, words) = match self {
            Self::Usage(error) => {
                log::fail(log, &diagnostic::render_plain(&error));
                return ExitCode::FAILURE;
            }
            Self::Build(error) => (error, "error building image: "),
            Self::Push(error) => (error, "error pushing image: "),
            Self::Permission(error) => (error, "error checking push permissions: "),
        };
        let mut text = secrets.redact(&diagnostic::render(&error));
        if as_kaniko {
            text = text.replacen("error: ", words, 1);
        }
        log::fail(log, &text);
        if as_kaniko && error.is_signalled() {
            return ExitCode::from(KILLED);
        }
        u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
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
    let mut fetching = settings::fetch_settings(args, &settings.run, &location)?;
    let outputs = output::outputs(&args.output, args.compat.old_tar_path.as_deref())?;
    let limit = store_limit(args.place.store_limit.as_deref())?;
    let mut registry = registry::registry_settings(&args.registry)?;
    let cached = cache::cache(&args.cache, settings.run.no_cache, &outputs.destinations)?;
    if let Some((place, _)) = &cached {
        place.allow(&mut registry);
    }
    let reporter: Arc<dyn Reporter> = Arc::new(Redacting::new(Arc::new(log::reporter(&args.log)), Arc::clone(secrets)));
    let mut plugin_settings =
        plugins::plugin_settings(&args.plugin, &args.registry, &mut |warning| reporter.log(Level::Warning, &warning))?;
    plugin_settings.secrets = Arc::clone(secrets);
    // Before any thread exists: what is mounted from here on ends with this process, however it ends.
    let (place, aside) = take_place(args, settings.isolation, &location)?;
    let (location, dockerfile) = match &aside {
        Some(aside) => (aside.location(), aside.moved(Path::new(&args.context.dockerfile)).display().to_string()),
        None => (location, args.context.dockerfile.clone()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| BuildError::because("failed to start", e))?;
    let _inside = runtime.enter();
    let plugins = plugin_config::load(&plugin_settings, &registry, &runtime, &reporter)?;
    let handlers = Arc::new(Handlers::new(plugins.handlers()).map_err(|e| BuildError::because("failed to load plugins", e))?);
    let store = place.store;
    registry.content_cache = Some(store.blobs());
    let client = Client::new(registry, plugins.auth_providers(), plugins.mirror_resolvers(), Arc::clone(&reporter));
    let client = client.map_err(|e| BuildError::because("failed to set up the registry client", e))?;
    let _agent = settings::forward_keys(&mut fetching, &settings.run, &store)?;
    let fetcher = Fetcher::new(fetching, store.clone(), Arc::clone(&reporter));
    let (dockerfile, context) = runtime.block_on(inputs(args, &dockerfile, &location, &fetcher))?;
    reporter.log(Level::Info, &place.summary);
    for warning in &place.warnings {
        reporter.log(Level::Warning, warning);
    }
    for note in &place.notes {
        reporter.log(Level::Debug, note);
    }
    if let Some(limit) = limit {
        keep(&store, limit, reporter.as_ref());
    }
    let tree = match &place.backend {
        Backend::InPlace(tree) => Some(Arc::clone(tree)),
        _ => None,
    };
    for warning in compat::former_spellings(args) {
        reporter.log(Level::Warning, &warning);
    }
    for note in compat::notes(args, tree.is_some()) {
        reporter.log(Level::Info, &note);
    }
    let cache = cached.map(|(place, settings)| place.open(settings, &client, &store, &reporter));
    let images = warmed::images(args, &client, &reporter);
    let deps = Arc::new(Deps {
        handlers,
        client,
        images,
        cache,
        fetcher: Arc::new(fetcher),
        store,
        executor: place.executor,
        backend: place.backend,
        reporter: Arc::clone(&reporter),
        context: Arc::new(context),
        dockerfile: Arc::new(dockerfile),
    });
    let settings = Arc::new(settings);
    if args.dryrun || env::is_true(env::KANIKO_PRINT_PLAN) {
        runtime.block_on(plan::print(Arc::clone(&settings), &deps, &outputs))?;
        if args.dryrun {
            return Ok(());
        }
    }
    let preserved = match tree.as_ref().filter(|_| args.place.preserves_context()) {
        Some(tree) => {
            let preserved = tree.lock().unwrap_or_else(PoisonError::into_inner).preserve(&deps.store);
            Some(preserved.map_err(|e| BuildError::because("failed to keep the files of this container", e))?)
        }
        None => None,
    };
    // What was kept lies in it.
    let store = deps.store.clone();
    let work = Work { settings, outputs, deps, skip_check: args.output.to.skip_push_permission_check, materialize: args.place.materialize };
    let done = runtime.block_on(async {
        tokio::select! {
            done = work.carry_out() => done,
            _ = tokio::signal::ctrl_c() => Err(BuildError::other("interrupted").into()),
            () = terminated() => Err(BuildError::other("terminated").into()),
        }
    });
    // A step that is still running must not keep a failed build alive.
    runtime.shutdown_background();
    let left = match tree {
        Some(tree) => {
            // Whoever runs a command there is told to end it, and holds the tree until then.
            let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
            match preserved {
                Some(preserved) => {
                    tree.restore(&preserved).map_err(|e| BuildError::because("failed to bring back the files of this container", e))
                }
                None if args.place.cleans_up() => tree.clean().map_err(|e| BuildError::because("failed to clean up", e)),
                None => Ok(()),
            }
        }
        None => Ok(()),
    };
    if let Some(limit) = limit {
        // Threads of a failed build may still use what they were given. What cannot be let go of stays.
        if done.is_ok() {
            drop(store.release());
        }
        keep(&store, limit, reporter.as_ref());
    }
    drop(store);
    let back = aside.map_or(Ok(()), |aside| aside.put_back().map_err(|e| BuildError::because("failed to move the build context back", e)));
    done.and(left.and(back).map_err(Stop::from))
}

/// Where the build runs its commands, and the context if it had to make way there.
fn take_place(args: &BuildArguments, isolation: Isolation, location: &Location) -> Result<(Chosen, Option<Aside>), BuildError> {
    let refused = |why: String| {
        let hint = why.starts_with(place::NO_STORE).then(|| place::STORE_HINT.to_owned());
        let message = match isolation {
            Isolation::Auto | Isolation::None => why,
            asked => format!("--isolation {asked}: {why}"),
        };
        BuildError::Other { message, hint, source: None }
    };
    let store = place::store_path(&args.place)?;
    let mut ground = place::ground(args);
    let place = isolation::choose(isolation, &store, &ground).map_err(refused)?;
    if !matches!(place.backend, Backend::InPlace(_)) {
        return Ok((place, None));
    }
    // As long as the files are the builder's.
    trust::authorities();
    let mut fixed = isolation::mount_points().map_err(|e| BuildError::because("failed to see what is mounted", e))?;
    fixed.extend(ground.keep.iter().cloned());
    fixed.push(place.store.path().to_owned());
    fixed.extend(std::env::current_exe().ok());
    let aside = Aside::make_way(args, location, &fixed).map_err(|e| BuildError::because("failed to move the build context aside", e))?;
    match aside {
        None => Ok((place, None)),
        Some(aside) => {
            ground.keep = ground.keep.iter().map(|path| aside.moved(path)).collect();
            let summary = place.summary.clone();
            // One at a time has the root filesystem.
            drop(place);
            let again = isolation::choose(Isolation::InPlace, &store, &ground).map_err(refused)?;
            Ok((Chosen { summary, ..again }, Some(aside)))
        }
    }
}

/// A store that cannot be kept small is no reason to fail.
fn keep(store: &Store, limit: u64, reporter: &dyn Reporter) {
    match keep_to(store, limit) {
        Ok(None) => {}
        Ok(Some(said)) => reporter.log(Level::Info, &said),
        Err(error) => reporter.log(Level::Warning, &format!("the store cannot be kept to its limit: {error}")),
    }
}

/// Returns when the process is asked to end.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => drop(asked.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// A build that is ready to begin.
struct Work {
    settings: Arc<BuildSettings>,
    outputs: Outputs,
    deps: Arc<Deps>,
    skip_check: bool,
    materialize: bool,
}

impl Work {
    async fn carry_out(self) -> Result<(), Stop> {
        let Self { settings, outputs, deps, .. } = self;
        let refused = Arc::new(Mutex::new(None));
        let mut permit: BoxFuture<'static, Result<(), BuildError>> = {
            let (refused, client, outputs) = (Arc::clone(&refused), deps.client.clone(), outputs.clone());
            let check = !outputs.no_push && !self.skip_check;
            Box::pin(async move {
                let checked = if check { check_push(&outputs, &client).await } else { Ok(()) };
                checked.inspect_err(|error| *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone()))
            })
        };
        let (image, descriptor) = loop {
            let built = build(Arc::clone(&settings), Arc::clone(&deps), permit).await;
            let image = built.map_err(|error| match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(refused) => Stop::Permission(refused),
                None => Stop::Build(error),
            })?;
            match export::write(&image, &outputs, &deps.client, &deps.store.blobs()).await {
                Ok(descriptor) => break (image, descriptor),
                Err(error) => {
                    let error = BuildError::because("failed to write the image", error);
                    // A layer of the cache may have gone since it was found.
                    if !distrust(&deps, &error).await {
                        return Err(Stop::Push(error));
                    }
                    permit = Box::pin(async { Ok(()) });
                }
            }
        };
        deps.reporter.log(Level::Info, &format!("image {}", descriptor.digest));
        if self.materialize {
            materialize(&image, &deps).await?;
        }
        Ok(())
    }
}

/// Whether every destination may be pushed to.
pub(in crate::cli) async fn check_push(outputs: &Outputs, client: &Client) -> Result<(), BuildError> {
    for destination in &outputs.destinations {
        let checked = client.check_push(destination).await;
        checked.map_err(|e| BuildError::registry(format!("cannot push to {destination}"), e))?;
    }
    Ok(())
}
