//! What a build is made of: the operations that handlers lower instructions to.
//!
//! Mirrors `wit/operation.wit` one to one, so that nothing outside `plugin` sees a generated type.
#![expect(missing_docs, reason = "the fields are documented where plugin authors read them, in wit/operation.wit")]

use serde::Serialize;

/// One thing to do; the operations of an instruction are carried out in order and make one layer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Operation {
    Configure(ConfigChange),
    Exec(Exec),
    Copy(Copy),
    MakeDirectory(MakeDirectory),
    WriteFile(WriteFile),
    Symlink(Symlink),
    Remove(String),
}

/// A change to the image configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum ConfigChange {
    Env(String, String),
    Label(String, String),
    Author(String),
    User(String),
    WorkingDir(String),
    Shell(Vec<String>),
    Entrypoint(Vec<String>),
    Command(Vec<String>),
    StopSignal(String),
    Healthcheck(Option<Healthcheck>),
    ExposedPort(String),
    Volume(String),
    OnBuild(String),
}

/// Times in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Healthcheck {
    pub test: Vec<String>,
    pub interval_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub start_period_ms: Option<u64>,
    pub start_interval_ms: Option<u64>,
    pub retries: Option<u32>,
}

/// A process in the root filesystem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Exec {
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub stdin: Vec<u8>,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub privileged: bool,
    pub devices: Vec<Device>,
}

/// A device of the machine, named as in the Container Device Interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub enum Network {
    #[default]
    Default,
    None,
    Host,
}

/// Something that a process sees and the layer does not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mount {
    pub target: String,
    pub source: MountSource,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum MountSource {
    Bind { from: Source, path: String, writable: bool },
    Cache { id: String, from: Option<Source>, path: String, sharing: Sharing, writable: bool, ownership: Ownership },
    Tmpfs(Option<u64>),
    Secret { id: String, as_env: bool, as_file: bool, required: bool, ownership: Ownership },
    Ssh { id: String, required: bool, ownership: Ownership },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

/// Where files come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Source {
    /// A build context; empty for the main one.
    Context(String),
    /// An earlier stage by name or number, else a named context, else an image reference.
    Stage(String),
    Download {
        url: String,
        checksum: Option<String>,
    },
    Git {
        url: String,
        revision: Option<String>,
        directory: Option<String>,
        keep_git_dir: bool,
        submodules: bool,
        checksum: Option<String>,
    },
    Inline(Vec<InlineFile>),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InlineFile {
    pub name: String,
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Files that come from elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Copy {
    pub from: Source,
    pub paths: Vec<String>,
    pub exclude: Vec<String>,
    pub destination: String,
    pub ownership: Ownership,
    pub unpack: bool,
    pub parents: bool,
    pub independent: bool,
}

impl Copy {
    /// All that a source has, into the root, as it is.
    pub fn all(from: Source) -> Self {
        Self {
            from,
            paths: vec![".".to_owned()],
            exclude: Vec::new(),
            destination: "/".to_owned(),
            ownership: Ownership::default(),
            unpack: false,
            parents: false,
            independent: false,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ownership {
    pub owner: Option<String>,
    pub mode: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MakeDirectory {
    pub path: String,
    pub ownership: Ownership,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WriteFile {
    pub path: String,
    pub content: Vec<u8>,
    pub ownership: Ownership,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Symlink {
    pub path: String,
    pub target: String,
}

impl Operation {
    /// Whether it touches files, and so makes a layer.
    pub fn makes_layer(&self) -> bool {
        !matches!(self, Self::Configure(_))
    }

    /// The sources that it reads, in order.
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Self::Copy(copy) => vec![&copy.from],
            Self::Exec(exec) => exec
                .mounts
                .iter()
                .filter_map(|mount| match &mount.source {
                    MountSource::Bind { from, .. } => Some(from),
                    MountSource::Cache { from, .. } => from.as_ref(),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}
