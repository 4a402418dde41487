//! The files of a stage that were never unpacked: an index of layers, and what was done on top.
//!
//! The index is a tree that never changes once it is shared: what is changed is copied, from the root down to it, and all the
//! rest is held by both. So a stage built from another costs nothing, a step's changes are the difference of two trees, and
//! what they have in common is not even looked at.
//!
//! Content stays where it is, in a layer, in the build context, until it is read.

mod changes;
mod index;
mod inodes;
mod spool;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::tree::{Content, Look, Node, ReadTree, Result, Tree, TreeError};
use crate::fs::{Attributes, DirEntry, Kind, Xattrs};
use crate::oci::DiffId;

pub use changes::ChangesError;
use inodes::{Body, Data, Inode, Inodes, LayerFile, Meta};
use spool::Spool;

/// A layer of which the files are indexed.
#[derive(Clone)]
pub struct IndexedLayer {
    /// What its uncompressed bytes must digest to.
    pub diff_id: DiffId,
    /// Opens the blob at its start, compressed or not; may wait for a download. Called once for the index and once for each
    /// time that content is fetched.
    pub open: Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>,
}

impl fmt::Debug for IndexedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexedLayer").field("diff_id", &self.diff_id).finish_non_exhaustive()
    }
}

/// The files of a stage as an index. A clone is cheap and goes its own way.
///
/// The layers are read when something is first asked of it.
#[derive(Clone)]
pub struct Layered {
    layers: Vec<IndexedLayer>,
    /// Other trees that hold content.
    sources: Vec<Arc<dyn ReadTree>>,
    state: OnceLock<Inodes>,
    /// While the index is made.
    making: Arc<Mutex<()>>,
    /// What there was when the current step began; none while nothing was changed.
    before: Option<Inodes>,
    spool: Arc<Spool>,
    /// Content of layers that lies in the spool, and where.
    fetched: Arc<Mutex<HashMap<LayerFile, u64>>>,
}

impl Layered {
    /// Nothing but a root directory. Content that must be kept goes into nameless files in `directory`.
    pub fn scratch(directory: &Path) -> Self {
        Self::on(Vec::new(), directory)
    }

    /// The files of layers, the lowest first.
    pub fn on(layers: Vec<IndexedLayer>, directory: &Path) -> Self {
        Self {
            layers,
            sources: Vec::new(),
            state: OnceLock::new(),
            making: Arc::default(),
            before: None,
            spool: Arc::new(Spool::new(directory)),
            fetched: Arc::default(),
        }
    }

    /// Ends the step: what is changed from now on belongs to the next layer.
    pub fn begin(&mut self) {
        self.before = None;
    }

    /// Puts a layer on top, for instance one that a cache had. It belongs to no step's changes.
    pub fn push_layer(&mut self, layer: IndexedLayer) -> Result<()> {
        self.layers.push(layer);
        if let Some(mut inodes) = self.state.take() {
            index::add(&mut inodes, &self.layers, self.layers.len() - 1)?;
            self.state = OnceLock::from(inodes);
        }
        self.before = None;
        Ok(())
    }

    /// Puts a layer on top as a part of the current step's changes: so the changes of several layers become those of one.
    pub fn join_layer(&mut self, layer: IndexedLayer) -> Result<()> {
        self.inodes_mut()?;
        self.layers.push(layer);
        if let Some(mut inodes) = self.state.take() {
            index::add(&mut inodes, &self.layers, self.layers.len() - 1)?;
            self.state = OnceLock::from(inodes);
        }
        Ok(())
    }

    /// Puts the changes of another tree's current step on top, as if they were a layer: links are not followed, directories
    /// that are there take over the other's attributes, and everything else is replaced.
    pub fn stack(&mut self, upper: &Arc<Self>) -> Result<()> {
        changes::stack(self, upper)
    }

