//! How large the store may become: the flags, and what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::duration;
use super::env;
use super::log::LogArguments;
use super::plugins::PluginArguments;
use super::registry::RegistryArguments;
use super::report::human;
use super::run::size;
use super::settings::{UsageError, usage};
use crate::rootfs::store::{Holding, Prune, Pruned, Store, StoreError};

/// The flags of a prune; where none says what is to go, that is what was not used for 7 days.
#[derive(Debug, Args)]
pub struct PruneArguments {
    /// The store; as of builds where none is named
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Remove what was not used for so long, for instance 12h or 7d
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub max_age: Option<Duration>,
    /// Remove what was used longest ago until no more than this is left, for instance 20g
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Remove everything that no build is using
    #[arg(long)]
    pub all: bool,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Instead of the store, the cache of layers that builds name in the same way; by age it is what was made so long ago that goes, 14 days where nothing is said
    #[arg(long, value_name = "REPOSITORY|oci:DIR|local:")]
    pub cache_repo: Option<String>,
    /// How the registry of the cache is spoken to.
    #[command(flatten)]
    pub registry: RegistryArguments,
    /// Who knows logins.
    #[command(flatten)]
    pub plugin: PluginArguments,
    /// What is said.
    #[command(flatten)]
    pub log: LogArguments,
}

/// The size that builds keep the store to, in bytes; none where it may become as large as it likes.
///
/// # Errors
/// The text is no size.
pub fn store_limit(given: Option<&str>) -> Result<Option<u64>, UsageError> {
    let text = given.map(str::to_owned).or_else(|| env::get(env::LAYERWRIGHT_STORE_LIMIT));
    let read = |text: String| size(&text).ok_or_else(|| usage("store-limit", format!("{text:?} is no size; want for instance 20g")));
    text.map(read).transpose()
}

/// Keeps a store to a size, and says what that took; nothing where there was room.
///
/// # Errors
/// The store cannot be read.
pub fn keep_to(store: &Store, limit: u64) -> Result<Option<String>, StoreError> {
    let pruned = store.prune(&Prune { max_size: Some(limit), ..Prune::default() })?;
    let over = pruned.left.bytes.saturating_sub(limit);
    let mut said = Vec::new();
    if pruned.total().count > 0 {
        said.push(format!("the store was over its limit of {}: {}", human(limit), summary(&pruned, "freed")));
    }
    if over > 0 {
        said.push(format!("the store is {} over its limit of {}: the rest is in use", human(over), human(limit)));
    }
    said.extend(pruned.failed);
    Ok((!said.is_empty()).then(|| said.join("; ")))
}

/// What has gone, in one line.
pub fn summary(pruned: &Pruned, verb: &str) -> String {
    let mut parts = Vec::new();
    for (holding, amount) in &pruned.freed {
        let (one, many) = match holding {
            Holding::Blob => ("blob", "blobs"),
            Holding::Layer => ("unpacked layer", "unpacked layers"),
            Holding::Cache => ("cache of RUN", "caches of RUN"),
            Holding::Download => ("record of a download", "records of downloads"),
            Holding::Record => ("record of a layer", "records of layers"),
        };
        parts.push(format!("{} {} ({})", amount.count, if amount.count == 1 { one } else { many }, human(amount.bytes)));
    }
    let parts = if parts.is_empty() { "nothing was due".to_owned() } else { parts.join(", ") };
    let mut line = format!("{verb} {}: {parts}", human(pruned.total().bytes));
    if pruned.in_use.count > 0 {
        line.push_str(&format!("; {} more ({}) in use", pruned.in_use.count, human(pruned.in_use.bytes)));
    }
    line
}
