use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::address::stays_here;
use super::{FetchError, NamedBy};

/// What may be shown to which host. The values are in no output of the type.
#[derive(Clone, Default)]
pub struct Credentials {
    http: Vec<(String, Kind, Arc<[u8]>)>,
    git: Vec<(String, Kind, Arc<[u8]>)>,
    /// For the repositories that the operator names, on whatever host they are.
    own_git: Vec<(Kind, Arc<[u8]>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The whole `Authorization` header.
    Header,
    /// A bearer token; for git, the password of a user whose name does not count.
    Token,
    /// A name and a password with a colon between.
    Pair,
}

const HTTP_HEADER: &str = "HTTP_AUTH_HEADER_";
const HTTP_TOKEN: &str = "HTTP_AUTH_TOKEN_";
const GIT_HEADER: &str = "GIT_AUTH_HEADER";
const GIT_TOKEN: &str = "GIT_AUTH_TOKEN";
/// What servers of git expect where a token stands in for a password.
const TOKEN_USER: &str = "x-access-token";

impl Credentials {
    /// Takes a secret of the build, if its name says that it is for a host.
    pub fn secret(&mut self, id: &str, value: &Arc<[u8]>) {
        for (prefix, kind) in [(HTTP_HEADER, Kind::Header), (HTTP_TOKEN, Kind::Token)] {
            if let Some(host) = id.strip_prefix(prefix).filter(|host| !host.is_empty()) {
                self.http.push((host.to_ascii_lowercase(), kind, Arc::clone(value)));
            }
        }
        for (name, kind) in [(GIT_HEADER, Kind::Header), (GIT_TOKEN, Kind::Token)] {
            match id.strip_prefix(name) {
                Some("") => self.own_git.push((kind, Arc::clone(value))),
                Some(rest) => {
                    let host = rest.strip_prefix('.').filter(|host| !host.is_empty());
                    self.git.extend(host.map(|host| (host.to_ascii_lowercase(), kind, Arc::clone(value))));
                }
                None => {}
            }
        }
    }

    /// Takes a name and a password for the repositories that the operator names; secrets count before them.
    pub fn git_user(&mut self, name: &str, password: &str) {
        self.own_git.insert(0, (Kind::Pair, Arc::from(format!("{name}:{password}").into_bytes())));
    }

    /// The `Authorization` header for a repository here: a secret for the host, else for what the operator named one without.
    ///
    /// # Errors
    /// The secret is no text.
    pub(super) fn for_git(&self, url: &Url, trusted: bool, by: NamedBy) -> Result<Option<HeaderValue>, FetchError> {
        if !may_be_sent(url, trusted) {
            return Ok(None);
        }
        let of = |wanted: Kind| {
            let hosts = self.git.iter().filter(|(host, kind, _)| *kind == wanted && is_host(url, host));
            let own = self.own_git.iter().filter(|(kind, _)| *kind == wanted && by == NamedBy::Operator && trusted);
            let host = hosts.map(|(_, kind, value)| (*kind, value)).next_back();
            host.or_else(|| own.map(|(kind, value)| (*kind, value)).next_back())
        };
        let Some((kind, value)) = [Kind::Header, Kind::Token, Kind::Pair].into_iter().find_map(of) else { return Ok(None) };
        let text = std::str::from_utf8(value).unwrap_or("\n").trim_end_matches(['\r', '\n']);
        let (name, text) = match kind {
            Kind::Header => (GIT_HEADER, text.to_owned()),
            Kind::Token => (GIT_TOKEN, basic(&format!("{TOKEN_USER}:{text}"))),
            Kind::Pair => ("GIT_PASSWORD", basic(text)),
        };
        // What was encoded could hide what is none.
        let plain = !std::str::from_utf8(value).map_or(true, |text| text.trim_end_matches(['\r', '\n']).chars().any(char::is_control));
        sensitive(&text).filter(|_| plain).map(Some).ok_or_else(|| FetchError::Secret(name.to_owned()))
    }

