//! Turning a layer into files.
//!
//! Every path goes through a [`Root`], so nothing in an archive reaches beyond it. Entries take effect in their order, the
//! last of a name counts, and markers of removal never touch what the same layer brings.

mod lowers;

#[cfg(test)]
mod readers_tests;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::entries::{Entries, EntryKind, EntryMeta, LayerDigests, Limits, ReadError, with_entries};
use super::whiteout::{self, Marker, WHITEOUT_DEVICE, is_device, opaque_xattr};
use crate::fs::{self, Attributes, Kind, Metadata, Root, Shown, Time};
use crate::oci::DiffId;

pub use lowers::{Found, Lowers};

/// What a layer is extracted to.
#[derive(Clone, Copy, Debug)]
pub enum ExtractMode<'a> {
    /// An empty directory that holds this layer alone, in the form that overlayfs stacks. Removals become its markers. The
    /// layers below are asked for the owner and mode of parents that the layer does not bring, and for the targets of hard
    /// links; without them such a layer is refused with [`ExtractError::NeedsLowers`].
    Overlay(Option<&'a Lowers>),
    /// A directory that holds the layers below already; removals take effect.
    Merge,
}

/// How a layer is extracted.
#[derive(Clone, Copy, Debug)]
pub struct ExtractOptions<'a> {
    /// Onto what.
    pub mode: ExtractMode<'a>,
    /// What is too much.
    pub limits: Limits,
    /// What the uncompressed bytes must digest to. Where they do not, the tree is left as far as it got: throw it away.
    pub expected: Option<DiffId>,
}

/// What has been extracted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extracted {
    /// Of the layer.
    pub digests: LayerDigests,
    /// Whether the layers below were asked for anything, so that the result belongs to this stack of layers alone.
    pub used_lowers: bool,
    /// Devices that this process may not make, and extended attributes that the filesystem does not hold.
    pub left_out: u64,
}

/// Why a layer cannot be extracted.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be made.
    #[error("cannot extract {}", Shown(entry))]
    Entry {
        /// The entry's path.
        entry: PathBuf,
        /// What failed.
        source: fs::Error,
    },
    /// A marker that removes nothing that it could.
    #[error("cannot extract {}: it is no valid whiteout", Shown(entry))]
    Whiteout {
        /// The entry's path.
        entry: PathBuf,
    },
    /// A hard link to nothing.
    #[error("cannot extract {}: it is a hard link to {}, which is neither in this layer nor in one below", Shown(entry), Shown(target))]
    LinkTarget {
        /// The entry's path.
        entry: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// The layer is not the one that the configuration names.
    #[error("the layer's content is not what the image's configuration names: expected {expected}, got {found}")]
    DiffId {
        /// From the configuration.
        expected: DiffId,
        /// Of the bytes.
        found: DiffId,
    },
    /// The layer only makes sense on top of those below.
    #[error("cannot extract {} without the layers below", Shown(entry))]
    NeedsLowers {
        /// The entry's path.
        entry: PathBuf,
    },
}

/// Extracts a layer, compressed in whatever way, into a directory.
pub fn extract(layer: impl Read + Send, root: &Root, options: &ExtractOptions<'_>) -> Result<Extracted, ExtractError> {
    let mut extractor = Extractor {
        root,
        mode: options.mode,
        directories: HashMap::new(),
        brought: HashSet::new(),
        state: RandomState::new(),
        used_lowers: false,
        left_out: 0,
    };
    let digests = with_entries(layer, &options.limits, |entries| {
        while let Some(meta) = entries.next_entry()? {
            match extractor.entry(&meta, entries) {
                // Somebody else's, mounted here perhaps: the image has it, the tree does not.
                Err(ExtractError::Entry { source, .. }) if source.is_guarded() => extractor.left_out += 1,
                done => done?,
            }
        }
        extractor.finish()
    })?;
    if let Some(expected) = options.expected.filter(|expected| *expected != digests.diff_id) {
        return Err(ExtractError::DiffId { expected, found: digests.diff_id });
    }
    Ok(Extracted { digests, used_lowers: extractor.used_lowers, left_out: extractor.left_out })
}

struct Extractor<'a> {
    root: &'a Root,
    mode: ExtractMode<'a>,
    /// What a directory gets when nothing more is made in it: its time, and a mode that would keep us out.
    directories: HashMap<PathBuf, (Time, Option<u32>)>,
    /// In merge mode, a keyed hash of every path that this layer brings, parents included: millions of paths would be too much.
    brought: HashSet<u64>,
    state: RandomState,
    used_lowers: bool,
    left_out: u64,
}

type Done<T = ()> = Result<T, ExtractError>;

