//! The standard Dockerfile instructions, but for `FROM` and `ARG`, which are the host's.
//!
//! Each instruction has a file of its own with two functions: `keyword`, how the host's parser reads it, and `lower`,
//! what it stands for. They want nothing and look at nothing: the operations follow from the text alone.

mod add;
mod cmd;
mod copy;
mod duration;
mod entrypoint;
mod env;
mod expose;
mod git;
mod healthcheck;
mod heredoc;
mod history;
mod label;
mod maintainer;
mod mode;
mod onbuild;
mod path;
mod rules;
mod run;
mod shell;
mod stopsignal;
mod suggest;
mod transfer;
mod user;
mod volume;
mod workdir;

#[cfg(test)]
mod testing;

use layerwright_plugin::instruction::{Arguments, Capabilities, Instruction, InstructionHandler, Keyword, Lowered, Stage};
use layerwright_plugin::operation::{ConfigChange, Operation};
use layerwright_plugin::{Description, Error, export_instruction_handler};

/// The handler of the standard instructions.
pub struct Dockerfile;

impl InstructionHandler for Dockerfile {
    fn describe() -> Capabilities {
        let about = Description::new("layerwright/dockerfile", env!("CARGO_PKG_VERSION"), "the standard Dockerfile instructions");
        Capabilities::new(about, keywords()).with_rules(rules::all())
    }

    fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error> {
        lower(instruction, stage)
    }
}

export_instruction_handler!(Dockerfile);

/// How each standard instruction is read.
pub fn keywords() -> Vec<Keyword> {
    vec![
        add::keyword(),
        cmd::keyword(),
        copy::keyword(),
        entrypoint::keyword(),
        env::keyword(),
        expose::keyword(),
        healthcheck::keyword(),
        label::keyword(),
        maintainer::keyword(),
        onbuild::keyword(),
        run::keyword(),
        shell::keyword(),
        stopsignal::keyword(),
        user::keyword(),
        volume::keyword(),
        workdir::keyword(),
    ]
}

/// What a standard instruction stands for.
///
/// # Errors
/// The instruction is wrong, or none of the standard ones.
pub fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error> {
    let operations = |operations: Result<Vec<Operation>, Error>| operations.map(Lowered::new);
    let mut lowered = match instruction.name.as_str() {
        "ADD" => operations(add::lower(instruction)),
        "CMD" => cmd::lower(instruction, stage),
        "COPY" => operations(copy::lower(instruction)),
        "ENTRYPOINT" => entrypoint::lower(instruction, stage),
        "ENV" => operations(env::lower(instruction)),
        "EXPOSE" => expose::lower(instruction),
        "HEALTHCHECK" => operations(healthcheck::lower(instruction)),
        "LABEL" => operations(label::lower(instruction)),
        "MAINTAINER" => operations(maintainer::lower(instruction)),
        "ONBUILD" => operations(onbuild::lower(instruction)),
        "RUN" => operations(run::lower(instruction, stage)),
        "SHELL" => operations(shell::lower(instruction)),
        "STOPSIGNAL" => operations(stopsignal::lower(instruction)),
        "USER" => operations(user::lower(instruction)),
        "VOLUME" => operations(volume::lower(instruction)),
        "WORKDIR" => workdir::lower(instruction, stage),
        other => Err(Error::invalid(format!("unknown instruction: {other}"))),
    }?;
    lowered.history = history::text(instruction, &lowered.operations);
    Ok(lowered)
}

/// The error of an instruction that has no argument at all.
fn at_least_one(instruction: &Instruction) -> Error {
    Error::invalid(format!("{} requires at least one argument", instruction.name))
}

/// The one argument of an instruction that takes the rest of the line, unquoted. It may have become empty by expansion, but it must
/// have been written.
fn exactly_one(instruction: &Instruction) -> Result<&str, Error> {
    let argument = instruction.text_argument();
    let written = !argument.is_empty() || instruction.text.trim().contains(char::is_whitespace);
    if written { Ok(argument) } else { Err(Error::invalid(format!("{} requires exactly one argument", instruction.name))) }
}

/// The argument list of an instruction that runs something: the JSON array as it is, a line by the shell.
fn command_line(instruction: &Instruction, stage: &Stage) -> Vec<String> {
    match &instruction.arguments {
        Arguments::Exec(arguments) => arguments.clone(),
        _ => stage.shell_command(instruction.text_argument()),
    }
}

/// What says how a container starts. A shell that nobody chose is likely not meant: it takes the signals and passes none on.
fn starts(instruction: &Instruction, stage: &Stage, change: fn(Vec<String>) -> ConfigChange) -> Lowered {
    let lowered = Lowered::new(vec![change(command_line(instruction, stage)).into()]);
    match instruction.arguments {
        Arguments::Exec(_) => lowered,
        _ if stage.shell_set => lowered,
        _ => lowered.warn(rules::json_args_recommended(instruction)),
    }
}
