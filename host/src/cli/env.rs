//! Every environment variable that the program reads.

/// The user's home.
pub const HOME: &str = "HOME";
/// Where programs are found: credential helpers.
pub const PATH: &str = "PATH";
/// Directory of docker's config.json.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Docker's configuration itself, as JSON.
pub const DOCKER_AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";
/// A file of credentials, as podman names it.
pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Where podman keeps credentials of a session.
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// Where podman keeps credentials.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where the store goes by default, below it.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Where compiled plugins go, below it.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Where the store is.
pub const LAYERWRIGHT_STORE: &str = "LAYERWRIGHT_STORE";
/// As --no-push.
pub const KANIKO_NO_PUSH: &str = "KANIKO_NO_PUSH";
/// As --registry-mirror.
pub const KANIKO_REGISTRY_MIRROR: &str = "KANIKO_REGISTRY_MIRROR";
/// As --registry-map.
pub const KANIKO_REGISTRY_MAP: &str = "KANIKO_REGISTRY_MAP";
/// As --skip-default-registry-fallback, for the mirror resolver.
pub const KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK: &str = "KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK";
/// Seconds since 1970 that stand for now.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The value of a variable; none where it is not set, is empty or is no text.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable holds a word for yes.
pub fn is_true(name: &str) -> bool {
    get(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "yes"))
}
