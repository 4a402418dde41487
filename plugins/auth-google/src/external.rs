//! Workload identity federation: somebody else's token for Google's (Google Cloud, "Workload Identity Federation"; RFC 8693; AIP-4117).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerwright_plugin::http::{self, Request};
use layerwright_plugin::{Error, Property, clock, files};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::adc::SCOPE;
use crate::token::{self, Token};

/// Where a job of GitHub Actions gets its token.
pub(crate) const ACTIONS: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";

/// A configuration of federation.
#[derive(Deserialize)]
pub(crate) struct External {
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

impl External {
    pub(crate) fn token(&self, path: &str) -> Result<Token, Error> {
        let subject = self.credential_source.token(path)?;
        let mut form = vec![
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
            form.push(("options", &options));
        }
        let mut request = Request::new("POST", &self.token_url).form(form);
        if let (Some(id), Some(secret)) = (&self.client_id, &self.client_secret) {
            let basic = STANDARD.encode(format!("{}:{}", http::encode(id), http::encode(secret)));
            request = request.header("authorization", format!("Basic {basic}"));
        }
        let token = token::fetch(&request, "Google's token exchange")
            .map_err(|error| token::hinted(error, "check the pool's attribute conditions and the token's audience"))?;
        match &self.service_account_impersonation_url {
            Some(url) => impersonate(url, &token, &[]),
            None => Ok(token),
        }
    }
}

impl Source {
    fn token(&self, path: &str) -> Result<String, Error> {
        if !self.executable.is_null() {
            return Err(Error::invalid(format!("{path} has its subject token made by a program, and a plugin runs none")));
        }
        if self.environment_id.is_some() {
            return Err(Error::invalid(format!("{path} wants an identity of AWS's as its subject, which is not supported"))
                .hint("federate a token in a file or at a URL"));
        }
        let what = "the subject token";
        let content = match (&self.file, &self.url) {
            (Some(file), _) => files::read(file).map_err(|error| token::about(what, error))?,
            (None, Some(url)) => {
                let mut request = Request::new("GET", url);
                request.headers = self.headers.iter().map(|(name, value)| Property::new(name, value)).collect();
                let response = http::send_again(&request).map_err(|error| token::about(what, error))?;
                if !response.is_success() {
                    return Err(token::refused(&response, what));
                }
                response.body
            }
            (None, None) => return Err(Error::invalid(format!("{path} does not say where the subject token is"))),
        };
        let text = match self.format.kind.as_str() {
            "" | "text" => String::from_utf8(content).ok(),
            "json" => serde_json::from_slice::<serde_json::Value>(&content)
                .ok()
                .and_then(|value| value.get(&self.format.subject_token_field_name)?.as_str().map(str::to_owned)),
            _ => None,
        };
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        text.ok_or_else(|| Error::invalid(format!("{what} is not there in the form that {path} says")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

/// The token of a service account that another identity may stand for (IAM Service Account Credentials API, `generateAccessToken`).
pub(crate) fn impersonate(url: &str, source: &Token, delegates: &[String]) -> Result<Token, Error> {
    let mut body = serde_json::json!({ "lifetime": "3600s", "scope": [SCOPE] });
    if !delegates.is_empty() {
        body["delegates"] = delegates.into();
    }
    let request = Request::new("POST", url)
        .header("authorization", format!("Bearer {}", source.text))
        .header("content-type", "application/json")
        .body(body.to_string());
    let what = "standing for the service account";
    let response = http::send_again(&request).map_err(|error| token::about(what, error))?;
    if !response.is_success() {
        return Err(token::refused(&response, what).hint("the identity needs the role roles/iam.serviceAccountTokenCreator"));
    }
    let answer: Impersonated =
        serde_json::from_slice(&response.body).map_err(|_| Error::failed(format!("{what}: the answer holds no access token")))?;
    let end = OffsetDateTime::parse(&answer.expire_time, &Rfc3339).ok().and_then(|at| u64::try_from(at.unix_timestamp()).ok());
    Ok(Token { text: answer.access_token, seconds: end.map(|end| end.saturating_sub(clock::now())) })
}
