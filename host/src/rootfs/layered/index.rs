//! From the entries of a layer to inodes, in the way in which unpacking it would change a directory.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::IndexedLayer;
use super::inodes::{Body, Children, Data, Inode, Inodes, LayerFile, Meta};
use super::spool::Spool;
use crate::fs::Attributes;
use crate::layer::entries::{EntryKind, EntryMeta, Limits, ReadError, for_each_entry};
use crate::layer::whiteout::{Marker, classify};
use crate::rootfs::tree::{Last, Result, TreeError, resolve};

/// Files that are asked for in nearly every build, and are small.
const KEPT: [&str; 2] = ["etc/passwd", "etc/group"];
const LARGEST_KEPT: u64 = 64 << 10;

/// Why the reading of a layer ended.
enum Stop {
    Read(ReadError),
    Tree(TreeError),
    /// There is nothing more to look for.
    Done,
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

fn open(layer: &IndexedLayer) -> Result<Box<dyn Read + Send>> {
    (layer.open)().map_err(|source| TreeError::Layer { diff_id: layer.diff_id, source: ReadError::Io(source) })
}

/// Puts the layer of that number on top.
pub(super) fn add(inodes: &mut Inodes, layers: &[IndexedLayer], at: usize) -> Result<()> {
    let Some(layer) = layers.get(at) else { return Ok(()) };
    let number = u32::try_from(at).unwrap_or(u32::MAX);
    let mut adder = Adder { below: inodes.clone(), inodes };
    let mut entry = 0;
    let done = for_each_entry::<Stop>(open(layer)?, &Limits::default(), &mut |meta, content| {
        let file = LayerFile { layer: number, entry };
        entry += 1;
        adder.entry(meta, content, file)
    });
    match done {
        Ok(digests) if digests.diff_id != layer.diff_id => Err(TreeError::WrongLayer { expected: layer.diff_id, found: digests.diff_id }),
        Ok(_) | Err(Stop::Done) => Ok(()),
        Err(Stop::Tree(error)) => Err(error),
        Err(Stop::Read(source)) => Err(TreeError::Layer { diff_id: layer.diff_id, source }),
    }
}

/// Copies the content of entries into the spool and says where it lies.
pub(super) fn extract(layer: &IndexedLayer, wanted: &HashSet<u32>, spool: &Spool) -> Result<HashMap<u32, u64>> {
    let mut found = HashMap::with_capacity(wanted.len());
    let mut entry = 0;
    let done = for_each_entry::<Stop>(open(layer)?, &Limits::default(), &mut |_, content| {
        if wanted.contains(&entry) {
            found.insert(entry, spool.append(content)?.0);
        }
        entry += 1;
        if found.len() == wanted.len() { Err(Stop::Done) } else { Ok(()) }
    });
    match done {
        Ok(_) | Err(Stop::Done) => Ok(found),
        Err(Stop::Tree(error)) => Err(error),
        Err(Stop::Read(source)) => Err(TreeError::Layer { diff_id: layer.diff_id, source }),
    }
}

struct Adder<'a> {
    /// Without this layer: what its markers may remove.
    below: Inodes,
    inodes: &'a mut Inodes,
}

