//! Words that every world shares.

pub use crate::bindings::shared::layerwright::plugin::types::{Access, Description, Error, ErrorCode, Platform, Property, Want};

impl Error {
    /// Creates an error. The message is one lowercase fragment without a final full stop.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// What the user wrote is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// It is not granted, or policy forbids it.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Denied, message)
    }

    /// Nothing is there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// It is over a limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::TooLarge, message)
    }

    /// It may work later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// It failed in another way.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Failed, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Property {
    /// Creates a property.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl Description {
    /// Describes a plugin that wants nothing. The name is `namespace/name`, the version a semantic one, the summary one
    /// line.
    pub fn new(name: impl Into<String>, version: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), summary: summary.into(), wants: Vec::new() }
    }

    /// Asks for authority.
    #[must_use]
    pub fn wants(mut self, wants: impl IntoIterator<Item = Want>) -> Self {
        self.wants.extend(wants);
        self
    }
}
