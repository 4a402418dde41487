//! Owners that this process cannot give a file.
//!
//! In a user namespace only the ids that it maps can own files; with a single id that is root alone. Any other owner is written
//! beside the file, in an extended attribute, and read from there. Only files and directories can carry one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Gid, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Kind, Metadata, xattr};

/// `UID:GID` in decimal digits. It counts while the file belongs to 0:0, which it was given when this was written.
const OWNER_XATTR: &str = "user.layerwright.owner";

/// PROC_USER_INIT_INO: the number of the one user namespace that is nobody's child.
const INITIAL_USER_NAMESPACE: u64 = 4_026_531_837;

/// Every id there is.
const ALL_IDS: u64 = 4_294_967_295;

/// Whether this process is in a user namespace, where the `trusted` extended attributes are out of reach. What is asked first
/// decides: to be asked after namespaces have been entered.
pub fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| rustix::fs::stat("/proc/self/ns/user").is_ok_and(|found| found.st_ino != INITIAL_USER_NAMESPACE))
}

/// The ids that files can have here, as the kernel writes them; none where there are all. As above, what is asked first decides.
pub fn limited_ids() -> Option<&'static str> {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let all = maps.iter().all(|map| map.is_empty() || mapped(map) >= ALL_IDS);
        (!all).then(|| maps.join("\n"))
    };
    ANSWER.get_or_init(read).as_deref()
}

/// Whether an extended attribute says something of how a tree is kept, not of the file: what overlayfs and this program write.
pub fn is_bookkeeping(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.") || [OWNER_XATTR, super::node::NODE_XATTR].iter().any(|own| name == own.as_bytes())
}

/// How many ids a map has.
fn mapped(map: &str) -> u64 {
    map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

/// Gives a name in a directory an owner; an empty name is the directory itself. A link is not followed.
pub(super) fn set_at(dir: BorrowedFd<'_>, name: &OsStr, owner: (u32, u32)) -> io::Result<()> {
    let this_one = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let give = |(uid, gid)| rustix::fs::chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), this_one);
    match give(owner) {
        Err(Errno::INVAL) if limited_ids().is_some() => {}
        Ok(()) => return if limited_ids().is_some() { forget(&xattr::by_proc(dir, name)) } else { Ok(()) },
        other => return Ok(other?),
    }
    give((0, 0))?;
    let value = format!("{}:{}", owner.0, owner.1);
    match rustix::fs::lsetxattr(xattr::by_proc(dir, name), OWNER_XATTR, value.as_bytes(), XattrFlags::empty()) {
        // Links, FIFOs and devices have no such attributes: they stay root's.
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// As above, of something that is open.
pub(super) fn set_on(fd: BorrowedFd<'_>, owner: (u32, u32)) -> io::Result<()> {
    let give = |(uid, gid)| rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match give(owner) {
        Err(Errno::INVAL) if limited_ids().is_some() => {}
        other => return Ok(other?),
    }
    give((0, 0))?;
    let value = format!("{}:{}", owner.0, owner.1);
    Ok(rustix::fs::fsetxattr(fd, OWNER_XATTR, value.as_bytes(), XattrFlags::empty())?)
}

fn forget(path: &std::path::Path) -> io::Result<()> {
    match rustix::fs::lremovexattr(path, OWNER_XATTR) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the kernel says of a name, with the owner that is written beside it.
pub(super) fn complete(mut found: Metadata, dir: BorrowedFd<'_>, name: &OsStr) -> Metadata {
    if (found.uid, found.gid) == (0, 0) && matches!(found.kind, Kind::File | Kind::Directory) && limited_ids().is_some() {
        let mut value = [0; 24];
        let written = rustix::fs::lgetxattr(xattr::by_proc(dir, name), OWNER_XATTR, &mut value);
        let written = written.ok().and_then(|length| std::str::from_utf8(value.get(..length)?).ok());
        if let Some((uid, gid)) = written.and_then(|text| text.split_once(':'))
            && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
        {
            (found.uid, found.gid) = (uid, gid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::mapped;

    #[test]
    fn ids_of_a_map_are_counted() {
        assert_eq!(mapped("         0          0 4294967295\n"), 4_294_967_295);
        assert_eq!(mapped("         0       1000          1\n         1     100000      65536\n"), 65_537);
        assert_eq!(mapped(""), 0);
    }
}
