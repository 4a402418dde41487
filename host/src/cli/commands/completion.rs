//! `completion`: what a shell needs to complete the command line.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap_complete::Shell;

/// Prints a script that completes a command in a shell.
pub fn run(mut command: clap::Command, shell: Shell) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    std::io::stdout().write_all(&script).context("failed to write to standard output")
}
