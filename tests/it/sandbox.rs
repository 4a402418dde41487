//! The sandbox, with real namespaces: each test overlays a busybox root filesystem in a mount namespace of its own and
//! runs commands in it. They need root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use layerwright::sandbox::{
    Cancel, Executor, ExitStatus, MountKind, Namespaces, Network, RunSpec, SandboxError, SandboxMount, Stream,
    enter_private_mount_namespace,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const TOOLS: &[&str] = &[
    "awk", "cat", "chmod", "date", "dd", "df", "env", "grep", "head", "hostname", "id", "ifconfig", "kill", "ls", "mkdir", "mknod",
    "mount", "ps", "readlink", "rm", "sh", "sleep", "sort", "stat", "touch", "true", "unshare", "wc", "yes",
];

fn sandbox() -> Namespaces {
    Namespaces { init_program: PathBuf::from(env!("CARGO_BIN_EXE_layerwright")) }
}

/// A root filesystem as a build has it: an overlay whose upper directory becomes the layer.
struct Root {
    directory: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        assert!(enter_private_mount_namespace().unwrap(), "namespaces cannot be made here: run ./test as root");
        let root = Self { directory: tempfile::tempdir().unwrap() };
        for name in ["lower/bin", "lower/etc", "lower/tmp", "upper", "work", "merged"] {
            fs::create_dir_all(root.path(name)).unwrap();
        }
        fs::copy("/usr/bin/busybox", root.path("lower/bin/busybox")).unwrap();
        for tool in TOOLS {
            symlink("busybox", root.path("lower/bin").join(tool)).unwrap();
        }
        let passwd = "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n";
        fs::write(root.path("lower/etc/passwd"), passwd).unwrap();
        fs::write(root.path("lower/etc/group"), "root:x:0:\nbob:x:1001:\nextra:x:1002:bob\n").unwrap();
        fs::set_permissions(root.path("lower/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Call once the lower directory is as it is to be.
    fn mounted(self) -> Self {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| self.path(name).display().to_string());
        let data = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let data = std::ffi::CString::new(data).unwrap();
        mount("overlay", self.path("merged"), "overlay", MountFlags::empty(), data.as_c_str()).unwrap();
        self
    }

    fn spec(&self, script: &str) -> RunSpec {
        let arguments = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let mut spec = RunSpec::new(self.path("merged"), arguments);
        spec.env = vec!["PATH=/usr/bin:/bin".to_owned()];
        spec
    }

    /// Every entry of the upper directory, sorted.
    fn changed(&self) -> Vec<String> {
        fn walk(directory: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                found.push(entry.path().strip_prefix(base).unwrap().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), base, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("upper"), &self.path("upper"), &mut found);
        found.sort();
        found
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = unmount(self.path("merged"), UnmountFlags::DETACH);
    }
}

/// Runs to the end; standard output and standard error as text.
fn run(spec: &RunSpec) -> Result<(ExitStatus, String, String), SandboxError> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = sandbox().run(
        spec,
        &mut |stream, line| match stream {
            Stream::Stdout => out.extend_from_slice(line),
            Stream::Stderr => err.extend_from_slice(line),
        },
        &Cancel::new().unwrap(),
    )?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((status, text(&out), text(&err)))
}

fn output(spec: &RunSpec) -> String {
    run(spec).unwrap().1
}

#[test]
fn probe_works_where_steps_do() {
    let _root = Root::new();
    assert_eq!(sandbox().probe().unwrap(), Vec::<String>::new());
}

#[test]
fn exit_codes_are_the_commands() {
    let root = Root::new().mounted();
    assert_eq!(run(&root.spec("exit 7")).unwrap().0.code, 7);
    let killed = run(&root.spec("kill -9 $$")).unwrap().0;
    assert_eq!((killed.code, killed.signal), (137, Some(9)));
    // The default action of a signal, which process 1 would not have.
    assert_eq!(run(&root.spec("kill -TERM $$; sleep 5")).unwrap().0.code, 143);
    assert!(run(&root.spec("true")).unwrap().0.success());
}

