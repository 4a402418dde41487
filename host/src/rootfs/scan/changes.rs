//! The difference of two snapshots, as entries of a layer: the same that an overlay's upper directory gives.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{Directory, Entry, ScanError, Snapshot};
use crate::fs::{Kind, Metadata, Root};
use crate::layer::LayerWriter;
use crate::layer::entries::{EntryKind, EntryMeta, is_carried};
use crate::layer::whiteout::is_reserved;
use crate::rootfs::tree::ReadTree;

/// Something that is different.
pub(super) enum Change {
    /// There, and it was not, or it was something else.
    Present(PathBuf, Entry),
    /// There as before, but for the ctime: perhaps nothing, perhaps other content.
    Touched(PathBuf, Entry),
    /// There no more.
    Gone(PathBuf),
    /// A directory that took the place of another one.
    Fresh(PathBuf),
}

impl Snapshot {
    /// Writes what is different from `before` into a layer, parents first, sorted. `root` is the tree, unchanged since this was
    /// taken; `original` has the files as they were before, and is asked for those of which only the ctime changed.
    pub fn write_changes(&self, before: &Self, root: &Root, original: &dyn ReadTree, layer: &mut LayerWriter) -> Result<(), ScanError> {
        let changes = self.changes(before)?;
        let linked: HashSet<(u64, u64)> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Present(_, entry) if entry.linked => Some((entry.device, entry.inode)),
                _ => None,
            })
            .collect();
        let touched: Vec<PathBuf> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Touched(path, entry) if entry.kind() == FileType::RegularFile => Some(path.clone()),
                _ => None,
            })
            .filter(|path| original.stat(path).is_ok_and(|node| node.is_some_and(|node| node.kind == Kind::File)))
            .collect();
        if !touched.is_empty() {
            original.prefetch(&touched)?;
        }
        let mut writer = Writer { root, layer, parents: Vec::new(), names: HashMap::new() };
        for change in changes {
            match change {
                Change::Present(path, _) => writer.entry(&path)?,
                Change::Touched(path, entry) => {
                    let same = || is_as_before(root, original, &path);
                    if (entry.linked && linked.contains(&(entry.device, entry.inode))) || !same()? {
                        writer.entry(&path)?;
                    }
                }
                Change::Gone(path) => {
                    writer.parents(&path)?;
                    writer.layer.whiteout(&path)?;
                }
                Change::Fresh(path) => writer.layer.opaque(&path)?,
            }
        }
        Ok(())
    }

    pub(super) fn changes(&self, before: &Self) -> Result<Vec<Change>, ScanError> {
        let mut found = Vec::new();
        let top = |snapshot: &'_ Self| -> Option<usize> { (!snapshot.directories.is_empty()).then_some(0) };
        let (Some(now), then) = (top(self).and_then(|at| self.directories.get(at)), top(before).and_then(|at| before.directories.get(at)))
        else {
            return Ok(found);
        };
        let mut levels = vec![Level::new(PathBuf::new(), then, now)];
        while let Some(level) = levels.last_mut() {
            let Some((name, was, is)) = level.next() else {
                levels.pop();
                continue;
            };
            let path = level.path.join(name);
            let is = match (was, is) {
                // Sockets are in no layer.
                (Some(was), None) if was.kind() != FileType::Socket => {
                    found.push(Change::Gone(path));
                    continue;
                }
                (Some(was), Some(is)) if is.kind() == FileType::Socket && was.kind() != FileType::Socket => {
                    found.push(Change::Gone(path));
                    continue;
                }
                (_, None) => continue,
                (_, Some(is)) if is.kind() == FileType::Socket => continue,
                (_, Some(is)) => is,
            };
            let was = was.filter(|was| was.kind() == is.kind());
            if is.kind() == FileType::Directory {
                let now = self.directory(is);
                let then = was.filter(|was| was.is_same_inode(is)).and_then(|was| before.directory(was).map(|directory| (was, directory)));
                let same = then.is_some_and(|(was, directory)| {
                    (was.mode, was.uid, was.gid) == (is.mode, is.uid, is.gid) && now.is_some_and(|now| now.xattrs == directory.xattrs)
                });
                if !same {
                    reserved(&path, was)?;
                    found.push(Change::Present(path.clone(), *is));
                }
                if was.is_some() && then.is_none() {
                    found.push(Change::Fresh(path.clone()));
                }
                if let Some(now) = now {
                    levels.push(Level::new(path, then.map(|(_, directory)| directory), now));
                }
                continue;
            }
            match was {
                Some(was) if is.is_unchanged_since(was) => {}
                Some(was) if is.is_same_inode(was) && is.looks_like(was) => found.push(Change::Touched(path, *is)),
                _ => {
                    reserved(&path, was)?;
                    found.push(Change::Present(path, *is));
                }
            }
        }
        Ok(found)
    }
}

fn reserved(path: &Path, was: Option<&Entry>) -> Result<(), ScanError> {
    match path.file_name() {
        Some(name) if was.is_none() && is_reserved(name) => Err(ScanError::ReservedName { path: path.to_owned() }),
        _ => Ok(()),
    }
}

type Entries<'a> = Peekable<Box<dyn Iterator<Item = (&'a std::ffi::OsStr, &'a Entry)> + 'a>>;

/// Two states of one directory, side by side.
struct Level<'a> {
    path: PathBuf,
    then: Entries<'a>,
    now: Entries<'a>,
}

