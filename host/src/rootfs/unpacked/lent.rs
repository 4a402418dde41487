//! What a process sees in an unpacked tree for as long as it runs: put there before, taken away after.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::fs::{Attributes, Kind};
use crate::rootfs::disk::Disk;
use crate::rootfs::tree::{Content, Last, Result, Tree, TreeError, make_dirs, resolve};

/// Added to the name of what has to make room.
const ASIDE: &str = ".layerwright-aside";

/// Something to be lent to a process.
#[derive(Debug)]
pub enum Loan {
    /// A file.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Owner and group.
        owner: (u32, u32),
        /// 0 to 0o7777.
        mode: u32,
    },
    /// An empty directory.
    Directory,
    /// A file or directory of the builder's, moved there and back again with all that is written to it.
    Moved(PathBuf),
}

/// What has been lent. It has to be taken back; dropped, it is taken back as far as that goes.
#[derive(Debug)]
pub struct Lent {
    disk: Disk,
    loans: Vec<Placed>,
    /// Directories made on the way, highest first.
    made: Vec<PathBuf>,
}

#[derive(Debug)]
struct Placed {
    path: PathBuf,
    is_file: bool,
    source: Option<PathBuf>,
    aside: Option<PathBuf>,
}

impl Lent {
    /// Puts everything in its place, in the order of the targets.
    pub fn new(disk: Disk, mut loans: Vec<(String, Loan)>) -> Result<Self> {
        loans.sort_by(|one, other| one.0.cmp(&other.0));
        let mut lent = Self { disk, loans: Vec::new(), made: Vec::new() };
        for (target, loan) in loans {
            lent.place(Path::new(&target), loan)?;
            lent.disk.settle()?;
        }
        Ok(lent)
    }

    fn place(&mut self, target: &Path, loan: Loan) -> Result<()> {
        let found = resolve(&self.disk, Path::new(""), target, Last::Follow)?;
        let path = found.path;
        if path.as_os_str().is_empty() {
            return Err(TreeError::NotDirectory { path, found: Kind::Directory });
        }
        self.make_parents(&path)?;
        let aside = found.node.is_some().then(|| {
            let mut name = path.clone().into_os_string();
            name.push(ASIDE);
            PathBuf::from(name)
        });
        self.disk.keep_time_of_parent(&path)?;
        if let Some(aside) = &aside {
            self.disk.root().rename(&path, aside)?;
        }
        let mut placed = Placed { path: path.clone(), is_file: matches!(loan, Loan::File { .. }), source: None, aside };
        let done = match loan {
            Loan::File { content, owner, mode } => {
                let attributes = Attributes { owner: Some(owner), mode: Some(mode), ..Attributes::default() };
                self.disk.put_file(&path, &attributes, Content::Bytes(&content))
            }
            Loan::Directory => self.disk.make_dir(&path, &Attributes { mode: Some(0o755), ..Attributes::default() }),
            Loan::Moved(source) => {
                let to = self.disk.root().path().join(&path);
                if let Some(first) = self.loans.iter().find(|placed| placed.source.as_ref() == Some(&source)) {
                    // One directory by two names.
                    let first = Path::new("/").join(&first.path);
                    self.loans.push(placed);
                    return self.disk.symlink(&path, first.as_os_str(), &Attributes::default());
                }
                match std::fs::rename(&source, &to) {
                    // The builder's files are the process's files: it can be shown where the other filesystem is.
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices && self.disk.root().path() == Path::new("/") => {
                        self.disk.symlink(&path, source.as_os_str(), &Attributes::default())
                    }
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                        placed.source = Some(source.clone());
                        move_to(&source, &to)
                    }
                    done => {
                        placed.source = Some(source.clone());
                        done.map_err(|error| TreeError::Io { action: "move", path: source, source: error })
                    }
                }
            }
        };
        self.loans.push(placed);
        done
    }

    fn make_parents(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let mut missing: Vec<PathBuf> = Vec::new();
        for ancestor in parent.ancestors() {
            if self.disk.root().stat(ancestor)?.is_some() {
                break;
            }
            missing.push(ancestor.to_owned());
        }
        let attributes = Attributes { owner: Some((0, 0)), mode: Some(0o755), ..Attributes::default() };
        make_dirs(&mut self.disk, Path::new(""), parent, &attributes)?;
        self.made.extend(missing.into_iter().rev());
        Ok(())
    }

    /// The files that were made for the loans, relative to the tree.
    pub fn files(&self) -> Vec<PathBuf> {
        self.loans.iter().filter(|placed| placed.is_file).map(|placed| placed.path.clone()).collect()
    }

    /// Takes everything away again, and gives room back to what was there.
    pub fn take_back(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        let mut first = Ok(());
        self.disk.root().forget();
        while let Some(placed) = self.loans.pop() {
            let done = self.undo_one(&placed);
            first = first.and(done);
        }
        while let Some(directory) = self.made.pop() {
            // What the process put there stays, and so does what it is in.
            if self.disk.root().read_dir(&directory).is_ok_and(|entries| entries.is_empty()) {
                first = first.and(self.disk.remove(&directory));
            }
        }
        first.and(self.disk.settle())
    }

    fn undo_one(&mut self, placed: &Placed) -> Result<()> {
        self.disk.keep_time_of_parent(&placed.path)?;
        if let Some(source) = &placed.source {
            match move_to(&self.disk.root().path().join(&placed.path), source) {
                // Somebody who mounts his has made another one meanwhile: the later one is as good as the earlier one.
                Err(TreeError::Io { source, .. }) if source.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                done => done?,
            }
        }
        self.disk.remove(&placed.path)?;
        if let Some(aside) = &placed.aside {
            self.disk.root().rename(aside, &placed.path)?;
        }
        self.disk.settle()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Whoever cares has called `take_back`.
        let _ = self.undo();
    }
}

