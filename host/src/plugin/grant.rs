//! What the operator allows a plugin, one parsed value for one line of text.

mod text;

use std::path::{Component, Path, PathBuf};

use super::shape::Import;

pub use text::GrantError;

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

/// Whether a credential helper can have this name.
pub(super) fn helper_name(name: &str) -> bool {
    // A name of dots alone would be a path.
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.bytes().any(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn grant(text: &str) -> Grant {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
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
