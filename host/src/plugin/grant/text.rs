//! How grants are written: one grammar for flags, files and messages.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Base, FileGrant, Grant, HostGrant, HostVariable, Scheme, helper_name, plain};

/// Why a text is not a grant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid grant `{text}`: {reason}")]
pub struct GrantError {
    text: String,
    reason: String,
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

impl HostVariable {
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

impl HostGrant {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::grant;
    use super::*;

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
}
