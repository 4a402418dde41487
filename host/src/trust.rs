//! Whom to believe over TLS where nothing else is said.

use std::sync::OnceLock;

use rustls::pki_types::CertificateDer;

/// The system's certificate authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR. Some may be unreadable; those are as good as absent.
///
/// They are read once: a build in place puts an image's files where the system's are, and no image may say whom the builder believes.
pub fn authorities() -> &'static [CertificateDer<'static>] {
    static AUTHORITIES: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    AUTHORITIES.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}
