//! The builder's side: starts the sandbox, relays its output, ends it, cleans up.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::cancel::Cancel;
use super::error::SandboxError;
use super::init::Order;
use super::limits::Group;
use super::output::{Lines, Stream};
use super::report::{self, Failure, Report};
use super::spec::RunSpec;
use super::{Executor, ExitStatus, INIT_ARGUMENT, stubs};

/// At once read from the command, in bytes.
const CHUNK: usize = 64 << 10;

/// Runs commands in Linux namespaces, as an OCI runtime would.
#[derive(Debug, Clone)]
pub struct Namespaces {
    /// A program that calls [`super::init_main`] when its first argument is [`INIT_ARGUMENT`]; this one itself by
    /// default.
    pub init_program: PathBuf,
}

impl Default for Namespaces {
    fn default() -> Self {
        let init_program = PathBuf::from("/proc/self/exe");
        Self { init_program }
    }
}

impl Executor for Namespaces {
    fn run(&self, spec: &RunSpec, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<ExitStatus, SandboxError> {
        self.carry_out(Order::sandboxed(spec.clone(), false), output, cancel)
    }

    fn name(&self) -> &'static str {
        "namespaces"
    }
}

impl Namespaces {
    /// Tries the sandbox on an empty root filesystem in memory, with everything but a command. Returns the notes of
    /// [`ExitStatus`].
    ///
    /// # Errors
    /// Why it does not work here.
    pub fn probe(&self) -> Result<Vec<String>, SandboxError> {
        // Any directory will do; nothing in it changes, as it is mounted over where nobody else sees it.
        let places = ["/tmp", "/var", "/usr", "/etc"].map(Path::new);
        let place = places.into_iter().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let spec = RunSpec::new(place.to_owned(), vec!["probe".to_owned()]);
        let cancel = Cancel::new().map_err(SandboxError::io("make a handle"))?;
        Ok(self.carry_out(Order::sandboxed(spec, true), &mut |_, _| {}, &cancel)?.notes)
    }

