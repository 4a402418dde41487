use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What failed, on which path inside the root, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", Shown(path))]
pub struct Error {
    /// The verb, for instance `open`.
    pub action: &'static str,
    /// The path as it was given.
    pub path: PathBuf,
    /// What the kernel says.
    pub source: io::Error,
}

impl Error {
    /// The kind of the kernel's answer.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether nothing was tried because the path is to be left alone.
    pub fn is_guarded(&self) -> bool {
        self.source.get_ref().is_some_and(|inner| inner.is::<super::guard::Guarded>())
    }
}

/// A path for people: quoted, controls and invalid UTF-8 escaped, cut where it is very long.
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 300;
        let text = format!("{:?}", self.0);
        match text.char_indices().nth(LONGEST) {
            None => f.write_str(&text),
            Some((end, _)) => write!(f, "{}…", text.get(..end).unwrap_or_default()),
        }
    }
}

/// Says of an I/O error what it happened to.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error { action, path: path.to_owned(), source: source.into() })
    }
}
