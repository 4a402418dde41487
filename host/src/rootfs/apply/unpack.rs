//! ADD of an archive: its entries become files below the destination, which none of them leaves.
//!
//! As Docker does it: the last entry of a name counts, a file takes the place of a directory and the other way round, an
//! entry for the destination itself says nothing, and links in the archive are resolved below the destination. Other than
//! there, names that stand for removals are an error.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::copy::Copier;
use super::{ApplyError, Result};
use crate::fs::{Attributes, Kind};
use crate::layer::archive::decompressed;
use crate::layer::entries::{EntryKind, EntryMeta, Limits, ReadError, for_each_entry};
use crate::layer::whiteout::is_reserved;
use crate::rootfs::tree::{Content, Last, Node, ReadTree, TreeError, make_dirs, resolve};

enum Stop {
    Read(ReadError),
    Apply(ApplyError),
    Found,
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl<E: Into<ApplyError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Apply(error.into())
    }
}

/// Users' archives come from many programs.
fn tolerant() -> Limits {
    Limits { skip_nameless: true, ..Limits::default() }
}

/// Whether a file is a tar, compressed or not, with at least one entry. Its name does not count; nor does it whether it can be unpacked.
pub(super) fn is_archive(tree: &dyn ReadTree, path: &Path, node: &Node) -> Result<bool> {
    let done = for_each_entry::<Stop>(open(tree, path, node)?, &tolerant(), &mut |_, _| Err(Stop::Found));
    match done {
        Err(Stop::Found | Stop::Read(ReadError::Limit { .. })) => Ok(true),
        Err(Stop::Apply(error)) => Err(error),
        Ok(_) | Err(Stop::Read(_)) => Ok(false),
    }
}

/// Without its compression, as far as that is not the reader of layers' own matter.
fn open(tree: &dyn ReadTree, path: &Path, node: &Node) -> Result<Box<dyn Read + Send>> {
    let failed = |source| TreeError::Io { action: "read", path: path.to_owned(), source };
    Ok(decompressed(tree.open(path, node)?).map_err(failed)?)
}

pub(super) fn unpack(copier: &mut Copier<'_>, from: &Path, node: &Node, to: &Path) -> Result<()> {
    let archive = open(&*copier.source.tree, from, node)?;
    let mut times = Vec::new();
    let done = for_each_entry::<Stop>(archive, &tolerant(), &mut |meta, content| {
        entry(copier, from, to, meta, content, &mut times).map_err(Stop::Apply)
    });
    match done {
        Ok(_) | Err(Stop::Found) => {}
        Err(Stop::Apply(error)) => return Err(error),
        Err(Stop::Read(source)) => return Err(ApplyError::Archive { archive: from.to_owned(), source }),
    }
    // What came after them has changed the times of directories.
    for (path, mtime) in times {
        if copier.tree.stat(&path)?.is_some_and(|node| node.is_dir()) {
            copier.tree.set_attributes(&path, &Attributes { mtime: Some(mtime), ..Attributes::default() })?;
        }
    }
    Ok(())
}

fn entry(
    copier: &mut Copier<'_>,
    archive: &Path,
    base: &Path,
    meta: &EntryMeta,
    content: &mut dyn Read,
    times: &mut Vec<(PathBuf, crate::fs::Time)>,
) -> Result<()> {
    let Some((parent, name)) = meta.path.parent().zip(meta.path.file_name()) else { return Ok(()) };
    if meta.path.iter().any(is_reserved) {
        return Err(ApplyError::Reserved(base.join(&meta.path)));
    }
    // Parents that the archive does not bring are nobody's.
    let implied = super::Ownerships::default().implied(copier.context);
    let path = make_dirs(copier.tree, base, parent, &implied)?.join(name);
    let there = copier.tree.stat(&path)?;
    let directory = meta.kind == EntryKind::Directory;
    if there.is_some_and(|there| !(there.is_dir() && directory)) {
        copier.tree.remove(&path)?;
    }
    let owner = copier.ownerships.owner.unwrap_or((meta.uid, meta.gid));
    let mode = (!matches!(meta.kind, EntryKind::Symlink(_))).then_some(meta.mode);
    let attributes = Attributes { owner: Some(owner), mode, xattrs: meta.xattrs.clone(), mtime: Some(meta.mtime) };
    let tree = &mut *copier.tree;
    match &meta.kind {
        EntryKind::Directory => {
            if there.is_some_and(|there| there.is_dir()) {
                tree.set_attributes(&path, &attributes)?;
            } else {
                tree.make_dir(&path, &attributes)?;
            }
            times.push((path, meta.mtime));
        }
        EntryKind::File => tree.put_file(&path, &attributes, Content::Stream(content, meta.size))?,
        EntryKind::Symlink(target) => tree.symlink(&path, OsStr::new(target), &attributes)?,
        EntryKind::HardLink(target) => {
            let found = resolve(&*tree, base, target, Last::Keep)?;
            let Some(node) = found.node.filter(|node| !node.is_dir()) else {
                let what = format!("{:?} is a hard link to {target:?}, which is no file below the destination", meta.path);
                return Err(ApplyError::ArchiveEntry { archive: archive.to_owned(), what });
            };
            // It has a header of its own, which then counts for the file.
            if node.kind != Kind::Symlink && ((node.uid, node.gid) != owner || node.mode != meta.mode || node.mtime != meta.mtime) {
                tree.set_attributes(&found.path, &attributes)?;
            }
            tree.hard_link(&found.path, &path)?;
        }
        EntryKind::Fifo => tree.make_node(&path, Kind::Fifo, (0, 0), &attributes)?,
        EntryKind::CharDevice(major, minor) => tree.make_node(&path, Kind::CharDevice, (*major, *minor), &attributes)?,
        EntryKind::BlockDevice(major, minor) => tree.make_node(&path, Kind::BlockDevice, (*major, *minor), &attributes)?,
    }
    Ok(())
}
