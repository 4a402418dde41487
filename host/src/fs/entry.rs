use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, Stat, Timespec, Timestamps};

use super::{owner, xattr};

/// What kind of thing a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

impl Kind {
    pub(super) fn from_type(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Socket => "a socket",
        })
    }
}

/// A moment since 1970; before it, `seconds` is negative and `nanoseconds` still counts upwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time {
    /// Whole seconds.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Time {
    /// A whole second.
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    pub(super) fn timestamps(self) -> Timestamps {
        let last_modification = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: last_modification, last_modification }
    }
}

/// What the kernel says of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// In bytes.
    pub size: u64,
    /// Of the content.
    pub mtime: Time,
    /// Of the inode; nobody can set it.
    pub ctime: Time,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Inode number.
    pub ino: u64,
    /// The filesystem it lies on.
    pub dev: u64,
    /// Number of names.
    pub nlink: u64,
}

impl From<Stat> for Metadata {
    #[expect(clippy::useless_conversion, reason = "the widths of these fields differ between architectures")]
    fn from(stat: Stat) -> Self {
        let nanoseconds = |value| u32::try_from(value).unwrap_or(0);
        Self {
            kind: Kind::from_type(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Kind::Socket),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Time { seconds: stat.st_mtime.into(), nanoseconds: nanoseconds(stat.st_mtime_nsec) },
            ctime: Time { seconds: stat.st_ctime.into(), nanoseconds: nanoseconds(stat.st_ctime_nsec) },
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            ino: stat.st_ino.into(),
            dev: stat.st_dev.into(),
            nlink: stat.st_nlink.into(),
        }
    }
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    /// Without any slash.
    pub name: OsString,
    /// What it is; a link is not followed.
    pub kind: Kind,
}

/// Extended attributes by their full names (`user.x`, `security.capability`).
pub type Xattrs = BTreeMap<OsString, Vec<u8>>;

/// What is set on something new; fields that are none stay what they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// Owner and group.
    pub owner: Option<(u32, u32)>,
    /// 0 to 0o7777; never set on a link.
    pub mode: Option<u32>,
    /// Set one by one; others stay.
    pub xattrs: Xattrs,
    /// Of the content.
    pub mtime: Option<Time>,
}

/// Sets attributes on an open file or directory (not on one opened with `O_PATH`).
pub fn set_attributes(file: impl AsFd, attributes: &Attributes) -> io::Result<()> {
    let fd = file.as_fd();
    // In this order: a new owner takes set-id bits and capabilities away.
    if let Some(owner) = attributes.owner {
        owner::set_on(fd, owner)?;
    }
    if let Some(mode) = attributes.mode {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode & 0o7777))?;
    }
    for (name, value) in &attributes.xattrs {
        xattr::set_on(fd, name, value)?;
    }
    if let Some(mtime) = attributes.mtime {
        rustix::fs::futimens(fd, &mtime.timestamps())?;
    }
    Ok(())
}
