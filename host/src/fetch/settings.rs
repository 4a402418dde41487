use std::path::PathBuf;
use std::time::Duration;

use super::{CloudVariables, Credentials};

/// How far a build may reach, and how much it may bring.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Hosts, with or without a port, that may lie on this machine or in a private network.
    pub private_hosts: Vec<String>,
    /// The largest download, or all that one repository brings, in bytes.
    pub largest: u64,
    /// How long a server may be silent.
    pub idle: Duration,
    /// How long one download or one fetch of a repository may take.
    pub whole: Duration,
    /// How long connecting may take.
    pub connect: Duration,
    /// Tries of a download that fails for a reason that may pass.
    pub tries: u32,
    /// What servers are told of the program.
    pub user_agent: String,
    /// `host:port` of the one server of git repositories whose certificate is not verified, for repositories that the operator names.
    pub unverified_git: Option<String>,
    /// The program for repositories behind SSH.
    pub ssh: PathBuf,
    /// The agent that it asks; its own where none is named.
    pub ssh_agent: Option<PathBuf>,
    /// Whether a Dockerfile's repositories may be fetched with it, which uses the keys of whoever builds.
    pub ssh_for_dockerfiles: bool,
    /// Variables of the environment that no program needs to see.
    pub secret_variables: Vec<String>,
    /// What may be shown to which host.
    pub credentials: Credentials,
    /// How to log in to buckets.
    pub clouds: CloudVariables,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            private_hosts: Vec::new(),
            largest: 16 << 30,
            idle: Duration::from_secs(60),
            whole: Duration::from_secs(3600),
            connect: Duration::from_secs(30),
            tries: 3,
            user_agent: format!("layerwright/{}", env!("CARGO_PKG_VERSION")),
            unverified_git: None,
            ssh: "ssh".into(),
            ssh_agent: None,
            ssh_for_dockerfiles: false,
            secret_variables: Vec::new(),
            credentials: Credentials::default(),
            clouds: CloudVariables::default(),
        }
    }
}
