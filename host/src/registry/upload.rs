//! Uploading a blob (distribution-spec, "Pushing blobs"): one session, the whole blob in one stream, resumed where the
//! registry says that it stands.

use std::path::PathBuf;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, RANGE};
use reqwest::{Method, Url};
use tokio::sync::mpsc;

use crate::oci::Descriptor;

use super::body::Payload;
use super::endpoint::{Endpoint, Request};
use super::error::{Cause, is_transient};
use super::transport::{Backoff, retry_after};

/// Where a registry finds one request for all too large.
const CHUNK: u64 = 16 * 1024 * 1024;
/// A registry that takes no more than this at once is not uploaded to.
const LEAST_CHUNK: u64 = 64 * 1024;
const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// Bytes to upload.
pub(super) enum Bulk {
    File(PathBuf),
    Bytes(Bytes),
    /// Streamed from another registry, from wherever the stream has to begin.
    Remote {
        from: Vec<Endpoint>,
        descriptor: Box<Descriptor>,
    },
}

/// What came of asking for an upload.
pub(super) enum Opened {
    /// The registry has the blob now, for it had it elsewhere.
    Mounted,
    /// Bytes are awaited.
    Session(Session),
}

/// An upload that is under way.
pub(super) struct Session {
    location: Url,
    /// The least size of a chunk, where the registry states one.
    least: u64,
}

impl Endpoint {
    /// Begins an upload; where the blob may be in another repository of this registry, asks to take it from there.
    pub(super) async fn open_upload(&self, mount: Option<(&Descriptor, &str)>) -> Result<Opened, Cause> {
        let mut url = self.url("blobs/uploads/").await?;
        if let Some((descriptor, from)) = mount {
            url.query_pairs_mut().append_pair("mount", &descriptor.digest.to_string()).append_pair("from", from);
        }
        let mut request = Request::new(Method::POST, url).tries(self.tries).header(CONTENT_LENGTH, "0")?;
        request.also_reads.extend(mount.map(|(_, from)| from.to_owned()));
        let answer = match self.send(&request).await {
            Ok(answer) => answer,
            // No token for the other repository: without it then.
            Err(Cause::Denied { .. }) if mount.is_some() => return Box::pin(self.open_upload(None)).await,
            Err(cause) => return Err(cause),
        };
        match answer.response.status().as_u16() {
            201 if mount.is_some() => Ok(Opened::Mounted),
            202 => {
                let location = self.location(&answer).await?;
                let location = location.ok_or_else(|| Cause::Protocol("it opened an upload without saying where".to_owned()))?;
                Ok(Opened::Session(Session { location, least: chunk_min(answer.response.headers()) }))
            }
            401 | 403 | 404 | 405 if mount.is_some() => Box::pin(self.open_upload(None)).await,
            _ => Err(self.failed(answer).await),
        }
    }

    /// Gives an upload up. Registries that do not know how forget it by themselves.
    pub(super) async fn abort_upload(&self, session: Session) {
        let _ = self.send(&Request::new(Method::DELETE, session.location).unasked()).await;
    }

