//! What can go wrong between this program and a registry.

use std::fmt;
use std::path::PathBuf;

use crate::oci::{Digest, DocumentError};

use super::auth::AuthError;
use super::mirror::MirrorError;
use super::origin::Refusal;

/// A transfer that failed: what was to be done, where, and why not.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {place}: {cause}")]
pub struct RegistryError {
    /// What was to be done, for instance `pull`.
    pub action: &'static str,
    /// The registry, the repository and what in it.
    pub place: String,
    /// Why it was not.
    #[source]
    pub cause: Box<Cause>,
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The registry refuses whoever asks.
    #[error("{}", refusal(*.status, *.refused, .detail))]
    Denied {
        /// 401 or 403.
        status: u16,
        /// What is not enough.
        refused: Refused,
        /// What the registry says.
        detail: String,
    },
    /// The registry does not have it.
    #[error("not found{}", said(.0))]
    NotFound(String),
    /// Another status than the protocol foresees.
    #[error("the registry answered {status}{}", said(.detail))]
    Status {
        /// The status code.
        status: u16,
        /// What the registry says.
        detail: String,
    },
    /// No answer.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// With its port.
        host: String,
        /// The chain of reasons.
        why: String,
        /// Whether TLS was tried and the registry may be one without.
        perhaps_plain: bool,
    },
    /// No answer, or none that goes on, in time.
    #[error("{host} did not answer within {seconds} seconds")]
    TimedOut {
        /// With its port.
        host: String,
        /// The limit.
        seconds: u64,
    },
    /// Images for other platforms only.
    #[error("no image for {wanted}; available: {}", .available.join(", "))]
    WrongPlatform {
        /// The platform that was asked for.
        wanted: String,
        /// Those there are.
        available: Vec<String>,
    },
    /// Other content than was named.
    #[error("digest mismatch: wanted {wanted}, received {received}")]
    DigestMismatch {
        /// As named.
        wanted: Digest,
        /// Of what came.
        received: Digest,
    },
    /// Content of another size than was named.
    #[error("size mismatch: wanted {wanted} bytes, received {received}")]
    SizeMismatch {
        /// As named.
        wanted: u64,
        /// What came, as far as it was read.
        received: u64,
    },
    /// More than this program takes.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A URL that the registry named and that must not be followed.
    #[error("the registry named {url} as {role}, which is refused: {why}")]
    Refused {
        /// What it was for.
        role: &'static str,
        /// Without its query.
        url: String,
        /// The rule.
        why: Refusal,
    },
    /// An answer that breaks the protocol.
    #[error("the registry broke the protocol: {0}")]
    Protocol(String),
    /// A provider of credentials failed.
    #[error("no credential")]
    Auth(#[from] AuthError),
    /// A resolver of mirrors failed or blocked the image.
    #[error("no way to the image")]
    Mirror(#[from] MirrorError),
    /// A manifest that cannot be used.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A configuration that cannot be used.
    #[error("invalid image configuration: {0}")]
    Config(String),
    /// Every place that may have it failed; the last one speaks for all.
    #[error("{last}{}", others(.earlier))]
    Everywhere {
        /// Endpoint and reason, in the order of the tries.
        earlier: Vec<(String, String)>,
        /// Of the last place, which is the image's own registry where that was tried.
        last: Box<Cause>,
    },
    /// None of the places that stand in for a registry has it, and the registry itself is not to be asked.
    #[error("image not found on any configured mapped registries for {image}: {cause}")]
    NotMapped {
        /// The image.
        image: String,
        /// Why not.
        cause: Box<Cause>,
    },
    /// A local file.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What the operator said cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// What a registry or its token server does not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Nobody in particular: there was no credential to show.
    Nobody,
    /// The credential itself.
    Credential,
    /// The credential for what was to be done with it.
    Rights,
    /// The token that the token server gave for the credential.
    Token,
}

impl RegistryError {
    pub(super) fn new(action: &'static str, place: impl fmt::Display, cause: Cause) -> Self {
        Self { action, place: place.to_string(), cause: Box::new(cause) }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        self.cause.hint()
    }

    /// Whether the registry, and every other place that was asked, does not have it.
    pub fn is_not_found(&self) -> bool {
        match &*self.cause {
            Cause::Everywhere { last, .. } => matches!(**last, Cause::NotFound(_)),
            Cause::NotMapped { cause, .. } => match &**cause {
                Cause::Everywhere { last, .. } => matches!(**last, Cause::NotFound(_)),
                cause => matches!(cause, Cause::NotFound(_)),
            },
            cause => matches!(cause, Cause::NotFound(_)),
        }
    }
}

impl Cause {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { refused, .. } => Some(
                match refused {
                    Refused::Nobody => "no credential was found for this registry; log in to it, or name a provider that knows it",
                    Refused::Credential => "the credential for this registry was refused; check that it is current and may do this",
                    Refused::Rights => "the registry knows the credential; it has to be given the right to do this in this repository",
                    Refused::Token => {
                        "the credential was taken, the token for it was not: does the registry trust this token server, and do their clocks agree?"
                    }
                }
                .to_owned(),
            ),
            Self::Unreachable { perhaps_plain: true, .. } => {
                Some("if the registry speaks plain HTTP, name it with --insecure-registry".to_owned())
            }
            Self::Unreachable { why, .. } if why.contains("invalid peer certificate") => {
                Some("name the registry's root with --registry-certificate, or the registry with --skip-tls-verify-registry".to_owned())
            }
            // Over HTTP/2 the alert that says so may be lost with the connection.
            Self::Unreachable { why, .. } if ["CertificateRequired", "connection closed"].iter().any(|sign| why.contains(sign)) => {
                Some("if the registry wants to know who is asking, name a certificate with --registry-client-cert".to_owned())
            }
            Self::WrongPlatform { .. } => Some("name one of the available platforms with --custom-platform".to_owned()),
            Self::Auth(error) => error.hint.clone(),
            Self::Everywhere { last, .. } => last.hint(),
            Self::NotMapped { cause, .. } => cause.hint(),
            _ => None,
        }
    }

    /// Whether another try at the same place may go better.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_transient(*status),
            Self::TimedOut { .. } | Self::Unreachable { .. } | Self::SizeMismatch { .. } => true,
            _ => false,
        }
    }

    /// Whether the other side speaks TLS and is not believed.
    pub(super) fn is_about_certificates(&self) -> bool {
        matches!(self, Self::Unreachable { why, .. } if why.to_ascii_lowercase().contains("certificate"))
    }

    /// Whether no other place may help either.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Auth(_) | Self::Mirror(_) | Self::File { .. } | Self::Settings(_))
    }
}

