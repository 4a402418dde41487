//! Running one command in a root filesystem, shut off from the builder and from the machine.
//!
//! [`Executor`] is the seam; [`Namespaces`] is the real one, [`Chroot`] and [`InPlace`] are for where it does not work. The builder starts its own binary again with
//! [`INIT_ARGUMENT`] and sends it a [`RunSpec`]. That process unshares its namespaces and makes a sibling of itself,
//! which is process 1 of the new pid namespace: it assembles the mounts, moves into the new root, starts the command
//! with Docker's default capabilities and seccomp profile, and reaps whatever the command leaves behind. When it ends,
//! the kernel ends everything else in the namespace, so no step leaves a process.
//!
//! Without privileges the builder first moves into a user namespace ([`enter_user_namespace`]) and is root there.
//!
//! What is deliberately absent: AppArmor and SELinux labels. Nothing here prints or reads the environment.

mod bare;
mod beneath;
mod cancel;
mod capabilities;
mod enter;
mod error;
mod init;
mod limits;
mod mounts;
mod namespaces;
mod output;
mod report;
mod seccomp;
mod spec;
mod stubs;
mod sys;
mod syscalls;
pub mod users;

pub use bare::{Chroot, InPlace};
pub use cancel::Cancel;
pub use capabilities::DEFAULT_CAPABILITIES;
pub use enter::{Ids, Mapped, enter_private_mount_namespace, enter_user_namespace, rehearse};
pub use error::SandboxError;
pub use init::init_main;
pub use limits::{GroupLimits, ProcessLimit};
pub use mounts::{hosts, resolv_conf};
pub use namespaces::Namespaces;
pub use output::{Stream, split_lines};
pub use spec::{Lending, MountKind, Network, RunSpec, SandboxMount};

use std::path::PathBuf;

/// The first argument that makes this binary the sandbox's own helper; `main` looks for it before anything else and
/// then calls [`init_main`].
pub const INIT_ARGUMENT: &str = "__layerwright-sandbox-init";

/// Has the static program look names up by itself. The C library would otherwise load what `/etc/nsswitch.conf` names: of another version
/// than its own, and in place of an image's, whose code would run in the builder.
pub fn look_up_without_libraries() {
    sys::look_up_without_libraries();
}

/// How a command ended, and what the layer maker has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitStatus {
    /// The command's exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Directories of the image, absolute, that mount points were made in and removed from again. Their modification
    /// times are what the command left; an overlay holds a copy of each in its upper directory, which is no change
    /// unless something else about it changed.
    pub touched: Vec<PathBuf>,
    /// Where the sandbox is weaker here than it should be, one sentence each.
    pub notes: Vec<String>,
}

impl ExitStatus {
    /// Whether the command ended with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// Runs commands in root filesystems.
pub trait Executor: Send + Sync {
    /// Runs the command of `spec` to its end, on the calling thread.
    ///
    /// Output arrives in `output` as it is written: a line at a time with its newline, the last one perhaps without;
    /// lines above 16 KiB come in pieces. A code other than 0 is not an error.
    ///
    /// When this returns, whatever the outcome, no process of the step is left. After an error the root filesystem may
    /// hold mount points of the sandbox's making, as it may hold whatever the command left: neither is a layer.
    ///
    /// # Errors
    /// [`SandboxError::Cancelled`] after [`Cancel::cancel`]; the other variants when the command could not be started.
    fn run(&self, spec: &RunSpec, output: &mut dyn FnMut(Stream, &[u8]), cancel: &Cancel) -> Result<ExitStatus, SandboxError>;

    /// A word for logs.
    fn name(&self) -> &'static str;
}
