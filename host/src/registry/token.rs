//! Bearer tokens from a registry's token server (Docker's token authentication and its OAuth2 form).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::auth::{Access, Credential, Secret};
use super::challenge::Bearer;
use super::error::{Cause, Refused, detail, is_transient};
use super::origin::{Origin, Refusal, check_named};
use super::transport::{Backoff, SMALL, Transport, retry_after};

/// Tokens are good for a minute at least (distribution, "Token Authentication Specification").
const SHORTEST: u64 = 60;
/// No token is kept longer, whatever its server says.
const LONGEST: u64 = 24 * 3600;
/// Tokens are replaced this long before their end.
const EARLY: Duration = Duration::from_secs(30);
const CLIENT: &str = "layerwright";

/// Tokens by what they are good for.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Key, Slot>>);

/// The token for a key, which is asked for by one at a time.
type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

type Key = (String, Option<String>, Vec<String>);

struct Kept {
    credential: Credential,
    token: Secret,
    until: Instant,
}

impl Tokens {
    /// A token for `scopes`, kept or new. `registry` is where the challenge came from.
    pub(super) async fn get(
        &self,
        transport: &Transport,
        registry: &Origin,
        bearer: &Bearer,
        scopes: &[String],
        credential: &Credential,
    ) -> Result<Secret, Cause> {
        let key = (bearer.realm.clone(), bearer.service.clone(), scopes.to_vec());
        let slot = Arc::clone(self.slots().entry(key).or_default());
        let mut slot = slot.lock().await;
        if let Some(kept) = slot.as_ref().filter(|kept| kept.credential == *credential && kept.until > Instant::now()) {
            return Ok(kept.token.clone());
        }
        let (token, lifetime) = fetch(transport, registry, bearer, scopes, credential).await?;
        let until = Instant::now() + lifetime.saturating_sub(EARLY);
        *slot = Some(Kept { credential: credential.clone(), token: token.clone(), until });
        Ok(token)
    }

