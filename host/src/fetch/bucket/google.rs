//! Logins to Google by files of credentials that the library for buckets does not know, or knows in part.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::gcp::GoogleCloudStorageBuilder;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;

use super::super::credential::sensitive;
use super::super::exchange::Web;
use super::ask::{Answered, FORM, ask, form};
use super::{CloudVariables, Connector, shortened};

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const NAME: &str = "application_default_credentials.json";
/// What tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKENS: &str = "https://oauth2.googleapis.com/token";
/// How long a service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A larger file is none of credentials, in bytes.
const LARGEST: u64 = 1 << 20;

/// How to log in.
pub(super) enum Login {
    /// By a token that is good for a while.
    Token(String),
    /// By a file that the library reads.
    File(PathBuf),
    /// As the library finds it out.
    Library,
}

/// The login of whoever builds.
///
/// # Errors
/// A file of credentials cannot be read, or does not lead to a token.
pub(super) async fn login(web: &Arc<Web>) -> Result<Login, String> {
    let variables = &web.settings.clouds;
    let other = [
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SKIP_SIGNATURE",
        "STORAGE_EMULATOR_HOST",
    ];
    if other.iter().any(|name| variables.get(name).is_some()) {
        return Ok(Login::Library);
    }
    let Some(path) = file(variables) else { return Ok(Login::Library) };
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let content = match std::fs::metadata(&path).map_err(unreadable)?.len() {
        length if length > LARGEST => return Err(format!("cannot read {shown}: it is larger than {LARGEST} bytes")),
        _ => std::fs::read(&path).map_err(unreadable)?,
    };
    let credentials = Credentials::read(&content, &shown)?;
    if matches!(credentials, Credentials::ServiceAccount(_)) {
        return Ok(Login::File(path));
    }
    let token = credentials.token(web, &shown).await?;
    match token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Err(format!("the token for {shown} cannot be sent")),
        false => Ok(Login::Token(token)),
    }
}

/// The file that the environment names, or gcloud's where there is one.
fn file(variables: &CloudVariables) -> Option<PathBuf> {
    if let Some(path) = variables.get(FILE) {
        return Some(path.into());
    }
    let folder = variables.get("CLOUDSDK_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| variables.get("HOME").map(|home| PathBuf::from(home).join(".config/gcloud")))?;
    Some(folder.join(NAME)).filter(|path| path.exists())
}

/// A file of credentials.
enum Credentials {
    ServiceAccount(serde_json::Value),
    User(User),
    Federated(Box<Federated>),
    Impersonated { url: String, delegates: Vec<String>, source: Box<Credentials> },
}

/// Somebody who has logged in with gcloud (AIP-4113).
#[derive(Deserialize)]
struct User {
    client_id: String,
    client_secret: String,
    refresh_token: String,
    #[serde(default)]
    token_uri: Option<String>,
}

/// Somebody else's token for Google's (Google Cloud, "Workload Identity Federation"; RFC 8693; AIP-4117).
#[derive(Deserialize)]
struct Federated {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: Source,
    #[serde(default)]
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    workforce_pool_user_project: Option<String>,
}

/// Where the other side's token is.
#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    executable: serde_json::Value,
    #[serde(default)]
    environment_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Format {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    subject_token_field_name: String,
}

#[derive(Deserialize)]
struct Impersonated {
    service_account_impersonation_url: String,
    source_credentials: serde_json::Value,
    #[serde(default)]
    delegates: Vec<String>,
}

impl Credentials {
    /// The message names the file and nothing of what stands there.
    fn read(content: &[u8], shown: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_slice(content)
            .map_err(|error| format!("{shown} is no file of credentials of Google's (line {}, column {})", error.line(), error.column()))?;
        Self::of(value, shown)
    }

    fn of(value: serde_json::Value, shown: &str) -> Result<Self, String> {
        let kind = value.get("type").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let lacks = |_| format!("{shown} lacks a part that credentials of the type {kind} have");
        Ok(match kind.as_str() {
            "service_account" => Self::ServiceAccount(value),
            "authorized_user" => Self::User(serde_json::from_value(value).map_err(lacks)?),
            "external_account" => Self::Federated(serde_json::from_value(value).map_err(lacks)?),
            "impersonated_service_account" => {
                let read: Impersonated = serde_json::from_value(value).map_err(lacks)?;
                let source = match Self::of(read.source_credentials, shown)? {
                    Self::Impersonated { .. } => {
                        return Err(format!("{shown} has a service account stand for one that stands for another"));
                    }
                    source => Box::new(source),
                };
                Self::Impersonated { url: read.service_account_impersonation_url, delegates: read.delegates, source }
            }
            other => {
                let known = "service_account, authorized_user, external_account and impersonated_service_account";
                return Err(format!("{shown} is of the type {other:?}, which is not supported; {known} are"));
            }
        })
    }

    async fn token(&self, web: &Arc<Web>, shown: &str) -> Result<String, String> {
        match self {
            Self::ServiceAccount(value) => {
                let builder = GoogleCloudStorageBuilder::new().with_bucket_name("unused").with_service_account_key(value.to_string());
                let store = builder.with_http_connector(Connector(Arc::clone(web))).build();
                let failed = |error: object_store::Error| format!("{shown}: {}", shortened(&crate::progress::reasons(&error)));
                Ok(store.map_err(failed)?.credentials().get_credential().await.map_err(failed)?.bearer.clone())
            }
            Self::User(user) => user.token(web).await,
            Self::Federated(federated) => federated.token(web, shown).await,
            Self::Impersonated { url, delegates, source } => {
                let token = Box::pin(source.token(web, shown)).await?;
                impersonate(web, url, &token, delegates).await
            }
        }
    }
}

impl User {
    async fn token(&self, web: &Web) -> Result<String, String> {
        let body = form(&[
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("grant_type", "refresh_token"),
            ("refresh_token", &self.refresh_token),
        ]);
        let send = |client: &reqwest::Client, url| client.post(url).header(CONTENT_TYPE, FORM).body(body.clone());
        let url = self.token_uri.as_deref().unwrap_or(TOKENS);
        let answered = ask(web, url, PATIENCE, web.settings.tries, &send).await?;
        access_token(&answered, "gcloud's login", "access_token")
    }
}

impl Federated {
    async fn token(&self, web: &Web, shown: &str) -> Result<String, String> {
        let subject = self.credential_source.token(web, shown).await?;
        let mut fields = vec![
            ("audience", self.audience.as_str()),
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("scope", SCOPE),
            ("subject_token", &subject),
            ("subject_token_type", &self.subject_token_type),
        ];
        let options;
        if let (Some(project), None) = (&self.workforce_pool_user_project, &self.client_id) {
            options = serde_json::json!({ "userProject": project }).to_string();
            fields.push(("options", &options));
        }
        let body = form(&fields);
        let client = match (&self.client_id, &self.client_secret) {
            (Some(id), Some(secret)) => sensitive(&format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))),
            _ => None,
        };
        let send = |http: &reqwest::Client, url| {
            let request = http.post(url).header(CONTENT_TYPE, FORM).body(body.clone());
            client.iter().fold(request, |request, value| request.header(AUTHORIZATION, value))
        };
        let answered = ask(web, &self.token_url, PATIENCE, web.settings.tries, &send).await?;
        let token = access_token(&answered, "the exchange of tokens", "access_token")?;
        match &self.service_account_impersonation_url {
            Some(url) => impersonate(web, url, &token, &[]).await,
            None => Ok(token),
        }
    }
}

