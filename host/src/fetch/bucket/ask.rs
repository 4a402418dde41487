//! Short questions to the services that give out logins.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url};

use super::super::exchange::{Web, authority};
use super::super::name::shown_text;
use crate::progress::reasons;

/// What such a service may answer, in bytes.
const LARGEST: usize = 64 << 10;

/// What such a service has answered.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Sends a request, and sends it again where that may help. No redirect is followed, for a login goes along.
///
/// # Errors
/// Why there is no answer, with the server's name.
pub(super) async fn ask(
    web: &Web,
    url: &str,
    patience: Duration,
    tries: u32,
    request: &(dyn Fn(&Client, Url) -> RequestBuilder + Send + Sync),
) -> Result<Answered, String> {
    let read = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = read.ok_or_else(|| format!("{:?} is no URL of http or https", shown_text(url)))?;
    let host = authority(&url);
    let client = web.client_for_operator(&url).await.map_err(|error| reasons(&error))?;
    let mut wait = Duration::from_millis(250);
    let mut left = tries.max(1);
    loop {
        left -= 1;
        let done = match tokio::time::timeout(patience, once(request(&client, url.clone()))).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        };
        match done {
            Ok(answered) if left == 0 || !matches!(answered.status, 429 | 500..) => return Ok(answered),
            Err(why) if left == 0 => return Err(format!("{host}: {why}")),
            _ => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
}

async fn once(request: RequestBuilder) -> Result<Answered, String> {
    let failed = |error: reqwest::Error| reasons(&error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > LARGEST {
            return Err("the answer is larger than 64 KiB".to_owned());
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answered { status: response.status().as_u16(), body })
}

/// Fields as the body of a form.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, UNRESERVED).to_string();
    fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

/// All but what needs no escape anywhere (RFC 3986 section 2.3).
const UNRESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The content type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
