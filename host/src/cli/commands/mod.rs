//! One file for each subcommand.

pub mod build;
pub mod check;
pub mod completion;
pub mod index;
pub mod login;
pub mod outline;
pub mod plugin;
pub mod prune;
pub mod prune_cache;
pub mod push;
pub mod targets;
pub mod version;
pub mod warmer;
