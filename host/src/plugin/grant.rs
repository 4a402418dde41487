//! What the operator allows a plugin, one parsed value for one line of text.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::shape::Import;

/// A permission: `env=NAME`, `file=PATH`, `host=SCHEME://HOST[:PORT]`, `host=$NAME`, `credential-helper=NAME` or
/// `skip-verification=HOST[:PORT]`.
///
/// There is no permission for everything of a kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Grant {
    /// To see an environment variable.
    Env(String),
    /// To read a file, or what lies in a directory.
    File(FileGrant),
    /// To send HTTP requests to a host.
    Host(HostGrant),
    /// To send HTTP requests to the host that a variable names.
    HostIn(HostVariable),
    /// To ask `docker-credential-<name>`.
    CredentialHelper(String),
    /// To have pulls from a mirror go without a check of its certificate.
    SkipVerification(String),
}

/// A path: absolute, below the home directory (`~/…`), or below what a variable names (`$NAME/…`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FileGrant {
    base: Base,
    /// Below the base, without `.` and `..`.
    path: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Base {
    Root,
    Home,
    Variable(String),
}

/// Where requests may go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostGrant {
    scheme: Scheme,
    /// Lower case, as in a URL; a leading `*` label stands for one or more labels, another for exactly one.
    host: String,
    /// None: the scheme's own.
    port: Option<u16>,
}

/// A variable that names a host: `$NAME` holds a URL, of which the origin counts; `SCHEME://$NAME` holds `HOST[:PORT]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostVariable {
    scheme: Option<Scheme>,
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Scheme {
    Http,
    Https,
}

/// Why a text is not a grant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid grant `{text}`: {reason}")]
pub struct GrantError {
    text: String,
    reason: String,
}

/// A question for the grants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    Env(&'a str),
    /// A request's target; `scheme` and `host` in lower case, as the `url` crate normalises them.
    Host {
        scheme: &'a str,
        host: &'a str,
        port: u16,
    },
    CredentialHelper(&'a str),
    SkipVerification(&'a str),
}

impl Grant {
    /// Whether this grant covers what is asked. Files are asked for through [`FileGrant::resolve`], since the answer depends on the disk.
    pub(super) fn allows(&self, ask: Ask<'_>) -> bool {
        match (self, ask) {
            (Self::Env(name), Ask::Env(asked)) => name == asked,
            (Self::Host(grant), Ask::Host { scheme, host, port }) => grant.allows(scheme, host, port),
            (Self::CredentialHelper(name), Ask::CredentialHelper(asked)) => name == asked,
            (Self::SkipVerification(host), Ask::SkipVerification(asked)) => host.eq_ignore_ascii_case(asked),
            _ => false,
        }
    }
}

impl Grant {
    /// The variable that a granted file's path begins with.
    pub fn path_variable(&self) -> Option<&str> {
        match self {
            Self::File(file) => file.variable(),
            _ => None,
        }
    }
}

impl Import {
    /// Whether any grant is about the interface; those that need none are granted to all.
    pub(super) fn is_granted(self, grants: &[Grant]) -> bool {
        let any = |fits: fn(&Grant) -> bool| grants.iter().any(fits);
        match self {
            Self::Env => any(|grant| matches!(grant, Grant::Env(_))),
            Self::Files => any(|grant| matches!(grant, Grant::File(_))),
            Self::Http => any(|grant| matches!(grant, Grant::Host(_) | Grant::HostIn(_))),
            Self::CredentialHelper => any(|grant| matches!(grant, Grant::CredentialHelper(_))),
            _ => true,
        }
    }
}

impl HostVariable {
    /// The host that the variable names now; none where it is not set, or names none.
    pub(super) fn resolve(&self, variable: impl Fn(&str) -> Option<String>) -> Option<HostGrant> {
        let value = variable(&self.name)?;
        let value = value.trim();
        let url = match self.scheme {
            None => reqwest::Url::parse(value),
            Some(scheme) => reqwest::Url::parse(&format!("{}://{value}", scheme.name())),
        };
        let url = url.ok().filter(|url| url.username().is_empty() && url.password().is_none())?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        // One host: a variable opens no family of them.
        HostGrant::parse(&format!("{}://{}{port}", url.scheme(), url.host_str()?)).ok().filter(HostGrant::is_exact)
    }

    fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, name) = match text.split_once("://") {
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            _ => (None, text),
        };
        let name = name.strip_prefix('$')?;
        Some(variable_name(name).map(|()| Self { scheme, name: name.to_owned() }))
    }
}

