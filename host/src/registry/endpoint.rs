//! A place that speaks the distribution API: which scheme it wants, who may ask, and sending a request to it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::OnceCell;

use super::auth::{Access, AuthTarget, Credential, Secret};
use super::challenge::{Bearer, Challenge, challenges};
use super::error::{Cause, Refused, detail, is_transient};
use super::keychain::Keychain;
use super::origin::{Origin, Refusal, check_named};
use super::settings::Plain;
use super::tls::Profile;
use super::token::Tokens;
use super::transport::{Backoff, SMALL, Transport, retry_after};

const MOST_REDIRECTS: usize = 8;

/// A server, as it is reached for one kind of access.
pub(super) struct Host {
    /// As credentials know it.
    pub(super) registry: String,
    /// What follows the scheme: `host:port/v2`.
    pub(super) root: String,
    pub(super) plain: Plain,
    pub(super) profile: Profile,
    /// Sent to this server alone.
    pub(super) headers: HeaderMap,
    pub(super) access: Access,
    pub(super) reached: OnceCell<Reached>,
    pub(super) challenge: Mutex<Option<Challenge>>,
    pub(super) tokens: Tokens,
}

/// What the first contact told.
pub(super) struct Reached {
    root: Url,
    origin: Origin,
    client: reqwest::Client,
}

/// A repository at a server.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) transport: Arc<Transport>,
    pub(super) keychain: Arc<Keychain>,
    pub(super) host: Arc<Host>,
    pub(super) repository: String,
    /// Told as `?ns=`.
    pub(super) namespace: Option<String>,
    /// How often a request is tried.
    pub(super) tries: u32,
    /// Whether something is to be deleted, for which registries want a right of its own.
    pub(super) deletes: bool,
}

/// A request to an [`Endpoint`].
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: super::body::Payload,
    /// Repositories to read from beside the endpoint's own.
    pub(super) also_reads: Vec<String>,
    pub(super) tries: u32,
    /// Whether a refusal is taken as it is, and says nothing of what is known of who is asking.
    pub(super) unasked: bool,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: super::body::Payload::None, also_reads: Vec::new(), tries: 1, unasked: false }
    }

    pub(super) fn tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// For what is only tidy: where the rights for it are missing, it is left.
    pub(super) fn unasked(self) -> Self {
        Self { unasked: true, ..self }
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Cause> {
        let value = HeaderValue::from_str(value).map_err(|_| Cause::Protocol(format!("{name} cannot hold {value:?}")))?;
        self.headers.push((name, value));
        Ok(self)
    }
}

/// An answer and who gave it.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) url: Url,
    pub(super) origin: Origin,
}

/// An answer with all of its body.
pub(super) struct Whole {
    pub(super) headers: HeaderMap,
    pub(super) url: Url,
    pub(super) body: Vec<u8>,
}

enum Authorization {
    None,
    Basic(String, Secret),
    Bearer(Secret),
}

