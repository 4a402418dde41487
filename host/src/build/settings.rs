use std::path::PathBuf;

use super::ssh::SshSource;
use crate::context::Location;
use crate::layer::Compression;
use crate::oci::Platform;
use crate::operation::Network;
use crate::sandbox::{GroupLimits, ProcessLimit};

/// What to build, read from the command line once.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// The platform that the image is for.
    pub platform: Platform,
    /// The platform that the build runs on.
    pub build_platform: Platform,
    /// The stage to build; the last where none is named.
    pub target: Option<String>,
    /// Stages that are built besides the target.
    pub also: Vec<String>,
    /// Build arguments given by the user, the last of each name.
    pub build_args: Vec<(String, String)>,
    /// Labels that win over the Dockerfile's.
    pub labels: Vec<(String, String)>,
    /// Sources that replace a stage or an image of the name.
    pub build_contexts: Vec<BuildContextFlag>,
    /// What a RUN is given and allowed.
    pub run: RunSettings,
    /// Where a RUN runs.
    pub isolation: Isolation,
    /// How new layers are compressed.
    pub compression: Compression,
    /// Whether the layers of a stage are joined to one.
    pub single_snapshot: bool,
    /// Whether no time of the build shows in the image.
    pub reproducible: bool,
    /// Whether the image has Docker's media types or the OCI's; the base image's where nothing is said.
    pub docker: Option<bool>,
    /// Annotations of the manifest.
    pub annotations: Vec<(String, String)>,
}

impl BuildSettings {
    /// A build of the last stage for a platform, here, that asks for nothing else.
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            build_platform: Platform::host(),
            target: None,
            also: Vec::new(),
            build_args: Vec::new(),
            labels: Vec::new(),
            build_contexts: Vec::new(),
            run: RunSettings::default(),
            isolation: Isolation::Auto,
            compression: Compression::GZIP,
            single_snapshot: false,
            reproducible: false,
            docker: None,
            annotations: Vec::new(),
        }
    }
}

/// Where commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The strongest that works.
    Auto,
    /// Overlay mounts and namespaces, or an error.
    Overlay,
    /// A root directory and no namespaces, or an error.
    Chroot,
    /// The container that the builder lives in, or an error.
    InPlace,
    /// No command may run.
    None,
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Overlay => "overlay",
            Self::Chroot => "chroot",
            Self::InPlace => "in-place",
            Self::None => "none",
        })
    }
}

/// A source of files, or of a base, with a name of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// Files, wherever they are.
    Files(Location),
    /// An image in a registry.
    Image(crate::oci::Reference),
    /// An image in an OCI layout on disk.
    Layout {
        /// The layout.
        path: PathBuf,
        /// Its name in the layout.
        name: Option<String>,
        /// The digest of its manifest.
        digest: Option<crate::oci::Digest>,
    },
    /// No files at all.
    Scratch,
}

/// A source with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildContextFlag {
    /// What it replaces, in the form of [`context_name`].
    pub name: String,
    /// The platform that it is for; all where none is named.
    pub platform: Option<Platform>,
    /// What stands for the name.
    pub source: NamedContext,
}

/// A name as stages, images and contexts share it: in lower case, without what an image reference may leave out.
pub fn context_name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("docker.io/").or_else(|| lower.strip_prefix("index.docker.io/")).unwrap_or(&lower);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name).to_owned()
}

impl BuildSettings {
    /// What the user put in the place of a name; a source for the platform counts before one for all, a later before an earlier one.
    pub fn named_context(&self, name: &str, platform: &Platform) -> Option<&NamedContext> {
        let name = context_name(name);
        let found = |exact: bool| {
            let mut all = self.build_contexts.iter().rev();
            all.find(|context| context.name == name && context.platform.as_ref() == exact.then_some(platform))
        };
        found(true).or_else(|| found(false)).map(|context| &context.source)
    }
}

/// What processes are given and allowed.
#[derive(Clone, Debug, Default)]
pub struct RunSettings {
    /// Secrets that they may mount.
    pub secrets: Vec<SecretSource>,
    /// SSH agents that they may mount.
    pub ssh: Vec<SshSource>,
    /// What they may ask for beyond the sandbox.
    pub entitlements: Entitlements,
    /// Their network where they do not say.
    pub network: Network,
    /// The name of their machine; the sandbox's default where none is given.
    pub hostname: Option<String>,
    /// Names and addresses for their /etc/hosts.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of their /dev/shm, in bytes; the sandbox's default where none is given.
    pub shm_size: Option<u64>,
    /// Limits of each of them.
    pub process_limits: Vec<ProcessLimit>,
    /// Limits of all of a step together.
    pub group_limits: GroupLimits,
    /// Where the devices of the machine are described, the most important directory last.
    pub cdi_directories: Vec<PathBuf>,
    /// Nothing that an earlier build left is used where an instruction could have made it anew.
    pub no_cache: bool,
    /// Stages of which no step is taken from the cache.
    pub fresh_stages: Vec<String>,
    /// How much of a step's output is shown, in bytes; none for all of it.
    pub log_limit: Option<u64>,
}

/// What processes may ask for beyond the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// The network of the machine.
    pub network_host: bool,
    /// All capabilities and no filters.
    pub security_insecure: bool,
    /// Every device of the machine.
    pub all_devices: bool,
    /// Devices of the machine by name; a kind stands for all of it.
    pub devices: Vec<String>,
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
