//! Credentials of a GitLab CI job, for its container registry and its dependency proxy.
//!
//! GitLab tells a job both hosts (`CI_REGISTRY`, `CI_DEPENDENCY_PROXY_SERVER`) and credentials for them. They go to exactly these hosts,
//! ports included. Where GitLab names no credential of a host's own, the job's deploy token and then the job's token stand in.

use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Description, Error, Want, env, export_auth_provider};

/// A host that a job may be told, and the credential for it.
struct Place {
    server: &'static str,
    user: &'static str,
    password: &'static str,
}

const PLACES: [Place; 2] = [
    Place { server: "CI_REGISTRY", user: "CI_REGISTRY_USER", password: "CI_REGISTRY_PASSWORD" },
    Place { server: "CI_DEPENDENCY_PROXY_SERVER", user: "CI_DEPENDENCY_PROXY_USER", password: "CI_DEPENDENCY_PROXY_PASSWORD" },
];
const DEPLOY: (&str, &str) = ("CI_DEPLOY_USER", "CI_DEPLOY_PASSWORD");
const JOB_TOKEN: &str = "CI_JOB_TOKEN";

/// Whose password the job's token is.
const JOB_USER: &str = "gitlab-ci-token";

/// The provider of a job's credentials.
pub struct GitLab;

impl AuthProvider for GitLab {
    fn describe() -> Description {
        let variables = PLACES.iter().flat_map(|place| [place.server, place.user, place.password]).chain([DEPLOY.0, DEPLOY.1, JOB_TOKEN]);
        Description::new("layerwright/auth-gitlab", env!("CARGO_PKG_VERSION"), "credentials of a GitLab CI job")
            .wants(variables.map(|name| Want::Env(name.to_owned())))
    }

    fn authenticate(target: &Target) -> Result<Option<Answer>, Error> {
        for place in &PLACES {
            let Some(server) = env::optional(place.server)? else { continue };
            if same(&server, &target.registry)
                && let Some(credential) = credential(place)?
            {
                // Good as long as the job.
                return Ok(Some(Answer::new(credential, &target.registry)));
            }
        }
        Ok(None)
    }
}

/// Whether two are one host and one port. Without a port it is that of https, which is how registries are named.
fn same(server: &str, registry: &str) -> bool {
    fn plain(text: &str) -> &str {
        text.strip_suffix(":443").unwrap_or(text)
    }
    plain(server.trim()).eq_ignore_ascii_case(plain(registry))
}

fn credential(place: &Place) -> Result<Option<Credential>, Error> {
    if let Some(credential) = pair(place.user, place.password)? {
        return Ok(Some(credential));
    }
    if let Some(credential) = pair(DEPLOY.0, DEPLOY.1)? {
        return Ok(Some(credential));
    }
    Ok(env::optional(JOB_TOKEN)?.map(|token| Credential::basic(JOB_USER, token)))
}

fn pair(user: &str, password: &str) -> Result<Option<Credential>, Error> {
    match (env::optional(user)?, env::optional(password)?) {
        (Some(username), Some(password)) => Ok(Some(Credential::basic(username, password))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(user, password)),
        (None, Some(_)) => Err(half(password, user)),
    }
}

fn half(set: &str, missing: &str) -> Error {
    Error::invalid(format!("{set} is set and {missing} is not"))
        .hint("GitLab sets both in every job; pass both on, and keep a protected variable from hiding one on an unprotected branch")
}

export_auth_provider!(GitLab);

#[cfg(test)]
mod tests {
    use layerwright_plugin::{Access, ErrorCode, fake};

    use super::*;

    fn authenticate(registry: &str) -> Result<Option<Answer>, Error> {
        GitLab::authenticate(&Target { registry: registry.to_owned(), repository: "group/project".to_owned(), access: Access::Push })
    }

    fn ask(registry: &str) -> Option<Answer> {
        authenticate(registry).unwrap()
    }

    fn job() -> fake::Host {
        fake::Host::new()
            .env("CI_REGISTRY", "registry.gitlab.example")
            .env("CI_REGISTRY_USER", "gitlab-ci-token")
            .env("CI_REGISTRY_PASSWORD", "reg")
            .env("CI_JOB_TOKEN", "job")
            .env("CI_DEPENDENCY_PROXY_SERVER", "gitlab.example:443")
            .env("CI_DEPENDENCY_PROXY_USER", "gitlab-ci-token")
            .env("CI_DEPENDENCY_PROXY_PASSWORD", "proxy")
    }

    fn some(user: &str, password: &str, registry: &str) -> Option<Answer> {
        Some(Answer::new(Credential::basic(user, password), registry))
    }

    #[test]
    fn each_host_of_the_job_has_its_credential() {
        let _host = job().install();
        assert_eq!(ask("registry.gitlab.example"), some("gitlab-ci-token", "reg", "registry.gitlab.example"));
        assert_eq!(ask("registry.gitlab.example:443"), some("gitlab-ci-token", "reg", "registry.gitlab.example:443"));
        assert_eq!(ask("Registry.GitLab.example"), some("gitlab-ci-token", "reg", "Registry.GitLab.example"));
        assert_eq!(ask("gitlab.example"), some("gitlab-ci-token", "proxy", "gitlab.example"));
    }

    #[test]
    fn other_hosts_and_other_ports_get_nothing() {
        let host = job().install();
        for registry in [
            "registry.gitlab.example:5050",
            "registry.gitlab.example:80",
            "registry.gitlab.example.evil.test",
            "evil.registry.gitlab.example",
            "gitlab.example:8443",
            "xgitlab.example",
            "docker.io",
        ] {
            assert_eq!(ask(registry), None, "{registry}");
        }
        assert!(host.requests().is_empty());
        let _host = job().env("CI_REGISTRY", "registry.gitlab.example:5050").install();
        assert_eq!(ask("registry.gitlab.example"), None);
        assert!(ask("registry.gitlab.example:5050").is_some());
    }

    #[test]
    fn the_deploy_token_and_the_jobs_stand_in() {
        let bare = || fake::Host::new().env("CI_REGISTRY", "r").env("CI_JOB_TOKEN", "job").env("CI_DEPENDENCY_PROXY_SERVER", "p:443");
        {
            let _host = bare().install();
            assert_eq!(ask("r"), some("gitlab-ci-token", "job", "r"));
            assert_eq!(ask("p"), some("gitlab-ci-token", "job", "p"));
        }
        let _host = bare().env("CI_DEPLOY_USER", "gitlab+deploy-token-1").env("CI_DEPLOY_PASSWORD", "deploy").install();
        assert_eq!(ask("r"), some("gitlab+deploy-token-1", "deploy", "r"));
    }

    #[test]
    fn half_a_pair_is_an_error_that_names_the_other_half() {
        for (missing, set) in [("CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"), ("CI_REGISTRY_PASSWORD", "CI_REGISTRY_USER")] {
            let _host = job().env(missing, "").install();
            let error = authenticate("registry.gitlab.example").unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid);
            assert_eq!(error.message, format!("{set} is set and {missing} is not"));
        }
    }

    #[test]
    fn outside_of_a_job_it_knows_nothing() {
        let _host = fake::Host::new().install();
        assert_eq!(ask("registry.gitlab.com"), None);
        let _host = fake::Host::new().env("CI_REGISTRY", "r").install();
        assert_eq!(ask("r"), None);
    }
}
