//! A root filesystem unpacked into one directory, where nothing can be mounted: a directory of the store, or the very tree that the
//! builder lives in. Changes are found by scanning.

mod lent;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub use lent::{Lent, Loan};

use super::disk::Disk;
use super::layered::Layered;
use super::scan::{ScanError, Snapshot};
use super::store::{LayerSource, Store, StoreError, TemporaryDirectory};
use super::tree::{Content, ReadTree, Tree as _, TreeError};
use crate::fs::{self, Attributes, Guard, Kind, Root, Time};
use crate::layer::entries::Limits;
use crate::layer::extract::{ExtractError, ExtractMode, ExtractOptions, extract};
use crate::layer::{Compression, CreateError, LayerOptions, LayerWriter, NewLayer};
use crate::oci::DiffId;

/// What a process finds there is the kernel's or the builder's, as if it were mounted: it is in no layer.
const GENERATED: &[&str] = &["dev", "proc", "sys", "etc/resolv.conf", "etc/hosts"];

/// What files of several names may take more when each name gets one of its own, in bytes.
const MOST_PARTED: u64 = 64 << 20;

/// The devices that are harmless, by major and minor number.
const DEVICES: &[(&str, u32, u32)] = &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Why an unpacked root filesystem cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum UnpackedError {
    /// A layer that cannot be unpacked.
    #[error("cannot unpack layer {layer} into {}", fs::Shown(into))]
    Unpack {
        /// Its diff-id.
        layer: DiffId,
        /// Where to.
        into: PathBuf,
        /// Why.
        source: Box<ExtractError>,
    },
    /// The blob of a layer, or a file of the tree.
    #[error("cannot read or write {}: {source}", fs::Shown(path))]
    Blob {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Two builds would take each other's files away.
    #[error("another build is under way in this container, and one at a time can use its root filesystem")]
    InUse,
    /// What a step changed.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Files within it.
    #[error(transparent)]
    Fs(#[from] fs::Error),
    /// As above.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store that it lies in.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The layer that a step makes.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// Files that every process expects and no layer has.
#[derive(Debug, Default)]
pub struct Furniture {
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
    /// For `/etc/hosts`.
    pub hosts: Vec<u8>,
}

type Result<T> = std::result::Result<T, UnpackedError>;

/// A tree that layers are unpacked into, one upon the other.
#[derive(Debug)]
pub struct UnpackedRootFs {
    root: Root,
    path: PathBuf,
    /// Relative to the root: what is no part of the image's files.
    skip: BTreeSet<PathBuf>,
    /// What the tree holds, lowest first; none where nobody knows.
    layers: Option<Vec<DiffId>>,
    snapshot: Option<Snapshot>,
    /// Whether no two names share a file.
    parted: bool,
    in_place: bool,
    _directory: Option<TemporaryDirectory>,
    /// Held while the process has the tree that it lives in.
    _lock: Option<std::fs::File>,
}

impl UnpackedRootFs {
    /// An empty directory of the store.
    pub fn in_store(store: &Store) -> Result<Self> {
        let directory = store.temporary_directory()?;
        let top = Root::open(directory.path())?;
        top.make_dir("fs", 0o755)?;
        let path = directory.path().join("fs");
        let skip = GENERATED.iter().map(PathBuf::from).collect();
        let (layers, root) = (Some(Vec::new()), Root::open(&path)?);
        Ok(Self { root, path, skip, layers, snapshot: None, parted: false, in_place: false, _directory: Some(directory), _lock: None })
    }

    /// The tree that this process lives in. The guarded paths are left alone; everything else is removed when the first layer comes.
    ///
    /// # Errors
    /// [`UnpackedError::InUse`] where another process has it.
    pub fn in_place(guard: Guard) -> Result<Self> {
        let path = PathBuf::from("/");
        let failed = |source| UnpackedError::Blob { path: path.clone(), source };
        let lock = std::fs::File::open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(UnpackedError::InUse),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let skip = guard.paths().iter().filter_map(|path| Some(path.strip_prefix("/").ok()?.to_owned())).collect();
        let root = Root::open(&path)?.guarded(guard);
        Ok(Self { root, path, skip, layers: None, snapshot: None, parted: false, in_place: true, _directory: None, _lock: Some(lock) })
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files, without what is no part of the image.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Makes the tree what these layers are, lowest first, and remembers how it was. What it holds already is not unpacked again.
    pub fn bring(&mut self, layers: &[LayerSource], furniture: &Furniture) -> Result<()> {
        let known = self
            .layers
            .take()
            .filter(|known| known.len() <= layers.len() && known.iter().zip(layers).all(|(known, layer)| *known == layer.diff_id));
        let mut held = match known {
            Some(known) => known,
            None => {
                self.clean()?;
                Vec::new()
            }
        };
        if held.len() < layers.len() {
            self.snapshot = None;
        }
        for layer in layers.get(held.len()..).unwrap_or_default() {
            let blob = std::fs::File::open(&layer.blob).map_err(|source| UnpackedError::Blob { path: layer.blob.clone(), source })?;
            let options = ExtractOptions { mode: ExtractMode::Merge, limits: Limits::default(), expected: Some(layer.diff_id) };
            extract(blob, &self.root, &options).map_err(|source| UnpackedError::Unpack {
                layer: layer.diff_id,
                into: self.path.clone(),
                source: Box::new(source),
            })?;
            held.push(layer.diff_id);
        }
        if self.snapshot.is_none() {
            self.root.forget();
            self.furnish(furniture)?;
            self.snapshot = Some(Snapshot::take(self.root.as_fd(), &self.skip)?);
            self.parted = false;
        }
        self.part()?;
        if let Some(snapshot) = &self.snapshot {
            snapshot.settle();
        }
        self.layers = Some(held);
        Ok(())
    }

    /// Gives each name of a file of several names a file of its own. A process that writes to one of them then changes that name alone, as
    /// with overlayfs, where a file is copied up by one name: the same layers come of both. Images that are one large file of hundreds of
    /// names stay as they are, but for what there is room for.
    fn part(&mut self) -> Result<()> {
        let Some(snapshot) = self.snapshot.as_ref().filter(|_| !self.parted) else { return Ok(()) };
        let shared = snapshot.shared();
        self.parted = true;
        if shared.is_empty() {
            return Ok(());
        }
        let mut disk = Disk::new(self.root.try_clone()?);
        let mut room = MOST_PARTED;
        for (size, names) in &shared {
            let Some(left) = room.checked_sub(size.saturating_mul(names.len() as u64 - 1)) else { break };
            room = left;
            for path in names.iter().skip(1) {
                match disk.part(path) {
                    Err(TreeError::Fs(error)) if error.is_guarded() => {}
                    done => done?,
                }
            }
        }
        disk.settle()?;
        self.snapshot = Some(Snapshot::take(self.root.as_fd(), &self.skip)?);
        Ok(())
    }

    /// Gives a tree of the store what a process expects of the kernel, as far as that can be had without a mount. A tree in place has
    /// its container's.
    fn furnish(&self, furniture: &Furniture) -> Result<()> {
        if self.in_place {
            return Ok(());
        }
        // What holds it keeps its times.
        let mut disk = Disk::new(self.root.try_clone()?);
        let root = |mode| Attributes { owner: Some((0, 0)), mode: Some(mode), ..Attributes::default() };
        for (directory, mode) in [("dev", 0o755), ("dev/shm", 0o1777), ("proc", 0o755), ("sys", 0o755), ("etc", 0o755)] {
            if self.root.stat_follow(directory)?.is_none() {
                disk.remove(Path::new(directory))?;
                disk.make_dir(Path::new(directory), &root(mode))?;
            }
        }
        for (name, major, minor) in DEVICES {
            let path = Path::new("dev").join(name);
            if self.root.stat(&path)?.is_none() {
                // Without the right to make devices there is at least something to write to.
                let made = disk.make_node(&path, Kind::CharDevice, (*major, *minor), &root(0o666));
                made.or_else(|_| disk.put_file(&path, &root(0o666), Content::Bytes(b"")))?;
            }
        }
        for (name, content) in [("etc/resolv.conf", &furniture.resolv_conf), ("etc/hosts", &furniture.hosts)] {
            disk.remove(Path::new(name))?;
            disk.put_file(Path::new(name), &root(0o644), Content::Bytes(content))?;
        }
        Ok(disk.settle()?)
    }

    /// Says that a process, or someone else, is about to change the tree: where no layer comes of it, nobody knows what it holds.
    pub fn begin(&mut self) -> Option<Vec<DiffId>> {
        self.layers.take()
    }

    /// Makes a layer of what has changed since [`UnpackedRootFs::bring`]. Nothing may use the tree any more. `held` is what
    /// [`UnpackedRootFs::begin`] gave, `original` has the files of those layers.
    pub fn commit(&mut self, held: Option<Vec<DiffId>>, store: &Store, options: LayerOptions, original: &dyn ReadTree) -> Result<NewLayer> {
        self.root.forget();
        let before = self.snapshot.take().unwrap_or_default();
        let after = Snapshot::take(self.root.as_fd(), &self.skip)?;
        let mut layer = LayerWriter::create(store.temporary_path(), options)?;
        after.write_changes(&before, &self.root, original, &mut layer)?;
        // The next step finds what it would find in the layers.
        let mut disk = Disk::new(self.root.try_clone()?);
        for socket in after.sockets() {
            disk.remove(&socket)?;
        }
        disk.settle()?;
        let layer = store.keep_blob(layer.finish()?)?;
        self.snapshot = Some(after);
        self.parted = false;
        self.layers = held.map(|mut held| {
            held.push(layer.diff_id);
            held
        });
        Ok(layer)
    }

    /// Writes everything but what is guarded into a layer, from which [`UnpackedRootFs::restore`] makes it again.
    pub fn preserve(&self, store: &Store) -> Result<NewLayer> {
        let now = Snapshot::take(self.root.as_fd(), &self.skip)?;
        let options = LayerOptions { compression: Compression::None, latest_mtime: None };
        let mut layer = LayerWriter::create(store.temporary_path(), options)?;
        now.write_changes(&Snapshot::default(), &self.root, &Layered::scratch(store.temporary_files()), &mut layer)?;
        Ok(layer.finish()?)
    }

    /// Makes the tree what it was when [`UnpackedRootFs::preserve`] was called.
    pub fn restore(&mut self, preserved: &NewLayer) -> Result<()> {
        self.clean()?;
        self.layers = None;
        let blob = std::fs::File::open(&preserved.path);
        let blob = blob.map_err(|source| UnpackedError::Blob { path: preserved.path.clone(), source })?;
        let options = ExtractOptions { mode: ExtractMode::Merge, limits: Limits::default(), expected: Some(preserved.diff_id) };
        let failed = |source| UnpackedError::Unpack { layer: preserved.diff_id, into: self.path.clone(), source: Box::new(source) };
        extract(blob, &self.root, &options).map_err(failed)?;
        Ok(())
    }

    /// Removes everything but what is guarded.
    pub fn clean(&mut self) -> Result<()> {
        self.layers = None;
        self.snapshot = None;
        self.root.forget();
        self.root.clear("/")?;
        if !self.in_place {
            // For layers that say nothing of the root itself.
            let plain = Attributes { owner: Some((0, 0)), mode: Some(0o755), mtime: Some(Time::default()), ..Attributes::default() };
            self.root.set_attributes("/", &plain)?;
        }
        self.layers = Some(Vec::new());
        Ok(())
    }
}
