//! The cache of layers: its flags, and what they mean.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::args::switch;
use super::duration::duration;
use super::settings::{UsageError, usage};
use crate::cache::{Cache, CacheSettings, DirectoryStore, LayoutStore, RecordStore, RegistryStore};
use crate::oci::Reference;
use crate::progress::Reporter;
use crate::registry::{Client, RegistrySettings, canonical};
use crate::rootfs::store::Store;

/// The flags for the cache of layers.
#[derive(Debug, Args)]
pub struct CacheArguments {
    /// Use the layers of earlier builds, and keep those of this one
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub cache: bool,
    /// Where layers are kept: a repository, an image layout, or the store (`local:`); /cache below the first destination where none is named
    #[arg(long, value_name = "REPOSITORY|oci:DIR|local:")]
    pub cache_repo: Option<String>,
    /// How old a layer may be to be used, for instance 36h or 90m
    #[arg(long, default_value = "336h", allow_hyphen_values = true, value_parser = duration, value_name = "DURATION")]
    pub cache_ttl: Duration,
    /// Keep layers of COPY and ADD
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub cache_copy_layers: bool,
    /// Keep layers of RUN and WORKDIR
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub cache_run_layers: bool,
    /// Use what there is, and keep nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub no_push_cache: bool,
    /// Keep the directories of RUN --mount=type=cache there as well
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub cache_mounts: bool,
}

/// Where records are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CachePlace {
    /// In a registry.
    Repository(Reference),
    /// In a directory that is an image layout.
    Layout(PathBuf),
    /// In the store.
    Local,
}

/// The cache that the flags ask for; none where they ask for none.
///
/// # Errors
/// A place or a time that is none.
pub fn cache(args: &CacheArguments, no_cache: bool, destinations: &[Reference]) -> Result<Option<(CachePlace, CacheSettings)>, UsageError> {
    if !args.cache {
        return Ok(None);
    }
    let settings = CacheSettings {
        run_layers: args.cache_run_layers,
        copy_layers: args.cache_copy_layers,
        push: !args.no_push_cache,
        lookups: !no_cache,
        mounts: args.cache_mounts,
        ttl: args.cache_ttl,
    };
    let place = match args.cache_repo.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => place(text)?,
        None => match destinations.first() {
            Some(first) => CachePlace::Repository(repository(&format!("{}/{}/cache", first.registry(), first.repository()))?),
            None => CachePlace::Local,
        },
    };
    Ok(Some((place, settings)))
}

/// A place that `--cache-repo` names.
///
/// # Errors
/// It is none.
pub fn place(text: &str) -> Result<CachePlace, UsageError> {
    match text.split_once(':') {
        Some(("local", "")) => Ok(CachePlace::Local),
        Some(("oci", "")) => Err(usage("cache-repo", "oci: names no directory")),
        Some(("oci", path)) => Ok(CachePlace::Layout(path.into())),
        _ => Ok(CachePlace::Repository(repository(text)?)),
    }
}

fn repository(text: &str) -> Result<Reference, UsageError> {
    let reference: Reference = text.parse().map_err(|error| usage("cache-repo", error))?;
    match reference.tag().is_some() || reference.digest().is_some() {
        true => Err(usage("cache-repo", format!("{text} has a tag or a digest; want a repository"))),
        false => Ok(reference),
    }
}

impl CachePlace {
    /// What holds for pushing holds for the cache, whichever way the bytes go.
    pub fn allow(&self, registry: &mut RegistrySettings) {
        if let Self::Repository(repository) = self
            && registry.insecure_push
        {
            registry.insecure_registries.insert(canonical(repository.registry()).to_owned());
        }
    }

    /// The records there.
    pub fn store(&self, client: &Client, store: &Store, push: bool) -> Arc<dyn RecordStore> {
        match self {
            Self::Repository(repository) => Arc::new(RegistryStore::new(client, repository.clone(), push)),
            Self::Layout(path) => Arc::new(LayoutStore::new(path, client)),
            Self::Local => Arc::new(DirectoryStore::new(store)),
        }
    }

    /// The cache of a build.
    pub fn open(&self, settings: CacheSettings, client: &Client, store: &Store, reporter: &Arc<dyn Reporter>) -> Arc<Cache> {
        let records = self.store(client, store, settings.push);
        Arc::new(Cache::new(records, settings, Arc::clone(reporter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_repositories_layouts_and_the_store() {
        let repository = |text: &str| Ok(CachePlace::Repository(text.parse().unwrap()));
        let read = |text| place(text).map_err(|error| error.why);
        assert_eq!(read("r.io/team/cache"), repository("r.io/team/cache"));
        assert_eq!(read("localhost:5000/cache"), repository("localhost:5000/cache"));
        assert_eq!(read("oci:/p/q"), Ok(CachePlace::Layout("/p/q".into())));
        assert_eq!(read("local:"), Ok(CachePlace::Local));
        for bad in ["oci:", "r.io/cache:tag", "r.io/UPPER/x", "local:x/Y"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_name_it_lies_below_the_first_destination() {
        let args = |cache, repo: Option<&str>| CacheArguments {
            cache,
            cache_repo: repo.map(str::to_owned),
            cache_ttl: Duration::from_secs(1),
            cache_copy_layers: false,
            cache_run_layers: true,
            no_push_cache: false,
            cache_mounts: false,
        };
        let destinations: Vec<Reference> = ["r.io/a/b:1", "other.io/x"].map(|text| text.parse().unwrap()).into();
        let place = |args: &CacheArguments, to: &[Reference]| cache(args, false, to).unwrap().map(|(place, _)| place);
        assert_eq!(place(&args(true, None), &destinations), Some(CachePlace::Repository("r.io/a/b/cache".parse().unwrap())));
        assert_eq!(place(&args(true, None), &[]), Some(CachePlace::Local));
        assert_eq!(place(&args(true, Some("oci:c")), &destinations), Some(CachePlace::Layout("c".into())));
        assert_eq!(place(&args(false, Some("oci:c")), &destinations), None);
    }
}
