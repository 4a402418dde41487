//! What instructions are lowered to, with shorthands for the usual cases.

use crate::Property;
pub use crate::bindings::shared::layerwright::plugin::operation::{
    BindMount, CacheMount, ConfigChange, CopyFiles as Copy, Device, Download, Exec, Git, Healthcheck, InlineFile, MakeDirectory, Mount,
    MountSource, Network, Operation, Ownership, SecretMount, Sharing, Source, SshMount, Symlink, WriteFile,
};
use crate::instruction::Stage;

impl Operation {
    /// Sets a variable of the image's environment.
    pub fn env(name: impl Into<String>, value: impl Into<String>) -> Self {
        ConfigChange::Env(Property::new(name, value)).into()
    }

    /// Sets a label.
    pub fn label(name: impl Into<String>, value: impl Into<String>) -> Self {
        ConfigChange::Label(Property::new(name, value)).into()
    }

    /// Removes a file or a tree.
    pub fn remove(path: impl Into<String>) -> Self {
        Self::Remove(path.into())
    }
}

impl Exec {
    /// Runs a program with its arguments.
    pub fn new<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            user: None,
            working_dir: None,
            stdin: Vec::new(),
            mounts: Vec::new(),
            network: Network::Default,
            privileged: false,
            devices: Vec::new(),
        }
    }

    /// Runs a line in the stage's shell.
    pub fn shell(stage: &Stage, line: impl Into<String>) -> Self {
        Self::new(stage.shell_command(line))
    }

    /// Sets a variable for the process alone.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push(Property::new(name, value));
        self
    }

    /// Runs as another user than the configured one.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Runs in another directory than the configured one.
    #[must_use]
    pub fn working_dir(mut self, path: impl Into<String>) -> Self {
        self.working_dir = Some(path.into());
        self
    }

    /// Gives the process something to read.
    #[must_use]
    pub fn stdin(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.stdin = content.into();
        self
    }

    /// Mounts something at a path, for the process alone.
    #[must_use]
    pub fn mount(mut self, target: impl Into<String>, source: MountSource) -> Self {
        self.mounts.push(Mount { target: target.into(), source });
        self
    }

    /// Chooses the process's network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }
}

impl MountSource {
    /// A cache directory under a name, shared and writable.
    pub fn cache(id: impl Into<String>) -> Self {
        Self::Cache(CacheMount {
            id: id.into(),
            from: None,
            path: String::new(),
            sharing: Sharing::Shared,
            writable: true,
            ownership: Ownership::default(),
        })
    }

    /// Files from elsewhere, read-only.
    pub fn bind(from: Source, path: impl Into<String>) -> Self {
        Self::Bind(BindMount { from, path: path.into(), writable: false })
    }
}

impl Source {
    /// The main build context.
    pub fn main_context() -> Self {
        Self::Context(String::new())
    }
}

impl InlineFile {
    /// A file with mode 0644.
    pub fn new(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: content.into(), mode: 0o644 }
    }
}

impl Copy {
    /// Copies what a source has at some paths; no paths stand for all of it.
    pub fn new<S: Into<String>>(from: Source, paths: impl IntoIterator<Item = S>, destination: impl Into<String>) -> Self {
        Self {
            from,
            paths: paths.into_iter().map(Into::into).collect(),
            exclude: Vec::new(),
            destination: destination.into(),
            ownership: Ownership::default(),
            unpack: false,
            parents: false,
            independent: false,
        }
    }

    /// Copies from the main build context.
    pub fn from_context<S: Into<String>>(paths: impl IntoIterator<Item = S>, destination: impl Into<String>) -> Self {
        Self::new(Source::main_context(), paths, destination)
    }

    /// Copies from an earlier stage, a named context or an image.
    pub fn from_stage<S: Into<String>>(
        stage: impl Into<String>,
        paths: impl IntoIterator<Item = S>,
        destination: impl Into<String>,
    ) -> Self {
        Self::new(Source::Stage(stage.into()), paths, destination)
    }

    /// Fetches a file from the web.
    pub fn download(url: impl Into<String>, checksum: Option<String>, destination: impl Into<String>) -> Self {
        let download = Download { url: url.into(), checksum };
        Self::new(Source::Download(download), NO_PATHS, destination)
    }

    /// Writes files that the instruction itself carries.
    pub fn inline(files: Vec<InlineFile>, destination: impl Into<String>) -> Self {
        Self::new(Source::Inline(files), NO_PATHS, destination)
    }

    /// Says who owns what is made.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.ownership.owner = Some(owner.into());
        self
    }

    /// Says with which permissions it is made, octal or symbolic.
    #[must_use]
    pub fn mode(mut self, mode: impl Into<String>) -> Self {
        self.ownership.mode = Some(mode.into());
        self
    }
}

impl MakeDirectory {
    /// Makes a directory owned by root with mode 0755.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ownership: Ownership::default() }
    }

    /// Says who owns it.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.ownership.owner = Some(owner.into());
        self
    }

    /// Says with which permissions it is made, octal or symbolic.
    #[must_use]
    pub fn mode(mut self, mode: impl Into<String>) -> Self {
        self.ownership.mode = Some(mode.into());
        self
    }
}

impl WriteFile {
    /// Writes a file owned by root with mode 0644.
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into(), ownership: Ownership::default() }
    }

    /// Says who owns it.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.ownership.owner = Some(owner.into());
        self
    }

    /// Says with which permissions it is made, octal or symbolic.
    #[must_use]
    pub fn mode(mut self, mode: impl Into<String>) -> Self {
        self.ownership.mode = Some(mode.into());
        self
    }
}

impl Symlink {
    /// Makes a symbolic link that says `target`.
    pub fn new(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self { path: path.into(), target: target.into() }
    }
}

impl Default for Ownership {
    /// The owner and the mode that the kind of operation has by itself.
    fn default() -> Self {
        Self { owner: None, mode: None }
    }
}

/// No paths: the whole of a download, a git checkout or inline files.
const NO_PATHS: [&str; 0] = [];

macro_rules! into_operation {
    ($($record:ident => $case:ident),* $(,)?) => {$(
        impl From<$record> for Operation {
            fn from(value: $record) -> Self {
                Self::$case(value)
            }
        }
    )*};
}

into_operation! {
    ConfigChange => Configure,
    Exec => Exec,
    Copy => Copy,
    MakeDirectory => MakeDirectory,
    WriteFile => WriteFile,
    Symlink => Symlink,
}
