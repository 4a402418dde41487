//! Writing a layer.
//!
//! Entries are ustar where ustar can say it, with a PAX header before them where it cannot (POSIX pax, "ustar Interchange
//! Format"); user and group names are left out. The same calls give the same bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::compress::{Blob, Compression};
use super::entries::{EntryKind, EntryMeta, LONGEST_NAME, LONGEST_PATH};
use crate::fs::{Shown, Time, Xattrs};
use crate::oci::{DiffId, Digest};

const RECORD: u64 = 512;
/// What the octal digits of a field of 8 bytes can say.
const LARGEST_ID: u32 = 0o777_7777;
/// What the octal digits of a field of 12 bytes can say.
const LARGEST_SIZE: u64 = 0o777_7777_7777;

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The blob's own file.
    #[error("cannot write the layer to {}", Shown(path))]
    Write {
        /// The blob.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What goes into the layer.
    #[error("cannot read {}", Shown(path))]
    Read {
        /// Its path in the layer.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The content has not the length that its metadata said.
    #[error("{} changed while it was read: {expected} bytes were announced, {found} came", Shown(path))]
    Changed {
        /// Its path in the layer.
        path: PathBuf,
        /// In bytes.
        expected: u64,
        /// `more`, or the number of bytes.
        found: String,
    },
    /// A path or a link target that no tar can hold.
    #[error("{} cannot be put into a layer: {reason}", Shown(path))]
    Unfit {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How layers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayerOptions {
    /// How the blob is compressed.
    pub compression: Compression,
    /// Times after this one (seconds since 1970) are set to it; none keeps all.
    pub latest_mtime: Option<i64>,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self { compression: Compression::GZIP, latest_mtime: None }
    }
}

/// A layer as it lies on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewLayer {
    /// Of the tar.
    pub diff_id: DiffId,
    /// Of the blob.
    pub digest: Digest,
    /// Of the blob, in bytes.
    pub size: u64,
    /// Of the tar, in bytes.
    pub uncompressed_size: u64,
    /// Where the blob is.
    pub path: PathBuf,
    /// How it is compressed.
    pub compression: Compression,
    /// Number of entries, whiteouts among them.
    pub entries: u64,
}

impl NewLayer {
    /// Renames the blob; both paths must lie on one filesystem.
    pub fn move_to(&mut self, path: impl Into<PathBuf>) -> io::Result<()> {
        let path = path.into();
        std::fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }
}

/// Writes one layer from the first entry to the last, in the order of the calls; see [`LayerWriter::append`].
///
/// Dropped before [`LayerWriter::finish`], it takes its file away.
pub struct LayerWriter {
    blob: Option<Blob>,
    path: PathBuf,
    options: LayerOptions,
    entries: u64,
}

impl LayerWriter {
    /// Starts a layer in a new file; one that is there already is an error.
    pub fn create(path: impl Into<PathBuf>, options: LayerOptions) -> Result<Self, CreateError> {
        let path = path.into();
        match File::create_new(&path) {
            Ok(file) => Ok(Self { blob: Some(Blob::new(file, options.compression)), path, options, entries: 0 }),
            Err(source) => Err(CreateError::Write { path, source }),
        }
    }

    /// Adds an entry. A parent goes before its children, the target of a hard link before the link.
    ///
    /// `content` is read for a file alone, to its end, which must come after exactly `meta.size` bytes.
    pub fn append(&mut self, meta: &EntryMeta, content: Option<&mut dyn Read>) -> Result<(), CreateError> {
        // Nobody could unpack it.
        let unfit = |reason| CreateError::Unfit { path: meta.path.clone(), reason };
        if meta.path.as_os_str().len() > LONGEST_PATH {
            return Err(unfit("its path is longer than 4095 bytes"));
        }
        if meta.path.iter().any(|name| name.len() > LONGEST_NAME) {
            return Err(unfit("a name in its path is longer than 255 bytes"));
        }
        self.write(meta, content)
    }

    fn write(&mut self, meta: &EntryMeta, content: Option<&mut dyn Read>) -> Result<(), CreateError> {
        let Some(blob) = &mut self.blob else { return Err(stopped(&self.path)) };
        let mut head = Vec::with_capacity(2048);
        header(&mut head, meta, self.options.latest_mtime)?;
        let failed = |source| CreateError::Write { path: self.path.clone(), source };
        blob.write(&head).map_err(failed)?;
        self.entries += 1;
        if meta.kind == EntryKind::File {
            copy(blob, meta, content.unwrap_or(&mut io::empty()), &self.path)?;
            blob.write(padding(meta.size)).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes a path of the layers below away. Its parents need no entry.
    pub fn whiteout(&mut self, path: &Path) -> Result<(), CreateError> {
        let name = path.file_name().ok_or(CreateError::Unfit { path: path.to_owned(), reason: "it has no name" })?;
        let mut marker = OsStr::new(".wh.").to_owned();
        marker.push(name);
        self.marker(path.with_file_name(marker))
    }

    /// Takes everything in a directory of the layers below away, not the directory.
    pub fn opaque(&mut self, directory: &Path) -> Result<(), CreateError> {
        self.marker(directory.join(".wh..wh..opq"))
    }

    fn marker(&mut self, path: PathBuf) -> Result<(), CreateError> {
        let mtime = Time::default();
        let meta = EntryMeta { path, kind: EntryKind::File, mode: 0, uid: 0, gid: 0, mtime, size: 0, xattrs: Xattrs::new() };
        self.write(&meta, None)
    }

    /// Ends the layer; its file is whole, though not synced, when this returns.
    pub fn finish(mut self) -> Result<NewLayer, CreateError> {
        let Some(mut blob) = self.blob.take() else { return Err(stopped(&self.path)) };
        let ended = blob.write(&[0; 2 * RECORD as usize]).and_then(|()| blob.finish());
        let path = std::mem::take(&mut self.path);
        match ended {
            Ok(written) => Ok(NewLayer {
                diff_id: written.diff_id,
                digest: written.digest,
                size: written.size,
                uncompressed_size: written.uncompressed_size,
                path,
                compression: self.options.compression,
                entries: self.entries,
            }),
            Err(source) => {
                let _ = std::fs::remove_file(&path);
                Err(CreateError::Write { path, source })
            }
        }
    }
}

impl Drop for LayerWriter {
    fn drop(&mut self) {
        if self.blob.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn stopped(path: &Path) -> CreateError {
    CreateError::Write { path: path.to_owned(), source: io::Error::other("it has failed before") }
}

fn copy(blob: &mut Blob, meta: &EntryMeta, content: &mut dyn Read, path: &Path) -> Result<(), CreateError> {
    let cannot_read = |source| CreateError::Read { path: meta.path.clone(), source };
    let changed = |found| CreateError::Changed { path: meta.path.clone(), expected: meta.size, found };
    let mut left = meta.size;
    while left > 0 {
        let room = blob.room().map_err(|source| CreateError::Write { path: path.to_owned(), source })?;
        let length = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match content.read(room.get_mut(..length).unwrap_or_default()) {
            Ok(0) => return Err(changed((meta.size - left).to_string())),
            Ok(read) => {
                let read = read.min(length);
                blob.advance(read);
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot_read(error)),
        }
    }
    loop {
        match content.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err(changed("more".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot_read(error)),
        }
    }
}

/// What fills the last record.
fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; RECORD as usize] = [0; RECORD as usize];
    let over = size % RECORD;
    let missing = if over == 0 { 0 } else { RECORD - over };
    ZEROS.get(..usize::try_from(missing).unwrap_or(0)).unwrap_or_default()
}

/// The header of an entry, a PAX header before it where there is need of one.
fn header(out: &mut Vec<u8>, meta: &EntryMeta, latest: Option<i64>) -> Result<(), CreateError> {
    let unfit = |reason| CreateError::Unfit { path: meta.path.clone(), reason };
    let mut name = meta.path.as_os_str().as_bytes().to_vec();
    if meta.kind == EntryKind::Directory {
        if name.is_empty() {
            name.push(b'.');
        }
        name.push(b'/');
    }
    let (flag, link, (major, minor)) = match &meta.kind {
        EntryKind::File => (b'0', None, (0, 0)),
        EntryKind::HardLink(target) => (b'1', Some(target.as_os_str().as_bytes()), (0, 0)),
        EntryKind::Symlink(target) => (b'2', Some(target.as_bytes()), (0, 0)),
        EntryKind::CharDevice(major, minor) => (b'3', None, (*major, *minor)),
        EntryKind::BlockDevice(major, minor) => (b'4', None, (*major, *minor)),
        EntryKind::Directory => (b'5', None, (0, 0)),
        EntryKind::Fifo => (b'6', None, (0, 0)),
    };
    if name.is_empty() || name.contains(&0) || link.is_some_and(|link| link.is_empty() || link.contains(&0)) {
        return Err(unfit("its name or its link target is empty or contains a NUL"));
    }
    if major > LARGEST_ID || minor > LARGEST_ID {
        return Err(unfit("its device number does not fit"));
    }
    let mut pax = Pax::default();
    let mut block = Block::new(flag);
    block.octal(MODE, meta.mode & 0o7777);
    block.octal(UID, pax.number("uid", meta.uid, LARGEST_ID));
    block.octal(GID, pax.number("gid", meta.gid, LARGEST_ID));
    let size = if meta.kind == EntryKind::File { meta.size } else { 0 };
    block.octal(SIZE, pax.number("size", size, LARGEST_SIZE));
    block.octal(MTIME, pax.time(meta.mtime, latest));
    block.octal(MAJOR, major);
    block.octal(MINOR, minor);
    match split(&name) {
        Some((prefix, rest)) => {
            block.put(PREFIX, prefix);
            block.put(NAME, rest);
        }
        None => block.put(NAME, &pax.text("path", &name)),
    }
    if let Some(link) = link {
        if link.len() <= LINK.len() && link.is_ascii() {
            block.put(LINK, link);
        } else {
            block.put(LINK, &pax.text("linkpath", link));
        }
    }
    for (xattr, value) in &meta.xattrs {
        let xattr = xattr.as_bytes();
        if xattr.is_empty() || xattr.contains(&b'=') || xattr.contains(&0) {
            return Err(unfit("the name of an extended attribute is empty or contains `=` or a NUL"));
        }
        pax.record([b"SCHILY.xattr.", xattr].concat(), value);
    }
    pax.finish(out);
    out.extend_from_slice(&block.finish());
    Ok(())
}

/// The two fields of a name, where ASCII and their lengths allow it.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= NAME.len() {
        return Some((b"", name));
    }
    // The slash between the two is not written; one at the very end belongs to the name.
    let from = name.len() - NAME.len() - 1;
    let to = (name.len() - 1).min(PREFIX.len() + 1);
    let at = (from.max(1)..to).find(|&at| name.get(at) == Some(&b'/'))?;
    Some((name.get(..at)?, name.get(at + 1..)?))
}

type Field = std::ops::Range<usize>;
const NAME: Field = 0..100;
const MODE: Field = 100..108;
const UID: Field = 108..116;
const GID: Field = 116..124;
const SIZE: Field = 124..136;
const MTIME: Field = 136..148;
const CHECKSUM: Field = 148..156;
const FLAG: Field = 156..157;
const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
const MAJOR: Field = 329..337;
const MINOR: Field = 337..345;
const PREFIX: Field = 345..500;

/// A ustar header (POSIX pax, "ustar Interchange Format").
struct Block([u8; RECORD as usize]);

impl Block {
    fn new(flag: u8) -> Self {
        let mut block = Self([0; RECORD as usize]);
        block.put(MAGIC, b"ustar\x0000");
        block.put(FLAG, &[flag]);
        block
    }

    /// Cut where it is too long: a PAX record then has the whole.
    fn put(&mut self, field: Field, text: &[u8]) {
        for (to, from) in self.0.get_mut(field).unwrap_or_default().iter_mut().zip(text) {
            *to = *from;
        }
    }

    /// As many digits as the field holds before its NUL.
    fn octal(&mut self, field: Field, value: impl Into<u64>) {
        let digits = field.len() - 1;
        self.put(field, format!("{:0digits$o}", value.into()).as_bytes());
    }

    fn finish(mut self) -> [u8; RECORD as usize] {
        self.put(CHECKSUM, b"        ");
        let sum: u32 = self.0.iter().copied().map(u32::from).sum();
        self.put(CHECKSUM, format!("{sum:06o}\0").as_bytes());
        self.0
    }
}

/// Records of a PAX header, sorted by key.
#[derive(Default)]
struct Pax(std::collections::BTreeMap<Vec<u8>, Vec<u8>>);

impl Pax {
    fn record(&mut self, key: Vec<u8>, value: &[u8]) {
        self.0.insert(key, value.to_vec());
    }

    /// What to write in the ustar field.
    fn number<N: Default + PartialOrd + ToString>(&mut self, key: &str, value: N, largest: N) -> N {
        if value <= largest {
            return value;
        }
        self.record(key.into(), value.to_string().as_bytes());
        N::default()
    }

    /// What to write in the ustar field, which holds no fraction and nothing before 1970.
    fn time(&mut self, mtime: Time, latest: Option<i64>) -> u64 {
        let mtime = latest.map_or(mtime, |latest| mtime.min(Time::from_seconds(latest)));
        match u64::try_from(mtime.seconds) {
            Ok(seconds) if seconds <= LARGEST_SIZE && mtime.nanoseconds == 0 => seconds,
            whole => {
                self.record(b"mtime".to_vec(), decimal(mtime).as_bytes());
                whole.ok().filter(|&seconds| seconds <= LARGEST_SIZE).unwrap_or(0)
            }
        }
    }

    fn text(&mut self, key: &str, text: &[u8]) -> Vec<u8> {
        self.record(key.into(), text);
        text.iter().copied().filter(u8::is_ascii).collect()
    }

    /// The entry that carries the records, if there are any.
    fn finish(self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        let mut body = Vec::new();
        for (key, value) in &self.0 {
            // The blank, the `=` and the newline count, and so do the digits of the length itself.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} ").as_bytes());
            body.extend_from_slice(key);
            body.push(b'=');
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        // One name for all: whoever reads PAX headers ignores it, and a block that is always the same compresses to a few bytes.
        let mut block = Block::new(b'x');
        block.put(NAME, b"PaxHeaders.0");
        for field in [MODE, UID, GID, MTIME, MAJOR, MINOR] {
            block.octal(field, 0_u8);
        }
        block.octal(SIZE, body.len() as u64);
        out.extend_from_slice(&block.finish());
        out.extend_from_slice(&body);
        out.extend_from_slice(padding(body.len() as u64));
    }
}

/// As POSIX pax has it: the sign, the whole number, the fraction.
fn decimal(Time { seconds, nanoseconds }: Time) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let (sign, whole, fraction) = if seconds < 0 {
        ("-", (seconds + 1).unsigned_abs(), 1_000_000_000_u32.saturating_sub(nanoseconds))
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    format!("{sign}{whole}.{fraction:09}")
}

#[cfg(test)]
mod tests;
