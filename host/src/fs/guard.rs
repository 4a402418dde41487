//! Paths of a root that are somebody else's: mounts, and the builder's own files where it lives in the tree that it builds.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Kind, Metadata, walk};

/// Absolute paths without links that are left alone, with all that is below them.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    paths: Vec<PathBuf>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is mounted, or belongs to the builder: it is no part of the image's files here")]
pub(super) struct Guarded(PathBuf);

impl Guard {
    /// Leaves these paths alone. They may contain links.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut paths: Vec<PathBuf> = paths.into_iter().map(|path| std::fs::canonicalize(&path).unwrap_or(path)).collect();
        paths.retain(|path| path.is_absolute() && path.parent().is_some());
        paths.sort_unstable();
        paths.dedup();
        Self { paths }
    }

    /// The paths, sorted.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Whether a path is one of them or below one.
    pub fn covers(&self, path: &Path) -> bool {
        self.paths.iter().any(|guarded| path.starts_with(guarded))
    }

    /// Whether one of them is below a path.
    pub fn has_below(&self, path: &Path) -> bool {
        self.paths.iter().any(|guarded| guarded.starts_with(path) && guarded != path)
    }

    /// The path of an open directory, as the kernel knows it.
    pub(super) fn path_of(dir: BorrowedFd<'_>) -> io::Result<PathBuf> {
        let found = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())?.into_bytes();
        Ok(PathBuf::from(OsStr::from_bytes(&found)))
    }

    /// An error for a name in a directory that is to be left alone.
    pub(super) fn check(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let path = Self::path_of(dir)?.join(name);
        if self.covers(&path) { Err(io::Error::other(Guarded(path))) } else { Ok(()) }
    }

    /// As [`Guard::check`], also for a name that has something below it that is to be left alone.
    pub(super) fn check_below(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let path = Self::path_of(dir)?.join(name);
        if self.covers(&path) || self.has_below(&path) { Err(io::Error::other(Guarded(path))) } else { Ok(()) }
    }

    /// Removes a name and all that is below it but for what is guarded, which keeps the directories that it is in. An error
    /// where something is left.
    pub(super) fn remove(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let path = Self::path_of(dir)?.join(name);
        if self.covers(&path) || self.remove_around(dir, name, &path)? {
            return Err(io::Error::other(Guarded(path)));
        }
        Ok(())
    }

    /// As [`Guard::remove`], of everything in a directory.
    pub(super) fn clear(&self, fd: OwnedFd) -> io::Result<()> {
        let path = Self::path_of(fd.as_fd())?;
        for entry in walk::list(fd.as_fd())? {
            self.remove_around(fd.as_fd(), &entry.name, &path.join(&entry.name))?;
        }
        Ok(())
    }

    /// Whether something is left. Goes only as deep as guarded paths are.
    fn remove_around(&self, dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> io::Result<bool> {
        if self.covers(path) {
            return Ok(true);
        }
        let is_directory = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            found => Metadata::from(found?).kind == Kind::Directory,
        };
        if !is_directory || !self.has_below(path) {
            return walk::remove(dir, name).map(|()| false);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let mut left = false;
        for entry in walk::list(fd.as_fd())? {
            left |= self.remove_around(fd.as_fd(), &entry.name, &path.join(&entry.name))?;
        }
        if !left {
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Root;

    #[test]
    fn what_is_guarded_survives_by_whatever_way_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        for name in ["own/deep", "other/deep", "plain"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        std::fs::write(top.join("own/deep/file"), "mine").unwrap();
        std::os::unix::fs::symlink("own", top.join("way")).unwrap();
        let guard = Guard::new([top.join("own/deep")]);
        let root = Root::open(top).unwrap().guarded(guard);
        for path in ["own/deep", "own/deep/file", "way/deep/file", "own/../own/deep/new"] {
            assert!(root.create_file(path, 0o644).unwrap_err().is_guarded(), "{path}");
            assert!(root.set_mode(path, 0o777).unwrap_err().is_guarded(), "{path}");
            assert!(root.remove(path).unwrap_err().is_guarded(), "{path}");
            assert!(root.open_file(path).unwrap_err().is_guarded(), "{path}");
        }
        assert!(root.remove("own").unwrap_err().is_guarded(), "the parent stays");
        assert!(root.rename("own", "elsewhere").unwrap_err().is_guarded());
        root.create_file("own/beside", 0o644).unwrap();
        root.clear("").unwrap();
        assert_eq!(std::fs::read(top.join("own/deep/file")).unwrap(), b"mine");
        let left: Vec<_> = std::fs::read_dir(top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["own"], "everything else is gone");
        assert_eq!(std::fs::read_dir(top.join("own")).unwrap().count(), 1);
    }
}
