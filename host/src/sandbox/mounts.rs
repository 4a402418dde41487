//! What a step sees: its root, the kernel's file systems, and what was asked to be mounted.
//!
//! Everything is mounted below the new root while the old one is still there; then the old one is let go of. No path
//! of the image is ever given to the kernel: each is walked by `beneath`, and the kernel gets the place's handle.
//!
//! Nothing but the six harmless devices can be opened, though the command may make others: every mount but theirs
//! refuses devices. In a privileged step none does.

use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mkdirat, mknodat, openat, statfs, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::beneath::{Missing, Place, Tree};
use super::report::{Context, Failure};
use super::spec::{MountKind, RunSpec, SandboxMount};
use super::sys;

const STRICT: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);

/// Files that are made for the step are kept here until they are mounted where they belong.
const STAGE: &str = "/dev/.stage";

const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLV_CONF_LIMIT: u64 = 64 << 10;

const DEVICES: &[(&str, u32, u32)] = &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// A root filesystem on its way to being a step's root.
pub(super) struct Assembly<'a> {
    spec: &'a RunSpec,
    tree: Tree,
    notes: Vec<String>,
}

impl<'a> Assembly<'a> {
    /// Takes the root filesystem, or an empty one in memory for a rehearsal. The calling process is alone in its
    /// mount namespace.
    pub(super) fn new(spec: &'a RunSpec, rehearsal: bool) -> Result<Self, Failure> {
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).doing(|| "keep mounts to the step".to_owned())?;
        let root = spec.rootfs.as_path();
        if rehearsal { mount("tmpfs", root, "tmpfs", MountFlags::empty(), None) } else { mount_bind(root, root) }
            .doing(|| format!("mount the root filesystem {}", root.display()))?;
        let tree = Tree::open(root).doing(|| format!("open the root filesystem {}", root.display()))?;
        restrict(&tree.path(), refusal(spec, false)).doing(|| "shut devices out of the root filesystem".to_owned())?;
        let notes = Vec::new();
        Ok(Self { spec, tree, notes })
    }

    /// Mounts everything.
    pub(super) fn mount_all(&mut self) -> Result<(), Failure> {
        let mut mounts: Vec<&SandboxMount> = self.spec.mounts.iter().collect();
        mounts.sort_by(|one, other| one.target.cmp(&other.target));

        self.devices()?;
        self.kernel()?;
        self.stage(&mounts)?;
        self.generated("resolv.conf", RESOLV_CONF)?;
        self.generated("hosts", "/etc/hosts")?;
        if self.spec.privileged { self.machine() } else { self.mask() }?;
        for (number, mount) in mounts.into_iter().enumerate() {
            self.requested(number, mount).map_err(|failure| failure.about(&format!("mount {}", mount.target)))?;
        }
        self.unstage()
    }

    /// What was made in the image to mount on, relative to the root.
    pub(super) fn stubs(&self) -> &[PathBuf] {
        self.tree.stubs()
    }

    /// Moves the process into the root and lets go of the builder's mounts.
    pub(super) fn enter(self) -> Result<Vec<String>, Failure> {
        fchdir(self.tree.root())
            .and_then(|()| pivot_root(".", "."))
            .and_then(|()| unmount(".", UnmountFlags::DETACH))
            .and_then(|()| chdir("/"))
            .doing(|| "enter the root filesystem".to_owned())?;
        Ok(self.notes)
    }

    fn place(&mut self, path: &str, missing: Missing) -> Result<Place, Failure> {
        self.tree.make(path, missing).doing(|| format!("find or make {path} in the image"))
    }

    /// The place again, with what was mounted there since.
    fn mounted(&self, path: &str) -> Result<Place, Failure> {
        let found = self.tree.find(path).doing(|| format!("open {path}"))?;
        found.ok_or_else(|| Failure::setup(format!("{path} is gone as soon as it was mounted")))
    }

    /// Mounts a new file system of type `kind` at `path`.
    fn filesystem(&mut self, kind: &str, path: &str, flags: MountFlags, data: &str) -> Result<(), Failure> {
        let place = self.place(path, Missing::Directory)?;
        let data = CString::new(data).map_err(|_| Failure::setup(format!("mount options with a NUL: {data:?}")))?;
        mount(kind, place.path(), kind, flags, data.as_c_str()).doing(|| format!("mount {kind} on {path}"))
    }

    fn devices(&mut self) -> Result<(), Failure> {
        let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
        self.filesystem("tmpfs", "/dev", flags, "mode=755,size=65536k")?;
        let dev = self.mounted("/dev")?;
        for (name, major, minor) in DEVICES {
            self.device(&dev, name, makedev(*major, *minor)).doing(|| format!("make the device /dev/{name}"))?;
        }
        for (name, target) in DEVICE_LINKS {
            symlinkat(*target, &dev, *name).doing(|| format!("make the link /dev/{name}"))?;
        }
        // The devices are mounts of their own and stay what they are.
        let alone = Refuse { recursive: false, ..refusal(self.spec, false) };
        restrict(&dev.path(), alone).doing(|| "shut devices out of /dev".to_owned())?;
        let (flags, data) = (MountFlags::NOSUID | MountFlags::NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
        // Where there is no group of terminals to give them to, they stay root's.
        if self.filesystem("devpts", "/dev/pts", flags, &format!("{data},gid=5")).is_err() {
            self.filesystem("devpts", "/dev/pts", flags, data)?;
        }
        let size = format!("mode=1777,size={}", self.spec.shm_size);
        self.filesystem("tmpfs", "/dev/shm", STRICT, &size)?;
        self.filesystem("mqueue", "/dev/mqueue", STRICT, "")
    }

    /// Makes a device and mounts it on itself; where making is forbidden, the builder's is mounted.
    fn device(&self, dev: &Place, name: &str, number: u64) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(0o666);
        let target = format!("{}/{name}", dev.path());
        match mknodat(dev, name, FileType::CharacterDevice, mode, number) {
            Ok(()) => {
                chmodat(dev, name, mode, AtFlags::empty())?;
                mount_bind(target.as_str(), target.as_str())
            }
            Err(Errno::PERM) => {
                mknodat(dev, name, FileType::RegularFile, mode, 0)?;
                mount_bind(format!("/dev/{name}"), target)
            }
            Err(error) => Err(error),
        }
    }

    fn kernel(&mut self) -> Result<(), Failure> {
        let access = if self.spec.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
        self.fresh_or_ours("proc", "/proc", STRICT)?;
        self.fresh_or_ours("sysfs", "/sys", STRICT | access)?;
        let cgroup2 = statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type as u64 == CGROUP2_MAGIC);
        if cgroup2
            && let Ok(Some(place)) = self.tree.find("/sys/fs/cgroup")
            && mount("cgroup2", place.path(), "cgroup2", STRICT | access, None).is_err()
        {
            self.notes.push("/sys/fs/cgroup is empty, the cgroup file system cannot be mounted here".to_owned());
        }
        Ok(())
    }

    /// A new instance of a kernel file system; the builder's own where the kernel refuses a new one.
    fn fresh_or_ours(&mut self, kind: &str, path: &str, flags: MountFlags) -> Result<(), Failure> {
        let place = self.place(path, Missing::Directory)?;
        match mount(kind, place.path(), kind, flags, None) {
            Err(Errno::PERM | Errno::ACCESS) => {}
            done => return done.doing(|| format!("mount {kind} on {path}")),
        }
        mount_bind_recursive(path, place.path()).doing(|| format!("mount the builder's {path}"))?;
        if flags.contains(MountFlags::RDONLY) {
            let place = self.mounted(path)?;
            restrict(&place.path(), refusal(self.spec, true)).doing(|| format!("make {kind} read-only"))?;
        }
        self.notes.push(format!("{path} is the builder's, a new {kind} cannot be mounted here"));
        Ok(())
    }

    /// Makes the generated files and the secrets, in memory that is not swapped out where the kernel can do that.
    fn stage(&mut self, mounts: &[&SandboxMount]) -> Result<(), Failure> {
        let flags = STRICT;
        if self.filesystem("tmpfs", STAGE, flags, "mode=700,noswap").is_err() {
            self.filesystem("tmpfs", STAGE, flags, "mode=700")?;
        }
        let stage = self.mounted(STAGE)?;
        let resolv_conf = resolv_conf().doing(|| format!("read the builder's {RESOLV_CONF}"))?;
        write(&stage, "resolv.conf", &resolv_conf, 0o644)?;
        write(&stage, "hosts", hosts(&self.spec.extra_hosts, &self.spec.hostname).as_bytes(), 0o644)?;
        mkdirat(&stage, "empty", Mode::from_raw_mode(0o755)).doing(|| "make an empty directory".to_owned())?;
        for (number, mount) in mounts.iter().enumerate() {
            if let MountKind::SecretFile { content, uid, gid, mode } = &mount.kind {
                let name = format!("secret-{number}");
                write(&stage, &name, content, *mode)?;
                let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
                chownat(&stage, name.as_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    // Changing the owner takes the set-user-id bits off.
                    .and_then(|()| chmodat(&stage, name.as_str(), Mode::from_raw_mode(*mode), AtFlags::empty()))
                    .doing(|| format!("give {} its owner", mount.target))?;
            }
        }
        // The file system, not this mount of it: whatever is mounted from it is read-only with it.
        mount_remount(stage.path(), flags | MountFlags::RDONLY, c"").doing(|| "seal generated files".to_owned())
    }

    /// Mounts what is staged as `name`.
    fn generated(&mut self, name: &str, target: &str) -> Result<(), Failure> {
        let source = self.mounted(&format!("{STAGE}/{name}"))?;
        let place = self.place(target, Missing::File)?;
        mount_bind(source.path(), place.path()).doing(|| format!("mount the generated {name} on {target}"))
    }

    /// The generated files live on where they were mounted; the place they were made in is gone.
    fn unstage(&mut self) -> Result<(), Failure> {
        let stage = self.mounted(STAGE)?;
        unmount(stage.path(), UnmountFlags::DETACH).doing(|| "put generated files away".to_owned())?;
        let dev = self.mounted("/dev")?;
        let name = STAGE.trim_start_matches("/dev/");
        rustix::fs::unlinkat(&dev, name, AtFlags::REMOVEDIR).doing(|| "remove the stage".to_owned())
    }

    fn mask(&mut self) -> Result<(), Failure> {
        let empty = self.mounted(&format!("{STAGE}/empty"))?;
        let null = self.mounted("/dev/null")?;
        for path in &self.spec.masked_paths {
            if let Some(place) = self.tree.find(path).doing(|| format!("find {path}"))? {
                let with = if place.is_directory() { &empty } else { &null };
                mount_bind(with.path(), place.path()).doing(|| format!("mask {path}"))?;
            }
        }
        for path in &self.spec.readonly_paths {
            if let Some(place) = self.tree.find(path).doing(|| format!("find {path}"))? {
                mount_bind_recursive(place.path(), place.path()).doing(|| format!("mount {path} on itself"))?;
                let place = self.mounted(path)?;
                restrict(&place.path(), refusal(self.spec, true)).doing(|| format!("make {path} read-only"))?;
            }
        }
        Ok(())
    }

    /// The devices of the builder's that a privileged step works with, as far as there are any.
    fn machine(&mut self) -> Result<(), Failure> {
        let loops = (0..8).map(|number| format!("/dev/loop{number}"));
        let paths = ["/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/loop-control"].map(str::to_owned).into_iter().chain(loops);
        for path in paths.filter(|path| Path::new(path).exists()) {
            self.one_device(Path::new(&path), &path).map_err(|failure| failure.about(&format!("mount {path}")))?;
        }
        Ok(())
    }

    fn one_device(&mut self, source: &Path, target: &str) -> Result<(), Failure> {
        let handle = open_plain(source).doing(|| format!("open {}", source.display()))?;
        let kind = rustix::fs::fstat(&handle).map(|stat| FileType::from_raw_mode(stat.st_mode)).doing(|| format!("look at {target}"))?;
        if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            return Err(Failure::setup(format!("{} is no device", source.display())));
        }
        let place = self.target(target, Missing::File)?;
        mount_bind(Place::from(handle).path(), place.path()).doing(|| "bind".to_owned())
    }

    fn requested(&mut self, number: usize, mount: &SandboxMount) -> Result<(), Failure> {
        let target = mount.target.as_str();
        if !target.starts_with('/') || target.split('/').all(|name| name.is_empty() || name == ".") {
            return Err(Failure::setup("the target has to be an absolute path other than /"));
        }
        match &mount.kind {
            MountKind::SecretFile { .. } => {
                let source = self.mounted(&format!("{STAGE}/secret-{number}"))?;
                let place = self.target(target, Missing::File)?;
                mount_bind(source.path(), place.path()).doing(|| "put the secret there".to_owned())
            }
            MountKind::Tmpfs { size } => {
                let place = self.target(target, Missing::Directory)?;
                let data = size.map_or_else(String::new, |size| format!("size={size}"));
                let data = CString::new(data).map_err(|_| Failure::setup("options with a NUL"))?;
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                rustix::mount::mount("tmpfs", place.path(), "tmpfs", flags, data.as_c_str())
                    .doing(|| "make a file system in memory".to_owned())
            }
            MountKind::Device { source } => self.one_device(source, target),
            MountKind::Bind { source, readonly } => {
                let handle = open_plain(source).doing(|| format!("open {}", source.display()))?;
                let source = Place::from(handle);
                let missing = if source.is_directory() { Missing::Directory } else { Missing::File };
                let place = self.target(target, missing)?;
                mount_bind_recursive(source.path(), place.path()).doing(|| "bind".to_owned())?;
                let place = self.mounted(target)?;
                restrict(&place.path(), refusal(self.spec, *readonly)).doing(|| "restrict".to_owned())
            }
        }
    }

    /// Where a requested mount goes; not into `/proc`, on which the sandbox itself relies.
    fn target(&mut self, path: &str, missing: Missing) -> Result<Place, Failure> {
        let place = self.place(path, missing)?;
        let found = rustix::fs::fstatfs(&place).doing(|| format!("look at {path}"))?;
        if found.f_type as u64 == PROC_MAGIC || self.is_root(&place) {
            return Err(Failure::setup("nothing can be mounted on / or in /proc"));
        }
        Ok(place)
    }

    fn is_root(&self, place: &Place) -> bool {
        let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let root = rustix::fs::fstat(self.tree.root()).map(identity);
        rustix::fs::fstat(place).map(identity) == root
    }
}

