//! From the bytes of a tar to the file of a blob: digested, compressed on all cores, digested again and written, all at once.
//!
//! The tar is cut into blocks of one fixed size, and each is compressed by itself: so the bytes of a blob do not depend on how
//! many cores there are. The blocks of a gzip blob end on a byte boundary and join to one single member (RFC 1951, 3.2.4);
//! those of a zstd blob are frames, one after the other (RFC 8878, 3.1).

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::oci::{DiffId, Digest, Hasher};

/// Bytes of tar in a block. Larger ones compress no better; smaller ones lose what deflate's window of 32 KiB has seen.
const BLOCK: usize = 1 << 20;
/// Threads that compress for one blob. With the blocks that wait for them they bound the memory to about 24 MiB.
const MOST_THREADS: usize = 8;
/// RFC 1952: deflate, no name, no time, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// How a blob is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 1 to 9; others are taken to the nearest.
    Gzip(u32),
    /// Zstandard, level 1 to 22; others are taken to the nearest.
    Zstd(i32),
}

impl Compression {
    /// gzip at the level where a higher one costs much time for a few hundredths of the size.
    pub const GZIP: Self = Self::Gzip(2);
    /// Zstandard at the level that the reference implementation takes where none is given.
    pub const ZSTD: Self = Self::Zstd(3);
}

/// A tar that was compressed.
#[derive(Clone, Copy, Debug)]
pub struct Compressed {
    /// Of the tar.
    pub diff_id: DiffId,
    /// Of the blob.
    pub digest: Digest,
    /// Of the blob, in bytes.
    pub size: u64,
}

/// Compresses a tar into a new file. What it holds is not looked at.
///
/// # Errors
/// It cannot be read, or the file cannot be written.
pub fn compress(mut tar: impl io::Read, to: &std::path::Path, compression: Compression) -> io::Result<Compressed> {
    let mut blob = Blob::new(File::create_new(to)?, compression);
    loop {
        let read = tar.read(blob.room()?)?;
        if read == 0 {
            break;
        }
        blob.advance(read);
    }
    let Written { diff_id, digest, size, .. } = blob.finish()?;
    Ok(Compressed { diff_id, digest, size })
}

/// What became of a tar.
pub(super) struct Written {
    pub(super) diff_id: DiffId,
    pub(super) uncompressed_size: u64,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Takes the bytes of a tar. Threads are started with the second block: what fits in one is compressed by the caller.
pub(super) struct Blob {
    compression: Compression,
    /// As long as a block; the first `filled` bytes count.
    block: Vec<u8>,
    filled: usize,
    hasher: Hasher,
    uncompressed_size: u64,
    output: Output,
}

enum Output {
    Here(File),
    Threads(Threads),
    /// A thread has failed and the error has been handed out.
    Gone,
}

impl Blob {
    pub(super) fn new(file: File, compression: Compression) -> Self {
        Self { compression, block: vec![0; BLOCK], filled: 0, hasher: Hasher::default(), uncompressed_size: 0, output: Output::Here(file) }
    }

    /// Room for the next bytes, never empty.
    pub(super) fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == self.block.len() {
            self.pass_on()?;
        }
        Ok(self.block.get_mut(self.filled..).unwrap_or_default())
    }

    /// So many bytes of the room have been filled.
    pub(super) fn advance(&mut self, length: usize) {
        self.filled = self.block.len().min(self.filled + length);
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.advance(now.len());
            bytes = later;
        }
        Ok(())
    }

    fn digest_block(&mut self) {
        self.hasher.update(self.block.get(..self.filled).unwrap_or_default());
        self.uncompressed_size += self.filled as u64;
    }

    /// Hands a full block to the threads.
    fn pass_on(&mut self) -> io::Result<()> {
        self.digest_block();
        if matches!(self.output, Output::Here(_))
            && let Output::Here(file) = std::mem::replace(&mut self.output, Output::Gone)
        {
            self.output = Output::Threads(Threads::start(file, self.compression)?);
        }
        let Output::Threads(threads) = &mut self.output else { return Err(gone()) };
        let mut input = std::mem::replace(&mut self.block, threads.spare());
        input.truncate(self.filled);
        self.filled = 0;
        self.block.resize(BLOCK, 0);
        if threads.send(input, false).is_err() {
            let Output::Threads(threads) = std::mem::replace(&mut self.output, Output::Gone) else { return Err(gone()) };
            return Err(threads.join().err().unwrap_or_else(gone));
        }
        Ok(())
    }

    /// The file holds the whole blob when this returns; it is not synced to the disk.
    pub(super) fn finish(mut self) -> io::Result<Written> {
        self.digest_block();
        let mut input = std::mem::take(&mut self.block);
        input.truncate(self.filled);
        let tail = match self.output {
            Output::Here(file) => {
                let mut tail = Tail::new(file, self.compression)?;
                tail.take(Packer::new(self.compression).pack(input, true)?)?;
                tail
            }
            Output::Threads(threads) => {
                // Where this fails, a thread has, and says why.
                let _ = threads.send(input, true);
                threads.join()?
            }
            Output::Gone => return Err(gone()),
        };
        tail.finish(DiffId(self.hasher.finish()), self.uncompressed_size)
    }
}

