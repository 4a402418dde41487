//! `prune`: a smaller store.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cli::place::store_path_of;
use crate::cli::report::human;
use crate::cli::run::size;
use crate::cli::store::{PruneArguments, summary};
use crate::rootfs::store::{Prune, Store};
use crate::sandbox::{enter_user_namespace, rehearse};

/// What nobody has used for so long goes where nothing else is said: 7 days.
const USUAL_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Makes the store smaller, and says by how much.
pub fn run(args: &PruneArguments) -> Result<()> {
    let path = store_path_of(args.store.as_deref(), None)?;
    let mut what = limits(args)?;
    if !what.all && what.max_age.is_none() && what.max_size.is_none() {
        what.max_age = Some(USUAL_AGE);
    }
    if !path.is_dir() {
        return say(&format!("there is no store at {}: nothing to free", path.display()));
    }
    let store = open(&path)?;
    let pruned = store.prune(&what).context("failed to prune the store")?;
    let words = if what.dry_run { ("would free", "would be left in") } else { ("freed", "left in") };
    say(&summary(&pruned, words.0))?;
    say(&format!("{} {} {}", human(pruned.left.bytes), words.1, path.display()))?;
    match pruned.failed.as_slice() {
        [] => Ok(()),
        failed => bail!("{}", failed.join("\n")),
    }
}

/// What the flags say.
pub fn limits(args: &PruneArguments) -> Result<Prune> {
    let mut what = Prune { all: args.all, max_age: args.max_age, max_size: None, dry_run: args.dry_run };
    if let Some(text) = &args.max_size {
        what.max_size =
            Some(size(text).with_context(|| format!("invalid value for --max-size: {text:?} is no size; want for instance 20g"))?);
    }
    Ok(what)
}

/// An ordinary user's layers have files of the owners that a namespace of that user has.
fn open(path: &Path) -> Result<Store> {
    if !rustix::process::geteuid().is_root() {
        let tried = rehearse(|| enter_user_namespace().map(drop).map_err(|error| error.to_string()));
        if tried.is_ok() {
            enter_user_namespace().context("failed to enter a user namespace")?;
        }
    }
    Store::open(path).context("failed to open the store")
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("failed to write to standard output")
}
