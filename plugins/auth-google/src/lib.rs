//! Credentials for Google's Artifact Registry and Container Registry.
//!
//! Application Default Credentials are looked for where Google's own libraries look (Google Cloud, "How Application Default Credentials
//! works"): the file that `GOOGLE_APPLICATION_CREDENTIALS` names, gcloud's file, the metadata service. What they stand for is an access
//! token, which both registries take as a password.

mod adc;
mod external;
mod jwt;
mod metadata;
mod token;

#[cfg(test)]
mod tests;

use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Description, Error, Want, clock, export_auth_provider};

/// Whose password an access token is.
const USER: &str = "oauth2accesstoken";

/// The provider for Google's registries.
pub struct Google;

impl AuthProvider for Google {
    fn describe() -> Description {
        Description::new(
            "layerwright/auth-google",
            env!("CARGO_PKG_VERSION"),
            "credentials for Google's Artifact Registry and Container Registry",
        )
        .wants(adc::VARIABLES.map(|name| Want::Env(name.to_owned())))
        .wants(adc::FILES.map(|path| Want::File(path.to_owned())))
        .wants(adc::HOSTS.map(|host| Want::Host(host.to_owned())))
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        if !is_google(&target.registry) {
            return Ok(None);
        }
        let Some(token) = adc::token()? else { return Ok(None) };
        let answer = Answer::new(Credential::basic(USER, token.text), &target.registry);
        Ok(Some(match token.seconds {
            Some(seconds) => answer.expires(clock::now().saturating_add(seconds)),
            None => answer,
        }))
    }
}

/// `gcr.io` and what is below it, and what is below `pkg.dev`.
fn is_google(registry: &str) -> bool {
    let registry = registry.to_ascii_lowercase();
    let labels =
        |text: &str| text.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    let below = |domain| registry.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).is_some_and(labels);
    registry == "gcr.io" || below("gcr.io") || below("pkg.dev")
}

export_auth_provider!(Google);
