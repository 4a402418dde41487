//! Archives that users bring: tar in more compressions than layers may have.

use std::io::{self, BufReader, Cursor, Read};

use liblzma::stream::{CONCATENATED, Stream};

use super::entries::{Limits, ReadError, for_each_entry};

/// What decoding xz may take, in bytes: its highest preset needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// The stream without bzip2 or xz around it, whatever its name; gzip and zstd are left to the reader of entries.
///
/// # Errors
/// The stream cannot be read.
pub fn decompressed<'a>(mut archive: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut magic = Vec::with_capacity(6);
    (&mut archive).take(6).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(archive);
    Ok(match &*magic {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(bzip2::read::MultiBzDecoder::new(BufReader::new(whole))),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(whole, stream))
        }
        _ => Box::new(whole),
    })
}

/// Whether a stream is a tar, compressed or not, with at least one entry. One that is larger than anything may be is one that cannot be
/// unpacked, and no other kind of file.
pub fn is_archive(stream: impl Read + Send) -> bool {
    enum Stop {
        Entry,
        Other,
    }
    impl From<ReadError> for Stop {
        fn from(error: ReadError) -> Self {
            if matches!(error, ReadError::Limit { .. }) { Self::Entry } else { Self::Other }
        }
    }
    let Ok(stream) = decompressed(stream) else { return false };
    matches!(
        for_each_entry::<Stop>(stream, &Limits { skip_nameless: true, ..Limits::default() }, &mut |_, _| Err(Stop::Entry)),
        Err(Stop::Entry)
    )
}