impl Adder<'_> {
    fn entry(&mut self, meta: &EntryMeta, content: &mut dyn Read, file: LayerFile) -> Result<(), Stop> {
        let marked = match classify(&meta.path) {
            Marker::Entry => return self.put(meta, content, file),
            Marker::Removed(path) => {
                let Some(path) = self.existing(&path)? else { return Ok(()) };
                self.remove_lower(&path);
                return Ok(());
            }
            Marker::Opaque(directory) => directory,
            Marker::Ignored => return Ok(()),
            Marker::Invalid => return Err(Stop::Read(ReadError::Corrupt { what: format!("{:?} is no valid whiteout", meta.path) })),
        };
        if let Some(directory) = self.existing(&marked)? {
            let names: Vec<_> =
                self.inodes.get(&directory).and_then(Inode::children).into_iter().flatten().map(|(name, _)| name.clone()).collect();
            for name in names {
                self.remove_lower(&directory.join(&*name));
            }
        }
        Ok(())
    }

    /// Where a path leads whose parents' links are followed; none where a parent is missing.
    fn existing(&self, path: &Path) -> Result<Option<PathBuf>> {
        let found = resolve(&*self.inodes, Path::new(""), path, Last::Keep)?;
        Ok(found.node.is_some().then_some(found.path))
    }

    /// Removes what the layers below have there, and leaves what this one has put there.
    fn remove_lower(&mut self, path: &Path) {
        let Some(lower) = self.below.get_shared(path) else { return };
        let Some(now) = self.inodes.get_shared(path) else { return };
        if Arc::ptr_eq(lower, now) {
            return self.inodes.remove(path);
        }
        let (Some(_), Some(children)) = (lower.children(), now.children()) else { return };
        let names: Vec<_> = children.keys().cloned().collect();
        for name in names {
            self.remove_lower(&path.join(&*name));
        }
    }

    /// The place of an entry, with directories made where none are.
    fn place(&mut self, path: &Path) -> Result<PathBuf> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(PathBuf::new()) };
        // As a rule the parents are there and no links.
        if self.inodes.get(parent).is_some_and(|inode| inode.children().is_some()) {
            return Ok(path.to_owned());
        }
        let found = resolve(&*self.inodes, Path::new(""), parent, Last::Follow)?;
        let missing: Vec<&Path> = found
            .path
            .ancestors()
            .take_while(|ancestor| self.inodes.get(ancestor).is_none_or(|inode| inode.children().is_none()))
            .collect();
        for ancestor in missing.into_iter().rev() {
            self.inodes.insert(ancestor, Inode { meta: Meta::new(&Attributes::default()), body: Body::Directory(Children::new()) })?;
        }
        Ok(found.path.join(name))
    }

    fn put(&mut self, meta: &EntryMeta, content: &mut dyn Read, file: LayerFile) -> Result<(), Stop> {
        let attributes =
            Attributes { owner: Some((meta.uid, meta.gid)), mode: Some(meta.mode), xattrs: meta.xattrs.clone(), mtime: Some(meta.mtime) };
        let path = self.place(&meta.path)?;
        let body = match &meta.kind {
            EntryKind::Directory => {
                // One that is there keeps what is in it, and only that.
                let children = self.inodes.get_mut(&path).and_then(|inode| inode.children_mut().map(std::mem::take));
                let inode = Inode { meta: Meta::new(&attributes), body: Body::Directory(children.unwrap_or_default()) };
                if path.as_os_str().is_empty() {
                    self.inodes.root = Arc::new(inode);
                } else {
                    self.inodes.insert(&path, inode)?;
                }
                return Ok(());
            }
            _ if path.as_os_str().is_empty() => {
                return Err(Stop::Read(ReadError::Corrupt { what: "the root is no directory".to_owned() }));
            }
            EntryKind::HardLink(target) => {
                let target = resolve(&*self.inodes, Path::new(""), target, Last::Keep)?;
                if target.node.is_none_or(|node| node.is_dir()) {
                    let what = format!("{:?} is a hard link to {:?}, which is no file", meta.path, target.path);
                    return Err(Stop::Read(ReadError::Corrupt { what }));
                }
                if target.path != path {
                    // Its header counts for the file.
                    self.inodes.set_attributes(&target.path, &attributes);
                    self.inodes.hard_link(&target.path, &path)?;
                }
                return Ok(());
            }
            EntryKind::File => Body::File { size: meta.size, link: 0, data: data(meta, content, file)? },
            EntryKind::Symlink(target) => Body::Symlink(OsString::from(target).into()),
            EntryKind::Fifo => Body::Fifo,
            EntryKind::CharDevice(major, minor) => Body::CharDevice(*major, *minor),
            EntryKind::BlockDevice(major, minor) => Body::BlockDevice(*major, *minor),
        };
        self.inodes.insert(&path, Inode { meta: Meta::new(&attributes), body })?;
        Ok(())
    }
}

fn data(meta: &EntryMeta, content: &mut dyn Read, file: LayerFile) -> Result<Data, Stop> {
    if meta.size > LARGEST_KEPT || !KEPT.iter().any(|kept| meta.path == Path::new(kept)) {
        return Ok(Data::Layer(file));
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(ReadError::Io)?;
    Ok(Data::Bytes(bytes.into()))
}