impl FileGrant {
    /// The variable that it begins with.
    pub(super) fn variable(&self) -> Option<&str> {
        match &self.base {
            Base::Variable(name) => Some(name),
            Base::Root | Base::Home => None,
        }
    }

    /// The path that it stands for; none where its variable is not set to an absolute path, or there is no home.
    pub(super) fn resolve(&self, home: Option<&Path>, variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let base = match &self.base {
            Base::Root => PathBuf::from("/"),
            Base::Home => home?.to_owned(),
            Base::Variable(name) => PathBuf::from(variable(name)?),
        };
        // Joined with nothing, a path would end in a slash, and no file is there.
        let whole = if self.path.as_os_str().is_empty() { base.clone() } else { base.join(&self.path) };
        (base.is_absolute() && plain(&base)).then_some(whole)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (base, rest) = if let Some(rest) = text.strip_prefix("~/") {
            (Base::Home, rest)
        } else if let Some(rest) = text.strip_prefix('$') {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            variable_name(name)?;
            (Base::Variable(name.to_owned()), rest)
        } else if let Some(rest) = text.strip_prefix('/') {
            (Base::Root, rest)
        } else {
            return Err("a path begins with `/`, `~/` or `$NAME/`".to_owned());
        };
        let path = PathBuf::from(rest.trim_end_matches('/'));
        if rest.contains('\0') || rest.starts_with('/') || !plain(&path) {
            return Err("a path has no `..` and no empty parts".to_owned());
        }
        if path.as_os_str().is_empty() && !matches!(base, Base::Variable(_)) {
            return Err("the whole disk and a whole home are not granted".to_owned());
        }
        Ok(Self { base, path: path.components().collect() })
    }
}

/// Whether a path goes nowhere but down.
pub(super) fn plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir))
}

impl HostGrant {
    fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        scheme == self.scheme.name() && port == self.port.unwrap_or(self.scheme.port()) && matches_labels(&self.host, host)
    }

    /// Whether it names one host rather than a family of them.
    pub(super) fn is_exact(&self) -> bool {
        !self.host.contains('*')
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("a host is written SCHEME://HOST[:PORT]")?;
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err("the scheme is https or http".to_owned()),
        };
        let (host, port) = split_port(rest)?;
        let host = host.to_ascii_lowercase();
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Some(address) = inner {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the address in brackets is not IPv6".to_owned());
            }
        } else {
            let labels: Vec<&str> = host.split('.').collect();
            let label = |label: &&str| {
                *label == "*" || (!label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
            };
            if !labels.iter().all(label) {
                return Err(
                    "a host consists of labels of letters, digits and `-`; international names are written in their xn-- form".to_owned()
                );
            }
            let fixed = labels.iter().rev().take_while(|label| **label != "*").count();
            if labels.contains(&"*") && fixed < 2 {
                return Err("after a `*` at least two labels are fixed".to_owned());
            }
        }
        Ok(Self { scheme, host, port: port.filter(|port| *port != scheme.port()) })
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Compares label by label from the right; nothing but a name of letters matches a `*`.
fn matches_labels(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host;
    }
    let address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let (wanted, found): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    let fits = |wanted: &[&str], found: &[&str]| {
        wanted.len() == found.len() && wanted.iter().zip(found).all(|(want, have)| !have.is_empty() && (*want == "*" || want == have))
    };
    if address || found.iter().any(|label| label.is_empty()) {
        return false;
    }
    match wanted.split_first() {
        Some((&"*", rest)) => {
            let Some(extra) = found.len().checked_sub(rest.len()) else { return false };
            extra >= 1 && found.get(extra..).is_some_and(|tail| fits(rest, tail))
        }
        _ => fits(&wanted, &found),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let number = port.parse().ok().filter(|port| *port != 0).ok_or("the port is a number from 1 to 65535")?;
            Ok((host, Some(number)))
        }
        _ => Ok((text, None)),
    }
}

fn variable_name(name: &str) -> Result<(), String> {
    let fits =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if fits { Ok(()) } else { Err("a variable is named by letters, digits and `_`".to_owned()) }
}

/// As [`variable_name`], and with the port of a registry in it, as kaniko has it: `KANIKO_LOCALHOST:5000_USER`.
fn environment_name(name: &str) -> Result<(), String> {
    variable_name(&name.replace([':', '[', ']'], "_"))
}

