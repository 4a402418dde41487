//! From a path to a directory and a name, without ever leaving the root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as Linux follows in one path.
pub(super) const MOST_LINKS: usize = 40;
/// Directories kept open for each root. Archives and walks stay in one directory for a while, then go back up.
const KEPT: usize = 8;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Where something is: an open directory and a name in it. The name is empty where the path is a directory that is named by
/// no parent (the root, or a path that ends in `..`).
pub(super) struct Place {
    dir: Arc<OwnedFd>,
    name: OsString,
}

impl Place {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }
}

#[derive(Debug)]
pub(super) struct Resolver {
    /// Whether the kernel has openat2 (Linux 5.6) and lets us call it.
    by_kernel: bool,
    kept: Mutex<VecDeque<(OsString, Arc<OwnedFd>)>>,
}

impl Resolver {
    pub(super) fn for_root(root: BorrowedFd<'_>) -> Self {
        Self { by_kernel: open_by_kernel(root, OsStr::new("."), DIRECTORY).is_ok(), kept: Mutex::default() }
    }

    #[cfg(test)]
    pub(super) fn by_hand(&mut self) {
        self.by_kernel = false;
    }

    pub(super) fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Splits a path at its last name; the directory before it is resolved.
    pub(super) fn place(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Place> {
        let (parent, name) = split(path.as_os_str().as_bytes());
        let dir = self.directory(root, Path::new(OsStr::from_bytes(parent)))?;
        Ok(Place { dir, name: OsStr::from_bytes(name).to_owned() })
    }

    /// A directory opened with `O_PATH`, links followed; from those kept open where it is there.
    pub(super) fn directory(&self, root: BorrowedFd<'_>, path: &Path) -> io::Result<Arc<OwnedFd>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| known == path.as_os_str()) {
            if at > 0 {
                kept.swap(at, at - 1);
            }
            let at = at.saturating_sub(1);
            if let Some((_, fd)) = kept.get(at) {
                return Ok(Arc::clone(fd));
            }
        }
        drop(kept);
        let fd = Arc::new(self.open(root, path, DIRECTORY)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front((path.as_os_str().to_owned(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// Opens what a path leads to, links followed, the last one too unless the flags say otherwise.
    pub(super) fn open(&self, root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let inside = relative(path.as_os_str().as_bytes());
        if self.by_kernel {
            return Ok(open_by_kernel(root, OsStr::from_bytes(inside), flags)?);
        }
        open_by_hand(root, inside, flags)
    }
}

/// Without the slashes at its start; `.` for the root.
fn relative(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    match path.get(start..) {
        Some(rest) if !rest.is_empty() => rest,
        _ => b".",
    }
}

/// The parent and the last name; where the last part is no name, the whole path and an empty name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1);
    let trimmed = path.get(..end).unwrap_or_default();
    let start = trimmed.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    match trimmed.split_at_checked(start) {
        Some((parent, name)) if !matches!(name, b"" | b"." | b"..") => (parent, name),
        _ => (trimmed, b""),
    }
}

fn open_by_kernel(root: BorrowedFd<'_>, path: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Someone renames directories meanwhile, and the kernel cannot tell whether `..` would have left the root.
            Err(Errno::AGAIN) if tries < 1000 => tries += 1,
            other => return other,
        }
    }
}

/// What openat2 does, for kernels and seccomp profiles that do not have it: one name at a time, and `..` goes back to a
/// directory that was passed on the way down, so that a rename meanwhile cannot lead out.
fn open_by_hand(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let mut todo: VecDeque<Vec<u8>> = VecDeque::new();
    put_in_front(&mut todo, path);
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == b".." {
            passed.pop();
            continue;
        }
        let here = passed.last().map_or(root, AsFd::as_fd);
        let name = OsStr::from_bytes(&name);
        let last = todo.is_empty();
        let found = rustix::fs::openat(here, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind == rustix::fs::FileType::Symlink && !(last && flags.contains(OFlags::NOFOLLOW)) {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&found, "", Vec::new())?.into_bytes();
            if target.starts_with(b"/") {
                passed.clear();
            }
            put_in_front(&mut todo, &target);
        } else if last && kind != rustix::fs::FileType::Directory {
            if flags.contains(OFlags::DIRECTORY) {
                return Err(Errno::NOTDIR.into());
            }
            return Ok(rustix::fs::openat(here, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
        } else {
            passed.push(found);
        }
    }
    let here = passed.last().map_or(root, AsFd::as_fd);
    Ok(rustix::fs::openat(here, ".", flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// Puts the names of a path before those still to come.
pub(super) fn put_in_front(todo: &mut VecDeque<Vec<u8>>, path: &[u8]) {
    for name in path.split(|&byte| byte == b'/').rev() {
        if !matches!(name, b"" | b".") {
            todo.push_front(name.to_owned());
        }
    }
}

/// The target of the link that a place names.
pub(super) fn link_target(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<OsString> {
    Ok(OsString::from_vec(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()))
}
