//! The sandbox's side: what runs in the process that the builder starts from its own binary.
//!
//! Three processes, one after the other. The first reads the order, unshares the namespaces and makes the second, a
//! child of the builder's and process 1 of the new pid namespace. That one sets up the mounts and makes the third,
//! which gives up its rights and becomes the command. Process 1 then reaps until the command has ended; its own end
//! takes everything else in the namespace with it.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, WaitOptions};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::mounts::Assembly;
use super::report::{self, Context, Failure, Report};
use super::spec::{Network, RunSpec};
use super::sys::{self, Forked};
use super::users::{self, Identity};
use super::{capabilities, seccomp};

/// Where a command without a slash is looked for when its environment says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `/etc/passwd` and `/etc/group` are read up to here, in bytes.
const USER_FILE_LIMIT: u64 = 16 << 20;

/// What the builder sends.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) spec: RunSpec,
    /// Do everything but the command, on an empty root filesystem.
    pub(super) rehearsal: bool,
    /// Without namespaces: in the root filesystem as root directory, or in the builder's own.
    pub(super) bare: bool,
}

impl Order {
    /// A command for namespaces of its own.
    pub(super) fn sandboxed(spec: RunSpec, rehearsal: bool) -> Self {
        Self { spec, rehearsal, bare: false }
    }

    /// A command without namespaces.
    pub(super) fn bare(spec: RunSpec) -> Self {
        Self { spec, rehearsal: false, bare: true }
    }
}

