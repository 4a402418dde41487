//! One file for each subcommand.

pub mod build;
pub mod check;
pub mod login;
pub mod outline;
pub mod plugin;
pub mod targets;
pub mod version;
