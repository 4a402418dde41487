//! What a directory tree was like at a moment, to tell later what changed.
//!
//! No content is read: the kernel changes a file's ctime with every change of the file, and nothing that runs in the tree can set
//! it. The table holds an entry of 80 bytes for each name, and the name.

mod changes;
mod links;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{io, thread};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

pub(in crate::rootfs) use changes::same_content;

use super::tree::TreeError;
use crate::fs::{self, Shown};
use crate::layer::CreateError;
use crate::layer::entries::is_carried;

/// The longest time between two readings of the clock that ctimes come from: a tick of the slowest kernel.
const TICK: Duration = Duration::from_millis(11);

/// Why a tree cannot be scanned, or its changes not be written.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A directory or a file in it.
    #[error("cannot look at {}", Shown(path))]
    Look {
        /// Relative to the tree.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A step has made a file that would remove another one when the layer is unpacked.
    #[error("{} has a name that means a deletion in a layer; the step must not leave it", Shown(path))]
    ReservedName {
        /// The file.
        path: PathBuf,
    },
    /// A file that changed.
    #[error(transparent)]
    Fs(#[from] fs::Error),
    /// What the tree was made from.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The layer of the changes.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// A tree at a moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The root is the first.
    directories: Vec<Directory>,
    /// The latest change of any file.
    latest: i64,
}

#[derive(Debug, Default)]
struct Directory {
    /// Of its extended attributes.
    xattrs: u64,
    /// The names of the entries, one after the other.
    names: Box<[u8]>,
    /// Sorted by the bytes of their names.
    entries: Box<[Entry]>,
}

/// What is remembered of a name. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    inode: u64,
    size: u64,
    device: u64,
    born: i64,
    ctime: i64,
    mtime: i64,
    uid: u32,
    gid: u32,
    /// With the kind.
    mode: u32,
    /// More names than one.
    linked: bool,
    /// Where its name ends.
    name_end: u32,
    /// Of a directory: its place in the snapshot.
    directory: u32,
}

/// Says that an entry is no directory.
const NONE: u32 = u32::MAX;

impl Entry {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether it is the same inode, and not another one that has got its number.
    fn is_same_inode(&self, other: &Self) -> bool {
        (self.inode, self.device, self.born) == (other.inode, other.device, other.born)
    }

    /// Whether everything that can be changed without a trace but for the ctime is as it was.
    fn looks_like(&self, other: &Self) -> bool {
        (self.mode, self.uid, self.gid, self.size, self.mtime) == (other.mode, other.uid, other.gid, other.size, other.mtime)
    }

    fn is_unchanged_since(&self, before: &Self) -> bool {
        self.is_same_inode(before) && self.looks_like(before) && self.ctime == before.ctime
    }
}

impl Directory {
    fn entries(&self) -> impl Iterator<Item = (&OsStr, &Entry)> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let end = entry.name_end as usize;
            let name = self.names.get(start..end).unwrap_or_default();
            start = end;
            (OsStr::from_bytes(name), entry)
        })
    }
}

impl Snapshot {
    /// Looks at every name below a directory, on several threads. `skip` are paths relative to it that are no part of the tree.
    pub fn take(root: impl AsFd, skip: &BTreeSet<PathBuf>) -> Result<Self, ScanError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::openat(root.as_fd(), ".", flags, Mode::empty());
        let top = top.map_err(|error| ScanError::Look { path: PathBuf::new(), source: error.into() })?;
        let first = Todo { parent: None, place: 0, path: PathBuf::new() };
        let state = State { todo: vec![first], busy: 0, next: 1, failed: None };
        let scan = Scan { state: Mutex::new(state), changed: Condvar::new(), top, skip };
        let threads = thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
        let mut parts = Vec::new();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| scan.work())).collect();
            parts.extend(workers.into_iter().filter_map(|worker| worker.join().ok()));
        });
        let state = scan.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.failed {
            return Err(error);
        }
        let mut directories: Vec<Directory> = Vec::new();
        directories.resize_with(state.next as usize, Directory::default);
        let mut latest = 0;
        for (place, directory) in parts.into_iter().flatten() {
            latest = directory.entries.iter().map(|entry| entry.ctime).fold(latest, i64::max);
            if let Some(slot) = directories.get_mut(place as usize) {
                *slot = directory;
            }
        }
        Ok(Self { directories, latest })
    }

    /// Waits until whatever is written from now on has another ctime than everything that was seen.
    pub fn settle(&self) {
        let Ok(latest) = u64::try_from(self.latest).map(Duration::from_nanos) else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // A file from the future is not worth waiting for.
        if let Some(left) = (latest + TICK).checked_sub(now).filter(|left| *left <= TICK) {
            thread::sleep(left);
        }
    }

    /// How many names it holds.
    pub fn len(&self) -> usize {
        self.directories.iter().map(|directory| directory.entries.len()).sum()
    }

    /// Whether the tree is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes of memory, in bytes.
    pub fn memory(&self) -> usize {
        let of = |directory: &Directory| size_of_val(&*directory.entries) + directory.names.len();
        self.directories.iter().map(of).sum::<usize>() + self.directories.capacity() * size_of::<Directory>()
    }

    fn directory(&self, entry: &Entry) -> Option<&Directory> {
        self.directories.get(entry.directory as usize)
    }
}

struct Scan<'a> {
    state: Mutex<State>,
    changed: Condvar,
    top: OwnedFd,
    skip: &'a BTreeSet<PathBuf>,
}

struct State {
    /// Last in, first out: few directories are open at a time.
    todo: Vec<Todo>,
    busy: usize,
    next: u32,
    failed: Option<ScanError>,
}

