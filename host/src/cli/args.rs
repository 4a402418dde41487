use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cache::CacheArguments;
use super::commands::index::IndexCommand;
use super::commands::push::PushArguments;
use super::commands::warmer::WarmerArguments;
use super::compat::CompatArguments;
use super::contexts::ContextArguments;
use super::log::LogArguments;
use super::output::OutputArguments;
use super::place::PlaceArguments;
use super::plugins::PluginArguments;
use super::registry::RegistryArguments;
use super::run::RunArguments;
use super::store::PruneArguments;
use super::warmed::WarmedArguments;

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
    args_conflicts_with_subcommands = true
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
    /// Push an image that lies on disk: a `docker save` archive or an OCI layout
    Push(Box<PushArguments>),
    /// Images for several platforms under one name
    #[command(subcommand)]
    Index(IndexCommand),
    /// Fill a directory with base images, from which builds with --cache and --cache-dir take them
    Warmer(Box<WarmerArguments>),
    /// Check a user and a password at a registry, and keep them in docker's config.json
    Login(LoginArguments),
    /// Forget what login kept
    Logout(LogoutArguments),
    /// Look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Print a script that completes this program's commands in a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Remove from the store what builds have not used for long
    Prune(Box<PruneArguments>),
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
    /// Private address that the registry may name as its token server
    #[arg(long = "trusted-host", value_name = "HOST[:PORT]")]
    pub trusted_hosts: Vec<String>,
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
    /// Approve the plugins of a configuration as they are now: their bytes and what they want
    Lock {
        /// The configuration; the lock is written beside it
        #[arg(default_value = "layerwright.toml")]
        config: PathBuf,
    },
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

/// The flags of a build. A switch may be written `--switch`, `--switch=true` or `--switch=false`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct BuildArguments {
    /// Where the files come from.
    #[command(flatten)]
    pub context: ContextArguments,
    /// Stage to build, the last where none is named; of several, all are built and the first is the image
    #[arg(long = "target", value_name = "STAGE,…", value_delimiter = ',')]
    pub targets: Vec<String>,
    /// Build argument; without a value, the environment's
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,
    /// Platform to build for
    #[arg(long = "custom-platform", alias = "platform", value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// What RUN is given and allowed.
    #[command(flatten)]
    pub run: RunArguments,
    /// Print what would be built and where it would go, and end
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub dryrun: bool,
    /// What to do with the Dockerfile
    #[arg(long, value_enum, default_value = "build", value_name = "CALL")]
    pub call: Call,
    /// Shorthand for --call=check
    #[arg(long)]
    pub check: bool,
    /// How checks and listings are written
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Where the image goes.
    #[command(flatten)]
    pub output: OutputArguments,
    /// What is kept between builds.
    #[command(flatten)]
    pub cache: CacheArguments,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryArguments,
    /// Who knows instructions, logins and mirrors.
    #[command(flatten)]
    pub plugin: PluginArguments,
    /// Where commands run and files are kept.
    #[command(flatten)]
    pub place: PlaceArguments,
    /// Which base images are here already.
    #[command(flatten)]
    pub warmed: WarmedArguments,
    /// What is said.
    #[command(flatten)]
    pub log: LogArguments,
    /// What kaniko has and a build does not need.
    #[command(flatten)]
    pub compat: CompatArguments,
    /// Whether the program was called by kaniko's name for it.
    #[arg(skip)]
    pub as_executor: bool,
}

impl BuildArguments {
    /// The build arguments, `NAME=VALUE` or `NAME` for the environment's value. A name that the environment does not hold stays undeclared,
    /// as in docker; under kaniko's name it is empty, as there.
    pub fn given_build_args(&self) -> Vec<(String, String)> {
        self.build_args.iter().filter_map(|text| read_build_arg(text, self.as_executor)).collect()
    }
}

/// A build argument; where the environment has no value for it, it is undeclared, or empty as in kaniko.
pub fn read_build_arg(text: &str, as_kaniko: bool) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().or(as_kaniko.then(String::new)).map(|value| (text.to_owned(), value)),
    }
}

/// A path that may be empty, as where a variable of a pipeline is: that is none, as in kaniko.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// The value of a switch, as kaniko reads it.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("want true or false".to_owned()),
    }
}
