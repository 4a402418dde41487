//! Moving the builder into namespaces of its own, in which it may mount.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use super::error::SandboxError;
use super::sys::{self, Forked};
use super::{capabilities as rights, users};

/// The most that a process tells another one of its failure, in bytes.
const LONGEST_MESSAGE: u64 = 4096;

/// Which owners files can have in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Those of the place that the builder was started in.
    All,
    /// The builder's own as root, and subordinate ones for the rest.
    Subordinate,
    /// The builder's own as root, and no other.
    Single,
}

/// The ids of a user namespace that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// What there is.
    pub ids: Ids,
    /// Why there is no more; empty where there could be none.
    pub why_no_more: String,
}

/// Moves this process into a mount namespace of its own, so that nothing it mounts is seen outside or outlives it.
///
/// Has to be called while the process has one thread. Returns whether it was done; it is not without the privilege.
///
/// # Errors
/// When the privilege is there and the kernel refuses for another reason.
pub fn enter_private_mount_namespace() -> Result<bool, SandboxError> {
    if !rights::may_administer() {
        return Ok(false);
    }
    match sys::unshare(UnshareFlags::NEWNS) {
        Ok(()) => {}
        // A system call filter or a security module in the way.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) => {
            return Ok(false);
        }
        Err(error) => return Err(SandboxError::io("make a mount namespace")(error)),
    }
    keep_mounts()?;
    Ok(true)
}

/// Moves this process into a user namespace in which it is root, and a mount namespace that belongs to it.
///
/// Has to be called while the process has one thread. The ids are the best that can be had: all of them for root with
/// CAP_SETUID and CAP_SETGID, subordinate ones where `newuidmap` and `newgidmap` give any, else the process's own alone.
///
/// # Errors
/// Why there can be no such namespace. The process may be in one that is of no use then: try in another process first.
pub fn enter_user_namespace() -> Result<Mapped, SandboxError> {
    let failed = |doing| move |error: rustix::io::Errno| SandboxError::io(doing)(error.into());
    let (ready, tell_ready) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
    let (answer, tell_answer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
    let wanted = Wanted::here();
    // Only a process outside may write the maps of more than one id.
    let mapper = match sys::fork().map_err(SandboxError::io("start a process"))? {
        Forked::Child => {
            drop((tell_ready, answer));
            let said = if wait_for(ready) {
                wanted.map().map_or_else(|why| why, |mapped| format!("{}\n{}", mapped.ids.word(), mapped.why_no_more))
            } else {
                String::new()
            };
            let _ = std::fs::File::from(tell_answer).write_all(said.as_bytes());
            sys::exit_now(0)
        }
        Forked::Parent(pid) => pid,
    };
    drop((ready, tell_answer));
    let made = sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
    if made.is_ok() {
        let _ = rustix::io::write(&tell_ready, b"1");
    }
    drop(tell_ready);
    let said = read_all(answer);
    if let Some(mapper) = Pid::from_raw(mapper) {
        while matches!(waitpid(Some(mapper), WaitOptions::empty()), Err(rustix::io::Errno::INTR)) {}
    }
    made.map_err(SandboxError::io("make a user namespace"))?;
    let said = said.map_err(SandboxError::io("map the ids of a user namespace"))?;
    let mapped = said.split_once('\n').and_then(|(word, why)| Some(Mapped { ids: Ids::from_word(word)?, why_no_more: why.to_owned() }));
    let mapped = mapped.ok_or(SandboxError::Setup(said))?;
    keep_mounts()?;
    Ok(mapped)
}

/// Carries out in a process of its own what may leave a process of no use, and says how it went there. The calling process has
/// one thread.
///
/// # Errors
/// What `attempt` says, or that there was no trying it.
pub fn rehearse(attempt: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (answer, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| error.to_string())?;
    match sys::fork().map_err(|error| error.to_string())? {
        Forked::Child => {
            drop(answer);
            let said = attempt().err().map_or_else(|| "1".to_owned(), |why| format!("0{why}"));
            let _ = std::fs::File::from(tell).write_all(said.as_bytes());
            sys::exit_now(0)
        }
        Forked::Parent(pid) => {
            drop(tell);
            let said = read_all(answer);
            if let Some(pid) = Pid::from_raw(pid) {
                while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(rustix::io::Errno::INTR)) {}
            }
            match said.map_err(|error| error.to_string())?.split_at_checked(1) {
                Some(("1", _)) => Ok(()),
                Some((_, why)) => Err(why.to_owned()),
                None => Err("the attempt ended without a word".to_owned()),
            }
        }
    }
}

