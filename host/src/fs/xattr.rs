//! Extended attributes, of links themselves too.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::error::At as _;
use super::{Result, Root, Xattrs};

/// The kernel's own limit for one value and for the list of names (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const LARGEST: usize = 65_536;

impl Root {
    /// All extended attributes that this process may see; none on a filesystem without them. A link is not followed.
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<Xattrs> {
        let path = path.as_ref();
        let read = || {
            let place = self.place(path)?;
            read_at(place.dir(), place.name())
        };
        read().at("read the extended attributes of", path)
    }

    /// One extended attribute. A link is not followed.
    pub fn xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let read = || {
            let place = self.place(path)?;
            get(&by_proc(place.dir(), place.name()), name.as_ref())
        };
        read().at("read an extended attribute of", path)
    }

    /// Sets an extended attribute. A link is not followed.
    pub fn set_xattr(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>, value: &[u8]) -> Result<()> {
        let path = path.as_ref();
        let set = || {
            let place = self.place(path)?;
            set_at(place.dir(), place.name(), name.as_ref(), value)
        };
        set().at("set an extended attribute of", path)
    }
}

/// The extended attributes of a name in a directory.
pub(super) fn read_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Xattrs> {
    let path = by_proc(dir, name);
    // Nearly every file has none, or few.
    let mut small = [0; 256];
    let mut large;
    let list = match rustix::fs::llistxattr(&path, &mut small) {
        Ok(length) => small.get(..length),
        Err(Errno::NOTSUP) => return Ok(Xattrs::new()),
        Err(Errno::RANGE) => {
            large = vec![0; LARGEST];
            let length = rustix::fs::llistxattr(&path, &mut large)?;
            large.get(..length)
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Xattrs::new();
    for name in list.unwrap_or_default().split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        if let Some(value) = get(&path, name)? {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

pub(super) fn set_at(dir: BorrowedFd<'_>, name: &OsStr, xattr: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(by_proc(dir, name), xattr, value, XattrFlags::empty())?)
}

pub(super) fn set_on(fd: BorrowedFd<'_>, xattr: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(fd, xattr, value, XattrFlags::empty())?)
}

fn get(path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < LARGEST => value.resize(LARGEST, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The kernel has no xattr calls relative to a directory (before Linux 6.13), but it has this name for the directory.
pub(super) fn by_proc(dir: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    let mut path = OsString::from(format!("/proc/self/fd/{}/", dir.as_raw_fd()));
    path.push(if name.is_empty() { OsStr::new(".") } else { name });
    PathBuf::from(path)
}
