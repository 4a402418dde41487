//! What a process sees in an unpacked tree for as long as it runs: put there before, taken away after.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::fs::{Attributes, Kind, Root, set_attributes};
use crate::layer::entries::LONGEST_NAME;
use crate::rootfs::disk::Disk;
use crate::rootfs::tree::{Last, Result, Tree, TreeError, make_dirs, resolve};

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
    made: Vec<Held>,
}

#[derive(Debug)]
struct Placed {
    path: PathBuf,
    held: Held,
    /// What was put there, wherever it is by now; none where that failed.
    handle: Option<File>,
    is_secret: bool,
    /// Where it goes back to.
    home: Option<PathBuf>,
    /// What was there before is called so meanwhile.
    aside: Option<OsString>,
}

/// A name in a directory, which stays that one wherever the process moves it, and whatever link it puts in its place.
#[derive(Debug)]
struct Held {
    parent: Root,
    name: OsString,
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
        let held = self.hold(&path)?;
        let aside = found.node.is_some().then(|| {
            // A name may be as long as names can be.
            let room = LONGEST_NAME.saturating_sub(ASIDE.len());
            let mut name = held.name.as_bytes().get(..room).unwrap_or(held.name.as_bytes()).to_vec();
            name.extend_from_slice(ASIDE.as_bytes());
            OsString::from_vec(name)
        });
        self.disk.keep_time_of_parent(&path)?;
        if let Some(aside) = &aside {
            self.disk.root().rename(&path, path.with_file_name(aside))?;
        }
        let mut placed = Placed { path, held, handle: None, is_secret: matches!(loan, Loan::File { .. }), home: None, aside };
        let done = self.put(&mut placed, loan);
        self.loans.push(placed);
        done
    }

    fn put(&mut self, placed: &mut Placed, loan: Loan) -> Result<()> {
        let path = placed.path.clone();
        let link = |disk: &mut Disk, to: &Path| disk.symlink(&path, to.as_os_str(), &Attributes::default());
        match loan {
            Loan::File { content, owner, mode } => {
                let failed = |source| TreeError::Io { action: "write", path: path.clone(), source };
                let mut file = self.disk.root().create_file(&path, 0o600)?;
                let attributes = Attributes { owner: Some(owner), mode: Some(mode), ..Attributes::default() };
                file.write_all(&content).and_then(|()| set_attributes(&file, &attributes)).map_err(failed)?;
                placed.handle = Some(file);
                return Ok(());
            }
            Loan::Directory => self.disk.make_dir(&path, &Attributes { mode: Some(0o755), ..Attributes::default() })?,
            Loan::Moved(source) => match self.loans.iter().find(|first| first.home.as_ref() == Some(&source)) {
                // One directory by two names.
                Some(first) => link(&mut self.disk, &Path::new("/").join(&first.path))?,
                None => match self.disk.root().move_in(&source, &path) {
                    // The builder's files are the process's files: it can be shown where the other filesystem is.
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices && self.disk.root().path() == Path::new("/") => {
                        link(&mut self.disk, &source)?;
                    }
                    done => {
                        done?;
                        placed.home = Some(source);
                    }
                },
            },
        }
        placed.handle = Some(self.disk.root().handle(&path)?);
        Ok(())
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
        for directory in missing.into_iter().rev() {
            let held = self.hold(&directory)?;
            self.made.push(held);
        }
        Ok(())
    }

    /// To be called while nothing runs in the tree; the path is one without links.
    fn hold(&self, path: &Path) -> Result<Held> {
        let parent = Root::open(self.disk.root().path().join(path.parent().unwrap_or(Path::new(""))))?;
        Ok(Held { parent, name: path.file_name().unwrap_or_default().to_owned() })
    }

    /// For each loan where it is, relative to the tree, its device and inode, and where it goes back to; nowhere where it is removed.
    pub fn all(&self) -> impl Iterator<Item = (PathBuf, (u64, u64), Option<PathBuf>)> {
        self.loans.iter().filter_map(|placed| {
            let handle = placed.handle.as_ref()?.metadata().ok()?;
            Some((placed.path.clone(), (handle.dev(), handle.ino()), placed.home.clone()))
        })
    }

    /// Takes everything away again, and gives room back to what was there.
    pub fn take_back(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        let mut first = Ok(());
        self.disk.root().forget();
        while let Some(placed) = self.loans.pop() {
            first = first.and(placed.undo());
        }
        while let Some(directory) = self.made.pop() {
            first = first.and(directory.remove_if_empty());
        }
        first
    }
}