type Pair<'a> = (&'a std::ffi::OsStr, Option<&'a Entry>, Option<&'a Entry>);

impl<'a> Level<'a> {
    fn new(path: PathBuf, then: Option<&'a Directory>, now: &'a Directory) -> Self {
        let entries = |directory: Option<&'a Directory>| -> Entries<'a> {
            let all: Box<dyn Iterator<Item = _>> = Box::new(directory.into_iter().flat_map(Directory::entries));
            all.peekable()
        };
        Self { path, then: entries(then), now: entries(Some(now)) }
    }

    fn next(&mut self) -> Option<Pair<'a>> {
        let order = match (self.then.peek(), self.now.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((then, _)), Some((now, _))) => then.cmp(now),
        };
        let was = if order == Ordering::Greater { None } else { self.then.next() };
        let is = if order == Ordering::Less { None } else { self.now.next() };
        let name = was.or(is).map(|(name, _)| name)?;
        Some((name, was.map(|(_, entry)| entry), is.map(|(_, entry)| entry)))
    }
}

/// Writes entries, and those of the directories that they lie in before them.
struct Writer<'a> {
    root: &'a Root,
    layer: &'a mut LayerWriter,
    /// Directories, each in the one before it, that have an entry.
    parents: Vec<PathBuf>,
    /// Where the first name of a file with several is: by device and inode.
    names: HashMap<(u64, u64), PathBuf>,
}

impl Writer<'_> {
    fn parents(&mut self, path: &Path) -> Result<(), ScanError> {
        while self.parents.pop_if(|parent| !path.starts_with(&*parent)).is_some() {}
        let known = self.parents.last().cloned().unwrap_or_default();
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|above| *above != known && !above.as_os_str().is_empty()).collect();
        for directory in missing.into_iter().rev() {
            let meta = self.meta(directory)?;
            self.layer.append(&meta, None)?;
            self.parents.push(directory.to_owned());
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<(), ScanError> {
        self.parents(path)?;
        let found = self.stat(path)?;
        let mut meta = self.meta(path)?;
        if found.kind != Kind::Directory && found.nlink > 1 {
            let id = (found.dev, found.ino);
            if let Some(first) = self.names.get(&id) {
                meta.kind = EntryKind::HardLink(first.clone());
                meta.size = 0;
            } else {
                self.names.insert(id, path.to_owned());
            }
        }
        match meta.kind {
            EntryKind::File => self.layer.append(&meta, Some(&mut self.root.open_file(path)?))?,
            EntryKind::Directory => {
                self.layer.append(&meta, None)?;
                self.parents.push(path.to_owned());
            }
            _ => self.layer.append(&meta, None)?,
        }
        Ok(())
    }

    fn stat(&self, path: &Path) -> Result<Metadata, ScanError> {
        let gone = || ScanError::Look { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
        self.root.stat(path)?.ok_or_else(gone)
    }

    fn meta(&self, path: &Path) -> Result<EntryMeta, ScanError> {
        let found = self.stat(path)?;
        let mut xattrs = self.root.xattrs(path)?;
        xattrs.retain(|name, _| is_carried(name));
        let kind = match found.kind {
            Kind::File | Kind::Socket => EntryKind::File,
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink => EntryKind::Symlink(self.root.read_link(path)?.into_os_string()),
            Kind::Fifo => EntryKind::Fifo,
            Kind::CharDevice => EntryKind::CharDevice(found.device.0, found.device.1),
            Kind::BlockDevice => EntryKind::BlockDevice(found.device.0, found.device.1),
        };
        let size = if kind == EntryKind::File { found.size } else { 0 };
        let (mode, uid, gid, mtime) = (found.mode, found.uid, found.gid, found.mtime);
        Ok(EntryMeta { path: path.to_owned(), kind, mode, uid, gid, mtime, size, xattrs })
    }
}

/// Whether a file that was touched is what it was. Its metadata is: content, target and extended attributes decide.
fn is_as_before(root: &Root, original: &dyn ReadTree, path: &Path) -> Result<bool, ScanError> {
    let (Some(was), Some(is)) = (original.stat(path)?, root.stat(path)?) else { return Ok(false) };
    let mut xattrs = root.xattrs(path)?;
    xattrs.retain(|name, _| is_carried(name));
    if was.kind != is.kind || (was.mode, was.uid, was.gid) != (is.mode, is.uid, is.gid) || original.xattrs(path)? != xattrs {
        return Ok(false);
    }
    let compare = |source| ScanError::Look { path: path.to_owned(), source };
    match is.kind {
        Kind::File => Ok(was.size == is.size && same_content(original.open(path, &was)?, root.open_file(path)?).map_err(compare)?),
        Kind::Symlink => Ok(original.read_link(path)? == root.read_link(path)?),
        _ => Ok(was.device == is.device),
    }
}

/// Whether two streams hold the same bytes.
pub(in crate::rootfs) fn same_content(mut one: impl Read, mut other: impl Read) -> io::Result<bool> {
    let (mut here, mut there) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = one.read(&mut here)?;
        if count == 0 {
            return Ok(other.read(&mut there)? == 0);
        }
        let there = there.get_mut(..count).unwrap_or_default();
        match other.read_exact(there) {
            Ok(()) if here.get(..count) == Some(there) => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(false),
        }
    }
}