    fn inodes(&self) -> Result<&Inodes> {
        if let Some(inodes) = self.state.get() {
            return Ok(inodes);
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.get().is_none() {
            let mut inodes = Inodes::new();
            for at in 0..self.layers.len() {
                index::add(&mut inodes, &self.layers, at)?;
            }
            // Nobody else gets here.
            let _ = self.state.set(inodes);
        }
        self.state.get().ok_or_else(|| TreeError::Missing { path: PathBuf::new(), wanted: "a directory" })
    }

    fn inodes_mut(&mut self) -> Result<&mut Inodes> {
        let before = self.inodes()?;
        if self.before.is_none() {
            self.before = Some(before.clone());
        }
        self.state.get_mut().ok_or_else(|| TreeError::Missing { path: PathBuf::new(), wanted: "a directory" })
    }

    fn insert(&mut self, path: &Path, attributes: &Attributes, body: Body) -> Result<()> {
        self.inodes_mut()?.insert(path, Inode { meta: Meta::new(attributes), body })
    }

    /// The number of a tree that holds content.
    fn source(&mut self, tree: &Arc<dyn ReadTree>) -> u32 {
        let known = self.sources.iter().rposition(|known| Arc::ptr_eq(known, tree));
        let at = known.unwrap_or_else(|| {
            self.sources.push(Arc::clone(tree));
            self.sources.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn file(&self, path: &Path) -> Result<(u64, &Data)> {
        match self.inodes()?.get(path).map(|inode| &inode.body) {
            Some(Body::File { size, data, .. }) => Ok((*size, data)),
            _ => Err(TreeError::Missing { path: path.to_owned(), wanted: "a file" }),
        }
    }

    /// Copies files of layers into the spool, each layer read once.
    fn fetch(&self, wanted: &HashSet<LayerFile>) -> Result<()> {
        let mut missing: HashMap<u32, HashSet<u32>> = HashMap::new();
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        for file in wanted.iter().filter(|file| !fetched.contains_key(file)) {
            missing.entry(file.layer).or_default().insert(file.entry);
        }
        drop(fetched);
        for (layer, entries) in missing {
            let Some(source) = self.layers.get(layer as usize) else { continue };
            let offsets = index::extract(source, &entries, &self.spool)?;
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.extend(offsets.into_iter().map(|(entry, offset)| (LayerFile { layer, entry }, offset)));
        }
        Ok(())
    }
}

impl Look for Layered {
    fn stat(&self, path: &Path) -> Result<Option<Node>> {
        Ok(self.inodes()?.get(path).map(|inode| inode.node()))
    }

    fn read_link(&self, path: &Path) -> Result<OsString> {
        self.inodes()?.read_link(path)
    }
}

impl ReadTree for Layered {
    fn entries(&self, path: &Path) -> Result<Vec<DirEntry>> {
        match self.inodes()?.get(path).map(|inode| &inode.body) {
            Some(Body::Directory(children)) => {
                Ok(children.iter().map(|(name, inode)| DirEntry { name: name.clone().into(), kind: inode.node().kind }).collect())
            }
            _ => Err(TreeError::Missing { path: path.to_owned(), wanted: "a directory" }),
        }
    }

    fn open(&self, path: &Path, _node: &Node) -> Result<Box<dyn Read + Send>> {
        let (size, data) = self.file(path)?;
        match data {
            Data::Bytes(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Data::Spool(offset) => Ok(Box::new(self.spool.read(*offset, size)?)),
            Data::Layer(file) => {
                self.fetch(&HashSet::from([*file]))?;
                let offset = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied();
                let offset = offset.ok_or_else(|| TreeError::Missing { path: path.to_owned(), wanted: "in its layer" })?;
                Ok(Box::new(self.spool.read(offset, size)?))
            }
            Data::Tree(source, at) => {
                let missing = || TreeError::Missing { path: path.to_owned(), wanted: "a file" };
                let tree = self.sources.get(*source as usize).ok_or_else(missing)?;
                let node = self.stat(path)?.ok_or_else(missing)?;
                tree.open(at, &node)
            }
        }
    }

    fn xattrs(&self, path: &Path) -> Result<Xattrs> {
        Ok(self.inodes()?.get(path).map(|inode| inode.meta.xattrs()).unwrap_or_default())
    }

    fn prefetch(&self, paths: &[PathBuf]) -> Result<()> {
        let mut wanted = HashSet::new();
        let mut elsewhere: HashMap<u32, Vec<PathBuf>> = HashMap::new();
        for path in paths {
            match self.file(path)?.1 {
                Data::Layer(file) => drop(wanted.insert(*file)),
                Data::Tree(source, at) => elsewhere.entry(*source).or_default().push(at.to_path_buf()),
                Data::Bytes(_) | Data::Spool(_) => {}
            }
        }
        self.fetch(&wanted)?;
        for (source, paths) in elsewhere {
            if let Some(tree) = self.sources.get(source as usize) {
                tree.prefetch(&paths)?;
            }
        }
        Ok(())
    }
}

impl Tree for Layered {
    fn make_dir(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        self.insert(path, attributes, Body::Directory(inodes::Children::new()))
    }

    fn put_file(&mut self, path: &Path, attributes: &Attributes, content: Content<'_>) -> Result<()> {
        let (size, data) = match content {
            Content::Of(tree, from, node) => (node.size, Data::Tree(self.source(tree), from.into())),
            Content::Bytes(bytes) => (bytes.len() as u64, Data::Bytes(bytes.into())),
            Content::Stream(reader, size) => {
                let (offset, length) = self.spool.append(reader)?;
                if length != size {
                    return Err(TreeError::Changed { path: path.to_owned() });
                }
                (size, Data::Spool(offset))
            }
        };
        self.insert(path, attributes, Body::File { size, link: 0, data })
    }

    fn symlink(&mut self, path: &Path, target: &OsStr, attributes: &Attributes) -> Result<()> {
        self.insert(path, attributes, Body::Symlink(target.into()))
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        self.inodes_mut()?.hard_link(existing, path)
    }

    fn make_node(&mut self, path: &Path, kind: Kind, device: (u32, u32), attributes: &Attributes) -> Result<()> {
        let body = match kind {
            Kind::Fifo => Body::Fifo,
            Kind::CharDevice => Body::CharDevice(device.0, device.1),
            Kind::BlockDevice => Body::BlockDevice(device.0, device.1),
            _ => return Err(TreeError::Missing { path: path.to_owned(), wanted: "a FIFO or a device" }),
        };
        self.insert(path, attributes, body)
    }

    fn set_attributes(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        if self.inodes()?.get(path).is_none() {
            return Err(TreeError::Missing { path: path.to_owned(), wanted: "anything" });
        }
        self.inodes_mut()?.set_attributes(path, attributes);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.inodes_mut()?.remove(path);
        Ok(())
    }
}
