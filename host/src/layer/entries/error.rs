use std::io;

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source of the bytes failed, or the compressed stream is damaged or cut off.
    #[error("cannot read the layer")]
    Io(#[from] io::Error),
    /// The tar is not one that all programs read alike.
    #[error("the layer's tar is damaged: {what}")]
    Corrupt {
        /// What is wrong, and with which entry where that is known.
        what: String,
    },
    /// A value is outside of what can be represented, or a limit is reached.
    #[error("the layer exceeds a limit: {what}")]
    Limit {
        /// Which one, and on which entry.
        what: String,
    },
}

impl ReadError {
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    pub(super) fn limit(what: impl Into<String>) -> Self {
        Self::Limit { what: what.into() }
    }

    /// Adds the entry's name to what is said.
    pub(super) fn of(self, name: &[u8]) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let name = std::path::Path::new(std::ffi::OsStr::from_bytes(name));
        let add = |what: String| format!("{what}, at entry {}", crate::fs::Shown(name));
        match self {
            Self::Io(error) => Self::Io(error),
            Self::Corrupt { what } => Self::Corrupt { what: add(what) },
            Self::Limit { what } => Self::Limit { what: add(what) },
        }
    }
}
