//! A token server as docker-registry wants one (distribution, "Token Authentication Specification"): tokens are signed by ECDSA.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::registry::setting;
use super::web::{Reply, Seen, Web};

/// What somebody may do, and for how long.
pub struct Leave {
    /// Of a repository, the actions that are allowed of those that were asked for.
    pub actions: fn(&str) -> &'static [&'static str],
    /// How long ago the token ended.
    pub expired: Option<Duration>,
}

impl Leave {
    /// Everything, for five minutes.
    pub fn all() -> Self {
        Self { actions: |_| &["pull", "push"], expired: None }
    }
}

/// Starts one. `leave` says what whoever sends a request may do; none refuses a token.
pub fn serve(leave: impl Fn(&Seen) -> Option<Leave> + Send + Sync + 'static) -> Web {
    let files = setting("LAYERWRIGHT_TEST_CLIENT");
    let (certificate, key) = files.split_once(',').expect("certificate and key");
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from_pem_file(key).expect("a key");
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der(), &random).expect("a key of P-256");
    Web::serve(move |seen| {
        let Some(leave) = leave(seen) else {
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#.to_vec();
            return Reply { body, ..Reply::status(401) };
        };
        let asked = asked(seen);
        let access: Vec<_> = asked
            .iter()
            .filter_map(|(name, scope)| (name == "scope").then_some(scope))
            .flat_map(|scope| scope.split(' '))
            .filter_map(|scope| {
                let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
                let allowed: Vec<&str> = actions.split(',').filter(|action| (leave.actions)(name).contains(action)).collect();
                Some(serde_json::json!({ "type": "repository", "name": name, "actions": allowed }))
            })
            .collect();
        let service = asked.iter().find(|(name, _)| name == "service").map(|(_, value)| value.as_str()).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let until = leave.expired.map_or(now + 300, |ago| now - ago.as_secs());
        let header = serde_json::json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&certificate)] });
        let claims = serde_json::json!({
            "iss": "tests", "sub": "tests", "aud": service, "exp": until, "nbf": until - 600, "iat": until - 600, "jti": super::unique(), "access": access,
        });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = key.sign(&random, signed.as_bytes()).expect("it signs");
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Reply::ok(serde_json::json!({ "token": token, "expires_in": 300 }).to_string())
    })
}

/// The names and values of a request's query, or of its form.
pub fn asked(seen: &Seen) -> Vec<(String, String)> {
    let form = String::from_utf8_lossy(&seen.body).into_owned();
    let query = if seen.method == "POST" { form.as_str() } else { seen.target.split_once('?').map_or("", |(_, query)| query) };
    let url = reqwest::Url::parse(&format!("http://tests/?{query}")).expect("a URL");
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// What a docker-registry needs to know of the server.
pub fn configuration(server: &Web) -> String {
    format!(
        "auth: {{token: {{realm: '{}', service: tests, issuer: tests, rootcertbundle: {}}}}}",
        server.url("/token"),
        setting("LAYERWRIGHT_TEST_TLS_AUTHORITY")
    )
}