#[test]
fn what_cannot_be_run_is_named() {
    let root = Root::new();
    fs::write(root.path("lower/bin/no-loader"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(root.path("lower/bin/no-loader"), fs::Permissions::from_mode(0o755)).unwrap();
    let root = root.mounted();
    for (command, code) in [("nope", 127), ("/nope", 127), ("", 127), ("no-loader", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let mut spec = root.spec("");
        spec.arguments = vec![command.to_owned()];
        let error = run(&spec).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(command), "{error}");
    }
    let mut spec = root.spec("true");
    spec.cwd = "/missing".to_owned();
    assert!(run(&spec).unwrap_err().to_string().contains("/missing"));
}

#[test]
fn users_are_the_images() {
    let root = Root::new().mounted();
    let who = |user: &str| {
        let mut spec = root.spec("echo $(id -u) $(id -g) $(id -G) $HOME; grep -E 'CapEff|CapPrm|CapBnd' /proc/self/status");
        spec.user = user.to_owned();
        output(&spec)
    };
    let none = "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n";
    assert!(who("").starts_with("0 0 0 /root\n"));
    assert_eq!(who("bob"), format!("1001 1001 1001 1002 /home/bob\n{none}"));
    assert_eq!(who("1001"), format!("1001 1001 1001 1002 /home/bob\n{none}"));
    assert_eq!(who("bob:extra"), format!("1001 1002 1002 /home/bob\n{none}"));
    assert_eq!(who("4242"), format!("4242 0 0 /\n{none}"));
    assert_eq!(who("4242:4343"), format!("4242 4343 4343 /\n{none}"));
    let mut spec = root.spec("true");
    spec.user = "ghost".to_owned();
    assert!(run(&spec).unwrap_err().to_string().contains("ghost"));
    spec.user = "4294967296".to_owned();
    assert!(matches!(run(&spec), Err(SandboxError::User(_))));
}

#[test]
fn rights_are_dockers() {
    let root = Root::new().mounted();
    let status = output(&root.spec("grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; umask"));
    assert_eq!(
        status,
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
         CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n0022\n"
    );
    let (_, _, refused) = run(&root.spec("mount -t tmpfs x /tmp; unshare -m true; hostname other")).unwrap();
    assert_eq!(refused.lines().count(), 3, "{refused}");
    let mut spec = root.spec("grep -E 'Seccomp:' /proc/self/status; mount -t tmpfs x /tmp && echo mounted");
    spec.privileged = true;
    assert_eq!(output(&spec), "Seccomp:\t0\nmounted\n");
    let mut spec = root.spec("grep NoNewPrivs /proc/self/status");
    spec.no_new_privs = true;
    assert_eq!(output(&spec), "NoNewPrivs:\t1\n");
}

#[test]
fn the_builder_is_out_of_sight() {
    let root = Root::new().mounted();
    let mut spec = root.spec(
        "env | sort; ls /proc/self/fd | wc -l; cat /proc/1/environ; cat /proc/1/exe; cat /proc/1/fd/3; \
         ls /proc | grep -c '^[0-9]'",
    );
    spec.env.push("B=2".to_owned());
    spec.env.push("A=1".to_owned());
    let (_, out, err) = run(&spec).unwrap();
    // Standard streams and the directory that ls itself reads; process 1, the shell, ls and grep.
    assert_eq!(out, "A=1\nB=2\nHOME=/root\nPATH=/usr/bin:/bin\nPWD=/\nSHLVL=1\n4\n4\n", "{err}");
    assert_eq!(err.matches("ermission denied").count(), 3, "{err}");
    // No mount of the builder's.
    let mounts = output(&root.spec("awk '{print $2}' /proc/self/mounts | grep -vE '^/(dev|proc|sys|etc)(/|$)'"));
    assert_eq!(mounts, "/\n");
    let link = output(&root.spec("cd /; cd ..; cd ../..; ls -d /proc/self/root/bin; ls /usr 2>&1"));
    assert_eq!(link, "/proc/self/root/bin\nls: /usr: No such file or directory\n");
}

#[test]
fn order_of_the_environment_is_kept() {
    let root = Root::new().mounted();
    let mut spec = root.spec("");
    spec.arguments = vec!["env".to_owned()];
    spec.env = ["Z=1", "PATH=/bin", "A=2", "HOME=/h"].map(str::to_owned).to_vec();
    assert_eq!(output(&spec), "Z=1\nPATH=/bin\nA=2\nHOME=/h\n");
}

#[test]
fn masked_paths_are_empty_and_kernel_settings_read_only() {
    let root = Root::new().mounted();
    let mut spec = root.spec(
        "ls /proc/acpi /sys/firmware 2>/dev/null | grep -v :; cat /proc/keys /proc/timer_list; \
         for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper /proc/irq/x; do \
         (echo x > $f) 2>/dev/null && echo wrote $f; done; true",
    );
    spec.masked_paths.push("/etc/passwd".to_owned());
    spec.user = "0".to_owned();
    assert_eq!(output(&spec).trim(), "");
    assert_eq!(
        output(&{
            let mut spec = root.spec("cat /etc/passwd");
            spec.masked_paths.push("/etc/passwd".to_owned());
            spec
        }),
        ""
    );
}

#[test]
fn devices_are_the_harmless_ones() {
    let root = Root::new().mounted();
    let mut spec = root.spec("ls /dev; echo x > /dev/null; head -c 2 /dev/zero | wc -c; chmod 666 /dev/null");
    spec.user = String::new();
    let names = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 2";
    assert_eq!(output(&spec).split_whitespace().collect::<Vec<_>>().join(" "), names);
    // A device can be made, as in any build, and not be opened: here the kernel's own log and a disk.
    let script = "for d in /kmsg /dev/kmsg /dev/shm/kmsg; do mknod $d c 1 11 && (cat $d) 2>&1 | grep -c denied; done; \
                  mknod /disk b 253 0 && (cat /disk) 2>&1 | grep -c denied";
    assert_eq!(output(&root.spec(script)), "1\n1\n1\n1\n");
}

#[test]
fn nothing_outlives_the_step() {
    let root = Root::new().mounted();
    let marker = format!("{}", 100_000 + u64::from(std::process::id()) * 10);
    let started = Instant::now();
    let script = format!("sleep {marker} & (sleep {marker} &) ; (trap '' TERM HUP; exec sleep {marker}) & echo done");
    assert_eq!(output(&root.spec(&script)), "done\n");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(processes_with(&marker), 0);
    // Orphans are reaped while the command goes on.
    let script = "for i in 1 2 3 4 5; do (true & exec true) ; done; sleep 0.2; ps -o stat | grep -c Z";
    assert_eq!(output(&root.spec(script)), "0\n");
}

fn processes_with(argument: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())).count()
}

