//! Values of the OCI image specification: names, digests, descriptors, manifests, configurations.
//!
//! Parsing and printing only: nothing here reads a file, a socket or the clock. Documents whose bytes are digested
//! round-trip without loss, unknown fields included.

mod config;
mod descriptor;
mod digest;
mod manifest;
mod media_type;
mod platform;
mod reference;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFsConfig};
pub use descriptor::Descriptor;
pub use digest::{ChainId, DiffId, Digest, DigestError, Hasher};
pub use manifest::{Document, DocumentError, ImageIndex, Manifest};
pub use media_type::{LayerCompression, MediaType};
pub use platform::{Platform, PlatformError};
pub use reference::{DOCKER_HUB, Reference, ReferenceError, Version};
