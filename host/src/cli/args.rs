use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::run::RunArguments;

/// The command line as it is written.
#[derive(Debug, Parser)]
#[command(
    name = "layerwright",
    version,
    about = "Builds container images from Dockerfiles, without a daemon and without privileges",
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The command line of the name `executor`: a build without a subcommand.
#[derive(Debug, Parser)]
#[command(
    name = "executor",
    version,
    about = "Builds a container image from a Dockerfile and pushes it",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct ExecutorArguments {
    /// What to do instead of building.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to build.
    #[command(flatten)]
    pub build: BuildArguments,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// Say what is wrong and what is odd about a Dockerfile, without building it
    Check(Box<BuildArguments>),
    /// List what can be given to a build: arguments, secrets, SSH agents, caches
    Outline(Box<BuildArguments>),
    /// List the stages that can be built
    Targets(Box<BuildArguments>),
    /// Check a user and a password at a registry, and keep them in docker's config.json
    Login(LoginArguments),
    /// Forget what login kept
    Logout(LogoutArguments),
    /// Look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print the version
    Version,
}

/// The flags of a login.
#[derive(Debug, Args)]
pub struct LoginArguments {
    /// Host, and port where it has one of its own
    #[arg(default_value = "docker.io", value_name = "REGISTRY")]
    pub registry: String,
    /// User
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password; other users of the machine can see it while the program runs
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Speak plain HTTP where the registry offers nothing else
    #[arg(long)]
    pub insecure: bool,
    /// Do not verify the registry's TLS certificate
    #[arg(long)]
    pub skip_tls_verify: bool,
    /// Certificate authority for the registry
    #[arg(long = "registry-certificate", value_name = "HOST[:PORT]=FILE")]
    pub registry_certificates: Vec<String>,
}

/// The flags of a logout.
#[derive(Debug, Args)]
pub struct LogoutArguments {
    /// Host, and port where it has one of its own
    #[arg(default_value = "docker.io", value_name = "REGISTRY")]
    pub registry: String,
}

/// What can be asked of plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Show what plugins are, claim and want
    Inspect {
        /// WebAssembly components; the standard ones where none is named
        files: Vec<PathBuf>,
    },
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Verbosity {
    /// Everything
    Trace,
    /// For finding faults
    Debug,
    /// Steps and their output
    Info,
    /// Only what needs a look
    #[value(alias = "warning")]
    Warn,
    /// Only why a build failed
    Error,
    /// As error
    Fatal,
    /// As error
    Panic,
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

/// What is asked of a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// To be built
    Build,
    /// What is wrong and what is odd
    Check,
    /// What can be given to a build
    Outline,
    /// Which stages there are
    Targets,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// How new layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionKind {
    /// RFC 1952
    Gzip,
    /// RFC 8878; OCI images only
    Zstd,
}