#[test]
fn cancelling_ends_the_step() {
    let root = Root::new().mounted();
    let marker = format!("{}", 100_001 + u64::from(std::process::id()) * 10);
    let spec = root.spec(&format!("echo up; sleep {marker} & trap '' TERM INT; sleep {marker}"));
    let cancel = Cancel::new().unwrap();
    let handle = cancel.clone();
    let mut lines = 0;
    let ended = sandbox().run(
        &spec,
        &mut |_, _| {
            lines += 1;
            handle.cancel();
        },
        &cancel,
    );
    assert!(matches!(ended, Err(SandboxError::Cancelled)));
    assert_eq!((lines, processes_with(&marker)), (1, 0));
    assert!(matches!(sandbox().run(&spec, &mut |_, _| {}, &cancel), Err(SandboxError::Cancelled)));
}

#[test]
fn cancelling_at_any_moment_leaves_nothing() {
    let root = Root::new().mounted();
    let marker = format!("{}", 100_002 + u64::from(std::process::id()) * 10);
    for microseconds in (0..12_000).step_by(400) {
        let cancel = Cancel::new().unwrap();
        let handle = cancel.clone();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(microseconds));
            handle.cancel();
        });
        let ended = sandbox().run(&root.spec(&format!("sleep {marker}")), &mut |_, _| {}, &cancel);
        assert!(matches!(ended, Err(SandboxError::Cancelled)), "{ended:?}");
        later.join().unwrap();
    }
    assert_eq!(processes_with(&marker), 0);
}

#[test]
fn output_streams_whole_and_in_pieces() {
    let root = Root::new().mounted();
    let spec = root.spec("yes 0123456789abcde | head -c 10485760; head -c 100000 /dev/zero; echo end; echo e >&2");
    let (mut bytes, mut longest) = ([0, 0], 0);
    let status = sandbox().run(
        &spec,
        &mut |stream, line| {
            bytes[usize::from(stream == Stream::Stderr)] += line.len();
            longest = longest.max(line.len());
        },
        &Cancel::new().unwrap(),
    );
    assert!(status.unwrap().success());
    assert_eq!(bytes, [10_485_760 + 100_000 + 4, 2]);
    assert!(longest <= 16 << 10);
}

#[test]
fn standard_input_is_given_or_empty() {
    let root = Root::new().mounted();
    assert_eq!(output(&root.spec("wc -c")), "0\n");
    let mut spec = root.spec("wc -c");
    spec.stdin = vec![b'x'; 300_000];
    assert_eq!(output(&spec), "300000\n");
}

