//! Where configurations are found, in the order in which they are asked.

use layerwright_plugin::{Error, ErrorCode, env, files, log};

use crate::config::{self, Config};

const AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";
const AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
const CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// The number of the user, which the host sets: podman's file is below it where there is no runtime directory.
const USER: &str = "UID";

/// The variables that are read.
pub(crate) const VARIABLES: [&str; 6] = [AUTH_CONFIG, AUTH_FILE, DOCKER_CONFIG, RUNTIME_DIR, CONFIG_HOME, USER];

/// The files that are read.
pub(crate) const FILES: [&str; 13] = [
    "$REGISTRY_AUTH_FILE",
    "$DOCKER_CONFIG/config.json",
    "$DOCKER_CONFIG/.dockerconfigjson",
    "$DOCKER_CONFIG/.dockercfg",
    "~/.docker/config.json",
    "~/.docker/.dockerconfigjson",
    "/kaniko/.docker/config.json",
    "/kaniko/.docker/.dockerconfigjson",
    "/run/containers",
    "$XDG_RUNTIME_DIR/containers/auth.json",
    "$XDG_CONFIG_HOME/containers/auth.json",
    "~/.config/containers/auth.json",
    "~/.dockercfg",
];

/// A configuration that was not read yet.
pub(crate) enum Source {
    /// A variable holds it.
    Variable(&'static str, String),
    /// A file holds it.
    File(String),
    /// A file holds its `auths` alone.
    OldFile(String),
}

impl Source {
    /// Reads it; none where it is missing or not granted.
    pub(crate) fn read(&self) -> Result<Option<Config>, Error> {
        match self {
            Self::Variable(name, text) => config::parse(text.as_bytes()).map(Some).map_err(|place| malformed(name, &place)),
            Self::File(path) => self.read_file(path, config::parse),
            Self::OldFile(path) => self.read_file(path, config::parse_old),
        }
    }

    fn read_file(&self, path: &str, parse: fn(&[u8]) -> Result<Config, String>) -> Result<Option<Config>, Error> {
        match files::read(path) {
            Ok(content) => parse(&content).map(Some).map_err(|place| malformed(path, &place)),
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) if error.code == ErrorCode::Denied => {
                log::debug(format!("{path} is passed over: {}", error.message));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How to name it to the user.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Variable(name, _) => name,
            Self::File(path) | Self::OldFile(path) => path,
        }
    }
}

fn malformed(name: &str, place: &str) -> Error {
    Error::invalid(format!("{name} is not a valid docker configuration ({place})"))
        .hint("a configuration is JSON with `auths`, `credHelpers` or `credsStore`")
}

/// All sources.
pub(crate) fn all() -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    if let Some(text) = variable(AUTH_CONFIG)? {
        sources.push(Source::Variable(AUTH_CONFIG, text));
    }
    if let Some(path) = variable(AUTH_FILE)? {
        sources.push(Source::File(path));
        return Ok(sources);
    }
    let docker = variable(DOCKER_CONFIG)?;
    for directory in [docker.as_deref().unwrap_or("~/.docker"), "/kaniko/.docker"] {
        // The second is what a pull secret of Kubernetes mounts as, where nobody renames it.
        sources.extend(["config.json", ".dockerconfigjson"].map(|name| Source::File(below(directory, name))));
    }
    if let Some(directory) = &docker {
        sources.push(Source::OldFile(below(directory, ".dockercfg")));
    }
    if let Some(directory) = variable(RUNTIME_DIR)? {
        sources.push(Source::File(below(&directory, "containers/auth.json")));
    } else if let Some(user) = variable(USER)?.filter(|user| user.bytes().all(|byte| byte.is_ascii_digit())) {
        sources.push(Source::File(format!("/run/containers/{user}/auth.json")));
    }
    let podman = match variable(CONFIG_HOME)? {
        Some(directory) => below(&directory, "containers/auth.json"),
        None => "~/.config/containers/auth.json".to_owned(),
    };
    sources.push(Source::File(podman));
    sources.push(Source::OldFile("~/.dockercfg".to_owned()));
    Ok(sources)
}

/// A variable that is granted, set and not blank.
fn variable(name: &str) -> Result<Option<String>, Error> {
    match env::get(name) {
        Ok(value) => Ok(value.filter(|value| !value.trim().is_empty())),
        Err(error) if error.code == ErrorCode::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

fn below(directory: &str, path: &str) -> String {
    format!("{}/{path}", directory.trim_end_matches('/'))
}