/// Whether a credential helper can have this name.
pub(super) fn helper_name(name: &str) -> bool {
    // A name of dots alone would be a path.
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.bytes().any(|b| b.is_ascii_alphanumeric())
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let parsed = match text.split_once('=') {
            Some(("env", name)) => environment_name(name).map(|()| Self::Env(name.to_owned())),
            Some(("file", path)) => FileGrant::parse(path).map(Self::File),
            Some(("host", host)) => match HostVariable::parse(host) {
                Some(variable) => variable.map(Self::HostIn),
                None => HostGrant::parse(host).map(Self::Host),
            },
            Some(("credential-helper", name)) if helper_name(name) => Ok(Self::CredentialHelper(name.to_owned())),
            Some(("credential-helper", _)) => Err("a helper is named by letters, digits, `.`, `_` and `-`".to_owned()),
            Some(("skip-verification", host)) => HostGrant::parse(&format!("https://{host}")).and_then(|parsed| {
                if parsed.is_exact() { Ok(Self::SkipVerification(host.to_ascii_lowercase())) } else { Err("one host is named".to_owned()) }
            }),
            _ => Err("it begins with env=, file=, host=, credential-helper= or skip-verification=".to_owned()),
        };
        parsed.map_err(|reason| GrantError { text: text.to_owned(), reason })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env={name}"),
            Self::File(grant) => write!(f, "file={grant}"),
            Self::Host(grant) => write!(f, "host={grant}"),
            Self::HostIn(HostVariable { scheme: None, name }) => write!(f, "host=${name}"),
            Self::HostIn(HostVariable { scheme: Some(scheme), name }) => write!(f, "host={}://${name}", scheme.name()),
            Self::CredentialHelper(name) => write!(f, "credential-helper={name}"),
            Self::SkipVerification(host) => write!(f, "skip-verification={host}"),
        }
    }
}

impl fmt::Display for FileGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.base {
            Base::Root => write!(f, "/{path}"),
            Base::Home => write!(f, "~/{path}"),
            Base::Variable(name) if self.path.as_os_str().is_empty() => write!(f, "${name}"),
            Base::Variable(name) => write!(f, "${name}/{path}"),
        }
    }
}

