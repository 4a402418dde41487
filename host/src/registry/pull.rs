//! Pulling: an image's documents first, its layers only when someone needs them.

use std::path::Path;

use bytes::Bytes;

use crate::image::{BlobSource, Image, ImageError, LayerContent, check_config};
use crate::oci::{Descriptor, Digest, ImageConfig, Manifest, MediaType, Platform, Reference, Version};
use crate::progress::Level;

use super::auth::Access;
use super::blob::temporary;
use super::endpoint::Endpoint;
use super::error::{Cause, RegistryError};
use super::manifest::{ContentCache, Fetched};
use super::route::Attempts;
use super::{Client, settle};

/// No honest configuration is larger.
const CONFIG_LIMIT: u64 = 8 * 1024 * 1024;
/// Tries for what need not be there.
const PATIENCE: u32 = 3;

/// An image in a registry: its documents, verified, and where its layers are.
#[derive(Clone, Debug)]
pub struct RemoteImage {
    /// Of the manifest for the platform.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// As served.
    pub manifest_bytes: Bytes,
    /// The configuration.
    pub config: ImageConfig,
    /// As served.
    pub config_bytes: Bytes,
    /// Where to have the layers.
    pub source: BlobSource,
    /// The repository that served the documents; it differs from the source where that was a mirror.
    pub served_by: String,
}

impl RemoteImage {
    /// As a value to build on; no layer is fetched.
    ///
    /// # Errors
    /// Manifest and configuration do not fit each other.
    pub fn image(&self) -> Result<Image, ImageError> {
        Image::from_parts(&self.manifest, self.config.clone(), |_| LayerContent::Remote(self.source.clone()))
    }
}

impl Client {
    /// The image that a reference stands for on a platform: manifest and configuration, verified; no layer is fetched.
    /// Asking again in the same run gives the same image.
    ///
    /// # Errors
    /// There is none, none for the platform, or it cannot be had.
    pub async fn pull_image(&self, reference: &Reference, platform: &Platform) -> Result<RemoteImage, RegistryError> {
        let key = (reference.to_string(), platform.to_string());
        let cell = self.memory().images.entry(key).or_default().clone();
        let pulled = cell.get_or_try_init(|| self.pull_now(reference, platform)).await;
        pulled.cloned().map_err(|cause| RegistryError::new("pull", reference, cause))
    }

    async fn pull_now(&self, reference: &Reference, platform: &Platform) -> Result<RemoteImage, Cause> {
        let version = self.settled(reference).await?;
        let (registry, repository) = (reference.registry(), reference.repository());
        let places = self.places(registry, repository, &version, Access::Pull).await?;
        let mut attempts = Attempts::default();
        for (place, endpoint) in places.iter().enumerate() {
            let (fetched, manifest, config, config_bytes) = match endpoint.image(&version, platform, &self.inner.cache).await {
                Ok(found) => found,
                Err(cause) => {
                    attempts.failed(self, endpoint, cause, place + 1 < places.len())?;
                    continue;
                }
            };
            self.served(registry, repository, endpoint, &manifest);
            if endpoint.place() != format!("{registry}/{repository}") {
                // What a tag stood for when a mirror was asked is to be found out afterwards.
                let told = format!("{reference} is {}, served by {}", fetched.digest, endpoint.place());
                self.inner.reporter.log(Level::Info, &told);
            }
            return Ok(RemoteImage {
                manifest_digest: fetched.digest,
                manifest,
                manifest_bytes: fetched.bytes,
                config,
                config_bytes,
                source: BlobSource { registry: registry.to_owned(), repository: repository.to_owned() },
                served_by: endpoint.place(),
            });
        }
        Err(self.unmapped(reference, &version, attempts.cause()).await)
    }

    /// The version to ask for: a tag's digest where there are places that may serve the image and may not say what a tag stands
    /// for. Those that may say so are asked, and whoever answers decides.
    async fn settled(&self, reference: &Reference) -> Result<Version, Cause> {
        let version = reference.version();
        let (registry, repository) = (reference.registry(), reference.repository());
        let Version::Tag(_) = &version else { return Ok(version) };
        let route = self.route(registry, repository, &version, Access::Pull).await?;
        if !route.iter().flat_map(|route| &route.endpoints).any(|endpoint| endpoint.pull && !endpoint.resolve) {
            return Ok(version);
        }
        for endpoint in self.places(registry, repository, &version, Access::Pull).await? {
            match endpoint.resolve(&version).await {
                Ok(Some(digest)) => return Ok(Version::Digest(digest)),
                // It sends the manifest or nothing.
                Ok(None) => return Ok(version),
                // Asked for the image itself, it says why not.
                Err(_) => {}
            }
        }
        Ok(version)
    }