impl Source {
    async fn token(&self, web: &Web, shown: &str) -> Result<String, String> {
        let federate = "federate a token in a file or at a URL";
        if !self.executable.is_null() {
            return Err(format!("{shown} has its subject token made by a program, which is not supported; {federate}"));
        }
        if self.environment_id.is_some() {
            return Err(format!("{shown} wants an identity of AWS's as its subject, which is not supported; {federate}"));
        }
        let content = match (&self.file, &self.url) {
            (Some(file), _) => match std::fs::metadata(file).map(|found| found.len()) {
                Ok(length) if length > LARGEST => Err("it is larger than 1 MiB".to_owned()),
                _ => std::fs::read(file).map_err(|error| error.to_string()),
            }
            .map_err(|why| format!("cannot read the subject token {file}: {why}"))?,
            (None, Some(url)) => {
                let headers = self.headers.iter().map(|(name, value)| {
                    let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
                    pair.ok_or_else(|| format!("{shown} has a header that cannot be sent"))
                });
                let headers = headers.collect::<Result<reqwest::header::HeaderMap, _>>()?;
                let send = |client: &reqwest::Client, url| client.get(url).headers(headers.clone());
                let answered = ask(web, url, PATIENCE, web.settings.tries, &send).await?;
                if !answered.is_success() {
                    return Err(refusal(&answered, "the subject token"));
                }
                answered.body
            }
            (None, None) => return Err(format!("{shown} does not say where the subject token is")),
        };
        let text = match self.format.kind.as_str() {
            "" | "text" => String::from_utf8(content).ok(),
            "json" => serde_json::from_slice::<serde_json::Value>(&content)
                .ok()
                .and_then(|value| value.get(&self.format.subject_token_field_name)?.as_str().map(str::to_owned)),
            _ => None,
        };
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("the subject token is not there in the form that {shown} says"))
    }
}

/// The token of a service account that another identity may stand for (IAM Service Account Credentials API, `generateAccessToken`).
async fn impersonate(web: &Web, url: &str, token: &str, delegates: &[String]) -> Result<String, String> {
    let mut body = serde_json::json!({ "lifetime": "3600s", "scope": [SCOPE] });
    if !delegates.is_empty() {
        body["delegates"] = delegates.into();
    }
    let what = "standing for the service account";
    let bearer = sensitive(&format!("Bearer {token}")).ok_or_else(|| format!("{what}: the token cannot be sent"))?;
    let send = |client: &reqwest::Client, url| {
        client.post(url).header(AUTHORIZATION, bearer.clone()).header(CONTENT_TYPE, "application/json").body(body.to_string())
    };
    access_token(&ask(web, url, PATIENCE, web.settings.tries, &send).await?, what, "accessToken")
}

/// The token in an answer.
fn access_token(answered: &Answered, what: &str, field: &str) -> Result<String, String> {
    if !answered.is_success() {
        return Err(refusal(answered, what));
    }
    let value = serde_json::from_slice::<serde_json::Value>(&answered.body).ok();
    let token = value.and_then(|value| value.get(field)?.as_str().map(str::to_owned));
    token.ok_or_else(|| format!("{what}: the answer holds no access token"))
}

/// That a service says no, and what it says.
fn refusal(answered: &Answered, what: &str) -> String {
    let value = serde_json::from_slice::<serde_json::Value>(&answered.body).unwrap_or_default();
    let said = ["error_description", "error"].iter().find_map(|name| {
        let found = value.get(*name)?;
        found.as_str().or_else(|| found.get("message")?.as_str()).map(shortened)
    });
    format!("{what} is refused ({}){}", answered.status, said.map(|said| format!(": {said}")).unwrap_or_default())
}
