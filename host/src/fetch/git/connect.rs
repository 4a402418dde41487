use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use gix_protocol::transport::Protocol;
use gix_protocol::transport::client::blocking_io::Transport;
use gix_protocol::transport::client::git::ConnectMode;
use gix_protocol::transport::client::git::blocking_io::Connection as Stream;
use layerwright_git_reference::{GitUrl, Scheme};

use super::super::address::{self, Reach};
use super::super::{FetchError, NamedBy};
use super::Work;
use super::http;

/// The port of git's own protocol.
const PORT: u16 = 9418;
/// The most that is kept of what `ssh` says.
const SAID: u64 = 4096;

/// A way to a repository, and what went wrong on it.
pub(super) struct Connection {
    pub(super) transport: Box<dyn Transport + Send>,
    failure: Failure,
    url: String,
    process: Option<Process>,
}

/// The first failure, which the protocol's own error wraps in its words.
pub(super) type Failure = Arc<Mutex<Option<FetchError>>>;

impl Connection {
    /// What an error of the protocol comes from.
    pub(super) fn failed(&self, error: &gix_error::Error) -> FetchError {
        if let Some(failure) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return failure;
        }
        let said = self.process.as_ref().map(Process::said).unwrap_or_default();
        let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source()).map(ToString::to_string);
        let mut parts: Vec<String> = Vec::new();
        for part in chain.filter(|part| !part.is_empty()) {
            if !parts.iter().any(|earlier| earlier.contains(&part)) {
                parts.push(part);
            }
        }
        parts.extend(Some(said).filter(|said| !said.is_empty()));
        self.says(parts.join(": "))
    }

    /// A failure of the repository.
    pub(super) fn says(&self, why: impl Into<String>) -> FetchError {
        FetchError::Git { url: self.url.clone(), why: why.into() }
    }
}

/// Opens the way to a repository.
pub(super) fn connect(work: &Arc<Work>, url: &GitUrl, by: NamedBy) -> Result<Connection, FetchError> {
    let failure = Failure::default();
    let (transport, process): (Box<dyn Transport + Send>, _) = match url.scheme {
        Scheme::Http | Scheme::Https => (http::transport(work, url, by, &failure)?, None),
        Scheme::Git => (daemon(work, url, by, &failure)?, None),
        Scheme::Ssh => {
            let (transport, process) = ssh(work, url, by, &failure)?;
            (transport, Some(process))
        }
    };
    Ok(Connection { transport, failure, url: url.shown(), process })
}

fn reach(work: &Work, host: &str, port: u16, by: NamedBy) -> Reach {
    let listed = address::is_listed(&work.web.settings.private_hosts, host, port);
    if listed || by == NamedBy::Operator { Reach::Anywhere } else { Reach::Network }
}

fn host_and_port(url: &GitUrl) -> Result<(&str, Option<u16>), FetchError> {
    let refused = || FetchError::Url { url: url.shown(), why: "its port is none".to_owned() };
    match url.host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && !url.short => Ok((host, Some(port.parse().map_err(|_| refused())?))),
        _ => Ok((&url.host, None)),
    }
}

fn daemon(work: &Arc<Work>, url: &GitUrl, by: NamedBy, failure: &Failure) -> Result<Box<dyn Transport + Send>, FetchError> {
    let (host, port) = host_and_port(url)?;
    let number = port.unwrap_or(PORT);
    let addresses = work.runtime.block_on(address::addresses(host, number, reach(work, host, number, by)))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, work.web.settings.connect) {
            Ok(stream) => {
                let prepare = |stream: &TcpStream| {
                    stream.set_read_timeout(Some(work.idle()))?;
                    stream.set_write_timeout(Some(work.idle()))?;
                    stream.try_clone()
                };
                let read = prepare(&stream).map_err(|error| unreachable(host, &error))?;
                let read = Limited { work: Arc::clone(work), inner: read, url: url.shown(), failure: Arc::clone(failure) };
                let path = url.path.clone();
                return Ok(Box::new(Stream::new(read, stream, Protocol::V2, path, Some((host, port)), ConnectMode::Daemon, false)));
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(host, &last))
}

fn unreachable(host: &str, error: &io::Error) -> FetchError {
    FetchError::Unreachable { host: host.to_owned(), why: error.to_string() }
}

/// Through the `ssh` program, with the operator's own configuration, known hosts and agent.
fn ssh(work: &Arc<Work>, url: &GitUrl, by: NamedBy, failure: &Failure) -> Result<(Box<dyn Transport + Send>, Process), FetchError> {
    let settings = &work.web.settings;
    let (host, port) = host_and_port(url)?;
    let reach = reach(work, host, port.unwrap_or(22), by);
    address::check_spelling(host, reach)?;
    if reach != Reach::Anywhere {
        // A name that only ssh's own configuration knows is the operator's.
        match work.runtime.block_on(address::addresses(host, port.unwrap_or(22), reach)) {
            Ok(_) | Err(FetchError::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if by == NamedBy::Dockerfile && !settings.ssh_for_dockerfiles {
        return Err(FetchError::Ssh { url: url.shown() });
    }
    let path = url.path.strip_prefix('/').filter(|path| path.starts_with('~')).unwrap_or(&url.path);
    let mut command = Command::new(&settings.ssh);
    command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15", "-o", "SendEnv=GIT_PROTOCOL", "-T"]);
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    let user = url.user.as_deref().and_then(|user| user.split(':').next()).map(|user| format!("{user}@")).unwrap_or_default();
    command.arg("--").arg(format!("{user}{host}")).arg(format!("git-upload-pack {}", quoted(path)));
    command.env("GIT_PROTOCOL", "version=2");
    if let Some(agent) = &settings.ssh_agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
    for name in &settings.secret_variables {
        command.env_remove(name);
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child =
        child.map_err(|error| FetchError::Git { url: url.shown(), why: format!("cannot start {}: {error}", settings.ssh.display()) })?;
    let (read, write, stderr) = (child.stdout.take(), child.stdin.take(), child.stderr.take());
    let process = Process::new(child, stderr);
    let (Some(read), Some(write)) = (read, write) else {
        return Err(FetchError::Git { url: url.shown(), why: "ssh has no pipes".to_owned() });
    };
    let read = Limited { work: Arc::clone(work), inner: read, url: url.shown(), failure: Arc::clone(failure) };
    let path = path.to_owned();
    let stream = Stream::new(read, write, Protocol::V2, path, None::<(String, Option<u16>)>, ConnectMode::Process, false);
    Ok((Box::new(stream), process))
}

/// One word for the shell at the other end.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"))
}

/// A running `ssh`, which ends with the value.
struct Process {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    fn new(child: Child, stderr: Option<ChildStderr>) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut stderr) = stderr {
            let into = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut first = Vec::new();
                let _ = (&mut stderr).take(SAID).read_to_end(&mut first);
                *into.lock().unwrap_or_else(PoisonError::into_inner) = first;
                let _ = io::copy(&mut stderr, &mut io::sink());
            });
        }
        Self { child, said }
    }

    fn said(&self) -> String {
        // It says why after it has hung up.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).trim().replace('\n', "; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts what comes.
struct Limited<R> {
    work: Arc<Work>,
    inner: R,
    url: String,
    failure: Failure,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.work.take(&self.url, count as u64).map_err(|error| {
            let text = error.to_string();
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            io::Error::other(text)
        })?;
        Ok(count)
    }
}

impl<R: Write> Write for Limited<R> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
