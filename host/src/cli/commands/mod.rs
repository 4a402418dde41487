//! One file for each subcommand.

pub mod build;
pub mod plugin;
pub mod version;
