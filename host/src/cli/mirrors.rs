use std::path::{Path, PathBuf};

use super::env;
use super::registry::RegistryArguments;
use super::settings::UsageError;
use crate::plugin::{PluginOrigin, PluginSettings};

/// A standard resolver that reads a file or a directory of the operator's.
struct FromFile {
    plugin: &'static str,
    flag: &'static str,
    variable: &'static str,
}

const FROM_FILES: [FromFile; 3] = [
    FromFile { plugin: "mirror-registries-conf", flag: "registries-conf", variable: env::LAYERWRIGHT_REGISTRIES_CONF },
    FromFile { plugin: "mirror-containerd", flag: "registry-hosts-dir", variable: env::LAYERWRIGHT_REGISTRY_HOSTS_DIR },
    FromFile { plugin: "mirror-docker-daemon", flag: "docker-daemon-config", variable: env::LAYERWRIGHT_DOCKER_DAEMON_CONFIG },
];

/// Hands the files of mirror rules to the resolvers that read them, and leaves out the resolvers that have none: a build does not depend
/// on what happens to lie on the machine. Those that stay are asked after kaniko's, in the order of the table.
///
/// # Errors
/// A file that is not there.
pub fn hand_out(args: &RegistryArguments, settings: &mut PluginSettings) -> Result<(), UsageError> {
    let given = [&args.registries_conf, &args.registry_hosts_dir, &args.docker_daemon_config];
    let mut last = Vec::new();
    for (rule, given) in FROM_FILES.iter().zip(given) {
        let origin = PluginOrigin::Standard(rule.plugin.to_owned());
        let Some(at) = settings.plugins.iter().position(|plugin| plugin.origin == origin) else { continue };
        let mut plugin = settings.plugins.remove(at);
        let Some(path) = given.clone().or_else(|| env::get(rule.variable).map(PathBuf::from)) else { continue };
        let path = absolute(rule.flag, &path)?;
        if rule.variable == env::LAYERWRIGHT_REGISTRIES_CONF {
            plugin.environment.insert(env::LAYERWRIGHT_REGISTRIES_CONF_DIR.to_owned(), format!("{path}.d"));
        }
        plugin.environment.insert(rule.variable.to_owned(), path);
        last.push(plugin);
    }
    // Where the standard ones stood; plugins of the operator's come after them.
    let place = settings.plugins.iter().position(|plugin| matches!(plugin.origin, PluginOrigin::File(_))).unwrap_or(settings.plugins.len());
    settings.plugins.splice(place..place, last);
    Ok(())
}

/// Grants of files are absolute and go nowhere but down.
fn absolute(flag: &'static str, path: &Path) -> Result<String, UsageError> {
    let bad = |why: String| UsageError { flag, why };
    let found = std::fs::metadata(path).and_then(|_| std::path::absolute(path));
    let whole = found.map_err(|error| bad(format!("{}: {error}", path.display())))?;
    if whole.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(bad(format!("{} has a `..`", path.display())));
    }
    whole.into_os_string().into_string().map_err(|_| bad(format!("{} is not UTF-8", path.display())))
}
