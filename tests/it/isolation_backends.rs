//! The same image comes of every way to run commands, and nothing is left of any of them.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{TestEnv, program, run};

/// Every kind of change, with times that do not depend on the clock.
const DOCKERFILE: &str = r"
FROM {registry}/base/busybox:latest AS one
WORKDIR /srv/app
COPY --chown=12:34 --chmod=4755 app ./
RUN mkdir -p /opt/d/old && echo one >/opt/d/old/one && chmod 1777 /opt/d && ln /srv/app/run /srv/app/again && mkfifo /opt/fifo && ln -s ../etc /opt/link && chown -h 7:8 /opt/link && touch -h -d @1000000000 /srv/app/* /srv/app /opt/* /opt/d/old/one /opt/d/old /opt/d /opt
RUN rm -r /opt/d && mkdir /opt/d && echo two >/opt/d/two && rm /bin/wget && chown 0:0 /etc/passwd && mv /opt/fifo /opt/moved && touch -h -d @1000000000 /opt/d/two /opt/d /opt /bin /opt/moved
RUN true
FROM {registry}/base/busybox:latest
RUN --mount=type=cache,target=/c --mount=type=bind,target=/b --mount=type=tmpfs,target=/t cat /b/app/run >/out && echo x >/c/y && echo y >/t/z && touch -d @1000000000 /out
COPY --from=one /opt /got
RUN test ! -e /c && test ! -e /b && test ! -e /t && rm /got/d/two && echo 3 >/got/d/three && mkdir /w && chown 1000:1000 /w && touch -d @1000000000 /got /got/d /got/d/three /w
USER 1000:1000
RUN test $(id -u) = 1000 && echo mine >/w/mine && touch -d @1000000000 /w/mine /w
";

#[test]
fn overlay_and_chroot_make_the_same_layers() {
    let env = TestEnv::new();
    env.file("app/run", "#!/bin/sh\necho ran\n");
    let overlay = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
    let chroot = env.build(DOCKERFILE).store(env.path("other-store")).args(["--isolation", "chroot"]).finish();
    assert!(chroot.stderr.contains("isolation: chroot"), "{}", chroot.stderr);
    assert_eq!(chroot.image().diff_ids(), overlay.diff_ids());
    assert_eq!(overlay.tree_above(1)["got/link"].rights(), "0777 7:8");
}

/// kaniko-asks 24: a daemon of one step lives into no other, whichever way it hides; nor is it waited for.
#[test]
fn daemons_end_with_their_step() {
    let env = TestEnv::new();
    for isolation in ["overlay", "chroot"] {
        let marker = format!("{}", 300_000 + std::process::id());
        let dockerfile = format!(
            "FROM {{registry}}/base/busybox:latest\nRUN (setsid sh -c 'sleep {marker} & sleep {marker}' &) ; sleep {marker} & true\n"
        );
        let finished = env.build(&dockerfile).args(["--isolation", isolation]).finish();
        finished.image();
        assert!(finished.took < Duration::from_secs(30), "{isolation}: waited for a daemon");
        assert!(!commands().iter().any(|line| line.contains(&marker)), "{isolation}: a process is left");
    }
}

/// What runs on this machine, a command line each.
fn commands() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    let read = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    entries.flatten().filter_map(read).map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

#[test]
fn in_place_is_refused_outside_of_a_container() {
    let env = TestEnv::new();
    // The machine may itself be a container: a root directory without any sign of that.
    let root = env.path("machine");
    fs::create_dir_all(root.join("proc")).expect("the folder can be made");
    let program = std::env::var_os("LAYERWRIGHT_TEST_STATIC").expect("run ./test, which builds the static program");
    fs::copy(program, root.join("layerwright")).expect("the static program can be copied");
    fs::write(root.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").expect("a file can be written");
    let script = "mount -t proc proc \"$1/proc\" && exec chroot \"$1\" /layerwright build --context / --no-push --store /store \
                  --dockerfile=/Dockerfile --isolation=in-place";
    let output = crate::support::output(Command::new("unshare").args(["--mount", "sh", "-c", script, "sh"]).arg(&root));
    let error = String::from_utf8_lossy(&output.stderr);
    let sentence = "layerwright should only be run inside of a container, run with the --force flag if you are sure you want to continue";
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(sentence), "{error}");
    assert!(root.join("layerwright").exists() && root.join("Dockerfile").exists(), "nothing was removed");
}

/// Adversarial 55 and 73: killed at any moment, a builder leaves no process, no mount, and a store that the next build uses.
#[test]
fn a_killed_builder_leaves_nothing_behind() {
    let env = TestEnv::new();
    env.file("app/run", "x");
    let address = &crate::support::Registry::open().address;
    for (isolation, round) in [("overlay", 0), ("chroot", 7)] {
        let marker = format!("{}", 400_000 + std::process::id() + round);
        let dockerfile = env.path(format!("Dockerfile.{isolation}"));
        let text =
            format!("FROM {address}/base/busybox:latest\nCOPY app /app\nRUN (setsid sleep {marker} &) ; echo x >/x; sleep {marker}\n");
        fs::write(&dockerfile, text).expect("a file can be written");
        for (at, signal) in ["TERM", "INT", "KILL", "TERM", "KILL", "KILL", "TERM", "KILL", "INT", "KILL"].into_iter().enumerate() {
            let mut command = Command::new(program());
            command.args(["build", "--no-push", "--insecure-pull", "--isolation", isolation]);
            command.arg("--context").arg(env.path("context")).arg("--dockerfile").arg(&dockerfile).arg("--store").arg(env.path("store"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            let mut builder = command.spawn().expect("the program starts");
            // Not the same moment twice.
            std::thread::sleep(Duration::from_millis(20 + (at as u64 * 137) % 900));
            run(Command::new("kill").args(["-s", signal, &builder.id().to_string()]));
            let killed = Instant::now();
            builder.wait().expect("the builder ends");
            assert!(killed.elapsed() < Duration::from_secs(2), "{isolation}: SIG{signal} took {:?}", killed.elapsed());
            let gone = || !commands().iter().any(|line| line.contains(&marker) && !line.contains("Dockerfile"));
            while !gone() {
                assert!(killed.elapsed() < Duration::from_secs(4), "{isolation}: SIG{signal} left {:?}", commands());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts are listed");
        assert!(!mounts.contains(&env.path("store").display().to_string()), "{isolation}: a mount is left");
        env.build("FROM {registry}/base/busybox:latest\nCOPY app /app\nRUN echo y >/y\n").args(["--isolation", isolation]).succeed();
        let left = fs::read_dir(env.path("store/tmp")).expect("the store is there").count();
        assert_eq!(left, 0, "{isolation}: work of dead builders is left");
    }
}
