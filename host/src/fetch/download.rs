use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, StatusCode, Url};

use super::cache::{self, Record};
use super::exchange::{Answer, Ask};
use super::name::{self, UNNAMED, shown, shown_text};
use super::{FetchError, Fetcher, NamedBy};
use crate::oci::Digest;
use crate::progress::{Event, Level};
use crate::rootfs::store::StoreError;

/// A file from the web, which lies in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Downloaded {
    /// Where its bytes are.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// What it is called: the last part of the URL's path, else what the server says, else `__unnamed__`.
    pub name: String,
    /// When the server says that it was last changed, in seconds since 1970.
    pub modified: Option<i64>,
}

impl Fetcher {
    /// Brings a file here, or finds that the one from before is still the same. In one build each URL is asked for once.
    ///
    /// # Errors
    /// It cannot be had, may not be reached, or is not what `checksum` (`sha256:` and hexadecimal digits) says.
    pub async fn download(&self, url: &str, checksum: Option<&str>, by: NamedBy) -> Result<Downloaded, FetchError> {
        let expected = checksum.map(read_checksum).transpose()?;
        let parsed = read_url(url)?;
        let cell = {
            let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(downloads.entry(format!("{by:?} {url}")).or_default())
        };
        let downloaded = cell.get_or_try_init(|| self.bring(&parsed, expected, by)).await?;
        match expected {
            Some(expected) if expected != downloaded.digest => {
                Err(FetchError::Digest { url: shown(&parsed), expected, found: downloaded.digest })
            }
            _ => Ok(downloaded.clone()),
        }
    }

    async fn bring(&self, url: &Url, expected: Option<Digest>, by: NamedBy) -> Result<Downloaded, FetchError> {
        let known = cache::find(&self.store, url.as_str());
        // Bytes that are known by their digest need nobody to vouch for them.
        if let Some(record) = known.as_ref().filter(|record| expected == Some(record.digest)) {
            return Ok(self.found(url, record));
        }
        let seconds = self.web.settings.whole.as_secs();
        match tokio::time::timeout(self.web.settings.whole, self.try_often(url, expected, by, known)).await {
            Ok(done) => done,
            Err(_) => Err(FetchError::Slow { url: shown(url), seconds }),
        }
    }

    async fn try_often(&self, url: &Url, expected: Option<Digest>, by: NamedBy, known: Option<Record>) -> Result<Downloaded, FetchError> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.once(url, expected, by, known.as_ref()).await {
                Err(error) if error.may_pass() && tried < self.web.settings.tries => {
                    self.reporter.log(Level::Debug, &format!("{error}; trying again"));
                    tokio::time::sleep(Duration::from_millis(250 << tried.min(5))).await;
                }
                done => return done,
            }
        }
    }

    async fn once(&self, url: &Url, expected: Option<Digest>, by: NamedBy, known: Option<&Record>) -> Result<Downloaded, FetchError> {
        if let Some(record) = known.filter(|record| record.etag.is_some() || record.last_modified.is_some()) {
            let answer = self.ask(Method::HEAD, url, by, Some(record)).await?;
            let same_tag =
                answer.response.status().is_success() && record.etag.is_some() && text(answer.response.headers(), ETAG) == record.etag;
            if answer.response.status() == StatusCode::NOT_MODIFIED || same_tag {
                return Ok(self.found(url, record));
            }
        }
        let answer = self.ask(Method::GET, url, by, None).await?;
        let status = answer.response.status();
        if !status.is_success() || status == StatusCode::PARTIAL_CONTENT {
            return Err(FetchError::Status { url: shown(&answer.url), status: format!("the server says {status}"), code: status.as_u16() });
        }
        let headers = answer.response.headers().clone();
        let announced = answer.response.content_length();
        let mut reader = self.web.reader(answer, self.web.settings.largest)?;
        let kept = |error: StoreError| FetchError::Store { path: self.store.path().to_owned(), why: error.to_string() };
        let mut blob = self.store.begin_blob().map_err(kept)?;
        while let Some(piece) = reader.next().await? {
            let written = blob.write_all(&piece);
            written.map_err(|error| FetchError::Store { path: self.store.path().to_owned(), why: error.to_string() })?;
        }
        let size = blob.size();
        if announced.is_some_and(|announced| announced != size) {
            return Err(FetchError::Broken {
                url: shown(url),
                why: format!("{size} bytes came, {} were announced", announced.unwrap_or(0)),
            });
        }
        let (digest, size) = blob.finish(expected.map(|expected| (expected, size))).map_err(|error| match error {
            StoreError::Blob { expected, found, .. } => FetchError::Digest { url: shown(url), expected, found },
            error => kept(error),
        })?;
        let record = Record {
            digest,
            size,
            etag: text(&headers, ETAG),
            last_modified: text(&headers, LAST_MODIFIED),
            name: text(&headers, CONTENT_DISPOSITION).as_deref().and_then(name::of_disposition),
        };
        cache::keep(&self.store, url.as_str(), &record)?;
        self.reporter.event(Event::Transfer { what: "downloaded", digest: digest.to_string(), size, place: shown(url) });
        Ok(self.found(url, &record))
    }

    async fn ask(&self, method: Method, url: &Url, by: NamedBy, known: Option<&Record>) -> Result<Answer, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let validators = known.map(|record| [(IF_NONE_MATCH, &record.etag), (IF_MODIFIED_SINCE, &record.last_modified)]);
        for (name, value) in validators.into_iter().flatten() {
            if let Some(value) = value.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        let credentials = &self.web.settings.credentials;
        let authorization = |url: &Url, trusted: bool| credentials.for_download(url, trusted);
        self.web.send(Ask { method, url, by, headers, body: None, unverified: None, authorization: &authorization }).await
    }

    fn found(&self, url: &Url, record: &Record) -> Downloaded {
        Downloaded {
            path: self.store.blob_path(&record.digest),
            digest: record.digest,
            size: record.size,
            name: name::of_url(url).or_else(|| record.name.clone()).unwrap_or_else(|| UNNAMED.to_owned()),
            modified: record.last_modified.as_deref().and_then(seconds),
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// A date of HTTP (RFC 9110 section 5.6.7).
fn seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
}

fn read_url(text: &str) -> Result<Url, FetchError> {
    let refused = |why: &str| FetchError::Url { url: shown_text(text), why: why.to_owned() };
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err(refused("it is neither http nor https")),
    }
}

fn read_checksum(text: &str) -> Result<Digest, FetchError> {
    let refused = |why: &str| FetchError::Checksum(format!("{why}: {text:?}"));
    let (algorithm, _) = text.split_once(':').ok_or_else(|| refused("invalid checksum digest format"))?;
    if algorithm != "sha256" {
        return Err(refused("unsupported digest algorithm"));
    }
    text.parse().map_err(|_| refused("invalid checksum digest format"))
}
