//! HTTP requests to hosts that were granted by name.

use crate::bindings::shared::layerwright::plugin::http as host;
use crate::{Error, ErrorCode, Property};

pub use host::{Request, Response};

impl Request {
    /// A request without a body that may take ten seconds.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new(), timeout_ms: 10_000 }
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Property::new(name, value));
        self
    }

    /// Gives it a form as its body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form<'a>(self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.header("content-type", "application/x-www-form-urlencoded").body(fields.join("&"))
    }

    /// Says how long the whole exchange may take, in milliseconds; at most 30 000.
    #[must_use]
    pub fn timeout_ms(mut self, milliseconds: u32) -> Self {
        self.timeout_ms = milliseconds;
        self
    }

    /// Gives it a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl Response {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of a header field, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
    }
}

/// A text as a part of a URL or a form: all but letters, digits and `-._~` become `%XX` (RFC 3986, 2.1).
pub fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Sends a request up to three times, while the server cannot be reached, is overloaded or fails.
///
/// # Errors
/// As [`send`].
pub fn send_again(request: &Request) -> Result<Response, Error> {
    let mut answer = send(request);
    for _ in 0..2 {
        match &answer {
            Ok(response) if response.status == 429 || response.status >= 500 => {}
            Err(error) if error.code == ErrorCode::Unavailable => {}
            _ => break,
        }
        answer = send(request);
    }
    answer
}

/// Sends a request. Redirects are not followed but returned.
///
/// # Errors
/// [`crate::ErrorCode::Denied`] for a host without a grant, [`crate::ErrorCode::Unavailable`] for one that cannot be
/// reached, [`crate::ErrorCode::TooLarge`] for a body over 1 MiB.
pub fn send(request: &Request) -> Result<Response, Error> {
    #[cfg(target_arch = "wasm32")]
    return host::send(request);
    #[cfg(not(target_arch = "wasm32"))]
    crate::fake::with(|fake| fake.send(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn forms_are_encoded() {
        let request = Request::new("POST", "https://x/").form([("a", "1 &=+"), ("b", "é~")]);
        assert_eq!(request.body, b"a=1%20%26%3D%2B&b=%C3%A9~");
        assert_eq!(request.headers, [Property::new("content-type", "application/x-www-form-urlencoded")]);
    }

    #[test]
    fn what_may_go_better_is_tried_three_times() {
        for (status, tries) in [(200, 1), (404, 1), (429, 3), (503, 3)] {
            let host = fake::Host::new().http(move |_| Ok(Response { status, headers: Vec::new(), body: Vec::new() })).install();
            assert_eq!(send_again(&Request::new("GET", "https://x/")).unwrap().status, status);
            assert_eq!(host.requests().len(), tries, "{status}");
        }
        let host = fake::Host::new().http(|_| Err(Error::unavailable("no answer"))).install();
        assert!(send_again(&Request::new("GET", "https://x/")).is_err());
        assert_eq!(host.requests().len(), 3);
    }
}
