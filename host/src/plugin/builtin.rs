//! The plugins that come with the program, compiled ahead of time, and what each is allowed unless the operator says otherwise.

use super::grant::Grant;
use super::shape::{Import, World};

/// One embedded plugin.
pub(super) struct Embedded {
    /// Its package's name without the prefix.
    pub(super) name: &'static str,
    /// SHA-256 of the component, hexadecimal.
    pub(super) digest: &'static str,
    pub(super) world: World,
    pub(super) imports: &'static [Import],
    /// Compiled for this architecture by the build script.
    pub(super) compiled: &'static [u8],
}

/// Written by the build script.
static EMBEDDED: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// What plugins get that the operator did not configure: the variables and files that the tools whose place they take read as well.
/// Of credential helpers these are the published ones that pipelines name in config.json; hosts are in none of the lists.
const USUAL: &[(&str, &[&str])] = &[
    (
        "auth-docker-config",
        &[
            "env=DOCKER_CONFIG",
            "env=DOCKER_AUTH_CONFIG",
            "env=REGISTRY_AUTH_FILE",
            "env=XDG_RUNTIME_DIR",
            "env=XDG_CONFIG_HOME",
            "file=$DOCKER_CONFIG/config.json",
            "file=$REGISTRY_AUTH_FILE",
            "file=$XDG_RUNTIME_DIR/containers/auth.json",
            "file=$XDG_CONFIG_HOME/containers/auth.json",
            "file=~/.docker/config.json",
            "file=~/.dockercfg",
            "file=~/.config/containers/auth.json",
            "file=/kaniko/.docker/config.json",
            "credential-helper=acr-env",
            "credential-helper=ecr-login",
            "credential-helper=gcloud",
            "credential-helper=gcr",
            "credential-helper=pass",
            "credential-helper=secretservice",
        ],
    ),
    ("mirror-kaniko", &["env=KANIKO_REGISTRY_MIRROR", "env=KANIKO_REGISTRY_MAP", "env=KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK"]),
];

/// The names of the plugins that come with the program, in the order in which they are asked.
pub fn names() -> impl Iterator<Item = &'static str> {
    EMBEDDED.iter().map(|embedded| embedded.name)
}

/// What a standard plugin is allowed unless the operator says otherwise.
pub fn usual_grants(name: &str) -> Vec<Grant> {
    let texts = USUAL.iter().find(|(plugin, _)| *plugin == name).map_or(&[][..], |(_, grants)| grants);
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn find(name: &str) -> Option<&'static Embedded> {
    EMBEDDED.iter().find(|embedded| embedded.name == name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plugin::{PluginSet, PluginSettings};
    use crate::progress::Silent;

    #[test]
    fn usual_grants_are_what_the_plugins_want() {
        let set = PluginSet::load(&PluginSettings::standard(), Arc::new(Silent)).unwrap();
        let names: Vec<&str> = set.infos().iter().map(|info| info.origin.as_str()).collect();
        assert_eq!(names, super::names().collect::<Vec<_>>());
        for info in set.infos() {
            // Which helpers it will want only the configuration files tell.
            let helpers = |grant: &String| !grant.starts_with("credential-helper=");
            let mut granted: Vec<String> = info.grants.iter().map(Grant::to_string).filter(helpers).collect();
            let mut wanted = info.wants.clone();
            granted.sort();
            wanted.sort();
            assert_eq!(granted, wanted, "{}", info.name);
        }
        for (name, grants) in USUAL {
            assert_eq!(usual_grants(name).len(), grants.len(), "{name}");
            assert!(find(name).is_some(), "{name}");
        }
    }
}
