//! A tree of inodes that shares with older versions of itself what has not changed. About 200 bytes for each name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Attributes, Kind, Time, Xattrs};
use crate::rootfs::tree::{Look, Node, Result, TreeError};

/// Directories below each other: what walks through them calls itself for each.
const DEEPEST: usize = 1024;

pub(super) type Children = BTreeMap<Box<OsStr>, Arc<Inode>>;

#[derive(Clone)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    pub(super) body: Body,
}

#[derive(Clone)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    /// Nearly always none.
    xattrs: Option<Box<Xattrs>>,
}

#[derive(Clone)]
pub(super) enum Body {
    Directory(Children),
    File {
        size: u64,
        /// The same for all names of one file; 0 where it has only one.
        link: u32,
        data: Data,
    },
    Symlink(Box<OsStr>),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// Where content lies.
#[derive(Clone)]
pub(super) enum Data {
    Bytes(Arc<[u8]>),
    Layer(LayerFile),
    /// At this offset of the spool.
    Spool(u64),
    /// In the source of this number, at this path.
    Tree(u32, Box<Path>),
}

/// The number of a layer and of an entry in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct LayerFile {
    pub(super) layer: u32,
    pub(super) entry: u32,
}

impl Meta {
    pub(super) fn new(attributes: &Attributes) -> Self {
        let mut meta = Self { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: None };
        meta.set(attributes);
        meta
    }

    fn set(&mut self, attributes: &Attributes) {
        if let Some((uid, gid)) = attributes.owner {
            (self.uid, self.gid) = (uid, gid);
        }
        if let Some(mode) = attributes.mode {
            self.mode = mode & 0o7777;
        }
        if let Some(mtime) = attributes.mtime {
            self.mtime = mtime;
        }
        if !attributes.xattrs.is_empty() {
            self.xattrs.get_or_insert_default().extend(attributes.xattrs.clone());
        }
    }

    /// Whether setting these would change nothing.
    fn has(&self, attributes: &Attributes) -> bool {
        attributes.owner.is_none_or(|owner| owner == (self.uid, self.gid))
            && attributes.mode.is_none_or(|mode| mode == self.mode)
            && attributes.mtime.is_none_or(|mtime| mtime == self.mtime)
            && attributes.xattrs.is_empty()
    }

    pub(super) fn xattrs(&self) -> Xattrs {
        self.xattrs.as_deref().cloned().unwrap_or_default()
    }
}

impl Inode {
    pub(super) fn node(&self) -> Node {
        let (mut size, mut device, mut of_link) = (0, (0, 0), None);
        let kind = match &self.body {
            Body::Directory(_) => Kind::Directory,
            Body::File { size: bytes, link, .. } => {
                size = *bytes;
                of_link = (*link != 0).then_some((0, u64::from(*link)));
                Kind::File
            }
            Body::Symlink(_) => Kind::Symlink,
            Body::Fifo => Kind::Fifo,
            Body::CharDevice(major, minor) => {
                device = (*major, *minor);
                Kind::CharDevice
            }
            Body::BlockDevice(major, minor) => {
                device = (*major, *minor);
                Kind::BlockDevice
            }
        };
        let Meta { mode, uid, gid, mtime, .. } = self.meta;
        // A link has no permissions of its own.
        let mode = if kind == Kind::Symlink { 0o777 } else { mode };
        Node { kind, mode, uid, gid, mtime, size, device, link: of_link, stamp: None }
    }

    /// All names below a directory that have a file in common.
    fn names_of(&self, wanted: u32, path: &mut PathBuf, names: &mut Vec<PathBuf>) {
        for (name, inode) in self.children().into_iter().flatten() {
            path.push(&**name);
            match &inode.body {
                Body::Directory(_) => inode.names_of(wanted, path, names),
                Body::File { link, .. } if *link == wanted => names.push(path.clone()),
                _ => {}
            }
            path.pop();
        }
    }