impl Endpoint {
    /// How the endpoint is shown to the user.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.host.registry, self.repository)
    }

    /// The URL of something in the repository, for instance `manifests/latest`.
    pub(super) async fn url(&self, below: &str) -> Result<Url, Cause> {
        let reached = self.reached().await?;
        let text = format!("{}/{}/{below}", reached.root.as_str().trim_end_matches('/'), self.repository);
        let mut url: Url = text.parse().map_err(|_| Cause::Settings(format!("{text} is not a URL")))?;
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// Where an answer says that an upload goes on (distribution-spec, "Pushing blobs"). Relative ones belong to the URL
    /// that answered.
    pub(super) async fn location(&self, answer: &Answer) -> Result<Option<Url>, Cause> {
        let Some(value) = answer.response.headers().get(LOCATION) else { return Ok(None) };
        let reached = self.reached().await?;
        self.named(reached, "the location of an upload", value, answer).map(Some)
    }

    /// Sends a request with as many tries as it says, follows redirects of reads, and shows who is asking where the
    /// registry wants to know. The answer may have any status.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Cause> {
        let reached = self.reached().await?;
        let gate = self.transport.gate(&reached.origin);
        let mut backoff = Backoff::new(request.tries, self.transport.settings.retry_deadline);
        let mut asked_again = request.unasked;
        loop {
            let result = self.follow(reached, request).await;
            let asked = match &result {
                Ok(answer) if answer.response.status() == StatusCode::UNAUTHORIZED && !asked_again => {
                    asked_again = true;
                    self.refused(reached, answer).await;
                    if request.body.replays() {
                        continue;
                    }
                    None
                }
                Ok(answer) if is_transient(answer.response.status().as_u16()) => {
                    retry_after(answer.response.status(), answer.response.headers())
                }
                Err(cause) if cause.is_transient() => None,
                _ => return result,
            };
            if !request.body.replays() || !backoff.again(&gate, asked).await {
                return result;
            }
        }
    }

    /// Asks for the version with the credential that there is.
    pub(super) async fn version(&self) -> Result<Answer, Cause> {
        let root = self.reached().await?.root.as_str().trim_end_matches('/').to_owned() + "/";
        let url = root.parse().map_err(|_| Cause::Settings(format!("{root} is not a URL")))?;
        self.send(&Request::new(Method::GET, url).tries(self.tries)).await
    }

    /// The failure that an answer stands for.
    pub(super) async fn failed(&self, answer: Answer) -> Cause {
        let status = answer.response.status().as_u16();
        let target = self.target();
        let asked = self.challenge().is_some();
        let credential = if asked { self.keychain.credential(&target).await.ok() } else { None };
        let short = shortcoming(answer.response.headers());
        let body = self.transport.read_error(&answer.origin, answer.response).await;
        let encoded = match (&credential, self.host.reached.get()) {
            (Some(Credential::Basic { username, password }), Some(reached)) => encoded(reached, username, password),
            _ => None,
        };
        let plain = credential.iter().filter_map(Credential::secrets).map(Secret::expose);
        let secrets: Vec<&str> = encoded.as_deref().into_iter().chain(plain).collect();
        let detail = detail(&body, &secrets);
        match status {
            401 | 403 => {
                let known = credential.is_some_and(|credential| credential != Credential::Anonymous);
                let refused = if known { short.unwrap_or(Refused::Credential) } else { Refused::Nobody };
                Cause::Denied { status, refused, detail }
            }
            404 => Cause::NotFound(detail),
            status => Cause::Status { status, detail },
        }
    }

    /// Sends a request and reads the body that comes with 200, of at most `limit` bytes; one that breaks off is asked for again.
    /// Any other answer is left as it is.
    pub(super) async fn whole(&self, request: &Request, what: &'static str, limit: u64) -> Result<Result<Whole, Answer>, Cause> {
        let mut backoff = Backoff::new(self.tries, self.transport.settings.retry_deadline);
        loop {
            let answer = self.send(request).await?;
            if answer.response.status() != StatusCode::OK {
                return Ok(Err(answer));
            }
            let (headers, url) = (answer.response.headers().clone(), answer.url.clone());
            match self.read(answer, what, limit).await {
                Ok(body) => return Ok(Ok(Whole { headers, url, body })),
                Err(cause) if cause.is_transient() && backoff.again(&Default::default(), None).await => {}
                Err(cause) => return Err(cause),
            }
        }
    }

    /// A body of at most `limit` bytes.
    async fn read(&self, answer: Answer, what: &'static str, limit: u64) -> Result<Vec<u8>, Cause> {
        self.transport.read(&answer.origin, answer.response, what, limit).await
    }

    fn target(&self) -> AuthTarget {
        AuthTarget { registry: self.host.registry.clone(), repository: self.repository.clone(), access: self.host.access }
    }

    fn challenge(&self) -> std::sync::MutexGuard<'_, Option<Challenge>> {
        self.host.challenge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a refusal: the credential, the tokens and perhaps the challenge that were thought good are not.
    async fn refused(&self, reached: &Reached, answer: &Answer) {
        if answer.origin != reached.origin {
            return;
        }
        if let Some(challenge) = preferred(challenges(answer.response.headers())) {
            *self.challenge() = Some(challenge);
        }
        self.keychain.forget(&self.target()).await;
        self.host.tokens.clear();
    }

    async fn authorization(&self, reached: &Reached, also_reads: &[String]) -> Result<Authorization, Cause> {
        let Some(challenge) = self.challenge().clone() else { return Ok(Authorization::None) };
        let credential = self.keychain.credential(&self.target()).await?;
        let bearer = match (challenge, &credential) {
            (_, Credential::RegistryToken(token)) => return Ok(Authorization::Bearer(token.clone())),
            (Challenge::Basic, Credential::Basic { username, password }) => {
                return Ok(Authorization::Basic(username.clone(), password.clone()));
            }
            (Challenge::Basic, _) => return Ok(Authorization::None),
            (Challenge::Bearer(bearer), _) => bearer,
        };
        let scopes = self.scopes(also_reads);
        let token = self.host.tokens.get(&self.transport, &reached.origin, &bearer, &scopes, &credential).await?;
        Ok(Authorization::Bearer(token))
    }

    /// What a token is asked for. Some servers read the first scope only, so the endpoint's own comes first.
    fn scopes(&self, also_reads: &[String]) -> Vec<String> {
        let actions = match self.host.access {
            Access::Pull => "pull",
            Access::Push if self.deletes => "pull,delete",
            Access::Push => "pull,push",
        };
        let own = (!self.repository.is_empty()).then(|| format!("repository:{}:{actions}", self.repository));
        own.into_iter().chain(also_reads.iter().map(|other| format!("repository:{other}:pull"))).collect()
    }

    async fn follow(&self, reached: &Reached, request: &Request) -> Result<Answer, Cause> {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let mut url = request.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let origin = Origin::of(&url).ok_or_else(|| Cause::Settings(format!("{url} is not a URL of HTTP")))?;
            let progress = Arc::new(AtomicU64::new(0));
            let mut sending = self.builder(reached, &origin, request.method.clone(), url.clone(), &request.also_reads).await?;
            for (name, value) in &request.headers {
                sending = sending.header(name, value);
            }
            sending = request.body.attach(sending, progress.clone()).await?;
            let response = self.transport.once(&origin, sending, Some(&progress)).await?;
            let answer = Answer { response, url, origin };
            let moved = matches!(answer.response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            match answer.response.headers().get(LOCATION) {
                Some(location) if moved && reads => url = self.named(reached, "a redirect", location, &answer)?,
                _ => return Ok(answer),
            }
        }
        Err(Cause::Protocol(format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    /// A request with what belongs to its origin: nothing that was meant for the registry goes elsewhere.
    async fn builder(
        &self,
        reached: &Reached,
        origin: &Origin,
        method: Method,
        url: Url,
        also_reads: &[String],
    ) -> Result<reqwest::RequestBuilder, Cause> {
        if *origin != reached.origin {
            let mut way = self.transport.profile(&origin.authority(), self.host.access, None);
            way.plain = origin.is_plain();
            return Ok(self.transport.client(&way)?.request(method, url));
        }
        let request = reached.client.request(method, url).headers(self.host.headers.clone());
        Ok(match self.authorization(reached, also_reads).await? {
            Authorization::None => request,
            Authorization::Basic(username, password) => request.basic_auth(username, Some(password.expose())),
            Authorization::Bearer(token) => request.bearer_auth(token.expose()),
        })
    }

    /// A URL in a header of an answer, checked.
    fn named(&self, reached: &Reached, role: &'static str, value: &HeaderValue, answer: &Answer) -> Result<Url, Cause> {
        let refused = |why: Refusal, url: Option<&Url>| {
            let shown = url.map_or_else(
                || "something".to_owned(),
                |url| {
                    let mut url = url.clone();
                    url.set_query(None);
                    let _ = url.set_username("");
                    let _ = url.set_password(None);
                    super::error::clean(url.as_str(), &[])
                },
            );
            Cause::Refused { role, url: shown, why }
        };
        // Visible ASCII only: no control can hide in it.
        let text = value.to_str().map_err(|_| refused(Refusal::NotAUrl, None))?;
        let url = answer.url.join(text).map_err(|_| refused(Refusal::NotAUrl, None))?;
        let trusted = &self.transport.settings.trusted_hosts;
        let to = check_named(&url, &reached.origin, trusted.iter()).map_err(|why| refused(why, Some(&url)))?;
        match to.is_plain() && !answer.origin.is_plain() {
            true => Err(refused(Refusal::Downgrade, Some(&url))),
            false => Ok(url),
        }
    }

    /// The server, spoken to for the first time where it was not yet.
    async fn reached(&self) -> Result<&Reached, Cause> {
        self.host.reached.get_or_try_init(|| self.reach()).await
    }

    /// TLS first wherever there may be some: what would go over it in secret is not to go in plain because the operator
    /// allows that too. A certificate that is not believed ends it, for a server that speaks TLS is no plain one.
    async fn reach(&self) -> Result<Reached, Cause> {
        let schemes: &[&str] = match self.host.plain {
            Plain::Refused => &["https"],
            Plain::Local | Plain::Allowed => &["https", "http"],
        };
        let mut backoff = Backoff::new(self.tries.min(4), self.transport.settings.retry_deadline);
        loop {
            let mut failure = None;
            let mut asked = None;
            for scheme in schemes {
                match self.ping(scheme, &mut asked).await {
                    Ok(Some(reached)) => return Ok(reached),
                    Ok(None) => {}
                    Err(cause) if !cause.is_transient() || cause.is_about_certificates() => return Err(cause),
                    // Of two failures the first tells more, unless it only says that no TLS is spoken there.
                    Err(cause) => {
                        failure = match failure {
                            Some(first) if !matches!(first, Cause::Unreachable { perhaps_plain: true, .. }) => Some(first),
                            _ => Some(cause),
                        }
                    }
                }
            }
            let failure = failure.unwrap_or_else(|| Cause::Protocol("it speaks neither https nor http".to_owned()));
            // There is no use in insisting on TLS where none is spoken.
            let useless = matches!(failure, Cause::Unreachable { perhaps_plain: true, .. });
            if useless || !failure.is_transient() || !backoff.again(&Default::default(), asked).await {
                return Err(failure);
            }
        }
    }

    /// Asks for the version (distribution-spec, "Determining Support"), which tells how to authenticate. None where the
    /// other scheme is spoken there.
    async fn ping(&self, scheme: &str, asked: &mut Option<std::time::Duration>) -> Result<Option<Reached>, Cause> {
        let text = format!("{scheme}://{}", self.host.root);
        let root: Url = text.parse().map_err(|_| Cause::Settings(format!("{text} is not a URL")))?;
        let origin = Origin::of(&root).ok_or_else(|| Cause::Settings(format!("{text} is not a URL of HTTP")))?;
        let client = self.transport.client(&Profile { plain: origin.is_plain(), ..self.host.profile.clone() })?;
        let request = client.request(Method::GET, format!("{text}/")).headers(self.host.headers.clone());
        let answer = self.transport.once(&origin, request, None).await?;
        if is_transient(answer.status().as_u16()) {
            *asked = retry_after(answer.status(), answer.headers());
            let status = answer.status().as_u16();
            let body = self.transport.read_error(&origin, answer).await;
            return Err(Cause::Status { status, detail: detail(&body, &[]) });
        }
        let status = answer.status().as_u16();
        let found = challenges(answer.headers());
        if origin.is_plain() {
            let to_tls = answer.headers().get(LOCATION).is_some_and(|to| to.as_bytes().starts_with(b"https://"));
            if answer.status().is_redirection() && to_tls {
                return Ok(None);
            }
            if status == 400 {
                let body = self.transport.read(&origin, answer, "an answer", SMALL).await.unwrap_or_default();
                let body = String::from_utf8_lossy(&body).to_ascii_lowercase();
                if body.contains("http request") && body.contains("https") {
                    return Ok(None);
                }
            }
        }
        if status == 401 {
            *self.challenge() = preferred(found);
        }
        Ok(Some(Reached { root, origin, client }))
    }
}

/// A name and a password as they go over the wire, for finding them in what comes back.
fn encoded(reached: &Reached, username: &str, password: &Secret) -> Option<String> {
    let request = reached.client.get(reached.root.clone()).basic_auth(username, Some(password.expose())).build().ok()?;
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    header.strip_prefix("Basic ").map(str::to_owned)
}

/// What a registry says of a token that it did not take (RFC 6750 section 3.1).
fn shortcoming(headers: &HeaderMap) -> Option<Refused> {
    challenges(headers).into_iter().find_map(|challenge| match challenge {
        Challenge::Bearer(Bearer { error: Some(error), .. }) if error == "insufficient_scope" => Some(Refused::Rights),
        Challenge::Bearer(Bearer { error: Some(error), .. }) if error == "invalid_token" => Some(Refused::Token),
        _ => None,
    })
}

/// Tokens before passwords.
fn preferred(found: Vec<Challenge>) -> Option<Challenge> {
    let bearer = found.iter().position(|challenge| matches!(challenge, Challenge::Bearer(_))).unwrap_or(0);
    found.into_iter().nth(bearer)
}
