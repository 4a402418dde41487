//! Extended headers (POSIX.1-2001, pax, "Extended Header").

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::ReadError;
use crate::fs::{Time, Xattrs};

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records of an extended header; the last of each key counts, and one without a value takes the earlier ones back.
#[derive(Default)]
pub(super) struct Records {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// GNU sparse 0.0 says its map in keys that come again and again.
    pub(super) sparse_0_0: Vec<(u64, u64)>,
}

impl Records {
    pub(super) fn parse(mut rest: &[u8]) -> Result<Self, ReadError> {
        let mut records = Self::default();
        let mut offset = None;
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(|| ReadError::corrupt("an extended header is malformed"))?;
            rest = after;
            match key {
                b"GNU.sparse.offset" => {
                    if offset.replace(decimal(value)?).is_some() {
                        return Err(ReadError::corrupt("a sparse map is malformed"));
                    }
                }
                b"GNU.sparse.numbytes" => {
                    let start = offset.take().ok_or_else(|| ReadError::corrupt("a sparse map is malformed"))?;
                    records.sparse_0_0.push((start, decimal(value)?));
                }
                _ => {
                    let text = matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name");
                    if text && value.contains(&0) {
                        return Err(ReadError::corrupt("a name contains a NUL byte"));
                    }
                    records.values.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        if offset.is_some() {
            return Err(ReadError::corrupt("a sparse map is malformed"));
        }
        Ok(records)
    }

    /// A value that is there and not empty.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ReadError> {
        self.get(key).map(decimal).transpose()
    }

    /// As [`Self::number`], also below zero, for owners: an answer that is out of range, not unreadable.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, ReadError> {
        let parse = |value: &[u8]| {
            let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
            let number = text.and_then(|text| text.parse::<i128>().ok());
            let number = number.ok_or_else(|| ReadError::corrupt(format!("the extended header {key} is no number")))?;
            Ok(i64::try_from(number).unwrap_or(i64::MIN))
        };
        self.get(key).map(parse).transpose()
    }

    pub(super) fn time(&self, key: &str) -> Result<Option<Time>, ReadError> {
        let parse = |value| time(value).ok_or_else(|| ReadError::corrupt(format!("the extended header {key} is no time")));
        self.get(key).map(parse).transpose()
    }

    /// The attributes that an image carries: those of users, and file capabilities. What overlayfs writes for itself, and
    /// security labels that belong to the host, must not come out of an archive.
    pub(super) fn xattrs(&self) -> Xattrs {
        let mut found = Xattrs::new();
        for (key, value) in &self.values {
            if let Some(name) = key.strip_prefix(XATTR).filter(|name| is_carried(OsStr::from_bytes(name))) {
                found.insert(OsString::from_vec(name.to_vec()), value.clone());
            }
        }
        found
    }

    /// Whether an extended header for the whole archive would change what its entries are.
    pub(super) fn changes_entries(&self) -> bool {
        let changes = |key: &Vec<u8>| matches!(key.as_slice(), b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.");
        !self.sparse_0_0.is_empty() || self.values.keys().any(changes)
    }
}

/// Whether images carry an extended attribute of that name: `security.capability`, and `user.*` but for what overlayfs
/// keeps there. A name with `=` cannot be told from its value in a layer.
pub fn is_carried(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name == b"security.capability"
        || (name.starts_with(b"user.") && !crate::fs::is_bookkeeping(name) && !name.contains(&0) && !name.contains(&b'='))
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself: the key, the value and what follows.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().take(21).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(data.get(..blank)?).ok()?).ok()?;
    let line = data.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (line.get(..equals)?, line.get(equals + 1..)?);
    if key.is_empty() || key.contains(&0) {
        return None;
    }
    Some((key, value, data.get(length..)?))
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, ReadError> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(ReadError::corrupt("an extended header's number is not decimal"));
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| ReadError::limit("a number of more than 63 bits"))
}

/// Seconds with a fraction of any length, cut to nanoseconds.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.starts_with('+') || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_carried_that_a_layer_can_name() {
        for (name, carried) in [
            ("user.note", true),
            ("security.capability", true),
            ("user.a=b", false),
            ("user.overlay.opaque", false),
            ("user.layerwright.owner", false),
            ("user.layerwright.node", false),
            ("trusted.overlay.opaque", false),
            ("security.selinux", false),
        ] {
            assert_eq!(is_carried(OsStr::new(name)), carried, "{name}");
        }
    }

    #[test]
    fn records_are_cut_by_their_length_and_not_by_lines() {
        let records = Records::parse(b"10 a=b\nc\n\n11 path=a/b\n10 path=x\n").ok();
        assert!(records.is_none(), "the first length is wrong");
        let records = Records::parse(b"9 a=b\nc=\n12 path=a/b\n10 path=x\n").unwrap();
        assert_eq!(records.get("a"), Some(&b"b\nc="[..]));
        assert_eq!(records.get("path"), Some(&b"x"[..]), "the last one counts");
        for bad in ["5 a=b", "0 a=b\n", "6 =bb\n", "x a=b\n", "99999999999999999999 a=b\n", "7 ab \n"] {
            assert!(Records::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_the_epoch() {
        for (text, seconds, nanoseconds) in [
            ("1", 1, 0),
            ("1.5", 1, 500_000_000),
            ("1.0000000019", 1, 1),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
            ("-0.5", -1, 500_000_000),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Time { seconds, nanoseconds }), "{text}");
        }
        for bad in ["", "a", "1.x", "+1", "99999999999999999999"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }
}