    pub(super) fn carry_out(
        &self,
        order: Order,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<ExitStatus, SandboxError> {
        if cancel.is_cancelled() {
            return Err(SandboxError::Cancelled);
        }
        let rehearsal = order.rehearsal;
        let mut step = Step::start(&self.init_program, &order)?;
        let relayed = step.relay(output, cancel);
        step.end();
        let (touched, cleaned) = match stubs::clean_up(&order.spec.rootfs, &step.stubs) {
            Ok(touched) if !rehearsal => (touched, Ok(())),
            Ok(_) => (Vec::new(), Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        relayed?;
        if cancel.is_cancelled() {
            return Err(SandboxError::Cancelled);
        }
        if let Some(failure) = step.failure.take() {
            return Err(failure.into());
        }
        cleaned.map_err(SandboxError::io("remove the step's mount points"))?;
        let (code, signal) = step.exit.ok_or(SandboxError::Died)?;
        let notes = std::mem::take(&mut step.notes);
        Ok(ExitStatus { code, signal, touched, notes })
    }
}

/// A sandbox and what it said.
struct Step {
    /// The first process, gone as soon as it has made process 1.
    starter: Child,
    control: UnixStream,
    /// Process 1, until it was waited for.
    init: Option<Pid>,
    buffer: Vec<u8>,
    stubs: Vec<PathBuf>,
    notes: Vec<String>,
    failure: Option<Failure>,
    exit: Option<(i32, Option<i32>)>,
    killed: bool,
    /// There is no process 1: the starter stays, and ends what the command leaves behind.
    bare: bool,
    _group: Group,
}

impl Step {
    fn start(program: &Path, order: &Order) -> Result<Self, SandboxError> {
        let (mut control, theirs) = UnixStream::pair().map_err(SandboxError::io("make a socket"))?;
        // No environment: what the builder was given is nothing to leave lying in a process's memory.
        let starter = Command::new(program)
            .arg(INIT_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(SandboxError::io("start the sandbox's init"))?;
        let group = Group::enter(&order.spec.group_limits, starter.id());
        let sent = match &group {
            Ok(_) => report::send(&mut control, order).map_err(SandboxError::io("tell the sandbox's init what to run")),
            Err(error) => Err(SandboxError::Setup(format!(
                "the limits asked for cannot be set, the control groups of this place do not allow it: {error}"
            ))),
        };
        let mut step = Self {
            starter,
            control,
            init: None,
            buffer: Vec::new(),
            stubs: Vec::new(),
            notes: Vec::new(),
            failure: None,
            exit: None,
            killed: false,
            bare: order.bare,
            _group: group.unwrap_or_default(),
        };
        if let Err(error) = sent {
            step.end();
            return Err(error);
        }
        Ok(step)
    }

    /// Hands on output until process 1 is about to end.
    fn relay(&mut self, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<(), SandboxError> {
        let mut out = Pipe::new(self.starter.stdout.take(), Stream::Stdout)?;
        let mut err = Pipe::new(self.starter.stderr.take(), Stream::Stderr)?;
        let unblocked = self.control.set_nonblocking(true);
        unblocked.map_err(SandboxError::io("prepare a socket"))?;
        let mut chunk = vec![0; CHUNK];
        let mut listening = true;
        while listening {
            let ready = {
                let control = self.control.as_fd();
                let watched = |source: Option<_>| source.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN));
                let cancelling = Some(cancel.event()).filter(|_| !self.killed);
                let all = [watched(Some(control)), watched(out.fd()), watched(err.fd()), watched(cancelling)];
                let mut asked: Vec<PollFd<'_>> = all.iter().flatten().cloned().collect();
                match poll(&mut asked, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(SandboxError::io("wait for the step")(error.into())),
                }
                let mut answers = asked.iter().map(|asked| !asked.revents().is_empty());
                all.map(|asked| asked.is_some() && answers.next().unwrap_or(false))
            };
            let [control, stdout, stderr, cancelled] = ready;
            if stdout {
                out.read(&mut chunk, output)?;
            }
            if stderr {
                err.read(&mut chunk, output)?;
            }
            if cancelled {
                self.kill();
            }
            if control {
                listening = self.listen(&mut chunk)?;
            }
        }
        // Once process 1 is gone nobody is left to write; what was written is in the pipes.
        self.wait();
        out.drain(&mut chunk, output)?;
        err.drain(&mut chunk, output)
    }

    /// Reads reports; false when there will be no more.
    fn listen(&mut self, chunk: &mut [u8]) -> Result<bool, SandboxError> {
        let read = match self.control.read(chunk) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if is_for_later(&error) => return Ok(true),
            // The sandbox was killed before it had read everything.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(SandboxError::io("hear from the sandbox")(error)),
        };
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        for report in report::split(&mut self.buffer).map_err(SandboxError::io("understand the sandbox"))? {
            match report {
                Report::Init { pid } => {
                    self.init = Pid::from_raw(pid);
                    if self.killed {
                        self.kill();
                    }
                }
                Report::Stubs(paths) => self.stubs = paths.into_iter().map(PathBuf::from).collect(),
                Report::Note(note) => self.notes.push(note),
                Report::Failed(failure) => self.failure = Some(failure),
                Report::Exit { code, signal } => self.exit = Some((code, signal)),
            }
        }
        Ok(true)
    }

    /// Kills process 1, and with it the namespace; if its number is not known yet, as soon as it is: to kill the
    /// process that is to report it could leave us with a process 1 that we know nothing of.
    fn kill(&mut self) {
        self.killed = true;
        if self.bare {
            // It takes this for the builder's end. Were it killed itself, what it has started would live on.
            let _ = self.control.shutdown(std::net::Shutdown::Both);
            return;
        }
        if let Some(init) = self.init {
            // It is not waited for yet, so the number is still its own.
            let _ = kill_process(init, Signal::KILL);
        }
    }

    /// Waits until process 1, and so every process of the step, is gone.
    fn wait(&mut self) {
        let _ = self.starter.wait();
        if let Some(init) = self.init.take() {
            while matches!(waitpid(Some(init), WaitOptions::empty()), Err(Errno::INTR)) {}
        }
    }

    /// Ends what is left, whatever happened.
    fn end(&mut self) {
        self.kill();
        if self.init.is_none() && !self.bare {
            // Either all of it is over, or it never came to reporting a process 1.
            let _ = self.starter.kill();
            let _ = self.starter.wait();
            let last_words = self.control.set_nonblocking(true);
            if last_words.is_ok() {
                let _ = self.listen(&mut vec![0; CHUNK]);
            }
        }
        self.wait();
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// One of the command's two outputs.
struct Pipe<R> {
    source: Option<R>,
    stream: Stream,
    lines: Lines,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(source: Option<R>, stream: Stream) -> Result<Self, SandboxError> {
        if let Some(source) = &source {
            rustix::io::ioctl_fionbio(source, true).map_err(io::Error::from).map_err(SandboxError::io("prepare a pipe"))?;
        }
        let lines = Lines::default();
        Ok(Self { source, stream, lines })
    }

    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// Reads once; false when there is nothing now.
    fn read(&mut self, chunk: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) -> Result<bool, SandboxError> {
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        let stream = self.stream;
        match source.read(chunk) {
            Ok(0) => {
                self.source = None;
                Ok(false)
            }
            Ok(length) => {
                let read = chunk.get(..length).unwrap_or_default();
                self.lines.feed(read, &mut |line| output(stream, line));
                Ok(true)
            }
            Err(error) if is_for_later(&error) => Ok(false),
            Err(error) => Err(SandboxError::io("read the command's output")(error)),
        }
    }

    /// Reads what is there, and hands on the unfinished line.
    fn drain(&mut self, chunk: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), SandboxError> {
        while self.read(chunk, output)? {}
        let stream = self.stream;
        self.lines.finish(&mut |line| output(stream, line));
        Ok(())
    }
}
