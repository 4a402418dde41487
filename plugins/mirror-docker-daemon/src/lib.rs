//! Mirror rules as docker's `daemon.json` has them. `registry-mirrors`: mirrors of Docker Hub, in order, and Docker Hub itself after them.
//! `insecure-registries`: those whose certificate is not checked, and that may have none at all; the operator has to allow that to each.
//!
//! The file is the one that `LAYERWRIGHT_DOCKER_DAEMON_CONFIG` names; the host's flag comes in through that variable. Nothing else of the
//! file is read. Without the variable there is no opinion on any image.

use std::net::IpAddr;

use layerwright_plugin::mirror::{Endpoint, MirrorResolver, Reference, Route, Tls, Trust};
use layerwright_plugin::{Access, Description, Error, ErrorCode, Want, env, export_mirror_resolver, files};
use serde::Deserialize;

const FILE: &str = "LAYERWRIGHT_DOCKER_DAEMON_CONFIG";

/// Resolves by docker's `daemon.json`.
pub struct DockerDaemon;

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "registry-mirrors", default)]
    registry_mirrors: Vec<String>,
    #[serde(rename = "insecure-registries", default)]
    insecure_registries: Vec<String>,
}

impl MirrorResolver for DockerDaemon {
    fn describe() -> Description {
        Description::new(
            "layerwright/mirror-docker-daemon",
            env!("CARGO_PKG_VERSION"),
            "mirror rules as the registry-mirrors and insecure-registries of docker's daemon.json",
        )
        .wants([Want::Env(FILE.to_owned()), Want::File(format!("${FILE}"))])
    }

    fn resolve(reference: &Reference, access: Access) -> Result<Option<Route>, Error> {
        let hub = reference.registry == "docker.io";
        if hub && access == Access::Push {
            return Ok(None);
        }
        let Some(path) = env::get(FILE)?.filter(|path| !path.is_empty()) else { return Ok(None) };
        let content = files::read(&path).map_err(|error| match error.code {
            ErrorCode::NotFound => Error::not_found(format!("{path}: no such file")),
            _ => error,
        })?;
        let config: Config = serde_json::from_slice(&content)
            .map_err(|error| Error::invalid(format!("{path}: line {}, column {}: {}", error.line(), error.column(), kind(&error))))?;
        if !hub {
            let insecure = config.insecure_registries.iter().any(|listed| names(listed, &reference.registry));
            return Ok(insecure.then(|| unchecked(reference)));
        }
        let roots = config.registry_mirrors.iter().map(|mirror| root(&path, mirror)).collect::<Result<Vec<_>, _>>()?;
        if roots.is_empty() {
            return Ok(None);
        }
        let endpoints = roots.into_iter().map(|root| Endpoint::new(root, reference.repository.clone())).collect();
        Ok(Some(Route { endpoints, fallback: true }))
    }
}

fn kind(error: &serde_json::Error) -> &'static str {
    if error.is_data() { "not what daemon.json holds there" } else { "not JSON" }
}

/// The registry itself, be its certificate what it may, and in plain where it speaks no TLS.
fn unchecked(reference: &Reference) -> Route {
    let mut endpoint = Endpoint::new(format!("http://{}/v2", reference.registry), reference.repository.clone());
    endpoint.trust = Trust::RESOLVE | Trust::PULL | Trust::PUSH;
    endpoint.tls = Some(Tls { roots: Vec::new(), client: None, skip_verification: true });
    Route { endpoints: vec![endpoint], fallback: false }
}

/// Whether an entry of `insecure-registries`, a registry or a network in CIDR form, means a registry. Docker looks names up to compare them
/// with networks; here a network means registries that are named by address.
fn names(listed: &str, registry: &str) -> bool {
    let listed = listed.trim().trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
    if listed.eq_ignore_ascii_case(registry) {
        return true;
    }
    let bare = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    };
    let Some((network, length)) = listed.split_once('/') else { return false };
    let (Ok(network), Ok(length), Ok(address)) = (network.parse::<IpAddr>(), length.parse::<u32>(), bare.parse::<IpAddr>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if length <= 32 => {
            begins(network.to_bits().into(), address.to_bits().into(), 32 - length)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if length <= 128 => begins(network.to_bits(), address.to_bits(), 128 - length),
        _ => false,
    }
}

fn begins(network: u128, address: u128, free: u32) -> bool {
    network.checked_shr(free) == address.checked_shr(free)
}

