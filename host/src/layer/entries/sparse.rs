//! Maps of files with holes: GNU's old form, and 0.0, 0.1 and 1.0 in extended headers.

use super::ReadError;
use super::pax::{Records, decimal};

/// Parts of one file.
const MOST_PARTS: usize = 262_144;

/// Offset and length of each piece of data.
pub(super) type Parts = Vec<(u64, u64)>;

/// Where the data of a file with holes lies: (offset, length), ascending, none of them empty.
#[derive(Debug, Default)]
pub(super) struct SparseMap {
    pub(super) parts: Parts,
    /// Of the file, holes included.
    pub(super) real_size: u64,
}

impl SparseMap {
    /// Checks a map against the number of bytes that are stored for it.
    pub(super) fn new(parts: Parts, real_size: u64, stored: u64) -> Result<Self, ReadError> {
        let bad = || ReadError::corrupt("a sparse file's map does not fit the file");
        check_length(parts.len())?;
        let mut end = 0_u64;
        let mut data = 0_u64;
        for &(offset, length) in &parts {
            if offset < end {
                return Err(bad());
            }
            end = offset.checked_add(length).ok_or_else(bad)?;
            data = data.checked_add(length).ok_or_else(bad)?;
        }
        if end > real_size || data != stored {
            return Err(bad());
        }
        Ok(Self { parts: parts.into_iter().filter(|(_, length)| *length > 0).collect(), real_size })
    }
}

/// A map that is being read must not grow for ever.
pub(super) fn check_length(parts: usize) -> Result<(), ReadError> {
    if parts > MOST_PARTS {
        return Err(ReadError::limit(format!("a sparse file of more than {MOST_PARTS} parts")));
    }
    Ok(())
}

/// What an extended header says of holes.
pub(super) enum PaxSparse {
    /// Nothing.
    No,
    /// The map stands in the header.
    Here(Parts),
    /// The map stands before the content.
    Before,
}

impl PaxSparse {
    pub(super) fn of(records: &Records) -> Result<Self, ReadError> {
        match (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor")) {
            (Some(b"1"), Some(b"0")) => return Ok(Self::Before),
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
            _ => return Err(ReadError::corrupt("a sparse file of an unknown version")),
        }
        if let Some(map) = records.get("GNU.sparse.map") {
            let numbers = map.split(|&byte| byte == b',').map(decimal).collect::<Result<Vec<_>, _>>()?;
            return Ok(Self::Here(pairs(&numbers)?));
        }
        if !records.sparse_0_0.is_empty() {
            return Ok(Self::Here(records.sparse_0_0.clone()));
        }
        match records.get("GNU.sparse.size").or_else(|| records.get("GNU.sparse.realsize")) {
            Some(_) => Ok(Self::Here(Vec::new())),
            None => Ok(Self::No),
        }
    }
}

/// Reads the map of version 1.0 from blocks: the number of parts, then offset and length of each, a line each. Gives the
/// number of bytes that the map took.
pub(super) fn map_before(mut block: impl FnMut() -> Result<[u8; 512], ReadError>) -> Result<(Parts, u64), ReadError> {
    let mut taken = 0;
    let mut line = Vec::new();
    let mut wanted = None;
    let mut numbers = Vec::new();
    loop {
        let bytes = block()?;
        taken += bytes.len() as u64;
        for byte in bytes {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(ReadError::corrupt("a sparse map is malformed"));
                }
                continue;
            }
            let number = decimal(&line)?;
            line.clear();
            match wanted {
                None => {
                    let parts = usize::try_from(number).unwrap_or(usize::MAX);
                    check_length(parts)?;
                    wanted = Some(2 * parts);
                }
                Some(_) => numbers.push(number),
            }
            if wanted == Some(numbers.len()) {
                return Ok((pairs(&numbers)?, taken));
            }
        }
    }
}

fn pairs(numbers: &[u64]) -> Result<Parts, ReadError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ReadError::corrupt("a sparse map is malformed"));
    }
    Ok(pairs.iter().map(|&[offset, length]| (offset, length)).collect())
}
