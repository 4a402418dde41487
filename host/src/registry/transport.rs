//! One request and one answer, the wait between tries, and reading with limits.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::auth::Access;
use super::error::{Cause, clean};
use super::mirror::MirrorTls;
use super::origin::{Origin, is_loopback_name};
use super::settings::{RegistrySettings, canonical};
use super::tls::{self, Profile};
use crate::progress::reasons;

/// Error bodies and token answers are read up to here.
pub(super) const SMALL: u64 = 64 * 1024;
/// No server makes this program wait longer at once.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Fewer bytes than this within the idle time-out are no progress.
const LEAST_PROGRESS: u64 = 16 * 1024;

/// Connections, and what is known of the servers they go to.
pub(super) struct Transport {
    pub(super) settings: RegistrySettings,
    clients: Mutex<HashMap<Profile, reqwest::Client>>,
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Transport {
    pub(super) fn new(settings: RegistrySettings) -> Self {
        Self { settings, clients: Mutex::default(), gates: Mutex::default() }
    }

    /// The way to a server by the operator's settings, or by those of a mirror.
    pub(super) fn profile(&self, authority: &str, access: Access, tls: Option<&MirrorTls>) -> Profile {
        let settings = &self.settings;
        let direct = is_loopback_name(authority);
        match tls {
            Some(tls) => Profile {
                skip_verification: tls.skip_verification || settings.skips_verification(authority, access),
                only_roots: tls.roots.iter().map(PathBuf::from).collect(),
                more_roots: settings.certificates.get(canonical(authority)).cloned().into_iter().collect(),
                client: tls.client.as_ref().map(|(certificate, key)| (certificate.into(), key.into())),
                plain: false,
                direct,
                no_http2: settings.no_http2,
                connect_timeout: None,
            },
            None => Profile {
                skip_verification: settings.skips_verification(authority, access),
                more_roots: settings.certificates.get(canonical(authority)).cloned().into_iter().collect(),
                only_roots: Vec::new(),
                client: settings.client_certificates.get(canonical(authority)).cloned(),
                plain: false,
                direct,
                no_http2: settings.no_http2,
                connect_timeout: None,
            },
        }
    }

    /// The connections of a profile. The first call reads certificates.
    pub(super) fn client(&self, profile: &Profile) -> Result<reqwest::Client, Cause> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(profile) {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(profile)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            // The window that HTTP/2 begins with is one for pages, not for layers.
            .http2_adaptive_window(true)
            .connect_timeout(profile.connect_timeout.map_or(self.settings.connect_timeout, |less| less.min(self.settings.connect_timeout)))
            .user_agent(self.settings.user_agent.clone());
        if profile.no_http2 {
            builder = builder.http1_only();
        }
        if profile.direct {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| Cause::Settings(format!("no HTTP client: {}", reasons(&error))))?;
        clients.insert(profile.clone(), client.clone());
        Ok(client)
    }

    /// What all requests to one server share.
    pub(super) fn gate(&self, origin: &Origin) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(origin.authority()).or_default().clone()
    }

    /// Sends a request once the server's gate is open. `progress` counts the body's bytes as they go out.
    pub(super) async fn once(
        &self,
        origin: &Origin,
        request: reqwest::RequestBuilder,
        progress: Option<&std::sync::atomic::AtomicU64>,
    ) -> Result<Response, Cause> {
        self.gate(origin).opened().await;
        let sending = request.send();
        tokio::pin!(sending);
        let mut sent = 0;
        loop {
            match tokio::time::timeout(self.settings.idle_timeout, &mut sending).await {
                Ok(answer) => return answer.map_err(|error| self.failure(origin, error)),
                Err(_) => {
                    let now = progress.map_or(0, |progress| progress.load(std::sync::atomic::Ordering::Relaxed));
                    if now == sent {
                        return Err(self.timed_out(origin));
                    }
                    sent = now;
                }
            }
        }
    }

    /// What a failed request says to the user; URLs are left out, for they may hold signatures.
    pub(super) fn failure(&self, origin: &Origin, error: reqwest::Error) -> Cause {
        let why = clean(&reasons(&error.without_url()), &[]);
        let perhaps_plain = !origin.is_plain() && (why.contains("corrupt message") || why.contains("InvalidContentType"));
        Cause::Unreachable { host: origin.authority(), why, perhaps_plain }
    }

    fn timed_out(&self, origin: &Origin) -> Cause {
        Cause::TimedOut { host: origin.authority(), seconds: self.settings.idle_timeout.as_secs() }
    }