/// The root of a mirror's API. Docker takes no path, no query, no fragment and no user.
fn root(path: &str, mirror: &str) -> Result<String, Error> {
    let bad = |why: &str| Error::invalid(format!("{path}: the registry mirror {mirror:?} {why}"));
    let trimmed = mirror.trim();
    let (scheme, host) = trimmed.split_once("://").ok_or_else(|| bad("has no scheme"))?;
    if !matches!(scheme, "https" | "http") {
        return Err(bad("is neither of https nor of http"));
    }
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', '@']) || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(bad("is more than a scheme, a host and a port"));
    }
    Ok(format!("{scheme}://{host}/v2"))
}

export_mirror_resolver!(DockerDaemon);

#[cfg(test)]
mod tests {
    use layerwright_plugin::fake;
    use layerwright_plugin::mirror::{Trust, Version};

    use super::*;

    fn reference(registry: &str) -> Reference {
        Reference { registry: registry.to_owned(), repository: "library/x".to_owned(), version: Version::Tag("1".to_owned()) }
    }

    fn host(content: &str) -> fake::Installed {
        fake::Host::new().env(FILE, "/d.json").file("/d.json", content).install()
    }

    #[test]
    fn mirrors_are_for_docker_hub_in_order_and_before_it() {
        let _host = host(r#"{"debug":true,"registry-mirrors":["https://a.example/","http://[::1]:5000"]}"#);
        let route = DockerDaemon::resolve(&reference("docker.io"), Access::Pull).unwrap().unwrap();
        let roots: Vec<&str> = route.endpoints.iter().map(|endpoint| endpoint.root.as_str()).collect();
        assert_eq!(roots, ["https://a.example/v2", "http://[::1]:5000/v2"]);
        assert!(route.fallback);
        assert!(route.endpoints.iter().all(|e| e.repository == "library/x" && e.trust == Trust::RESOLVE | Trust::PULL && !e.namespace));
        assert_eq!(DockerDaemon::resolve(&reference("quay.io"), Access::Pull), Ok(None));
        assert_eq!(DockerDaemon::resolve(&reference("docker.io"), Access::Push), Ok(None));
    }

    #[test]
    fn insecure_registries_are_named_or_lie_in_a_network() {
        let _host = host(r#"{"insecure-registries":["r.corp:5000","10.1.0.0/16","fd00::/8","http://old.corp/","0.0.0.0/33","x/y"]}"#);
        for access in [Access::Pull, Access::Push] {
            for good in ["r.corp:5000", "R.corp:5000", "10.1.255.9:5000", "10.1.0.1", "[fd12::1]:5000", "old.corp"] {
                let route = DockerDaemon::resolve(&reference(good), access).unwrap().unwrap_or_else(|| panic!("{good}"));
                let endpoint = &route.endpoints[0];
                assert_eq!((endpoint.root.as_str(), route.fallback), (format!("http://{good}/v2").as_str(), false));
                assert!(endpoint.tls.as_ref().is_some_and(|tls| tls.skip_verification) && endpoint.trust.contains(Trust::PUSH));
            }
            for other in ["r.corp", "r.corp:5001", "10.2.0.1:5000", "[fe80::1]", "11.1.0.1", "10.1.0.1.corp:5", "quay.io"] {
                assert_eq!(DockerDaemon::resolve(&reference(other), access), Ok(None), "{other}");
            }
        }
    }

    #[test]
    fn without_a_file_or_mirrors_there_is_no_opinion() {
        let _none = fake::Host::new().install();
        assert_eq!(DockerDaemon::resolve(&reference("docker.io"), Access::Pull), Ok(None));
        let _empty = host("{}");
        assert_eq!(DockerDaemon::resolve(&reference("docker.io"), Access::Pull), Ok(None));
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        for content in [
            "{",
            "3",
            r#"{"registry-mirrors":"https://a"}"#,
            r#"{"registry-mirrors":["a.example"]}"#,
            r#"{"registry-mirrors":["ftp://a.example"]}"#,
            r#"{"registry-mirrors":["https://a.example/path"]}"#,
            r#"{"registry-mirrors":["https://u:p@a.example"]}"#,
            r#"{"registry-mirrors":["https://a.example?x"]}"#,
            r#"{"registry-mirrors":["https://"]}"#,
        ] {
            let _host = host(content);
            let error = DockerDaemon::resolve(&reference("docker.io"), Access::Pull).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid, "{content}");
            assert!(error.message.contains("/d.json"), "{}", error.message);
        }
        let _missing = fake::Host::new().env(FILE, "/none").install();
        assert_eq!(DockerDaemon::resolve(&reference("docker.io"), Access::Pull).unwrap_err().code, ErrorCode::NotFound);
    }
}
