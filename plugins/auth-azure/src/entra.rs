//! Tokens of Microsoft Entra ID: of a service principal, of a federated workload, of a managed identity.

use layerwright_plugin::http::{self, Request, Response};
use layerwright_plugin::{Error, ErrorCode, env, files, log};
use serde::Deserialize;

const CLIENT: &str = "AZURE_CLIENT_ID";
const TENANT: &str = "AZURE_TENANT_ID";
const SECRET: &str = "AZURE_CLIENT_SECRET";
const FEDERATED: &str = "AZURE_FEDERATED_TOKEN";
const FEDERATED_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
const HEADER: &str = "IDENTITY_HEADER";

pub(crate) const VARIABLES: [&str; 8] = [CLIENT, TENANT, SECRET, FEDERATED, FEDERATED_FILE, AUTHORITY, ENDPOINT, HEADER];
pub(crate) const FILES: [&str; 2] = ["$AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/tokens/azure-identity-token"];
pub(crate) const HOSTS: [&str; 6] = [
    "https://login.microsoftonline.com",
    "https://login.partner.microsoftonline.cn",
    "https://login.microsoftonline.us",
    "http://169.254.169.254",
    "$AZURE_AUTHORITY_HOST",
    "$IDENTITY_ENDPOINT",
];

/// Whom tokens are for: the registries alone.
const AUDIENCE: &str = "https://containerregistry.azure.net";
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
/// The service is a hop away, or not there at all.
const PATIENCE: u32 = 3_000;

/// A token and the directory that it is of.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) tenant: Option<String>,
}

/// The token of whoever builds; none where nobody is known.
pub(crate) fn token(cloud: &str) -> Result<Option<Token>, Error> {
    let (client, tenant) = (env::optional(CLIENT)?, env::optional(TENANT)?);
    if let Some(secret) = env::optional(SECRET)? {
        let (client, tenant) = both(SECRET, client, tenant)?;
        return principal(cloud, &client, &tenant, &[("client_secret", &secret)]).map(Some);
    }
    if let Some((name, assertion)) = assertion()? {
        let (client, tenant) = both(name, client, tenant)?;
        let proof =
            [("client_assertion", assertion.as_str()), ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")];
        return principal(cloud, &client, &tenant, &proof).map(Some);
    }
    managed(client.as_deref(), tenant)
}

fn both(of: &str, client: Option<String>, tenant: Option<String>) -> Result<(String, String), Error> {
    let missing = |name| Error::invalid(format!("{of} is set and {name} is not"));
    Ok((client.ok_or_else(|| missing(CLIENT))?, tenant.ok_or_else(|| missing(TENANT))?))
}

/// The workload's own token, from a variable or a file.
fn assertion() -> Result<Option<(&'static str, String)>, Error> {
    if let Some(token) = env::optional(FEDERATED)? {
        return Ok(Some((FEDERATED, token)));
    }
    let Some(path) = env::optional(FEDERATED_FILE)? else { return Ok(None) };
    let content = files::read(&path).map_err(|error| Error { message: format!("{FEDERATED_FILE}: {}", error.message), ..error })?;
    let text = String::from_utf8(content).map_err(|_| Error::invalid(format!("{path} holds no token")))?;
    Ok(Some((FEDERATED_FILE, text.trim().to_owned())))
}

/// Client credentials (Microsoft identity platform, "OAuth 2.0 client credentials flow").
fn principal(cloud: &str, client: &str, tenant: &str, proof: &[(&str, &str)]) -> Result<Token, Error> {
    if !tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err(Error::invalid(format!("{TENANT} is neither an id nor a domain")));
    }
    let authority = env::optional(AUTHORITY)?.unwrap_or_else(|| {
        let host = match cloud {
            "cn" => "login.partner.microsoftonline.cn",
            "us" => "login.microsoftonline.us",
            _ => "login.microsoftonline.com",
        };
        format!("https://{host}/")
    });
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim().trim_end_matches('/'));
    let scope = format!("{AUDIENCE}/.default");
    let mut form = proof.to_vec();
    form.extend([("client_id", client), ("grant_type", "client_credentials"), ("scope", scope.as_str())]);
    let what = "signing in at Microsoft Entra ID";
    let response = http::send_again(&Request::new("POST", url).form(form)).map_err(|error| about(what, error))?;
    let text = read(&response, what)?;
    Ok(Token { text, tenant: Some(tenant.to_owned()) })
}

/// The identity of the machine or the app; none where there is none.
fn managed(client: Option<&str>, tenant: Option<String>) -> Result<Option<Token>, Error> {
    let client = client.map(|id| format!("&client_id={}", http::encode(id))).unwrap_or_default();
    let resource = http::encode(AUDIENCE);
    let answer = match (env::optional(ENDPOINT)?, env::optional(HEADER)?) {
        (Some(endpoint), Some(header)) => {
            let url = format!("{}?api-version=2019-08-01&resource={resource}{client}", endpoint.trim());
            let response = http::send_again(&Request::new("GET", url).header("x-identity-header", header));
            Some(response.map_err(|error| about("the managed identity", error))?)
        }
        (Some(_), None) => return Err(Error::invalid(format!("{ENDPOINT} is set and {HEADER} is not"))),
        (None, _) => {
            let url = format!("{METADATA}?api-version=2018-02-01&resource={resource}{client}");
            match http::send(&Request::new("GET", url).header("metadata", "true").timeout_ms(PATIENCE)) {
                // Another cloud's service, or a machine without an identity.
                Ok(response) if (400..500).contains(&response.status) => {
                    log::debug(format!("no managed identity: the metadata service answers {}", response.status));
                    None
                }
                Ok(response) => Some(response),
                Err(error) if matches!(error.code, ErrorCode::Unavailable | ErrorCode::Denied) => {
                    log::debug(format!("no managed identity: {}", error.message));
                    None
                }
                Err(error) => return Err(error),
            }
        }
    };
    answer.map(|answer| Ok(Token { text: read(&answer, "the managed identity")?, tenant })).transpose()
}

pub(crate) fn about(what: &str, error: Error) -> Error {
    Error { message: format!("{what}: {}", error.message), ..error }
}

fn read(response: &Response, what: &str) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
    }
    if !response.is_success() {
        return Err(refused(response, what));
    }
    let answer: Answer =
        serde_json::from_slice(&response.body).map_err(|_| Error::failed(format!("{what}: the answer holds no access token")))?;
    Ok(answer.access_token)
}

/// Says why a request was refused, as far as the first line of the answer tells: what follows are numbers for Microsoft's support.
pub(crate) fn refused(response: &Response, what: &str) -> Error {
    #[derive(Default, Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let refusal: Refusal = serde_json::from_slice(&response.body).unwrap_or_default();
    let description = refusal.error_description.lines().next().unwrap_or_default();
    let said = [refusal.error.as_str(), description].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
    Error::failed(format!("{what}: refused with {}{}{said}", response.status, if said.is_empty() { "" } else { ": " }))
}
