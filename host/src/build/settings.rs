use std::path::PathBuf;

use crate::layer::Compression;
use crate::oci::Platform;

/// What to build, read from the command line once.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// The platform that the image is for.
    pub platform: Platform,
    /// The platform that the build runs on.
    pub build_platform: Platform,
    /// The stage to build; the last where none is named.
    pub target: Option<String>,
    /// Build arguments given by the user, the last of each name.
    pub build_args: Vec<(String, String)>,
    /// Labels that win over the Dockerfile's.
    pub labels: Vec<(String, String)>,
    /// Sources that replace a stage or an image of the name.
    pub build_contexts: Vec<(String, NamedContext)>,
    /// Secrets that a RUN may mount.
    pub secrets: Vec<SecretSource>,
    /// Names and addresses for /etc/hosts of a RUN.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of /dev/shm of a RUN, in bytes; the sandbox's default where none is given.
    pub shm_size: Option<u64>,
    /// Where a RUN runs.
    pub isolation: Isolation,
    /// How new layers are compressed.
    pub compression: Compression,
    /// Seconds since 1970 that stand for now in the configuration and for new directories.
    pub source_date_epoch: Option<i64>,
}

/// Where commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The strongest that works.
    Auto,
    /// Overlay mounts and namespaces, or an error.
    Overlay,
    /// No command may run.
    None,
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Overlay => "overlay",
            Self::None => "none",
        })
    }
}

/// A source of files, or of a base, with a name of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Directory(PathBuf),
    /// An image in a registry.
    Image(crate::oci::Reference),
    /// An image in an OCI layout on disk.
    Layout(PathBuf),
}

/// A secret and its value. The value is in no output of the type.
#[derive(Clone)]
pub struct SecretSource {
    /// As RUN --mount=type=secret,id= names it.
    pub id: String,
    /// The bytes.
    pub value: std::sync::Arc<[u8]>,
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretSource").field("id", &self.id).finish_non_exhaustive()
    }
}
