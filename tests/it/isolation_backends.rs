//! The same image comes of every way to run commands, and nothing is left of any of them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::TestEnv;
use crate::support::place::Place;

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
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        let marker = format!("{}", 300_000 + std::process::id());
        let dockerfile =
            format!("FROM base\nRUN (setsid sh -c 'sleep {marker} & sleep {marker}' &) ; sleep {marker} & true\nRUN echo next >/next\n");
        let started = Instant::now();
        place.image(&dockerfile, &[]);
        assert!(started.elapsed() < Duration::from_secs(30), "{isolation}: waited for a daemon");
        assert!(!commands().iter().any(|line| line.contains(&marker)), "{isolation}: a process is left");
    }
}

/// kaniko-asks 24: what a step leaves behind for process 1 is reaped while the step goes on, although the builder may be no process 1.
#[test]
fn orphans_are_reaped() {
    let env = TestEnv::new();
    // In place it is among all processes of the machine: a name of its own.
    let name = format!("orphan{}", std::process::id() % 100_000);
    for isolation in ["overlay", "in-place"] {
        let place = Place::new(&env, isolation);
        let script = format!("printf '#!/bin/sh\\nusleep 100000\\n' >/bin/{name} && chmod 755 /bin/{name}");
        let orphans =
            format!("for n in 1 2 3 4 5; do (sh -c '/bin/{name} & exec true' &); done; ps -o comm | grep -c {name} >/living; sleep 1");
        let text = format!("FROM base\nRUN {script}\nRUN {orphans}; ps -o stat,comm | grep -c {name} >/dead; true\n");
        let tree = place.image(&text, &[]).tree_above(1);
        assert_ne!(tree["living"].text(), "0\n", "{isolation}");
        assert_eq!(tree["dead"].text(), "0\n", "{isolation}");
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

/// kaniko-asks 3: a base is fetched and unpacked once for all the stages that are built on it, which are built side by side.
#[test]
fn stages_on_one_base_cost_one_base() {
    let env = TestEnv::new();
    let stage = |name: &str| format!("FROM {{registry}}/base/busybox:latest AS {name}\nRUN sleep 4; echo {name} >/{name}\n");
    let mut text: String = ["a", "b", "c"].map(stage).concat();
    text += "FROM {registry}/base/busybox:latest\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\nRUN cat /a /b /c >/all\n";
    let finished = env.build(&text).args(["--isolation", "overlay"]).finish();
    let image = finished.image();
    assert_eq!(image.tree_above(1)["all"].text(), "a\nb\nc\n");
    let layers = image.layer_digest(0)[..19].to_owned();
    assert_eq!(finished.stderr.matches(&format!("pulled {layers}")).count(), 1, "{}", finished.stderr);
    assert!(finished.took < Duration::from_secs(12), "one after the other: {:?}", finished.took);
    // The base, and one of each command: the copies make the same layers as the commands that made the files.
    assert_eq!(fs::read_dir(env.path("store/layers")).expect("the store is there").count(), 5);
}
