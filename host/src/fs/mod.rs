//! The one module that touches files by paths that came from outside.
//!
//! A [`Root`] is a directory that no path leaves: neither `..` nor a symbolic link, however they are nested, and not even
//! while someone else renames directories under way. Paths may be absolute or relative; both start at the root. Names are
//! bytes and stay what they are.
//!
//! Nothing here knows of layers or images.

mod entry;
mod error;
mod guard;
mod node;
mod owner;
mod resolve;
mod walk;
mod write;
mod xattr;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};

pub use entry::{Attributes, DirEntry, Kind, Metadata, Time, Xattrs, set_attributes};
pub use error::{Error, Shown};
pub use guard::Guard;
pub use node::{stand_in, stood_for};
pub use owner::{in_user_namespace, is_bookkeeping, limited_ids};
pub use walk::{Walk, WalkEntry};
pub use write::MadeDirs;

use error::At as _;
use resolve::{Place, Resolver};

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A directory that every path resolves beneath.
///
/// Directories that were used last are kept open. A `Root` notices the removals and renames that are made through it; after
/// someone else has changed the tree, [`Root::forget`] drops what it keeps. A stale directory can make an operation fail or
/// act on a directory that has moved, never leave the tree.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    resolver: Resolver,
    /// What is left alone.
    guard: Option<Arc<Guard>>,
}

impl Root {
    /// Opens an existing directory of the host. The path itself is trusted and may contain links.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).at("open the directory", path)?;
        Ok(Self::from_fd(fd, path.to_owned()))
    }

    fn from_fd(fd: OwnedFd, path: PathBuf) -> Self {
        let resolver = Resolver::for_root(fd.as_fd());
        Self { fd, path, resolver, guard: None }
    }

    /// The root with paths in it that nothing is done to, and nothing is read of; what is tried is an error that says so
    /// ([`Error::is_guarded`]). Walks see them.
    #[must_use]
    pub fn guarded(self, guard: Guard) -> Self {
        Self { guard: Some(Arc::new(guard)), ..self }
    }

    /// Where the root lies on the host, for messages and for mounts.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another root over the same directory.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().at("open the directory", &self.path)?;
        Ok(Self { guard: self.guard.clone(), ..Self::from_fd(fd, self.path.clone()) })
    }

    /// A directory below as a root of its own: links in it can then no longer lead to its siblings.
    pub fn sub_root(&self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fd = self.resolver.directory(self.fd(), path).at("open the directory", path)?;
        let fd = fd.as_fd().try_clone_to_owned().at("open the directory", path)?;
        Ok(Self { guard: self.guard.clone(), ..Self::from_fd(fd, self.path.join(path.strip_prefix("/").unwrap_or(path))) })
    }

    /// Drops the directories that are kept open; to be called after others have moved directories.
    pub fn forget(&self) {
        self.resolver.forget();
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The parent directory, every link in its path followed, and the last name, which is not.
    fn place(&self, path: &Path) -> io::Result<Place> {
        let place = self.resolver.place(self.fd(), path)?;
        if let Some(guard) = &self.guard {
            guard.check(place.dir(), place.name())?;
        }
        Ok(place)
    }

    /// What is at a path; a link is not followed. None where nothing is, or where a parent is missing or no directory.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<Metadata>> {
        let path = path.as_ref();
        absent_is_none(self.try_stat(path)).at("stat", path)
    }

    /// Opens what a path leads to, links followed.
    fn open_followed(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let fd = self.resolver.open(self.fd(), path, flags)?;
        if let Some(guard) = &self.guard {
            guard.check(fd.as_fd(), std::ffi::OsStr::new(""))?;
        }
        Ok(fd)
    }

    fn try_stat(&self, path: &Path) -> io::Result<Metadata> {
        let place = self.place(path)?;
        let found = rustix::fs::statat(place.dir(), place.name(), AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)?;
        Ok(owner::complete(found.into(), place.dir(), place.name()))
    }

    /// What is at a path, links followed within the root. None where nothing is, a dangling link included.
    pub fn stat_follow(&self, path: impl AsRef<Path>) -> Result<Option<Metadata>> {
        let path = path.as_ref();
        let found = self.open_followed(path, OFlags::PATH);
        absent_is_none(found.and_then(|fd| Ok(rustix::fs::fstat(fd)?.into()))).at("stat", path)
    }

    /// The target of a symbolic link, as it is written.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let read = || {
            let place = self.place(path)?;
            let target = rustix::fs::readlinkat(place.dir(), place.name(), Vec::new())?;
            Ok::<_, io::Error>(PathBuf::from(OsString::from_vec(target.into_bytes())))
        };
        read().at("read the link", path)
    }

    /// The entries of a directory without `.` and `..`, sorted by the bytes of their names. A link to a directory is followed.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
        let path = path.as_ref();
        let read = || {
            let fd = self.open_followed(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            walk::list(fd.as_fd())
        };
        read().at("read the directory", path)
    }

    /// Opens a regular file for reading; anything else, a link included, is an error, and no device or FIFO is ever opened
    /// for good.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let open = || {
            let place = self.place(path)?;
            open_regular(place.dir(), place.name())
        };
        open().at("open", path)
    }

    /// Something of any kind, a link too, as itself: to ask about it whatever becomes of its name, not to read it.
    pub fn handle(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let open = || {
            let place = self.place(path)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok::<_, io::Error>(File::from(rustix::fs::openat(place.dir(), place.name(), flags, Mode::empty())?))
        };
        open().at("open", path)
    }

    /// Opens a regular file for reading, links followed within the root.
    pub fn open_file_follow(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let open = || {
            // First only its place: opening a device or a FIFO has effects.
            let found = self.open_followed(path, OFlags::PATH)?;
            only_regular(found.as_fd())?;
            regular(self.resolver.open(self.fd(), path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?)
        };
        open().at("open", path)
    }

    /// Walks the tree below a directory, the directory itself left out, parents before children, names sorted by bytes.
    pub fn walk(&self, path: impl AsRef<Path>) -> Result<Walk> {
        let path = path.as_ref();
        let fd = self.resolver.open(self.fd(), path, OFlags::RDONLY | OFlags::DIRECTORY);
        Walk::new(fd.at("read the directory", path)?)
    }
}

/// A file descriptor to hand to the kernel where a root is wanted (mounts, pivot_root); opened with `O_PATH`.
impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn absent_is_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the regular file of that name in a directory; refuses links and everything that is no file.
fn open_regular(dir: BorrowedFd<'_>, name: &std::ffi::OsStr) -> io::Result<File> {
    let stat: Metadata = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into();
    if stat.kind != Kind::File {
        return Err(not_regular(stat.kind));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    regular(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

fn regular(fd: OwnedFd) -> io::Result<File> {
    only_regular(fd.as_fd())?;
    Ok(File::from(fd))
}

fn only_regular(fd: BorrowedFd<'_>) -> io::Result<()> {
    match Metadata::from(rustix::fs::fstat(fd)?).kind {
        Kind::File => Ok(()),
        other => Err(not_regular(other)),
    }
}

fn not_regular(kind: Kind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}, not a regular file"))
}
