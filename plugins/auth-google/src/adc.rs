//! Application Default Credentials: which there are, and the token of each kind.

use layerwright_plugin::http::Request;
use layerwright_plugin::{Error, clock, env, files, log};
use serde::Deserialize;

use crate::external::{self, External};
use crate::token::{self, Token};
use crate::{jwt, metadata};

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const GCLOUD: &str = "CLOUDSDK_CONFIG";
const NAME: &str = "application_default_credentials.json";
/// What tokens are for: registries ask for no narrower one that pushes.
pub(crate) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKENS: &str = "https://oauth2.googleapis.com/token";
/// Of an assertion, in seconds; the longest that is taken.
const LIFETIME: u64 = 3600;

pub(crate) const VARIABLES: [&str; 5] = [FILE, GCLOUD, metadata::HOST, metadata::SKIP, external::ACTIONS];
pub(crate) const FILES: [&str; 4] = [
    "$GOOGLE_APPLICATION_CREDENTIALS",
    "$CLOUDSDK_CONFIG/application_default_credentials.json",
    "~/.config/gcloud/application_default_credentials.json",
    // Where fleets of GKE mount the token of a pod.
    "/var/run/secrets/tokens/gcp-ksa",
];
pub(crate) const HOSTS: [&str; 6] = [
    "https://oauth2.googleapis.com",
    "https://sts.googleapis.com",
    "https://iamcredentials.googleapis.com",
    "http://metadata.google.internal",
    "http://$GCE_METADATA_HOST",
    "$ACTIONS_ID_TOKEN_REQUEST_URL",
];

/// A credentials file.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Adc {
    ServiceAccount {
        client_email: String,
        private_key: String,
        #[serde(default)]
        private_key_id: Option<String>,
        #[serde(default)]
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        #[serde(default)]
        token_uri: Option<String>,
    },
    ExternalAccount(Box<External>),
    ImpersonatedServiceAccount {
        service_account_impersonation_url: String,
        source_credentials: Box<Adc>,
        #[serde(default)]
        delegates: Vec<String>,
    },
}

/// The token of whoever builds; none where nobody is known.
pub(crate) fn token() -> Result<Option<Token>, Error> {
    if let Some(path) = env::optional(FILE)? {
        let content = files::read(&path).map_err(|error| token::about(FILE, error))?;
        return of(&parse(&path, &content)?, &path).map(Some);
    }
    let path = match env::optional(GCLOUD)? {
        Some(directory) => format!("{}/{NAME}", directory.trim_end_matches('/')),
        None => format!("~/.config/gcloud/{NAME}"),
    };
    if let Some(content) = files::optional(&path)? {
        log::debug(format!("using {path}"));
        return of(&parse(&path, &content)?, &path).map(Some);
    }
    metadata::token()
}

/// The message names the file and nothing of what stands there.
fn parse(path: &str, content: &[u8]) -> Result<Adc, Error> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let malformed = |error: serde_json::Error| {
        Error::invalid(format!("{path} is not a credentials file of Google's (line {}, column {})", error.line(), error.column()))
    };
    let kind = serde_json::from_slice::<Kind>(content).map_err(malformed)?.kind;
    let known = ["service_account", "authorized_user", "external_account", "impersonated_service_account"];
    if !known.contains(&kind.as_str()) {
        return Err(Error::invalid(format!("{path} is of the type {kind}, which is not supported"))
            .hint("supported are service_account, authorized_user, external_account and impersonated_service_account"));
    }
    serde_json::from_slice(content).map_err(|_| Error::invalid(format!("{path} lacks a part that a file of the type {kind} has")))
}

fn of(adc: &Adc, path: &str) -> Result<Token, Error> {
    match adc {
        Adc::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
            let uri = token_uri.as_deref().unwrap_or(TOKENS);
            let now = clock::now();
            let mut header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
            if let Some(id) = private_key_id {
                header["kid"] = id.as_str().into();
            }
            let claims = serde_json::json!({ "iss": client_email, "scope": SCOPE, "aud": uri, "iat": now, "exp": now + LIFETIME });
            let assertion = jwt::sign(&header.to_string(), &claims.to_string(), private_key)
                .map_err(|_| Error::invalid(format!("the private key in {path} is not an RSA key in PEM")))?;
            let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
            token::fetch(&Request::new("POST", uri).form(form), &format!("the service account {client_email}"))
        }
        Adc::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
            let form = [
                ("client_id", client_id.as_str()),
                ("client_secret", client_secret),
                ("refresh_token", refresh_token),
                ("grant_type", "refresh_token"),
            ];
            let uri = token_uri.as_deref().unwrap_or(TOKENS);
            token::fetch(&Request::new("POST", uri).form(form), "gcloud's login")
                .map_err(|error| token::hinted(error, "run `gcloud auth application-default login` again"))
        }
        Adc::ExternalAccount(external) => external.token(path),
        Adc::ImpersonatedServiceAccount { service_account_impersonation_url, source_credentials, delegates } => {
            if matches!(**source_credentials, Adc::ImpersonatedServiceAccount { .. }) {
                return Err(Error::invalid(format!("{path} has a service account stand for one that stands for another")));
            }
            let source = of(source_credentials, path)?;
            external::impersonate(service_account_impersonation_url, &source, delegates)
        }
    }
}
