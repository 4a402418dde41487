//! One request, its redirects followed by hand, and reading the answer within limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::address::{self, Reach};
use super::name::{shown, shown_text};
use super::{FetchError, FetchSettings, NamedBy};
use crate::progress::reasons;
use crate::trust;

/// Redirects that are followed in one request.
const MOST_REDIRECTS: usize = 10;
/// Fewer bytes than this within the idle time-out are no progress.
const LEAST_PROGRESS: u64 = 1024;

/// Connections to servers of the web.
pub(super) struct Web {
    pub(super) settings: FetchSettings,
    proxies: Matcher,
    tls: Mutex<Option<ClientConfig>>,
    clients: Mutex<HashMap<Way, Client>>,
}

/// What connections are kept by: host, port, how far they may reach, and how TLS is spoken.
type Way = (String, u16, Reach, Tls);

/// How TLS is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Tls {
    /// Not at all.
    Plain,
    /// With whoever the system's roots vouch for.
    Verified,
    /// With anybody.
    Unverified,
}

/// The `Authorization` header for a URL; the second argument is whether the operator named its host.
pub(super) type Authorization<'a> = dyn Fn(&Url, bool) -> Result<Option<HeaderValue>, FetchError> + Send + Sync + 'a;

/// What to send.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) by: NamedBy,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// `host:port` whose certificate is not verified.
    pub(super) unverified: Option<&'a str>,
    /// What to show to the host of a URL; asked again after each redirect.
    pub(super) authorization: &'a Authorization<'a>,
}

/// An answer and where it came from in the end.
pub(super) struct Answer {
    pub(super) url: Url,
    pub(super) response: Response,
}

impl Web {
    pub(super) fn new(settings: FetchSettings) -> Self {
        Self { settings, proxies: Matcher::from_env(), tls: Mutex::default(), clients: Mutex::default() }
    }

    /// Whether the operator named this host, be it as a source or on the list.
    fn trusted(&self, url: &Url, first: &Url, by: NamedBy) -> bool {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        (by == NamedBy::Operator && same_server(url, first)) || address::is_listed(&self.settings.private_hosts, host, port)
    }

    /// How far a request may reach that started at `first`.
    fn reach(&self, url: &Url, first: &Url, by: NamedBy) -> Reach {
        match (self.trusted(url, first, by), same_server(url, first)) {
            (true, _) => Reach::Anywhere,
            (false, true) => Reach::Network,
            (false, false) => Reach::Public,
        }
    }

    /// Sends a request and follows redirects of GET and HEAD. Any status but a redirect's is an answer.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Answer, FetchError> {
        let mut url = ask.url.clone();
        let embedded = user_information(&url)?;
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let first = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let tls = match url.scheme() {
                "https" if ask.unverified.is_some_and(|host| is_authority(&url, host)) => Tls::Unverified,
                "https" => Tls::Verified,
                _ => Tls::Plain,
            };
            let client = self.client(&url, self.reach(&url, &first, ask.by), tls).await?;
            let mut headers = ask.headers.clone();
            let own = embedded.clone().filter(|_| url.origin() == first.origin());
            let authorization = match own {
                Some(own) => Some(own),
                None => (ask.authorization)(&url, self.trusted(&url, &first, ask.by))?,
            };
            if let Some(value) = authorization {
                headers.insert(AUTHORIZATION, value);
            }
            let mut request = client.request(ask.method.clone(), url.clone()).headers(headers);
            if let Some(body) = &ask.body {
                request = request.body(body.clone());
            }
            let host = authority(&url);
            let response = match tokio::time::timeout(self.settings.idle, request.send()).await {
                Err(_) => return Err(FetchError::Silent { host, seconds: self.settings.idle.as_secs() }),
                Ok(Err(error)) => return Err(FetchError::Unreachable { host, why: reasons(&error.without_url()) }),
                Ok(Ok(response)) => response,
            };
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) || ask.body.is_some() {
                return Ok(Answer { url, response });
            }
            url = next(&url, &response)?;
        }
        Err(FetchError::Redirect { url: shown(&first), to: shown(&url), why: format!("there are more than {MOST_REDIRECTS} redirects") })
    }

    /// The connections to a server that the operator has named, or whoever serves logins for it.
    pub(super) async fn client_for_operator(&self, url: &Url) -> Result<Client, FetchError> {
        let tls = if url.scheme() == "https" { Tls::Verified } else { Tls::Plain };
        self.client(url, Reach::Anywhere, tls).await
    }

    /// The connections to one server, all of whose addresses may be reached.
    async fn client(&self, url: &Url, reach: Reach, tls: Tls) -> Result<Client, FetchError> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let by_proxy = !address::is_this_machine(host)
            && !address::is_metadata_service(host)
            && url.as_str().parse::<http::Uri>().is_ok_and(|uri| self.proxies.intercept(&uri).is_some());
        let key = (host.to_ascii_lowercase(), port, reach, tls);
        if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls(tls)?)
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.settings.connect)
            .user_agent(self.settings.user_agent.clone());
        if by_proxy {
            address::check_spelling(host, reach)?;
        } else {
            let addresses = address::addresses(host, port, reach).await?;
            builder = builder.no_proxy();
            if let Some(name) = url.domain() {
                builder = builder.resolve_to_addrs(name, &addresses);
            }
        }
        let client = builder.build().map_err(|error| FetchError::Client(reasons(&error)))?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(key, client.clone());
        Ok(client)
    }

    /// TLS as it is spoken; the system's roots are read once, and not before they are asked.
    fn tls(&self, how: Tls) -> Result<ClientConfig, FetchError> {
        let spoken = how == Tls::Verified;
        let mut kept = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(config)) = (spoken, &*kept) {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        if spoken {
            roots.add_parsable_certificates(trust::authorities().iter().cloned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| FetchError::Client(error.to_string()))?;
        if how == Tls::Unverified {
            let any = Arc::new(trust::AnyCertificate::new(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth());
        }
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        if spoken {
            *kept = Some(config.clone());
        }
        Ok(config)
    }

    /// A reader of an answer's body, at most `limit` bytes of it.
    pub(super) fn reader(&self, answer: Answer, limit: u64) -> Result<Reader, FetchError> {
        if answer.response.content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge { url: shown(&answer.url), limit });
        }
        Ok(Reader { idle: self.settings.idle, answer, limit, total: 0, since: Instant::now(), recent: 0 })
    }
}

