//! Every environment variable that the program itself reads. Plugins are granted variables of their own, by name.

/// The user's home.
pub const HOME: &str = "HOME";
/// Where programs are found: credential helpers.
pub const PATH: &str = "PATH";
/// Where docker's config.json is.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Where the store goes by default, below it.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Where compiled plugins go, below it.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Where the store is.
pub const LAYERWRIGHT_STORE: &str = "LAYERWRIGHT_STORE";
/// As --store-limit.
pub const LAYERWRIGHT_STORE_LIMIT: &str = "LAYERWRIGHT_STORE_LIMIT";
/// As --no-push.
pub const KANIKO_NO_PUSH: &str = "KANIKO_NO_PUSH";
/// As --registry-mirror.
pub const KANIKO_REGISTRY_MIRROR: &str = "KANIKO_REGISTRY_MIRROR";
/// As --registry-map.
pub const KANIKO_REGISTRY_MAP: &str = "KANIKO_REGISTRY_MAP";
/// As --skip-default-registry-fallback, for the mirror resolver.
pub const KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK: &str = "KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK";
/// As --registries-conf.
pub const LAYERWRIGHT_REGISTRIES_CONF: &str = "LAYERWRIGHT_REGISTRIES_CONF";
/// The drop-ins of the former: its name and `.d`. For the mirror resolver.
pub const LAYERWRIGHT_REGISTRIES_CONF_DIR: &str = "LAYERWRIGHT_REGISTRIES_CONF_DIR";
/// As --registry-hosts-dir.
pub const LAYERWRIGHT_REGISTRY_HOSTS_DIR: &str = "LAYERWRIGHT_REGISTRY_HOSTS_DIR";
/// As --docker-daemon-config.
pub const LAYERWRIGHT_DOCKER_DAEMON_CONFIG: &str = "LAYERWRIGHT_DOCKER_DAEMON_CONFIG";
/// As --config.
pub const LAYERWRIGHT_CONFIG: &str = "LAYERWRIGHT_CONFIG";
/// Where a file `images` is put that names what was pushed.
pub const BUILDER_OUTPUT: &str = "BUILDER_OUTPUT";
/// As the build argument of that name, where it is not given.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// As --allow-private-host, several separated by commas.
pub const LAYERWRIGHT_ALLOW_PRIVATE_HOSTS: &str = "LAYERWRIGHT_ALLOW_PRIVATE_HOSTS";

/// How a context of the form `git://host/path` is pulled: https, http or git.
pub const GIT_PULL_METHOD: &str = "GIT_PULL_METHOD";

/// How much of a step's output is shown, in bytes; -1 for all of it.
pub const BUILDKIT_STEP_LOG_MAX_SIZE: &str = "BUILDKIT_STEP_LOG_MAX_SIZE";
/// The user's SSH agent.
pub const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// Of a token for git contexts.
pub const GIT_TOKEN: &str = "GIT_TOKEN";
/// Of a user for git contexts.
pub const GIT_USERNAME: &str = "GIT_USERNAME";
/// The user's password for git contexts.
pub const GIT_PASSWORD: &str = "GIT_PASSWORD";

/// Of a login to AWS, for contexts in S3.
pub const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// The other part of a login that ends.
pub const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
/// The key of an account, for contexts in Azure.
pub const AZURE_STORAGE_ACCESS_KEY: &str = "AZURE_STORAGE_ACCESS_KEY";
/// A signature that lets its bearer in, for contexts in Azure.
pub const AZURE_STORAGE_SAS_TOKEN: &str = "AZURE_STORAGE_SAS_TOKEN";
/// Of an application's login, for contexts in Azure.
pub const AZURE_CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";

/// Set where output is to have no colours.
pub const NO_COLOR: &str = "NO_COLOR";

/// As --cleanup.
pub const KANIKO_CLEANUP: &str = "KANIKO_CLEANUP";

/// As --pre-cleanup.
pub const KANIKO_PRE_CLEANUP: &str = "KANIKO_PRE_CLEANUP";

/// As --preserve-context.
pub const KANIKO_PRESERVE_CONTEXT: &str = "KANIKO_PRESERVE_CONTEXT";

/// Whether the plan of a build is printed before it begins.
pub const KANIKO_PRINT_PLAN: &str = "KANIKO_PRINT_PLAN";

/// Whether registries are spoken to without HTTP/2. Of kaniko's feature flags the one that changes anything here.
pub const FF_KANIKO_DISABLE_HTTP2: &str = "FF_KANIKO_DISABLE_HTTP2";

/// What registries are told of who calls the program.
pub const UPSTREAM_CLIENT_TYPE: &str = "UPSTREAM_CLIENT_TYPE";

/// Where kaniko's images keep what belongs to the builder.
pub const KANIKO_DIR: &str = "KANIKO_DIR";

/// Set by container runtimes to their name.
pub const CONTAINER: &str = "container";

/// A file of registry logins, as podman has it.
pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";

/// Certificate authorities in one file.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// Certificate authorities in a directory.
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// The value of a variable; none where it is not set, is empty or is no text.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// All variables that are text: whoever reads buckets picks those that clouds have defined.
pub fn all() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The names of all variables that are set, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Whether a variable holds a word for yes.
pub fn is_true(name: &str) -> bool {
    get(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "yes"))
}
