//! Running a command where no namespace can be made: in another root directory, or in the builder's own.
//!
//! The process that the builder starts adopts whatever the command leaves behind, and ends it before it ends itself: when the
//! command is done, when the builder says so, and when the builder is gone.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open};

use super::cancel::Cancel;
use super::error::SandboxError;
use super::init::{self, Order};
use super::namespaces::Namespaces;
use super::output::Stream;
use super::report::{self, Context, Failure, Report};
use super::spec::{Lending, Network, RunSpec};
use super::sys::{self, Forked};
use super::{Executor, ExitStatus, users};
use crate::fs::{self, Root};

/// Between two looks at who is still there.
const PAUSE: Duration = Duration::from_millis(2);
/// How long what the command leaves behind may wait to be reaped.
const ORPHANS: Duration = Duration::from_millis(200);
/// How often is asked for the end of a command that gives no notice of it.
const WITHOUT_HANDLE: Duration = Duration::from_millis(20);

/// Runs commands in a directory as their root, with the kernel's view of the builder.
#[derive(Debug, Clone, Default)]
pub struct Chroot {
    starter: Namespaces,
}

/// Runs commands where the builder itself lives.
#[derive(Debug, Clone, Default)]
pub struct InPlace {
    starter: Namespaces,
}

impl Chroot {
    /// Tries whether the root directory can be changed here.
    ///
    /// # Errors
    /// Why not.
    pub fn probe() -> Result<(), String> {
        super::enter::rehearse(|| rustix::process::chroot("/").map_err(|error| format!("the root directory cannot be changed: {error}")))
    }
}

impl Executor for Chroot {
    fn run(&self, spec: &RunSpec, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<ExitStatus, SandboxError> {
        refuse_what_needs_namespaces(spec)?;
        self.starter.carry_out(Order::bare(spec.clone()), output, cancel)
    }

    fn name(&self) -> &'static str {
        "chroot"
    }
}

impl Executor for InPlace {
    fn run(&self, spec: &RunSpec, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<ExitStatus, SandboxError> {
        refuse_what_needs_namespaces(spec)?;
        if !spec.extra_hosts.is_empty() {
            return Err(SandboxError::Setup("--add-host needs the isolation `overlay` or `chroot`".to_owned()));
        }
        self.starter.carry_out(Order::bare(spec.clone()), output, cancel)
    }

    fn name(&self) -> &'static str {
        "in-place"
    }
}

fn refuse_what_needs_namespaces(spec: &RunSpec) -> Result<(), SandboxError> {
    if spec.network == Network::None {
        return Err(SandboxError::Setup("a RUN without a network needs the isolation `overlay`".to_owned()));
    }
    if spec.privileged {
        return Err(SandboxError::Setup("a privileged RUN needs the isolation `overlay`".to_owned()));
    }
    if let Some(mount) = spec.mounts.first() {
        return Err(SandboxError::Setup(format!("{} cannot be mounted here", mount.target)));
    }
    Ok(())
}

/// The process that the builder starts.
pub(super) fn run(control: &mut UnixStream, order: &Order) -> Result<ExitCode, Failure> {
    let spec = &order.spec;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing(|| "adopt what the command leaves behind".to_owned())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let stdin = init::stdin(&spec.stdin).doing(|| "prepare the standard input".to_owned())?;
    let note = "system calls are not filtered, and processes are not hidden from each other".to_owned();
    report::send(control, &Report::Note(note)).doing(|| "report".to_owned())?;
    let command = match sys::fork().doing(|| "start the command's process".to_owned())? {
        Forked::Child => {
            let failure = match enter(spec, stdin) {
                Ok(identity) => init::exec(spec, &identity),
                Err(failure) => failure,
            };
            let _ = report::send(control, &Report::Failed(failure));
            sys::exit_now(0)
        }
        Forked::Parent(command) => command,
    };
    let ended = follow(control, command);
    end_all();
    take_back(spec);
    if let Some((code, signal)) = ended.doing(|| "wait for the command".to_owned())? {
        report::send(control, &Report::Exit { code, signal }).doing(|| "report".to_owned())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes back what the command was lent, which its builder may not live to do.
fn take_back(spec: &RunSpec) {
    let Ok(root) = Root::open(&spec.rootfs) else { return };
    for lending in spec.lent.iter().rev() {
        // What cannot be taken back here is left to the builder, who can say so.
        drop(take_back_one(&root, lending));
    }
}

fn take_back_one(root: &Root, Lending { path, inode, home }: &Lending) -> Result<(), fs::Error> {
    if root.stat(path)?.is_none_or(|found| (found.dev, found.ino) != *inode) {
        return Ok(());
    }
    let parent = Path::new("/").join(path.parent().unwrap_or(path));
    let before = root.stat(&parent)?;
    match home {
        Some(home) => root.move_out(path, home)?,
        None => root.remove(path)?,
    }
    before.map_or(Ok(()), |before| root.set_times(&parent, before.mtime))
}

fn enter(spec: &RunSpec, stdin: std::os::fd::OwnedFd) -> Result<users::Identity, Failure> {
    if spec.rootfs != Path::new("/") {
        rustix::process::chroot(&spec.rootfs).doing(|| format!("change the root directory to {}", spec.rootfs.display()))?;
    }
    rustix::process::chdir("/").doing(|| "enter the root directory".to_owned())?;
    let identity = init::identity(spec)?;
    init::give_up(spec, &identity, stdin, None)?;
    Ok(identity)
}

type Ended = Option<(i32, Option<i32>)>;

/// Waits until the command has ended, or the builder wants no more of it. What the command leaves behind is reaped meanwhile.
fn follow(control: &UnixStream, command: i32) -> io::Result<Ended> {
    let pid = Pid::from_raw(command).ok_or(io::ErrorKind::InvalidInput)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
    loop {
        let mut watched = vec![PollFd::new(control, PollFlags::empty())];
        watched.extend(handle.as_ref().map(|handle| PollFd::new(handle, PollFlags::IN)));
        // Orphans come without notice; and without a handle (before Linux 5.3) the command has to be asked for.
        let pause = if handle.is_some() { ORPHANS } else { WITHOUT_HANDLE };
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        match poll(&mut watched, Some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if watched.first().is_some_and(|control| control.revents().intersects(PollFlags::HUP | PollFlags::ERR)) {
            return Ok(None);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((ended, status))) if ended == pid => {
                    let signal = status.terminating_signal();
                    return Ok(Some((signal.map_or_else(|| status.exit_status().unwrap_or(1), |signal| 128 + signal), signal)));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Kills everything that descends from this process, until nothing is left.
fn end_all() {
    loop {
        for process in descendants() {
            let _ = kill_process(process, Signal::KILL);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = std::fs::read(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut todo = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(process) = todo.pop() {
        for child in children.remove(&process).unwrap_or_default() {
            found.extend(Pid::from_raw(child));
            todo.push(child);
        }
    }
    found
}

/// The parent in a line of `/proc/PID/stat`; a name in it may hold anything.
fn parent(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn parents_are_found_whatever_a_process_is_called() {
        assert_eq!(parent(b"12 (sh) S 7 12 12"), Some(7));
        assert_eq!(parent(b"12 (a) R 3 (b) x) S 8 1"), Some(8));
        assert_eq!(parent(b"12"), None);
    }
}
