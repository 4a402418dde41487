//! Where commands run, where files are kept, and what a build in place leaves alone: the flags, and what they mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::args::{BuildArguments, path, switch};
use super::isolation::Ground;
use super::{container, env};
use crate::build::error::BuildError;
use crate::rootfs::store::Store;

/// The flags for the place that a build takes.
#[derive(Debug, Args)]
pub struct PlaceArguments {
    /// Where RUN runs
    #[arg(long, value_enum, default_value = "auto")]
    pub isolation: Isolation,
    /// Build in place although this does not look like a container: everything on the root filesystem is removed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub force: bool,
    /// After a build in place, remove what it left on the root filesystem
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub cleanup: Option<bool>,
    /// Before a build in place, empty the root filesystem, as it always does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub pre_cleanup: Option<bool>,
    /// After a build in place, bring back the files that were on the root filesystem before
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub preserve_context: Option<bool>,
    /// After a build in place, leave the image's files on the root filesystem, also where nothing had to be run
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub materialize: bool,
    /// Where kaniko keeps what belongs to a build; the store goes there where --store is not given
    #[arg(long, value_parser = path(), value_name = "DIR")]
    pub kaniko_dir: Option<PathBuf>,
    /// Path that a build in place leaves alone; may be given several times
    #[arg(long = "ignore-path", value_parser = path(), value_name = "PATH")]
    pub ignore_paths: Vec<PathBuf>,
    /// Where unpacked layers and blobs are kept
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// How large the store may be before and after a build: what was used longest ago goes first
    #[arg(long, value_name = "SIZE")]
    pub store_limit: Option<String>,
}

impl PlaceArguments {
    /// Whether a build in place is to leave nothing behind.
    pub fn cleans_up(&self) -> bool {
        self.cleanup.unwrap_or_else(|| env::is_true(env::KANIKO_CLEANUP))
    }

    /// Whether a build in place is to begin with an empty tree.
    pub fn cleans_up_before(&self) -> bool {
        self.pre_cleanup.unwrap_or_else(|| env::is_true(env::KANIKO_PRE_CLEANUP))
    }

    /// Whether a build in place is to bring back what was there.
    pub fn preserves_context(&self) -> bool {
        self.preserve_context.unwrap_or_else(|| env::is_true(env::KANIKO_PRESERVE_CONTEXT))
    }
}

/// Where a build runs its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// The strongest that works here
    Auto,
    /// Overlay mounts and a sandbox for each command
    Overlay,
    /// A root directory for each command, and no namespaces
    Chroot,
    /// The builder's own container, which is emptied for it
    InPlace,
    /// No command can run; needs no privilege
    None,
}

/// What a build in place must not take away: all that the command line and the environment name.
pub fn ground(args: &BuildArguments) -> Ground {
    let home = env::get(env::HOME).map(PathBuf::from);
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let mut keep: Vec<PathBuf> = args.place.ignore_paths.clone();
    keep.extend(
        Some(PathBuf::from(args.context.context.strip_prefix("dir://").unwrap_or(&args.context.context)))
            .filter(|path| path.is_absolute() || path.exists()),
    );
    keep.extend(args.cache.cache_repo.as_deref().and_then(|text| text.strip_prefix("oci:")).map(PathBuf::from));
    keep.extend(args.context.build_contexts.iter().filter_map(|text| {
        let (_, source) = text.split_once('=')?;
        let path = source.strip_prefix("oci-layout://").unwrap_or(source);
        Some(PathBuf::from(path)).filter(|path| path.exists())
    }));
    keep.extend(Some(PathBuf::from(&args.context.dockerfile)).filter(|path| path.exists()));
    keep.extend(args.plugin.plugins.iter().cloned());
    keep.extend(
        [&args.output.oci_layout_path, &args.output.tar_path, &args.output.to.digest_file, &args.output.to.metadata_file]
            .into_iter()
            .chain([&args.compat.old_tar_path, &args.place.kaniko_dir, &Some(args.warmed.cache_dir.clone())])
            .chain([&args.output.to.image_name_with_digest_file, &args.output.to.image_name_tag_with_digest_file])
            .flatten()
            .cloned(),
    );
    keep.extend(
        [env::KANIKO_DIR, env::DOCKER_CONFIG, env::REGISTRY_AUTH_FILE, env::SSL_CERT_FILE, env::SSL_CERT_DIR, env::BUILDER_OUTPUT]
            .into_iter()
            .filter_map(env::get)
            .map(PathBuf::from),
    );
    keep.extend(["/kaniko", "/busybox"].map(PathBuf::from).into_iter().filter(|path| path.exists()));
    keep.extend([".docker", ".config/containers", ".config/layerwright"].into_iter().filter_map(below_home).filter(|path| path.exists()));
    let keep = keep.into_iter().filter(|path| !path.as_os_str().is_empty());
    let keep = keep.map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
    Ground { force: args.place.force, evidence: container::evidence(env::get(env::CONTAINER).as_deref()), keep }
}

/// Where unpacked layers and blobs are kept.
///
/// # Errors
/// There is no place for them.
pub fn store_path(args: &PlaceArguments) -> Result<PathBuf, BuildError> {
    store_path_of(args.store.as_deref(), args.kaniko_dir.as_deref().filter(|path| !path.as_os_str().is_empty()))
}

/// How an error begins that says why the store cannot be opened.
pub const NO_STORE: &str = "failed to open the store";
/// What to do then.
pub const STORE_HINT: &str = "name a directory that can be written to with --store or LAYERWRIGHT_STORE";

/// Opens the store.
///
/// # Errors
/// It is no directory, or cannot be written to.
pub fn open_store(path: PathBuf) -> Result<Store, BuildError> {
    Store::open(path).map_err(|error| BuildError::Other {
        message: NO_STORE.to_owned(),
        hint: Some(STORE_HINT.to_owned()),
        source: Some(Arc::new(error)),
    })
}

/// As [`store_path`], for commands that have not all of the flags.
///
/// # Errors
/// There is no place for it.
pub fn store_path_of(store: Option<&Path>, kaniko_dir: Option<&Path>) -> Result<PathBuf, BuildError> {
    let given = store.map(Path::to_owned).or_else(|| env::get(env::LAYERWRIGHT_STORE).map(Into::into));
    let given = given.or_else(|| {
        let directory = kaniko_dir.map(Path::to_owned).or_else(|| env::get(env::KANIKO_DIR).map(PathBuf::from));
        directory.map(|directory| directory.join("store"))
    });
    let data = || {
        env::get(env::XDG_DATA_HOME).map(PathBuf::from).or_else(|| env::get(env::HOME).map(|home| Path::new(&home).join(".local/share")))
    };
    given.or_else(|| data().map(|d| d.join("layerwright"))).ok_or_else(|| BuildError::Other {
        message: "there is no place for the store".to_owned(),
        hint: Some("set HOME, or name one with --store".to_owned()),
        source: None,
    })
}
