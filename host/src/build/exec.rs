use std::collections::VecDeque;
use std::path::Path;

use super::device;
use super::error::Failure;
use super::lowering::Task;
use super::mask::{Mask, MaskedLines};
use super::mounts::Mounts;
use super::scope::{PROXY_ARGUMENTS, is_proxy_argument};
use super::settings::BuildSettings;
use super::stage::Shared;
use crate::fs::{Attributes, Root};
use crate::operation::{Exec, MountSource, Network};
use crate::progress::{Event, Level, Reporter};
use crate::rootfs::disk::Disk;
use crate::rootfs::tree::{Tree as _, make_dirs};
use crate::sandbox::{self, ExitStatus, ProcessLimit, RunSpec, Stream};

/// How many of a command's last lines an error repeats.
const LAST_LINES: usize = 20;
/// The most bytes of one line that an error repeats.
const LAST_LINE_WIDTH: usize = 400;
/// The most characters of a command line that an error repeats.
const COMMAND_WIDTH: usize = 300;
/// The limit of the files that are left of programs that crash.
const CORE: &str = "core";
/// The build argument that names the machine of every step.
const HOSTNAME_ARGUMENT: &str = "BUILDKIT_SANDBOX_HOSTNAME";

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
    let devices = device::find(&exec.devices, &settings.run)?;
    for note in &devices.notes {
        deps.reporter.log(Level::Warning, note);
    }
    if !devices.mounts.is_empty() && !deps.backend.mounts() {
        return Err(Failure::new("devices cannot be given to a command where nothing can be mounted").hint(WHERE_COMMANDS_RUN));
    }
    let mut spec = RunSpec::new(rootfs.to_owned(), exec.arguments.clone());
    spec.env = environment(task, exec, mounts, &devices.env, settings);
    spec.cwd = exec.working_dir.clone().map_or_else(|| task.working_dir.clone(), |path| join(&task.working_dir, &path));
    spec.user = exec.user.clone().unwrap_or_else(|| task.user.clone());
    spec.privileged = exec.privileged;
    spec.network = match (exec.network, settings.run.network) {
        (Network::Default, Network::Default) => sandbox::Network::Default,
        (Network::None, _) | (Network::Default, Network::None) => sandbox::Network::None,
        (Network::Host, _) | (Network::Default, Network::Host) => sandbox::Network::Host,
    };
    if let Some(name) = hostname(settings) {
        name.clone_into(&mut spec.hostname);
    }
    spec.extra_hosts.clone_from(&settings.run.extra_hosts);
    spec.stdin.clone_from(&exec.stdin);
    spec.mounts.clone_from(&mounts.list);
    spec.lent.clone_from(&mounts.lent);
    spec.mounts.extend(devices.mounts);
    spec.additional_gids = devices.groups;
    spec.process_limits.clone_from(&settings.run.process_limits);
    let has_secrets = exec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Secret { .. }));
    if has_secrets && !spec.process_limits.iter().any(|limit| limit.name == CORE) {
        // A core would hold what the command was shown, and be in the layer.
        spec.process_limits.push(ProcessLimit { name: CORE.to_owned(), soft: Some(0), hard: Some(0) });
    }
    spec.group_limits.clone_from(&settings.run.group_limits);
    if let Some(size) = settings.run.shm_size {
        spec.shm_size = size;
    }
    let mut log = Log::new(step, &shared.mask, deps.reporter.as_ref(), settings.run.log_limit);
    let done = executor.run(&spec, &mut |stream, written| log.take(stream, written), &shared.cancel);
    let last = log.finish();
    let command = shared.mask.text(&shortened(&exec.arguments.join(" ")));
    let status = done.map_err(|error| {
        let code = i32::from(error.exit_code());
        let failure = Failure::from(error);
        let message = format!("process {command:?} could not be run: {}", shared.mask.text(&failure.message));
        Failure { message, exit_code: Some(code), output: last.clone(), ..failure }
    })?;
    for note in &status.notes {
        deps.reporter.log(Level::Debug, note);
    }
    if status.success() { Ok(()) } else { Err(unsuccessful(&command, &status, last)) }
}

