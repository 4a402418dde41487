//! What changes a tree.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::At as _;
use super::resolve::{MOST_LINKS, Place, link_target, put_in_front};
use super::{Attributes, Kind, Metadata, Result, Root, Time, owner, walk, xattr};

/// What [`Root::make_dirs`] found and made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MadeDirs {
    /// The directory itself, without links and `..`, relative to the root.
    pub path: PathBuf,
    /// The directories that were not there before, highest first, likewise.
    pub created: Vec<PathBuf>,
}

impl Root {
    /// Creates a regular file that must not exist yet, open for writing and reading; `mode` is 0 to 0o7777.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: u32) -> Result<File> {
        let path = path.as_ref();
        let create = || {
            let place = self.new_place(path)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(place.dir(), place.name(), flags, Mode::from_raw_mode(mode & 0o7777))?;
            Ok::<_, io::Error>(File::from(fd))
        };
        create().at("create", path)
    }

    /// Makes one directory that must not exist yet; the process's umask takes bits away from `mode`.
    pub fn make_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let make = || {
            let place = self.new_place(path)?;
            Ok::<_, io::Error>(rustix::fs::mkdirat(place.dir(), place.name(), Mode::from_raw_mode(mode & 0o7777))?)
        };
        make().at("make the directory", path)
    }

    /// Makes a directory and those above it, as far as they are missing, each with that mode (whatever the umask) and owner.
    ///
    /// Links on the way are followed, also where what they point to is still missing and is then made.
    pub fn make_dirs(&self, path: impl AsRef<Path>, mode: u32, owner: (u32, u32)) -> Result<MadeDirs> {
        let path = path.as_ref();
        let attributes = Attributes { owner: Some(owner), mode: Some(mode), ..Attributes::default() };
        self.make_dirs_with(path, &mut |_| Ok(attributes.clone()))
    }

    /// As [`Root::make_dirs`]; `attributes` says for each directory that is missing what it gets.
    pub fn make_dirs_with(&self, path: impl AsRef<Path>, attributes: &mut dyn FnMut(&Path) -> io::Result<Attributes>) -> Result<MadeDirs> {
        let path = path.as_ref();
        self.try_make_dirs(path, attributes).at("make the directory", path)
    }

    fn try_make_dirs(&self, path: &Path, attributes: &mut dyn FnMut(&Path) -> io::Result<Attributes>) -> io::Result<MadeDirs> {
        let mut todo = VecDeque::new();
        put_in_front(&mut todo, path.as_os_str().as_bytes());
        let mut made = MadeDirs::default();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                made.path.pop();
                continue;
            }
            made.path.push(OsString::from_vec(name));
            let place = self.place(&made.path)?;
            match kind_at(&place)? {
                None => {
                    let wanted = attributes(&made.path)?;
                    rustix::fs::mkdirat(place.dir(), place.name(), Mode::from_raw_mode(0o700))?;
                    made.created.push(made.path.clone());
                    set_attributes_at(&place, &wanted)?;
                }
                Some(Kind::Directory) => {}
                Some(Kind::Symlink) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = link_target(place.dir(), place.name())?;
                    if target.as_bytes().starts_with(b"/") {
                        made.path = PathBuf::new();
                    } else {
                        made.path.pop();
                    }
                    put_in_front(&mut todo, target.as_bytes());
                }
                Some(_) => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(made)
    }

    /// Makes a symbolic link; the target is written as it is.
    pub fn symlink(&self, target: impl AsRef<OsStr>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let make = || {
            let place = self.new_place(path)?;
            Ok::<_, io::Error>(rustix::fs::symlinkat(target.as_ref(), place.dir(), place.name())?)
        };
        make().at("make the link", path)
    }

    /// Gives something that exists a second name. A link is not followed: it gets the second name itself.
    pub fn hard_link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let make = || {
            let old = self.place(existing.as_ref())?;
            let new = self.new_place(path)?;
            Ok::<_, io::Error>(rustix::fs::linkat(old.dir(), old.name(), new.dir(), new.name(), AtFlags::empty())?)
        };
        make().at("make the hard link", path)
    }

    /// Makes a FIFO or a device (major, minor); other kinds are an error.
    pub fn make_node(&self, path: impl AsRef<Path>, kind: Kind, mode: u32, device: (u32, u32)) -> Result<()> {
        let path = path.as_ref();
        let make = || {
            let kind = match kind {
                Kind::Fifo => FileType::Fifo,
                Kind::CharDevice => FileType::CharacterDevice,
                Kind::BlockDevice => FileType::BlockDevice,
                _ => return Err(Errno::INVAL.into()),
            };
            let place = self.new_place(path)?;
            let device = rustix::fs::makedev(device.0, device.1);
            Ok::<_, io::Error>(rustix::fs::mknodat(place.dir(), place.name(), kind, Mode::from_raw_mode(mode & 0o7777), device)?)
        };
        make().at("make the node", path)
    }

    /// Removes a name and all that is below it; links are not followed. What does not exist is no error.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let remove = || {
            let place = match self.new_place(path) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
                other => other?,
            };
            let removed = match &self.guard {
                Some(guard) => guard.remove(place.dir(), place.name()),
                None => walk::remove(place.dir(), place.name()),
            };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        };
        let done = remove().at("remove", path);
        self.forget();
        done
    }

    /// Removes what is in a directory and keeps the directory.
    pub fn clear(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let fd = self.resolver.open(self.fd(), path, OFlags::RDONLY | OFlags::DIRECTORY);
        let clear = |fd| match &self.guard {
            Some(guard) => guard.clear(fd),
            None => walk::clear(fd),
        };
        let done = fd.and_then(clear).at("empty the directory", path);
        self.forget();
        done
    }

    /// Renames, replacing what has the new name where the kernel can.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let rename = || {
            let old = self.new_place(from.as_ref())?;
            let new = self.new_place(to.as_ref())?;
            if let Some(guard) = &self.guard {
                guard.check_below(old.dir(), old.name())?;
            }
            Ok::<_, io::Error>(rustix::fs::renameat(old.dir(), old.name(), new.dir(), new.name())?)
        };
        let done = rename().at("rename", from.as_ref());
        self.forget();
        done
    }

    /// Renames something of the host's into the tree. `from` is trusted and may contain links; both lie on one filesystem.
    pub fn move_in(&self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        let rename = || {
            let place = self.new_place(to.as_ref())?;
            Ok::<_, io::Error>(rustix::fs::renameat(CWD, from, place.dir(), place.name())?)
        };
        rename().at("move into the tree", from)
    }

    /// Renames something of the tree to a path of the host's, which is trusted and may contain links; both lie on one filesystem.
    pub fn move_out(&self, from: impl AsRef<Path>, to: &Path) -> Result<()> {
        let rename = || {
            let place = self.new_place(from.as_ref())?;
            if let Some(guard) = &self.guard {
                guard.check_below(place.dir(), place.name())?;
            }
            Ok::<_, io::Error>(rustix::fs::renameat(place.dir(), place.name(), CWD, to)?)
        };
        let done = rename().at("move out of the tree", from.as_ref());
        self.forget();
        done
    }

    /// Sets permission, set-id and sticky bits. A link has none: nothing happens to it, nor to what it leads to.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.set_attributes(path, &Attributes { mode: Some(mode), ..Attributes::default() })
    }

    /// Sets owner and group, of a link itself too. The kernel takes set-id bits and capabilities away: set them afterwards.
    pub fn set_owner(&self, path: impl AsRef<Path>, owner: (u32, u32)) -> Result<()> {
        self.set_attributes(path, &Attributes { owner: Some(owner), ..Attributes::default() })
    }

    /// Sets access and modification time, of a link itself too.
    pub fn set_times(&self, path: impl AsRef<Path>, mtime: Time) -> Result<()> {
        self.set_attributes(path, &Attributes { mtime: Some(mtime), ..Attributes::default() })
    }

    /// Sets attributes in the order in which they survive; a link is not followed, and its mode is left out.
    pub fn set_attributes(&self, path: impl AsRef<Path>, attributes: &Attributes) -> Result<()> {
        let path = path.as_ref();
        let set = || set_attributes_at(&self.place(path)?, attributes);
        set().at("set attributes of", path)
    }

    /// A place that a name can be made in or taken from: the root itself and `..` are none.
    fn new_place(&self, path: &Path) -> io::Result<Place> {
        let place = self.place(path)?;
        if place.name().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path ends in no name"));
        }
        Ok(place)
    }
}

