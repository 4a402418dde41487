//! Blobs: whether they are there, and fetching them with resumption and proof.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use tokio::sync::mpsc;

use crate::oci::{Descriptor, Digest, Hasher};

use super::endpoint::{Answer, Endpoint, Request};
use super::error::{Cause, is_transient};
use super::transport::{Backoff, retry_after};

/// Bytes that go from the network to the disk at once.
const PIECE: usize = 256 * 1024;
/// Bytes that are worth another go at the rest.
const PROGRESS: u64 = 1024 * 1024;
/// Pieces on their way.
const AHEAD: usize = 4;

/// No honest layer is larger: one tebibyte.
const BLOB_LIMIT: u64 = 1 << 40;

/// A name beside `path` that no other process and no other task uses.
pub(super) fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

impl Endpoint {
    /// Whether the repository has a blob.
    pub(super) async fn has_blob(&self, digest: Digest) -> Result<bool, Cause> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        let answer = self.send(&Request::new(Method::HEAD, url).tries(self.tries)).await?;
        match answer.response.status().as_u16() {
            200..=299 => Ok(true),
            404 => Ok(false),
            _ => Err(self.failed(answer).await),
        }
    }

    /// Whether what came is not what was asked for, and there is no other place to ask: what spoilt it on its way may not do so
    /// a second time.
    pub(super) fn is_spoilt<T>(&self, result: &Result<T, Cause>) -> bool {
        self.tries > 1 && matches!(result, Err(Cause::DigestMismatch { .. }))
    }

    /// A small blob, for instance a configuration.
    pub(super) async fn small_blob(&self, descriptor: &Descriptor, what: &'static str, limit: u64) -> Result<Bytes, Cause> {
        if descriptor.size > limit {
            return Err(Cause::TooLarge { what, limit });
        }
        let first = self.small_blob_once(descriptor).await;
        if self.is_spoilt(&first) { self.small_blob_once(descriptor).await } else { first }
    }

    async fn small_blob_once(&self, descriptor: &Descriptor) -> Result<Bytes, Cause> {
        let (to, mut from) = mpsc::channel(AHEAD);
        let mut bytes = Vec::new();
        let collect = async {
            while let Some(piece) = from.recv().await {
                let piece: Bytes = piece;
                bytes.extend_from_slice(&piece);
            }
        };
        let (done, ()) = tokio::join!(self.download(descriptor, to), collect);
        done?;
        check(descriptor.digest, Digest::of(&bytes))?;
        Ok(bytes.into())
    }

    /// A blob into a new file, which has the descriptor's digest where this does not fail.
    pub(super) async fn file_blob(&self, descriptor: &Descriptor, file: &Path) -> Result<(), Cause> {
        let first = self.file_blob_once(descriptor, file).await;
        if self.is_spoilt(&first) { self.file_blob_once(descriptor, file).await } else { first }
    }

    async fn file_blob_once(&self, descriptor: &Descriptor, file: &Path) -> Result<(), Cause> {
        let (to, mut from) = mpsc::channel::<Bytes>(AHEAD);
        let path = file.to_owned();
        let writer = tokio::task::spawn_blocking(move || -> Result<Digest, std::io::Error> {
            let mut to = std::fs::File::create(path)?;
            let mut hasher = Hasher::default();
            while let Some(piece) = from.blocking_recv() {
                hasher.update(&piece);
                to.write_all(&piece)?;
            }
            Ok(hasher.finish())
        });
        let done = self.download(descriptor, to).await;
        let failed = |source| Cause::File { path: file.to_owned(), source };
        // A writer that failed is why the download was cut off.
        let received = writer.await.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
        done?;
        check(descriptor.digest, received)
    }

    /// The bytes of a blob, as many as the descriptor says, not yet proven. What arrived is not asked for again: a transfer
    /// that breaks off goes on where it stood, and is given up only where several tries in a row bring nothing.
    pub(super) async fn download(&self, descriptor: &Descriptor, to: mpsc::Sender<Bytes>) -> Result<(), Cause> {
        let size = descriptor.size;
        if size > BLOB_LIMIT {
            return Err(Cause::TooLarge { what: "the blob", limit: BLOB_LIMIT });
        }
        let mut at = 0;
        // Of a place that is tried once, what has come so far is worth a second time: the next place would begin anew.
        let mut backoff = Backoff::new(self.tries.max(2), self.transport.settings.retry_deadline);
        loop {
            let before = at;
            let result = self.download_some(descriptor, &mut at, &to).await;
            // A trickle is none: whoever only ever sends a few bytes is given up.
            let much = at.saturating_sub(before) >= (size / 16).clamp(1, PROGRESS);
            if much {
                backoff.progressed();
            }
            let (cause, asked, gate) = match result {
                Ok(()) if at == size => return Ok(()),
                Ok(()) => (Cause::SizeMismatch { wanted: size, received: at }, None, None),
                Err((cause, asked, gate)) => (cause, asked, gate),
            };
            let gate = gate.unwrap_or_default();
            let once = self.tries == 1 && !much;
            if !cause.is_transient() || at > size || to.is_closed() || once || !backoff.again(&gate, asked).await {
                return Err(cause);
            }
        }
    }

    async fn download_some(&self, descriptor: &Descriptor, at: &mut u64, to: &mpsc::Sender<Bytes>) -> Result<(), Stopped> {
        let stop = |cause| (cause, None, None);
        let url = self.url(&format!("blobs/{}", descriptor.digest)).await.map_err(stop)?;
        let mut request = Request::new(Method::GET, url);
        if *at > 0 {
            request = request.header(RANGE, &format!("bytes={at}-")).map_err(stop)?;
        }
        let answer = self.send(&request).await.map_err(stop)?;
        let status = answer.response.status();
        // A server that does not know ranges sends all of it again.
        let mut skip = match status.as_u16() {
            200 => *at,
            206 if starts_at(answer.response.headers(), *at, descriptor.size) => 0,
            206 => return Err(stop(Cause::Protocol("it sent another range of the blob than was asked for".to_owned()))),
            code if is_transient(code) => {
                let asked = retry_after(status, answer.response.headers());
                let gate = self.transport.gate(&answer.origin);
                return Err((self.failed(answer).await, asked, Some(gate)));
            }
            _ => return Err(stop(self.failed(answer).await)),
        };
        let Answer { response, origin, .. } = answer;
        let mut reader = self.transport.reader(&origin, response);
        // Few large pieces instead of many small ones: each wakes another thread.
        let mut gathered = BytesMut::with_capacity(PIECE);
        let ended = loop {
            let mut piece = match reader.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(cause) => break Err(stop(cause)),
            };
            if skip > 0 {
                let dropped = skip.min(piece.len() as u64);
                skip -= dropped;
                piece = piece.split_off(dropped as usize);
            }
            if piece.len() as u64 > descriptor.size - *at {
                *at = descriptor.size + 1;
                return Err(stop(Cause::SizeMismatch { wanted: descriptor.size, received: *at }));
            }
            *at += piece.len() as u64;
            gathered.extend_from_slice(&piece);
            if gathered.len() >= PIECE {
                let full = std::mem::replace(&mut gathered, BytesMut::with_capacity(PIECE));
                if to.send(full.freeze()).await.is_err() {
                    break Ok(());
                }
            }
        };
        // What arrived is passed on however it ended: the next try begins after it.
        if !gathered.is_empty() {
            let _ = to.send(gathered.freeze()).await;
        }
        match to.is_closed() {
            true => Err(stop(Cause::Protocol("the receiver of the blob is gone".to_owned()))),
            false => ended,
        }
    }
}

/// Why a download broke off, and how long the server wants to be left alone.
type Stopped = (Cause, Option<std::time::Duration>, Option<std::sync::Arc<super::transport::Gate>>);

/// Whether a partial answer is the rest from `at` on.
fn starts_at(headers: &HeaderMap, at: u64, size: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).and_then(|range| range.strip_prefix("bytes "));
    let parts = range.and_then(|range| range.split_once('/')).and_then(|(span, total)| Some((span.split_once('-')?, total)));
    parts.is_some_and(|((first, _), total)| first.parse() == Ok(at) && (total == "*" || total.parse() == Ok(size)))
}

fn check(wanted: Digest, received: Digest) -> Result<(), Cause> {
    match wanted == received {
        true => Ok(()),
        false => Err(Cause::DigestMismatch { wanted, received }),
    }
}