    pub(super) fn children(&self) -> Option<&Children> {
        match &self.body {
            Body::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(super) fn children_mut(&mut self) -> Option<&mut Children> {
        match &mut self.body {
            Body::Directory(children) => Some(children),
            _ => None,
        }
    }
}

/// A root directory and all below it.
#[derive(Clone)]
pub(super) struct Inodes {
    pub(super) root: Arc<Inode>,
    links: u32,
}

impl Inodes {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Inode { meta: Meta::new(&Attributes::default()), body: Body::Directory(Children::new()) }), links: 0 }
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Inode> {
        self.get_shared(path).map(AsRef::as_ref)
    }

    pub(super) fn get_shared(&self, path: &Path) -> Option<&Arc<Inode>> {
        path.iter().try_fold(&self.root, |at, name| at.children()?.get(name))
    }

    /// Copies what is shared on the way there.
    pub(super) fn get_mut(&mut self, path: &Path) -> Option<&mut Inode> {
        // Or a path that is not there would be copied down to where it ends.
        self.get(path)?;
        path.iter().try_fold(Arc::make_mut(&mut self.root), |at, name| Some(Arc::make_mut(at.children_mut()?.get_mut(name)?)))
    }

    /// The directory in which a name is to be made or removed.
    fn parent_mut<'a>(&mut self, path: &'a Path) -> Option<(&mut Children, &'a OsStr)> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        Some((self.get_mut(parent)?.children_mut()?, name))
    }

    /// Replaces what is there.
    pub(super) fn insert(&mut self, path: &Path, inode: Inode) -> Result<()> {
        self.insert_shared(path, Arc::new(inode))
    }

    fn insert_shared(&mut self, path: &Path, inode: Arc<Inode>) -> Result<()> {
        if path.iter().count() > DEEPEST {
            return Err(TreeError::Deep { path: path.to_owned() });
        }
        let missing = || TreeError::Missing { path: path.parent().unwrap_or(path).to_owned(), wanted: "a directory" };
        let (children, name) = self.parent_mut(path).ok_or_else(missing)?;
        children.insert(name.into(), inode);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) {
        if path.as_os_str().is_empty() {
            if let Some(children) = Arc::make_mut(&mut self.root).children_mut() {
                children.clear();
            }
        } else if self.get(path).is_some()
            && let Some((children, name)) = self.parent_mut(path)
        {
            children.remove(name);
        }
    }

    /// Changes a file under all its names.
    pub(super) fn set_attributes(&mut self, path: &Path, attributes: &Attributes) {
        let Some(inode) = self.get(path).filter(|inode| !inode.meta.has(attributes)) else { return };
        let mut names = vec![path.to_owned()];
        if let Body::File { link: wanted @ 1.., .. } = inode.body {
            names.clear();
            self.root.names_of(wanted, &mut PathBuf::new(), &mut names);
        }
        for name in names {
            if let Some(inode) = self.get_mut(&name) {
                inode.meta.set(attributes);
            }
        }
    }

    pub(super) fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        let missing = || TreeError::Missing { path: existing.to_owned(), wanted: "a file" };
        let unlinked = match self.get(existing).map(|inode| &inode.body) {
            Some(Body::Directory(_)) | None => return Err(missing()),
            Some(Body::File { link, .. }) => *link == 0,
            Some(_) => false,
        };
        if unlinked {
            let next = self.links + 1;
            if let Some(Inode { body: Body::File { link, .. }, .. }) = self.get_mut(existing) {
                *link = next;
            }
            self.links = next;
        }
        let inode = self.get_shared(existing).map(Arc::clone).ok_or_else(missing)?;
        self.insert_shared(path, inode)
    }
}

impl Look for Inodes {
    fn stat(&self, path: &Path) -> Result<Option<Node>> {
        Ok(self.get(path).map(Inode::node))
    }

    fn read_link(&self, path: &Path) -> Result<OsString> {
        match self.get(path).map(|inode| &inode.body) {
            Some(Body::Symlink(target)) => Ok(target.to_os_string()),
            _ => Err(TreeError::Missing { path: path.to_owned(), wanted: "a symbolic link" }),
        }
    }
}