    /// Uploads a blob through a session; a session that is lost is replaced.
    pub(super) async fn upload(&self, session: Session, descriptor: &Descriptor, bulk: &Bulk) -> Result<(), Cause> {
        let mut upload = Upload { session, at: 0, chunk: descriptor.size, streams: true };
        let mut backoff = Backoff::new(self.tries, self.transport.settings.retry_deadline);
        let mut asked_again = false;
        let mut broken = 0;
        loop {
            let before = upload.at;
            let sent = match self.send_rest(&mut upload, descriptor, bulk).await {
                Ok(()) => self.close_upload(&upload, descriptor, bulk).await,
                stopped => stopped,
            };
            let Err(Stopped { cause, asked }) = sent else { return Ok(()) };
            if upload.at > before {
                backoff.progressed();
            }
            // What is streamed from elsewhere could not be sent again with the new token at once.
            let expired = matches!(&cause, Cause::Denied { status: 401, .. }) && !std::mem::replace(&mut asked_again, true);
            // The bytes are right, for they are checked before: something between spoilt them.
            let spoilt = matches!(&cause, Cause::Status { status: 400, detail } if detail.contains("DIGEST_INVALID") || detail.contains("SIZE_INVALID"));
            let lost = spoilt || matches!(&cause, Cause::NotFound(_) | Cause::Status { status: 409 | 410 | 416, .. });
            let origin = super::origin::Origin::of(&upload.session.location);
            let gate = origin.map(|origin| self.transport.gate(&origin)).unwrap_or_default();
            if !(cause.is_transient() || lost || expired) || !backoff.again(&gate, asked).await {
                return Err(cause);
            }
            // The answer may have been lost and not the blob.
            if self.has_blob(descriptor.digest).await.unwrap_or(false) {
                return Ok(());
            }
            // Who hangs up on one long request again and again may take short ones: some proxies say "too large" that way.
            broken += u32::from(matches!(&cause, Cause::Unreachable { .. }) && upload.at == 0);
            if broken >= 2 && upload.chunk > CHUNK {
                upload.chunk = CHUNK.max(upload.session.least);
            }
            match if spoilt { None } else { self.standing(&mut upload.session).await } {
                Some(arrived) if arrived <= descriptor.size => upload.at = arrived,
                _ => {
                    let Opened::Session(fresh) = self.open_upload(None).await? else { return Ok(()) };
                    let old = std::mem::replace(&mut upload.session, fresh);
                    upload.at = 0;
                    if spoilt {
                        self.abort_upload(old).await;
                    }
                }
            }
        }
    }

    /// Sends what the registry does not have yet.
    async fn send_rest(&self, upload: &mut Upload, descriptor: &Descriptor, bulk: &Bulk) -> Result<(), Stopped> {
        let Upload { session, at, chunk, streams } = upload;
        while *at < descriptor.size && *streams {
            let whole = *at == 0 && *chunk >= descriptor.size;
            let length = (descriptor.size - *at).min((*chunk).max(1));
            let mut request = Request::new(Method::PATCH, session.location.clone()).header(CONTENT_TYPE, "application/octet-stream")?;
            if !whole {
                // Inclusive, without a unit: as the distribution-spec has it and RFC 9110 has not.
                request = request.header(CONTENT_RANGE, &format!("{at}-{}", *at + length - 1))?;
            }
            let (body, source) = self.payload(bulk, *at, length);
            request.body = body;
            let answer = self.send(&request).await;
            let sourced = match source {
                Some(task) => task.await.unwrap_or(Ok(())),
                None => Ok(()),
            };
            let answer = match (answer, sourced) {
                (Ok(answer), _) => answer,
                // The stream broke off because its source did.
                (Err(_), Err(cause)) => return Err(cause.into()),
                (Err(cause), Ok(())) => return Err(cause.into()),
            };
            let status = answer.response.status();
            match status.as_u16() {
                201 | 202 | 204 => {
                    let arrived = range_end(answer.response.headers());
                    if let Some(location) = self.location(&answer).await? {
                        session.location = location;
                    }
                    let expected = *at + length;
                    // Fewer than were sent is what is there; no word means all.
                    let now = arrived.filter(|arrived| *arrived > *at).unwrap_or(expected).min(expected);
                    *at = now;
                }
                413 => {
                    let less = CHUNK.min(length / 2).max(session.least);
                    if less >= length || less < LEAST_CHUNK {
                        return Err(self.failed(answer).await.into());
                    }
                    *chunk = less;
                }
                // It takes a blob in the request that ends the upload, and no other way.
                405 | 501 if whole => *streams = false,
                code => {
                    let asked = if is_transient(code) { retry_after(status, answer.response.headers()) } else { None };
                    return Err(Stopped { cause: self.failed(answer).await, asked });
                }
            }
        }
        Ok(())
    }

