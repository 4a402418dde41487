//! Credentials from docker's and podman's configuration, and from the credential helpers that it names.
//!
//! Sources are asked in order, and the first with a credential for the image answers: the variable `DOCKER_AUTH_CONFIG`; then the file
//! that `REGISTRY_AUTH_FILE` names alone, or else docker's file, kaniko's, podman's and docker's old one, mounted pull secrets among them. What is missing or not granted
//! is passed over; what cannot be read as a configuration is an error, since going on without credentials would hide it.

mod config;
mod key;
mod lookup;
mod sources;

#[cfg(test)]
mod tests;

use layerwright_plugin::auth::{Answer, AuthProvider, Target};
use layerwright_plugin::{Description, Error, Want, export_auth_provider};

/// The provider of what docker and podman are logged in to.
pub struct DockerConfig;

impl AuthProvider for DockerConfig {
    fn describe() -> Description {
        Description::new(
            "layerwright/auth-docker-config",
            env!("CARGO_PKG_VERSION"),
            "credentials from docker's and podman's configuration files and credential helpers",
        )
        .wants(sources::VARIABLES.map(|name| Want::Env(name.to_owned())))
        .wants(sources::FILES.map(|path| Want::File(path.to_owned())))
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        lookup::authenticate(target)
    }
}

export_auth_provider!(DockerConfig);