impl Extractor<'_> {
    fn entry(&mut self, meta: &EntryMeta, content: &mut Entries) -> Done {
        match whiteout::classify(&meta.path) {
            Marker::Entry => self.create(meta, content),
            Marker::Removed(path) => self.removed(&path),
            Marker::Opaque(directory) => self.opaque(&directory),
            Marker::Ignored => Ok(()),
            Marker::Invalid => Err(ExtractError::Whiteout { entry: meta.path.clone() }),
        }
    }

    fn create(&mut self, meta: &EntryMeta, content: &mut Entries) -> Done {
        let path = meta.path.as_path();
        self.bring(path);
        let attributes =
            Attributes { owner: Some((meta.uid, meta.gid)), mode: Some(meta.mode), xattrs: meta.xattrs.clone(), mtime: Some(meta.mtime) };
        match &meta.kind {
            EntryKind::Directory => self.directory(meta, attributes),
            EntryKind::File => self.file(meta, content, attributes),
            EntryKind::HardLink(target) => self.hard_link(path, target),
            EntryKind::Symlink(target) => {
                self.make(path, |root| root.symlink(target, path))?;
                // A link has no mode, and user attributes belong to files and directories.
                self.set(path, Attributes { mode: None, xattrs: fs::Xattrs::new(), ..attributes })
            }
            EntryKind::Fifo => self.node(path, Kind::Fifo, (0, 0), attributes),
            EntryKind::CharDevice(major, minor) => self.node(path, Kind::CharDevice, (*major, *minor), attributes),
            EntryKind::BlockDevice(major, minor) => self.node(path, Kind::BlockDevice, (*major, *minor), attributes),
        }
    }

    fn directory(&mut self, meta: &EntryMeta, mut attributes: Attributes) -> Done {
        let path = meta.path.as_path();
        let existing = if path.as_os_str().is_empty() { Some(Kind::Directory) } else { self.stat(path)?.map(|found| found.kind) };
        if existing != Some(Kind::Directory) {
            self.make(path, |root| root.make_dir(path, 0o700))?;
            // It takes the place of something that hid what is below.
            if existing.is_some() && matches!(self.mode, ExtractMode::Overlay(_)) {
                self.hide_below(path)?;
            }
        }
        // Without these bits a process without privileges could not fill it.
        let late = (meta.mode & 0o700 != 0o700).then_some(meta.mode);
        attributes.mode = Some(meta.mode | 0o700);
        self.directories.insert(path.to_owned(), (meta.mtime, late));
        self.set(path, attributes)
    }

    fn file(&mut self, meta: &EntryMeta, content: &mut Entries, attributes: Attributes) -> Done {
        let path = meta.path.as_path();
        let mut file = self.make(path, |root| root.create_file(path, 0o600))?;
        let failed = |source| entry_error(path, "write", path, source);
        let mut at = 0;
        let mut content = content.content();
        while let Some((offset, data)) = content.next_data().map_err(ReadError::from)? {
            if offset != at {
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            }
            file.write_all(data).map_err(failed)?;
            at = offset + data.len() as u64;
        }
        if at != meta.size {
            file.set_len(meta.size).map_err(failed)?;
        }
        self.without_xattrs(attributes, |attributes| fs::set_attributes(&file, attributes)).map_err(failed)
    }

    fn node(&mut self, path: &Path, kind: Kind, device: (u32, u32), attributes: Attributes) -> Done {
        match self.make(path, |root| root.make_node(path, kind, 0o600, device)) {
            Ok(()) => self.set(path, Attributes { xattrs: fs::Xattrs::new(), ..attributes }),
            // A user namespace may not make devices.
            Err(ExtractError::Entry { source, .. }) if kind != Kind::Fifo && source.kind() == io::ErrorKind::PermissionDenied => {
                self.left_out += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn hard_link(&mut self, path: &Path, target: &Path) -> Done {
        let missing = || ExtractError::LinkTarget { entry: path.to_owned(), target: target.to_owned() };
        match self.stat(target)? {
            Some(found) if is_device(&found) => return Err(missing()),
            Some(found) if found.kind == Kind::Directory => return Err(missing()),
            Some(_) => {}
            None => {
                let ExtractMode::Overlay(lowers) = self.mode else { return Err(missing()) };
                let lowers = lowers.ok_or_else(|| ExtractError::NeedsLowers { entry: path.to_owned() })?;
                self.used_lowers = true;
                let found = lowers.find(target).map_err(|source| ExtractError::Entry { entry: path.to_owned(), source })?;
                self.copy_up(target, &found.filter(|found| found.metadata.kind != Kind::Directory).ok_or_else(missing)?)?;
            }
        }
        if path == target {
            return Ok(());
        }
        match self.make(path, |root| root.hard_link(target, path)) {
            // Making room for the link took its target away: it was below, or the same by another way.
            Err(ExtractError::Entry { source, .. }) if source.kind() == io::ErrorKind::NotFound => Err(missing()),
            other => other,
        }
    }

    /// Brings a file of a layer below into this one, as overlayfs does before it makes a link to it.
    fn copy_up(&mut self, path: &Path, found: &Found<'_>) -> Done {
        let Found { root: lower, metadata } = found;
        let failed = |source| ExtractError::Entry { entry: path.to_owned(), source };
        let attributes = attributes_of(lower, path, metadata).map_err(failed)?;
        match metadata.kind {
            Kind::File => {
                let mut from = lower.open_file(path).map_err(failed)?;
                let mut to = self.make(path, |root| root.create_file(path, 0o600))?;
                io::copy(&mut from, &mut to).map_err(|source| entry_error(path, "copy", path, source))?;
                self.set(path, attributes)
            }
            Kind::Symlink => {
                let target = lower.read_link(path).map_err(failed)?;
                self.make(path, |root| root.symlink(&target, path))?;
                self.set(path, Attributes { mode: None, ..attributes })
            }
            kind => self.node(path, kind, metadata.device, attributes),
        }
    }

    fn removed(&mut self, path: &Path) -> Done {
        match self.mode {
            ExtractMode::Overlay(_) => match self.stat(path)? {
                // What this layer brings stays; only what is below goes.
                Some(found) if found.kind == Kind::Directory => self.hide_below(path),
                Some(_) => Ok(()),
                None => {
                    let parent = path.parent().unwrap_or(Path::new(""));
                    // Nothing shines through there, and overlayfs would show the marker.
                    if self.is_opaque(parent)? {
                        return Ok(());
                    }
                    self.make(path, |root| root.make_node(path, Kind::CharDevice, 0, WHITEOUT_DEVICE))
                }
            },
            ExtractMode::Merge => match self.stat(path)? {
                Some(_) if !self.has_brought(path) => self.at(path, self.root.remove(path)),
                Some(found) if found.kind == Kind::Directory => self.prune(path),
                _ => Ok(()),
            },
        }
    }

    fn opaque(&mut self, directory: &Path) -> Done {
        match self.mode {
            ExtractMode::Overlay(_) => {
                if !directory.as_os_str().is_empty() && self.stat(directory)?.is_none_or(|found| found.kind != Kind::Directory) {
                    self.at(directory, self.root.remove(directory))?;
                    self.parents(directory, directory)?;
                }
                self.hide_below(directory)
            }
            ExtractMode::Merge => match self.stat(directory)? {
                Some(found) if found.kind == Kind::Directory => self.prune(directory),
                _ => Ok(()),
            },
        }
    }

    fn hide_below(&self, directory: &Path) -> Done {
        self.at(directory, self.root.set_xattr(directory, opaque_xattr(), b"y"))
    }

    fn is_opaque(&self, directory: &Path) -> Done<bool> {
        match self.root.xattr(directory, opaque_xattr()) {
            Ok(value) => Ok(value.as_deref() == Some(b"y")),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(source) => Err(ExtractError::Entry { entry: directory.to_owned(), source }),
        }
    }

    /// Removes below a directory what this layer has not brought.
    fn prune(&mut self, directory: &Path) -> Done {
        let mut doomed = Vec::new();
        let mut walk = self.at(directory, self.root.walk(directory))?;
        while let Some(entry) = self.at(directory, walk.next())? {
            let path = directory.join(entry.path);
            if !self.has_brought(&path) {
                doomed.push(path);
                walk.skip();
            }
        }
        doomed.iter().try_for_each(|path| self.at(path, self.root.remove(path)))
    }

    /// Makes something under a name, and room for it: parents where they are missing, nothing where something was.
    fn make<T>(&mut self, path: &Path, mut make: impl FnMut(&Root) -> fs::Result<T>) -> Done<T> {
        let mut tried_parents = false;
        let mut tried_remove = false;
        loop {
            match make(self.root) {
                Ok(made) => return Ok(made),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !tried_parents => {
                    tried_parents = true;
                    self.parents(path, path.parent().unwrap_or(Path::new("")))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !tried_remove => {
                    tried_remove = true;
                    self.at(path, self.root.remove(path))?;
                }
                Err(source) => return Err(ExtractError::Entry { entry: path.to_owned(), source }),
            }
        }
    }

    /// Makes the directories that an entry needs and the archive does not have: as they are below, else root's, 0755.
    fn parents(&mut self, entry: &Path, directory: &Path) -> Done {
        let lowers = match self.mode {
            ExtractMode::Overlay(None) => return Err(ExtractError::NeedsLowers { entry: entry.to_owned() }),
            ExtractMode::Overlay(Some(lowers)) => Some(lowers),
            ExtractMode::Merge => None,
        };
        let mut times = Vec::new();
        let made = self.root.make_dirs_with(directory, &mut |path| {
            let below = lowers.map(|lowers| parent_attributes(lowers, path)).transpose().map_err(|error| error.source)?;
            let attributes = below.flatten().unwrap_or_else(|| Attributes {
                owner: Some((0, 0)),
                mode: Some(0o755),
                mtime: Some(Time::default()),
                ..Attributes::default()
            });
            times.push(attributes.mtime.unwrap_or_default());
            Ok(attributes)
        });
        let made = self.at(entry, made)?;
        self.used_lowers |= lowers.is_some();
        for (path, time) in made.created.into_iter().zip(times) {
            self.bring(&path);
            self.directories.insert(path, (time, None));
        }
        Ok(())
    }

    fn set(&mut self, path: &Path, attributes: Attributes) -> Done {
        let root = self.root;
        let mut error = None;
        let set = |attributes: &Attributes| {
            root.set_attributes(path, attributes).map_err(|failed| {
                let code = failed.source.raw_os_error();
                error = Some(failed);
                code.map_or_else(|| io::Error::other("failed"), io::Error::from_raw_os_error)
            })
        };
        match self.without_xattrs(attributes, set) {
            Ok(()) => Ok(()),
            Err(other) => {
                let source = error.unwrap_or(fs::Error { action: "set attributes of", path: path.to_owned(), source: other });
                Err(ExtractError::Entry { entry: path.to_owned(), source })
            }
        }
    }

    /// Sets attributes, the extended ones only where the filesystem has any.
    fn without_xattrs(&mut self, attributes: Attributes, mut set: impl FnMut(&Attributes) -> io::Result<()>) -> io::Result<()> {
        match set(&attributes) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported && !attributes.xattrs.is_empty() => {
                self.left_out += attributes.xattrs.len() as u64;
                set(&Attributes { xattrs: fs::Xattrs::new(), ..attributes })
            }
            done => done,
        }
    }

    /// Directories get their times when nothing more is made in them; deepest first, for modes may close the way.
    fn finish(&mut self) -> Done {
        let mut directories: Vec<_> = self.directories.drain().collect();
        directories.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        for (path, (mtime, mode)) in directories {
            // It may have been replaced since.
            if self.stat(&path)?.is_some_and(|found| found.kind == Kind::Directory) {
                let attributes = Attributes { mode, mtime: Some(mtime), ..Attributes::default() };
                self.at(&path, self.root.set_attributes(&path, &attributes))?;
            }
        }
        Ok(())
    }

    fn stat(&self, path: &Path) -> Done<Option<Metadata>> {
        self.at(path, self.root.stat(path))
    }

    fn at<T>(&self, entry: &Path, done: fs::Result<T>) -> Done<T> {
        done.map_err(|source| ExtractError::Entry { entry: entry.to_owned(), source })
    }

    fn bring(&mut self, path: &Path) {
        if matches!(self.mode, ExtractMode::Merge) {
            for path in path.ancestors() {
                if !self.brought.insert(self.state.hash_one(path.as_os_str())) {
                    break;
                }
            }
        }
    }

    fn has_brought(&self, path: &Path) -> bool {
        self.brought.contains(&self.state.hash_one(path.as_os_str()))
    }
}

fn entry_error(entry: &Path, action: &'static str, path: &Path, source: io::Error) -> ExtractError {
    ExtractError::Entry { entry: entry.to_owned(), source: fs::Error { action, path: path.to_owned(), source } }
}

/// What a directory of the layers below is like; where there is a link, the directory that it leads to.
fn parent_attributes(lowers: &Lowers, path: &Path) -> fs::Result<Option<Attributes>> {
    let Some(Found { root, metadata }) = lowers.find(path)? else { return Ok(None) };
    match metadata.kind {
        Kind::Directory => attributes_of(root, path, &metadata).map(Some),
        Kind::Symlink => {
            let behind = root.stat_follow(path)?.filter(|found| found.kind == Kind::Directory);
            Ok(behind.map(|found| Attributes {
                owner: Some((found.uid, found.gid)),
                mode: Some(found.mode),
                mtime: Some(found.mtime),
                ..Attributes::default()
            }))
        }
        _ => Ok(None),
    }
}

fn attributes_of(root: &Root, path: &Path, metadata: &Metadata) -> fs::Result<Attributes> {
    let mut xattrs = root.xattrs(path)?;
    xattrs.retain(|name, _| super::entries::is_carried(name));
    Ok(Attributes { owner: Some((metadata.uid, metadata.gid)), mode: Some(metadata.mode), xattrs, mtime: Some(metadata.mtime) })
}
