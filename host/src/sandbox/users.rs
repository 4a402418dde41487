//! Who a step runs as: `USER` read against the image's own `/etc/passwd` and `/etc/group`.
//!
//! Functions of text; whoever calls them has read the files without leaving the image.

/// The numbers and the home directory of a user of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// All of its groups, the primary one first.
    pub groups: Vec<u32>,
    /// Its home directory.
    pub home: String,
}

/// A user or group that the image does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Neither a known name nor a number.
    #[error("user {0:?} is not in the image's /etc/passwd; create it or use a number")]
    UnknownUser(String),
    /// Neither a known name nor a number.
    #[error("group {0:?} is not in the image's /etc/group; create it or use a number")]
    UnknownGroup(String),
    /// Numbers end at 2147483647.
    #[error("user or group number {0} is out of range, 2147483647 is the largest")]
    Range(String),
}

/// Resolves `user` or `user:group`, names or numbers; nothing is root.
///
/// A user's supplementary groups count only where no group is named. A number without an entry has group 0 and the
/// home `/`.
///
/// # Errors
/// When a name is unknown or a number too large.
pub fn resolve(user: &str, passwd: &[u8], group: &[u8]) -> Result<Identity, UserError> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = number(name)?;

    let entry = entries(passwd).find_map(|fields| {
        let entry = PasswdEntry::read(&fields)?;
        (entry.name == name || Some(entry.uid) == number).then_some(entry)
    });
    let (uid, mut gid, home, member) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, Some(entry.name)),
        (None, Some(0)) => (0, 0, "/root", Some("root")),
        (None, Some(uid)) => (uid, 0, "/", None),
        (None, None) => return Err(UserError::UnknownUser(name.to_owned())),
    };

    let mut supplementary = Vec::new();
    if let Some(wanted) = wanted_group {
        gid = resolve_group(wanted, group)?;
    } else if let Some(member) = member {
        supplementary.extend(entries(group).filter_map(|fields| {
            let members = fields.get(3)?;
            let gid: u32 = fields.get(2)?.parse().ok()?;
            members.split(',').any(|name| name == member).then_some(gid)
        }));
    }
    let mut groups = vec![gid];
    for supplement in supplementary {
        if !groups.contains(&supplement) {
            groups.push(supplement);
        }
    }
    let home = if home.is_empty() { "/" } else { home };
    let home = home.to_owned();
    Ok(Identity { uid, gid, groups, home })
}

/// Resolves a group's name or number.
///
/// # Errors
/// When the name is unknown or the number too large.
pub fn resolve_group(wanted: &str, group: &[u8]) -> Result<u32, UserError> {
    let number = number(wanted)?;
    entries(group)
        .find_map(|fields| {
            let gid: u32 = fields.get(2)?.parse().ok()?;
            (*fields.first()? == wanted || Some(gid) == number).then_some(gid)
        })
        .or(number)
        .ok_or_else(|| UserError::UnknownGroup(wanted.to_owned()))
}

/// The subordinate ids of a user in `/etc/subuid` or `/etc/subgid`: first one and how many, in the order of the file.
#[must_use]
pub fn subordinate_ranges(file: &[u8], uid: u32, passwd: &[u8]) -> Vec<(u64, u64)> {
    let number = uid.to_string();
    let name = entries(passwd).find_map(|fields| {
        let entry = PasswdEntry::read(&fields)?;
        (entry.uid == uid).then_some(entry.name)
    });
    let range = |fields: Vec<&str>| {
        let owner = *fields.first()?;
        let count: u64 = fields.get(2)?.parse().ok()?;
        ((owner == number || Some(owner) == name) && count > 0).then_some((fields.get(1)?.parse().ok()?, count))
    };
    entries(file).filter_map(range).collect()
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn read(fields: &[&'a str]) -> Option<Self> {
        Some(Self {
            name: fields.first()?,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).copied().unwrap_or_default(),
        })
    }
}

/// The fields of each line that is text, is not empty and is no comment.
fn entries(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

/// A number where `text` is one; names are not.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(number) if number <= i32::MAX as u32 => Ok(Some(number)),
        _ => Err(UserError::Range(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# note\n\nbroken\nbob:x:1001:1001::/home/bob:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:root\nbin:x:1:root,daemon\nbob:x:1001:\nextra:x:1002:al,bob\n";

    fn who(user: &str) -> Result<(u32, Vec<u32>, String), UserError> {
        resolve(user, PASSWD, GROUP).map(|found| (found.uid, found.groups, found.home))
    }

    #[test]
    fn users_and_groups() {
        let ok = |uid, groups: &[u32], home: &str| Ok((uid, groups.to_vec(), home.to_owned()));
        assert_eq!(who(""), ok(0, &[0, 1], "/root"));
        assert_eq!(who("root"), ok(0, &[0, 1], "/root"));
        assert_eq!(who("bob"), ok(1001, &[1001, 1002], "/home/bob"));
        assert_eq!(who("1001"), ok(1001, &[1001, 1002], "/home/bob"));
        assert_eq!(who("bob:extra"), ok(1001, &[1002], "/home/bob"));
        assert_eq!(who("bob:4343"), ok(1001, &[4343], "/home/bob"));
        assert_eq!(who("4242"), ok(4242, &[0], "/"));
        assert_eq!(who("4242:4343"), ok(4242, &[4343], "/"));
        assert_eq!(who(":extra"), ok(0, &[1002], "/root"));
        assert_eq!(who("al"), Err(UserError::UnknownUser("al".to_owned())));
        assert_eq!(who("bob:x"), Err(UserError::UnknownGroup("x".to_owned())));
        for large in ["2147483648", "4294967296", "99999999999999999999"] {
            assert_eq!(who(large), Err(UserError::Range(large.to_owned())));
            let pair = format!("0:{large}");
            assert_eq!(who(&pair), Err(UserError::Range(large.to_owned())));
        }
        assert!(who("-1").is_err());
    }

    #[test]
    fn subordinate_ids_go_by_name_or_number() {
        let file = b"bob:100000:65536\n1001:300000:10\nal:1:1\nbob:x:1\nbob:5:0\n";
        assert_eq!(subordinate_ranges(file, 1001, PASSWD), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(subordinate_ranges(file, 7, PASSWD), []);
    }

    #[test]
    fn an_image_without_files_has_root() {
        let root = resolve("", b"", b"").unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
    }
}
