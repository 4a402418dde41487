//! What a step changed: the content of overlayfs's upper directory, as entries of a layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::OverlayError;
use crate::fs::{Kind, Metadata, Root, WalkEntry, Xattrs};
use crate::layer::LayerWriter;
use crate::layer::entries::{EntryKind, EntryMeta, is_carried};
use crate::layer::extract::Lowers;
use crate::layer::whiteout::{is_device, is_reserved, opaque_xattr};
use crate::rootfs::scan::same_content;

/// By this overlayfs knows what it has copied up.
fn origin_xattr() -> &'static str {
    if crate::fs::in_user_namespace() { "user.overlay.origin" } else { "trusted.overlay.origin" }
}

/// What of the upper directory is otherwise than the layer says.
#[derive(Debug, Default)]
pub(super) struct Unlike {
    /// Holds no change and went into no entry, to be taken out; children first.
    pub(super) dropped: Vec<PathBuf>,
    /// Those among them behind which the layers below have something that is gone.
    pub(super) removed: Vec<PathBuf>,
}

/// Writes the changes into a layer, parents first, sorted.
pub(super) fn write(upper: &Root, lowers: &Lowers, layer: &mut LayerWriter) -> Result<Unlike, OverlayError> {
    let (dropped, removed) = (Vec::new(), Vec::new());
    let mut changes = Changes { lowers, layer, held: Vec::new(), dropped, removed, opaque: None, names: HashMap::new() };
    let mut walk = upper.walk("")?;
    while let Some(entry) = walk.next()? {
        changes.entry(&entry)?;
    }
    changes.leave_for(None);
    let (mut dropped, removed) = (changes.dropped, changes.removed);
    dropped.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Unlike { dropped, removed })
}

struct Changes<'a> {
    lowers: &'a Lowers,
    layer: &'a mut LayerWriter,
    /// Directories, each in the one before it, that are as below and have held no change so far.
    held: Vec<EntryMeta>,
    dropped: Vec<PathBuf>,
    removed: Vec<PathBuf>,
    /// The directory above the current entry that hides all that is below.
    opaque: Option<PathBuf>,
    /// Where the first name of a file with several is: by device and inode.
    names: HashMap<(u64, u64), PathBuf>,
}

