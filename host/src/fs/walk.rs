//! Walking and removing trees of any depth with few open directories and no recursion.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::error::At as _;
use super::{DirEntry, Kind, Metadata, Result, Xattrs, open_regular, owner, resolve, xattr};

/// Directories held open on the way down; those above are reopened, and checked, on the way up.
const HELD: usize = 64;

/// The entries of an open directory, sorted by the bytes of their names.
pub(super) fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let kind = match Kind::from_type(entry.file_type()) {
            Some(kind) => kind,
            None => Metadata::from(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?).kind,
        };
        entries.push(DirEntry { name: name.to_owned(), kind });
    }
    entries.sort_unstable();
    Ok(entries)
}

/// A way down through directories that is never recursive and never follows a link.
#[derive(Debug)]
struct Descent {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// Closed while the way goes deep below.
    fd: Option<OwnedFd>,
    id: (u64, u64),
    /// Still to be visited, last first.
    entries: Vec<DirEntry>,
}

impl Level {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = Metadata::from(rustix::fs::fstat(&fd)?);
        let mut entries = list(fd.as_fd())?;
        entries.reverse();
        Ok(Self { fd: Some(fd), id: (stat.dev, stat.ino), entries })
    }
}

impl Descent {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { levels: vec![Level::new(fd)?] })
    }

    fn here(&self) -> io::Result<BorrowedFd<'_>> {
        self.levels.last().and_then(|level| level.fd.as_ref()).map(AsFd::as_fd).ok_or_else(|| Errno::BADF.into())
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = Level::new(rustix::fs::openat(self.here()?, name, flags, Mode::empty())?)?;
        if let Some(above) = self.levels.len().checked_sub(HELD).and_then(|at| self.levels.get_mut(at)) {
            above.fd = None;
        }
        self.levels.push(below);
        Ok(())
    }

    /// Leaves the directory that has been read; what lies above is what it was, or this is an error.
    fn leave(&mut self) -> io::Result<()> {
        let Some(left) = self.levels.pop() else { return Ok(()) };
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        if level.fd.is_none() {
            let below = left.fd.ok_or(Errno::BADF)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&below, "..", flags, Mode::empty())?;
            let stat = Metadata::from(rustix::fs::fstat(&fd)?);
            if (stat.dev, stat.ino) != level.id {
                return Err(io::Error::other("a directory was moved while it was being read"));
            }
            level.fd = Some(fd);
        }
        Ok(())
    }
}

/// A walk through a tree; see [`super::Root::walk`].
#[derive(Debug)]
pub struct Walk {
    descent: Descent,
    path: PathBuf,
    /// The directory that the last entry was, to be entered next.
    pending: Option<OsString>,
}

/// Something that a walk has come to.
pub struct WalkEntry<'a> {
    /// Relative to where the walk began.
    pub path: &'a Path,
    /// What it is; a link is not followed.
    pub metadata: Metadata,
    dir: BorrowedFd<'a>,
    name: OsString,
}

impl Walk {
    pub(super) fn new(fd: OwnedFd) -> Result<Self> {
        let descent = Descent::new(fd).at("read the directory", Path::new(""))?;
        Ok(Self { descent, path: PathBuf::new(), pending: None })
    }

    /// The next entry: a directory comes before what is in it, which comes before its next sibling.
    ///
    /// Not an `Iterator`, because an entry borrows the walk.
    #[expect(clippy::should_implement_trait, reason = "an entry borrows the walk")]
    pub fn next(&mut self) -> Result<Option<WalkEntry<'_>>> {
        if let Some(name) = self.pending.take() {
            self.descent.enter(&name).at("read the directory", &self.path)?;
        } else {
            self.path.pop();
        }
        let entry = loop {
            let Some(level) = self.descent.levels.last_mut() else { return Ok(None) };
            if let Some(entry) = level.entries.pop() {
                break entry;
            }
            self.descent.leave().at("read the directory above", &self.path)?;
            self.path.pop();
        };
        self.path.push(&entry.name);
        let dir = self.descent.here().at("stat", &self.path)?;
        let stat = rustix::fs::statat(dir, &entry.name, AtFlags::SYMLINK_NOFOLLOW).at("stat", &self.path)?;
        let metadata = owner::complete(stat.into(), dir, &entry.name);
        if metadata.kind == Kind::Directory {
            self.pending = Some(entry.name.clone());
        }
        Ok(Some(WalkEntry { path: &self.path, metadata, dir, name: entry.name }))
    }

    /// Does not go into the directory that came last.
    pub fn skip(&mut self) {
        self.pending = None;
    }
}

impl WalkEntry<'_> {
    /// The last part of the path.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens a regular file for reading.
    pub fn open(&self) -> Result<File> {
        open_regular(self.dir, &self.name).at("open", self.path)
    }

    /// The target of a link.
    pub fn read_link(&self) -> Result<OsString> {
        resolve::link_target(self.dir, &self.name).at("read the link", self.path)
    }

    /// Its extended attributes.
    pub fn xattrs(&self) -> Result<Xattrs> {
        xattr::read_at(self.dir, &self.name).at("read the extended attributes of", self.path)
    }
}

/// Removes a name, and everything below it where it is a directory. Links are removed, not followed; mounts are an error.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return Ok(other?),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    clear(rustix::fs::openat(dir, name, flags, Mode::empty())?)?;
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Removes everything in a directory, not the directory.
pub(super) fn clear(fd: OwnedFd) -> io::Result<()> {
    let mut descent = Descent::new(fd)?;
    // The names of the directories entered.
    let mut entered: Vec<OsString> = Vec::new();
    while let Some(level) = descent.levels.last_mut() {
        let Some(entry) = level.entries.pop() else {
            descent.leave()?;
            if let Some(name) = entered.pop() {
                rustix::fs::unlinkat(descent.here()?, &name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        if entry.kind == Kind::Directory {
            match rustix::fs::unlinkat(descent.here()?, &entry.name, AtFlags::REMOVEDIR) {
                Ok(()) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            descent.enter(&entry.name)?;
            entered.push(entry.name);
        } else {
            rustix::fs::unlinkat(descent.here()?, &entry.name, AtFlags::empty())?;
        }
    }
    Ok(())
}
