//! Credentials from variables that are named after the registry, as kaniko's `env` helper reads them.
//!
//! For `registry.example.com` these are `KANIKO_REGISTRY_EXAMPLE_COM_USER` and `…_PASSWORD`, then those of `EXAMPLE_COM`, then those of
//! `COM`: letters in upper case, `-` and `.` as `_`. A level counts where both are set. A port stays in the name, as kaniko has it
//! (`KANIKO_LOCALHOST:5000_USER`); shells and pipelines that take no such name write `KANIKO_LOCALHOST_5000_USER`.

use std::net::Ipv4Addr;

use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Description, Error, env, export_auth_provider, log};

/// Docker Hub's name in image references, and the one that kaniko asks its helpers with.
const DOCKER_HUB: (&str, &str) = ("docker.io", "index.docker.io");

/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// The provider of credentials in variables.
pub struct EnvAuth;

impl AuthProvider for EnvAuth {
    fn describe() -> Description {
        // Which variables it wants depends on the registry; the host grants those that are set, each by its name.
        Description::new(
            "layerwright/auth-env",
            env!("CARGO_PKG_VERSION"),
            "credentials from KANIKO_<REGISTRY>_USER and KANIKO_<REGISTRY>_PASSWORD",
        )
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        for name in names(&target.registry) {
            let (user, password) = (format!("KANIKO_{name}_USER"), format!("KANIKO_{name}_PASSWORD"));
            match (env::optional(&user)?, env::optional(&password)?) {
                (Some(username), Some(secret)) => {
                    let credential =
                        if username == TOKEN_USER { Credential::IdentityToken(secret) } else { Credential::basic(username, secret) };
                    return Ok(Some(Answer::new(credential, &target.registry)));
                }
                (Some(_), None) => log::warning(format!("{user} is set and {password} is not: both are needed")),
                (None, Some(_)) => log::warning(format!("{password} is set and {user} is not: both are needed")),
                (None, None) => {}
            }
        }
        Ok(None)
    }
}

/// The names to look under, the closest first.
fn names(registry: &str) -> Vec<String> {
    let host = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
    let upper = host.to_ascii_uppercase().replace('-', "_");
    let bare = upper.rsplit_once(':').map_or(upper.as_str(), |(bare, _)| bare);
    let mut labels: Vec<&str> = upper.split('.').collect();
    if bare.parse::<Ipv4Addr>().is_ok() || bare.starts_with('[') {
        // Addresses have no parents.
        labels = vec![&upper];
    }
    let mut names = Vec::new();
    for first in 0..labels.len() {
        let name = labels.get(first..).unwrap_or_default().join("_").replace('.', "_");
        let plain = name.replace([':', '[', ']'], "_");
        if plain != name {
            names.push(name);
        }
        names.push(plain);
    }
    names
}

export_auth_provider!(EnvAuth);

#[cfg(test)]
mod tests {
    use layerwright_plugin::{Access, fake};

    use super::*;

    fn ask(registry: &str) -> Option<Answer> {
        EnvAuth::authenticate(&Target { registry: registry.to_owned(), repository: "a".to_owned(), access: Access::Pull }).unwrap()
    }

    fn with(host: fake::Host, name: &str, user: &str) -> fake::Host {
        host.env(format!("KANIKO_{name}_USER"), user).env(format!("KANIKO_{name}_PASSWORD"), "p")
    }

    fn some(user: &str, registry: &str) -> Option<Answer> {
        Some(Answer::new(Credential::basic(user, "p"), registry))
    }

    #[test]
    fn the_closest_name_wins() {
        let host = with(with(fake::Host::new(), "MY_REGISTRY_EXAMPLE_COM", "own"), "EXAMPLE_COM", "domain");
        let _host = with(host, "ORG", "top").install();
        assert_eq!(ask("my-registry.example.com"), some("own", "my-registry.example.com"));
        assert_eq!(ask("other.example.com"), some("domain", "other.example.com"));
        assert_eq!(ask("example.com"), some("domain", "example.com"));
        assert_eq!(ask("a.b.org"), some("top", "a.b.org"));
        assert_eq!(ask("example.net"), None);
        assert_eq!(ask("example.com.evil.test"), None);
        assert_eq!(ask("notexample.com"), None);
    }

    #[test]
    fn ports_stay_in_the_name() {
        for name in ["LOCALHOST:5000", "LOCALHOST_5000"] {
            let _host = with(fake::Host::new(), name, "u").install();
            assert_eq!(ask("localhost:5000"), some("u", "localhost:5000"), "{name}");
            assert_eq!(ask("localhost"), None);
            assert_eq!(ask("localhost:5001"), None);
        }
        let _host = with(fake::Host::new(), "EXAMPLE_COM:8443", "u").install();
        assert_eq!(ask("r.example.com:8443"), some("u", "r.example.com:8443"));
    }

    #[test]
    fn addresses_have_no_parents() {
        assert_eq!(names("127.0.0.1:5000"), ["127_0_0_1:5000", "127_0_0_1_5000"]);
        assert_eq!(names("10.0.0.1"), ["10_0_0_1"]);
        assert_eq!(names("[::1]:5000"), ["[::1]:5000", "___1__5000"]);
    }

    #[test]
    fn docker_hub_goes_by_its_names() {
        for name in ["INDEX_DOCKER_IO", "DOCKER_IO"] {
            let _host = with(fake::Host::new(), name, "u").install();
            assert_eq!(ask("docker.io"), some("u", "docker.io"), "{name}");
        }
    }

    #[test]
    fn half_a_pair_is_no_credential_and_is_said_so() {
        let host = fake::Host::new().env("KANIKO_R_EXAMPLE_COM_USER", "u");
        let host = with(host, "EXAMPLE_COM", "domain").install();
        assert_eq!(ask("r.example.com"), some("domain", "r.example.com"));
        assert_eq!(host.messages(), ["KANIKO_R_EXAMPLE_COM_USER is set and KANIKO_R_EXAMPLE_COM_PASSWORD is not: both are needed"]);
        let _host = with(fake::Host::new(), "X", "u").env("KANIKO_X_PASSWORD", "").install();
        assert_eq!(ask("x"), None);
    }

    #[test]
    fn a_token_may_stand_for_a_user() {
        let _host = with(fake::Host::new(), "X", "<token>").install();
        assert_eq!(ask("x"), Some(Answer::new(Credential::IdentityToken("p".to_owned()), "x")));
    }

    #[test]
    fn what_is_not_granted_is_not_there() {
        let _host = with(fake::Host::new(), "X", "u").deny("KANIKO_X_PASSWORD").install();
        assert_eq!(ask("x"), None);
    }
}
