use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix_hash::ObjectId;
use gix_object::{Kind, TreeRefIter};
use layerwright_git_reference::GitUrl;

use super::super::FetchError;
use super::objects::Fetched;
use crate::fs::{self, Attributes, Root, Time};

/// Directories within each other; as many as in a layer.
const DEEPEST: usize = 1024;
/// Files and directories of one checkout.
const MOST: u64 = 4_000_000;

/// A submodule's place.
pub(super) struct Link {
    /// In the repository.
    pub(super) path: PathBuf,
    /// In the checkout, which may be a part of the repository alone.
    pub(super) written: PathBuf,
    pub(super) commit: ObjectId,
}

/// Writes the files of a commit. Everything goes through a root, so that no link of the repository leads out.
pub(super) struct Checkout<'a> {
    fetched: &'a Fetched,
    root: &'a Root,
    seconds: i64,
    url: String,
    links: Vec<Link>,
    directories: Vec<PathBuf>,
    written: u64,
}

impl<'a> Checkout<'a> {
    pub(super) fn new(fetched: &'a Fetched, root: &'a Root, seconds: i64, url: &GitUrl) -> Self {
        Self { fetched, root, seconds, url: url.shown(), links: Vec::new(), directories: Vec::new(), written: 0 }
    }

    /// Writes a tree, or the directory of it.
    pub(super) fn write(&mut self, tree: ObjectId, directory: Option<&str>) -> Result<(), FetchError> {
        let mut tree = tree;
        let directory = directory.unwrap_or_default();
        for name in directory.split('/').filter(|name| !name.is_empty()) {
            let data = self.fetched.object(&tree, Kind::Tree)?;
            let found = TreeRefIter::from_bytes(&data, self.fetched.kind).filter_map(Result::ok).find(|entry| entry.filename == name);
            tree = match found {
                Some(entry) if entry.mode.is_tree() => entry.oid.to_owned(),
                Some(_) => return Err(self.failed(format!("the subdir {directory:?} is no directory"))),
                None => return Err(self.failed(format!("the repository has no directory {directory:?}"))),
            };
        }
        self.tree(tree, Path::new(directory), Path::new(""), 0)
    }

    /// The times of the directories, and where submodules go.
    pub(super) fn finish(self) -> Result<Vec<Link>, FetchError> {
        for directory in self.directories.iter().rev() {
            set_times(self.root, directory, self.seconds).map_err(|error| self.disk(&error))?;
        }
        Ok(self.links)
    }

    fn tree(&mut self, tree: ObjectId, inside: &Path, to: &Path, depth: usize) -> Result<(), FetchError> {
        if depth > DEEPEST {
            return Err(self.failed("its directories lie too deep".to_owned()));
        }
        self.directories.push(to.to_owned());
        let data = self.fetched.object(&tree, Kind::Tree)?;
        for entry in TreeRefIter::from_bytes(&data, self.fetched.kind) {
            let entry = entry.map_err(|_| self.failed(format!("the tree {tree} cannot be read")))?;
            let name: &[u8] = entry.filename;
            if !is_name(name) {
                return Err(self.failed(format!("{:?} is no name for a file of a repository", String::from_utf8_lossy(name))));
            }
            self.written += 1;
            if self.written > MOST {
                return Err(self.failed(format!("it has more than {MOST} files")));
            }
            let (inside, to) = (inside.join(OsStr::from_bytes(name)), to.join(OsStr::from_bytes(name)));
            match entry.mode {
                mode if mode.is_tree() => {
                    self.directory(&to)?;
                    self.tree(entry.oid.to_owned(), &inside, &to, depth + 1)?;
                }
                mode if mode.is_commit() => {
                    self.directory(&to)?;
                    self.links.push(Link { path: inside, written: to, commit: entry.oid.to_owned() });
                }
                mode if mode.is_link() => {
                    let target = self.fetched.object(entry.oid, Kind::Blob)?;
                    self.root.symlink(OsStr::from_bytes(&target), &to).map_err(|error| self.disk(&error))?;
                    set_times(self.root, &to, self.seconds).map_err(|error| self.disk(&error))?;
                }
                mode => {
                    let content = self.fetched.object(entry.oid, Kind::Blob)?;
                    let mut file = self.root.create_file(&to, 0o600).map_err(|error| self.disk(&error))?;
                    file.write_all(&content).map_err(|error| self.disk(&error))?;
                    let mode = if mode.is_executable() { 0o755 } else { 0o644 };
                    let attributes =
                        Attributes { mode: Some(mode), mtime: Some(Time::from_seconds(self.seconds)), ..Attributes::default() };
                    self.root.set_attributes(&to, &attributes).map_err(|error| self.disk(&error))?;
                }
            }
        }
        Ok(())
    }

    fn directory(&self, to: &Path) -> Result<(), FetchError> {
        let make = || {
            self.root.make_dir(to, 0o755)?;
            self.root.set_mode(to, 0o755)
        };
        make().map_err(|error: fs::Error| self.disk(&error))
    }

    fn failed(&self, why: String) -> FetchError {
        FetchError::Git { url: self.url.clone(), why }
    }

    fn disk(&self, error: &dyn std::error::Error) -> FetchError {
        let why = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        FetchError::Store { path: self.root.path().to_owned(), why }
    }
}

/// Gives a file, a link or a directory the time of the commit.
pub(super) fn set_times(root: &Root, path: impl AsRef<Path>, seconds: i64) -> Result<(), fs::Error> {
    root.set_times(path, Time::from_seconds(seconds))
}

/// Whether a tree may call something so: one name, and not one that git keeps for itself, in whatever spelling a file system folds into it.
fn is_name(name: &[u8]) -> bool {
    let own = name.eq_ignore_ascii_case(b".git");
    !matches!(name, b"" | b"." | b"..") && !own && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_keeps_for_itself() {
        for bad in [&b""[..], b".", b"..", b".git", b".GIT", b"a/b", b"/etc", b"a\0b"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for good in [&b"a"[..], b".gitignore", b"...", b"a b", b"\xff"] {
            assert!(is_name(good), "{good:?}");
        }
    }
}
