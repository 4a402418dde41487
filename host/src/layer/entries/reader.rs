//! From blocks to entries.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::header::{self, BLOCK, Header};
use super::pax::Records;
use super::sparse::{self, PaxSparse, SparseMap};
use super::stream::Stream;
use super::{EntryKind, EntryMeta, LONGEST_NAME, LONGEST_PATH, Limits, ReadError};
use crate::fs::Time;
use crate::layer::whiteout::{MARKER_PREFIX, OPAQUE, is_reserved};

/// A name, a link's target or an extended header may be this long.
const LARGEST_EXTENSION: u64 = 1 << 20;
/// All that the kernel has: the next number means none. What a Dockerfile may name ends earlier, at what every program can read.
const LARGEST_ID: i64 = u32::MAX as i64 - 1;

/// The entries of a layer, one after the other.
pub struct Entries {
    stream: Stream,
    limits: Limits,
    /// Bytes of the current entry that are still stored ahead, and the filling of its last block.
    stored: u64,
    padding: u64,
    /// Holes of the current entry: parts still to come, last first.
    parts: Vec<(u64, u64)>,
    /// Where the current entry's content is being read, and where it ends.
    position: u64,
    size: u64,
    seen: u64,
    content: u64,
    ended: bool,
}

/// What comes before an entry and belongs to it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Records>,
    any: bool,
}

/// The root can only be a directory.
fn is_nameless(path: &Path, kind: &EntryKind) -> bool {
    path.as_os_str().is_empty() && *kind != EntryKind::Directory
}

impl Entries {
    pub(super) fn new(stream: Stream, limits: Limits) -> Self {
        Self { stream, limits, stored: 0, padding: 0, parts: Vec::new(), position: 0, size: 0, seen: 0, content: 0, ended: false }
    }

    /// The next entry; what was not read of the last one's content is skipped.
    pub fn next_entry(&mut self) -> Result<Option<EntryMeta>, ReadError> {
        loop {
            match self.any_entry()? {
                // Only where it is tolerated; else it is an error.
                Some(meta) if is_nameless(&meta.path, &meta.kind) => {}
                entry => return Ok(entry),
            }
        }
    }

    fn any_entry(&mut self) -> Result<Option<EntryMeta>, ReadError> {
        self.skip(self.stored)?;
        self.skip(self.padding)?;
        (self.stored, self.padding, self.position, self.size) = (0, 0, 0, 0);
        self.parts.clear();
        let mut before = Extensions::default();
        while let Some(header) = self.next_header()? {
            let flag = header.type_flag();
            match flag {
                b'L' => before.name = Some(until_nul(self.extension(&header)?)),
                b'K' => before.link = Some(until_nul(self.extension(&header)?)),
                b'x' => before.records = Some(Records::parse(&self.extension(&header)?)?),
                b'g' => {
                    if Records::parse(&self.extension(&header)?)?.changes_entries() {
                        return Err(ReadError::corrupt("a global extended header that renames or resizes entries"));
                    }
                    continue;
                }
                _ => {
                    let name = before.name(&header);
                    return self.entry(&header, before).map(Some).map_err(|error| error.of(&name));
                }
            }
            before.any = true;
        }
        if before.any {
            return Err(ReadError::corrupt("an extended header without an entry"));
        }
        Ok(None)
    }

