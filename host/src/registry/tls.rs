//! Whom to believe over TLS: one configuration for each registry that needs its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::error::Cause;
use crate::trust;

/// What is special about the way to a server; servers with equal profiles share a client.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Profile {
    /// TLS is not spoken, so that no root needs to be read.
    pub(super) plain: bool,
    /// Any certificate is taken.
    pub(super) skip_verification: bool,
    /// PEM files of roots beside the system's.
    pub(super) more_roots: Vec<PathBuf>,
    /// PEM files of roots in place of the system's; empty keeps those.
    pub(super) only_roots: Vec<PathBuf>,
    /// PEM files of a certificate and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    /// Never through a proxy: the server is this machine.
    pub(super) direct: bool,
    /// HTTP/2 is not offered.
    pub(super) no_http2: bool,
    /// For a connection to come about, where that is less than the usual limit.
    pub(super) connect_timeout: Option<Duration>,
}

/// The TLS configuration that a profile stands for. Reads files.
pub(super) fn config(profile: &Profile) -> Result<ClientConfig, Cause> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Cause::Settings(format!("TLS cannot be set up: {error}")))?;
    let verified = match profile.skip_verification && !profile.plain {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(trust::AnyCertificate::new(provider))),
        false => builder.with_root_certificates(roots(profile)?),
    };
    let mut config = match &profile.client {
        Some((certificate, key)) if !profile.plain => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            let refused = |error| Cause::Settings(format!("client certificate {}: {error}", certificate.display()));
            verified.with_client_auth_cert(chain, key).map_err(refused)?
        }
        _ => verified.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if profile.no_http2 {
        config.alpn_protocols.remove(0);
    }
    Ok(config)
}

fn roots(profile: &Profile) -> Result<RootCertStore, Cause> {
    let mut store = RootCertStore::empty();
    if profile.plain {
        return Ok(store);
    }
    if profile.only_roots.is_empty() {
        store.add_parsable_certificates(trust::authorities().iter().cloned());
    }
    for file in profile.only_roots.iter().chain(&profile.more_roots) {
        for certificate in certificates(file)? {
            store.add(certificate).map_err(|error| Cause::Settings(format!("certificate {}: {error}", file.display())))?;
        }
    }
    Ok(store)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read.map_err(|error| unusable(file, &error))? {
        none if none.is_empty() => Err(Cause::Settings(format!("{} holds no PEM certificate", file.display()))),
        some => Ok(some),
    }
}

fn unusable(file: &Path, error: &rustls::pki_types::pem::Error) -> Cause {
    Cause::Settings(format!("{} cannot be used: {error}", file.display()))
}
