//! A build context that comes as an archive, turned into files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::fs::{self, Attributes, Kind, Root, Shown, Time};
use crate::layer::archive::decompressed;
use crate::layer::entries::{EntryKind, EntryMeta, Limits, ReadError, for_each_entry};

/// Why an archive is no build context.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream below it cannot.
    #[error("cannot read the archive")]
    Stream(#[source] io::Error),
    /// A file cannot be made.
    #[error("cannot extract {}", Shown(entry))]
    Entry {
        /// The entry's path.
        entry: PathBuf,
        /// What failed.
        source: fs::Error,
    },
    /// A file's content cannot be written.
    #[error("cannot extract {}", Shown(entry))]
    Content {
        /// The entry's path.
        entry: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// A hard link to nothing.
    #[error("cannot extract {}: it is a hard link to {}, which is no file of the archive", Shown(entry), Shown(target))]
    LinkTarget {
        /// The entry's path.
        entry: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
}

/// What has been extracted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extracted {
    /// The latest time of an entry, in seconds since 1970; none for an archive without entries.
    pub modified: Option<i64>,
    /// Devices, which a build context has no use for.
    pub left_out: u64,
}

/// Extracts a tar, compressed as gzip, bzip2, xz, zstd or not at all. Nothing in it reaches beyond the root; the last entry of a name
/// counts; owners are left out, as COPY does not look at them.
///
/// # Errors
/// The archive is damaged, too large, or cannot be written.
pub fn extract(archive: impl Read + Send, root: &Root, limits: &Limits) -> Result<Extracted, ArchiveError> {
    let mut extractor = Extractor { root, done: Extracted::default(), directories: Vec::new() };
    let archive = decompressed(archive).map_err(ArchiveError::Stream)?;
    for_each_entry::<ArchiveError>(archive, limits, &mut |meta, content| extractor.entry(meta, content))?;
    // Last: a directory may forbid what is put into it, and putting something into it changes its time.
    for (path, mode, mtime) in extractor.directories.iter().rev() {
        let attributes = Attributes { mode: Some(*mode), mtime: Some(*mtime), ..Attributes::default() };
        if root.stat(path).ok().flatten().is_some_and(|there| there.kind == Kind::Directory) {
            root.set_attributes(path, &attributes).map_err(|source| ArchiveError::Entry { entry: path.clone(), source })?;
        }
    }
    Ok(extractor.done)
}

struct Extractor<'a> {
    root: &'a Root,
    done: Extracted,
    directories: Vec<(PathBuf, u32, Time)>,
}

