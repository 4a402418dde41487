//! How much is said, and how: the flags, and what they mean.

use clap::{Args, ValueEnum};

use super::report::Terminal;
use crate::progress::Level;

/// The flags for what is said.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// How much is said
    #[arg(short, long, value_enum, default_value = "info")]
    pub verbosity: Verbosity,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Verbosity {
    /// Everything
    Trace,
    /// For finding faults
    Debug,
    /// Steps and their output
    Info,
    /// Only what needs a look
    #[value(alias = "warning")]
    Warn,
    /// Only why a build failed
    Error,
    /// As error
    Fatal,
    /// As error
    Panic,
}

/// Who says it.
pub fn reporter(verbosity: Verbosity) -> Terminal {
    match verbosity {
        Verbosity::Trace | Verbosity::Debug => Terminal::new(Level::Debug, true),
        Verbosity::Info => Terminal::new(Level::Info, true),
        Verbosity::Warn | Verbosity::Error | Verbosity::Fatal | Verbosity::Panic => Terminal::new(Level::Warning, false),
    }
}