    /// The content of the entry that came last.
    pub fn content(&mut self) -> Content<'_> {
        Content { entries: self }
    }

    /// Reads to the end of the stream; whatever follows the archive is digested and otherwise ignored.
    pub(super) fn finish(&mut self) -> Result<(), ReadError> {
        while self.next_entry()?.is_some() {}
        loop {
            match self.stream.peek()?.len() {
                0 => return Ok(()),
                count => self.stream.consume(count),
            }
        }
    }

    /// None at the end: two blocks of zeros, one before the stream's end, or just its end.
    fn next_header(&mut self) -> Result<Option<Header>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(block) = self.block_or_end()?
            && let Some(header) = Header::parse(block)?
        {
            return Ok(Some(header));
        }
        self.ended = true;
        match self.block_or_end()? {
            Some(block) if block != [0; BLOCK] => Err(ReadError::corrupt("a block of zeros between entries")),
            _ => Ok(None),
        }
    }

    fn entry(&mut self, header: &Header, before: Extensions) -> Result<EntryMeta, ReadError> {
        self.seen += 1;
        if self.seen > self.limits.entries {
            return Err(ReadError::limit(format!("more than {} entries", self.limits.entries)));
        }
        let mut name = before.name(header);
        let link = before.link(header);
        let records = before.records.unwrap_or_default();
        let kind = match header.type_flag() {
            b'0' | b'7' | b'S' => EntryKind::File,
            0 if name.ends_with(b"/") => EntryKind::Directory,
            0 => EntryKind::File,
            b'1' => EntryKind::HardLink(self.clean(&link)?),
            b'2' => EntryKind::Symlink(link_target(link)?),
            b'3' => header.device().map(|(major, minor)| EntryKind::CharDevice(major, minor))?,
            b'4' => header.device().map(|(major, minor)| EntryKind::BlockDevice(major, minor))?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => return Err(ReadError::corrupt(format!("an entry of the unknown type {:?}", char::from(other)))),
        };
        let stored = records.number("size")?.map_or_else(|| header.size(), Ok)?;
        if kind == EntryKind::File {
            self.begin_content(header, &records, stored)?;
            if let Some(real) = records.get("GNU.sparse.name") {
                name = real.to_vec();
            }
        }
        let path = self.clean(&name)?;
        if is_nameless(&path, &kind) && !self.limits.skip_nameless {
            return Err(ReadError::corrupt("an entry without a name"));
        }
        let id = |key, value: i64| {
            u32::try_from(value)
                .ok()
                .filter(|_| value <= LARGEST_ID)
                .ok_or_else(|| ReadError::limit(format!("{key} {value} is out of range")))
        };
        Ok(EntryMeta {
            path,
            kind,
            // Only the low bits mean anything; some programs write the file type above them.
            mode: u32::try_from(header.mode()? & 0o7777).unwrap_or(0),
            uid: id("uid", records.integer("uid")?.map_or_else(|| header.uid(), Ok)?)?,
            gid: id("gid", records.integer("gid")?.map_or_else(|| header.gid(), Ok)?)?,
            mtime: records.time("mtime")?.map_or_else(|| header.mtime().map(Time::from_seconds), Ok)?,
            size: self.size,
            xattrs: records.xattrs(),
        })
    }

    /// Sets out to read a file's content: `stored` bytes, and a map where there are holes.
    fn begin_content(&mut self, header: &Header, records: &Records, stored: u64) -> Result<(), ReadError> {
        self.stored = stored;
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        self.size = stored;
        let real_size = match records.number("GNU.sparse.realsize")? {
            Some(size) => Some(size),
            None => records.number("GNU.sparse.size")?,
        };
        let sparse = if header.type_flag() == b'S' {
            let (mut parts, mut more, real_size) = header.gnu_sparse()?;
            while more {
                let (next, again) = header::gnu_sparse_extension(&self.block()?)?;
                parts.extend(next);
                more = again;
                sparse::check_length(parts.len())?;
            }
            Some(SparseMap::new(parts, real_size, stored)?)
        } else {
            let missing = || ReadError::corrupt("a sparse file without its size");
            match PaxSparse::of(records)? {
                PaxSparse::No => None,
                PaxSparse::Here(parts) => Some(SparseMap::new(parts, real_size.ok_or_else(missing)?, stored)?),
                PaxSparse::Before => {
                    let (parts, taken) = sparse::map_before(|| self.block())?;
                    self.stored = stored.checked_sub(taken).ok_or_else(|| ReadError::corrupt("a sparse map longer than its file"))?;
                    Some(SparseMap::new(parts, real_size.ok_or_else(missing)?, self.stored)?)
                }
            }
        };
        if let Some(map) = sparse {
            self.size = map.real_size;
            self.parts = map.parts;
            self.parts.reverse();
        } else if stored > 0 {
            self.parts = vec![(0, stored)];
        }
        self.content = self.content.saturating_add(self.size);
        if self.content > self.limits.content {
            return Err(ReadError::limit(format!("files of more than {} bytes", self.limits.content)));
        }
        Ok(())
    }

    /// The content of an entry that describes the next one.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ReadError> {
        let size = header.size()?;
        if size > LARGEST_EXTENSION {
            return Err(ReadError::limit(format!("an extended header of {size} bytes")));
        }
        let mut data = Vec::new();
        for _ in 0..size.div_ceil(BLOCK as u64) {
            data.extend_from_slice(&self.block()?);
        }
        data.truncate(usize::try_from(size).unwrap_or(0));
        Ok(data)
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ReadError> {
        self.block_or_end()?.ok_or_else(cut_off)
    }

    fn block_or_end(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let count = self.stream.peek()?.read(rest)?;
            if count == 0 {
                return if filled == 0 { Ok(None) } else { Err(cut_off()) };
            }
            self.stream.consume(count);
            filled += count;
        }
        Ok(Some(block))
    }

    fn skip(&mut self, mut count: u64) -> Result<(), ReadError> {
        while count > 0 {
            let here = self.stream.peek()?.len();
            if here == 0 {
                return Err(cut_off());
            }
            let step = here.min(usize::try_from(count).unwrap_or(here));
            self.stream.consume(step);
            count -= step as u64;
        }
        Ok(())
    }

    /// A name as [`EntryMeta::path`] has it: what leads above the root ends at the root.
    fn clean(&self, name: &[u8]) -> Result<PathBuf, ReadError> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        // A marker is no file's name: what it removes may have the longest of names.
        let is_marker = parts.last().is_some_and(|name| is_reserved(OsStr::from_bytes(name)));
        let (in_name, in_path) = if is_marker { (MARKER_PREFIX.len(), OPAQUE.len() + 1) } else { (0, 0) };
        for (at, part) in parts.iter().enumerate() {
            let most = if at + 1 == parts.len() { LONGEST_NAME + in_name } else { LONGEST_NAME };
            if part.len() > most {
                return Err(ReadError::limit(format!("a name of {} bytes", part.len())));
            }
        }
        if parts.len() > self.limits.depth {
            return Err(ReadError::limit(format!("more than {} directories below each other", self.limits.depth)));
        }
        let path = parts.join(&b'/');
        if path.len() > LONGEST_PATH + in_path {
            return Err(ReadError::limit(format!("a path of {} bytes", path.len())));
        }
        Ok(PathBuf::from(OsString::from_vec(path)))
    }
}

