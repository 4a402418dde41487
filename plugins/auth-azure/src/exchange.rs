//! From a token of Entra's to the registry's own refresh token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use layerwright_plugin::Error;
use layerwright_plugin::http::{self, Request};
use serde::Deserialize;

use crate::entra::{self, Token};

/// The registry's token.
pub(crate) struct Refresh {
    pub(crate) text: String,
    /// In seconds since 1970, where the token says so.
    pub(crate) expires: Option<u64>,
}

/// Trades a token at the registry itself.
pub(crate) fn refresh_token(registry: &str, token: &Token) -> Result<Refresh, Error> {
    #[derive(Deserialize)]
    struct Answer {
        refresh_token: String,
    }
    let tenant = token.tenant.clone().or_else(|| claims(&token.text)?.tid);
    let mut form = vec![("access_token", token.text.as_str()), ("grant_type", "access_token"), ("service", registry)];
    form.extend(tenant.as_deref().map(|tenant| ("tenant", tenant)));
    let what = format!("trading the token at {registry}");
    let request = Request::new("POST", format!("https://{registry}/oauth2/exchange")).form(form);
    let response = http::send_again(&request).map_err(|error| entra::about(&what, error))?;
    if !response.is_success() {
        return Err(entra::refused(&response, &what).hint("the identity needs the role AcrPull or AcrPush on this registry"));
    }
    let answer: Answer =
        serde_json::from_slice(&response.body).map_err(|_| Error::failed(format!("{what}: the answer holds no refresh token")))?;
    let expires = claims(&answer.refresh_token).and_then(|claims| claims.exp);
    Ok(Refresh { text: answer.refresh_token, expires })
}

/// What a token says of itself. It is believed only as far as asking again goes: its receiver checks it.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Option<u64>,
    #[serde(default)]
    tid: Option<String>,
}

fn claims(token: &str) -> Option<Claims> {
    let body = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).ok()?).ok()
}
