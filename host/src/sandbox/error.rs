//! What can go wrong with a sandbox.

use std::io;

/// Why a command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No such program, or its interpreter is missing.
    #[error("{0}")]
    NotFound(String),
    /// The program is there and cannot be executed.
    #[error("{0}")]
    NotExecutable(String),
    /// The user or group is not known in the image.
    #[error("{0}")]
    User(String),
    /// The sandbox could not be set up.
    #[error("the sandbox could not be set up: {0}")]
    Setup(String),
    /// The builder's side failed.
    #[error("failed to {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The sandbox's own init was killed, by someone or for want of memory.
    #[error("the sandbox ended without a word, killed or out of memory")]
    Died,
    /// [`super::Cancel::cancel`] was called.
    #[error("cancelled")]
    Cancelled,
}

impl SandboxError {
    /// What a shell would give as the exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable(_) => 126,
            _ => 1,
        }
    }

    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
