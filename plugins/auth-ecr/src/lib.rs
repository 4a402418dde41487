//! Credentials for Amazon ECR, private and public.
//!
//! The registry's name says where its API is; AWS credentials are looked for where AWS's own tools look; the API's `GetAuthorizationToken`
//! gives a password that is good for twelve hours.

mod api;
mod credentials;
mod endpoint;
mod ini;
mod registry;
mod sigv4;

#[cfg(test)]
mod tests;

use layerwright_plugin::auth::{Answer, AuthProvider, Target};
use layerwright_plugin::{Access, Description, Error, Want, export_auth_provider, log};

use registry::Registry;

/// The provider for Amazon ECR.
pub struct Ecr;

impl AuthProvider for Ecr {
    fn describe() -> Description {
        let hosts =
            registry::hosts().chain(credentials::HOSTS.map(str::to_owned)).chain(endpoint::VARIABLES.map(|name| format!("${name}")));
        Description::new("layerwright/auth-ecr", env!("CARGO_PKG_VERSION"), "credentials for Amazon ECR, private and public")
            .wants(
                credentials::VARIABLES
                    .into_iter()
                    .chain(endpoint::VARIABLES)
                    .chain([endpoint::IGNORE])
                    .map(|name| Want::Env(name.to_owned())),
            )
            .wants(credentials::FILES.map(|path| Want::File(path.to_owned())))
            .wants(hosts.map(Want::Host))
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        let Some(registry) = Registry::parse(&target.registry) else { return Ok(None) };
        match (api::answer(&registry, target), &registry) {
            // Whoever has no rights at AWS can still read what is public.
            (Err(error), Registry::Public) if target.access == Access::Pull => {
                log::warning(format!("{} is read without credentials: {}", target.registry, error.message));
                Ok(None)
            }
            (answer, _) => answer,
        }
    }
}

export_auth_provider!(Ecr);
