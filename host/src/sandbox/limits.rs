//! What a step may use up: limits of each process, and of all of them together.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// A limit of each process, as `ulimit` sets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimit {
    /// One of [`ProcessLimit::names`].
    pub name: String,
    /// In force; none for no limit.
    pub soft: Option<u64>,
    /// What a process may raise it to; none for no limit.
    pub hard: Option<u64>,
}

/// The names and what they limit.
const RESOURCES: &[(&str, Resource)] = &[
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

impl ProcessLimit {
    /// The names that there are, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        RESOURCES.iter().map(|(name, _)| *name)
    }

    /// Sets it for the calling process.
    pub(super) fn set(&self) -> io::Result<()> {
        let resource = RESOURCES.iter().find(|(name, _)| *name == self.name).map(|(_, resource)| *resource);
        let resource = resource.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no such limit"))?;
        Ok(setrlimit(resource, Rlimit { current: self.soft, maximum: self.hard })?)
    }
}

/// Limits of all processes of a step together, which its control group keeps. Nothing is a limit that is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLimits {
    /// The control group to be in, below the root of the hierarchy; the builder's own where none.
    pub parent: Option<String>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes.
    pub memory_and_swap: Option<u64>,
    /// How many processes and threads there may be at a time.
    pub processes: Option<u64>,
    /// Weight of the processor time, where 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Length of a period of processor time, in microseconds; 100000 where none.
    pub cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds.
    pub cpu_quota: Option<u64>,
    /// Processors, for instance `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, for instance `0`.
    pub cpuset_mems: Option<String>,
}

const HIERARCHY: &str = "/sys/fs/cgroup";

impl GroupLimits {
    /// Whether there is nothing to see to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The settings of the unified hierarchy: file and content.
    fn unified(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        let mut set = |file, value: Option<String>| settings.extend(value.map(|value| (file, value)));
        set("memory.max", self.memory.map(|bytes| bytes.to_string()));
        let swap = self.memory_and_swap.map(|both| both.saturating_sub(self.memory.unwrap_or(0)));
        set("memory.swap.max", swap.map(|bytes| bytes.to_string()));
        set("pids.max", self.processes.map(|most| most.to_string()));
        // As the runtimes turn the old range of 2 to 262144 into the new one of 1 to 10000.
        let weight = self.cpu_shares.map(|shares| 1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142);
        set("cpu.weight", weight.map(|weight| weight.to_string()));
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let quota = self.cpu_quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
            set("cpu.max", Some(format!("{quota} {}", self.cpu_period.unwrap_or(100_000))));
        }
        set("cpuset.cpus", self.cpuset_cpus.clone());
        set("cpuset.mems", self.cpuset_mems.clone());
        settings
    }

    /// The settings of the older hierarchies: controller, file and content.
    fn separate(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut settings = Vec::new();
        let mut set = |controller, file, value: Option<String>| settings.extend(value.map(|value| (controller, file, value)));
        set("memory", "memory.limit_in_bytes", self.memory.map(|bytes| bytes.to_string()));
        set("memory", "memory.memsw.limit_in_bytes", self.memory_and_swap.map(|bytes| bytes.to_string()));
        set("pids", "pids.max", self.processes.map(|most| most.to_string()));
        set("cpu", "cpu.shares", self.cpu_shares.map(|shares| shares.to_string()));
        set("cpu", "cpu.cfs_period_us", self.cpu_period.map(|time| time.to_string()));
        set("cpu", "cpu.cfs_quota_us", self.cpu_quota.map(|time| time.to_string()));
        set("cpuset", "cpuset.cpus", self.cpuset_cpus.clone());
        set("cpuset", "cpuset.mems", self.cpuset_mems.clone());
        settings
    }
}

