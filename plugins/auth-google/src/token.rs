//! Access tokens, as OAuth's token endpoints give them (RFC 6749, 5).

use layerwright_plugin::Error;
use layerwright_plugin::http::{self, Request, Response};
use serde::Deserialize;

/// An access token.
pub(crate) struct Token {
    pub(crate) text: String,
    /// How long it is good, where that is known.
    pub(crate) seconds: Option<u64>,
}

#[derive(Deserialize)]
struct Body {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// The token that a request is answered with.
pub(crate) fn fetch(request: &Request, what: &str) -> Result<Token, Error> {
    read(&http::send_again(request).map_err(|error| about(what, error))?, what)
}

/// Says what an error is about.
pub(crate) fn about(what: &str, error: Error) -> Error {
    Error { message: format!("{what}: {}", error.message), ..error }
}

/// Says what to do, unless the error says so itself: a refusal of the host's names the grant to add.
pub(crate) fn hinted(error: Error, hint: &str) -> Error {
    if error.hint.is_some() { error } else { error.hint(hint) }
}

/// Reads an answer.
pub(crate) fn read(response: &Response, what: &str) -> Result<Token, Error> {
    if !response.is_success() {
        return Err(refused(response, what));
    }
    let body: Body =
        serde_json::from_slice(&response.body).map_err(|_| Error::failed(format!("{what}: the answer holds no access token")))?;
    Ok(Token { text: body.access_token, seconds: body.expires_in })
}

/// Says why a request was refused, in the words of the two forms that Google's services use.
pub(crate) fn refused(response: &Response, what: &str) -> Error {
    #[derive(Default, Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: serde_json::Value,
        #[serde(default)]
        error_description: String,
    }
    let refusal: Refusal = serde_json::from_slice(&response.body).unwrap_or_default();
    let said = match &refusal.error {
        serde_json::Value::String(code) if refusal.error_description.is_empty() => code.clone(),
        serde_json::Value::String(code) => format!("{code}: {}", refusal.error_description),
        other => other.get("message").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
    };
    Error::failed(format!("{what}: refused with {}{}{said}", response.status, if said.is_empty() { "" } else { ": " }))
}
