//! What builder and init say to each other: the spec one way, reports the other, each a length and JSON.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::error::SandboxError;

/// No message is longer; specs carry secrets and standard input.
const LIMIT: usize = 64 << 20;

/// From the sandbox to the builder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Process 1, by its number in the builder's pid namespace.
    Init { pid: i32 },
    /// Mount points made, as resolved paths relative to the root, outer ones first.
    Stubs(Vec<String>),
    /// The sandbox is weaker here than it should be.
    Note(String),
    /// Nothing more will happen.
    Failed(Failure),
    /// The command ended.
    Exit { code: i32, signal: Option<i32> },
}

/// Why the sandbox did not run the command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Kind {
    NotFound,
    NotExecutable,
    User,
    Setup,
}

impl Failure {
    pub(super) fn not_found(message: String) -> Self {
        let kind = Kind::NotFound;
        Self { kind, message }
    }

    pub(super) fn not_executable(message: String) -> Self {
        let kind = Kind::NotExecutable;
        Self { kind, message }
    }

    pub(super) fn user(message: String) -> Self {
        let kind = Kind::User;
        Self { kind, message }
    }

    pub(super) fn setup(message: impl Into<String>) -> Self {
        let (kind, message) = (Kind::Setup, message.into());
        Self { kind, message }
    }

    /// The same failure, as the reason that `doing`, which follows "failed to", failed.
    pub(super) fn about(self, doing: &str) -> Self {
        let message = format!("failed to {doing}: {}", self.message);
        Self { message, ..self }
    }
}

impl From<Failure> for SandboxError {
    fn from(Failure { kind, message }: Failure) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound(message),
            Kind::NotExecutable => Self::NotExecutable(message),
            Kind::User => Self::User(message),
            Kind::Setup => Self::Setup(message),
        }
    }
}

/// Gives an error the words for what was being done.
pub(super) trait Context<T> {
    /// `doing` follows "failed to".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::setup(format!("failed to {}: {}", doing(), error.into())))
    }
}

/// Writes one message.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > LIMIT {
        let text = "the step's secrets and standard input are larger than 64 MiB together";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    bytes.splice(..4, u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    to.write_all(&bytes)
}

/// Reads one message.
pub(super) fn receive<T: for<'a> Deserialize<'a>>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    let mut bytes = Vec::new();
    from.take(length.min(LIMIT) as u64).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Takes the complete messages off the front of `buffer`.
pub(super) fn split(buffer: &mut Vec<u8>) -> io::Result<Vec<Report>> {
    let mut reports = Vec::new();
    let mut rest = buffer.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some((message, tail)) = tail.split_at_checked(length) else {
            break;
        };
        reports.push(serde_json::from_slice(message)?);
        rest = tail;
    }
    let used = buffer.len() - rest.len();
    buffer.drain(..used);
    Ok(reports)
}
