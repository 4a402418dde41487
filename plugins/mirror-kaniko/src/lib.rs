//! Mirror rules as kaniko's `--registry-mirror`, `--registry-map` and `--skip-default-registry-fallback`.
//!
//! The rules come from the variables that kaniko reads; the host hands its own flags in through them as well:
//!
//! - `KANIKO_REGISTRY_MIRROR`: mirrors of Docker Hub, separated by `;` or `,`, each `host[:port][/prefix]`;
//! - `KANIKO_REGISTRY_MAP`: `registry=host[:port][/prefix]`, separated by `;` or `,`, in the order in which to try them;
//! - `KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK`: whether a registry that is mapped is never asked itself.

mod rules;

use layerwright_plugin::mirror::{Endpoint, MirrorResolver, Reference, Route};
use layerwright_plugin::{Access, Description, Error, Want, env, export_mirror_resolver};

use rules::{Mapping, Rules};

const MIRROR: &str = "KANIKO_REGISTRY_MIRROR";
const MAP: &str = "KANIKO_REGISTRY_MAP";
const SKIP_FALLBACK: &str = "KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK";

/// Resolves by kaniko's variables.
pub struct KanikoMirrors;

impl MirrorResolver for KanikoMirrors {
    fn describe() -> Description {
        Description::new(
            "layerwright/mirror-kaniko",
            env!("CARGO_PKG_VERSION"),
            "mirror rules as kaniko's --registry-mirror and --registry-map",
        )
        .wants([MIRROR, MAP, SKIP_FALLBACK].map(|name| Want::Env(name.to_owned())))
    }

    fn resolve(reference: &Reference, access: Access) -> Result<Option<Route>, Error> {
        if access == Access::Push {
            return Ok(None);
        }
        let rules = Rules::parse(
            env::get(MIRROR)?.as_deref().unwrap_or_default(),
            env::get(MAP)?.as_deref().unwrap_or_default(),
            env::get(SKIP_FALLBACK)?.as_deref().unwrap_or_default(),
        )?;
        let endpoints: Vec<Endpoint> =
            rules.for_registry(&reference.registry).map(|mapping| endpoint(mapping, &reference.repository)).collect();
        if endpoints.is_empty() {
            return Ok(None);
        }
        Ok(Some(Route { endpoints, fallback: !rules.skip_fallback }))
    }
}

fn endpoint(mapping: &Mapping, repository: &str) -> Endpoint {
    let repository = if mapping.prefix.is_empty() { repository.to_owned() } else { format!("{}/{repository}", mapping.prefix) };
    // Docker Hub answers the API under a name that no image reference has.
    let host = if mapping.host == rules::DOCKER_HUB { "registry-1.docker.io" } else { &mapping.host };
    Endpoint::new(format!("https://{host}/v2"), repository)
}

export_mirror_resolver!(KanikoMirrors);

#[cfg(test)]
mod tests {
    use layerwright_plugin::mirror::{Trust, Version};
    use layerwright_plugin::{ErrorCode, fake};

    use super::*;

    fn reference(registry: &str, repository: &str) -> Reference {
        Reference { registry: registry.to_owned(), repository: repository.to_owned(), version: Version::Tag("latest".to_owned()) }
    }

    /// The endpoints as `root repository`, and whether the registry itself comes last.
    fn route(registry: &str, repository: &str) -> Option<(Vec<String>, bool)> {
        let route = KanikoMirrors::resolve(&reference(registry, repository), Access::Pull).unwrap()?;
        let endpoints = route.endpoints.iter().map(|endpoint| format!("{} {}", endpoint.root, endpoint.repository));
        Some((endpoints.collect(), route.fallback))
    }

    #[test]
    fn without_rules_there_is_no_opinion() {
        let _host = fake::Host::new().install();
        assert_eq!(route("docker.io", "library/alpine"), None);
    }

    #[test]
    fn mirrors_are_for_docker_hub_alone() {
        let _host = fake::Host::new().env(MIRROR, "mirror.gcr.io;harbor.example:8443/hub").install();
        let expected =
            vec!["https://mirror.gcr.io/v2 library/alpine".to_owned(), "https://harbor.example:8443/v2 hub/library/alpine".to_owned()];
        assert_eq!(route("docker.io", "library/alpine"), Some((expected, true)));
        assert_eq!(route("quay.io", "library/alpine"), None);
    }

    #[test]
    fn maps_come_in_order_and_after_them_the_mirrors() {
        let _host = fake::Host::new()
            .env(MIRROR, "m.example")
            .env(MAP, "index.docker.io=a.example/p/q;gcr.io=g.example,docker.io=b.example")
            .install();
        let expected = vec![
            "https://a.example/v2 p/q/library/x".to_owned(),
            "https://b.example/v2 library/x".to_owned(),
            "https://m.example/v2 library/x".to_owned(),
        ];
        assert_eq!(route("docker.io", "library/x"), Some((expected, true)));
        assert_eq!(route("gcr.io", "p/x"), Some((vec!["https://g.example/v2 p/x".to_owned()], true)));
    }

    #[test]
    fn a_registry_can_be_mapped_to_docker_hub() {
        let _host = fake::Host::new().env(MAP, "r.example=docker.io/acme").install();
        assert_eq!(route("r.example", "x"), Some((vec!["https://registry-1.docker.io/v2 acme/x".to_owned()], true)));
    }

    #[test]
    fn the_fallback_can_be_switched_off() {
        for (value, fallback) in [("true", false), ("1", false), ("T", false), ("false", true), ("0", true), ("", true)] {
            let _host = fake::Host::new().env(MIRROR, "m.example").env(SKIP_FALLBACK, value).install();
            assert_eq!(route("docker.io", "x").map(|(_, fallback)| fallback), Some(fallback), "{value}");
        }
    }

    #[test]
    fn pushes_go_to_the_registry_itself() {
        let _host = fake::Host::new().env(MIRROR, "m.example").install();
        assert_eq!(KanikoMirrors::resolve(&reference("docker.io", "x"), Access::Push), Ok(None));
    }

    #[test]
    fn endpoints_are_trusted_to_pull_and_resolve() {
        let _host = fake::Host::new().env(MIRROR, "m.example").install();
        let route = KanikoMirrors::resolve(&reference("docker.io", "x"), Access::Pull).unwrap().unwrap();
        assert_eq!(route.endpoints[0].trust, Trust::RESOLVE | Trust::PULL);
        assert!(!route.endpoints[0].namespace);
    }

    #[test]
    fn rules_that_make_no_sense_are_errors() {
        for (name, value) in [
            (MAP, "gcr.io"),
            (MAP, "=m.example"),
            (MAP, "gcr.io="),
            (MIRROR, "https://"),
            (MIRROR, "bad host"),
            (MIRROR, "m.example/a//b"),
            (SKIP_FALLBACK, "maybe"),
        ] {
            let _host = fake::Host::new().env(name, value).install();
            let error = KanikoMirrors::resolve(&reference("gcr.io", "x"), Access::Pull).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid, "{value}");
            assert!(error.message.contains(name), "{}", error.message);
        }
    }

    #[test]
    fn it_wants_what_it_reads() {
        let wants = KanikoMirrors::describe().wants;
        assert_eq!(wants.len(), 3);
    }
}