/// What the user calls the machine of every step.
pub fn hostname(settings: &BuildSettings) -> Option<&str> {
    let argument = settings.build_args.iter().find(|(name, value)| name == HOSTNAME_ARGUMENT && !value.is_empty());
    argument.map(|(_, name)| name.as_str()).or(settings.run.hostname.as_deref())
}

/// The failure of a command that ran and did not succeed.
fn unsuccessful(command: &str, status: &ExitStatus, output: Vec<String>) -> Failure {
    let killed = status.signal.map(|signal| format!(": killed by {}", signal_name(signal))).unwrap_or_default();
    let hint = status.signal.filter(|signal| *signal == libc::SIGKILL).map(|_| {
        "nothing of the build kills commands; where memory is limited, this is how one ends that takes more than there is".to_owned()
    });
    Failure {
        message: format!("process {command:?} did not complete successfully: exit code: {}{killed}", status.code),
        hint,
        exit_code: Some(status.code),
        signalled: status.signal.is_some(),
        output,
        ..Failure::default()
    }
}

fn shortened(command: &str) -> String {
    match command.char_indices().nth(COMMAND_WIDTH) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or_default()),
        None => command.to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// A command's output on its way to who hears of it: without secrets, not without end, the last of it remembered.
struct Log<'a> {
    step: &'a str,
    mask: &'a Mask,
    reporter: &'a dyn Reporter,
    streams: [MaskedLines; 2],
    last: VecDeque<String>,
    /// How many bytes more are shown.
    left: Option<u64>,
}

impl<'a> Log<'a> {
    fn new(step: &'a str, mask: &'a Mask, reporter: &'a dyn Reporter, limit: Option<u64>) -> Self {
        Self { step, mask, reporter, streams: Default::default(), last: VecDeque::with_capacity(LAST_LINES), left: limit }
    }

    fn take(&mut self, stream: Stream, written: &[u8]) {
        let Self { step, mask, reporter, streams: [out, err], last, left } = self;
        let stream = match stream {
            Stream::Stdout => out,
            Stream::Stderr => err,
        };
        stream.feed(mask, written, &mut |line| show(step, *reporter, last, left, line));
    }

    /// The last lines, when there is no more.
    fn finish(mut self) -> Vec<String> {
        let Self { step, mask, reporter, streams, last, left } = &mut self;
        for stream in streams {
            stream.finish(mask, &mut |line| show(step, *reporter, last, left, line));
        }
        self.last.into()
    }
}

fn show(step: &str, reporter: &dyn Reporter, last: &mut VecDeque<String>, left: &mut Option<u64>, line: &[u8]) {
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    let short = line.get(..LAST_LINE_WIDTH).unwrap_or(line);
    last.push_back(String::from_utf8_lossy(short).trim_end_matches('\r').to_owned());
    let event = |line: &[u8]| reporter.event(Event::StepOutput { step: step.to_owned(), line: line.to_vec() });
    match left {
        None => event(line),
        Some(0) => {}
        Some(bytes) => {
            *bytes = bytes.saturating_sub(line.len() as u64 + 1);
            event(line);
            if *bytes == 0 {
                event(b"[output clipped: the step has written more than is shown]");
            }
        }
    }
}

/// Makes a process's working directory where it is missing.
pub fn make_working_dir(root: Root, task: &Task, exec: &Exec) -> Result<(), Failure> {
    let path = exec.working_dir.as_ref().map_or_else(|| task.working_dir.clone(), |path| join(&task.working_dir, path));
    let mut tree = Disk::new(root);
    let attributes = Attributes { owner: Some((0, 0)), mode: Some(0o755), ..Attributes::default() };
    make_dirs(&mut tree, Path::new(""), Path::new(&path), &attributes)?;
    Ok(tree.settle()?)
}