const CGROUP2_MAGIC: u64 = 0x6367_7270;
const PROC_MAGIC: u64 = 0x9fa0;

/// What the step's mounts refuse, and those below them.
fn refusal(spec: &RunSpec, writing: bool) -> Refuse {
    Refuse { writing, devices: !spec.privileged, recursive: true }
}

/// What a mount is to refuse.
#[derive(Clone, Copy)]
struct Refuse {
    writing: bool,
    devices: bool,
    /// Also the mounts below it.
    recursive: bool,
}

/// Opens a file of the builder's by a path without links: what another step put in the way of one in the meantime, in a
/// directory that both can write to, leads nowhere.
fn open_plain(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = openat(CWD, "/", flags, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => here = openat(&here, name, flags, Mode::empty())?,
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
        if FileType::from_raw_mode(rustix::fs::fstat(&here)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
    }
    Ok(here)
}

fn restrict(place: &str, refuse: Refuse) -> io::Result<()> {
    if !refuse.writing && !refuse.devices {
        return Ok(());
    }
    let path = CString::new(place)?;
    match sys::restrict_mount(&path, refuse.writing, refuse.devices, refuse.recursive) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => remount(&path, refuse),
        done => done,
    }
}

/// For kernels before 5.12, which can change one mount at a time, and only all of its flags together.
fn remount(path: &CStr, refuse: Refuse) -> io::Result<()> {
    use rustix::fs::StatVfsMountFlags as Is;
    let now = rustix::fs::statvfs(path)?.f_flag;
    let mut flags = MountFlags::BIND;
    for (is, flag) in [
        (Is::RDONLY, MountFlags::RDONLY),
        (Is::NOSUID, MountFlags::NOSUID),
        (Is::NODEV, MountFlags::NODEV),
        (Is::NOEXEC, MountFlags::NOEXEC),
        (Is::NOATIME, MountFlags::NOATIME),
        (Is::NODIRATIME, MountFlags::NODIRATIME),
        (Is::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(flag, now.contains(is));
    }
    flags.set(MountFlags::RDONLY, refuse.writing || flags.contains(MountFlags::RDONLY));
    flags.set(MountFlags::NODEV, refuse.devices || flags.contains(MountFlags::NODEV));
    Ok(mount_remount(path, flags, c"")?)
}

/// Writes a file of the step's own.
fn write(directory: &Place, name: &str, content: &[u8], mode: u32) -> Result<(), Failure> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::from_raw_mode(mode))
        .map_err(io::Error::from)
        .and_then(|file| io::Write::write_all(&mut fs::File::from(file), content))
        .doing(|| format!("write the step's {name}"))
}

/// The builder's name servers, as the content of a file; none where it has none.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn resolv_conf() -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match fs::File::open(Path::new(RESOLV_CONF)) {
        Ok(file) => file.take(RESOLV_CONF_LIMIT).read_to_end(&mut content)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(content)
}

/// The content of `/etc/hosts`, with further names and their addresses.
pub fn hosts(extra: &[(String, String)], hostname: &str) -> String {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}
