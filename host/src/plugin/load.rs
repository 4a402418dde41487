//! From a name or a file to a compiled component.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::builtin;
use super::compile_cache::{CompileCache, Found};
use super::config::{PluginOrigin, PluginSource};
use super::error::PluginError;
use super::precompiled::Trusted;
use super::shape::{self, Shape};
use crate::progress::{Level, Reporter};

/// A compiled component.
pub(super) struct Loaded {
    pub(super) component: Component,
    pub(super) shape: Shape,
    /// SHA-256 of the component, hexadecimal.
    pub(super) digest: String,
    /// Where it came from, for messages.
    pub(super) origin: String,
}

/// Loads one plugin.
pub(super) fn load(
    source: &PluginSource,
    engine: &Engine,
    cache: Option<&CompileCache>,
    largest: u64,
    reporter: &dyn Reporter,
) -> Result<Loaded, PluginError> {
    let path = match &source.origin {
        PluginOrigin::Standard(name) => return standard(name, engine),
        PluginOrigin::File(path) | PluginOrigin::Registry { file: path, .. } => path,
    };
    let bytes = read(path, largest)?;
    // Before anything of it is looked at.
    if let Some(approved) = &source.approved {
        let digest = hex::encode(Sha256::digest(&bytes));
        if digest != approved.digest {
            let reason = format!("its digest is sha256:{digest}, and sha256:{} is what was approved", approved.digest);
            return Err(PluginError::NotApproved { plugin: source.origin.to_string(), reason });
        }
    }
    from_bytes(&bytes, source.origin.to_string(), engine, cache, reporter)
}

fn standard(name: &str, engine: &Engine) -> Result<Loaded, PluginError> {
    let embedded = builtin::find(name).ok_or_else(|| PluginError::UnknownStandard(name.to_owned()))?;
    let component = Trusted::embedded(embedded).load(engine).map_err(|error| PluginError::Unusable {
        plugin: name.to_owned(),
        reason: format!("its code does not fit this machine: {error}"),
    })?;
    Ok(Loaded {
        component,
        shape: Shape { world: embedded.world, imports: embedded.imports.to_vec(), wasi: Vec::new() },
        digest: embedded.digest.to_owned(),
        origin: name.to_owned(),
    })
}

fn from_bytes(
    bytes: &[u8],
    origin: String,
    engine: &Engine,
    cache: Option<&CompileCache>,
    reporter: &dyn Reporter,
) -> Result<Loaded, PluginError> {
    let unfit = |reason| PluginError::Unfit { plugin: origin.clone(), reason };
    let encoded;
    let bytes = if shape::is_module(bytes).map_err(unfit)? {
        encoded = shape::componentize(bytes).map_err(unfit)?;
        &encoded
    } else {
        bytes
    };
    // Before anything is compiled: a wrong file must not cost half a minute.
    let shape = shape::read(bytes).map_err(unfit)?;
    let digest = hex::encode(Sha256::digest(bytes));

    let cached = match cache.map(|cache| cache.get(engine, &digest)) {
        Some(Found::Component(component)) => Some(component),
        Some(Found::Unfit(why)) => {
            reporter.log(Level::Warning, &format!("a compiled plugin in the cache is not used and made anew: {why}"));
            None
        }
        Some(Found::Nothing) | None => None,
    };
    let component = match cached {
        Some(component) => component,
        None => {
            let component = Component::from_binary(engine, bytes)
                .map_err(|error| PluginError::Unusable { plugin: origin.clone(), reason: error.root_cause().to_string() })?;
            if let Some(cache) = cache {
                let kept = component.serialize().map_err(|error| error.to_string());
                let kept = kept.and_then(|code| cache.put(&digest, &code).map_err(|error| error.to_string()));
                if let Err(why) = kept {
                    reporter.log(Level::Debug, &format!("the compiled form of {origin} is not kept: {why}"));
                }
            }
            component
        }
    };
    Ok(Loaded { component, shape, digest, origin })
}

fn read(path: &Path, largest: u64) -> Result<Vec<u8>, PluginError> {
    let failed = |source| PluginError::Read { path: path.to_owned(), source };
    let mut content = Vec::new();
    File::open(path).and_then(|file| file.take(largest.saturating_add(1)).read_to_end(&mut content)).map_err(failed)?;
    if content.len() as u64 > largest {
        return Err(PluginError::TooLarge { path: path.to_owned(), limit: largest });
    }
    Ok(content)
}