/// The variables in scope, proxies that the user gave, and what the operation, devices and secrets add; the last of a name counts.
fn environment(task: &Task, exec: &Exec, mounts: &Mounts, devices: &[(String, String)], settings: &BuildSettings) -> Vec<String> {
    let proxies = proxies(&settings.build_args);
    let all = proxies.iter().chain(task.env.iter()).chain(exec.env.iter()).chain(devices).chain(mounts.env.iter());
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (name, value) in all {
        match pairs.iter_mut().find(|(n, _)| n == name) {
            Some(pair) => pair.1 = value,
            None => pairs.push((name, value)),
        }
    }
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The proxies that the user gave, under both names that programs look for.
fn proxies(build_args: &[(String, String)]) -> Vec<(String, String)> {
    let mut proxies = Vec::new();
    for upper in PROXY_ARGUMENTS {
        let lower = upper.to_ascii_lowercase();
        let given =
            |wanted: &str| build_args.iter().rev().find(|(name, _)| name == wanted && is_proxy_argument(name)).map(|(_, value)| value);
        let values = [(given(upper), given(&lower), (*upper).to_owned()), (given(&lower), given(upper), lower.clone())];
        for (own, other, name) in values {
            proxies.extend(own.or(other).filter(|value| !value.is_empty()).map(|value| (name, value.clone())));
        }
    }
    proxies
}

/// A path of an operation: absolute, or relative to the working directory.
pub fn join(working_dir: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", working_dir.trim_end_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Reporter for Heard {
        fn event(&self, event: Event) {
            if let Event::StepOutput { line, .. } = event {
                self.0.lock().unwrap().push(String::from_utf8(line).unwrap());
            }
        }
    }

    #[test]
    fn relative_paths_are_below_the_working_directory() {
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/w", "a"), "/w/a");
        assert_eq!(join("/w", "/a"), "/a");
    }

    #[test]
    fn output_is_masked_and_clipped_and_its_end_remembered() {
        let (heard, mask) = (Heard::default(), Mask::new([b"s3cret".as_slice()]));
        let mut log = Log::new("s", &mask, &heard, Some(20));
        log.take(Stream::Stdout, b"one s3c");
        log.take(Stream::Stderr, b"two\n");
        log.take(Stream::Stdout, b"ret\n");
        for number in 0..30 {
            log.take(Stream::Stdout, format!("{number}\n").as_bytes());
        }
        let last = log.finish();
        assert_eq!((last.len(), last.first().unwrap().as_str(), last.last().unwrap().as_str()), (20, "10", "29"));
        let heard = heard.0.into_inner().unwrap();
        assert_eq!(heard.first_chunk().unwrap(), &["two", "one ****"]);
        assert_eq!(heard.iter().filter(|line| line.contains("clipped")).count(), 1);
        assert!(heard.len() < 10, "{heard:?}");
    }

    #[test]
    fn proxies_have_two_names() {
        let given = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            proxies(&pairs).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(given(&[("http_proxy", "p"), ("OTHER", "x")]), ["HTTP_PROXY=p", "http_proxy=p"]);
        assert_eq!(given(&[("NO_PROXY", "a"), ("no_proxy", "b")]), ["NO_PROXY=a", "no_proxy=b"]);
        assert!(given(&[("https_proxy", "")]).is_empty());
    }

    #[test]
    fn a_killed_command_says_by_what() {
        let status = ExitStatus { code: 137, signal: Some(9), ..ExitStatus::default() };
        let failure = unsuccessful("sh -c x", &status, Vec::new());
        assert_eq!(failure.message, "process \"sh -c x\" did not complete successfully: exit code: 137: killed by signal 9 (SIGKILL)");
        assert!(failure.hint.is_some());
    }
}
