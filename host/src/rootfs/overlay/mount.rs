//! Mounting overlayfs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags};

use crate::fs::in_user_namespace;

/// As many layers as Linux stacks (OVL_MAX_STACK).
pub(super) const MOST_LAYERS: usize = 500;
/// Plain files and directories in the upper directory, that mean the same below another one: no index, no metadata-only
/// copies, no renames by reference.
const PLAIN: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")];

/// Marks in `user` extended attributes (Linux 5.11), the only ones in reach of a user namespace.
const BY_USERS: &str = "userxattr";

/// The option above implies that renames are not made by reference, and cannot be given together with the one that says so.
fn plain() -> &'static [(&'static str, &'static str)] {
    if in_user_namespace() { PLAIN.get(1..).unwrap_or_default() } else { &PLAIN }
}

/// Without this option (Linux 5.10) unmounting writes the whole disk back first, the unpacked base included. What is lost when
/// the machine stops is not yet part of any image.
const NO_SYNC: &str = "volatile";

/// What is stacked on what.
pub(super) struct Stack<'a> {
    /// Lowest first.
    pub(super) lowers: &'a [PathBuf],
    /// Where changes go; without it the mount is read-only.
    pub(super) upper: Option<Upper<'a>>,
}

/// Both lie on one filesystem.
#[derive(Clone, Copy)]
pub(super) struct Upper<'a> {
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
}

/// A mount that goes away with the value, though what is open in it stays usable.
#[derive(Debug)]
pub(super) struct Mounted {
    at: PathBuf,
}

impl Mounted {
    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts a stack on an existing directory.
    pub(super) fn new(stack: &Stack<'_>, at: &Path) -> io::Result<Self> {
        match by_parts(stack, at) {
            Ok(()) => {}
            // No `lowerdir+` (before Linux 6.8), or no such calls at all (before 5.2, or forbidden).
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => by_string(stack, at)?,
            Err(error) => return Err(error.into()),
        }
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whatever still has files open in it keeps them; the mount point is free at once.
        let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

fn by_parts(stack: &Stack<'_>, at: &Path) -> Result<(), Errno> {
    let config = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fs = config.as_fd();
    rustix::mount::fsconfig_set_string(fs, "source", "layerwright")?;
    // This parameter takes 255 bytes, which a descriptor's name never exceeds.
    let mut open = Vec::new();
    let mut set = |key: &str, path: &Path| -> Result<(), Errno> {
        let fd = open_path(path)?;
        rustix::mount::fsconfig_set_string(fs, key, by_descriptor(&fd).as_str())?;
        open.push(fd);
        Ok(())
    };
    for lower in stack.lowers.iter().rev() {
        set("lowerdir+", lower)?;
    }
    if let Some(Upper { upper, work }) = stack.upper {
        set("upperdir", upper)?;
        set("workdir", work)?;
        rustix::mount::fsconfig_set_flag(fs, NO_SYNC)?;
    }
    for &(key, value) in plain() {
        rustix::mount::fsconfig_set_string(fs, key, value)?;
    }
    if in_user_namespace() {
        rustix::mount::fsconfig_set_flag(fs, BY_USERS)?;
    }
    rustix::mount::fsconfig_create(fs)?;
    let attributes = if stack.upper.is_some() { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    let mount = rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::mount::move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

pub(super) fn by_string(stack: &Stack<'_>, at: &Path) -> io::Result<()> {
    // A whole page of options is allowed; the names of descriptors are short.
    let mut open = Vec::new();
    let mut name = |path: &Path| -> io::Result<String> {
        let fd = open_path(path)?;
        let name = by_descriptor(&fd);
        open.push(fd);
        Ok(name)
    };
    let lowers = stack.lowers.iter().rev().map(|path| name(path)).collect::<io::Result<Vec<_>>>()?;
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if let Some(Upper { upper, work }) = stack.upper {
        options.push_str(&format!(",upperdir={},workdir={}", name(upper)?, name(work)?));
    }
    for (key, value) in plain() {
        options.push_str(&format!(",{key}={value}"));
    }
    if in_user_namespace() {
        options.push_str(&format!(",{BY_USERS}"));
    }
    let try_mount = |options: String, flags| -> io::Result<()> {
        let options = CString::new(options)?;
        Ok(rustix::mount::mount("layerwright", at, "overlay", flags, options.as_c_str())?)
    };
    if stack.upper.is_none() {
        return try_mount(options, MountFlags::RDONLY);
    }
    try_mount(format!("{options},{NO_SYNC}"), MountFlags::empty()).or_else(|_| try_mount(options, MountFlags::empty()))
}

/// Mounts a filesystem in memory.
pub(super) fn memory(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount("layerwright", at, "tmpfs", MountFlags::NODEV, c"mode=700")?)
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A name without the colons, commas and backslashes that overlayfs would take apart.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
