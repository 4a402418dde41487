use super::args::BuildArguments;
use super::contexts::{build_context, keep_git_dirs, unverified_git};
use super::place::Isolation as IsolationFlag;
use super::run::{run_settings, size};
use super::{env, output};
use crate::build::settings::{BuildSettings, Isolation, RunSettings};
use crate::build::ssh::{Agent, Forwarded};
use crate::context::Location;
use crate::fetch::{CloudVariables, Credentials, FetchSettings};
use crate::oci::Platform;
use crate::rootfs::store::Store;

/// A flag whose value cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid value for --{flag}: {why}")]
pub struct UsageError {
    /// Without the dashes.
    pub flag: &'static str,
    /// What is wrong with the value.
    pub why: String,
}

/// A flag whose value cannot be used, and why.
pub(super) fn usage(flag: &'static str, why: impl std::fmt::Display) -> UsageError {
    UsageError { flag, why: why.to_string() }
}

/// What to build, from the flags and the environment.
///
/// # Errors
/// The first flag that makes no sense.
pub fn build_settings(args: &BuildArguments) -> Result<BuildSettings, UsageError> {
    let build_platform = Platform::host();
    let platform = match args.platform.as_ref().or(args.compat.old_custom_platform.as_ref()).filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|e| usage("custom-platform", e))?,
        None => build_platform.clone(),
    };
    let mut build_args = args.given_build_args();
    if let Some(epoch) = env::get(env::SOURCE_DATE_EPOCH).filter(|_| !build_args.iter().any(|(name, _)| name == env::SOURCE_DATE_EPOCH)) {
        build_args.push((env::SOURCE_DATE_EPOCH.to_owned(), epoch));
    }
    let mut targets = args.targets.iter().filter(|target| !target.is_empty());
    Ok(BuildSettings {
        platform,
        build_platform,
        target: targets.next().cloned(),
        also: targets.cloned().collect(),
        build_args,
        labels: args.output.labels.iter().map(|text| pair("label", text)).collect::<Result<_, _>>()?,
        build_contexts: keep_git_dirs(args, args.context.build_contexts.iter().map(|text| build_context(text)).collect::<Result<_, _>>()?),
        run: run_settings(&args.run)?,
        isolation: match args.place.isolation {
            IsolationFlag::Auto => Isolation::Auto,
            IsolationFlag::Overlay => Isolation::Overlay,
            IsolationFlag::Chroot => Isolation::Chroot,
            IsolationFlag::InPlace => Isolation::InPlace,
            IsolationFlag::None => Isolation::None,
        },
        compression: output::compression(&args.output)?,
        single_snapshot: args.output.single_snapshot,
        reproducible: args.output.reproducible,
        docker: output::docker(&args.output),
        annotations: output::annotations(&args.output)?,
    })
}

/// What no program that is started for a build needs to see.
const SECRET_VARIABLES: [&str; 7] = [
    env::GIT_TOKEN,
    env::GIT_PASSWORD,
    env::AWS_SECRET_ACCESS_KEY,
    env::AWS_SESSION_TOKEN,
    env::AZURE_STORAGE_ACCESS_KEY,
    env::AZURE_STORAGE_SAS_TOKEN,
    env::AZURE_CLIENT_SECRET,
];

/// The longest path of a socket, in bytes.
const LONGEST_SOCKET: usize = 107;

/// How files are read from the web, from the flags and the environment; of the secrets, those that are for a host, and of the SSH agents
/// the one called `default`, if it listens on a socket. One that holds keys waits for [`forward_keys`].
///
/// # Errors
/// A size that is none.
pub fn fetch_settings(args: &BuildArguments, run: &RunSettings, context: &Location) -> Result<FetchSettings, UsageError> {
    let mut private_hosts = args.context.private_hosts.clone();
    let listed = env::get(env::LAYERWRIGHT_ALLOW_PRIVATE_HOSTS).unwrap_or_default();
    private_hosts.extend(listed.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned));
    let largest = &args.context.max_download_size;
    let largest = size(largest).ok_or_else(|| usage("max-download-size", format!("{largest:?} is no size; want for instance 16g")))?;
    let mut credentials = Credentials::default();
    // As with kaniko: a token is a name without a password.
    match (env::get(env::GIT_TOKEN), env::get(env::GIT_USERNAME), env::get(env::GIT_PASSWORD)) {
        (Some(token), ..) => credentials.git_user(&token, ""),
        (None, name, password) if name.is_some() || password.is_some() => {
            credentials.git_user(&name.unwrap_or_default(), &password.unwrap_or_default());
        }
        _ => {}
    }
    for secret in &run.secrets {
        credentials.secret(&secret.id, &secret.value);
    }
    let agent = default_agent(run);
    Ok(FetchSettings {
        private_hosts,
        largest,
        tries: args.registry.image_download_retry.saturating_add(3),
        secret_variables: SECRET_VARIABLES.map(str::to_owned).into(),
        credentials,
        clouds: CloudVariables::of(env::all()),
        ssh_agent: match agent {
            Some(Agent::Socket(path) | Agent::Raw(path)) => Some(path.clone()),
            Some(Agent::Keys(_)) | None => None,
        },
        ssh_for_dockerfiles: agent.is_some(),
        unverified_git: unverified_git(args, context),
        ..FetchSettings::default()
    })
}

/// The agent for repositories that are reached over SSH.
fn default_agent(run: &RunSettings) -> Option<&Agent> {
    run.ssh.iter().find(|source| source.id == "default").map(|source| &source.agent)
}

/// Where `--ssh default=KEY` gave keys, a socket on which `ssh` finds them, for as long as the value lives. Has to be called in the runtime.
///
/// # Errors
/// The socket cannot be made, or `ssh` could not open it.
pub fn forward_keys(fetching: &mut FetchSettings, run: &RunSettings, store: &Store) -> Result<Option<Forwarded>, UsageError> {
    let Some(agent @ Agent::Keys(_)) = default_agent(run) else { return Ok(None) };
    let instead = "give the socket of an agent that holds them, default=SOCKET";
    let refused = |why: &str| usage("ssh", format!("default: the keys cannot be used for repositories: {why}; {instead}"));
    let forwarded = Forwarded::for_this_user(agent, store).map_err(|failure| refused(&failure.message))?;
    let length = forwarded.path.as_os_str().len();
    if length > LONGEST_SOCKET {
        return Err(refused(&format!("the path of a socket in the store has {length} bytes, and ssh takes {LONGEST_SOCKET}")));
    }
    fetching.ssh_agent = Some(forwarded.path.clone());
    Ok(Some(forwarded))
}

/// `NAME=VALUE` with a name.
pub(super) fn pair(flag: &'static str, text: &str) -> Result<(String, String), UsageError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(usage(flag, format!("{text:?} is not NAME=VALUE"))),
    }
}