/// Statuses after which another try may go better.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}

fn refusal(status: u16, refused: Refused, detail: &str) -> String {
    let what = match (status, refused) {
        (401, Refused::Nobody) => "the registry wants a credential",
        (401, Refused::Credential) => "the registry refused the credential",
        (_, Refused::Nobody) => "access is denied without a credential",
        (_, Refused::Credential | Refused::Rights) => "access is denied to this credential",
        (_, Refused::Token) => "the registry refused the token of its token server",
    };
    format!("{what} ({status}){}", said(detail))
}

fn said(detail: &str) -> String {
    match detail {
        "" => String::new(),
        detail => format!(": {detail}"),
    }
}

fn others(earlier: &[(String, String)]) -> String {
    earlier.iter().map(|(place, why)| format!("; before that {place}: {why}")).collect()
}

/// The text of an error body (distribution-spec, "Error codes"), in one line without controls.
pub(super) fn detail(body: &[u8], secrets: &[&str]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default)]
        message: Option<String>,
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(body) => {
            let line = |entry: &Entry| match (entry.code.as_str().unwrap_or_default(), entry.message.as_deref().unwrap_or_default()) {
                (code, "") => code.to_owned(),
                ("", message) => message.to_owned(),
                (code, message) => format!("{code} ({message})"),
            };
            body.errors.iter().take(8).map(line).collect::<Vec<_>>().join("; ")
        }
        Err(_) if body.trim_ascii_start().starts_with(b"<") => title(&String::from_utf8_lossy(body)).to_owned(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    clean(&text, secrets)
}

/// Of the pages that proxies answer with, the title says enough.
fn title(page: &str) -> &str {
    let text = page.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    text.map_or("", |(title, _)| title)
}

/// One line of at most 500 characters without controls and secrets.
pub(super) fn clean(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    let line: String = text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    line.trim().chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_become_one_clean_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"requested \u001b[31maccess\nhush"},{"code":"X","message":null}]}"#;
        assert_eq!(detail(body, &["hush"]), "DENIED (requested  [31maccess ***); X");
        assert_eq!(detail(b"<html>no</html>", &[]), "");
        assert_eq!(detail(b"<html><title>502 Bad Gateway</title>", &[]), "502 Bad Gateway");
        assert_eq!(detail(b" plain\r\n", &[]), "plain");
        assert_eq!(detail(b"", &[]), "");
    }
}
