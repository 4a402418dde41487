//! Plugins from elsewhere: which ones the operator's `layerwright.toml` names, that they are what he approved, and fetching those that are
//! in registries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::settings::UsageError;
use crate::build::error::BuildError;
use crate::image::BlobSource;
use crate::oci::{Descriptor, Document, MediaType, Reference};
use crate::plugin::{Locked, PluginConfig, PluginLock, PluginOrigin, PluginSet, PluginSettings, PluginSource};
use crate::progress::Reporter;
use crate::registry::{Client, RegistrySettings};

/// A component in a registry (CNCF TAG Runtime, "Wasm OCI Artifact layout").
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const COMPONENT: &str = "application/wasm";

/// A configuration and where it lies.
pub struct Configured {
    path: PathBuf,
    config: PluginConfig,
}

/// Where a source says that a plugin is.
enum Place {
    File(PathBuf),
    Registry(Reference),
}

impl Configured {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It cannot be read, or is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let config = PluginConfig::parse(&text).with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Self { path: path.to_owned(), config })
    }

    fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    /// A source that ends in `.wasm` is a file, beside the configuration where it is not absolute; another is a name in a registry.
    fn place(&self, source: &str) -> Result<Place> {
        if source.ends_with(".wasm") {
            return Ok(Place::File(self.path.parent().unwrap_or(Path::new(".")).join(source)));
        }
        let reference =
            source.parse().with_context(|| format!("the source {source:?} is neither a file that ends in .wasm nor an image"))?;
        Ok(Place::Registry(reference))
    }

    /// The plugins, each with what was approved of it.
    fn locked(&self, cache: Option<&Path>) -> Result<Vec<PluginSource>> {
        let path = self.lock_path();
        let again = format!("look at the plugins, then run `layerwright plugin lock {}`", self.path.display());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("the plugins of {} are not approved: there is no {}; {again}", self.path.display(), path.display())
            }
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
        };
        let read = || PluginLock::parse(&text)?.of(&self.config);
        let locked = read().with_context(|| format!("{} does not fit {}; {again}", path.display(), self.path.display()))?;
        let mut sources = Vec::new();
        for ((source, grants), locked) in self.config.plugins.iter().zip(locked) {
            let origin = match self.place(source)? {
                Place::File(file) => PluginOrigin::File(file),
                Place::Registry(_) => PluginOrigin::Registry { name: source.clone(), file: kept(cache, &locked.digest)? },
            };
            sources.push(PluginSource { grants: grants.clone(), approved: Some(locked), ..PluginSource::from_elsewhere(origin) });
        }
        Ok(sources)
    }
}

/// The plugins that a configuration names, as they were approved.
///
/// # Errors
/// The configuration or its lock cannot be used.
pub fn approved(path: &Path, cache: Option<&Path>) -> Result<Vec<PluginSource>, UsageError> {
    let sources = Configured::read(path).and_then(|configured| configured.locked(cache));
    sources.map_err(|error| UsageError { flag: "config", why: format!("{error:#}") })
}

/// Where a component of a registry is kept.
fn kept(cache: Option<&Path>, digest: &str) -> Result<PathBuf> {
    let cache = cache.context("there is no folder to keep plugins in: set HOME or XDG_CACHE_HOME")?;
    Ok(cache.join("components").join(format!("{digest}.wasm")))
}

/// Loads plugins, after fetching those that are in registries and not at hand; logins are those of the other plugins.
///
/// # Errors
/// One cannot be had, or cannot be used.
pub fn load(
    settings: &PluginSettings,
    registry: &RegistrySettings,
    runtime: &Runtime,
    reporter: &Arc<dyn Reporter>,
) -> Result<PluginSet, BuildError> {
    let brought = runtime.block_on(bring(settings, registry, reporter));
    brought.map_err(|error| BuildError::other(format!("failed to fetch plugins: {error:#}")))?;
    PluginSet::load(settings, Arc::clone(reporter)).map_err(|error| BuildError::because("failed to load plugins", error))
}

