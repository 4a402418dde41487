//! Kaniko's mirror rules as text.

use layerwright_plugin::Error;

use crate::{MAP, MIRROR, SKIP_FALLBACK};

/// Docker Hub's name in image references.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// One place that stands in for a registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    registry: String,
    pub(crate) host: String,
    /// Before the repository, without slashes at its ends.
    pub(crate) prefix: String,
}

/// All rules, in the order in which they apply.
#[derive(Debug)]
pub(crate) struct Rules {
    mappings: Vec<Mapping>,
    pub(crate) skip_fallback: bool,
}

impl Rules {
    /// Reads the three variables. Maps come before mirrors.
    pub(crate) fn parse(mirrors: &str, map: &str, skip_fallback: &str) -> Result<Self, Error> {
        let mut mappings = Vec::new();
        for rule in entries(map) {
            let (registry, target) = rule.split_once('=').ok_or_else(|| {
                invalid(MAP, rule, "lacks an `=`").hint("write `registry=mirror[/prefix]`, for instance `gcr.io=mirror.example/gcr`")
            })?;
            mappings.push(mapping(MAP, rule, registry.trim(), target.trim())?);
        }
        for mirror in entries(mirrors) {
            mappings.push(mapping(MIRROR, mirror, DOCKER_HUB, mirror)?);
        }
        Ok(Self { mappings, skip_fallback: boolean(skip_fallback)? })
    }

    /// The places that stand in for a registry.
    pub(crate) fn for_registry<'a>(&'a self, registry: &'a str) -> impl Iterator<Item = &'a Mapping> {
        let wanted = canonical(registry);
        self.mappings.iter().filter(move |mapping| mapping.registry == wanted)
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split([';', ',']).map(str::trim).filter(|entry| !entry.is_empty())
}

fn mapping(variable: &str, rule: &str, registry: &str, target: &str) -> Result<Mapping, Error> {
    // A scheme says nothing here: the host knows which registries are insecure.
    let target = target.strip_prefix("https://").or_else(|| target.strip_prefix("http://")).unwrap_or(target);
    let (host, prefix) = target.trim_end_matches('/').split_once('/').unwrap_or((target.trim_end_matches('/'), ""));
    if !is_host(registry) {
        return Err(invalid(variable, rule, "does not name a registry"));
    }
    if !is_host(host) {
        return Err(invalid(variable, rule, "does not name a mirror as `host[:port][/prefix]`"));
    }
    if !prefix.is_empty() && !prefix.split('/').all(is_component) {
        return Err(invalid(variable, rule, "has a prefix that cannot begin a repository's name"));
    }
    Ok(Mapping { registry: canonical(registry).to_owned(), host: canonical(host).to_owned(), prefix: prefix.to_owned() })
}

/// Docker Hub goes by several names.
fn canonical(registry: &str) -> &str {
    match registry {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// Whether this is `host[:port]`, an IPv6 address in brackets included.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

fn is_component(component: &str) -> bool {
    !component.is_empty()
        && !component.starts_with('.')
        && component.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

/// A boolean as Go's flags read it; empty is false.
fn boolean(value: &str) -> Result<bool, Error> {
    match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(invalid(SKIP_FALLBACK, other, "is neither true nor false")),
    }
}

/// The host hands its flags in through the variables, so that either may be where the rule stands.
fn invalid(variable: &str, rule: &str, problem: &str) -> Error {
    let flag = match variable {
        MIRROR => "--registry-mirror or ",
        MAP => "--registry-map or ",
        _ => "",
    };
    Error::invalid(format!("`{rule}` in {flag}{variable} {problem}"))
}
