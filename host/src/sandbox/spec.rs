//! What to run, and what it is to see.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::capabilities::DEFAULT_CAPABILITIES;
use super::limits::{GroupLimits, ProcessLimit};

/// One command, complete: nothing is added from the builder's own environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunSpec {
    /// The root filesystem: a directory, or where it is mounted in the builder's mount namespace.
    pub rootfs: PathBuf,
    /// The command and its arguments; a name without a slash is looked up in the `PATH` of `env`.
    pub arguments: Vec<String>,
    /// `NAME=value`, in order. `HOME` is added from the user's entry where it is missing.
    pub env: Vec<String>,
    /// Absolute in the image, must exist; empty for `/`.
    pub cwd: String,
    /// As in `USER`: name or number, with `:group` perhaps; empty for root.
    pub user: String,
    /// At most 64 bytes.
    pub hostname: String,
    /// The network that the command sees.
    pub network: Network,
    /// Further lines of `/etc/hosts`: name, address.
    pub extra_hosts: Vec<(String, String)>,
    /// All capabilities the builder has, no system call filter, nothing masked. Needs the operator's leave, which the
    /// caller has seen to.
    pub privileged: bool,
    /// Set no_new_privs: set-user-id programs gain nothing.
    pub no_new_privs: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// What the command reads from its standard input; nothing for `/dev/null`.
    pub stdin: Vec<u8>,
    /// Mounted sorted by target, so that outer ones come first.
    pub mounts: Vec<SandboxMount>,
    /// A bit for each capability number; less where the builder itself lacks some.
    pub capabilities: u64,
    /// Files and directories that read as empty.
    pub masked_paths: Vec<String>,
    /// Files and directories that cannot be written.
    pub readonly_paths: Vec<String>,
    /// Limits of each process.
    pub process_limits: Vec<ProcessLimit>,
    /// Limits of all processes together.
    pub group_limits: GroupLimits,
    /// Further groups of the command.
    pub additional_gids: Vec<u32>,
    /// Where nothing is mounted: what goes away with the command, also when the builder is gone by then.
    pub lent: Vec<Lending>,
}

/// Something that was put into the root filesystem for as long as a command runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lending {
    /// Where it was put, relative to the root filesystem.
    pub path: PathBuf,
    /// Its device and inode: what else stands there afterwards is the command's.
    pub inode: (u64, u64),
    /// The builder's path that it goes back to; without one it is removed.
    pub home: Option<PathBuf>,
}

impl RunSpec {
    /// A command as root in `/` with the host's network and Docker's default restrictions.
    #[must_use]
    pub fn new(rootfs: PathBuf, arguments: Vec<String>) -> Self {
        let owned = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect();
        Self {
            rootfs,
            arguments,
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            hostname: DEFAULT_HOSTNAME.to_owned(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            privileged: false,
            no_new_privs: false,
            shm_size: 64 << 20,
            stdin: Vec::new(),
            mounts: Vec::new(),
            capabilities: DEFAULT_CAPABILITIES,
            masked_paths: owned(MASKED_PATHS),
            readonly_paths: owned(READONLY_PATHS),
            process_limits: Vec::new(),
            group_limits: GroupLimits::default(),
            additional_gids: Vec::new(),
            lent: Vec::new(),
        }
    }
}

/// The network of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The builder's own.
    #[default]
    Default,
    /// A loopback interface and no more.
    None,
    /// The builder's own, asked for by name.
    Host,
}

/// Something mounted for the length of the step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxMount {
    /// Absolute in the image; made, and removed afterwards, where nothing is there.
    pub target: String,
    /// What appears there.
    pub kind: MountKind,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file, directory or socket of the builder's, with what is mounted below it. The caller has seen to it that
    /// the path leads nowhere it should not.
    Bind {
        /// As the builder sees it, without symbolic links.
        source: PathBuf,
        /// Whether writing is refused.
        readonly: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Limit in bytes; half of the memory where none.
        size: Option<u64>,
    },
    /// A device of the builder's, that can be opened although others cannot.
    Device {
        /// As the builder sees it.
        source: PathBuf,
    },
    /// A file that exists in memory alone.
    SecretFile {
        /// Its bytes.
        content: Vec<u8>,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its permission bits.
        mode: u32,
    },
}

/// The name that steps give their machine, as in BuildKit: scripts have come to know it.
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// As Docker masks them.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// As Docker makes them read-only.
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
