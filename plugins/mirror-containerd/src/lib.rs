//! Mirror rules as containerd's `hosts.toml`, in one directory for each registry.
//!
//! The directory of them all is the one that `LAYERWRIGHT_REGISTRY_HOSTS_DIR` names; the host's flag comes in through that variable. In it
//! the first of `host_port_`, `host:port` and `_default` that exists is the registry's. Where it has no `hosts.toml`, certificates in it
//! (`*.crt`, and `*.cert` with `*.key`) are for the registry itself, as docker has them. Without the variable there is no opinion.

mod hosts;

#[cfg(test)]
mod tests;

use layerwright_plugin::mirror::{MirrorResolver, Reference, Route, Trust};
use layerwright_plugin::{Access, Description, Error, ErrorCode, Want, env, export_mirror_resolver, files};

const FOLDER: &str = "LAYERWRIGHT_REGISTRY_HOSTS_DIR";

/// Resolves by containerd's host directories.
pub struct Containerd;

impl MirrorResolver for Containerd {
    fn describe() -> Description {
        Description::new("layerwright/mirror-containerd", env!("CARGO_PKG_VERSION"), "mirror rules as containerd's hosts.toml")
            .wants([Want::Env(FOLDER.to_owned()), Want::File(format!("${FOLDER}"))])
    }

    fn resolve(reference: &Reference, access: Access) -> Result<Option<Route>, Error> {
        let Some(root) = env::get(FOLDER)?.filter(|path| !path.is_empty()) else { return Ok(None) };
        let root = root.trim_end_matches('/');
        for name in folders(&reference.registry) {
            let folder = format!("{root}/{name}");
            let names = match files::entries(&folder) {
                Ok(names) => names,
                Err(error) if error.code == ErrorCode::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut endpoints = if names.iter().any(|name| name == "hosts.toml") {
                let path = format!("{folder}/hosts.toml");
                let content = files::read(&path)?;
                let text = std::str::from_utf8(&content).map_err(|_| Error::invalid(format!("{path}: not UTF-8")))?;
                hosts::endpoints(&path, &folder, text, reference)?
            } else {
                match hosts::certificates(&folder, &names, reference) {
                    Some(endpoint) => vec![endpoint],
                    None => return Ok(None),
                }
            };
            let wanted = if access == Access::Push { Trust::PUSH } else { Trust::PULL };
            endpoints.retain(|endpoint| endpoint.trust.contains(wanted));
            if endpoints.is_empty() {
                return Err(Error::denied(format!("{folder}: no host there may be used to {}", verb(access))));
            }
            return Ok(Some(Route { endpoints, fallback: false }));
        }
        Ok(None)
    }
}

fn verb(access: Access) -> &'static str {
    match access {
        Access::Pull => "pull",
        Access::Push => "push",
    }
}

/// The directories that may be a registry's, in the order of preference.
fn folders(registry: &str) -> Vec<String> {
    let mut folders = Vec::new();
    if let Some((host, port)) = registry.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())) {
        folders.push(format!("{host}_{port}_"));
    }
    folders.extend([registry.to_owned(), "_default".to_owned()]);
    folders
}

export_mirror_resolver!(Containerd);