    /// Says so where the registry itself was not to be asked.
    async fn unmapped(&self, reference: &Reference, version: &Version, cause: Cause) -> Cause {
        let route = self.route(reference.registry(), reference.repository(), version, Access::Pull).await;
        match route {
            Ok(Some(route)) if !route.fallback && !route.names(reference.registry()) => {
                Cause::NotMapped { image: reference.to_string(), cause: Box::new(cause) }
            }
            _ => cause,
        }
    }

    /// The document that a reference stands for, whatever it is: an image's manifest, an index or an artifact's manifest.
    /// For an artifact whose layers are wanted as well, [`read_blob`](Self::read_blob) and [`fetch_blob`](Self::fetch_blob)
    /// take the source that comes with it.
    ///
    /// # Errors
    /// There is none, or it cannot be had.
    pub async fn pull_manifest(&self, reference: &Reference) -> Result<(Fetched, BlobSource), RegistryError> {
        self.manifest_now(reference).await.map_err(|cause| RegistryError::new("pull", reference, cause))
    }

    async fn manifest_now(&self, reference: &Reference) -> Result<(Fetched, BlobSource), Cause> {
        let version = self.settled(reference).await?;
        let (registry, repository) = (reference.registry(), reference.repository());
        let places = self.places(registry, repository, &version, Access::Pull).await?;
        let mut attempts = Attempts::default();
        for (place, endpoint) in places.iter().enumerate() {
            match endpoint.document(&version, &self.inner.cache).await {
                Ok(fetched) => {
                    let source = BlobSource { registry: registry.to_owned(), repository: repository.to_owned() };
                    return Ok((fetched, source));
                }
                Err(cause) => attempts.failed(self, endpoint, cause, place + 1 < places.len())?,
            }
        }
        Err(self.unmapped(reference, &version, attempts.cause()).await)
    }

    /// The bytes of the manifest under a tag of a repository, and of no mirror, in one request; none where the registry has nothing there.
    /// With [`Access::Push`] they are asked for in the way that what is pushed goes.
    ///
    /// # Errors
    /// It is larger than `limit`, or nobody knows.
    pub async fn find_manifest(&self, reference: &Reference, access: Access, limit: u64) -> Result<Option<Bytes>, RegistryError> {
        let find = async {
            let mut endpoint = match access {
                Access::Push => self.destination(reference).await?,
                Access::Pull => self.own(reference.registry(), reference.repository(), access),
            };
            // Whoever asks can do without, and does not want to wait long.
            endpoint.tries = endpoint.tries.min(PATIENCE);
            endpoint.find_manifest(&reference.version(), limit).await
        };
        find.await.map_err(|cause| RegistryError::new("look for", reference, cause))
    }

    /// A blob of at most `limit` bytes, verified.
    ///
    /// # Errors
    /// It is larger, or cannot be had.
    pub async fn read_blob(&self, from: &BlobSource, descriptor: &Descriptor, limit: u64) -> Result<Bytes, RegistryError> {
        let failed = |cause| RegistryError::new("fetch", format!("{from}@{}", descriptor.digest), cause);
        let places = self.blob_places(from, descriptor).await.map_err(failed)?;
        let mut attempts = Attempts::default();
        for (place, endpoint) in places.iter().enumerate() {
            match endpoint.small_blob(descriptor, "the blob", limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(cause) => attempts.failed(self, endpoint, cause, place + 1 < places.len()).map_err(failed)?,
            }
        }
        Err(failed(attempts.cause()))
    }

    /// Fetches a blob into a file that is then whole and verified, or is not there. A file that is there already with the
    /// right size is left as it is. May be called for many blobs at once, and for one blob many times.
    ///
    /// # Errors
    /// The blob cannot be had, or the file cannot be written.
    pub async fn fetch_blob(&self, from: &BlobSource, descriptor: &Descriptor, destination: &Path) -> Result<(), RegistryError> {
        let work = self.fetch_now(from, descriptor, destination);
        let result = self.alone(format!("fetch {}", destination.display()), work).await;
        result.map_err(|cause| RegistryError::new("fetch", format!("{from}@{}", descriptor.digest), cause))
    }

