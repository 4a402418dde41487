//! Mirror rules: the trait to implement, and what it answers.

use crate::bindings::mirror_resolver::exports::layerwright::plugin::mirror as generated;
use crate::{Access, Description, Error};

pub use generated::{Endpoint, Reference, Route, Tls, Trust, Version};

/// Chooses where images are pulled from.
pub trait MirrorResolver {
    /// Says what the resolver is and what it wants.
    fn describe() -> Description;

    /// Finds the route to an image; none where the resolver has no opinion.
    ///
    /// # Errors
    /// [`Error::denied`] blocks the image; any other error stops the build.
    fn resolve(reference: &Reference, access: Access) -> Result<Option<Route>, Error>;
}

impl Endpoint {
    /// An endpoint that is trusted to resolve tags and to be pulled from.
    pub fn new(root: impl Into<String>, repository: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            repository: repository.into(),
            trust: Trust::RESOLVE | Trust::PULL,
            namespace: false,
            headers: Vec::new(),
            tls: None,
            connect_timeout_ms: None,
        }
    }
}