/// Reads a body piece by piece; a server that dawdles is one that does not answer.
pub(super) struct Reader {
    idle: Duration,
    answer: Answer,
    limit: u64,
    total: u64,
    since: Instant,
    recent: u64,
}

impl Reader {
    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let idle = self.idle;
        let silent = || FetchError::Silent { host: authority(&self.answer.url), seconds: idle.as_secs() };
        let piece = match tokio::time::timeout(idle, self.answer.response.chunk()).await {
            Err(_) => return Err(silent()),
            Ok(Err(error)) => return Err(FetchError::Broken { url: shown(&self.answer.url), why: reasons(&error.without_url()) }),
            Ok(Ok(piece)) => piece,
        };
        let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.total += length;
        self.recent += length;
        if self.total > self.limit {
            return Err(FetchError::TooLarge { url: shown(&self.answer.url), limit: self.limit });
        }
        if self.since.elapsed() > idle {
            if piece.is_some() && self.recent < LEAST_PROGRESS {
                return Err(FetchError::Silent { host: authority(&self.answer.url), seconds: idle.as_secs() });
            }
            (self.since, self.recent) = (Instant::now(), 0);
        }
        Ok(piece)
    }
}

/// Where a redirect leads, if it may be followed.
fn next(from: &Url, response: &Response) -> Result<Url, FetchError> {
    let location = response.headers().get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let refused = |to: String, why: &str| FetchError::Redirect { url: shown(from), to, why: why.to_owned() };
    let Some(location) = location else {
        return Err(FetchError::Status {
            url: shown(from),
            status: "a redirect that leads nowhere".to_owned(),
            code: response.status().as_u16(),
        });
    };
    let Ok(to) = from.join(&location) else { return Err(refused(shown_text(&location), "it is no URL")) };
    if !matches!(to.scheme(), "http" | "https") || to.host_str().is_none() {
        return Err(refused(shown(&to), "it is neither http nor https"));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused(shown(&to), "it holds user information"));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(refused(shown(&to), "it would go on without TLS"));
    }
    Ok(to)
}

/// The credentials that a URL holds, as a header.
fn user_information(url: &Url) -> Result<Option<HeaderValue>, FetchError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text: &str| super::name::percent_decoded(text);
    let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
    let value = super::credential::sensitive(&super::credential::basic(&pair));
    value.map(Some).ok_or_else(|| FetchError::Url { url: shown(url), why: "its user information cannot be sent".to_owned() })
}

fn same_server(a: &Url, b: &Url) -> bool {
    a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether a URL leads to `host:port`.
pub(super) fn is_authority(url: &Url, authority: &str) -> bool {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    authority.eq_ignore_ascii_case(&format!("{host}:{port}"))
}

/// Host and port of a URL; the port is left out where it is the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
