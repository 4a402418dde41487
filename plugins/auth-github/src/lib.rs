//! Credentials of a GitHub Actions job, for the container registry of the GitHub that runs it: `ghcr.io` for github.com, `containers.HOST`
//! for GitHub Enterprise. One GitHub's token never goes to another's registry.

use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Description, Error, Want, env, export_auth_provider, log};

const ACTIONS: &str = "GITHUB_ACTIONS";
const TOKEN: &str = "GITHUB_TOKEN";
const ACTOR: &str = "GITHUB_ACTOR";
const SERVER: &str = "GITHUB_SERVER_URL";

/// Whose password a job's token is where the actor is not told; the registry looks at the token alone.
const ANYONE: &str = "x-access-token";

/// The provider of a job's credentials.
pub struct GitHub;

impl AuthProvider for GitHub {
    fn describe() -> Description {
        Description::new("layerwright/auth-github", env!("CARGO_PKG_VERSION"), "credentials of a GitHub Actions job")
            .wants([ACTIONS, TOKEN, ACTOR, SERVER].map(|name| Want::Env(name.to_owned())))
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        // A token in a shell that is no job is somebody's own, with rights that a build was never meant to have.
        if env::optional(ACTIONS)?.as_deref() != Some("true") || !is_own(&target.registry)? {
            return Ok(None);
        }
        let Some(token) = env::optional(TOKEN)? else {
            log::info(format!("{TOKEN} is not set, so {} is used without credentials; pass it to the step as `env`", target.registry));
            return Ok(None);
        };
        let actor = env::optional(ACTOR)?.unwrap_or_else(|| ANYONE.to_owned());
        Ok(Some(Answer::new(Credential::basic(actor, token), &target.registry)))
    }
}

/// Whether the registry belongs to the GitHub that runs the job.
fn is_own(registry: &str) -> Result<bool, Error> {
    let server = env::optional(SERVER)?.unwrap_or_else(|| "https://github.com".to_owned());
    let host = server.trim().trim_start_matches("https://").trim_end_matches('/');
    let own = if host.eq_ignore_ascii_case("github.com") { "ghcr.io".to_owned() } else { format!("containers.{host}") };
    Ok(own.eq_ignore_ascii_case(registry))
}

export_auth_provider!(GitHub);

#[cfg(test)]
mod tests {
    use layerwright_plugin::{Access, fake};

    use super::*;

    fn ask(registry: &str) -> Option<Answer> {
        GitHub::authenticate(&Target { registry: registry.to_owned(), repository: "o/r".to_owned(), access: Access::Push }).unwrap()
    }

    fn job() -> fake::Host {
        fake::Host::new().env("GITHUB_ACTIONS", "true").env("GITHUB_TOKEN", "t").env("GITHUB_ACTOR", "octocat")
    }

    fn some(user: &str, registry: &str) -> Option<Answer> {
        Some(Answer::new(Credential::basic(user, "t"), registry))
    }

    #[test]
    fn a_job_has_its_actor_and_token() {
        let _host = job().install();
        assert_eq!(ask("ghcr.io"), some("octocat", "ghcr.io"));
        let _host = job().env("GITHUB_SERVER_URL", "https://github.com").env("GITHUB_ACTOR", "").install();
        assert_eq!(ask("ghcr.io"), some("x-access-token", "ghcr.io"));
    }

    #[test]
    fn only_in_a_job() {
        for value in ["", "false", "1", "True"] {
            let _host = job().env("GITHUB_ACTIONS", value).install();
            assert_eq!(ask("ghcr.io"), None, "{value}");
        }
        let _host = job().env("GITHUB_TOKEN", "").install();
        assert_eq!(ask("ghcr.io"), None);
    }

    #[test]
    fn other_hosts_get_nothing() {
        let _host = job().install();
        for registry in
            ["ghcr.io.evil.test", "xghcr.io", "a.ghcr.io", "ghcr.io:8443", "docker.pkg.github.com", "containers.github.com", "docker.io"]
        {
            assert_eq!(ask(registry), None, "{registry}");
        }
    }

    #[test]
    fn the_token_of_an_enterprise_server_stays_with_it() {
        let _host = job().env("GITHUB_SERVER_URL", "https://ghe.example/").install();
        assert_eq!(ask("containers.ghe.example"), some("octocat", "containers.ghe.example"));
        assert_eq!(ask("ghcr.io"), None);
        assert_eq!(ask("containers.ghe.example.evil.test"), None);
        assert_eq!(ask("containers.other.example"), None);
    }
}
