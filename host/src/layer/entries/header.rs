//! The 512-byte header block: POSIX.1-1988 (ustar), its predecessor, and GNU's.

use super::ReadError;
use super::sparse::Parts;

pub(super) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header {
    block: [u8; BLOCK],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Old,
    Ustar,
    Gnu,
}

impl Header {
    /// None for a block of zeros.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Option<Self>, ReadError> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Self { block };
        let stated = number(header.field(148, 8))?;
        let mut unsigned = 0_i64;
        let mut signed = 0_i64;
        for (at, &byte) in header.block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if stated != unsigned && stated != signed {
            return Err(ReadError::corrupt("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn field(&self, at: usize, length: usize) -> &[u8] {
        self.block.get(at..at + length).unwrap_or_default()
    }

    fn dialect(&self) -> Dialect {
        match (self.field(257, 6), self.field(263, 2)) {
            (b"ustar\0", _) => Dialect::Ustar,
            (b"ustar ", b" \0") => Dialect::Gnu,
            _ => Dialect::Old,
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        let prefix = if self.dialect() == Dialect::Ustar { until_nul(self.field(345, 155)) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(self.field(157, 100)).to_vec()
    }

    pub(super) fn mode(&self) -> Result<i64, ReadError> {
        number(self.field(100, 8))
    }

    pub(super) fn uid(&self) -> Result<i64, ReadError> {
        number(self.field(108, 8))
    }

    pub(super) fn gid(&self) -> Result<i64, ReadError> {
        number(self.field(116, 8))
    }

    pub(super) fn size(&self) -> Result<u64, ReadError> {
        size(self.field(124, 12))
    }

    pub(super) fn mtime(&self) -> Result<i64, ReadError> {
        number(self.field(136, 12))
    }

    /// Major and minor number; the oldest tars have none.
    pub(super) fn device(&self) -> Result<(u32, u32), ReadError> {
        if self.dialect() == Dialect::Old {
            return Ok((0, 0));
        }
        let part = |at| u32::try_from(number(self.field(at, 8))?).map_err(|_| ReadError::limit("a device number"));
        Ok((part(329)?, part(337)?))
    }

    /// GNU's old sparse form: the map in the header, whether more blocks of it follow, and the real size.
    pub(super) fn gnu_sparse(&self) -> Result<(Parts, bool, u64), ReadError> {
        if self.dialect() != Dialect::Gnu {
            return Err(ReadError::corrupt("a sparse file without a GNU header"));
        }
        Ok((sparse_pairs(self.field(386, 96))?, self.block[482] != 0, size(self.field(483, 12))?))
    }
}

/// The pairs in an extension block of a GNU sparse map, and whether another block follows.
pub(super) fn gnu_sparse_extension(block: &[u8; BLOCK]) -> Result<(Parts, bool), ReadError> {
    Ok((sparse_pairs(block.get(..504).unwrap_or_default())?, block[504] != 0))
}

fn sparse_pairs(field: &[u8]) -> Result<Parts, ReadError> {
    let mut pairs = Vec::new();
    for pair in field.chunks_exact(24) {
        let Some((offset, length)) = pair.split_at_checked(12) else { break };
        if offset.first() == Some(&0) || length.first() == Some(&0) {
            break;
        }
        pairs.push((size(offset)?, size(length)?));
    }
    Ok(pairs)
}

fn size(field: &[u8]) -> Result<u64, ReadError> {
    u64::try_from(number(field)?).map_err(|_| ReadError::limit("a negative size"))
}

/// Octal digits between blanks and NULs, or, where the first bit is set, big-endian two's complement (GNU's base-256).
fn number(field: &[u8]) -> Result<i64, ReadError> {
    if let Some((&first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        // The second bit is the sign; the first is the mark.
        let negative = first & 0x40 != 0;
        let start = if negative { i128::from(first) - 0x100 } else { i128::from(first & 0x7f) };
        let mut value = start;
        for &byte in rest {
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| ReadError::limit("a number of more than 63 bits"));
    }
    let text = field.trim_ascii_start();
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default().trim_ascii();
    let mut value = 0_i64;
    for &byte in text {
        if !(b'0'..=b'7').contains(&byte) {
            return Err(ReadError::corrupt("a header's number is not octal"));
        }
        // 12 digits of 3 bits fit.
        value = value * 8 + i64::from(byte - b'0');
    }
    Ok(value)
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"-1\0\0", None),
            (b"0x10", None),
            (b"9\0", None),
        ] {
            assert_eq!(number(field).ok(), value, "{field:?}");
        }
    }
}