    /// Whether a repository, or a mirror of it, has a blob.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn find_blob(&self, from: &BlobSource, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let find = async {
            let mut found = Ok(false);
            for endpoint in self.blob_places(from, descriptor).await? {
                match endpoint.has_blob(descriptor.digest).await {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(cause) => found = Err(cause),
                }
            }
            found
        };
        find.await.map_err(|cause| RegistryError::new("look for", format!("{from}@{}", descriptor.digest), cause))
    }

    async fn fetch_now(&self, from: &BlobSource, descriptor: &Descriptor, destination: &Path) -> Result<(), Cause> {
        if tokio::fs::metadata(destination).await.is_ok_and(|found| found.is_file() && found.len() == descriptor.size) {
            return Ok(());
        }
        let Ok(_permit) = self.inner.downloads.acquire().await else {
            return Err(Cause::Settings("the client is shut down".to_owned()));
        };
        if let Some(parent) = destination.parent() {
            let made = tokio::fs::create_dir_all(parent).await;
            made.map_err(|source| Cause::File { path: parent.to_owned(), source })?;
        }
        let places = self.blob_places(from, descriptor).await?;
        let part = Part(temporary(destination));
        let mut attempts = Attempts::default();
        for (place, endpoint) in places.iter().enumerate() {
            match endpoint.file_blob(descriptor, &part.0).await {
                Ok(()) => {
                    settle(&part.0, destination).await?;
                    self.transferred("pulled", descriptor.digest, descriptor.size, &endpoint.place());
                    return Ok(());
                }
                Err(cause) => attempts.failed(self, endpoint, cause, place + 1 < places.len())?,
            }
        }
        Err(attempts.cause())
    }

    /// The places to have a blob from: any will do, for its digest proves it.
    pub(super) async fn blob_places(&self, from: &BlobSource, descriptor: &Descriptor) -> Result<Vec<Endpoint>, Cause> {
        self.places(&from.registry, &from.repository, &Version::Digest(descriptor.digest), Access::Pull).await
    }

    /// Takes note of who served an image: blobs are asked for there first, and can be mounted from there.
    fn served(&self, registry: &str, repository: &str, endpoint: &Endpoint, manifest: &Manifest) {
        let mut memory = self.memory();
        memory.served.insert((registry.to_owned(), repository.to_owned()), endpoint.host.root.clone());
        for layer in manifest.layers.iter().chain([&manifest.config]) {
            let holder = (endpoint.host.registry.clone(), endpoint.repository.clone());
            let holders = memory.holders.entry(layer.digest).or_default();
            if !holders.contains(&holder) {
                holders.push(holder);
            }
        }
    }
}

type Documents = (Fetched, Manifest, ImageConfig, Bytes);

impl Endpoint {
    /// The documents of the image for a platform.
    async fn image(&self, version: &Version, platform: &Platform, cache: &ContentCache) -> Result<Documents, Cause> {
        let (fetched, manifest) = self.manifest(version, platform, cache).await?;
        let descriptor = &manifest.config;
        if !matches!(descriptor.media_type, MediaType::OciConfig | MediaType::DockerConfig) {
            return Err(Cause::Config(format!("{:?} is not the media type of one: this is no image", descriptor.media_type.as_str())));
        }
        let bytes = match cache.get(descriptor.digest, CONFIG_LIMIT).await {
            Some(bytes) => bytes,
            None => {
                let bytes = self.small_blob(descriptor, "the image configuration", CONFIG_LIMIT).await?;
                cache.put(descriptor.digest, &bytes).await;
                bytes
            }
        };
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| Cause::Config(error.to_string()))?;
        check_config(&config).map_err(|error| Cause::Config(error.to_string()))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Cause::Config(format!("{layers} layers but {diff_ids} diff-ids")));
        }
        let known = config.platform();
        // Some tools leave the platform out; then it is taken at its word.
        if !known.os.is_empty() && !known.architecture.is_empty() && known.serves(platform).is_none() {
            return Err(Cause::WrongPlatform { wanted: platform.to_string(), available: vec![known.to_string()] });
        }
        Ok((fetched, manifest, config, bytes))
    }
}

/// A file that goes away unless it was renamed.
struct Part(std::path::PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