impl Changes<'_> {
    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<(), OverlayError> {
        let path = entry.path;
        self.leave_for(Some(path));
        if is_device(&entry.metadata) {
            self.flush()?;
            return Ok(self.layer.whiteout(path)?);
        }
        if is_reserved(entry.name()) {
            return Err(OverlayError::ReservedName { path: path.to_owned() });
        }
        let xattrs = entry.xattrs()?;
        match entry.metadata.kind {
            Kind::Socket => self.socket(path)?,
            Kind::Directory => self.directory(entry, xattrs)?,
            _ => self.other(entry, xattrs)?,
        }
        Ok(())
    }

    /// It is in no layer; what it took the place of is gone all the same.
    fn socket(&mut self, path: &Path) -> Result<(), OverlayError> {
        if self.below(path)?.is_some() {
            self.flush()?;
            self.layer.whiteout(path)?;
        }
        self.take_out(path)
    }

    /// What the layers below have there must not show again.
    fn take_out(&mut self, path: &Path) -> Result<(), OverlayError> {
        if self.below(path)?.is_some() {
            self.removed.push(path.to_owned());
        }
        self.dropped.push(path.to_owned());
        Ok(())
    }

    fn directory(&mut self, entry: &WalkEntry<'_>, xattrs: Xattrs) -> Result<(), OverlayError> {
        let path = entry.path;
        let opaque = xattrs.get(OsStr::new(opaque_xattr())).is_some_and(|value| value == b"y");
        let meta = meta(entry, xattrs, EntryKind::Directory);
        let below = self.below(path)?.filter(|(_, metadata)| metadata.kind == Kind::Directory);
        let hides = opaque && below.is_some();
        if let Some((lower, metadata)) = below
            && !opaque
            && same(&meta, &metadata)
            && meta.xattrs == carried(lower.xattrs(path)?)
        {
            self.held.push(meta);
            return Ok(());
        }
        self.flush()?;
        self.layer.append(&meta, None)?;
        // overlayfs marks directories as opaque that hide nothing, too.
        if hides {
            self.layer.opaque(path)?;
        }
        if opaque && self.opaque.is_none() {
            self.opaque = Some(path.to_owned());
        }
        Ok(())
    }

    fn other(&mut self, entry: &WalkEntry<'_>, xattrs: Xattrs) -> Result<(), OverlayError> {
        let path = entry.path;
        let found = &entry.metadata;
        let id = (found.dev, found.ino);
        let copied_up = xattrs.contains_key(OsStr::new(origin_xattr()));
        let kind = match found.kind {
            Kind::File => EntryKind::File,
            Kind::Symlink => EntryKind::Symlink(entry.read_link()?),
            Kind::Fifo => EntryKind::Fifo,
            Kind::CharDevice => EntryKind::CharDevice(found.device.0, found.device.1),
            _ => EntryKind::BlockDevice(found.device.0, found.device.1),
        };
        let stands_for = crate::fs::stood_for(&xattrs);
        let mut meta = meta(entry, xattrs, kind);
        if let Some((kind, (major, minor))) = stands_for {
            // As with those of a base: it is in the layer, and no process sees it.
            self.flush()?;
            let kind = if kind == Kind::CharDevice { EntryKind::CharDevice(major, minor) } else { EntryKind::BlockDevice(major, minor) };
            self.layer.append(&EntryMeta { kind, size: 0, ..meta }, None)?;
            return self.take_out(path);
        }
        if found.nlink > 1 {
            if let Some(first) = self.names.get(&id) {
                meta.kind = EntryKind::HardLink(first.clone());
                meta.size = 0;
                self.flush()?;
                return Ok(self.layer.append(&meta, None)?);
            }
            self.names.insert(id, path.to_owned());
        } else if copied_up && self.is_unchanged(entry, &meta)? {
            self.dropped.push(path.to_owned());
            return Ok(());
        }
        self.flush()?;
        if meta.kind == EntryKind::File {
            let mut content = entry.open()?;
            self.layer.append(&meta, Some(&mut content))?;
        } else {
            self.layer.append(&meta, None)?;
        }
        Ok(())
    }

    /// Whether something was copied up and is still, or again, what it was. Times can be set by anyone: the content decides.
    fn is_unchanged(&self, entry: &WalkEntry<'_>, meta: &EntryMeta) -> Result<bool, OverlayError> {
        let Some((lower, below)) = self.below(entry.path)? else { return Ok(false) };
        let found = &entry.metadata;
        if (below.kind, below.mtime, below.size) != (found.kind, found.mtime, found.size)
            || !same(meta, &below)
            || below.device != found.device
            || meta.xattrs != carried(lower.xattrs(entry.path)?)
        {
            return Ok(false);
        }
        match &meta.kind {
            EntryKind::Symlink(target) => Ok(lower.read_link(entry.path)?.as_os_str() == target),
            EntryKind::File => {
                let same = same_content(entry.open()?, lower.open_file(entry.path)?);
                same.map_err(|source| OverlayError::Compare { path: entry.path.to_owned(), source })
            }
            _ => Ok(true),
        }
    }

    fn below(&self, path: &Path) -> Result<Option<(&Root, Metadata)>, OverlayError> {
        if self.opaque.as_ref().is_some_and(|opaque| path.starts_with(opaque)) {
            return Ok(None);
        }
        Ok(self.lowers.find(path)?.map(|found| (found.root, found.metadata)))
    }

    /// Writes the entries of the directories that the next entry lies in.
    fn flush(&mut self) -> Result<(), OverlayError> {
        for directory in self.held.drain(..) {
            self.layer.append(&directory, None)?;
        }
        Ok(())
    }

    /// Leaves the directories that the next entry does not lie in.
    fn leave_for(&mut self, next: Option<&Path>) {
        let outside = |directory: &Path| next.is_none_or(|next| !next.starts_with(directory));
        while let Some(directory) = self.held.pop_if(|held| outside(&held.path)) {
            self.dropped.push(directory.path);
        }
        if self.opaque.as_deref().is_some_and(outside) {
            self.opaque = None;
        }
    }
}

fn meta(entry: &WalkEntry<'_>, xattrs: Xattrs, kind: EntryKind) -> EntryMeta {
    let found = &entry.metadata;
    EntryMeta {
        path: entry.path.to_owned(),
        size: if kind == EntryKind::File { found.size } else { 0 },
        kind,
        mode: found.mode,
        uid: found.uid,
        gid: found.gid,
        mtime: found.mtime,
        xattrs: carried(xattrs),
    }
}

fn carried(mut xattrs: Xattrs) -> Xattrs {
    xattrs.retain(|name, _| is_carried(name));
    xattrs
}

fn same(meta: &EntryMeta, below: &Metadata) -> bool {
    (meta.mode, meta.uid, meta.gid) == (below.mode, below.uid, below.gid)
}

#[cfg(test)]
mod tests {
    use crate::rootfs::scan::same_content;

    #[test]
    fn content_is_compared_to_its_end() {
        for (one, other, same) in
            [("", "", true), ("a", "a", true), ("a", "b", false), ("a", "ab", false), ("ab", "a", false), ("", "a", false)]
        {
            assert_eq!(same_content(one.as_bytes(), other.as_bytes()).unwrap(), same, "{one:?} {other:?}");
        }
    }
}