#[test]
fn networks() {
    let root = Root::new().mounted();
    let mut spec = root.spec("ifconfig -a | grep -E '^[a-z]|127' | awk '{print $1, $2}'; wc -l < /proc/net/route");
    spec.network = Network::None;
    assert_eq!(output(&spec), "lo Link\ninet addr:127.0.0.1\n1\n");
    for network in [Network::Default, Network::Host] {
        let mut spec = root.spec("readlink /proc/self/ns/net");
        spec.network = network;
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(output(&spec).trim(), ours.to_str().unwrap());
    }
    let mut spec = root.spec("hostname; cat /etc/hosts; (echo x >> /etc/hosts) 2>/dev/null || echo refused");
    spec.hostname = "box".to_owned();
    spec.extra_hosts = vec![("zed".to_owned(), "1.2.3.4".to_owned())];
    assert_eq!(output(&spec), "box\n127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n1.2.3.4\tzed\nrefused\n");
}

fn at(target: &str, kind: MountKind) -> SandboxMount {
    let target = target.to_owned();
    SandboxMount { target, kind }
}

fn secret(content: &str, uid: u32, gid: u32, mode: u32) -> MountKind {
    let content = content.as_bytes().to_vec();
    MountKind::SecretFile { content, uid, gid, mode }
}

#[test]
fn secrets_are_in_memory_alone() {
    let root = Root::new().mounted();
    let mut spec = root.spec("cat /run/secrets/s; stat -c '%u %g %a' /x/y; (echo > /x/y) 2>/dev/null || echo refused");
    spec.mounts = vec![at("/run/secrets/s", secret("hush", 0, 0, 0o400)), at("/x/y", secret("", 5, 6, 0o4741))];
    let (status, out, _) = run(&spec).unwrap();
    assert_eq!(out, "hush5 6 4741\nrefused\n");
    assert_eq!(status.touched, [Path::new("/"), Path::new("/etc")]);
    assert_eq!(root.changed(), ["etc"]);
}

#[test]
fn mount_points_leave_no_trace() {
    let root = Root::new();
    let old = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for name in ["lower/etc", "lower/tmp", "lower"] {
        fs::File::open(root.path(name)).unwrap().set_modified(old).unwrap();
    }
    let root = root.mounted();
    fs::File::open(root.path("merged")).unwrap().set_modified(old).unwrap();
    let before = fs::metadata(root.path("merged/etc")).unwrap();

    let mut spec = root.spec("touch /n/e/w/x; touch /tmp/sub/y; stat -c %Y /etc");
    spec.mounts = vec![at("/n/e/w", MountKind::Tmpfs { size: None }), at("/tmp/sub", MountKind::Tmpfs { size: None })];
    let (status, out, err) = run(&spec).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("1000000000\n", ""));
    let touched = ["/", "/etc", "/tmp"].map(PathBuf::from);
    assert_eq!(status.touched, touched);
    // Copied up, as they were.
    assert_eq!(root.changed(), ["etc", "tmp"]);
    for path in ["merged", "merged/etc", "merged/tmp", "upper/etc"] {
        assert_eq!(fs::metadata(root.path(path)).unwrap().modified().unwrap(), old, "{path}");
    }
    let after = fs::metadata(root.path("merged/etc")).unwrap();
    assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));

    // What the command itself puts beside a mount point stays, and so does the time at which it did.
    let mut spec = root.spec("touch /n/kept /etc/made");
    spec.mounts = vec![at("/n/e/w", MountKind::Tmpfs { size: None })];
    run(&spec).unwrap();
    assert_eq!(root.changed(), ["etc", "etc/made", "n", "n/kept", "tmp"]);
    assert_ne!(fs::metadata(root.path("merged/etc")).unwrap().modified().unwrap(), old);
}

#[test]
fn files_that_are_there_are_mounted_over() {
    let root = Root::new();
    fs::write(root.path("lower/etc/hosts"), "the image's\n").unwrap();
    // As Debian has it: a link to nothing.
    symlink("../run/resolve/stub.conf", root.path("lower/etc/resolv.conf")).unwrap();
    let root = root.mounted();
    let (status, out, _) = run(&root.spec("head -n 1 /etc/hosts; cat /run/resolve/stub.conf")).unwrap();
    let ours = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(out, format!("127.0.0.1\tlocalhost buildkitsandbox\n{ours}"));
    assert_eq!(status.touched, [Path::new("/")]);
    assert_eq!(root.changed(), Vec::<String>::new());
}

