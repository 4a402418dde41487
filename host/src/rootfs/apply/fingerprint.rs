//! What a copy takes, as one digest: the part of a cache key that the files are.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::watched::{Seen, Watched};
use super::{ApplyContext, CopySource, Result, apply};
use crate::fs::Kind;
use crate::oci::{Digest, Hasher};
use crate::operation::{self, Operation, Ownership};
use crate::rootfs::layered::Layered;
use crate::rootfs::tree::{Node, ReadTree, TreeError};

/// What a copy selects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selected {
    /// Of names, kinds, modes, owners, link targets, extended attributes and contents. Times do not count, nor what the destination holds
    /// already; the copy's own flags are the caller's to add.
    pub digest: Digest,
    /// What [`stamps`] gave before any content was read: where it gives the same again, the digest has held all the time in between. None
    /// where something is written to without end, of which nothing can be said.
    pub stamps: Option<Digest>,
}

/// Digests all that a copy selects. Waits a moment where something was changed a moment ago.
pub fn fingerprint(copy: &operation::Copy, source: &CopySource, context: &ApplyContext) -> Result<Selected> {
    let mut looked = look(copy, source, context)?;
    let mut stamps = None;
    for _ in 0..TRIES {
        let Some(wait) = looked.seen.wait(SystemTime::now()) else {
            stamps = Some(looked.seen.digest);
            break;
        };
        std::thread::sleep(wait);
        let again = look(copy, source, context)?;
        let same = again.seen.digest == looked.seen.digest;
        looked = again;
        if same {
            stamps = Some(looked.seen.digest);
            break;
        }
    }
    let mut digest = Fingerprint { tree: &looked.tree, hasher: Hasher::default(), linked: HashMap::new() };
    digest.below(Path::new(""))?;
    Ok(Selected { digest: digest.hasher.finish(), stamps })
}

/// Digests what tells all that a copy selects, and the way there, from what it was before and will be after a change. No content is read.
pub fn stamps(copy: &operation::Copy, source: &CopySource, context: &ApplyContext) -> Result<Digest> {
    Ok(look(copy, source, context)?.seen.digest)
}

struct Looked {
    tree: Layered,
    seen: Seen,
}

/// Carries a copy out on nothing, with the owner and the archives left alone.
fn look(copy: &operation::Copy, source: &CopySource, context: &ApplyContext) -> Result<Looked> {
    let copy = operation::Copy { ownership: Ownership::default(), unpack: false, ..copy.clone() };
    let mut tree = Layered::scratch(Path::new(""));
    let watched = Arc::new(Watched::new(Arc::clone(&source.tree)));
    let source = CopySource { tree: Arc::clone(&watched) as Arc<dyn ReadTree>, ..source.clone() };
    apply(&mut tree, &Operation::Copy(copy), Some(&source), context)?;
    Ok(Looked { tree, seen: watched.seen() })
}

/// Looks at what is being written to.
const TRIES: usize = 5;

struct Fingerprint<'a> {
    tree: &'a Layered,
    hasher: Hasher,
    /// The first name of a file that has several.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Fingerprint<'_> {
    fn part(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn below(&mut self, directory: &Path) -> Result<()> {
        for entry in self.tree.entries(directory)? {
            let path = directory.join(&entry.name);
            let Some(node) = super::super::tree::Look::stat(self.tree, &path)? else { continue };
            self.node(&path, &node)?;
            if node.is_dir() {
                self.below(&path)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, path: &Path, node: &Node) -> Result<()> {
        self.part(path.as_os_str().as_bytes());
        self.part(node.kind.to_string().as_bytes());
        for number in [node.mode, node.uid, node.gid, node.device.0, node.device.1] {
            self.hasher.update(&number.to_le_bytes());
        }
        let xattrs = self.tree.xattrs(path)?;
        self.hasher.update(&(xattrs.len() as u64).to_le_bytes());
        for (name, value) in xattrs {
            self.part(name.as_bytes());
            self.part(&value);
        }
        match node.kind {
            Kind::Symlink => {
                let target = super::super::tree::Look::read_link(self.tree, path)?;
                self.part(target.as_bytes());
            }
            Kind::File => match node.link.and_then(|link| self.linked.get(&link).cloned()) {
                Some(first) => self.part(first.as_os_str().as_bytes()),
                None => {
                    self.linked.extend(node.link.map(|link| (link, path.to_owned())));
                    let content = self.content(path, node)?;
                    self.hasher.update(content.as_bytes());
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn content(&self, path: &Path, node: &Node) -> Result<Digest> {
        let mut file = self.tree.open(path, node)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; if node.size < 8 << 10 { 8 << 10 } else { 128 << 10 }];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.update(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TreeError::Io { action: "read", path: path.to_owned(), source }.into()),
            }
        }
    }
}