    /// Drops all tokens, because one was refused.
    pub(super) fn clear(&self) {
        self.slots().clear();
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules on realms: a credential goes to the token server that the registry names only where that is not a trick.
fn realm(transport: &Transport, registry: &Origin, named: &str) -> Result<(Url, Origin), Cause> {
    let refused = |why: Refusal, url: Option<&Url>| {
        let shown = url.and_then(Origin::of).map_or_else(|| "something".to_owned(), |origin| origin.authority());
        Cause::Refused { role: "its token server", url: shown, why }
    };
    let url: Url = named.parse().map_err(|_| refused(Refusal::NotAUrl, None))?;
    let settings = &transport.settings;
    let trusted = settings.trusted_hosts.iter().chain(&settings.trusted_realms);
    let origin = check_named(&url, registry, trusted).map_err(|why| refused(why, Some(&url)))?;
    let listed = settings.trusted_realms.is_empty()
        || settings.trusted_realms.contains(&origin.authority())
        || settings.trusted_realms.contains(origin.host());
    match listed || origin.same_place(registry) {
        true => Ok((url, origin)),
        false => Err(refused(Refusal::NotTrusted(origin.authority()), Some(&url))),
    }
}

async fn fetch(
    transport: &Transport,
    registry: &Origin,
    bearer: &Bearer,
    scopes: &[String],
    credential: &Credential,
) -> Result<(Secret, Duration), Cause> {
    let (url, origin) = realm(transport, registry, &bearer.realm)?;
    let mut way = transport.profile(&origin.authority(), Access::Pull, None);
    way.plain = origin.is_plain();
    let client = transport.client(&way)?;
    let mut backoff = Backoff::new(4, transport.settings.retry_deadline);
    let mut form = matches!(credential, Credential::IdentityToken(_));
    loop {
        let request = match (form, credential) {
            (true, Credential::IdentityToken(token)) => posted(&client, &url, bearer, scopes, token),
            _ => asked(&client, &url, bearer, scopes, credential),
        };
        let gate = transport.gate(&origin);
        let answer = match transport.once(&origin, request, None).await {
            Ok(answer) => answer,
            Err(cause) if cause.is_transient() && backoff.again(&gate, None).await => continue,
            Err(cause) => return Err(cause),
        };
        let status = answer.status();
        if status.is_success() {
            match transport.read(&origin, answer, "the token server's answer", SMALL).await {
                Ok(body) => return read(&body),
                // It broke off on its way.
                Err(cause) if cause.is_transient() && backoff.again(&gate, None).await => continue,
                Err(cause) => return Err(cause),
            }
        }
        if form && matches!(status.as_u16(), 404 | 405) {
            // The server does not know the OAuth2 form.
            form = false;
            continue;
        }
        if is_transient(status.as_u16()) && backoff.again(&gate, retry_after(status, answer.headers())).await {
            continue;
        }
        if status.is_redirection() {
            return Err(Cause::Protocol(format!("the token server {} redirects, which is not followed", origin.authority())));
        }
        let body = transport.read_error(&origin, answer).await;
        let detail = detail(&body, &credential.secrets().map(Secret::expose).into_iter().collect::<Vec<_>>());
        let detail = if detail.is_empty() { format!("token server {}", origin.authority()) } else { detail };
        return Err(match status.as_u16() {
            status @ (400 | 401 | 403) => {
                let refused = if *credential == Credential::Anonymous { Refused::Nobody } else { Refused::Credential };
                Cause::Denied { status, refused, detail }
            }
            status => Cause::Status { status, detail },
        });
    }
}

fn asked(client: &reqwest::Client, url: &Url, bearer: &Bearer, scopes: &[String], credential: &Credential) -> reqwest::RequestBuilder {
    let mut url = url.clone();
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(bearer.service.iter().map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        query.append_pair("client_id", CLIENT);
    }
    let request = client.request(Method::GET, url);
    match credential {
        Credential::Basic { username, password } => request.basic_auth(username, Some(password.expose())),
        Credential::IdentityToken(token) => request.basic_auth("", Some(token.expose())),
        Credential::Anonymous | Credential::RegistryToken(_) => request,
    }
}

fn posted(client: &reqwest::Client, url: &Url, bearer: &Bearer, scopes: &[String], token: &Secret) -> reqwest::RequestBuilder {
    let mut form = url.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .extend_pairs(bearer.service.iter().map(|service| ("service", service)))
        .append_pair("client_id", CLIENT)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", token.expose());
    let body = form.query().unwrap_or_default().to_owned();
    client.request(Method::POST, url.clone()).header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
}

fn read(body: &[u8]) -> Result<(Secret, Duration), Cause> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<f64>,
    }
    let bad = |why: &str| Cause::Protocol(format!("its token server's answer {why}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|_| bad("is not the JSON that was expected"))?;
    let token = answer.token.into_iter().chain(answer.access_token).find(|token| !token.is_empty());
    let token = token.ok_or_else(|| bad("holds no token"))?;
    if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(bad("holds a token with characters that no header takes"));
    }
    // The cast saturates; what is no number is the default.
    let seconds = answer.expires_in.map_or(SHORTEST, |seconds| seconds as u64).clamp(SHORTEST, LONGEST);
    Ok((Secret::new(token), Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 36 of the adversarial list.
    #[test]
    fn answers_are_read_with_care() {
        let lifetime = |body: &str| read(body.as_bytes()).map(|(token, lifetime)| (token.expose().to_owned(), lifetime.as_secs())).ok();
        assert_eq!(lifetime(r#"{"token":"t"}"#), Some(("t".into(), 60)));
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":0}"#), Some(("t".into(), 60)));
        assert_eq!(lifetime(r#"{"token":"","access_token":"t","expires_in":300}"#), Some(("t".into(), 300)));
        assert_eq!(lifetime(r#"{"token":"t","expires_in":-1e300}"#), Some(("t".into(), 60)));
        assert_eq!(lifetime(r#"{"token":"t","expires_in":1e300}"#), Some(("t".into(), 86_400)));
        for bad in ["", "[]", "{}", r#"{"token":"a\r\nb"}"#, r#"{"token":1}"#] {
            assert_eq!(lifetime(bad), None, "{bad}");
        }
    }
}