    /// A reader of an answer's body.
    pub(super) fn reader<'a>(&'a self, origin: &'a Origin, response: Response) -> Reader<'a> {
        Reader { transport: self, origin, response, since: Instant::now(), bytes: 0 }
    }

    /// A whole body of at most `limit` bytes.
    pub(super) async fn read(&self, origin: &Origin, response: Response, what: &'static str, limit: u64) -> Result<Vec<u8>, Cause> {
        let mut reader = self.reader(origin, response);
        let mut body = Vec::new();
        while let Some(piece) = reader.next().await? {
            if (body.len() + piece.len()) as u64 > limit {
                return Err(Cause::TooLarge { what, limit });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The beginning of an error's body; whatever goes wrong on the way only shortens it.
    pub(super) async fn read_error(&self, origin: &Origin, response: Response) -> Vec<u8> {
        let mut reader = self.reader(origin, response);
        let mut body = Vec::new();
        while let Ok(Some(piece)) = reader.next().await {
            let room = (SMALL as usize).saturating_sub(body.len());
            body.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            if piece.len() >= room {
                break;
            }
        }
        body
    }
}

/// Reads a body piece by piece; a server that dawdles is one that does not answer.
pub(super) struct Reader<'a> {
    transport: &'a Transport,
    origin: &'a Origin,
    response: Response,
    since: Instant,
    bytes: u64,
}

impl Reader<'_> {
    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        let idle = self.transport.settings.idle_timeout;
        let piece = match tokio::time::timeout(idle, self.response.chunk()).await {
            Err(_) => return Err(self.transport.timed_out(self.origin)),
            Ok(Err(error)) => return Err(self.transport.failure(self.origin, error)),
            Ok(Ok(piece)) => piece,
        };
        self.bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.since.elapsed() > idle {
            if piece.is_some() && self.bytes < LEAST_PROGRESS {
                return Err(self.transport.timed_out(self.origin));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(piece)
    }
}

/// Holds back all requests to a server that asked for patience.
#[derive(Default)]
pub(super) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    async fn opened(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    fn close(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |old| old.max(until)));
    }
}

/// The waits between the tries of one piece of work.
pub(super) struct Backoff {
    tries: u32,
    left: u32,
    budget: Duration,
}

impl Backoff {
    /// At most `tries` tries and `budget` of waiting.
    pub(super) fn new(tries: u32, budget: Duration) -> Self {
        Self { tries, left: tries.saturating_sub(1), budget }
    }

    /// Begins anew after progress was made; the budget of waiting stays spent.
    pub(super) fn progressed(&mut self) {
        self.left = self.tries.saturating_sub(1);
    }

    /// Waits for the next try; false where there is none. `asked` is how long the server wants to be left alone, which
    /// then holds for all.
    pub(super) async fn again(&mut self, gate: &Gate, asked: Option<Duration>) -> bool {
        if self.left == 0 {
            return false;
        }
        let exponent = self.tries.saturating_sub(1).saturating_sub(self.left).min(16);
        self.left -= 1;
        let usual = Duration::from_millis(250).saturating_mul(1 << exponent).min(LONGEST_WAIT / 2);
        let wait = asked.map_or(usual, |asked| asked.min(LONGEST_WAIT));
        // Up to a half more, so that clients that failed together do not come back together.
        let wait = wait + wait.mul_f64(random_fraction() / 2.0);
        if wait > self.budget {
            return false;
        }
        self.budget -= wait;
        if asked.is_some() {
            gate.close(wait);
        }
        tokio::time::sleep(wait).await;
        true
    }
}

fn random_fraction() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

/// How long the server wants to be left alone: seconds or a date (RFC 9110 section 10.2.3); the past is no wait.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status.as_u16(), 429 | 503) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 37 of the adversarial list.
    #[test]
    fn retry_after_is_read_and_bounded() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(StatusCode::TOO_MANY_REQUESTS, &headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("1000000000000"), Some(Duration::from_secs(86_400)));
        assert_eq!(read("-5"), None);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999999"), None);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_tries_and_with_the_budget() {
        let gate = Gate::default();
        let mut backoff = Backoff::new(2, Duration::from_secs(10));
        assert!(backoff.again(&gate, Some(Duration::ZERO)).await);
        assert!(!backoff.again(&gate, Some(Duration::ZERO)).await);
        backoff.progressed();
        assert!(backoff.again(&gate, Some(Duration::ZERO)).await);
        let start = Instant::now();
        assert!(!Backoff::new(100, Duration::from_secs(10)).again(&gate, Some(Duration::from_secs(86_400))).await);
        assert!(!Backoff::new(100, Duration::from_millis(10)).again(&gate, None).await);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
