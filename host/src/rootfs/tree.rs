//! The seam between what operations do and where they do it.
//!
//! [`ReadTree`] is where files come from: a build context, a stage, an image that was never unpacked. [`Tree`] is where they
//! go: a directory of this machine ([`super::disk::Disk`]) or an index of layers ([`super::layered::Layered`]).
//!
//! Paths are relative to the tree's root, without `.`, `..` and slashes at either end; the empty path is the root. The
//! directories above the last name are no links: [`resolve`] makes such a path from any other.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Attributes, DirEntry, Kind, Shown, Time, Xattrs};
use crate::layer::entries::ReadError;
use crate::oci::DiffId;

/// As many links as Linux follows in one path.
const MOST_LINKS: usize = 40;

/// Why a tree cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A directory of this machine.
    #[error(transparent)]
    Fs(#[from] crate::fs::Error),
    /// A layer that holds files of the tree.
    #[error("cannot read layer {diff_id}")]
    Layer {
        /// Of the layer.
        diff_id: DiffId,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A layer that is not what the image says.
    #[error("layer {expected} has another content, {found}")]
    WrongLayer {
        /// As the image's configuration says.
        expected: DiffId,
        /// Of the bytes that came.
        found: DiffId,
    },
    /// A spool, a downloaded file.
    #[error("cannot {action} {}: {source}", Shown(path))]
    Io {
        /// The verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Links that lead to each other.
    #[error("too many symbolic links in {}", Shown(path))]
    Loop {
        /// The path that was to be resolved.
        path: PathBuf,
    },
    /// Something else stands where a directory is wanted.
    #[error("{} is {found}, not a directory", Shown(path))]
    NotDirectory {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: Kind,
    },
    /// What a command was lent has been given another place or another name by it.
    #[error("the command moved or linked what it was lent at {}, which would come into its layer", Shown(path))]
    Kept {
        /// Where it was lent, from the root on.
        path: PathBuf,
    },
    /// Nothing there where something was a moment ago, or the wrong thing.
    #[error("{} is not there, or not {wanted}", Shown(path))]
    Missing {
        /// The path.
        path: PathBuf,
        /// What was wanted.
        wanted: &'static str,
    },
    /// Directories below each other without end.
    #[error("too many directories below each other: {}", Shown(path))]
    Deep {
        /// The path that is too deep.
        path: PathBuf,
    },
    /// A file that is being written to.
    #[error("{} changed during the build: it must stay as it is until the build is done", Shown(path))]
    Changed {
        /// The path.
        path: PathBuf,
    },
}

/// The result of everything here.
pub type Result<T, E = TreeError> = std::result::Result<T, E>;

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of the content.
    pub mtime: Time,
    /// Of a file, in bytes.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The same for all names of one file; none where it has only one.
    pub link: Option<(u64, u64)>,
    /// Of a file that others may change; none where nobody can.
    pub stamp: Option<Stamp>,
}

/// Tells what a file of this machine is now from all that it was and will be: whoever changes it cannot set its `ctime`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The filesystem that it lies on.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// When anything of the inode was changed.
    pub ctime: Time,
}

impl Node {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// What resolving a path takes.
pub trait Look {
    /// What is at a path; a link is not followed. None where nothing is, or where a parent is no directory.
    fn stat(&self, path: &Path) -> Result<Option<Node>>;

    /// The target of a link, as written.
    fn read_link(&self, path: &Path) -> Result<OsString>;
}

/// Where files come from. Reading twice gives the same, or an error that says that something changed.
pub trait ReadTree: Look + Send + Sync {
    /// The names in a directory, sorted by their bytes.
    fn entries(&self, path: &Path) -> Result<Vec<DirEntry>>;

    /// The content of a regular file, of which `node` is what was seen before.
    fn open(&self, path: &Path, node: &Node) -> Result<Box<dyn Read + Send>>;

    /// The extended attributes that belong into an image.
    fn xattrs(&self, path: &Path) -> Result<Xattrs>;

    /// Says which files will be opened next, so that they can be fetched in one go.
    fn prefetch(&self, _paths: &[PathBuf]) -> Result<()> {
        Ok(())
    }

    /// What is meant where no path is named: the root, or every file of a list.
    fn everything(&self) -> Result<Vec<PathBuf>> {
        Ok(vec![PathBuf::new()])
    }

