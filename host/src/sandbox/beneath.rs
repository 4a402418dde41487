//! Finding and making mount points below a root that nothing leaves.
//!
//! The walk goes one component at a time and reads symbolic links itself, so that an absolute link and any number of
//! `..` stay below the root, whatever the image holds. It works on every kernel, before the root is entered.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, fstat, mkdirat, mknodat, openat, readlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, Result};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    File,
    Directory,
}

/// A root directory, by handle.
pub(super) struct Tree {
    root: OwnedFd,
    device: u64,
    /// What was made in the root filesystem itself, relative to the root.
    stubs: Vec<PathBuf>,
}

/// A place below the root.
pub(super) struct Place {
    handle: OwnedFd,
}

impl Place {
    /// A path that leads the kernel to exactly this place.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }

    pub(super) fn is_directory(&self) -> bool {
        fstat(&self.handle).is_ok_and(|stat| is_directory(&stat))
    }
}

impl From<OwnedFd> for Place {
    fn from(handle: OwnedFd) -> Self {
        Self { handle }
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, flags, Mode::empty())?;
        let device = fstat(&root)?.st_dev;
        let stubs = Vec::new();
        Ok(Self { root, device, stubs })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A path that leads the kernel to the root.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.root.as_raw_fd())
    }

    /// What was made so far, outer ones first.
    pub(super) fn stubs(&self) -> &[PathBuf] {
        &self.stubs
    }

    /// The place that `path` leads to, with what is mounted there.
    pub(super) fn find(&self, path: &str) -> Result<Option<Place>> {
        match walk(self.root(), path.as_ref(), &mut |_, _, _| Err(Errno::NOENT)) {
            Ok(handle) => Ok(Some(Place { handle })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The place that `path` leads to; where there is nothing, it is made, and so are the directories above it.
    pub(super) fn make(&mut self, path: &str, missing: Missing) -> Result<Place> {
        let Self { root, device, stubs } = self;
        let handle = walk(root.as_fd(), path.as_ref(), &mut |parent, name, at| {
            let before = fstat(parent)?;
            match (at.last, missing) {
                (true, Missing::File) => {
                    mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
                }
                _ => mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
            }
            if before.st_dev == *device {
                stubs.push(at.path.join(name));
                restore_times(parent, &before)?;
            }
            Ok(())
        })?;
        Ok(Place { handle })
    }
}

/// Where a walk meets nothing.
struct Gap<'a> {
    /// The directory, relative to the root.
    path: &'a Path,
    /// Whether nothing comes after it.
    last: bool,
}

/// Follows `path` below `root`; `fill` makes what is missing, or says no.
fn walk(root: BorrowedFd<'_>, path: &OsStr, fill: &mut dyn FnMut(BorrowedFd<'_>, &OsStr, &Gap<'_>) -> Result<()>) -> Result<OwnedFd> {
    let mut pending = components(path);
    // From the root to where the walk is.
    let mut above: Vec<(OsString, OwnedFd)> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            above.pop();
            continue;
        }
        let here = above.last().map_or(root, |(_, handle)| handle.as_fd());
        let found = match openat(here, &name, HANDLE, Mode::empty()) {
            Err(Errno::NOENT) => {
                let path: PathBuf = above.iter().map(|(name, _)| name).collect();
                let last = pending.is_empty();
                fill(here, &name, &Gap { path: &path, last })?;
                openat(here, &name, HANDLE, Mode::empty())?
            }
            found => found?,
        };
        if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Symlink {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP);
            }
            let target = OsString::from_vec(readlinkat(&found, "", Vec::new())?.into_bytes());
            if target.as_bytes().starts_with(b"/") {
                above.clear();
            }
            pending.extend(components(&target));
        } else {
            above.push((name, found));
        }
    }
    match above.pop() {
        Some((_, handle)) => Ok(handle),
        None => openat(root, ".", HANDLE, Mode::empty()),
    }
}

/// The names in `path`, last one first.
fn components(path: &OsStr) -> Vec<OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/');
    let names = names.filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(|name| OsStr::from_bytes(name).to_owned()).collect()
}

/// Removes `stub`, a path without links relative to `root`, if it is still as it was made, and gives the directory
/// that held it the times it had.
pub(super) fn remove_stub(root: BorrowedFd<'_>, stub: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (stub.parent(), stub.file_name()) else {
        return Ok(());
    };
    let here = directory(root, parent)?;
    let before = fstat(&here)?;
    let found = rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_directory(&found) {
        unlinkat(&here, name, AtFlags::REMOVEDIR)?;
    } else if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_size == 0 {
        unlinkat(&here, name, AtFlags::empty())?;
    } else {
        return Ok(());
    }
    restore_times(here.as_fd(), &before)
}

/// By a path without links.
fn directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let flags = HANDLE | OFlags::DIRECTORY;
    let mut here = openat(root, ".", flags, Mode::empty())?;
    for component in path {
        here = openat(&here, component, flags, Mode::empty())?;
    }
    Ok(here)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn restore_times(directory: BorrowedFd<'_>, before: &Stat) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: before.st_atime, tv_nsec: before.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ },
    };
    utimensat(directory, ".", &times, AtFlags::empty())
}