/// Renames, which keeps everything as it is; where the two lie on different filesystems it cannot be done.
fn move_to(from: &Path, to: &Path) -> Result<()> {
    let failed = |action| move |source: io::Error| TreeError::Io { action, path: from.to_owned(), source };
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // Files alone; a directory would have to be copied with all its owners.
            let mut source = File::open(from).map_err(failed("open"))?;
            if !source.metadata().is_ok_and(|found| found.is_file()) {
                return Err(failed("move (the store has to lie on the filesystem of the tree)")(error));
            }
            let mut target = File::create_new(to).map_err(failed("copy"))?;
            io::copy(&mut source, &mut target).map_err(failed("copy"))?;
            std::fs::remove_file(from).map_err(failed("remove"))
        }
        done => done.map_err(failed("move")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Root;

    #[test]
    fn what_is_lent_is_there_and_gone_again() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, cache) = (dir.path().join("tree"), dir.path().join("cache"));
        for path in [tree.join("etc"), cache.clone()] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(tree.join("etc/there"), "before").unwrap();
        std::fs::write(cache.join("old"), "").unwrap();
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let disk = || Disk::new(Root::open(&tree).unwrap());
        if owner != (0, 0) {
            return;
        }
        let loans = vec![
            ("/etc/there".to_owned(), Loan::File { content: b"secret".to_vec(), owner, mode: 0o400 }),
            ("/run/secrets/x".to_owned(), Loan::File { content: b"other".to_vec(), owner, mode: 0o400 }),
            ("/var/cache".to_owned(), Loan::Moved(cache.clone())),
            ("/tmp/t".to_owned(), Loan::Directory),
        ];
        let before = std::fs::metadata(tree.join("etc")).unwrap().modified().unwrap();
        let lent = Lent::new(disk(), loans).unwrap();
        assert_eq!(std::fs::read(tree.join("etc/there")).unwrap(), b"secret");
        assert_eq!(std::fs::read(tree.join("run/secrets/x")).unwrap(), b"other");
        assert!(tree.join("var/cache/old").exists() && tree.join("tmp/t").is_dir());
        std::fs::write(tree.join("var/cache/new"), "").unwrap();
        std::fs::write(tree.join("tmp/t/junk"), "").unwrap();
        std::fs::write(tree.join("run/kept"), "").unwrap();
        lent.take_back().unwrap();
        assert_eq!(std::fs::read(tree.join("etc/there")).unwrap(), b"before");
        assert_eq!(std::fs::metadata(tree.join("etc")).unwrap().modified().unwrap(), before);
        assert!(cache.join("new").exists(), "what is written to a cache lasts");
        let mut left: Vec<_> = std::fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["etc", "run"], "the step put a file into /run");
        assert!(!tree.join("run/secrets").exists());
    }
}