/// A directory that is still to be read.
struct Todo {
    /// None for the root.
    parent: Option<Arc<OwnedFd>>,
    place: u32,
    path: PathBuf,
}

/// A directory, the places and paths of the directories in it, and itself, open.
type ReadDirectory = (Directory, Vec<(usize, PathBuf)>, OwnedFd);

impl Scan<'_> {
    fn work(&self) -> Vec<(u32, Directory)> {
        let mut done = Vec::new();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.failed.is_some() {
                break;
            }
            let Some(todo) = state.todo.pop() else {
                if state.busy == 0 {
                    break;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy += 1;
            drop(state);
            let read = self.read(&todo);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.busy -= 1;
            match read {
                Ok(Some((mut directory, below, fd))) => {
                    let fd = Arc::new(fd);
                    for (at, path) in below.into_iter().rev() {
                        let place = state.next;
                        state.next += 1;
                        if let Some(entry) = directory.entries.get_mut(at) {
                            entry.directory = place;
                        }
                        state.todo.push(Todo { parent: Some(Arc::clone(&fd)), place, path });
                    }
                    done.push((todo.place, directory));
                }
                Ok(None) => {}
                Err(error) => state.failed = Some(ScanError::Look { path: todo.path, source: error }),
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
        done
    }

    /// None where it is gone.
    fn read(&self, todo: &Todo) -> io::Result<Option<ReadDirectory>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match (&todo.parent, todo.path.file_name()) {
            (Some(parent), Some(name)) => rustix::fs::openat(parent, name, flags, Mode::empty()),
            _ => rustix::fs::openat(&self.top, ".", flags, Mode::empty()),
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.into());
            }
        }
        names.sort_unstable();
        let mut entries = Vec::with_capacity(names.len());
        let mut kept: Vec<u8> = Vec::with_capacity(names.iter().map(|name| name.len()).sum());
        let mut below = Vec::new();
        for name in names {
            let name = OsStr::from_bytes(&name);
            let path = (!self.skip.is_empty()).then(|| todo.path.join(name));
            if path.as_ref().is_some_and(|path| self.skip.contains(path)) {
                continue;
            }
            let mut entry = match look(fd.as_fd(), name) {
                Ok(entry) => entry,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            kept.extend_from_slice(name.as_bytes());
            entry.name_end = u32::try_from(kept.len()).unwrap_or(u32::MAX);
            if entry.kind() == FileType::Directory {
                below.push((entries.len(), path.unwrap_or_else(|| todo.path.join(name))));
            }
            entries.push(entry);
        }
        let directory = Directory { xattrs: xattrs(fd.as_fd())?, names: kept.into(), entries: entries.into() };
        Ok(Some((directory, below, fd)))
    }
}

fn look(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Entry, Errno> {
    let found = match rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
        Ok(found) => found,
        // Kernels before 4.11, and system call filters that are as old.
        Err(Errno::NOSYS | Errno::PERM) => return look_without_birth(directory, name),
        Err(error) => return Err(error),
    };
    let time = |time: rustix::fs::StatxTimestamp| nanoseconds(time.tv_sec, time.tv_nsec.into());
    let birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    Ok(Entry {
        inode: found.stx_ino,
        size: found.stx_size,
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        born: if birth { time(found.stx_btime) } else { 0 },
        ctime: time(found.stx_ctime),
        mtime: time(found.stx_mtime),
        uid: found.stx_uid,
        gid: found.stx_gid,
        mode: found.stx_mode.into(),
        linked: found.stx_nlink > 1,
        name_end: 0,
        directory: NONE,
    }
    .without_what_says_nothing())
}

#[expect(clippy::useless_conversion, reason = "the widths of these fields differ between architectures")]
fn look_without_birth(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Entry, Errno> {
    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Entry {
        inode: found.st_ino.into(),
        size: u64::try_from(found.st_size).unwrap_or(0),
        device: found.st_dev.into(),
        born: 0,
        ctime: nanoseconds(found.st_ctime.into(), i64::try_from(found.st_ctime_nsec).unwrap_or(0)),
        mtime: nanoseconds(found.st_mtime.into(), i64::try_from(found.st_mtime_nsec).unwrap_or(0)),
        uid: found.st_uid,
        gid: found.st_gid,
        mode: found.st_mode,
        linked: u64::from(found.st_nlink) > 1,
        name_end: 0,
        directory: NONE,
    }
    .without_what_says_nothing())
}

impl Entry {
    /// The size and link count of a directory belong to its filesystem.
    fn without_what_says_nothing(mut self) -> Self {
        if self.kind() == FileType::Directory {
            (self.size, self.linked) = (0, false);
        }
        self
    }
}

/// Wraps around in years that nobody will see; it is only ever compared.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// A number for the extended attributes that belong into a layer; 0 where there are none.
fn xattrs(directory: BorrowedFd<'_>) -> io::Result<u64> {
    let mut small = [0; 256];
    let mut large;
    let list = match rustix::fs::flistxattr(directory, &mut small) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(0),
        Ok(length) => small.get(..length),
        Err(Errno::RANGE) => {
            large = vec![0; 65_536];
            let length = rustix::fs::flistxattr(directory, &mut large)?;
            large.get(..length)
        }
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<&[u8]> =
        list.unwrap_or_default().split(|&byte| byte == 0).filter(|name| is_carried(OsStr::from_bytes(name))).collect();
    if names.is_empty() {
        return Ok(0);
    }
    names.sort_unstable();
    let mut hasher = DefaultHasher::new();
    for name in names {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::fgetxattr(directory, OsStr::from_bytes(name), &mut value)?;
        (name, value.get(..length)).hash(&mut hasher);
    }
    Ok(hasher.finish() | 1)
}