    /// The part of the bytes that a request sends, and the task that brings it where it comes from elsewhere.
    fn payload(&self, bulk: &Bulk, offset: u64, length: u64) -> (Payload, Option<tokio::task::JoinHandle<Result<(), Cause>>>) {
        match bulk {
            Bulk::File(path) => (Payload::File { path: path.clone(), offset, length }, None),
            Bulk::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
                (Payload::Bytes(bytes.slice(from..to)), None)
            }
            Bulk::Remote { from, descriptor } => {
                let (to, pieces) = mpsc::channel(8);
                let (from, descriptor) = (from.clone(), descriptor.clone());
                let task = tokio::spawn(async move { relay(&from, &descriptor, offset, length, to).await });
                (Payload::stream(pieces, length), Some(task))
            }
        }
    }

    /// Names the digest of what was sent, which makes a blob of it; sends all of it along where it was not sent before.
    async fn close_upload(&self, upload: &Upload, descriptor: &Descriptor, bulk: &Bulk) -> Result<(), Stopped> {
        let mut url = upload.session.location.clone();
        url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        let mut request = Request::new(Method::PUT, url);
        let mut source = None;
        if upload.streams {
            request = request.header(CONTENT_LENGTH, "0")?;
        } else {
            request = request.header(CONTENT_TYPE, "application/octet-stream")?;
            (request.body, source) = self.payload(bulk, 0, descriptor.size);
        }
        let answer = self.send(&request).await;
        // A stream that broke off because its source did.
        match source {
            Some(task) => task.await.unwrap_or(Ok(())),
            None => Ok(()),
        }?;
        let answer = answer?;
        let status = answer.response.status();
        match status.as_u16() {
            200..=204 => Ok(()),
            code => {
                let asked = if is_transient(code) { retry_after(status, answer.response.headers()) } else { None };
                Err(Stopped { cause: self.failed(answer).await, asked })
            }
        }
    }

    /// How many bytes of an upload have arrived; none where the registry does not know it any more.
    async fn standing(&self, session: &mut Session) -> Option<u64> {
        let answer = self.send(&Request::new(Method::GET, session.location.clone()).tries(2)).await.ok()?;
        if !matches!(answer.response.status().as_u16(), 200 | 202 | 204) {
            return None;
        }
        let arrived = range_end(answer.response.headers())?;
        if let Some(location) = self.location(&answer).await.ok()? {
            session.location = location;
        }
        Some(arrived)
    }
}

/// How far an upload has come, and how it goes on.
struct Upload {
    session: Session,
    /// Bytes that have arrived.
    at: u64,
    /// Bytes to send at once.
    chunk: u64,
    /// Whether the registry takes bytes before the request that ends the upload.
    streams: bool,
}

/// Why an upload broke off.
struct Stopped {
    cause: Cause,
    /// How long the server wants to be left alone.
    asked: Option<std::time::Duration>,
}

impl From<Cause> for Stopped {
    fn from(cause: Cause) -> Self {
        Self { cause, asked: None }
    }
}

/// Passes a part of a blob on from the first place that has it. Another place takes over only as long as nothing was
/// passed on.
async fn relay(from: &[Endpoint], descriptor: &Descriptor, offset: u64, length: u64, to: mpsc::Sender<Bytes>) -> Result<(), Cause> {
    let mut last = Ok(());
    for endpoint in from {
        let (piece_to, mut pieces) = mpsc::channel::<Bytes>(8);
        let mut skip = offset;
        let mut left = length;
        let mut passed = false;
        let pass = async {
            while let Some(mut piece) = pieces.recv().await {
                let dropped = skip.min(piece.len() as u64);
                skip -= dropped;
                piece = piece.split_off(dropped as usize);
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= piece.len() as u64;
                passed |= !piece.is_empty();
                if !piece.is_empty() && to.send(piece).await.is_err() || left == 0 {
                    break;
                }
            }
            drop(pieces);
        };
        let (done, ()) = tokio::join!(endpoint.download(descriptor, piece_to), pass);
        // Where nobody takes the bytes any more, whoever took them knows why.
        if left == 0 || to.is_closed() {
            return Ok(());
        }
        last = done;
        if passed {
            break;
        }
    }
    last
}

/// `Range: 0-n` of an upload, as the number of bytes.
fn range_end(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let (first, last) = text.trim_start_matches("bytes=").split_once('-')?;
    match (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?) {
        // Of nothing, distribution says `0-0`, which is also what it says of one byte: that byte is then sent again.
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

fn chunk_min(headers: &HeaderMap) -> u64 {
    headers.get(CHUNK_MIN).and_then(|least| least.to_str().ok()).and_then(|least| least.parse().ok()).unwrap_or(0)
}
