//! What a copy takes, as one digest: the part of a cache key that the files are.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{ApplyContext, CopySource, Result, apply};
use crate::fs::Kind;
use crate::oci::{Digest, Hasher};
use crate::operation::{self, Operation, Ownership};
use crate::rootfs::layered::Layered;
use crate::rootfs::tree::{Node, ReadTree, TreeError};

/// Digests names, kinds, modes, owners, link targets, extended attributes and contents of all that a copy selects. Times do not
/// count, nor what the destination holds already; the copy's own flags are the caller's to add.
pub fn fingerprint(copy: &operation::Copy, source: &CopySource, context: &ApplyContext) -> Result<Digest> {
    // Carried out on nothing, with the owner and the archives left alone.
    let copy = operation::Copy { ownership: Ownership::default(), unpack: false, ..copy.clone() };
    let mut tree = Layered::scratch(Path::new(""));
    apply(&mut tree, &Operation::Copy(copy), Some(source), context)?;
    let mut digest = Fingerprint { tree: &tree, hasher: Hasher::default(), linked: HashMap::new() };
    digest.below(Path::new(""))?;
    Ok(digest.hasher.finish())
}

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
