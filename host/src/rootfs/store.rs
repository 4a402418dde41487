//! Blobs and unpacked layers, shared by stages, builds and processes.
//!
//! ```text
//! blobs/sha256/HEX     as pulled or made, complete and verified
//! layers/HEX/fs        a layer that stands for itself, by diff-id, in the form that overlayfs stacks
//! layers/chain-HEX/fs  a layer that was completed from those below it, by chain-id
//! layers-user…/        the same in a user namespace, where the form is another; by the ids that it maps
//! caches/HEX/files     a directory of RUN --mount=type=cache
//! downloads/HEX        what is known of an earlier download
//! cache/HEX            what a layer was made of
//! tmp/PID-N/           work of one process, which holds a lock on tmp/PID-N/lock while it lives; tmp/PID-N/uses names what it uses
//! locks/               one file for each layer being unpacked
//! ```
//!
//! Everything becomes visible by one rename when it is whole, and goes away by one ([`Store::prune`]). A process that was killed leaves
//! nothing but its directory in `tmp`, which the next one removes.

mod blob;
mod prune;
mod unpack;
mod uses;

use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::fs::{self, Root, Shown};
use crate::layer::extract::ExtractError;
use crate::layer::{CreateError, NewLayer};
use crate::oci::{DiffId, Digest};

pub use blob::BlobWriter;
pub use prune::{Amount, Holding, Prune, Pruned};
pub use unpack::LayerSource;

const LOCK: &str = "lock";

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// One of its own files.
    #[error("cannot {action} {} in the store", Shown(path))]
    Io {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// As above, within a tree.
    #[error(transparent)]
    Fs(#[from] fs::Error),
    /// A blob is not what it should be.
    #[error("the blob is damaged: expected {expected} ({expected_size} bytes), got {found} ({found_size} bytes)")]
    Blob {
        /// What was asked for.
        expected: Digest,
        /// In bytes.
        expected_size: u64,
        /// What came.
        found: Digest,
        /// In bytes.
        found_size: u64,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {layer}")]
    Unpack {
        /// Its diff-id.
        layer: DiffId,
        /// Why.
        source: ExtractError,
    },
    /// A layer cannot be written.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A directory of blobs and unpacked layers. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    /// Where unpacked layers are.
    layers: PathBuf,
    session: Arc<Session>,
    /// This process's part of the filesystem that `layers` is on.
    work: Arc<Session>,
}

/// This process's part of `tmp`.
#[derive(Debug)]
struct Session {
    path: PathBuf,
    /// Locked while the process lives.
    _lock: File,
    next: AtomicU64,
    uses: uses::Uses,
}

impl Store {
    /// Opens a store, making it (mode 0700) where it is not there yet, and removes what dead processes have left.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = std::path::absolute(path.into()).map_err(|error| failed("find", Path::new("."))(error))?;
        let layers = layers_directory();
        make_directories(&path, &["blobs/sha256", &layers, "locks", "tmp"])?;
        let session = Arc::new(Session::start(&path)?);
        Ok(Self { layers: path.join(layers), path, work: Arc::clone(&session), session })
    }

    /// The same store with unpacked files in another directory, for instance because they need another filesystem.
    pub fn unpacking_in(&self, directory: &Path) -> Result<Self> {
        let layers = layers_directory();
        make_directories(directory, &[&layers, "locks", "tmp"])?;
        let work = Arc::new(Session::start(directory)?);
        Ok(Self { layers: directory.join(layers), work, ..self.clone() })
    }

    /// Where a blob lies or would lie.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is there, whole. It is this process's to use from now on: nobody prunes it.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        // Where that cannot be said, it might be gone at any moment.
        self.use_blob(digest).unwrap_or(false)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of blobs, `<hex>` each.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs/sha256")
    }

    /// Whether the files of a layer are there, whatever it lies on. They are this process's to use from now on: nobody prunes them.
    pub fn has_layer(&self, diff_id: DiffId) -> bool {
        let name = diff_id.0.hex();
        self.claim(&[self.layer_name(&name)]).is_ok() && self.layer(&name).is_some()
    }

    /// A directory for files that go away with this process.
    pub fn temporary_files(&self) -> &Path {
        &self.session.path
    }

    /// Takes a finished layer among the blobs.
    pub fn keep_blob(&self, mut layer: NewLayer) -> Result<NewLayer> {
        self.claim(&[uses::blob_name(&layer.digest)])?;
        let path = self.blob_path(&layer.digest);
        layer.move_to(&path).map_err(failed("create", &path))?;
        Ok(layer)
    }

    /// Starts writing a blob.
    pub fn begin_blob(&self) -> Result<BlobWriter> {
        BlobWriter::new(self)
    }

    /// A directory for work on the filesystem of unpacked layers, empty, removed when the value is dropped.
    pub fn temporary_directory(&self) -> Result<TemporaryDirectory> {
        let path = self.work.fresh();
        DirBuilder::new().mode(0o700).create(&path).map_err(failed("make the directory", &path))?;
        Ok(TemporaryDirectory { path: Some(path), _session: Arc::clone(&self.work) })
    }

    /// A path for work on the store's filesystem at which nothing is yet. It goes away with this process.
    pub fn temporary_path(&self) -> PathBuf {
        self.session.fresh()
    }

    /// Waits until no other thread or process has this name locked.
    fn lock(&self, name: &str) -> Result<Lock> {
        Lock::take(&self.path.join("locks").join(name))
    }
}