/// The control groups of a step, gone with the value. Whatever is in them has to have ended by then.
#[derive(Debug, Default)]
pub(super) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// Makes control groups with those limits and puts a process into them.
    pub(super) fn enter(limits: &GroupLimits, process: u32) -> io::Result<Self> {
        let mut group = Self::default();
        if limits.is_empty() {
            return Ok(group);
        }
        let membership = std::fs::read_to_string("/proc/self/cgroup")?;
        let name = format!("layerwright-{process}");
        if Path::new(HIERARCHY).join("cgroup.controllers").exists() {
            let own = own_group(&membership, "").unwrap_or("/");
            let directory = group.make(&below(Path::new(HIERARCHY), limits.parent.as_deref().unwrap_or(own))?, &name)?;
            // The controllers that are needed; the parent may have them switched on already.
            let controllers: BTreeSet<&str> = limits.unified().iter().filter_map(|(file, _)| file.split('.').next()).collect();
            for controller in controllers {
                if let Some(parent) = directory.parent() {
                    let _ = std::fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
            for (file, value) in limits.unified() {
                write(&directory.join(file), &value)?;
            }
            write(&directory.join("cgroup.procs"), &process.to_string())?;
            return Ok(group);
        }
        let mut controllers: Vec<&str> = limits.separate().iter().map(|(controller, _, _)| *controller).collect();
        controllers.dedup();
        if controllers.is_empty() {
            controllers = vec!["memory", "cpu", "pids"];
        }
        for controller in controllers {
            let root = Path::new(HIERARCHY).join(controller);
            let place = match &limits.parent {
                Some(parent) => below(&root, parent)?,
                // In a container the hierarchy often shows the container's own group as its root.
                None => below(&root, own_group(&membership, controller).unwrap_or("/")).unwrap_or(root),
            };
            let directory = group.make(&place, &name)?;
            if controller == "cpuset" {
                // An empty set takes no process; what is not said is as above.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let _ = std::fs::read_to_string(place.join(file)).map(|above| std::fs::write(directory.join(file), above.trim()));
                }
            }
            for (_, file, value) in limits.separate().iter().filter(|(of, _, _)| *of == controller) {
                write(&directory.join(file), value)?;
            }
            write(&directory.join("cgroup.procs"), &process.to_string())?;
        }
        Ok(group)
    }

    fn make(&mut self, parent: &Path, name: &str) -> io::Result<PathBuf> {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory).map_err(|error| of(&directory, &error))?;
        self.directories.push(directory.clone());
        Ok(directory)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            // A group that cannot be removed is an empty one, and costs next to nothing.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// A group's directory; a name does not lead out of the hierarchy.
fn below(root: &Path, group: &str) -> io::Result<PathBuf> {
    if group.split('/').any(|part| part == "..") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{group:?} is no control group")));
    }
    let path = root.join(group.trim_start_matches('/'));
    // A parent that is named may be new, its hierarchy may not.
    match root.is_dir() {
        true => Ok(path),
        false => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", root.display()))),
    }
}

fn own_group<'a>(membership: &'a str, controller: &str) -> Option<&'a str> {
    membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(group)
    })
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    std::fs::write(path, value).map_err(|error| of(path, &error))
}

fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_both_forms() {
        let limits = GroupLimits {
            memory: Some(64 << 20),
            memory_and_swap: Some(96 << 20),
            processes: Some(100),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpuset_cpus: Some("0-1".to_owned()),
            ..GroupLimits::default()
        };
        let unified: Vec<_> = limits.unified().into_iter().map(|(file, value)| format!("{file}={value}")).collect();
        assert_eq!(
            unified,
            ["memory.max=67108864", "memory.swap.max=33554432", "pids.max=100", "cpu.weight=39", "cpu.max=50000 100000", "cpuset.cpus=0-1"]
        );
        assert_eq!(limits.separate().len(), 6);
        assert!(GroupLimits::default().is_empty() && !limits.is_empty());
    }

    #[test]
    fn a_group_is_found_by_its_controller() {
        let membership = "4:memory:/a/b\n3:cpu,cpuacct:/c:d\n0::/own\n";
        assert_eq!(own_group(membership, "memory"), Some("/a/b"));
        assert_eq!(own_group(membership, "cpu"), Some("/c:d"));
        assert_eq!(own_group(membership, ""), Some("/own"));
        assert_eq!(own_group(membership, "pids"), None);
        assert!(below(Path::new("/"), "a/../..").is_err());
    }

    #[test]
    fn names_are_sorted_and_known() {
        assert!(ProcessLimit::names().is_sorted());
        assert!(ProcessLimit { name: "nofiles".to_owned(), soft: None, hard: None }.set().is_err());
    }
}