impl Extractor<'_> {
    fn entry(&mut self, meta: &EntryMeta, content: &mut dyn Read) -> Result<(), ArchiveError> {
        self.done.modified = self.done.modified.max(Some(meta.mtime.seconds));
        let Some((parent, name)) = meta.path.parent().zip(meta.path.file_name()) else { return Ok(()) };
        let failed = |source| ArchiveError::Entry { entry: meta.path.clone(), source };
        let implied = Attributes { mode: Some(0o755), ..Attributes::default() };
        let parent = self.root.make_dirs_with(parent, &mut |_| Ok(implied.clone())).map_err(failed)?.path;
        let path = parent.join(name);
        let directory = meta.kind == EntryKind::Directory;
        let there = self.root.stat(&path).map_err(failed)?;
        let stays = directory && there.as_ref().is_some_and(|there| there.kind == Kind::Directory);
        if there.is_some() && !stays {
            self.root.remove(&path).map_err(failed)?;
        }
        let attributes = Attributes { mode: Some(meta.mode), mtime: Some(meta.mtime), ..Attributes::default() };
        match &meta.kind {
            EntryKind::Directory => {
                if !stays {
                    self.root.make_dir(&path, 0o700).map_err(failed)?;
                }
                self.directories.push((path, meta.mode, meta.mtime));
                return Ok(());
            }
            EntryKind::File => self.file(&path, meta, content)?,
            EntryKind::Symlink(target) => {
                self.root.symlink(target, &path).map_err(failed)?;
                let times = Attributes { mtime: Some(meta.mtime), ..Attributes::default() };
                return self.root.set_attributes(&path, &times).map_err(failed);
            }
            EntryKind::HardLink(target) => {
                let found = self.root.stat(target).map_err(failed)?;
                if found.is_none_or(|found| found.kind == Kind::Directory) {
                    return Err(ArchiveError::LinkTarget { entry: meta.path.clone(), target: target.clone() });
                }
                return self.root.hard_link(target, &path).map_err(failed);
            }
            EntryKind::Fifo => self.root.make_node(&path, Kind::Fifo, 0o600, (0, 0)).map_err(failed)?,
            EntryKind::CharDevice(..) | EntryKind::BlockDevice(..) => {
                self.done.left_out += 1;
                return Ok(());
            }
        }
        for (name, value) in &meta.xattrs {
            // Not every filesystem holds them, and not everybody may set them.
            let _ = self.root.set_xattr(&path, name, value);
        }
        self.root.set_attributes(&path, &attributes).map_err(failed)
    }

    fn file(&self, path: &Path, meta: &EntryMeta, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let mut file: File =
            self.root.create_file(path, 0o600).map_err(|source| ArchiveError::Entry { entry: meta.path.clone(), source })?;
        io::copy(content, &mut file).map_err(|source| ArchiveError::Content { entry: meta.path.clone(), source })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tar(entries: &[(&str, tar::EntryType, &str, u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text, mode) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_mtime(1_000);
            header.set_size(0);
            // As an attacker writes it: the library itself refuses such names.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if kind.is_file() {
                header.set_size(text.len() as u64);
            } else if !text.is_empty() {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, if kind.is_file() { text.as_bytes() } else { &[] }).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// Rows 1 to 21 of the adversarial list are the reader's and the root's; these are the ways out that an archive can try.
    #[test]
    fn nothing_gets_out() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("victim"), "safe").unwrap();
        for entries in [
            vec![("../victim", Regular, "evil", 0o644)],
            vec![("/../victim", Regular, "evil", 0o644)],
            vec![("up", Symlink, "..", 0o777), ("up/victim", Regular, "evil", 0o644)],
            vec![("up", Symlink, "../victim", 0o777), ("up", Regular, "evil", 0o644)],
            vec![("a", Link, "../victim", 0o644), ("a", Regular, "evil", 0o644)],
            vec![("d", Directory, "", 0o755), ("d/l", Symlink, "/", 0o777), ("d/l/victim", Regular, "evil", 0o644)],
        ] {
            let inner = outer.path().join("inner");
            std::fs::create_dir(&inner).unwrap();
            let _ = extract(&*tar(&entries), &Root::open(&inner).unwrap(), &Limits::default());
            assert_eq!(std::fs::read_to_string(outer.path().join("victim")).unwrap(), "safe", "{entries:?}");
            assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 2, "{entries:?}");
            std::fs::remove_dir_all(&inner).unwrap();
        }
    }

    #[test]
    fn modes_times_and_the_last_of_a_name() {
        use tar::EntryType::{Char, Directory, Link, Regular};
        let folder = tempfile::tempdir().unwrap();
        let archive = tar(&[
            ("d", Directory, "", 0o550),
            ("d/f", Regular, "one", 0o640),
            ("d/f", Regular, "two", 0o4750),
            ("l", Link, "d/f", 0o644),
            ("null", Char, "", 0o666),
        ]);
        let done = extract(&*archive, &Root::open(folder.path()).unwrap(), &Limits::default()).unwrap();
        assert_eq!(done, Extracted { modified: Some(1_000), left_out: 1 });
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("d"), mode("d/f")), (0o550, 0o4750));
        assert_eq!(std::fs::read_to_string(folder.path().join("l")).unwrap(), "two");
        assert!(!folder.path().join("null").exists());
    }
}