#[test]
fn binds_are_read_only_or_not_and_nest() {
    let root = Root::new().mounted();
    let source = root.path("source");
    fs::create_dir_all(source.join("c")).unwrap();
    fs::write(source.join("f"), "file").unwrap();
    let bind = |source: PathBuf, readonly| MountKind::Bind { source, readonly };
    let mut spec =
        root.spec("ls /t /t/c; (touch /t/c/x) 2>/dev/null || echo refused; touch /w/made; cat /file; df -k /small | awk 'END{print $2}'");
    // Given inner first: order does not matter.
    spec.mounts = vec![
        at("/t/c", bind(source.clone(), true)),
        at("/t", MountKind::Tmpfs { size: None }),
        at("/w", bind(source.clone(), false)),
        at("/file", bind(source.join("f"), true)),
        at("/small", MountKind::Tmpfs { size: Some(4 << 20) }),
    ];
    assert_eq!(output(&spec), "/t:\nc\n\n/t/c:\nc\nf\nrefused\nfile4096\n");
    assert!(source.join("made").exists());
    assert_eq!(root.changed(), ["etc"]);
    for target in ["/", "/.", "relative", "/proc/self/attr", "/tmp/.."] {
        let mut spec = root.spec("true");
        spec.mounts = vec![at(target, MountKind::Tmpfs { size: None })];
        assert!(run(&spec).is_err(), "{target}");
    }
    let mut spec = root.spec("true");
    spec.mounts = vec![at("/x", bind(root.path("missing"), true))];
    let error = run(&spec).unwrap_err().to_string();
    assert!(error.contains("/x") && error.contains("missing"), "{error}");
}

/// Row 51 of the adversarial list.
#[test]
fn links_out_of_the_image_stay_inside() {
    let root = Root::new();
    fs::remove_dir_all(root.path("lower/etc")).unwrap();
    // Deep enough to reach the real root, and back down to a directory of ours.
    let outside = root.path("outside");
    fs::create_dir(&outside).unwrap();
    symlink(format!("../../../../../../../..{}", outside.display()), root.path("lower/etc")).unwrap();
    symlink(&outside, root.path("lower/abs")).unwrap();
    symlink("loop", root.path("lower/loop")).unwrap();
    let root = root.mounted();
    let mut spec = root.spec("cat /etc/hosts | head -n 1; cat /abs/deep/secret; ls /abs");
    spec.mounts = vec![at("/abs/deep/secret", secret("hush\n", 0, 0, 0o400))];
    let (_, out, err) = run(&spec).unwrap();
    assert_eq!(out, "127.0.0.1\tlocalhost buildkitsandbox\nhush\ndeep\nhosts\nresolv.conf\n", "{err}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // `/tmp` is the only directory of the path that the image has, wherever the tests keep their files.
    let left = root.changed();
    assert!(left.iter().all(|path| path == "tmp"), "{left:?}");
    spec.mounts = vec![at("/loop/x", MountKind::Tmpfs { size: None })];
    assert!(run(&spec).is_err());
}

/// Row 51 of the adversarial list.
#[test]
fn a_step_can_swap_a_mount_points_parent_and_gains_nothing() {
    let root = Root::new().mounted();
    let outside = root.path("outside");
    fs::create_dir_all(outside.join("b")).unwrap();
    // The parent, made for the mount, is moved away and a link put in its place before the cleaning up.
    let mut spec = root.spec("mkdir /d && cd /d && ls; mkdir /other; echo done");
    spec.mounts = vec![at("/p/q/b", MountKind::Tmpfs { size: None })];
    spec.arguments[2] = format!("/bin/busybox mv /p/q /moved; /bin/busybox mv /p /gone; /bin/busybox ln -s {} /p; true", outside.display());
    run(&spec).unwrap();
    assert!(outside.join("b").exists());
}

#[test]
fn two_at_once() {
    let root = Root::new();
    // Mount points that are there: steps in one root would make and remove those of each other.
    for name in ["dev", "proc", "sys"] {
        fs::create_dir(root.path("lower").join(name)).unwrap();
    }
    for name in ["hosts", "resolv.conf"] {
        fs::write(root.path("lower/etc").join(name), "").unwrap();
    }
    let root = root.mounted();
    // Threads share this one's mount namespace.
    std::thread::scope(|scope| {
        for number in 0..4 {
            let root = &root;
            scope.spawn(move || {
                for _ in 0..5 {
                    let mut spec = root.spec("cat /dev/shm/x 2>/dev/null; echo $N > /dev/shm/x; ps | wc -l");
                    spec.env.push(format!("N={number}"));
                    let (status, out, err) = run(&spec).unwrap_or_else(|error| panic!("{error}"));
                    assert!(status.success(), "{err}");
                    assert_eq!(out.lines().count(), 1, "{out}");
                }
            });
        }
    });
}
