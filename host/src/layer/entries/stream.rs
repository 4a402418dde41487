//! Decompression and digests on a thread of their own, buffers handed over and back.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::{LayerDigests, ReadError};
use crate::oci::{DiffId, Hasher};

const BUFFER: usize = 1 << 20;
/// Buffers under way.
const AHEAD: usize = 3;
/// As the zstd tool without `--memory`: a frame may ask for 128 MiB of window, not for 2 GiB.
const LARGEST_WINDOW_LOG: u32 = 27;

/// The uncompressed bytes of a layer.
pub(super) struct Stream {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
}

impl Stream {
    /// What is at hand, at least one byte; none at the end.
    pub(super) fn peek(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() {
            let Ok(next) = self.full.recv() else {
                return Ok(&[]);
            };
            let used = std::mem::replace(&mut self.buffer, next?);
            self.at = 0;
            if used.capacity() > 0 {
                // The worker may have ended already.
                drop(self.empty.send(used));
            }
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    /// Takes that many bytes, as many as were peeked at or fewer.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.at;
        self.consume(count);
        self.buffer.get(start..self.at).unwrap_or_default()
    }

    /// Takes bytes that were peeked at.
    pub(super) fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }
}

/// Fails without an error where nobody wanted more.
type Worker<'scope> = ScopedJoinHandle<'scope, Result<LayerDigests, Option<ReadError>>>;

/// Starts reading; at most `limit` bytes come out.
pub(super) fn start<'scope, R: Read + Send + 'scope>(scope: &'scope Scope<'scope, '_>, layer: R, limit: u64) -> (Stream, Worker<'scope>) {
    let (give, full) = sync_channel(AHEAD);
    let (empty, take) = channel();
    let worker = scope.spawn(move || {
        let done = decompress(layer, limit, &give, &take);
        if let Err(error) = &done {
            // The reader of entries must see that the stream did not end here; the reason comes from this thread's end.
            let broken = error.as_ref().map_or_else(String::new, ToString::to_string);
            drop(give.send(Err(io::Error::other(broken))));
        }
        done
    });
    (Stream { full, empty, buffer: Vec::new(), at: 0 }, worker)
}

fn decompress(
    layer: impl Read,
    limit: u64,
    give: &SyncSender<io::Result<Vec<u8>>>,
    take: &Receiver<Vec<u8>>,
) -> Result<LayerDigests, Option<ReadError>> {
    let mut source = BufReader::with_capacity(128 << 10, Digesting { inner: layer, hasher: Hasher::default(), size: 0 });
    let mut magic = [0; 4];
    let length = peek_magic(&mut source, &mut magic).map_err(io_error)?;
    // The four bytes are pushed back in front of the rest.
    let start = magic.get(..length).unwrap_or_default();
    let mut source = BufReader::with_capacity(128 << 10, start.chain(source));
    let mut hasher = Hasher::default();
    let mut sink = Sink { give, take, hasher: &mut hasher, limit, sent: 0 };
    match start {
        [0x1f, 0x8b, ..] => sink.drain(flate2::bufread::MultiGzDecoder::new(&mut source))?,
        // A frame, or a skippable one (RFC 8878, 3.1).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut source).map_err(io_error)?;
            decoder.window_log_max(LARGEST_WINDOW_LOG).map_err(io_error)?;
            sink.drain(decoder)?;
        }
        _ => sink.drain(&mut source)?,
    }
    // Nothing may be left undigested.
    io::copy(&mut source, &mut io::sink()).map_err(io_error)?;
    let (_, source) = source.into_inner().into_inner();
    let source = source.into_inner();
    Ok(LayerDigests { diff_id: DiffId(hasher.finish()), digest: source.hasher.finish(), size: source.size })
}

fn io_error(error: io::Error) -> Option<ReadError> {
    Some(ReadError::Io(error))
}

fn peek_magic(source: &mut impl BufRead, magic: &mut [u8; 4]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = magic.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

struct Digesting<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }
}

struct Sink<'a> {
    give: &'a SyncSender<io::Result<Vec<u8>>>,
    take: &'a Receiver<Vec<u8>>,
    hasher: &'a mut Hasher,
    limit: u64,
    sent: u64,
}

impl Sink<'_> {
    fn drain(&mut self, mut from: impl Read) -> Result<(), Option<ReadError>> {
        loop {
            let mut buffer = self.take.try_recv().unwrap_or_default();
            buffer.clear();
            buffer.reserve_exact(BUFFER);
            (&mut from).take(BUFFER as u64).read_to_end(&mut buffer).map_err(io_error)?;
            if buffer.is_empty() {
                return Ok(());
            }
            self.hasher.update(&buffer);
            self.sent += buffer.len() as u64;
            if self.sent > self.limit {
                return Err(Some(ReadError::limit(format!("more than {} bytes uncompressed", self.limit))));
            }
            if self.give.send(Ok(buffer)).is_err() {
                return Err(None);
            }
        }
    }
}
