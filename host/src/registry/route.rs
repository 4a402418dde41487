//! Which places to ask for an image, in which order.

use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::oci::{DOCKER_HUB, Version};
use crate::progress::Level;

use super::Client;
use super::auth::Access;
use super::endpoint::{Endpoint, Host};
use super::error::{Cause, clean};
use super::mirror::{MirrorEndpoint, MirrorVersion, Route};
use super::origin::Origin;
use super::settings::Plain;
use super::tls::Profile;

/// Docker Hub's API is not where its name says.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// What tells one way of speaking to a server from another.
pub(super) type HostKey = (String, Plain, Profile, Access, Vec<(String, String)>);
/// Registry, repository, tag where one is asked for, access.
pub(super) type RouteKey = (String, String, Option<String>, Access);

impl Client {
    /// The places that may have an image, its own registry last; at least one.
    pub(super) async fn places(&self, registry: &str, repository: &str, version: &Version, access: Access) -> Result<Vec<Endpoint>, Cause> {
        let route = self.route(registry, repository, version, access).await?;
        let mut places = Vec::new();
        let fallback = route.as_ref().is_none_or(|route| route.fallback);
        for mirror in route.iter().flat_map(|route| &route.endpoints) {
            let trusted = match access {
                Access::Push => mirror.push,
                Access::Pull => mirror.pull && (mirror.resolve || matches!(version, Version::Digest(_))),
            };
            if !trusted {
                continue;
            }
            match self.mirror(mirror, registry, access) {
                Ok(endpoint) => places.push(endpoint),
                Err(why) => self.warn(&format!("mirror {} is left out: {why}", clean(&mirror.root, &[]))),
            }
        }
        if fallback {
            places.push(self.own(registry, repository, access));
        }
        let memory = self.memory();
        let served = memory.served.get(&(registry.to_owned(), repository.to_owned()));
        // Places that lied come last, the one that served the manifest comes first.
        places.sort_by_key(|place| (memory.bad.contains(&place.host.root), served.is_none_or(|served| *served != place.host.root)));
        drop(memory);
        let settings = &self.inner.transport.settings;
        let patient = settings.tries(access);
        match places.last_mut() {
            Some(last) => last.tries = patient,
            None => return Err(Cause::NotFound("no mirror may be asked for it, and the registry itself is not to be".to_owned())),
        }
        Ok(places)
    }

    /// What the first resolver with an opinion says; asked once for a tag, and once for all digests of a repository.
    pub(super) async fn route(&self, registry: &str, repository: &str, version: &Version, access: Access) -> Result<Option<Route>, Cause> {
        if self.inner.resolvers.is_empty() {
            return Ok(None);
        }
        let (tag, version) = match version {
            Version::Tag(tag) => (Some(tag.clone()), MirrorVersion::Tag(tag.clone())),
            Version::Digest(digest) => (None, MirrorVersion::Digest(digest.to_string())),
        };
        let key = (registry.to_owned(), repository.to_owned(), tag, access);
        if let Some(route) = self.memory().routes.get(&key) {
            return Ok(route.clone());
        }
        let mut route = None;
        for resolver in &self.inner.resolvers {
            route = resolver.resolve(registry, repository, &version, access).await?;
            if route.is_some() {
                break;
            }
        }
        self.memory().routes.insert(key, route.clone());
        Ok(route)
    }

    /// An image's own registry.
    pub(super) fn own(&self, registry: &str, repository: &str, access: Access) -> Endpoint {
        let transport = &self.inner.transport;
        let address = if registry == DOCKER_HUB { DOCKER_HUB_API } else { registry };
        let plain = transport.settings.plain(registry, access);
        let profile = transport.profile(address, access, None);
        let mut endpoint = self.endpoint(registry, format!("{address}/v2"), plain, profile, Vec::new(), access, repository);
        endpoint.tries = transport.settings.tries(access);
        endpoint
    }