/// What `main` does when its first argument is [`super::INIT_ARGUMENT`]: standard input is a socket to the builder.
///
/// The process has to have one thread.
#[must_use]
pub fn init_main() -> ExitCode {
    // What whoever started the builder left open is nothing for a step.
    if sys::close_from(3).is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return ExitCode::FAILURE;
    };
    let mut control = UnixStream::from(control);
    match begin(&mut control) {
        Ok(code) => code,
        Err(failure) => {
            // Without a builder there is nobody to tell.
            let _ = report::send(&mut control, &Report::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// The first process.
fn begin(control: &mut UnixStream) -> Result<ExitCode, Failure> {
    let order: Order = report::receive(control).doing(|| "read what to run".to_owned())?;
    if order.bare {
        return super::bare::run(control, &order);
    }
    die_with_builder(control)?;
    let mut namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if order.spec.network == Network::None {
        namespaces |= UnshareFlags::NEWNET;
    }
    sys::unshare(namespaces)
        .doing(|| "make new namespaces (CAP_SYS_ADMIN and a system call filter that allows `unshare` are needed)".to_owned())?;
    match sys::fork_sibling().doing(|| "start process 1 of the sandbox".to_owned())? {
        Forked::Parent(pid) => {
            report::send(control, &Report::Init { pid }).doing(|| "report".to_owned())?;
            Ok(ExitCode::SUCCESS)
        }
        Forked::Child => {
            die_with_builder(control)?;
            run(control, &order)
        }
    }
}

/// Has the kernel kill this process when the builder's thread that started it ends.
fn die_with_builder(control: &UnixStream) -> Result<(), Failure> {
    let doing = || "follow the builder".to_owned();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(doing)?;
    // It may have ended before that; its end of the socket went with it.
    let mut end = [PollFd::new(control, PollFlags::empty())];
    poll(&mut end, Some(&Timespec::default())).doing(doing)?;
    match end.iter().any(|end| end.revents().contains(PollFlags::HUP)) {
        true => Err(Failure::setup("the builder is gone")),
        false => Ok(()),
    }
}

/// Process 1: sets the sandbox up, starts the command, reaps.
fn run(control: &mut UnixStream, order: &Order) -> Result<ExitCode, Failure> {
    let spec = &order.spec;
    // Nobody in the sandbox looks into this process: its program is the builder's, its memory holds the secrets.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hide the init".to_owned())?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Before the directory of the builder's working directory is out of reach.
    rustix::process::chdir("/").doing(|| "leave the working directory".to_owned())?;
    let _ = sys::new_keyring();
    if let Err(error) = rustix::system::sethostname(spec.hostname.as_bytes()) {
        // The system call filters of some container runtimes forbid it, and nothing depends on it.
        let note = format!("the host name is the builder's, it cannot be set here: {error}");
        report::send(control, &Report::Note(note)).doing(|| "report".to_owned())?;
    }
    if spec.network == Network::None {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)
            .and_then(|socket| sys::loopback_up(socket.as_fd()))
            .doing(|| "switch the loopback interface on".to_owned())?;
    }

    let mut assembly = Assembly::new(spec, order.rehearsal)?;
    let assembled = assembly.mount_all();
    // Also of a failure: what was made has to be removed.
    let stubs = assembly.stubs().iter().map(|path| path.to_str().map(str::to_owned));
    let stubs: Option<Vec<String>> = stubs.collect();
    let stubs = stubs.ok_or_else(|| Failure::setup("the path of a mount point is not UTF-8"))?;
    report::send(control, &Report::Stubs(stubs)).doing(|| "report".to_owned())?;
    assembled?;
    for note in assembly.enter()? {
        report::send(control, &Report::Note(note)).doing(|| "report".to_owned())?;
    }

    let identity = identity(spec)?;
    let stdin = stdin(&spec.stdin).doing(|| "prepare the standard input".to_owned())?;
    let filter = seccomp::program().filter(|_| !spec.privileged);
    if filter.is_none() && !spec.privileged {
        let note = "system calls are not filtered, there is no table of them for this machine".to_owned();
        report::send(control, &Report::Note(note)).doing(|| "report".to_owned())?;
    }
    name_after(spec);
    match sys::fork().doing(|| "start the command's process".to_owned())? {
        Forked::Child => {
            let failure = match give_up(spec, &identity, stdin, filter.as_deref()) {
                Err(failure) => Some(failure),
                Ok(()) if order.rehearsal => None,
                Ok(()) => Some(exec(spec, &identity)),
            };
            if let Some(failure) = failure {
                let _ = report::send(control, &Report::Failed(failure));
            }
            sys::exit_now(0)
        }
        Forked::Parent(command) => {
            drop(stdin);
            let (code, signal) = reap_until(command).doing(|| "wait for the command".to_owned())?;
            report::send(control, &Report::Exit { code, signal }).doing(|| "report".to_owned())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Who the command runs as, now that the image is the root.
pub(super) fn identity(spec: &RunSpec) -> Result<Identity, Failure> {
    users::resolve(&spec.user, &user_file("/etc/passwd")?, &user_file("/etc/group")?).map_err(|error| Failure::user(error.to_string()))
}

/// Waits for every process that ends up with this one, until `command` is among them.
fn reap_until(command: i32) -> io::Result<(i32, Option<i32>)> {
    loop {
        let ended = match rustix::process::wait(WaitOptions::empty()) {
            Err(Errno::INTR) => continue,
            ended => ended?,
        };
        if let Some((pid, status)) = ended
            && pid.as_raw_nonzero().get() == command
        {
            let signal = status.terminating_signal();
            let code = signal.map_or_else(|| status.exit_status().unwrap_or(1), |signal| 128 + signal);
            return Ok((code, signal));
        }
    }
}

/// Gives process 1 the command's name, so that what lists processes shows what it would show were the command
/// process 1 itself.
fn name_after(spec: &RunSpec) {
    let name = spec.arguments.first().map(Path::new).and_then(Path::file_name);
    if let Some(name) = name.and_then(|name| CString::new(name.as_encoded_bytes()).ok()) {
        // A name is for people.
        let _ = rustix::thread::set_name(&name);
    }
}

/// A file of the image's, now that the image is the root; empty where there is none.
fn user_file(path: &str) -> Result<Vec<u8>, Failure> {
    let read = || -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut content = Vec::new();
        if file.metadata()?.is_file() {
            file.take(USER_FILE_LIMIT).read_to_end(&mut content)?;
        }
        Ok(content)
    };
    read().doing(|| format!("read the image's {path}"))
}

pub(super) fn stdin(content: &[u8]) -> io::Result<OwnedFd> {
    if content.is_empty() {
        return Ok(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    }
    let mut file = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// The third process leaves everything that the command is not to have.
pub(super) fn give_up(spec: &RunSpec, identity: &Identity, stdin: OwnedFd, filter: Option<&[libc::sock_filter]>) -> Result<(), Failure> {
    let rights = || "give up rights".to_owned();
    sys::reset_signals();
    rustix::process::setsid().doing(|| "start a session".to_owned())?;
    rustix::stdio::dup2_stdin(&stdin).doing(|| "connect the standard input".to_owned())?;
    drop(stdin);
    // A working directory that only root can enter is no hindrance.
    let cwd = if spec.cwd.is_empty() { "/" } else { spec.cwd.as_str() };
    rustix::process::chdir(cwd).doing(|| format!("enter the working directory {cwd}"))?;

    for limit in &spec.process_limits {
        limit.set().doing(|| format!("set the limit {}", limit.name))?;
    }
    if spec.no_new_privs {
        rustix::thread::set_no_new_privs(true).doing(rights)?;
    }
    if !spec.privileged {
        capabilities::bound(spec.capabilities).doing(rights)?;
    }
    if let Some(filter) = filter {
        // The last thing that needs CAP_SYS_ADMIN; what follows is in the profile.
        sys::filter_system_calls(filter).doing(|| "install the system call filter".to_owned())?;
    }
    let groups: Vec<_> = identity.groups.iter().chain(&spec.additional_gids).map(|group| rustix::fs::Gid::from_raw(*group)).collect();
    let (uid, gid) = (rustix::fs::Uid::from_raw(identity.uid), rustix::fs::Gid::from_raw(identity.gid));
    match rustix::thread::set_thread_groups(&groups) {
        // With a single id there is no other group that could be left or entered.
        Err(Errno::PERM | Errno::INVAL) if crate::fs::limited_ids().is_some() && identity.uid == 0 && identity.gid == 0 => {}
        done => done.map_err(|error| not_mapped(identity, error))?,
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|error| not_mapped(identity, error))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|error| not_mapped(identity, error))?;
    if !spec.privileged {
        // For a user other than root nothing was left by the change of users, and this changes nothing.
        capabilities::keep(spec.capabilities).doing(rights)?;
    }
    Ok(())
}

/// Why a process cannot become that user.
fn not_mapped(identity: &Identity, error: Errno) -> Failure {
    let Identity { uid, gid, .. } = identity;
    match crate::fs::limited_ids() {
        Some(_) => Failure::user(format!(
            "user {uid}:{gid} does not exist in the builder's user namespace; give the builder's user subordinate ids in /etc/subuid and /etc/subgid that reach so far"
        )),
        None => Failure::setup(format!("give up rights: {error}")),
    }
}

/// Becomes the command.
pub(super) fn exec(spec: &RunSpec, identity: &Identity) -> Failure {
    let Some(name) = spec.arguments.first().filter(|name| !name.is_empty()) else {
        return Failure::not_found("the command is empty".to_owned());
    };
    let mut env = spec.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    let (Ok(arguments), Ok(env)) = (c_strings(&spec.arguments), c_strings(&env)) else {
        return Failure::not_executable(format!("the arguments or the environment of {name:?} have a NUL in them"));
    };
    let path = spec.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let program = match look_up(name, path) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    let Ok(c_program) = CString::new(program.as_bytes()) else {
        return Failure::not_found(format!("{name:?} has a NUL in it"));
    };
    let error = sys::exec(&c_program, &arguments, &env);
    match error.raw_os_error() {
        Some(libc::ENOENT) => Failure::not_found(format!(
            "{name:?} was found as {program} and cannot be run: the interpreter or loader that it names is not in the image"
        )),
        Some(libc::ENOEXEC) => {
            Failure::not_executable(format!("{program} cannot be executed: it is no program for this machine and has no #! line"))
        }
        _ => Failure::not_executable(format!("{program} cannot be executed: {error}")),
    }
}

/// Finds the program as a shell does.
fn look_up(name: &str, path: &str) -> Result<String, Failure> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Failure::not_executable(format!("{name} cannot be executed: {error}")))
            }
            Err(error) => Err(Failure::not_found(format!("{name} cannot be run: {error}"))),
        };
    }
    let mut denied = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
        match executable(Path::new(&candidate)) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some((candidate, error)),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some((candidate, error)) => Failure::not_executable(format!("{candidate} cannot be executed: {error}")),
        None => Failure::not_found(format!("{name:?} was not found in PATH ({path})")),
    })
}

fn executable(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.is_dir() || found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a program"));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "no execute permission"));
    }
    Ok(rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?)
}

fn c_strings(list: &[String]) -> Result<Vec<CString>, std::ffi::NulError> {
    list.iter().map(|text| CString::new(OsStr::new(text).as_encoded_bytes())).collect()
}
