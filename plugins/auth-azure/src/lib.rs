//! Credentials for Azure Container Registry.
//!
//! An identity of Microsoft Entra ID gets a token for the registry service, and the registry trades it for a refresh token of its own
//! (Azure Container Registry, "Authentication overview"; AAD-OAuth). The token is asked for the registries' audience, not for Azure's
//! management, so that it is worth nothing elsewhere.

mod entra;
mod exchange;

#[cfg(test)]
mod tests;

use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Description, Error, Want, export_auth_provider};

/// The provider for Azure's registries.
pub struct Azure;

impl AuthProvider for Azure {
    fn describe() -> Description {
        let registries = SUFFIXES.map(|suffix| format!("https://*.azurecr.{suffix}"));
        Description::new("layerwright/auth-azure", env!("CARGO_PKG_VERSION"), "credentials for Azure Container Registry")
            .wants(entra::VARIABLES.map(|name| Want::Env(name.to_owned())))
            .wants(entra::FILES.map(|path| Want::File(path.to_owned())))
            .wants(entra::HOSTS.map(str::to_owned).into_iter().chain(registries).map(Want::Host))
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        let Some(suffix) = suffix(&target.registry) else { return Ok(None) };
        let Some(token) = entra::token(suffix)? else { return Ok(None) };
        let refresh = exchange::refresh_token(&target.registry, &token)?;
        let answer = Answer::new(Credential::IdentityToken(refresh.text), &target.registry);
        Ok(Some(match refresh.expires {
            Some(seconds) => answer.expires(seconds),
            None => answer,
        }))
    }
}

/// Of the clouds: the public one, China's, the one of the government of the USA.
const SUFFIXES: [&str; 3] = ["io", "cn", "us"];

/// Which cloud's registry it is, by the whole name: `*.azurecr.{io,cn,us}` and nothing after it.
fn suffix(registry: &str) -> Option<&'static str> {
    let registry = registry.to_ascii_lowercase();
    SUFFIXES.into_iter().find(|suffix| {
        let name = registry.strip_suffix(suffix).and_then(|rest| rest.strip_suffix(".azurecr."));
        name.is_some_and(|name| {
            name.split('.').all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
        })
    })
}

export_auth_provider!(Azure);