impl fmt::Display for HostGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Grant {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn grants_print_as_they_are_written() {
        for text in [
            "env=CI_REGISTRY",
            "file=/run/secrets/config.json",
            "file=~/.docker/config.json",
            "file=$DOCKER_CONFIG/config.json",
            "file=$REGISTRY_AUTH_FILE",
            "host=https://api.ecr.*.amazonaws.com",
            "host=https://*.azurecr.io",
            "host=http://169.254.169.254",
            "host=http://[fd00:ec2::254]:8080",
            "host=$AWS_ENDPOINT_URL",
            "host=http://$GCE_METADATA_HOST",
            "env=KANIKO_LOCALHOST:5000_USER",
            "credential-helper=ecr-login",
            "skip-verification=mirror.local:5000",
        ] {
            assert_eq!(grant(text).to_string(), text);
        }
        assert_eq!(grant("host=https://EXAMPLE.org:443").to_string(), "host=https://example.org");
        assert_eq!(grant("file=/etc/docker/").to_string(), "file=/etc/docker");
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for text in [
            "",
            "env",
            "env=",
            "env=*",
            "env=A*",
            "env=1A",
            "file=",
            "file=relative",
            "file=/",
            "file=~/",
            "file=~",
            "file=/a/../b",
            "file=~/../x",
            "file=$/x",
            "file=$A B/x",
            "host=*",
            "host=https://*",
            "host=https://*.com",
            "host=https://a.*.com",
            "host=ftp://a.b",
            "host=https://a.b:0",
            "host=https://a.b:99999",
            "host=https://a b",
            "host=https://a.b/",
            "host=https://u@a.b",
            "host=https://a..b",
            "host=https://münchen.de",
            "host=https://[1.2.3.4]",
            "host=$",
            "host=$A.B",
            "host=https://$A:80",
            "host=https://a.$B",
            "credential-helper=",
            "credential-helper=..",
            "credential-helper=a/b",
            "credential-helper=a b",
            "skip-verification=*.a.b",
            "everything=yes",
        ] {
            assert!(text.parse::<Grant>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn variables_and_helpers_match_by_exact_name() {
        assert!(grant("env=TOKEN").allows(Ask::Env("TOKEN")));
        assert!(!grant("env=TOKEN").allows(Ask::Env("TOKEN2")));
        assert!(!grant("env=TOKEN").allows(Ask::Env("token")));
        assert!(grant("credential-helper=ecr-login").allows(Ask::CredentialHelper("ecr-login")));
        assert!(!grant("credential-helper=ecr-login").allows(Ask::CredentialHelper("ecr")));
        assert!(!grant("env=ecr-login".replace('-', "_").as_str()).allows(Ask::CredentialHelper("ecr_login")));
    }

    #[test]
    fn hosts_match_by_label() {
        for (text, url, wanted) in [
            ("host=https://ghcr.io", ("https", "ghcr.io", 443), true),
            ("host=https://ghcr.io", ("http", "ghcr.io", 443), false),
            ("host=https://ghcr.io", ("https", "ghcr.io", 8443), false),
            ("host=https://ghcr.io", ("https", "ghcr.io.", 443), false),
            ("host=https://ghcr.io", ("https", "a.ghcr.io", 443), false),
            ("host=https://ghcr.io:8443", ("https", "ghcr.io", 8443), true),
            ("host=https://ghcr.io:8443", ("https", "ghcr.io", 443), false),
            ("host=https://*.azurecr.io", ("https", "x.azurecr.io", 443), true),
            ("host=https://*.azurecr.io", ("https", "x.y.azurecr.io", 443), true),
            ("host=https://*.azurecr.io", ("https", "azurecr.io", 443), false),
            ("host=https://*.azurecr.io", ("https", "xazurecr.io", 443), false),
            ("host=https://*.azurecr.io", ("https", ".azurecr.io", 443), false),
            ("host=https://*.azurecr.io", ("https", "x.azurecr.io.evil.org", 443), false),
            ("host=https://api.ecr.*.amazonaws.com", ("https", "api.ecr.eu-west-1.amazonaws.com", 443), true),
            ("host=https://api.ecr.*.amazonaws.com", ("https", "api.ecr.a.b.amazonaws.com", 443), false),
            ("host=https://*.0.1", ("https", "127.0.0.1", 443), false),
            ("host=http://169.254.169.254", ("http", "169.254.169.254", 80), true),
        ] {
            let (scheme, host, port) = url;
            assert_eq!(grant(text).allows(Ask::Host { scheme, host, port }), wanted, "{text} {url:?}");
        }
    }

    #[test]
    fn a_variable_names_one_host() {
        for (text, value, wanted) in [
            ("host=$V", "https://vpce.example/a?b", Some("https://vpce.example")),
            ("host=$V", "HTTP://127.0.0.1:4566/", Some("http://127.0.0.1:4566")),
            ("host=$V", "http://[::1]:80", Some("http://[::1]")),
            ("host=$V", "vpce.example", None),
            ("host=$V", "https://u:p@vpce.example", None),
            ("host=$V", "https://*.example.com", None),
            ("host=$V", "ftp://vpce.example", None),
            ("host=$V", "", None),
            ("host=$W", "https://vpce.example", None),
            ("host=http://$V", "127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("host=http://$V", "metadata.example", Some("http://metadata.example")),
            ("host=http://$V", "user@metadata.example", None),
        ] {
            let Grant::HostIn(variable) = grant(text) else { panic!("{text}") };
            let found = variable.resolve(|name| (name == "V").then(|| value.to_owned()));
            assert_eq!(found.map(|host| host.to_string()).as_deref(), wanted, "{text} {value}");
        }
    }

    #[test]
    fn files_resolve_against_home_and_variables() {
        let home = Path::new("/home/me");
        let variable = |name: &str| match name {
            "DOCKER_CONFIG" => Some("/cfg".to_owned()),
            "RELATIVE" => Some("cfg".to_owned()),
            "SLY" => Some("/cfg/../etc".to_owned()),
            _ => None,
        };
        for (text, wanted) in [
            ("file=~/.docker/config.json", Some("/home/me/.docker/config.json")),
            ("file=$DOCKER_CONFIG/config.json", Some("/cfg/config.json")),
            ("file=$DOCKER_CONFIG", Some("/cfg")),
            ("file=/etc/x", Some("/etc/x")),
            ("file=$UNSET/x", None),
            ("file=$RELATIVE/x", None),
            ("file=$SLY/x", None),
        ] {
            let Grant::File(grant) = grant(text) else { panic!("{text}") };
            // Letter by letter: as paths, one with a slash at its end and one without are the same.
            assert_eq!(grant.resolve(Some(home), variable).map(PathBuf::into_os_string), wanted.map(Into::into), "{text}");
        }
    }
}
