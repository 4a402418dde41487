use std::path::PathBuf;

use super::limits::Exceeded;
use super::shape::ShapeError;

/// Why plugins cannot be loaded, or a call of one failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The engine does not start.
    #[error("failed to set up the plugin engine: {0}")]
    Engine(String),
    /// No plugin of this name comes with the program.
    #[error("no standard plugin is called `{0}`")]
    UnknownStandard(String),
    /// The file cannot be read.
    #[error("failed to read plugin {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is over the limit.
    #[error("plugin {path} is larger than {} MiB", limit >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// The file is not a plugin for this host.
    #[error("plugin {plugin} cannot be used: {reason}")]
    Unfit {
        /// Where it came from.
        plugin: String,
        /// What is wrong.
        reason: ShapeError,
    },
    /// It does not compile or link, or says nonsense of itself.
    #[error("plugin {plugin} cannot be used: {reason}")]
    Unusable {
        /// Its name, or where it came from.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
    /// It is not what the operator approved.
    #[error("plugin {plugin} is not used: {reason}")]
    NotApproved {
        /// Where it came from.
        plugin: String,
        /// What is different.
        reason: String,
    },
    /// Two plugins claim one keyword.
    #[error("both {first} and {second} handle {keyword}; leave one of them out")]
    KeywordTwice {
        /// The keyword.
        keyword: String,
        /// Who was named first.
        first: String,
        /// Who was named later.
        second: String,
    },
    /// One plugin is named twice.
    #[error("plugin {0} is named twice")]
    NamedTwice(String),
    /// A call ended in a trap.
    #[error("plugin {plugin} failed in `{call}`: {reason}")]
    Trap {
        /// Its name.
        plugin: String,
        /// The function.
        call: &'static str,
        /// One line.
        reason: String,
    },
    /// A call ran into a limit.
    #[error("plugin {plugin} was stopped in `{call}`: {limit}")]
    Stopped {
        /// Its name.
        plugin: String,
        /// The function.
        call: &'static str,
        /// Which.
        limit: Exceeded,
    },
}
