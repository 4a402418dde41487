//! Bodies of requests: nothing, a few bytes, a part of a file, or what comes from elsewhere.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::error::Cause;

const PIECE: usize = 256 * 1024;

/// What a request sends.
pub(super) enum Payload {
    None,
    Bytes(Bytes),
    File {
        path: PathBuf,
        offset: u64,
        length: u64,
    },
    /// Taken by the first try.
    Stream(Mutex<Option<Pieces>>),
}

impl Payload {
    /// The pieces that come out of a channel; they hold `length` bytes.
    pub(super) fn stream(from: mpsc::Receiver<Bytes>, length: u64) -> Self {
        Self::Stream(Mutex::new(Some(Pieces { from, left: length, progress: Arc::default() })))
    }

    /// Whether it can be sent again.
    pub(super) fn replays(&self) -> bool {
        !matches!(self, Self::Stream(_))
    }

    /// Puts it into a request; `progress` counts the bytes as they are taken.
    pub(super) async fn attach(
        &self,
        request: reqwest::RequestBuilder,
        progress: Arc<AtomicU64>,
    ) -> Result<reqwest::RequestBuilder, Cause> {
        let mut pieces = match self {
            Self::None => return Ok(request),
            Self::Bytes(bytes) => return Ok(request.body(bytes.clone())),
            Self::File { path, offset, length } => {
                Pieces { from: read(path, *offset, *length).await?, left: *length, progress: Arc::default() }
            }
            Self::Stream(pieces) => pieces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| Cause::Protocol("it wants to have a stream twice".to_owned()))?,
        };
        pieces.progress = progress;
        Ok(request.body(reqwest::Body::wrap(pieces)))
    }
}

/// A body of known length whose bytes come out of a channel.
pub(super) struct Pieces {
    from: mpsc::Receiver<Bytes>,
    left: u64,
    progress: Arc<AtomicU64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.from.poll_recv(context).map(|piece| match piece {
            Some(piece) if piece.len() as u64 <= self.left => {
                self.left -= piece.len() as u64;
                self.progress.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(piece)))
            }
            Some(_) => Some(Err(std::io::Error::other("there is more to send than was announced"))),
            None => Some(Err(std::io::Error::other("there is less to send than was announced"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A part of a file, read ahead by one piece. A file that fails on the way ends early, which the body reports.
async fn read(path: &Path, offset: u64, length: u64) -> Result<mpsc::Receiver<Bytes>, Cause> {
    let failed = |source| Cause::File { path: path.to_owned(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    if offset > 0 {
        file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
    }
    let mut file = file.take(length);
    let (to, from) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            while piece.len() < PIECE && matches!(file.read_buf(&mut piece).await, Ok(1..)) {}
            if piece.is_empty() || to.send(piece.freeze()).await.is_err() {
                return;
            }
        }
    });
    Ok(from)
}