    fn mirror(&self, mirror: &MirrorEndpoint, registry: &str, access: Access) -> Result<Endpoint, Cause> {
        let bad = |why: &str| Cause::Settings(why.to_owned());
        let root: Url = mirror.root.parse().map_err(|_| bad("its root is not a URL"))?;
        let origin = Origin::of(&root).ok_or_else(|| bad("its root is not a URL of HTTP"))?;
        if !root.username().is_empty() || root.password().is_some() || root.query().is_some() || root.fragment().is_some() {
            return Err(bad("its root holds more than host and path"));
        }
        if !is_path(&mirror.repository) {
            return Err(bad("its repository is not one"));
        }
        // The port as written: plain HTTP and TLS have other ports of their own.
        let address = match root.port() {
            Some(port) => format!("{}:{port}", origin.host()),
            None => origin.host().to_owned(),
        };
        let transport = &self.inner.transport;
        let any = mirror.tls.as_ref().is_some_and(|tls| tls.skip_verification);
        let plain = match (transport.settings.plain(&address, access), origin.is_plain()) {
            (_, true) if any => Plain::Allowed,
            (Plain::Refused, true) => return Err(bad("it speaks plain HTTP, and is not named as an insecure registry")),
            (plain, _) => plain,
        };
        let mut profile = transport.profile(&address, access, mirror.tls.as_ref());
        profile.connect_timeout = mirror.connect_timeout;
        let root = format!("{address}{}", root.path().trim_end_matches('/'));
        let name = match address.as_str() {
            DOCKER_HUB_API | "index.docker.io" => DOCKER_HUB,
            other => other,
        };
        let mut endpoint = self.endpoint(name, root, plain, profile, mirror.headers.clone(), access, &mirror.repository);
        endpoint.namespace = mirror.namespace.then(|| registry.to_owned());
        Ok(endpoint)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where an endpoint is put together")]
    fn endpoint(
        &self,
        registry: &str,
        root: String,
        plain: Plain,
        profile: Profile,
        headers: Vec<(String, String)>,
        access: Access,
        repository: &str,
    ) -> Endpoint {
        let transport = self.inner.transport.clone();
        let key = (root.clone(), plain, profile.clone(), access, headers.clone());
        let mut memory = self.memory();
        let host = memory.hosts.entry(key).or_insert_with(|| {
            let host = Host {
                registry: registry.to_owned(),
                root,
                plain,
                profile,
                headers: header_map(&headers),
                access,
                reached: Default::default(),
                challenge: Default::default(),
                tokens: Default::default(),
            };
            Arc::new(host)
        });
        let tries = 1 + match access {
            Access::Pull => transport.settings.download_retry.min(100),
            Access::Push => transport.settings.push_retry.min(100),
        };
        Endpoint {
            host: host.clone(),
            transport,
            keychain: self.inner.keychain.clone(),
            repository: repository.to_owned(),
            namespace: None,
            tries,
            deletes: false,
        }
    }

    pub(super) fn warn(&self, message: &str) {
        self.inner.reporter.log(Level::Warning, message);
    }
}

/// What failed so far, where several places are tried in turn.
#[derive(Default)]
pub(super) struct Attempts(Vec<(Endpoint, Cause)>);

impl Attempts {
    /// Takes note of a failure.
    ///
    /// # Errors
    /// The failure is one that no other place mends.
    pub(super) fn failed(&mut self, client: &Client, endpoint: &Endpoint, cause: Cause, more: bool) -> Result<(), Cause> {
        if cause.is_final() {
            return Err(cause);
        }
        if matches!(cause, Cause::DigestMismatch { .. }) {
            client.memory().bad.insert(endpoint.host.root.clone());
        }
        if more {
            client.warn(&format!("{}: {cause}; going on to the next place", endpoint.place()));
        }
        self.0.push((endpoint.clone(), cause));
        Ok(())
    }

    /// The failure of them all.
    pub(super) fn cause(mut self) -> Cause {
        let Some((_, last)) = self.0.pop() else { return Cause::NotFound("there is no place to ask".to_owned()) };
        if self.0.is_empty() {
            return last;
        }
        let earlier = self.0.into_iter().map(|(endpoint, cause)| (endpoint.place(), cause.to_string())).collect();
        Cause::Everywhere { earlier, last: Box::new(last) }
    }
}

/// Whether a mirror's repository can be a part of a URL's path and nothing else.
fn is_path(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && part.bytes().any(|b| b != b'.')
    };
    text.len() <= 512 && text.split('/').all(part)
}

/// Headers that cannot be sent are left out; `Authorization` is not a mirror's to set for anyone but itself, and it is
/// sent to its own origin only.
fn header_map(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            value.set_sensitive(true);
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrors_repository_is_only_a_path() {
        for good in ["library/alpine", "proxy/a.b/c-d__e"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "/a", "a//b", "../a", "a/..", "a?b", "a#b", "a%2f", "A", "a b"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
