//! Smart HTTP over the same connections as downloads: the same addresses are refused, the same redirects followed.

use std::any::Any;
use std::io::{self, BufRead, Cursor, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use gix_protocol::transport::Protocol;
use gix_protocol::transport::client::blocking_io::Transport;
use gix_protocol::transport::client::blocking_io::http::{GetResponse, Http, PostBodyDataKind, PostResponse, Transport as HttpTransport};
use layerwright_git_reference::GitUrl;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::super::exchange::{Answer, Ask, Reader};
use super::super::name::shown;
use super::super::{FetchError, NamedBy};
use super::Work;
use super::connect::Failure;

/// The largest request, in bytes: what is wanted of a repository.
const LARGEST_REQUEST: usize = 16 << 20;

/// A transport to a repository of the web.
pub(super) fn transport(work: &Arc<Work>, url: &GitUrl, by: NamedBy, failure: &Failure) -> Result<Box<dyn Transport + Send>, FetchError> {
    let refused = |why: String| FetchError::Url { url: url.shown(), why };
    let first = Url::parse(&url.remote()).map_err(|error| refused(error.to_string()))?;
    let bare = gix_url::parse(gix_transport::bstr::BStr::new(url.shown().as_bytes())).map_err(|error| refused(error.to_string()))?;
    let backend = Backend { work: Arc::clone(work), first, by, redirected: None, failure: Arc::clone(failure) };
    Ok(Box::new(HttpTransport::new_http(backend, bare, Protocol::V2, false)))
}

struct Backend {
    work: Arc<Work>,
    /// With its user information.
    first: Url,
    by: NamedBy,
    /// Where the repository has turned out to be.
    redirected: Option<String>,
    failure: Failure,
}

impl Backend {
    /// With the user information of the first, as long as it is the same server.
    fn url(&self, text: &str) -> Result<(Url, NamedBy), FetchError> {
        let mut url =
            Url::parse(text).map_err(|error| FetchError::Url { url: super::super::name::shown_text(text), why: error.to_string() })?;
        let same = url.origin() == self.first.origin();
        if same {
            let _ = url.set_username(self.first.username());
            let _ = url.set_password(self.first.password());
        }
        Ok((url, if same { self.by } else { NamedBy::Dockerfile }))
    }

    fn pending(&self, text: &str, method: Method, headers: Vec<String>) -> Result<Pending, FetchError> {
        let (url, by) = self.url(text)?;
        let mut map = HeaderMap::new();
        for header in headers {
            let Some((name, value)) = header.split_once(':') else { continue };
            let pair = HeaderName::from_bytes(name.trim().as_bytes()).ok().zip(HeaderValue::from_str(value.trim()).ok());
            if let Some((name, value)) = pair.filter(|(name, _)| name != reqwest::header::USER_AGENT) {
                map.insert(name, value);
            }
        }
        let body = (method == Method::POST).then(Vec::new);
        Ok(Pending {
            work: Arc::clone(&self.work),
            url,
            by,
            method,
            headers: map,
            body,
            answer: State::Waiting,
            failure: Arc::clone(&self.failure),
        })
    }

    fn failed(&self, error: FetchError) -> gix_error::Error {
        fail(&self.failure, &error);
        gix_error::Error::from_error(error)
    }
}

fn fail(failure: &Failure, error: &FetchError) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
}

impl Http for Backend {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix_error::Result<GetResponse<Headers, Body>> {
        let headers = headers.into_iter().map(|header| header.as_ref().to_owned()).collect();
        let mut pending = self.pending(url, Method::GET, headers).map_err(|error| self.failed(error))?;
        let end = pending.start().map_err(|error| self.failed(error))?;
        // The rest of the conversation goes to where the first question was answered.
        if let Some(tail) = url.strip_prefix(base)
            && end.as_str() != url
            && let Some(base) = end.as_str().strip_suffix(tail)
        {
            self.redirected = Some(base.to_owned());
        }
        let pending = Arc::new(Mutex::new(pending));
        Ok(GetResponse { headers: Headers::new(&pending), body: Body::new(pending) })
    }

    fn post(
        &mut self,
        url: &str,
        _: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _: PostBodyDataKind,
    ) -> gix_error::Result<PostResponse<Headers, Body, PostBody>> {
        let headers = headers.into_iter().map(|header| header.as_ref().to_owned()).collect();
        let pending = self.pending(url, Method::POST, headers).map_err(|error| self.failed(error))?;
        let pending = Arc::new(Mutex::new(pending));
        Ok(PostResponse { post_body: PostBody(Arc::clone(&pending)), headers: Headers::new(&pending), body: Body::new(pending) })
    }

