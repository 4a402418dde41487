//! Reading a layer as a stream of entries: decompression, digests, and tar with the PAX and GNU extensions resolved.
//!
//! The list of entries is the one that Go's `archive/tar` finds, on which every container engine is built; where that and
//! GNU tar would see different files, the archive is refused.

mod error;
mod header;
mod pax;
mod reader;
mod sparse;
mod stream;

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use crate::fs::{Time, Xattrs};
use crate::oci::{DiffId, Digest};

pub use error::ReadError;
pub use pax::is_carried;
pub use reader::{Content, Entries};

/// The longest path of an entry, in bytes: PATH_MAX without its NUL.
pub const LONGEST_PATH: usize = 4095;
/// The longest name in a path, in bytes: NAME_MAX.
pub const LONGEST_NAME: usize = 255;

/// One entry of a layer, whatever the tar dialect it was written in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryMeta {
    /// Relative, without `.`, `..`, empty parts or a slash at the end; empty for the root itself. Names are bytes.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of the content.
    pub mtime: Time,
    /// Of a regular file's content, holes included, in bytes; else 0.
    pub size: u64,
    /// Those that an image carries: `user.*` and `security.capability`.
    pub xattrs: Xattrs,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A regular file; content follows.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target as written.
    Symlink(OsString),
    /// A further name of an earlier entry, or of a file of a lower layer; in the form of [`EntryMeta::path`].
    HardLink(PathBuf),
    /// A FIFO.
    Fifo,
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
}

/// How much of a layer is taken before it counts as an attack. All of them end in [`ReadError::Limit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of the uncompressed tar.
    pub uncompressed: u64,
    /// Bytes of all files together, holes included.
    pub content: u64,
    /// Directories below each other.
    pub depth: usize,
    /// Passes over what has no name and is no directory, as those who unpack a user's archive do; in a layer it is an error.
    pub skip_nameless: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, uncompressed: 256 << 30, content: 1 << 40, depth: 1024, skip_nameless: false }
    }
}

/// What has gone through, once a layer is read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayerDigests {
    /// Of the uncompressed stream, whatever follows the archive's end included.
    pub diff_id: DiffId,
    /// Of the bytes as they came.
    pub digest: Digest,
    /// Number of bytes as they came.
    pub size: u64,
}

/// Calls `each` for every entry in the order of the tar, with a reader for its content; what `each` does not read is
/// skipped. The bytes decide how the layer is compressed: gzip or zstd, in any number of members, or not at all.
///
/// Whiteouts come as the files that they are in the tar; see [`super::whiteout`].
pub fn for_each_entry<E: From<ReadError>>(
    layer: impl Read + Send,
    limits: &Limits,
    each: &mut dyn FnMut(&EntryMeta, &mut dyn Read) -> Result<(), E>,
) -> Result<LayerDigests, E> {
    with_entries(layer, limits, |entries| {
        while let Some(meta) = entries.next_entry()? {
            each(&meta, &mut entries.content())?;
        }
        Ok(())
    })
}

/// Decompresses and digests a layer on a thread of its own while `read` goes through its entries; then reads what is left.
pub fn with_entries<E: From<ReadError>>(
    layer: impl Read + Send,
    limits: &Limits,
    read: impl FnOnce(&mut Entries) -> Result<(), E>,
) -> Result<LayerDigests, E> {
    let limits = *limits;
    std::thread::scope(|scope| {
        let (stream, worker) = stream::start(scope, layer, limits.uncompressed);
        let mut entries = Entries::new(stream, limits);
        let done = read(&mut entries).and_then(|()| Ok(entries.finish()?));
        // Without a receiver the worker stops.
        drop(entries);
        let digests = worker.join().unwrap_or_else(|_| Err(Some(ReadError::corrupt("its decoder failed"))));
        match (done, digests) {
            // What went wrong there is the reason for whatever went wrong here.
            (_, Err(Some(error))) => Err(error.into()),
            (Err(error), _) => Err(error),
            (Ok(()), Ok(digests)) => Ok(digests),
            (Ok(()), Err(None)) => Err(ReadError::corrupt("reading it was given up").into()),
        }
    })
}