impl Extensions {
    /// As Go has it: GNU's long name before the extended header's, and that before the header's.
    fn name(&self, header: &Header) -> Vec<u8> {
        let extended = || self.records.as_ref().and_then(|records| records.get("path")).map(<[u8]>::to_vec);
        self.name.clone().or_else(extended).unwrap_or_else(|| header.name())
    }

    fn link(&self, header: &Header) -> Vec<u8> {
        let extended = || self.records.as_ref().and_then(|records| records.get("linkpath")).map(<[u8]>::to_vec);
        self.link.clone().or_else(extended).unwrap_or_else(|| header.link_name())
    }
}

fn link_target(target: Vec<u8>) -> Result<OsString, ReadError> {
    match target.len() {
        0 => Err(ReadError::corrupt("a link without a target")),
        length if length > LONGEST_PATH => Err(ReadError::limit(format!("a link's target of {length} bytes"))),
        _ => Ok(OsStr::from_bytes(&target).to_owned()),
    }
}

fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(end) = data.iter().position(|&byte| byte == 0) {
        data.truncate(end);
    }
    data
}

fn cut_off() -> ReadError {
    ReadError::corrupt("it is cut off")
}

/// The content of a file, its holes as zeros. A stream that ends before the file does is an error.
pub struct Content<'a> {
    entries: &'a mut Entries,
}

impl Content<'_> {
    /// The next piece of data and where in the file it belongs, holes left out; none at the end.
    pub fn next_data(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let Some((offset, length)) = self.entries.parts.pop() else {
            return Ok(None);
        };
        let here = self.entries.stream.peek()?.len();
        if here == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer is cut off"));
        }
        let taken = here.min(usize::try_from(length).unwrap_or(here));
        let rest = length - taken as u64;
        if rest > 0 {
            self.entries.parts.push((offset + taken as u64, rest));
        }
        self.entries.stored = self.entries.stored.saturating_sub(taken as u64);
        self.entries.position = offset + taken as u64;
        Ok(Some((offset, self.entries.stream.take(taken))))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let entries = &mut *self.entries;
        let next = entries.parts.last().map_or(entries.size, |(offset, _)| *offset);
        if entries.position < next {
            let hole = usize::try_from(next - entries.position).unwrap_or(usize::MAX).min(buffer.len());
            buffer.get_mut(..hole).unwrap_or_default().fill(0);
            entries.position += hole as u64;
            return Ok(hole);
        }
        let Some((offset, length)) = entries.parts.pop() else {
            return Ok(0);
        };
        let wanted = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let count = entries.stream.peek()?.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the layer is cut off"));
        }
        entries.stream.consume(count);
        if length > count as u64 {
            entries.parts.push((offset + count as u64, length - count as u64));
        }
        entries.stored = entries.stored.saturating_sub(count as u64);
        entries.position = offset + count as u64;
        Ok(count)
    }
}
