//! The command line: the only module that prints, reads the environment, or decides the exit code.

mod answer;
mod args;
mod aside;
mod cache;
mod commands;
mod compat;
mod container;
mod contexts;
mod diagnostic;
mod docker_config;
mod duration;
mod env;
mod features;
mod inputs;
mod isolation;
#[cfg(test)]
mod kaniko_tests;
mod log;
mod mirrors;
mod output;
mod place;
mod plan;
mod plugin_config;
mod plugins;
mod question;
mod registry;
mod report;
mod run;
mod session;
mod settings;
mod store;
mod stored;
mod warmed;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Call, Command, ExecutorArguments, PluginCommand};
use commands::warmer::WarmerArguments;

/// The names that kaniko has for its programs, under which this one behaves like them: a build without a subcommand, a warmer.
const EXECUTOR: &str = "executor";
const WARMER: &str = "warmer";

/// Runs the command line.
///
/// The name that the program is called by, or else the first argument, decides how it is read: `executor` builds without a subcommand,
/// `warmer` fills a cache.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is =
        |argument: Option<&OsString>, name: &str| argument.map(Path::new).and_then(Path::file_name).is_some_and(|called| called == name);
    let known = |argument: Option<&OsString>| [EXECUTOR, WARMER].into_iter().find(|name| is(argument, name));
    let called = known(arguments.first()).or_else(|| {
        let second = known(arguments.get(1).filter(|argument| Path::new(argument).components().count() == 1));
        second.inspect(|_| drop(arguments.remove(0)))
    });
    let executor = called == Some(EXECUTOR);
    let command = match called {
        Some(WARMER) => WarmerArguments::try_parse_from(&arguments).map(|read| Command::Warmer(Box::new(read))),
        Some(_) => ExecutorArguments::try_parse_from(&arguments).map(|read| match read.command {
            Some(command) => command,
            None => {
                let mut build = read.build;
                build.as_executor = true;
                Command::Build(Box::new(build))
            }
        }),
        None => Arguments::try_parse_from(&arguments).map(|read| read.command),
    };
    let command = match command {
        Ok(command) => command,
        Err(error) => {
            // Printing help to a closed pipe is no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match command {
        Command::Build(build) => match build.call {
            Call::Check => commands::check::run(&build),
            Call::Outline => commands::outline::run(&build),
            Call::Targets => commands::targets::run(&build),
            Call::Build if build.check => commands::check::run(&build),
            Call::Build => commands::build::run(&build),
        },
        Command::Check(asked) => commands::check::run(&asked),
        Command::Outline(asked) => commands::outline::run(&asked),
        Command::Targets(asked) => commands::targets::run(&asked),
        Command::Push(push) => commands::push::run(&push),
        Command::Index(commands::index::IndexCommand::Create(create)) => commands::index::create(&create),
        Command::Warmer(warm) => commands::warmer::run(&warm),
        Command::Login(login) => finish(commands::login::login(&login)),
        Command::Logout(logout) => finish(commands::login::logout(&logout)),
        Command::Plugin(PluginCommand::Inspect { files }) => finish(commands::plugin::inspect(&files)),
        Command::Plugin(PluginCommand::Lock { config }) => finish(commands::plugin::lock(&config)),
        Command::Completion { shell } => {
            let command = if executor { ExecutorArguments::command() } else { Arguments::command() };
            finish(commands::completion::run(command, shell))
        }
        Command::Prune(prune) => match &prune.cache_repo {
            Some(repo) => commands::prune_cache::run(&prune, repo),
            None => finish(commands::prune::run(&prune)),
        },
        Command::Version => finish(commands::version::run(executor)),
    }
}

/// The exit code of a command that either works or says why not.
pub(in crate::cli) fn finish(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", diagnostic::render_plain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