impl Placed {
    fn undo(&self) -> Result<()> {
        let mut disk = Disk::new(self.held.parent.try_clone()?);
        let name = Path::new(&self.held.name);
        disk.keep_time_of_parent(name)?;
        let kept = self.take_away(&mut disk, name)?;
        if let Some(aside) = &self.aside {
            match disk.root().rename(aside, name) {
                // The process has removed the directory that both were in.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        disk.settle()?;
        if kept { Err(TreeError::Kept { path: Path::new("/").join(&self.path) }) } else { Ok(()) }
    }

    /// Whether the process has given what it was lent another place or name.
    fn take_away(&self, disk: &mut Disk, name: &Path) -> Result<bool> {
        let Some(handle) = &self.handle else { return Ok(false) };
        let failed = |action| move |source| TreeError::Io { action, path: self.path.clone(), source };
        let now = handle.metadata().map_err(failed("stat"))?;
        let inode = (now.dev(), now.ino());
        let kept = match disk.root().stat(name)? {
            Some(found) if (found.dev, found.ino) == inode => {
                match &self.home {
                    Some(home) => give_back(disk, name, home)?,
                    None => disk.remove(name)?,
                }
                self.is_secret && now.nlink() > 1
            }
            // What else is there is the process's own.
            _ => {
                let home = self.home.as_ref().and_then(|home| home.symlink_metadata().ok());
                now.nlink() > 0 && home.is_none_or(|home| (home.dev(), home.ino()) != inode)
            }
        };
        if kept && self.is_secret {
            handle.set_len(0).map_err(failed("empty"))?;
        }
        Ok(kept)
    }
}

fn give_back(disk: &mut Disk, name: &Path, home: &Path) -> Result<()> {
    match disk.root().move_out(name, home) {
        // Somebody who mounts his has made another one meanwhile: the later one is as good as the earlier one.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => disk.remove(name),
        done => Ok(done?),
    }
}

impl Held {
    /// What the process put there stays, and so does what it is in.
    fn remove_if_empty(&self) -> Result<()> {
        let mut disk = Disk::new(self.parent.try_clone()?);
        let is_directory = self.parent.stat(&self.name)?.is_some_and(|found| found.kind == Kind::Directory);
        if !is_directory || !self.parent.read_dir(&self.name)?.is_empty() {
            return Ok(());
        }
        disk.remove(Path::new(&self.name))?;
        disk.settle()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Whoever cares has called `take_back`.
        let _ = self.undo();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_makes_room_may_have_the_longest_of_names() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let name = "n".repeat(LONGEST_NAME);
        std::fs::write(dir.path().join(&name), "before").unwrap();
        let loan = Loan::File { content: b"lent".to_vec(), owner: (0, 0), mode: 0o400 };
        let lent = Lent::new(Disk::new(Root::open(dir.path()).unwrap()), vec![(format!("/{name}"), loan)]).unwrap();
        assert_eq!(std::fs::read(dir.path().join(&name)).unwrap(), b"lent");
        lent.take_back().unwrap();
        assert_eq!(std::fs::read(dir.path().join(&name)).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_takes_the_place_of_a_parent_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [tree, cache, outside] = ["tree", "cache", "outside"].map(|name| dir.path().join(name));
        for path in [tree.clone(), cache.clone(), outside.join("q/cache"), outside.join("q/t")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(outside.join("q/word"), "").unwrap();
        std::fs::write(outside.join("q/cache/kept"), "").unwrap();
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if owner != (0, 0) {
            return;
        }
        let loans = || {
            vec![
                ("/p/q/word".to_owned(), Loan::File { content: b"secret".to_vec(), owner, mode: 0o400 }),
                ("/p/q/cache".to_owned(), Loan::Moved(cache.clone())),
                ("/p/q/t".to_owned(), Loan::Directory),
            ]
        };
        for target in [outside.clone(), PathBuf::from("/inside")] {
            std::fs::create_dir_all(tree.join("inside/q/t")).unwrap();
            std::fs::write(tree.join("inside/q/word"), "").unwrap();
            let lent = Lent::new(Disk::new(Root::open(&tree).unwrap()), loans()).unwrap();
            std::fs::write(tree.join("p/q/cache/written"), "").unwrap();
            std::fs::rename(tree.join("p"), tree.join("gone")).unwrap();
            std::os::unix::fs::symlink(&target, tree.join("p")).unwrap();
            lent.take_back().unwrap();
            assert!(cache.join("written").exists() && !cache.join("kept").exists(), "the cache comes back from where it is");
            assert!(!tree.join("gone/q").exists(), "so does the secret");
            for path in [
                outside.join("q/word"),
                outside.join("q/cache/kept"),
                outside.join("q/t"),
                tree.join("inside/q/word"),
                tree.join("inside/q/t"),
            ] {
                assert!(path.exists(), "{}", path.display());
            }
            std::fs::remove_file(tree.join("p")).unwrap();
            std::fs::remove_dir_all(tree.join("gone")).unwrap();
        }
    }

    /// Adversarial 51: what the command puts on the way to a loan leads nobody astray.
    #[test]
    fn what_is_moved_away_is_told_and_nothing_outside_is_touched() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for loan in ["secret", "cache", "directory"] {
            for change in ["replaced", "moved", "linked", "removed", "the way leads out"] {
                let dir = tempfile::tempdir().unwrap();
                let (tree, cache, outside) = (dir.path().join("tree"), dir.path().join("cache"), dir.path().join("outside"));
                for path in [tree.join("kept"), cache.clone(), outside.join("x")] {
                    std::fs::create_dir_all(path).unwrap();
                }
                std::fs::write(outside.join("x/precious"), "").unwrap();
                let what = match loan {
                    "secret" => Loan::File { content: b"secret".to_vec(), owner: (0, 0), mode: 0o400 },
                    "cache" => Loan::Moved(cache.clone()),
                    _ => Loan::Directory,
                };
                let lent = Lent::new(Disk::new(Root::open(&tree).unwrap()), vec![("/way/x".to_owned(), what)]).unwrap();
                let at = tree.join("way/x");
                let is_kept = match change {
                    "replaced" => {
                        std::fs::rename(&at, tree.join("way/y")).unwrap();
                        std::fs::write(&at, "the command's").unwrap();
                        true
                    }
                    "moved" => {
                        std::fs::rename(tree.join("way"), tree.join("kept/way")).unwrap();
                        false
                    }
                    "linked" if loan == "secret" => {
                        std::fs::hard_link(&at, tree.join("kept/link")).unwrap();
                        true
                    }
                    "removed" if loan == "secret" => {
                        std::fs::remove_file(&at).unwrap();
                        false
                    }
                    "the way leads out" => {
                        std::fs::rename(tree.join("way"), tree.join("kept/way")).unwrap();
                        std::os::unix::fs::symlink(&outside, tree.join("way")).unwrap();
                        false
                    }
                    _ => false,
                };
                let taken = lent.take_back();
                assert_eq!(matches!(taken, Err(TreeError::Kept { .. })), is_kept, "{loan} {change}: {taken:?}");
                assert!(outside.join("x/precious").exists(), "{loan} {change}");
                let grep = std::process::Command::new("grep").arg("-rq").arg("secret").arg(&tree).status().unwrap();
                assert!(!grep.success(), "{loan} {change}: nothing has the secret");
                assert_eq!(change == "replaced", at.is_file(), "{loan} {change}: what is the command's stays");
                assert_eq!(cache.exists(), loan != "cache" || !is_kept, "{loan} {change}");
            }
        }
    }
}