    /// Why something that is there does not count, for the error message.
    fn hidden(&self, _path: &Path) -> Option<String> {
        None
    }
}

/// Where a file's content comes from.
pub enum Content<'a> {
    /// A file of another tree, which `Node` describes.
    Of(&'a Arc<dyn ReadTree>, &'a Path, &'a Node),
    /// At hand.
    Bytes(&'a [u8]),
    /// So many bytes of a stream.
    Stream(&'a mut dyn Read, u64),
}

/// Where files go. A new name must be free, and its parent a directory. Directories keep their time of modification when
/// something is put into them or taken away.
pub trait Tree: ReadTree {
    /// Makes a directory.
    fn make_dir(&mut self, path: &Path, attributes: &Attributes) -> Result<()>;

    /// Makes a regular file.
    fn put_file(&mut self, path: &Path, attributes: &Attributes, content: Content<'_>) -> Result<()>;

    /// Makes a symbolic link.
    fn symlink(&mut self, path: &Path, target: &OsStr, attributes: &Attributes) -> Result<()>;

    /// Gives a file a second name.
    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()>;

    /// Makes a FIFO or a device.
    fn make_node(&mut self, path: &Path, kind: Kind, device: (u32, u32), attributes: &Attributes) -> Result<()>;

    /// Changes attributes of something that is there, a link itself included.
    fn set_attributes(&mut self, path: &Path, attributes: &Attributes) -> Result<()>;

    /// Removes a name and all that is below it; nothing there is no error. The root is emptied.
    fn remove(&mut self, path: &Path) -> Result<()>;

    /// To be called when an operation is done, whether it went well or not.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What to do with a link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// Follow it, also to where nothing is.
    Follow,
    /// Leave it.
    Keep,
}

/// Where a path leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// Free of links and `..`, as far as something is there.
    pub path: PathBuf,
    /// What is there.
    pub node: Option<Node>,
}

/// Follows a path below `base`, which it cannot leave: `..` stops there, and absolute links start there.
///
/// What does not exist is taken as it is written, so that it can be made.
pub fn resolve(tree: &(impl Look + ?Sized), base: &Path, path: &Path, last: Last) -> Result<Resolved> {
    let mut todo = VecDeque::new();
    put_in_front(&mut todo, path.as_os_str());
    let mut at = base.to_owned();
    let mut node = tree.stat(&at)?;
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            if at != base {
                at.pop();
            }
            node = tree.stat(&at)?;
            continue;
        }
        at.push(&name);
        // Below nothing is nothing, and below a file neither.
        node = if node.is_some_and(|node| node.is_dir()) { tree.stat(&at)? } else { None };
        if node.is_some_and(|node| node.kind == Kind::Symlink) && (last == Last::Follow || !todo.is_empty()) {
            links += 1;
            if links > MOST_LINKS {
                return Err(TreeError::Loop { path: path.to_owned() });
            }
            let target = tree.read_link(&at)?;
            if target.as_bytes().starts_with(b"/") {
                at = base.to_owned();
            } else {
                at.pop();
            }
            node = tree.stat(&at)?;
            put_in_front(&mut todo, &target);
        }
    }
    Ok(Resolved { path: at, node })
}

fn put_in_front(todo: &mut VecDeque<OsString>, path: &OsStr) {
    for name in path.as_bytes().split(|&byte| byte == b'/').rev() {
        if !matches!(name, b"" | b".") {
            todo.push_front(OsStr::from_bytes(name).to_owned());
        }
    }
}

/// Makes a directory and those above it, as far as they are missing, links followed; gives its path without links.
pub fn make_dirs(tree: &mut dyn Tree, base: &Path, path: &Path, attributes: &Attributes) -> Result<PathBuf> {
    let found = resolve(&*tree, base, path, Last::Follow)?;
    if found.node.is_some_and(|node| node.is_dir()) {
        return Ok(found.path);
    }
    let mut missing = Vec::new();
    for ancestor in found.path.ancestors() {
        match tree.stat(ancestor)? {
            Some(node) if node.is_dir() => break,
            Some(node) => return Err(TreeError::NotDirectory { path: ancestor.to_owned(), found: node.kind }),
            None => missing.push(ancestor),
        }
    }
    for ancestor in missing.into_iter().rev() {
        tree.make_dir(ancestor, attributes)?;
    }
    Ok(found.path)
}

/// The names of a path joined without `.`, and `..` taken back, as text: what links there are does not count.
pub fn normalise(path: &OsStr) -> PathBuf {
    let mut clean = PathBuf::new();
    for name in path.as_bytes().split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                clean.pop();
            }
            name => clean.push(OsStr::from_bytes(name)),
        }
    }
    clean
}

/// Whether an extended attribute belongs into an image: no security label of this machine, no overlay's own.
pub fn belongs_in_image(xattr: &OsStr) -> bool {
    crate::layer::entries::is_carried(xattr)
}
