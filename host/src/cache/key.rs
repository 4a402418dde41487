//! Keys of the cache, and how they are put together from parts.

use std::fmt;
use std::str::FromStr;

use crate::oci::{Digest, Hasher};

/// Changed when the same operations come to make other layers: nothing that was kept before is found any more.
const VERSION: &str = "1";

/// Names a result by all that it was made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// 64 hexadecimal digits: a tag, and a file name.
    pub fn hex(&self) -> String {
        self.0.hex()
    }

    /// The raw hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cache key: want 64 lower-case hexadecimal digits")]
pub struct NoKey;

impl FromStr for CacheKey {
    type Err = NoKey;

    fn from_str(hex: &str) -> Result<Self, NoKey> {
        format!("sha256:{hex}").parse().map(Self).map_err(|_| NoKey)
    }
}

/// Puts a key together from parts. Each part goes in with its length, so that no two lists of parts make the same bytes.
pub struct KeyWriter(Hasher);

impl KeyWriter {
    /// A key for one kind of thing; keys of different kinds are never the same.
    pub fn new(kind: &str) -> Self {
        let mut writer = Self(Hasher::default());
        writer.part("layerwright").part(VERSION).part(kind);
        writer
    }

    /// One part.
    pub fn part(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// A part that may be missing, which is not the same as empty.
    pub fn option(&mut self, bytes: Option<impl AsRef<[u8]>>) -> &mut Self {
        match bytes {
            Some(bytes) => self.part([1]).part(bytes),
            None => self.part([0]),
        }
    }

    /// A list of parts, which does not run into what follows.
    pub fn list<T: AsRef<[u8]>>(&mut self, parts: impl ExactSizeIterator<Item = T>) -> &mut Self {
        self.part((parts.len() as u64).to_le_bytes());
        for part in parts {
            self.part(part);
        }
        self
    }

    /// The key of all parts.
    pub fn finish(self) -> CacheKey {
        CacheKey(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(kind: &str, parts: &[&str]) -> CacheKey {
        let mut writer = KeyWriter::new(kind);
        for part in parts {
            writer.part(part);
        }
        writer.finish()
    }

    /// Adversarial 60: parts that run into each other are told apart.
    #[test]
    fn what_comes_out_the_same_when_joined_has_keys_of_its_own() {
        let mut keys = BTreeSet::from([
            key("k", &["ab", "c"]),
            key("k", &["a", "bc"]),
            key("k", &["abc"]),
            key("k", &["abc", ""]),
            key("k", &["", "abc"]),
            key("ka", &["bc"]),
            key("kab", &["c"]),
        ]);
        for lists in [[vec!["a", "b"], vec![]], [vec!["a"], vec!["b"]], [vec![], vec!["a", "b"]]] {
            let mut writer = KeyWriter::new("k");
            for list in lists {
                writer.list(list.iter());
            }
            keys.insert(writer.finish());
        }
        for part in [None, Some("")] {
            let mut writer = KeyWriter::new("k");
            writer.option(part);
            keys.insert(writer.finish());
        }
        assert_eq!(keys.len(), 12);
    }

    #[test]
    fn a_key_is_read_from_its_digits_alone() {
        let one = key("k", &[]);
        assert_eq!(one.hex().parse(), Ok(one));
        for bad in ["", "latest", &one.hex()[1..], &one.hex().to_uppercase()] {
            assert_eq!(bad.parse::<CacheKey>(), Err(NoKey), "{bad}");
        }
    }
}