fn kind_at(place: &Place) -> io::Result<Option<Kind>> {
    match rustix::fs::statat(place.dir(), place.name(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Metadata::from(stat).kind)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set_attributes_at(place: &Place, attributes: &Attributes) -> io::Result<()> {
    let (dir, name) = (place.dir(), place.name());
    if let Some(owner) = attributes.owner {
        owner::set_at(dir, name, owner)?;
    }
    if let Some(mode) = attributes.mode {
        set_mode_at(dir, name, mode)?;
    }
    for (xattr, value) in &attributes.xattrs {
        xattr::set_at(dir, name, xattr, value)?;
    }
    if let Some(mtime) = attributes.mtime {
        // Unlike the others, this call takes an empty name only since Linux 5.8, and a dot always.
        let name = if name.is_empty() { OsStr::new(".") } else { name };
        rustix::fs::utimensat(dir, name, &mtime.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// The old chmod call follows links and its successor is young (Linux 6.6): so through the open inode, which cannot be swapped.
fn set_mode_at(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let name = if name.is_empty() { OsStr::new(".") } else { name };
    let fd = rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if Metadata::from(rustix::fs::fstat(&fd)?).kind == Kind::Symlink {
        return Ok(());
    }
    let inode = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(rustix::fs::chmod(inode, Mode::from_raw_mode(mode & 0o7777))?)
}