    /// The `Authorization` header for a download from here; a whole header counts before a token.
    ///
    /// # Errors
    /// The secret for the host is no text.
    pub(super) fn for_download(&self, url: &Url, trusted: bool) -> Result<Option<HeaderValue>, FetchError> {
        let found = |wanted: Kind| {
            let mut all = self.http.iter().filter(|(host, kind, _)| *kind == wanted && is_host(url, host));
            all.next_back().map(|(host, kind, value)| (host, *kind, value))
        };
        let Some((host, kind, value)) = found(Kind::Header).or_else(|| found(Kind::Token)) else { return Ok(None) };
        if !may_be_sent(url, trusted) {
            return Ok(None);
        }
        let text = std::str::from_utf8(value).unwrap_or("\n").trim_end_matches(['\r', '\n']);
        let (name, text) = match kind {
            Kind::Header => (HTTP_HEADER, text.to_owned()),
            Kind::Token | Kind::Pair => (HTTP_TOKEN, format!("Bearer {text}")),
        };
        sensitive(&text).map(Some).ok_or_else(|| FetchError::Secret(format!("{name}{host}")))
    }
}

/// Whether a secret may go over this connection: not in the clear, unless the operator named the host or it stays on this machine.
pub(super) fn may_be_sent(url: &Url, trusted: bool) -> bool {
    url.scheme() == "https" || trusted || stays_here(url)
}

/// Name and password (RFC 7617).
pub(super) fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// A header that is in no output.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a secret's `host` or `host:port` is the URL's.
pub(super) fn is_host(url: &Url, name: &str) -> bool {
    let Some(host) = url.host_str() else { return false };
    let port = url.port_or_known_default().unwrap_or_default();
    let usual = url.port().is_none();
    let same = |a: &str| a.eq_ignore_ascii_case(name);
    // A port that is not the scheme's own has to be named: another server may listen there.
    (usual && same(host)) || same(&format!("{host}:{port}"))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.http.iter().chain(&self.git).map(|(host, kind, _)| (kind, host))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(secrets: &[(&str, &str)]) -> Credentials {
        let mut credentials = Credentials::default();
        for (id, value) in secrets {
            credentials.secret(id, &Arc::from(value.as_bytes()));
        }
        credentials
    }

    fn header(credentials: &Credentials, url: &str) -> Option<String> {
        let value = credentials.for_download(&url.parse().unwrap(), false).unwrap();
        value.map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_secret_goes_to_its_host_alone() {
        let credentials = given(&[
            ("HTTP_AUTH_TOKEN_a.example", "t0"),
            ("HTTP_AUTH_HEADER_b.example", "Basic eA=="),
            ("HTTP_AUTH_TOKEN_b.example", "t1"),
            ("HTTP_AUTH_TOKEN_c.example:8443", "t2\n"),
            ("OTHER_a.example", "x"),
        ]);
        assert_eq!(header(&credentials, "https://a.example/x").as_deref(), Some("Bearer t0"));
        assert_eq!(header(&credentials, "https://A.example:443/x").as_deref(), Some("Bearer t0"));
        assert_eq!(header(&credentials, "https://b.example/x").as_deref(), Some("Basic eA=="));
        assert_eq!(header(&credentials, "https://c.example:8443/x").as_deref(), Some("Bearer t2"));
        for other in [
            "https://a.example.evil.test/x",
            "https://xa.example/x",
            "https://a.example:8443/x",
            "https://c.example/x",
            "http://a.example/x",
            "https://evil.test/a.example",
        ] {
            assert_eq!(header(&credentials, other), None, "{other}");
        }
    }

    #[test]
    fn a_secret_for_git_goes_to_its_host_or_to_what_the_operator_named() {
        let mut credentials =
            given(&[("GIT_AUTH_TOKEN", "own"), ("GIT_AUTH_TOKEN.a.example", "a"), ("GIT_AUTH_HEADER.b.example", "Basic eA==")]);
        let header = |credentials: &Credentials, url: &str, by: NamedBy, trusted: bool| {
            let value = credentials.for_git(&url.parse().unwrap(), trusted, by).unwrap();
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let token = |token: &str| Some(basic(&format!("x-access-token:{token}")));
        for by in [NamedBy::Operator, NamedBy::Dockerfile] {
            assert_eq!(header(&credentials, "https://a.example/x.git", by, false), token("a"));
            assert_eq!(header(&credentials, "https://b.example/x.git", by, false).as_deref(), Some("Basic eA=="));
            assert_eq!(header(&credentials, "http://a.example/x.git", by, false), None);
        }
        assert_eq!(header(&credentials, "https://c.example/x.git", NamedBy::Operator, true), token("own"));
        // Where the operator's server sends it to is not what the operator named.
        assert_eq!(header(&credentials, "https://c.example/x.git", NamedBy::Operator, false), None);
        assert_eq!(header(&credentials, "https://c.example/x.git", NamedBy::Dockerfile, true), None);
        credentials = Credentials::default();
        credentials.git_user("me", "hush");
        assert_eq!(header(&credentials, "https://c.example/x.git", NamedBy::Operator, true), Some(basic("me:hush")));
        assert_eq!(header(&credentials, "https://c.example/x.git", NamedBy::Dockerfile, true), None);
        assert!(!format!("{credentials:?}").contains("hush"));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let credentials = given(&[("HTTP_AUTH_TOKEN_a.example", "hidden")]);
        assert!(!format!("{credentials:?}").contains("hidden"));
        let value = credentials.for_download(&"https://a.example".parse().unwrap(), false).unwrap();
        assert!(!format!("{value:?}").contains("hidden"));
        let bad = given(&[("HTTP_AUTH_TOKEN_a.example", "hid\nden")]);
        let error = bad.for_download(&"https://a.example".parse().unwrap(), false).unwrap_err().to_string();
        assert!(error.contains("HTTP_AUTH_TOKEN_a.example") && !error.contains("den"), "{error}");
    }
}
