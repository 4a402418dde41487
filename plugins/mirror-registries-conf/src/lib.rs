//! Mirror rules as containers-registries.conf(5), version 2.
//!
//! The file is the one that `LAYERWRIGHT_REGISTRIES_CONF` names, and after it come the `*.conf` of the directory that
//! `LAYERWRIGHT_REGISTRIES_CONF_DIR` names, in the order of their names; the host's flag comes in through these variables. Without them
//! there is no opinion on any image.
//!
//! A resolver sees full names only, so what the file says of short names holds for every name that could have been written short: the
//! images of Docker Hub.

mod config;
mod resolve;

#[cfg(test)]
mod tests;

use layerwright_plugin::mirror::{MirrorResolver, Reference, Route};
use layerwright_plugin::{Access, Description, Error, ErrorCode, Want, env, export_mirror_resolver, files};

use config::Config;

const FILE: &str = "LAYERWRIGHT_REGISTRIES_CONF";
const FOLDER: &str = "LAYERWRIGHT_REGISTRIES_CONF_DIR";

/// Resolves by a `registries.conf`.
pub struct RegistriesConf;

impl MirrorResolver for RegistriesConf {
    fn describe() -> Description {
        Description::new("layerwright/mirror-registries-conf", env!("CARGO_PKG_VERSION"), "mirror rules as containers-registries.conf(5)")
            .wants([FILE, FOLDER].map(|name| Want::Env(name.to_owned())))
            .wants([FILE, FOLDER].map(|name| Want::File(format!("${name}"))))
    }

    fn resolve(reference: &Reference, access: Access) -> Result<Option<Route>, Error> {
        let Some(path) = env::get(FILE)?.filter(|path| !path.is_empty()) else { return Ok(None) };
        let mut config = Config::parse(&path, &files::read(&path)?)?;
        if let Some(folder) = env::get(FOLDER)?.filter(|path| !path.is_empty()) {
            let names = match files::entries(&folder) {
                Ok(names) => names,
                Err(error) if error.code == ErrorCode::NotFound => Vec::new(),
                Err(error) => return Err(error),
            };
            for name in names.iter().filter(|name| name.ends_with(".conf")) {
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                config.extend(Config::parse(&path, &files::read(&path)?)?);
            }
        }
        resolve::route(&config, reference, access)
    }
}

export_mirror_resolver!(RegistriesConf);
