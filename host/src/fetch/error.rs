use std::net::IpAddr;
use std::path::PathBuf;

use crate::oci::Digest;

/// Why something could not be read from the network. URLs in it hold no credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum FetchError {
    /// No URL, or none that can be read.
    #[error("cannot read {url:?}: {why}")]
    Url { url: String, why: String },
    /// The name cannot be looked up.
    #[error("cannot find the host {host}: {why}")]
    Unknown { host: String, why: String },
    /// An address that the source may not reach.
    #[error("{host} has the address {address}, which lies on this machine or in a private network")]
    Private { host: String, address: IpAddr },
    /// No connection, or one that broke.
    #[error("{host}: {why}")]
    Unreachable { host: String, why: String },
    /// Silence.
    #[error("{host} has sent nothing, or next to nothing, for {seconds} s")]
    Silent { host: String, seconds: u64 },
    /// A download without end.
    #[error("{url} is not done after {seconds} s")]
    Slow { url: String, seconds: u64 },
    /// An answer that is none.
    #[error("{url}: {status}")]
    Status { url: String, status: String, code: u16 },
    /// A redirect that is not followed.
    #[error("{url} leads to {to}, which is not followed: {why}")]
    Redirect { url: String, to: String, why: String },
    /// More than may be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    /// Less than was announced.
    #[error("{url} broke off: {why}")]
    Broken { url: String, why: String },
    /// Other bytes than were asked for.
    #[error("digest mismatch for {url}: expected {expected}, got {found}")]
    Digest { url: String, expected: Digest, found: Digest },
    /// A repository that cannot be had.
    #[error("cannot fetch {url}: {why}")]
    Git { url: String, why: String },
    /// A repository's server that says no.
    #[error("cannot fetch {url}: the server says {status}")]
    Repository { url: String, status: String, code: u16 },
    /// A repository behind SSH that nobody has given leave for.
    #[error("cannot fetch {url}: a Dockerfile does not use the keys of whoever builds unasked")]
    Ssh { url: String },
    /// A checksum that is none.
    #[error("{0}")]
    Checksum(String),
    /// A credential that cannot be sent.
    #[error("the secret {0} cannot be sent: it is no text without line ends")]
    Secret(String),
    /// A context that cannot be opened.
    #[error("cannot open {what}: {why}")]
    Context { what: String, why: String },
    /// A bucket that does not give an object.
    #[error("cannot read {url}: {why}")]
    Bucket { url: String, why: String, hint: &'static str },
    /// The store.
    #[error("cannot keep {}: {why}", .path.display())]
    Store { path: PathBuf, why: String },
    /// Settings that make no client.
    #[error("no HTTP client can be set up: {0}")]
    Client(String),
}

impl FetchError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Private { host, .. } => Some(format!("if that is meant, allow it with --allow-private-host {host}")),
            Self::Status { url, code: 401 | 403, .. } => {
                let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned))?;
                Some(format!("a credential is given with --secret id=HTTP_AUTH_TOKEN_{host},env=NAME"))
            }
            Self::Repository { url, code: 401 | 403 | 404, .. } => {
                let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned))?;
                Some(format!("if the repository is private, give a token with --secret id=GIT_AUTH_TOKEN.{host},env=NAME"))
            }
            Self::Unreachable { why, .. } if why.contains("invalid peer certificate") => Some(
                "an authority that this machine does not know is named with SSL_CERT_FILE; \
                 for a context from git, --git insecure-skip-tls=true leaves verification out"
                    .to_owned(),
            ),
            Self::Bucket { hint, .. } => Some((*hint).to_owned()),
            Self::Ssh { .. } => Some("forward an agent with --ssh default".to_owned()),
            Self::TooLarge { .. } => Some("a larger one is allowed with --max-download-size SIZE".to_owned()),
            _ => None,
        }
    }

    /// Whether another try may go better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}