async fn bring(settings: &PluginSettings, registry: &RegistrySettings, reporter: &Arc<dyn Reporter>) -> Result<()> {
    let missing = settings.plugins.iter().filter_map(|plugin| match (&plugin.origin, &plugin.approved) {
        (PluginOrigin::Registry { name, file }, Some(approved)) if !file.exists() => Some((name, file, approved)),
        _ => None,
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let client = client(settings, registry.clone(), reporter)?;
    for (name, file, approved) in missing {
        let reference: Reference = name.parse()?;
        let digest = format!("sha256:{}", approved.digest).parse()?;
        let descriptor = Descriptor::new(MediaType::parse(COMPONENT), digest, approved.size);
        let from = BlobSource { registry: reference.registry().to_owned(), repository: reference.repository().to_owned() };
        client.fetch_blob(&from, &descriptor, file).await?;
    }
    Ok(())
}

/// A client that asks the plugins which come with the program, and those of files, for logins and mirrors.
fn client(settings: &PluginSettings, registry: RegistrySettings, reporter: &Arc<dyn Reporter>) -> Result<Client> {
    let mut settings = settings.clone();
    settings.plugins.retain(|plugin| !matches!(plugin.origin, PluginOrigin::Registry { .. }));
    let plugins = PluginSet::load(&settings, Arc::clone(reporter))?;
    Ok(Client::new(registry, plugins.auth_providers(), plugins.mirror_resolvers(), Arc::clone(reporter))?)
}

/// Writes down what the plugins of a configuration are and want now; returns what was written, and where.
///
/// # Errors
/// A plugin cannot be had or used, or the lock cannot be written.
pub async fn lock(path: &Path, settings: &PluginSettings, reporter: &Arc<dyn Reporter>) -> Result<(PathBuf, PluginLock)> {
    let configured = Configured::read(path)?;
    let mut entries = Vec::new();
    let mut registry = None;
    for (source, _) in &configured.config.plugins {
        let file = match configured.place(source)? {
            Place::File(file) => file,
            Place::Registry(reference) => {
                let client = match &mut registry {
                    Some(client) => client,
                    none => none.insert(client(settings, RegistrySettings::default(), reporter)?),
                };
                component(client, &reference, settings).await.with_context(|| format!("the plugin {source} cannot be had"))?
            }
        };
        let bytes = std::fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let alone = PluginSettings { plugins: vec![PluginSource::file(&file)], lazy: false, ..settings.clone() };
        let set = PluginSet::load(&alone, Arc::clone(reporter)).with_context(|| format!("the plugin {source} cannot be used"))?;
        let wants = set.infos().iter().flat_map(|info| info.wants.iter().cloned()).collect();
        entries.push((source.clone(), Locked { digest: hex::encode(Sha256::digest(&bytes)), size: bytes.len() as u64, wants }));
    }
    let lock = PluginLock::new(entries);
    let to = configured.lock_path();
    let beside = to.with_extension("lock.part");
    let written = std::fs::write(&beside, lock.to_string()).and_then(|()| std::fs::rename(&beside, &to));
    written.with_context(|| format!("failed to write {}", to.display()))?;
    Ok((to, lock))
}

/// Fetches the component that a reference stands for now.
async fn component(client: &Client, reference: &Reference, settings: &PluginSettings) -> Result<PathBuf> {
    let (fetched, from) = client.pull_manifest(reference).await?;
    let manifest = match fetched.document {
        Document::Manifest(manifest) if manifest.config.media_type.as_str() == CONFIG => manifest,
        _ => bail!("it is no WebAssembly artifact: its configuration is not of the type {CONFIG}"),
    };
    let [layer] = &manifest.layers[..] else { bail!("it has {} layers, and a plugin has one", manifest.layers.len()) };
    if layer.media_type.as_str() != COMPONENT {
        bail!("its layer is of the type {:?} and not {COMPONENT}", layer.media_type.as_str());
    }
    if layer.size > settings.limits.file {
        bail!("it is larger than {} MiB", settings.limits.file >> 20);
    }
    let file = kept(settings.cache_dir.as_deref(), &layer.digest.hex())?;
    client.fetch_blob(&from, layer, &file).await?;
    Ok(file)
}
