//! The keys of a configuration, which tools write in several ways: `host`, `host/path`, `https://host/v1/`.

/// Docker Hub's name in image references.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// The key under which docker keeps a login to Docker Hub, and asks helpers for it.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// What a key is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// `*` stands for one label.
    host: &'a str,
    /// A namespace or repository; empty for the whole registry.
    pub(crate) path: &'a str,
}

impl<'a> Key<'a> {
    /// Reads a key.
    pub(crate) fn parse(text: &'a str) -> Self {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let (host, path) = bare.unwrap_or(text).split_once('/').unwrap_or((bare.unwrap_or(text), ""));
        let path = path.trim_matches('/');
        // A URL is that of a registry's API, whatever its path.
        let whole = bare.is_some() || path == "v1" || path == "v2";
        Self { host: canonical(host), path: if whole { "" } else { path } }
    }

    /// Whether the key is about this registry or one of its repositories.
    pub(crate) fn is_for(&self, registry: &str) -> bool {
        if !self.host.contains('*') {
            return self.host == registry;
        }
        let (labels, wanted) = (self.host.split('.'), registry.split('.'));
        labels.clone().count() == wanted.clone().count() && labels.zip(wanted).all(|(label, wanted)| label == "*" || label == wanted)
    }

    /// Whether the repository is the key's path or below it.
    pub(crate) fn holds(&self, repository: &str) -> bool {
        self.path.is_empty() || repository.strip_prefix(self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The greater, the more closely the key is about what it holds.
    pub(crate) fn closeness(&self) -> (usize, bool) {
        (self.path.len(), !self.host.contains('*'))
    }
}

/// How to ask a helper for a registry's credential.
pub(crate) fn server(registry: &str) -> &str {
    if registry == DOCKER_HUB { DOCKER_HUB_SERVER } else { registry }
}

/// Docker Hub goes by several names.
pub(crate) fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (text, host, path) in [
            ("https://index.docker.io/v1/", "docker.io", ""),
            ("docker.io", "docker.io", ""),
            ("registry-1.docker.io", "docker.io", ""),
            ("index.docker.io/v1/", "docker.io", ""),
            ("docker.io/library/x", "docker.io", "library/x"),
            ("http://h:5000", "h:5000", ""),
            ("h:5000/a/b/", "h:5000", "a/b"),
            ("https://h/v2/", "h", ""),
            ("https://h/api/docker/x", "h", ""),
        ] {
            assert_eq!(Key::parse(text), Key { host, path }, "{text}");
        }
    }

    #[test]
    fn stars_stand_for_one_label() {
        for (key, registry, expected) in [
            ("*.h.example", "a.h.example", true),
            ("*.h.example", "a.b.h.example", false),
            ("*.h.example", "h.example", false),
            ("a.*.example:5000", "a.b.example:5000", true),
            ("a*.example", "ab.example", false),
        ] {
            assert_eq!(Key::parse(key).is_for(registry), expected, "{key} {registry}");
        }
    }

    #[test]
    fn paths_end_at_slashes() {
        let key = Key::parse("h/a/b");
        assert!(key.holds("a/b") && key.holds("a/b/c"));
        assert!(!key.holds("a/bc") && !key.holds("a"));
    }
}