/// What is unmounted outside goes away here as well; nothing goes the other way.
fn keep_mounts() -> Result<(), SandboxError> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .map_err(io::Error::from)
        .map_err(SandboxError::io("keep mounts to this process"))
}

fn wait_for(ready: OwnedFd) -> bool {
    matches!(std::fs::File::from(ready).read(&mut [0]), Ok(1))
}

fn read_all(from: OwnedFd) -> io::Result<String> {
    let mut said = String::new();
    std::fs::File::from(from).take(LONGEST_MESSAGE).read_to_string(&mut said)?;
    Ok(said)
}

impl Ids {
    fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Subordinate => "subordinate",
            Self::Single => "single",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::All, Self::Subordinate, Self::Single].into_iter().find(|ids| ids.word() == word)
    }
}

/// A process whose user namespace is to get its maps, as seen from outside.
struct Wanted {
    process: PathBuf,
    uid: u32,
    gid: u32,
    maps: [String; 2],
    may_set_ids: bool,
}

impl Wanted {
    fn here() -> Self {
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
        Self {
            process: Path::new("/proc").join(std::process::id().to_string()),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            maps: ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| std::fs::read_to_string(path).unwrap_or_default()),
            may_set_ids: capabilities(None).is_ok_and(|sets| sets.effective.contains(needed)),
        }
    }

    /// Writes the maps, the best first.
    fn map(&self) -> Result<Mapped, String> {
        let mut why = String::new();
        let got = |ids, why: &str| Ok(Mapped { ids, why_no_more: why.replace('\n', " ") });
        if self.may_set_ids {
            let [uids, gids] = self.maps.each_ref().map(|map| identity(map));
            match self.write("gid_map", &gids).and_then(|()| self.write("uid_map", &uids)) {
                Ok(()) => return got(Ids::All, ""),
                Err(error) => why = format!("every id: {error}; "),
            }
        }
        match self.subordinate() {
            Ok(()) => return got(Ids::Subordinate, &why),
            Err(error) => why.push_str(&error),
        }
        // The kernel wants this first, so that nobody leaves a group that denies something.
        let single = std::fs::write(self.process.join("setgroups"), "deny")
            .and_then(|()| self.write("gid_map", &format!("0 {} 1\n", self.gid)))
            .and_then(|()| self.write("uid_map", &format!("0 {} 1\n", self.uid)));
        single.map_err(|error| format!("the ids of a user namespace cannot be mapped: {why}; a single id: {error}"))?;
        got(Ids::Single, &why)
    }

    fn write(&self, file: &str, map: &str) -> io::Result<()> {
        // The kernel takes a map in one write alone.
        std::fs::OpenOptions::new().write(true).open(self.process.join(file))?.write_all(map.as_bytes())
    }

    /// Has the helpers of the system map what its administrator has given this user.
    fn subordinate(&self) -> Result<(), String> {
        let ranges = |file: &str| -> Result<Vec<(u64, u64)>, String> {
            let text = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
            let found = users::subordinate_ranges(&text, self.uid, &passwd);
            if found.is_empty() { Err(format!("{file} has no ids for user {}", self.uid)) } else { Ok(found) }
        };
        let (uids, gids) = (ranges("/etc/subuid")?, ranges("/etc/subgid")?);
        let pid = self.process.file_name().unwrap_or_default();
        for (program, own, ranges) in [("newgidmap", self.gid, gids), ("newuidmap", self.uid, uids)] {
            let mut command = Command::new(program);
            command.arg(pid).args(["0", &own.to_string(), "1"]).stdin(Stdio::null());
            let mut inside = 1;
            for (outside, count) in ranges {
                command.args([inside, outside, count].map(|number| number.to_string()));
                inside += count;
            }
            let done = command.output().map_err(|error| format!("{program}: {error}"))?;
            if !done.status.success() {
                return Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()));
            }
        }
        Ok(())
    }
}

/// The map that gives a child every id that is mapped here, under the same number.
fn identity(map: &str) -> String {
    let mut out = String::new();
    for line in map.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(inside), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next()) {
            out.push_str(&format!("{inside} {inside} {count}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_can_have_the_same_ids() {
        assert_eq!(identity("         0       1000          1\n         1     100000      65536\n"), "0 0 1\n1 1 65536\n");
    }

    #[test]
    fn words_for_ids_are_read_back() {
        for ids in [Ids::All, Ids::Subordinate, Ids::Single] {
            assert_eq!(Ids::from_word(ids.word()), Some(ids));
        }
        assert_eq!(Ids::from_word(""), None);
    }
}