fn gone() -> io::Error {
    io::Error::other("the compression has stopped")
}

struct Job {
    input: Vec<u8>,
    last: bool,
    packed: SyncSender<io::Result<Packed>>,
}

/// Those that compress and the one that digests and writes.
struct Threads {
    jobs: SyncSender<Job>,
    /// The results to come, in the order of the blocks.
    order: SyncSender<Receiver<io::Result<Packed>>>,
    spares: Receiver<Vec<u8>>,
    writer: JoinHandle<io::Result<Tail>>,
}

impl Threads {
    fn start(file: File, compression: Compression) -> io::Result<Self> {
        let workers = match compression {
            Compression::None => 1,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS)),
        };
        let (jobs, queue) = sync_channel::<Job>(1);
        let (order, results) = sync_channel::<Receiver<io::Result<Packed>>>(workers + 1);
        let (give_back, spares) = sync_channel(workers + 2);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            named("compress").spawn(move || {
                let mut packer = Packer::new(compression);
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { input, last, packed }) = job else { return };
                    // Nobody waits for it any more where writing has failed.
                    let _ = packed.send(packer.pack(input, last));
                }
            })?;
        }
        let mut tail = Tail::new(file, compression)?;
        let writer = named("write-blob").spawn(move || {
            for packed in results {
                let packed = packed.recv().map_err(|_| gone())??;
                if let Some(spare) = tail.take(packed)? {
                    let _ = give_back.try_send(spare);
                }
            }
            Ok(tail)
        })?;
        Ok(Self { jobs, order, spares, writer })
    }

    fn spare(&self) -> Vec<u8> {
        self.spares.try_recv().unwrap_or_default()
    }

    fn send(&self, input: Vec<u8>, last: bool) -> Result<(), ()> {
        let (packed, result) = sync_channel(1);
        self.order.send(result).map_err(|_| ())?;
        self.jobs.send(Job { input, last, packed }).map_err(|_| ())
    }

    fn join(self) -> io::Result<Tail> {
        drop((self.jobs, self.order));
        self.writer.join().map_err(|_| gone())?
    }
}

fn named(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned())
}

/// A compressed block.
struct Packed {
    output: Vec<u8>,
    /// Of the block before, where the format wants one.
    check: Option<Crc>,
    /// The block's buffer, to be filled again.
    spare: Option<Vec<u8>>,
}

/// Compresses blocks, each by itself.
enum Packer {
    None,
    Gzip(Compress),
    Zstd(i32),
}

impl Packer {
    fn new(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip(level) => Self::Gzip(Compress::new(flate2::Compression::new(level.clamp(1, 9)), false)),
            Compression::Zstd(level) => Self::Zstd(level.clamp(1, 22)),
        }
    }

    fn pack(&mut self, input: Vec<u8>, last: bool) -> io::Result<Packed> {
        match self {
            Self::None => Ok(Packed { output: input, check: None, spare: None }),
            Self::Gzip(deflate) => {
                deflate.reset();
                let output = deflate_block(deflate, &input, last)?;
                let mut check = Crc::new();
                check.update(&input);
                Ok(Packed { output, check: Some(check), spare: Some(input) })
            }
            Self::Zstd(level) => {
                let output = zstd::bulk::compress(&input, *level)?;
                Ok(Packed { output, check: None, spare: Some(input) })
            }
        }
    }
}

fn deflate_block(deflate: &mut Compress, input: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut output = Vec::with_capacity(input.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = input.get(taken..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut output, flush).map_err(io::Error::other)?;
        let done = if last { status == Status::StreamEnd } else { output.len() < output.capacity() };
        if done {
            return Ok(output);
        }
        output.reserve(input.len() / 2 + 1024);
    }
}

/// Puts the blocks together in the file.
struct Tail {
    file: File,
    hasher: Hasher,
    size: u64,
    compression: Compression,
    check: Crc,
}

impl Tail {
    fn new(file: File, compression: Compression) -> io::Result<Self> {
        let mut tail = Self { file, hasher: Hasher::default(), size: 0, compression, check: Crc::new() };
        if matches!(compression, Compression::Gzip(_)) {
            tail.write(&GZIP_HEADER)?;
        }
        Ok(tail)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.compression != Compression::None {
            self.hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Gives back a buffer to fill again.
    fn take(&mut self, packed: Packed) -> io::Result<Option<Vec<u8>>> {
        self.write(&packed.output)?;
        if let Some(check) = &packed.check {
            self.check.combine(check);
        }
        Ok(packed.spare.or(Some(packed.output)))
    }

    fn finish(mut self, diff_id: DiffId, uncompressed_size: u64) -> io::Result<Written> {
        if matches!(self.compression, Compression::Gzip(_)) {
            let mut trailer = [0; 8];
            let (sum, length) = trailer.split_at_mut(4);
            sum.copy_from_slice(&self.check.sum().to_le_bytes());
            length.copy_from_slice(&self.check.amount().to_le_bytes());
            self.write(&trailer)?;
        }
        let digest = if self.compression == Compression::None { diff_id.0 } else { self.hasher.finish() };
        Ok(Written { diff_id, uncompressed_size, digest, size: self.size })
    }
}
