//! From a name to the places that may have its image.

use layerwright_plugin::mirror::{Endpoint, Reference, Route, Tls, Version};
use layerwright_plugin::{Access, Error};

use crate::config::{Config, Pulls, Registry, ShortNames};

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// The route to an image; none where the files have nothing to say about it.
pub(crate) fn route(config: &Config, reference: &Reference, access: Access) -> Result<Option<Route>, Error> {
    let written = format!("{}/{}", reference.registry, reference.repository);
    if access == Access::Push {
        // Mirrors and other locations are for pulls; what is blocked is blocked.
        let found = find(config, &written);
        return found.filter(|registry| registry.blocked).map_or(Ok(None), |registry| Err(blocked(registry, &written)));
    }
    let names = names(config, reference)?;
    let renamed = names != [written.clone()];
    let mut endpoints = Vec::new();
    let mut fallback = false;
    for name in &names {
        match find(config, name) {
            Some(registry) if registry.blocked && names.len() == 1 => return Err(blocked(registry, name)),
            Some(registry) if registry.blocked => {}
            Some(registry) => {
                let digest = matches!(reference.version, Version::Digest(_));
                for mirror in &registry.mirrors {
                    if matches!((mirror.pulls, digest), (Pulls::All, _) | (Pulls::DigestOnly, true) | (Pulls::TagOnly, false)) {
                        endpoints.push(endpoint(&rewritten(name, &registry.prefix, &mirror.location), mirror.insecure));
                    }
                }
                let own = rewritten(name, &registry.prefix, &registry.location);
                // The host knows the way to the registry itself best.
                if own == written && !registry.insecure && names.len() == 1 {
                    fallback = true;
                } else {
                    endpoints.push(endpoint(&own, registry.insecure));
                }
            }
            None if !renamed => return Ok(None),
            None => endpoints.push(endpoint(name, false)),
        }
    }
    match endpoints.is_empty() {
        true if fallback => Ok(None),
        true => Err(Error::denied(format!("every registry for {written} is blocked"))),
        false => Ok(Some(Route { endpoints, fallback })),
    }
}

/// What a name may stand for, in the order in which to try it.
fn names(config: &Config, reference: &Reference) -> Result<Vec<String>, Error> {
    let written = format!("{}/{}", reference.registry, reference.repository);
    if reference.registry != DOCKER_HUB {
        return Ok(vec![written]);
    }
    let repository = reference.repository.as_str();
    let short = repository.strip_prefix("library/").filter(|name| !name.contains('/')).unwrap_or(repository);
    if let Some(full) = config.aliases.get(short).or_else(|| config.aliases.get(repository)).filter(|full| !full.is_empty()) {
        return Ok(vec![full_name(full)?]);
    }
    let registries = match config.search.as_deref() {
        None | Some([]) => return Ok(vec![written]),
        Some(registries) => registries,
    };
    if registries.len() > 1 && config.short_names == Some(ShortNames::Enforcing) {
        let several = registries.join(", ");
        let error = Error::invalid(format!("the name {short} may be of several registries ({several}), and short-name-mode is enforcing"));
        return Err(error.hint(format!("write the full name, or add `{short} = \"docker.io/{repository}\"` to [aliases]")));
    }
    let full = |registry: &String| match registry.as_str() {
        DOCKER_HUB => written.clone(),
        other => format!("{other}/{short}"),
    };
    Ok(registries.iter().map(full).collect())
}

/// An alias stands for a registry and a repository.
fn full_name(alias: &str) -> Result<String, Error> {
    let bad = || Error::invalid(format!("the alias for {alias:?} is not `host[:port]/repository`"));
    let (host, repository) = alias.split_once('/').ok_or_else(bad)?;
    let named = host.contains(['.', ':']) || host == "localhost";
    if !named || repository.is_empty() || repository.contains([':', '@', ' ']) {
        return Err(bad());
    }
    Ok(match (host, repository.contains('/')) {
        (DOCKER_HUB, false) => format!("{DOCKER_HUB}/library/{repository}"),
        _ => alias.to_owned(),
    })
}

/// The registry with the longest prefix that a name has.
fn find<'a>(config: &'a Config, name: &str) -> Option<&'a Registry> {
    let fits = config.registries.iter().filter(|registry| matched(name, &registry.prefix).is_some());
    // The last of equals: later files come later.
    fits.max_by_key(|registry| registry.prefix.len())
}

/// How much of a name a prefix covers.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or(name);
        let bare = if domain.contains(':') { host } else { host.split(':').next().unwrap_or(host) };
        let below = bare.strip_suffix(domain)?;
        return (!below.is_empty()).then_some(bare.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

/// A name with another beginning.
fn rewritten(name: &str, prefix: &str, location: &str) -> String {
    match matched(name, prefix) {
        Some(length) if !location.is_empty() => format!("{location}{}", name.get(length..).unwrap_or_default()),
        _ => name.to_owned(),
    }
}

fn endpoint(name: &str, insecure: bool) -> Endpoint {
    let (host, repository) = name.split_once('/').unwrap_or((name, ""));
    let host = if host == DOCKER_HUB { DOCKER_HUB_API } else { host };
    // Insecure is either: TLS with any certificate, or none where none is spoken.
    let mut endpoint = Endpoint::new(format!("{}://{host}/v2", if insecure { "http" } else { "https" }), repository);
    endpoint.tls = insecure.then(|| Tls { roots: Vec::new(), client: None, skip_verification: true });
    endpoint
}

fn blocked(registry: &Registry, name: &str) -> Error {
    Error::denied(format!("{name} is blocked by the registry {:?} in {}", registry.prefix, registry.file))
}
