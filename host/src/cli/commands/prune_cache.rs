//! `prune --cache-repo`: a smaller cache of layers.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::build::error::BuildError;
use crate::cache::{DirectoryStore, Keep, LayoutStore, Prunable, RegistryStore, prune};
use crate::cli::cache::{CachePlace, place};
use crate::cli::commands::build::Stop;
use crate::cli::commands::prune::limits;
use crate::cli::finish;
use crate::cli::place::{open_store, store_path_of};
use crate::cli::report::human;
use crate::cli::session::Session;
use crate::cli::store::PruneArguments;
use crate::progress::Secrets;
use crate::rootfs::store::Prune;

/// What is older goes where nothing else is said: builds do not use it any more, unless they are told to.
const USUAL_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Takes records out of the cache of layers at `repo`, and says how many.
pub fn run(args: &PruneArguments, repo: &str) -> ExitCode {
    let secrets = Arc::new(Secrets::default());
    let Prune { all, max_age, max_size, dry_run } = match limits(args) {
        Ok(limits) => limits,
        Err(error) => return finish(Err(error)),
    };
    let usual = (!all && max_age.is_none() && max_size.is_none()).then_some(USUAL_AGE);
    let keep = Keep { max_age: max_age.or(usual), max_size: if all { Some(0) } else { max_size }, dry_run };
    attempt(args, repo, &keep, &secrets).map_or_else(|stop| stop.finish_with(&secrets, &args.log, false), |()| ExitCode::SUCCESS)
}

fn attempt(args: &PruneArguments, repo: &str, keep: &Keep, secrets: &Arc<Secrets>) -> Result<(), Stop> {
    let place = place(repo)?;
    let session = Session::open(&args.plugin, &args.registry, &args.log, secrets, None)?;
    let records: Box<dyn Prunable> = match place {
        CachePlace::Repository(repository) => Box::new(RegistryStore::new(&session.client, repository, true)),
        CachePlace::Layout(path) => Box::new(LayoutStore::new(&path, &session.client)),
        CachePlace::Local => {
            let store = open_store(store_path_of(args.store.as_deref(), None)?)?;
            Box::new(DirectoryStore::new(&store))
        }
    };
    let pruned = session.runtime.block_on(prune(records.as_ref(), keep));
    session.runtime.shutdown_background();
    let pruned = pruned.map_err(|e| BuildError::because(format!("failed to prune the cache {repo}"), e))?;
    let words = if keep.dry_run { ("would remove", "would be left in") } else { ("removed", "left in") };
    let line = format!(
        "{} {} records ({}); {} ({}) {} {repo}",
        words.0,
        pruned.removed,
        human(pruned.freed),
        pruned.kept,
        human(pruned.size),
        words.1
    );
    writeln!(std::io::stdout(), "{line}").map_err(|e| BuildError::because("failed to write to standard output", e).into())
}
