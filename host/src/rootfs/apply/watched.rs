//! A tree whose looker takes note of what tells a change.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::fs::{DirEntry, Time, Xattrs};
use crate::oci::{Digest, Hasher};
use crate::rootfs::tree::{Look, Node, ReadTree, Result};

/// Two changes that are further apart have different times, by the clock that the kernel takes for files.
const TICK: Duration = Duration::from_millis(20);
/// The same on filesystems that know whole seconds only.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// A tree that is looked at.
pub(super) struct Watched {
    tree: Arc<dyn ReadTree>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    hasher: Hasher,
    latest: Option<Time>,
    fine: bool,
}

/// What was seen.
pub(super) struct Seen {
    /// Of all that tells a change.
    pub(super) digest: Digest,
    /// When the last change was; none where nobody can change anything.
    latest: Option<Time>,
    /// Whether times are told in parts of seconds.
    fine: bool,
}

impl Seen {
    /// How long to wait until another change could be told from the last one; none where it can be.
    pub(super) fn wait(&self, now: SystemTime) -> Option<Duration> {
        let latest = self.latest?;
        let tick = if self.fine { TICK } else { COARSE_TICK };
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::new(u64::try_from(latest.seconds).unwrap_or(0), latest.nanoseconds);
        // A clock that was set back, or another machine's, says nothing of how long ago that was.
        (since <= changed + tick).then_some(tick)
    }
}

impl Watched {
    pub(super) fn new(tree: Arc<dyn ReadTree>) -> Self {
        Self { tree, notes: Mutex::default() }
    }

    pub(super) fn seen(&self) -> Seen {
        let notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        Seen { digest: notes.hasher.finish(), latest: notes.latest, fine: notes.fine }
    }

    fn note(&self, what: &[u8], path: &Path, node: Option<&Node>, timed: bool) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.hasher.update(what);
        let path = path.as_os_str().as_bytes();
        notes.hasher.update(&(path.len() as u64).to_le_bytes());
        notes.hasher.update(path);
        let stamp = node.and_then(|node| node.stamp);
        notes.hasher.update(&[u8::from(node.is_some()), u8::from(stamp.is_some())]);
        let Some(stamp) = stamp else { return };
        let time = if timed { stamp.ctime } else { Time::default() };
        for number in [stamp.dev, stamp.ino, time.seconds.cast_unsigned(), time.nanoseconds.into()] {
            notes.hasher.update(&number.to_le_bytes());
        }
        if timed {
            notes.latest = notes.latest.max(Some(time));
            notes.fine |= time.nanoseconds != 0;
        }
    }
}

impl Look for Watched {
    fn stat(&self, path: &Path) -> Result<Option<Node>> {
        let node = self.tree.stat(path)?;
        // What else is put into the root matters to whoever lists it alone.
        self.note(b"stat", path, node.as_ref(), !path.as_os_str().is_empty());
        Ok(node)
    }

    fn read_link(&self, path: &Path) -> Result<OsString> {
        self.tree.read_link(path)
    }
}

impl ReadTree for Watched {
    fn entries(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.note(b"list", path, self.tree.stat(path)?.as_ref(), true);
        self.tree.entries(path)
    }

    fn open(&self, path: &Path, node: &Node) -> Result<Box<dyn Read + Send>> {
        self.tree.open(path, node)
    }

    fn xattrs(&self, path: &Path) -> Result<Xattrs> {
        self.tree.xattrs(path)
    }

    fn prefetch(&self, paths: &[PathBuf]) -> Result<()> {
        self.tree.prefetch(paths)
    }

    fn everything(&self) -> Result<Vec<PathBuf>> {
        self.tree.everything()
    }

    fn hidden(&self, path: &Path) -> Option<String> {
        self.tree.hidden(path)
    }
}
