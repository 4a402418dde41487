use std::collections::VecDeque;
use std::path::Path;

use super::error::Failure;
use super::lowering::Task;
use super::mounts::Mounts;
use super::scope::is_proxy_argument;
use super::settings::BuildSettings;
use super::stage::Shared;
use crate::fs::{Attributes, Root};
use crate::operation::{Exec, Network};
use crate::progress::{Event, Level};
use crate::rootfs::disk::Disk;
use crate::rootfs::tree::{Tree as _, make_dirs};
use crate::sandbox::{self, RunSpec};

/// How many of a command's last lines an error repeats.
const LAST_LINES: usize = 20;
/// The most bytes of one line that an error repeats.
const LAST_LINE_WIDTH: usize = 400;

/// What to do where no command can be run.
pub const WHERE_COMMANDS_RUN: &str =
    "allow the builder user namespaces, run it as user 0 in a container, or leave RUN out of the stages that are built";

/// Runs one process of a step in a root filesystem.
///
/// # Errors
/// The process could not be started, or ended with another status than 0.
pub fn run(task: &Task, exec: &Exec, rootfs: &Path, mounts: &Mounts, step: &str, shared: &Shared) -> Result<(), Failure> {
    let (deps, settings) = (&shared.deps, &shared.settings);
    let executor =
        deps.executor.as_ref().map_err(|why| Failure::new(format!("a command cannot be run here: {why}")).hint(WHERE_COMMANDS_RUN))?;
    if exec.privileged {
        return Err(Failure::new("a privileged command is not allowed").hint("leave --security=insecure out"));
    }
    let mut spec = RunSpec::new(rootfs.to_owned(), exec.arguments.clone());
    spec.env = environment(task, exec, mounts, settings);
    spec.cwd = exec.working_dir.clone().map_or_else(|| task.working_dir.clone(), |path| join(&task.working_dir, &path));
    spec.user = exec.user.clone().unwrap_or_else(|| task.user.clone());
    spec.network = match exec.network {
        Network::Default => sandbox::Network::Default,
        Network::None => sandbox::Network::None,
        Network::Host => sandbox::Network::Host,
    };
    spec.extra_hosts.clone_from(&settings.extra_hosts);
    spec.stdin.clone_from(&exec.stdin);
    spec.mounts.clone_from(&mounts.list);
    if let Some(size) = settings.shm_size {
        spec.shm_size = size;
    }
    let mut last: VecDeque<String> = VecDeque::with_capacity(LAST_LINES);
    let hidden: Vec<&[u8]> = mounts.secrets.iter().map(|secret| &**secret).filter(|secret| secret.len() >= 3).collect();
    let mut output = |_stream, line: &[u8]| {
        let line = mask(line, &hidden);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(line.get(..LAST_LINE_WIDTH).unwrap_or(&line)).trim_end_matches(['\n', '\r']).to_owned());
        deps.reporter.event(Event::StepOutput { step: step.to_owned(), line });
    };
    let status = executor.run(&spec, &mut output, &shared.cancel).map_err(|error| {
        let code = i32::from(error.exit_code());
        Failure { exit_code: Some(code), ..error.into() }
    })?;
    for note in &status.notes {
        deps.reporter.log(Level::Debug, note);
    }
    if status.success() {
        return Ok(());
    }
    let shown = exec.arguments.join(" ");
    let shown: String = if shown.chars().count() > 300 { shown.chars().take(300).chain("…".chars()).collect() } else { shown };
    Err(Failure {
        message: format!("process {shown:?} did not complete successfully: exit code: {}", status.code),
        exit_code: Some(status.code),
        output: last.into(),
        ..Failure::default()
    })
}

/// Makes a process's working directory where it is missing.
pub fn make_working_dir(root: Root, task: &Task, exec: &Exec) -> Result<(), Failure> {
    let path = exec.working_dir.as_ref().map_or_else(|| task.working_dir.clone(), |path| join(&task.working_dir, path));
    let mut tree = Disk::new(root);
    let attributes = Attributes { owner: Some((0, 0)), mode: Some(0o755), ..Attributes::default() };
    make_dirs(&mut tree, Path::new(""), Path::new(&path), &attributes)?;
    Ok(tree.settle()?)
}

/// The variables in scope, proxies that the user gave, and what the operation adds; the last of a name counts.
fn environment(task: &Task, exec: &Exec, mounts: &Mounts, settings: &BuildSettings) -> Vec<String> {
    let proxies = settings.build_args.iter().filter(|(name, _)| is_proxy_argument(name));
    let all = proxies.chain(task.env.iter()).chain(exec.env.iter()).chain(mounts.env.iter());
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (name, value) in all {
        match pairs.iter_mut().find(|(n, _)| n == name) {
            Some(pair) => pair.1 = value,
            None => pairs.push((name, value)),
        }
    }
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// A path of an operation: absolute, or relative to the working directory.
pub fn join(working_dir: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", working_dir.trim_end_matches('/')) }
}

/// The line with secrets replaced.
fn mask(line: &[u8], hidden: &[&[u8]]) -> Vec<u8> {
    let mut out = line.to_vec();
    for secret in hidden {
        let bare = secret.strip_suffix(b"\n").unwrap_or(secret);
        let mut from = 0;
        while let Some(at) = out.get(from..).and_then(|rest| rest.windows(bare.len()).position(|w| w == bare)) {
            out.splice(from + at..from + at + bare.len(), *b"***");
            from += at + 3;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_output() {
        assert_eq!(mask(b"a s3cret, s3cret", &[b"s3cret\n"]), b"a ***, ***");
        assert_eq!(mask(b"plain", &[b"s3cret"]), b"plain");
    }

    #[test]
    fn relative_paths_are_below_the_working_directory() {
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/w", "a"), "/w/a");
        assert_eq!(join("/w", "/a"), "/a");
    }
}
