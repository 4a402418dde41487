//! The command line: the only module that prints, reads the environment, or decides the exit code.

mod answer;
mod args;
mod commands;
mod container;
mod contexts;
mod diagnostic;
mod docker_config;
mod env;
mod inputs;
mod isolation;
mod log;
mod mirrors;
mod output;
mod place;
mod plugins;
mod question;
mod registry;
mod report;
mod run;
mod settings;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Call, Command, ExecutorArguments, PluginCommand};

/// Runs the command line.
///
/// The name that the program is called by decides how it is read: `executor` builds without a subcommand.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let command = match called.is_some_and(|name| name == "executor") {
        true => ExecutorArguments::try_parse_from(&arguments).map(|read| read.command.unwrap_or(Command::Build(Box::new(read.build)))),
        false => Arguments::try_parse_from(&arguments).map(|read| read.command),
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
        Command::Login(login) => finish(commands::login::login(&login)),
        Command::Logout(logout) => finish(commands::login::logout(&logout)),
        Command::Plugin(PluginCommand::Inspect { files }) => finish(commands::plugin::inspect(&files)),
        Command::Version => finish(commands::version::run()),
    }
}

/// The exit code of a command that either works or says why not.
fn finish(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", diagnostic::render_plain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
