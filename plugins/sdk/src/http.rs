//! HTTP requests to hosts that were granted by name.

use crate::bindings::shared::layerwright::plugin::http as host;
use crate::{Error, Property};

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

    /// Gives it a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl Response {
    /// The value of a header field, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
    }
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
