//! `--chown`: names and numbers to owners, as the root filesystem's own /etc/passwd and /etc/group say.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::tree::{Last, ReadTree, TreeError, resolve};
use crate::fs::Kind;

/// Beyond this, a number is no user or group for many programs, and -1 means "leave it".
const LARGEST: u32 = i32::MAX as u32;
/// No account database is larger.
const LARGEST_FILE: u64 = 16 << 20;

/// Why an owner is none.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// An account that is not there.
    #[error("unknown {what} {name:?}: it is not in the root filesystem's {file}; name one that is, or give the number")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// As written.
        name: String,
        /// Where it was looked up.
        file: &'static str,
    },
    /// A number that no account can have.
    #[error("invalid {what} {number:?}: want 0 to {LARGEST}")]
    Range {
        /// `user` or `group`.
        what: &'static str,
        /// As written.
        number: String,
    },
    /// Nothing at all, or a colon too many.
    #[error("invalid owner {0:?}: want user, user:group or :group, names or numbers")]
    Form(String),
    /// The files cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The user and group that a text such as `www:staff` or `10` means.
///
/// What is left empty beside a colon is 0. A user by name without a group has the primary group of its account, one by number the group of that number.
pub fn resolve_owner(text: &str, tree: &(impl ReadTree + ?Sized)) -> Result<(u32, u32), OwnerError> {
    let form = || OwnerError::Form(text.chars().take(100).collect());
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    if group.is_some_and(|group| group.contains(':')) || text.is_empty() {
        return Err(form());
    }
    let (uid, primary) = match number(user, "user")? {
        _ if user.is_empty() => (0, 0),
        Some(uid) => (uid, uid),
        None => account(tree, user)?,
    };
    let gid = match group {
        None => primary,
        Some(group) => match number(group, "group")? {
            Some(gid) => gid,
            None => named_group(tree, group)?,
        },
    };
    Ok((uid, gid))
}

/// None where the text is a name.
fn number(text: &str, what: &'static str) -> Result<Option<u32>, OwnerError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number <= LARGEST => Ok(Some(number)),
        _ => Err(OwnerError::Range { what, number: text.chars().take(100).collect() }),
    }
}

fn account(tree: &(impl ReadTree + ?Sized), name: &str) -> Result<(u32, u32), OwnerError> {
    let found = find(tree, "/etc/passwd", name, &mut |fields| Some((id(fields.get(2)?)?, id(fields.get(3)?)?)))?;
    found.ok_or_else(|| OwnerError::Unknown { what: "user", name: name.to_owned(), file: "/etc/passwd" })
}

fn named_group(tree: &(impl ReadTree + ?Sized), name: &str) -> Result<u32, OwnerError> {
    let found = find(tree, "/etc/group", name, &mut |fields| id(fields.get(2)?))?;
    found.ok_or_else(|| OwnerError::Unknown { what: "group", name: name.to_owned(), file: "/etc/group" })
}

fn id(text: &&str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= LARGEST)
}

/// The first account of that name whose fields make sense.
fn find<T>(
    tree: &(impl ReadTree + ?Sized),
    file: &'static str,
    name: &str,
    read: &mut dyn FnMut(&[&str]) -> Option<T>,
) -> Result<Option<T>, OwnerError> {
    let found = resolve(tree, Path::new(""), Path::new(file), Last::Follow)?;
    let Some(node) = found.node.filter(|node| node.kind == Kind::File) else { return Ok(None) };
    let failed = |source| TreeError::Io { action: "read", path: file.into(), source };
    let mut lines = BufReader::new(tree.open(&found.path, &node)?.take(LARGEST_FILE));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let fields: Vec<&str> = text.trim_end_matches('\n').split(':').collect();
        if fields.first() == Some(&name)
            && let Some(value) = read(&fields)
        {
            return Ok(Some(value));
        }
        line.clear();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Time;
    use crate::rootfs::layered::Layered;
    use crate::rootfs::tree::{Content, Tree as _};

    #[test]
    fn names_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Layered::scratch(dir.path());
        let blank = crate::fs::Attributes { mtime: Some(Time::default()), ..Default::default() };
        tree.make_dir(Path::new("etc"), &blank).unwrap();
        let passwd = b"root:x:0:0::/root:/bin/sh\nbroken:x:zz:1\nwww:x:33:34::/:/bin/false\nwww:x:1:1:::\n";
        tree.put_file(Path::new("etc/passwd"), &blank, Content::Bytes(passwd)).unwrap();
        tree.put_file(Path::new("etc/group"), &blank, Content::Bytes(b"root:x:0:\nstaff:x:50:www\n")).unwrap();
        for (text, want) in [
            ("10", Some((10, 10))),
            ("10:11", Some((10, 11))),
            ("www", Some((33, 34))),
            ("www:", Some((33, 34))),
            ("www:staff", Some((33, 50))),
            ("www:7", Some((33, 7))),
            ("7:staff", Some((7, 50))),
            (":staff", Some((0, 50))),
            ("2147483647", Some((2_147_483_647, 2_147_483_647))),
            ("2147483648", None),
            ("4294967297", None),
            ("-1", None),
            ("1:4294967295", None),
            ("nosuch", None),
            ("www:nosuch", None),
            ("broken", None),
            ("", None),
            (":", Some((0, 0))),
            ("a:b:c", None),
        ] {
            assert_eq!(resolve_owner(text, &tree).ok(), want, "{text}");
        }
        assert!(resolve_owner("www", &Layered::scratch(dir.path())).is_err());
    }
}
