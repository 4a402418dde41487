//! What processes use of a store, so that nobody prunes it under them.
//!
//! A process writes the names of what it uses into its session, and looks whether it is there only then. Who prunes holds the lock that
//! names are written under: what nobody has named by then is out of everybody's sight before a name can be added. A session ends
//! with its process, however that ends.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use super::{LOCK, Lock, Result, Store, failed};
use crate::fs::Root;
use crate::oci::Digest;

/// The file of a session that has the names, one a line.
const USES: &str = "uses";
/// The lock that names are written under.
const NAMES: &str = "names";

/// The names that a session has written.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<BTreeSet<PathBuf>>);

impl Store {
    /// Says that this process uses things, by their paths relative to the store; nobody prunes them while it lives. They need not be there:
    /// whoever wants to know says that it uses them first and looks then.
    ///
    /// # Errors
    /// The names cannot be written.
    pub fn claim(&self, paths: &[PathBuf]) -> Result<()> {
        let mut known = self.session.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&PathBuf> = paths.iter().filter(|path| !known.contains(*path)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let _lock = self.names_lock(FlockOperation::LockShared)?;
        let file = self.session.path.join(USES);
        let mut text = Vec::new();
        for path in &new {
            text.extend_from_slice(path.as_os_str().as_encoded_bytes());
            text.push(b'\n');
        }
        let mut opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&file).map_err(failed("create", &file))?;
        opened.write_all(&text).map_err(failed("write", &file))?;
        known.extend(new.into_iter().cloned());
        Ok(())
    }

    /// Says that this process uses nothing any more.
    ///
    /// # Errors
    /// The names cannot be removed.
    pub fn release(&self) -> Result<()> {
        let mut known = self.session.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.session.path.join(USES);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &file)(error)),
            _ => {
                known.clear();
                Ok(())
            }
        }
    }

    /// Says that this process uses a blob, and whether it is there, whole.
    pub(super) fn use_blob(&self, digest: &Digest) -> Result<bool> {
        self.claim(&[blob_name(digest)])?;
        let path = self.blob_path(digest);
        let there = path.is_file();
        if there {
            touch(&path);
        }
        Ok(there)
    }

    /// The lock that names are written under.
    pub(super) fn names_lock(&self, how: FlockOperation) -> Result<Lock> {
        Lock::take_as(&self.path.join("locks").join(NAMES), how)
    }

    /// What living processes use. Whoever asks holds [`Store::names_lock`] alone.
    pub(super) fn used(&self) -> Result<BTreeSet<PathBuf>> {
        let tmp = self.path.join("tmp");
        let mut used = BTreeSet::new();
        for entry in Root::open(&tmp)?.read_dir("")? {
            let session = tmp.join(&entry.name);
            let own = session == self.session.path;
            if !own && !is_alive(&session) {
                continue;
            }
            let file = session.join(USES);
            match std::fs::read(&file) {
                Ok(text) => used.extend(text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(path_of)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", &file)(error)),
            }
        }
        Ok(used)
    }
}

fn path_of(line: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(line))
}

/// The name of a blob among what is used.
pub(super) fn blob_name(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

/// Whether a process holds the session. One that cannot be asked is taken for alive.
fn is_alive(session: &Path) -> bool {
    match std::fs::File::open(session.join(LOCK)) {
        Ok(lock) => rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err(),
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
    }
}

/// Remembers that something was used now.
pub(super) fn touch(path: &Path) {
    let now = SystemTime::now();
    // It is only ever a question of what goes first.
    let _ = std::fs::File::open(path).and_then(|file| file.set_times(std::fs::FileTimes::new().set_modified(now)));
}
