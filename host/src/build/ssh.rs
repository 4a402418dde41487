//! SSH agents for processes: the operator's own agent, or keys of the operator's.
//!
//! A process sees a socket that is ours. Of what it asks there, only the list of keys and signatures are passed on: nothing in a
//! build adds keys to the operator's agent, removes them or locks it.

mod keys;

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::error::Failure;
use crate::rootfs::store::{Store, TemporaryDirectory};

pub use keys::{KeyError, Keys};

/// An agent that processes may be given.
#[derive(Clone, Debug)]
pub struct SshSource {
    /// As RUN --mount=type=ssh,id= names it.
    pub id: String,
    /// Who answers.
    pub agent: Agent,
}

/// Who answers.
#[derive(Clone, Debug)]
pub enum Agent {
    /// An agent that listens on a socket.
    Socket(PathBuf),
    /// Whatever listens on a socket; all that is said is passed on.
    Raw(PathBuf),
    /// Keys, used by this process itself.
    Keys(Arc<Keys>),
}

/// The largest message of the protocol, in bytes.
const LARGEST_MESSAGE: usize = 256 << 10;

const FAILURE: &[u8] = &[5];
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// A socket on which an agent answers, for as long as the value lives.
pub struct Forwarded {
    /// The socket.
    pub path: PathBuf,
    listener: AbortHandle,
    _directory: TemporaryDirectory,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Forwarded {
    /// Listens for an agent on a socket for programs of this user alone. Has to be called in the runtime.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn for_this_user(agent: &Agent, store: &Store) -> Result<Self, Failure> {
        Self::new(agent, (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()), 0o600, store)
    }

    /// Listens for an agent on a socket of that owner and mode. Has to be called in the runtime.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn new(agent: &Agent, owner: (u32, u32), mode: u32, store: &Store) -> Result<Self, Failure> {
        let failed = |error| Failure::because("cannot make the socket of an SSH agent", error);
        let directory = store.temporary_directory()?;
        // The path of a socket is short; that of the store need not be.
        let handle = std::fs::File::open(directory.path()).map_err(failed)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/agent", handle.as_raw_fd()));
        let listener = std::os::unix::net::UnixListener::bind(&short).map_err(failed)?;
        let path = directory.path().join("agent");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let listener = Handle::current().spawn(listen(listener, agent.clone())).abort_handle();
        Ok(Self { path, listener, _directory: directory })
    }
}

/// Answers whoever connects. The connections end with the listener.
async fn listen(listener: UnixListener, agent: Agent) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    connections.spawn(answer(connection, agent.clone()));
                }
                // Out of descriptors: they come back when others are done.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection. What goes wrong ends it, and the client says what it makes of that.
async fn answer(mut connection: UnixStream, agent: Agent) {
    let _ = match &agent {
        Agent::Raw(path) => pass_on(&mut connection, path).await,
        Agent::Socket(path) => match UnixStream::connect(path).await {
            Ok(mut upstream) => exchange(&mut connection, Answerer::Upstream(&mut upstream)).await,
            Err(error) => Err(error),
        },
        Agent::Keys(keys) => exchange(&mut connection, Answerer::Keys(keys)).await,
    };
}

async fn pass_on(connection: &mut UnixStream, path: &Path) -> std::io::Result<()> {
    let mut upstream = UnixStream::connect(path).await?;
    tokio::io::copy_bidirectional(connection, &mut upstream).await.map(drop)
}

enum Answerer<'a> {
    Upstream(&'a mut UnixStream),
    Keys(&'a Keys),
}

async fn exchange(connection: &mut UnixStream, mut answerer: Answerer<'_>) -> std::io::Result<()> {
    while let Some(request) = receive(connection).await? {
        let reply = match (request.first(), &mut answerer) {
            (Some(&REQUEST_IDENTITIES | &SIGN_REQUEST), Answerer::Upstream(upstream)) => {
                send(upstream, &request).await?;
                receive(upstream).await?.unwrap_or_else(|| FAILURE.to_vec())
            }
            (Some(&REQUEST_IDENTITIES), Answerer::Keys(keys)) => keys.list(),
            (Some(&SIGN_REQUEST), Answerer::Keys(keys)) => {
                keys.sign(request.get(1..).unwrap_or_default()).unwrap_or_else(|| FAILURE.to_vec())
            }
            _ => FAILURE.to_vec(),
        };
        send(connection, &reply).await?;
    }
    Ok(())
}

/// One message; none where the other side has closed.
async fn receive(from: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > LARGEST_MESSAGE {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn send(to: &mut UnixStream, message: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(message).await
}