    fn configure(&mut self, _: &dyn Any) -> gix_error::Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected.clone()
    }
}

/// A request that is sent when somebody wants to read the answer.
struct Pending {
    work: Arc<Work>,
    url: Url,
    by: NamedBy,
    method: Method,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    answer: State,
    failure: Failure,
}

enum State {
    Waiting,
    Ready { headers: Vec<u8>, reader: Box<Reader> },
    Done,
}

impl Pending {
    /// Sends the request, and says where it ended.
    fn start(&mut self) -> Result<Url, FetchError> {
        let settings = &self.work.web.settings;
        let credentials = &settings.credentials;
        let by = self.by;
        let authorization = |url: &Url, trusted: bool| credentials.for_git(url, trusted, by);
        let ask = Ask {
            method: self.method.clone(),
            url: &self.url,
            by: self.by,
            headers: std::mem::take(&mut self.headers),
            body: self.body.take().map(Bytes::from),
            unverified: settings.unverified_git.as_deref().filter(|_| by == NamedBy::Operator),
            authorization: &authorization,
        };
        let answer: Answer = self.work.runtime.block_on(self.work.web.send(ask))?;
        let status = answer.response.status();
        if !status.is_success() {
            let error = FetchError::Repository { url: shown(&self.url), status: status.to_string(), code: status.as_u16() };
            return Err(error);
        }
        let mut headers = Vec::new();
        for (name, value) in answer.response.headers() {
            headers.extend_from_slice(name.as_str().as_bytes());
            headers.extend_from_slice(b": ");
            headers.extend(value.as_bytes().iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' '));
            headers.push(b'\n');
        }
        let end = answer.url.clone();
        let reader = self.work.web.reader(answer, settings.largest)?;
        self.answer = State::Ready { headers, reader: Box::new(reader) };
        Ok(end)
    }

    fn started(&mut self) -> io::Result<&mut State> {
        if matches!(self.answer, State::Waiting)
            && let Err(error) = self.start()
        {
            self.answer = State::Done;
            fail(&self.failure, &error);
            return Err(io::Error::other(error.to_string()));
        }
        Ok(&mut self.answer)
    }

    fn next(&mut self) -> io::Result<Bytes> {
        let work = Arc::clone(&self.work);
        let url = shown(&self.url);
        let State::Ready { reader, .. } = self.started()? else { return Ok(Bytes::new()) };
        let piece = work.runtime.block_on(reader.next()).and_then(|piece| {
            let piece = piece.unwrap_or_default();
            work.take(&url, piece.len() as u64).map(|()| piece)
        });
        piece.map_err(|error| {
            fail(&self.failure, &error);
            self.answer = State::Done;
            io::Error::other(error.to_string())
        })
    }
}

/// The lines of an answer's headers.
struct Headers {
    pending: Option<Arc<Mutex<Pending>>>,
    read: Cursor<Vec<u8>>,
}

impl Headers {
    fn new(pending: &Arc<Mutex<Pending>>) -> Self {
        Self { pending: Some(Arc::clone(pending)), read: Cursor::default() }
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(pending) = self.pending.take()
            && let State::Ready { headers, .. } = pending.lock().unwrap_or_else(PoisonError::into_inner).started()?
        {
            self.read = Cursor::new(std::mem::take(headers));
        }
        self.read.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.read.consume(count);
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill_buf()?;
        self.read.read(buffer)
    }
}

/// An answer's body.
struct Body {
    pending: Arc<Mutex<Pending>>,
    piece: Bytes,
}

impl Body {
    fn new(pending: Arc<Mutex<Pending>>) -> Self {
        Self { pending, piece: Bytes::new() }
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() {
            self.piece = self.pending.lock().unwrap_or_else(PoisonError::into_inner).next()?;
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count.min(self.piece.len()));
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// What is posted, which goes out when the answer is read.
struct PostBody(Arc<Mutex<Pending>>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut pending.body {
            Some(body) if body.len() + bytes.len() <= LARGEST_REQUEST => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Some(_) => Err(io::Error::other("the request is larger than 16 MiB")),
            None => Err(io::Error::other("the request has been sent")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