/// The flags of a build. A switch may be written `--switch`, `--switch=true` or `--switch=false`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct BuildArguments {
    /// What COPY and ADD read: a directory, `tar://FILE`, a git repository, a URL, or `-` for standard input
    #[arg(short, long, default_value = "/workspace/", value_name = "CONTEXT")]
    pub context: String,
    /// Directory of the context to use in its place
    #[arg(long, value_name = "DIR")]
    pub context_sub_path: Option<PathBuf>,
    /// Option for a context from git, for instance `branch=main`; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub git: Vec<String>,
    /// Dockerfile, looked up in the working directory and then in the context; a URL, or `-` for standard input
    #[arg(short = 'f', long, default_value = "Dockerfile", value_name = "FILE")]
    pub dockerfile: String,
    /// Where to push the image; may be given several times
    #[arg(short, long = "destination", value_name = "REFERENCE")]
    pub destinations: Vec<String>,
    /// Stage to build; the last where none is named
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Build argument; without a value, the environment's
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// Label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// In place of a stage, an image or a source of that name: anything that --context takes, `docker-image://…` or `oci-layout://…`
    #[arg(long = "build-context", value_name = "NAME[::PLATFORM]=SOURCE")]
    pub build_contexts: Vec<String>,
    /// Platform to build for
    #[arg(long = "custom-platform", alias = "customPlatform", alias = "platform", value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// What RUN is given and allowed.
    #[command(flatten)]
    pub run: RunArguments,

    /// What to do with the Dockerfile
    #[arg(long, value_enum, default_value = "build", value_name = "CALL")]
    pub call: Call,
    /// Shorthand for --call=check
    #[arg(long)]
    pub check: bool,
    /// How checks and listings are written
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    /// Do not push
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub no_push: bool,
    /// Write the image as an OCI layout too
    #[arg(long, value_name = "DIR")]
    pub oci_layout_path: Option<PathBuf>,
    /// Write the image as a `docker save` archive too
    #[arg(long, alias = "tarPath", value_name = "FILE")]
    pub tar_path: Option<PathBuf>,
    /// Write the digest of the image
    #[arg(long, value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// Write `repository@digest` for each destination
    #[arg(long, value_name = "FILE")]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write `repository:tag@digest` for each destination
    #[arg(long, value_name = "FILE")]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// How new layers are compressed
    #[arg(long, value_enum, default_value = "gzip")]
    pub compression: CompressionKind,
    /// How hard new layers are compressed
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "LEVEL")]
    pub compression_level: i32,

    /// Push over plain HTTP where the registry offers nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub insecure: bool,
    /// Pull over plain HTTP where the registry offers nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub insecure_pull: bool,
    /// Registry that may be spoken to over plain HTTP
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub insecure_registries: Vec<String>,
    /// Do not verify the TLS certificate of any registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub skip_tls_verify: bool,
    /// Do not verify TLS certificates when pulling
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub skip_tls_verify_pull: bool,
    /// Registry whose TLS certificate is not verified
    #[arg(long = "skip-tls-verify-registry", value_name = "HOST[:PORT]")]
    pub skip_tls_verify_registries: Vec<String>,
    /// Certificate authority for one registry
    #[arg(long = "registry-certificate", value_name = "HOST[:PORT]=FILE")]
    pub registry_certificates: Vec<String>,
    /// Client certificate for one registry
    #[arg(long = "registry-client-cert", value_name = "HOST[:PORT]=CERT,KEY")]
    pub registry_client_certs: Vec<String>,
    /// Mirror of Docker Hub; may be given several times
    #[arg(long = "registry-mirror", value_name = "HOST[/PREFIX]")]
    pub registry_mirrors: Vec<String>,
    /// Where to look for the images of a registry
    #[arg(long = "registry-map", value_name = "REGISTRY=HOST[/PREFIX][;…]")]
    pub registry_maps: Vec<String>,
    /// Do not pull from the registry itself when its mirrors fail
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub skip_default_registry_fallback: bool,
    /// Mirrors as containers-registries.conf(5) has them, from this file and from `*.conf` in FILE.d
    #[arg(long, value_name = "FILE")]
    pub registries_conf: Option<PathBuf>,
    /// Mirrors as containerd has them: a directory of `HOST/hosts.toml`
    #[arg(long, value_name = "DIR")]
    pub registry_hosts_dir: Option<PathBuf>,
    /// Mirrors of Docker Hub as the `registry-mirrors` of docker's daemon.json
    #[arg(long, value_name = "FILE")]
    pub docker_daemon_config: Option<PathBuf>,
    /// Retries of a failed push
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub push_retry: u32,
    /// Retries of a failed download
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub image_download_retry: u32,
    /// Take a tag that the registry does not let change as pushed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub push_ignore_immutable_tag_errors: bool,
    /// How long a registry may be silent, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub registry_timeout: u64,
    /// Do not check before the build that the destination may be pushed to
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub skip_push_permission_check: bool,

    /// Who is asked for credentials after docker's configuration, and in which order: env, google, ecr, acr, gitlab, github; empty: nobody
    #[arg(long = "credential-helpers", value_name = "NAME,…", value_delimiter = ',', num_args = 0..=1, require_equals = true, default_missing_value = "", action = clap::ArgAction::Append)]
    pub credential_helpers: Option<Vec<String>>,
    /// Plugin to load: a WebAssembly component
    #[arg(long = "plugin", value_name = "FILE")]
    pub plugins: Vec<PathBuf>,
    /// Authority for a plugin, for instance `acme/login:env=ACME_TOKEN`
    #[arg(long = "grant", value_name = "PLUGIN:GRANT")]
    pub grants: Vec<String>,
    /// Host that downloads may go to although it lies on this machine or in a private network
    #[arg(long = "allow-private-host", value_name = "HOST[:PORT]")]
    pub private_hosts: Vec<String>,
    /// The largest download, and all that one git repository may bring
    #[arg(long, default_value = "16g", value_name = "SIZE")]
    pub max_download_size: String,
    /// Where RUN runs
    #[arg(long, value_enum, default_value = "auto")]
    pub isolation: Isolation,
    /// Build in place although this does not look like a container: everything on the root filesystem is removed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub force: bool,
    /// After a build in place, remove what it left on the root filesystem
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub cleanup: bool,
    /// Path that a build in place leaves alone; may be given several times
    #[arg(long = "ignore-path", value_name = "PATH")]
    pub ignore_paths: Vec<PathBuf>,
    /// Where unpacked layers and blobs are kept
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// How much is said
    #[arg(short, long, value_enum, default_value = "info")]
    pub verbosity: Verbosity,
}