impl Session {
    /// A path at which nothing is yet. By the name ext4 finds the block group to begin in (see [`spread`]), so no name comes twice.
    fn fresh(&self) -> PathBuf {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{n}-{:08x}", RandomState::new().hash_one(n) & 0xffff_ffff))
    }

    fn start(store: &Path) -> Result<Self> {
        let tmp = store.join("tmp");
        // While this is held nobody takes a session that is just being made for a dead one.
        let _guard = Lock::take(&store.join("locks/tmp"))?;
        remove_dead_sessions(&tmp)?;
        let process = std::process::id();
        for n in 0_u64.. {
            // No name is ever used again: whoever is still removing the last one of it would remove this one, and containers that share a
            // store have the same process numbers.
            let path = tmp.join(format!("{process}-{:016x}", RandomState::new().hash_one(n)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("make the directory", &path)(error)),
                Ok(()) => {
                    spread(&path);
                    let lock = open_lock(&path.join(LOCK))?;
                    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed("lock", &path)(error.into()))?;
                    return Ok(Self { path, _lock: lock, next: AtomicU64::new(0), uses: uses::Uses::default() });
                }
            }
        }
        Err(failed("make a directory in", &tmp)(Errno::EXIST.into()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        remove_tree(&self.path);
    }
}

fn make_directories(path: &Path, parts: &[&str]) -> Result<()> {
    for part in parts {
        let part = path.join(part);
        DirBuilder::new().recursive(true).mode(0o700).create(&part).map_err(failed("make the directory", &part))?;
    }
    Ok(())
}

/// Owners and marks of removal are written differently where other ids exist: such layers are kept apart.
fn layers_directory() -> String {
    match fs::limited_ids() {
        _ if !fs::in_user_namespace() => "layers".to_owned(),
        None => "layers-user".to_owned(),
        Some(ids) => format!("layers-user-{}", Digest::of(ids.as_bytes()).hex().get(..12).unwrap_or_default()),
    }
}

/// Asks ext4 to place each directory below in a block group of its own. A group whose inodes were freed minutes ago hands out new ones
/// slowly, and an emptied store leaves many such groups. Other filesystems know no such wish, and none depends on it.
fn spread(directory: &Path) {
    let Ok(directory) = File::open(directory) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&directory) {
        let _ = rustix::fs::ioctl_setflags(&directory, flags | rustix::fs::IFlags::TOPDIR);
    }
}

/// What cannot be removed (something may still be mounted in it) stays for the next time.
fn remove_dead_sessions(tmp: &Path) -> Result<()> {
    for entry in Root::open(tmp)?.read_dir("")? {
        let path = tmp.join(&entry.name);
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                remove_tree(&path);
                continue;
            }
            Err(error) => return Err(failed("open", &path)(error)),
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_tree(&path);
        }
    }
    Ok(())
}

/// Removes as much as it can; for what is only rubbish.
fn remove_tree(path: &Path) {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        && let Ok(root) = Root::open(parent)
    {
        drop(root.remove(name));
    }
}

/// A directory that goes away with the value.
#[derive(Debug)]
pub struct TemporaryDirectory {
    path: Option<PathBuf>,
    /// The directory that it lies in stays as long.
    _session: Arc<Session>,
}

impl TemporaryDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Moves it, with all that is in it, to a path at which nothing is or an empty directory.
    fn persist(mut self, to: &Path) -> io::Result<()> {
        std::fs::rename(self.path(), to)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            remove_tree(&path);
        }
    }
}

/// A lock between threads and processes, let go when dropped or when the process ends.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        Self::take_as(path, FlockOperation::LockExclusive)
    }

    fn take_as(path: &Path, how: FlockOperation) -> Result<Self> {
        loop {
            let file = open_lock(path)?;
            match rustix::fs::flock(&file, how) {
                // Who prunes may have removed the file before it was ours.
                Ok(()) if is_at(&file, path) => return Ok(Self { _file: file }),
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed("lock", path)(error.into())),
            }
        }
    }
}

/// Whether a file is the one that a path leads to.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: &std::fs::Metadata, other: &std::fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|held| same(&there, &held)))
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed("open", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
