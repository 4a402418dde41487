//! A root filesystem of stacked layers, each step's changes in a directory of their own (overlayfs).
//!
//! What a step costs is what it changes: nothing is copied or scanned. Needs the right to mount: root in a mount namespace of
//! its own, in which the mounts end with the process however it ends.

mod changes;
mod mount;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::store::{Store, StoreError, TemporaryDirectory};
use super::tree::{Tree as _, TreeError};
use crate::fs::{self, Attributes, Kind, Root, Shown};
use crate::layer::extract::Lowers;
use crate::layer::whiteout::{WHITEOUT_DEVICE, opaque_xattr};
use crate::layer::{CreateError, LayerOptions, LayerWriter, NewLayer};
use mount::{MOST_LAYERS, Mounted, Stack, Upper};

/// Why a stacked root filesystem cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// overlayfs cannot be mounted here.
    #[error("cannot mount an overlay filesystem on {}", Shown(path))]
    Mount {
        /// The mount point.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// More layers than the kernel stacks.
    #[error("the image has {0} layers; no more than {most} can be stacked", most = MOST_LAYERS - 2)]
    Layers(usize),
    /// A step has made a file that would remove another one when the layer is unpacked.
    #[error("{} has a name that means a deletion in a layer; the step must not leave it", Shown(path))]
    ReservedName {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be compared to what it was.
    #[error("cannot compare {} to what it was before", Shown(path))]
    Compare {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
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

type Result<T> = std::result::Result<T, OverlayError>;

/// A stage's root filesystem. Dropped, it unmounts and removes what it has not committed.
#[derive(Debug)]
pub struct OverlayRootFs {
    // In this order they are dropped: nothing may be mounted in a directory that is removed.
    step: Option<Step>,
    reading: Option<Reading>,
    /// Lowest first.
    lowers: Vec<PathBuf>,
    store: Store,
}

/// What a step works on.
#[derive(Debug)]
struct Step {
    mounted: Mounted,
    directory: TemporaryDirectory,
}

#[derive(Debug)]
struct Reading {
    mounted: Mounted,
    _directory: TemporaryDirectory,
}

impl OverlayRootFs {
    /// Stacks unpacked layers of the store, lowest first; none for an empty root. Mounts nothing yet.
    pub fn new(store: Store, lowers: Vec<PathBuf>) -> Result<Self> {
        let mut this = Self { step: None, reading: None, lowers, store };
        this.forget_hidden()?;
        this.check_number()?;
        Ok(this)
    }

    /// Tries whether overlayfs can be mounted and written to here, with the store's filesystem.
    pub fn probe(store: &Store) -> Result<()> {
        let mut probe = Self::new(store.clone(), Vec::new())?;
        let root = Root::open(probe.merged()?)?;
        root.make_dir("probe", 0o755)?;
        Ok(root.remove("probe")?)
    }

    /// The store as it can be stacked here: where its own filesystem cannot be (an overlay cannot hold another one's changes), files
    /// are unpacked into memory, which this process alone sees and which is gone with it. That is said in the second value.
    pub fn fit(store: &Store) -> Result<(Store, bool)> {
        let Err(refused) = Self::probe(store) else { return Ok((store.clone(), false)) };
        let memory = store.path().join("memory");
        if std::fs::create_dir_all(&memory).is_err() || mount::memory(&memory).is_err() {
            return Err(refused);
        }
        let store = store.unpacking_in(&memory)?;
        Self::probe(&store).map_err(|_| refused)?;
        Ok((store, true))
    }

    /// Where the current step finds the files, mounted and writable. The first call of a step mounts.
    pub fn merged(&mut self) -> Result<&Path> {
        let step = match self.step.take() {
            Some(step) => step,
            None => self.begin()?,
        };
        Ok(self.step.insert(step).mounted.path())
    }

    /// Makes a layer of what has changed since the last one and goes on from there. Nothing may use the mount any more.
    ///
    /// Where nothing has changed the layer has no entries.
    pub fn commit_step(&mut self, options: LayerOptions) -> Result<NewLayer> {
        let blob = self.store.temporary_path();
        let mut layer = LayerWriter::create(&blob, options)?;
        let Some(Step { mounted, directory }) = self.step.take() else {
            return Ok(self.store.keep_blob(layer.finish()?)?);
        };
        drop(mounted);
        let upper_path = directory.path().join("upper");
        let upper = Root::open(&upper_path)?;
        let unlike = changes::write(&upper, &Lowers::open(&self.lowers)?, &mut layer)?;
        let layer = layer.finish()?;
        if layer.entries > 0 {
            // The layer's files are stored under its digest: they must be what its entries say, no more, and as old.
            let mut disk = Disk::new(upper);
            for path in &unlike.dropped {
                disk.remove(path)?;
            }
            for path in &unlike.removed {
                disk.make_node(path, Kind::CharDevice, WHITEOUT_DEVICE, &Attributes::default())?;
            }
            disk.settle()?;
            self.lowers.push(self.store.adopt(&upper_path, layer.diff_id)?);
            self.forget_hidden()?;
            self.reading = None;
        }
        let layer = self.store.keep_blob(layer)?;
        self.check_number()?;
        Ok(layer)
    }

    /// Puts an unpacked layer on top. No step may be under way.
    pub fn push(&mut self, layer: PathBuf) -> Result<()> {
        self.lowers.push(layer);
        self.reading = None;
        self.forget_hidden()?;
        self.check_number()
    }

    /// The committed files, for reading. What was opened stays readable whatever becomes of this value.
    pub fn read_root(&mut self) -> Result<Root> {
        let reading = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let directory = self.store.temporary_directory()?;
                let top = Root::open(directory.path())?;
                for name in ["empty", "empty2", "merged"] {
                    top.make_dir(name, 0o755)?;
                }
                // Two layers at least: one alone cannot be mounted read-only, none not at all.
                let mut lowers = vec![directory.path().join("empty"), directory.path().join("empty2")];
                lowers.extend_from_slice(&self.lowers);
                let stack = Stack { lowers: &lowers, upper: None };
                Reading { mounted: mount(&stack, &directory.path().join("merged"))?, _directory: directory }
            }
        };
        Ok(Root::open(self.reading.insert(reading).mounted.path())?)
    }

    /// The unpacked layers, lowest first, committed steps among them.
    pub fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }

    fn begin(&self) -> Result<Step> {
        let directory = self.store.temporary_directory()?;
        let top = Root::open(directory.path())?;
        for name in ["upper", "work", "merged"] {
            top.make_dir(name, 0o755)?;
        }
        // The root directory that is seen is that of the topmost directory.
        top.set_attributes("upper", &self.root_attributes()?)?;
        let part = |name| directory.path().join(name);
        let empty = [part("empty")];
        let lowers = match self.lowers.as_slice() {
            [] => {
                top.make_dir("empty", 0o755)?;
                &empty
            }
            lowers => lowers,
        };
        let (upper, work) = (part("upper"), part("work"));
        let stack = Stack { lowers, upper: Some(Upper { upper: &upper, work: &work }) };
        Ok(Step { mounted: mount(&stack, &part("merged"))?, directory })
    }

    fn root_attributes(&self) -> Result<Attributes> {
        let top = self.lowers.last().map(|path| Root::open(path)?.stat("")).transpose()?.flatten();
        Ok(match top {
            Some(found) => Attributes {
                owner: Some((found.uid, found.gid)),
                mode: Some(found.mode),
                mtime: Some(found.mtime),
                ..Attributes::default()
            },
            None => Attributes { owner: Some((0, 0)), mode: Some(0o755), ..Attributes::default() },
        })
    }

    /// A layer whose root is opaque hides all below it, which overlayfs does not see at the root.
    ///
    /// Nor does it take one layer twice, which an image may have. The upper one has all that the lower one had, and hides it.
    fn forget_hidden(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.lowers);
        let last = |at: usize, path: &PathBuf| all.iter().skip(at + 1).all(|above| above != path);
        self.lowers = all.iter().enumerate().filter(|(at, path)| last(*at, path)).map(|(_, path)| path.clone()).collect();
        for at in (1..self.lowers.len()).rev() {
            let Some(path) = self.lowers.get(at) else { break };
            if Root::open(path)?.xattr("", opaque_xattr())?.as_deref() == Some(b"y") {
                self.lowers.drain(..at);
                break;
            }
        }
        Ok(())
    }

    fn check_number(&self) -> Result<()> {
        // Two more are wanted for reading an empty stack.
        if self.lowers.len() > MOST_LAYERS - 2 {
            return Err(OverlayError::Layers(self.lowers.len()));
        }
        Ok(())
    }
}

fn mount(stack: &Stack<'_>, at: &Path) -> Result<Mounted> {
    Mounted::new(stack, at).map_err(|source| OverlayError::Mount { path: at.to_owned(), source })
}
