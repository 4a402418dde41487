//! How much is said, and how: the flags, and what they mean.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::switch;
use super::report::Terminal;
use crate::progress::Level;

/// The flags for what is said.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogArguments {
    /// How much is said
    #[arg(short, long, value_enum, default_value = "info", ignore_case = true)]
    pub verbosity: Verbosity,
    /// How it is said; colours are used on a terminal where nothing is asked for
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Say when as well
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_timestamp: bool,
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

/// How things are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people, in one colour
    Text,
    /// For people, in colours, also where this is no terminal
    Color,
    /// An object a line, with `level`, `msg` and `time`
    Json,
}

/// Who says it.
pub fn reporter(args: &LogArguments) -> Terminal {
    let (least, steps) = match args.verbosity {
        Verbosity::Trace | Verbosity::Debug => (Level::Debug, true),
        Verbosity::Info => (Level::Info, true),
        Verbosity::Warn | Verbosity::Error | Verbosity::Fatal | Verbosity::Panic => (Level::Warning, false),
    };
    Terminal::new(least, steps, args.log_format, args.log_timestamp)
}

/// Says why the program ends.
pub fn fail(args: &LogArguments, text: &str) {
    match args.log_format {
        Some(LogFormat::Json) => eprintln!("{}", json!({ "level": "fatal", "msg": text.trim_end(), "time": now() })),
        _ => eprint!("{text}"),
    }
}

/// The time, RFC 3339, in whole seconds.
pub fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
