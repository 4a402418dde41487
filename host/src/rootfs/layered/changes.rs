//! What a step has changed: the difference of two trees, as a layer.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inodes::{Body, Inode};
use super::{Layered, Result, TreeError};
use crate::fs::{Attributes, Kind};
use crate::layer::entries::{EntryKind, EntryMeta};
use crate::layer::{CreateError, LayerWriter};
use crate::rootfs::tree::{Content, Look as _, ReadTree, Tree as _};

/// Why the changes could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// A file's content could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The layer could not be written.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// One difference.
enum Change<'a> {
    /// There is another thing now, or its attributes or what is below it are others.
    Put(&'a Arc<Inode>),
    Gone,
}

impl Layered {
    /// Whether the current step has changed anything.
    pub fn changed(&self) -> bool {
        match (&self.before, self.state.get()) {
            (Some(before), Some(now)) => !Arc::ptr_eq(&before.root, &now.root),
            _ => false,
        }
    }

    /// Writes the changes of the current step, sorted by path, each after the directories above it.
    pub fn write_changes(&self, writer: &mut LayerWriter) -> Result<(), ChangesError> {
        let mut files = Vec::new();
        self.each_change::<TreeError>(&mut |path, change| {
            if matches!(change, Change::Put(inode) if matches!(inode.body, Body::File { .. })) {
                files.push(path.to_owned());
            }
            Ok(())
        })?;
        self.prefetch(&files)?;
        drop(files);
        let mut linked: HashMap<u64, PathBuf> = HashMap::new();
        self.each_change(&mut |path, change| match change {
            Change::Gone => Ok(writer.whiteout(path)?),
            Change::Put(inode) => self.write(writer, path, inode, &mut linked),
        })
    }

    fn write(&self, writer: &mut LayerWriter, path: &Path, inode: &Inode, linked: &mut HashMap<u64, PathBuf>) -> Result<(), ChangesError> {
        let node = inode.node();
        let mut content: Option<Box<dyn Read + Send>> = None;
        let kind = match &inode.body {
            Body::Directory(_) => EntryKind::Directory,
            Body::Symlink(target) => EntryKind::Symlink(target.to_os_string()),
            Body::Fifo => EntryKind::Fifo,
            Body::CharDevice(major, minor) => EntryKind::CharDevice(*major, *minor),
            Body::BlockDevice(major, minor) => EntryKind::BlockDevice(*major, *minor),
            Body::File { .. } => match node.link.and_then(|(_, link)| linked.get(&link)) {
                Some(first) => EntryKind::HardLink(first.clone()),
                None => {
                    if let Some((_, link)) = node.link {
                        linked.insert(link, path.to_owned());
                    }
                    content = Some(self.open(path, &node)?);
                    EntryKind::File
                }
            },
        };
        let meta = EntryMeta {
            path: path.to_owned(),
            kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            size: node.size,
            xattrs: inode.meta.xattrs(),
        };
        let mut content = content;
        Ok(writer.append(&meta, content.as_mut().map(|content| content as &mut dyn Read))?)
    }

    fn each_change<E: From<TreeError>>(&self, each: &mut dyn FnMut(&Path, &Change<'_>) -> Result<(), E>) -> Result<(), E> {
        if let (Some(before), Some(now)) = (&self.before, self.state.get()) {
            below(&before.root, &now.root, &mut PathBuf::new(), each)?;
        }
        Ok(())
    }
}

/// The differences below two directories; the depth of trees is bounded where they are made.
fn below<E>(
    before: &Arc<Inode>,
    now: &Arc<Inode>,
    path: &mut PathBuf,
    each: &mut dyn FnMut(&Path, &Change<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if Arc::ptr_eq(before, now) {
        return Ok(());
    }
    let empty = super::inodes::Children::new();
    let (old, new) = (before.children().unwrap_or(&empty), now.children().unwrap_or(&empty));
    let mut old = old.iter().peekable();
    let mut new = new.iter().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        match (was, is) {
            (Some((name, _)), None) => {
                path.push(&**name);
                each(path, &Change::Gone)?;
                path.pop();
            }
            (was, Some((name, inode))) => {
                let was = was.map(|(_, was)| was);
                if was.is_some_and(|was| Arc::ptr_eq(was, inode)) {
                    continue;
                }
                path.push(&**name);
                each(path, &Change::Put(inode))?;
                if inode.children().is_some() {
                    match was.filter(|was| was.children().is_some()) {
                        Some(was) => below(was, inode, path, each)?,
                        None => below(&hollow(), inode, path, each)?,
                    }
                }
                path.pop();
            }
            (None, None) => return Ok(()),
        }
    }
}

/// A directory with nothing in it.
fn hollow() -> Arc<Inode> {
    super::inodes::Inodes::new().root
}

/// See [`Layered::stack`].
pub(super) fn stack(lower: &mut Layered, upper: &Arc<Layered>) -> Result<()> {
    let source: Arc<dyn ReadTree> = Arc::clone(upper) as Arc<dyn ReadTree>;
    let mut linked: HashMap<u64, PathBuf> = HashMap::new();
    upper.each_change(&mut |path, change| {
        let Change::Put(inode) = change else { return lower.remove(path) };
        let node = inode.node();
        let attributes =
            Attributes { owner: Some((node.uid, node.gid)), mode: Some(node.mode), mtime: Some(node.mtime), xattrs: inode.meta.xattrs() };
        match lower.stat(path)? {
            Some(there) if there.is_dir() && node.is_dir() => return lower.set_attributes(path, &attributes),
            Some(_) => lower.remove(path)?,
            None => {}
        }
        match &inode.body {
            Body::Directory(_) => lower.make_dir(path, &attributes),
            Body::Symlink(target) => lower.symlink(path, target, &attributes),
            Body::Fifo => lower.make_node(path, Kind::Fifo, (0, 0), &attributes),
            Body::CharDevice(..) | Body::BlockDevice(..) => lower.make_node(path, node.kind, node.device, &attributes),
            Body::File { .. } => {
                let link = node.link.map(|(_, link)| link);
                if let Some(first) = link.and_then(|link| linked.get(&link)) {
                    return lower.hard_link(first, path);
                }
                linked.extend(link.map(|link| (link, path.to_owned())));
                lower.put_file(path, &attributes, Content::Of(&source, path, &node))
            }
        }
    })
}
