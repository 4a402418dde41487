//! Commands and layers that mean harm. Rows of the adversarial list that a whole build shows; those that an archive shows are tests of
//! the extraction, those of a mount are tests of the sandbox. Beside each build lies a canary that has to be what it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::container::static_build;
use crate::support::{Image, TestEnv, output, program, run, write};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

/// A tree outside of every root, and what the machine's own settings are.
struct Canary {
    path: PathBuf,
    before: String,
}

impl Canary {
    fn new(env: &TestEnv) -> Self {
        let path = env.path("outside");
        write(&path.join("deep/canary"), "canary");
        write(&path.join("passwd"), "not yours");
        std::os::unix::fs::symlink("deep", path.join("link")).expect("a link");
        let before = hash(&path);
        Self { path, before }
    }

    fn sings(&self) {
        assert_eq!(hash(&self.path), self.before, "something outside of the root has changed");
    }
}

/// Of all names, kinds, modes, owners, times and contents below a path, and of the machine's accounts.
fn hash(path: &Path) -> String {
    let script = "{ find \"$1\" /etc/passwd /etc/shadow /etc/group /etc/hosts -printf '%p %y %m %U %G %T@ %C@ %n %l\\n' | sort
                   find \"$1\" /etc/passwd /etc/shadow /etc/group /etc/hosts -type f -exec sha256sum {} + | sort; } | sha256sum";
    run(Command::new("sh").args(["-c", script, "sh"]).arg(path))
}

/// Rows 23 and 24 of the adversarial list: layers, COPY, ADD and ONBUILD that name the builder's program, its store and its configuration, where all lie in the
/// very tree that is built.
#[test]
fn the_builder_in_the_tree_is_out_of_reach() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    env.file("evil", "evil");
    env.file("down/program", "evil");
    let bases = std::env::var_os("LAYERWRIGHT_TEST_BASES").expect("run ./test, which makes the bases");
    run(Command::new("cp").arg("-r").arg(Path::new(&bases).join("busybox")).arg(env.path("base")));
    // An image whose layers write to where the builder is, made where that is nothing special.
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let text = "FROM base\nCOPY evil /layerwright\nCOPY evil /store/blobs/sha256/evil\nCOPY evil /store/tmp/evil\nCOPY evil /root/.docker/config.json\nONBUILD COPY down/ /store/\nONBUILD RUN head -c 4 /layerwright | grep -q ELF\n";
    let evil = env.build(text).args(["--build-context", &base]).succeed();
    fs::rename(&evil.layout, env.path("evil-image")).expect("it can be moved");
    fs::write(env.path("Dockerfile"), "FROM evil\nRUN test ! -e /store/tmp/evil && test ! -e /store/program && echo on >/went\nCOPY evil /layerwright\nRUN head -c 4 /layerwright | grep -q ELF\n")
        .expect("a file can be written");
    write(&env.path("context/home/.docker/config.json"), "{}");
    let arguments = ["build", "--no-push", "--isolation", "in-place", "--context", "/test/context", "--dockerfile", "/test/Dockerfile"];
    let more = ["--store", "/store", "--build-context", "evil=oci-layout:///test/evil-image", "--oci-layout-path", "/test/image"];
    let output = static_build(&env, &[], &arguments.into_iter().chain(more).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let tree = Image::read(&env.path("image")).tree_above(1);
    assert_eq!((tree["went"].text(), tree["layerwright"].text()), ("on\n", "evil"), "the image has what it was told to have");
    canary.sings();
}

/// Row 12 of the adversarial list: a name that would remove another file when the layer is unpacked.
#[test]
fn a_file_that_looks_like_a_deletion_is_refused() {
    let env = TestEnv::new();
    for isolation in ["overlay", "chroot"] {
        for name in [".wh.x", "deep/.wh..wh..opq", ".wh.", ".wh..wh.plnk/x"] {
            let text = format!("{BUSYBOX}RUN mkdir -p $(dirname /{name}) && echo x >/{name}\n");
            let error = env.build(&text).args(["--isolation", isolation]).fail(1);
            assert!(error.contains("a name that means a deletion in a layer"), "{isolation}: {name}: {error}");
        }
    }
}

/// Row 50 of the adversarial list: a cache's directory that a step swaps for a link to somewhere else, again and again, while another one mounts it.
#[test]
fn a_swapped_cache_leads_nowhere() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let outside = canary.path.display();
    let swap = format!(
        "RUN --mount=type=cache,id=c,target=/c for n in $(seq 1 400); do rm -rf /c/d; ln -s {outside} /c/d; rm /c/d; mkdir -p /c/d; done\n"
    );
    let look = "RUN --mount=type=cache,id=c,source=d,target=/m ls -R /m >/out; touch /m/written\n";
    let _made =
        env.build(&format!("{BUSYBOX}RUN --mount=type=cache,id=c,target=/c mkdir -p /c/d\n")).args(["--isolation", "overlay"]).succeed();
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            for _ in 0..3 {
                env.build(&format!("{BUSYBOX}{swap}")).args(["--isolation", "overlay"]).finish();
            }
        });
        let (mut seen, mut failed) = (0, 0);
        while !swapping.is_finished() {
            let finished = env.build(&format!("{BUSYBOX}{look}")).args(["--isolation", "overlay"]).finish();
            match finished.code {
                Some(0) => {
                    let tree = finished.image().tree_above(1);
                    assert!(!tree["out"].text().contains("canary") && !tree["out"].text().contains("passwd"), "{}", tree["out"].text());
                    seen += 1;
                }
                // It was a link, or nothing, at that moment.
                _ => failed += 1,
            }
        }
        assert!(seen + failed > 2, "{seen} {failed}");
    });
    for path in ["../../../outside", "/../../outside", "d/../../.."] {
        let error = env.build(&format!("{BUSYBOX}RUN --mount=type=cache,id=c,source={path},target=/m ls /m >/out\n")).finish();
        assert!(error.code != Some(0) || !error.image().tree_above(1)["out"].text().contains("passwd"), "{path}");
    }
    canary.sings();
}

/// Rows 52 and 53 of the adversarial list: neither mount options nor privileges can be had from a Dockerfile.
#[test]
fn what_a_dockerfile_cannot_ask_for() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    for flag in [
        "type=bind,target=/m,bind-propagation=shared",
        "type=bind,target=/m,propagation=rshared",
        "type=tmpfs,target=/m,options=suid",
        "type=bind,source=/,target=/m,relabel=shared",
        "type=bind,target=/m,z",
        "type=devpts,target=/m",
    ] {
        let error = env.build(&format!("{BUSYBOX}RUN --mount={flag} true\n")).fail(1);
        assert!(
            error.contains("unexpected key") || error.contains("unsupported mount type") || error.contains("must be a key=value pair"),
            "{flag}: {error}"
        );
    }
    for (text, word) in [
        ("RUN --security=insecure true\n", "entitlement security.insecure is not allowed"),
        ("RUN --network=host true\n", "entitlement network.host is not allowed"),
        ("RUN --privileged true\n", "unknown flag: --privileged"),
        ("RUN --device=vendor.test/d=x,required true\n", "entitlement device is not allowed"),
    ] {
        // A Dockerfile that says so itself is no operator.
        let error = env.build(&format!("# allow=security.insecure\n{BUSYBOX}{text}")).fail(1);
        assert!(error.contains(word), "{text}: {error}");
    }
    canary.sings();
}

/// Row 54 of the adversarial list: the value of a secret decides nothing and is in no core that a command dumps.
#[test]
fn a_secret_is_in_no_core() {
    let env = TestEnv::new();
    write(&env.path("word"), "a-secret-for-a-core");
    let secret = format!("id=s,src={}", env.path("word").display());
    let text = format!("{BUSYBOX}RUN --mount=type=secret,id=s,env=S cd /tmp; sh -c 'ulimit -c unlimited; kill -SEGV $$' || true\n");
    let image = env.build(&text).args(["--secret", &secret]).succeed();
    let holding = output(Command::new("grep").args(["-rlaF", "a-secret-for-a-core"]).arg(env.path("store")).arg(&image.layout));
    assert!(holding.stdout.is_empty(), "{}", String::from_utf8_lossy(&holding.stdout));
}

/// Row 55 of the adversarial list: what a command writes, forks and fills ends with it.
#[test]
fn a_command_that_does_too_much_ends() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    // More output than anybody wants to keep: most of it is not shown, all of it is taken, the builder does not grow.
    let finished = env.build(&format!("{BUSYBOX}RUN yes 0123456789012345678901234567890123456789 | head -c 40000000\n")).finish();
    finished.image();
    assert!(finished.stderr.len() < 30 << 20 && finished.stderr.contains("output clipped"), "{} bytes", finished.stderr.len());
    assert!(finished.peak_kib < 150 << 10, "{} KiB", finished.peak_kib);
    // Processes without end, of a user who may not have so many.
    let bomb = "USER 4711\nRUN f() { f | f & }; (f) 2>/dev/null; sleep 0.5; true\n";
    for isolation in ["overlay", "chroot"] {
        let started = Instant::now();
        let finished = env.build(&format!("{BUSYBOX}{bomb}")).args(["--isolation", isolation, "--ulimit", "nproc=100"]).finish();
        assert!(started.elapsed() < Duration::from_secs(60), "{isolation}: {:?}", started.elapsed());
        assert!(finished.code.is_some(), "{}", finished.stderr);
        assert!(owned_by(4711).is_empty(), "{isolation}: {:?}", owned_by(4711));
    }
    // Of root, where control groups can be made.
    let finished = env
        .build(&format!("{BUSYBOX}RUN (for n in $(seq 1 60); do sleep 60 & done) 2>&1 | grep -c 'an.t fork' >/out; true\n"))
        .args(["--pids-limit", "20"])
        .finish();
    match finished.code {
        Some(0) => assert_eq!(finished.image().tree_above(1)["out"].text(), "1\n", "{}", finished.stderr),
        _ => assert!(finished.stderr.contains("the limits asked for cannot be set"), "{}", finished.stderr),
    }
    canary.sings();
}

/// The processes of a user.
fn owned_by(user: u32) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir("/proc").expect("/proc is readable").flatten();
    entries.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == user)).map(|entry| entry.path()).collect()
}

/// Rows 55 and 73 of the adversarial list: a full disk is said, leaves nothing, and is no disk that stays full.
#[test]
fn a_full_disk_is_an_error_and_the_next_build_works() {
    let env = TestEnv::new();
    env.file("large", vec![7; 4 << 20]);
    env.file("small", "small");
    let small = env.path("small-disk");
    fs::create_dir(&small).expect("the folder is new");
    let script = "mount -t tmpfs -o size=12m none \"$1\" && shift && \"$@\"; echo $? >&2; shift 1; exit 0";
    for isolation in ["overlay", "chroot"] {
        let build = |text: &str| {
            let dockerfile = env.path("Dockerfile.small");
            fs::write(&dockerfile, text).expect("a file can be written");
            let mut line =
                format!("{} build --no-push --isolation {isolation} --store {} ", program().display(), small.join("store").display());
            line += &format!("--context {} --dockerfile {}", env.path("context").display(), dockerfile.display());
            line + &format!(" --build-context base=oci-layout://{}/busybox", std::env::var("LAYERWRIGHT_TEST_BASES").expect("run ./test"))
        };
        let fill = build("FROM base\nRUN dd if=/dev/urandom of=/fill bs=1M count=64\n");
        fs::copy(env.path("Dockerfile.small"), env.path("Dockerfile.fill")).expect("a copy");
        let copy = build(
            "FROM base\nRUN true\nCOPY large /one\nCOPY large /two\nCOPY large /three\nCOPY large /four\nRUN cat /one /two /three /four >/five\n",
        );
        fs::copy(env.path("Dockerfile.small"), env.path("Dockerfile.copy")).expect("a copy");
        let next = build("FROM base\nCOPY small /small\nRUN cat /small\n");
        fs::copy(env.path("Dockerfile.small"), env.path("Dockerfile.next")).expect("a copy");
        let with = |line: &str, name: &str| line.replace("Dockerfile.small", &format!("Dockerfile.{name}"));
        let all = format!(
            "{}; echo \"=== $?\" >&2; {}; echo \"=== $?\" >&2; {}; echo \"=== $?\" >&2",
            with(&fill, "fill"),
            with(&copy, "copy"),
            with(&next, "next")
        );
        let output = output(Command::new("unshare").args(["--mount", "sh", "-c", script, "sh"]).arg(&small).args(["sh", "-c", &all]));
        let said = String::from_utf8_lossy(&output.stderr);
        let parts: Vec<&str> = said.split("=== ").collect();
        assert!(parts[0].contains("o space left on device"), "{isolation}: {said}");
        assert!(!parts[1].starts_with("0\n") && parts[1].contains("o space left on device"), "{isolation}: {said}");
        assert!(parts[3].starts_with("0\n"), "{isolation}: the next build fails: {said}");
    }
}

/// Row 56 of the adversarial list: what a command can see of the builder, in the strong modes.
#[test]
fn the_builder_cannot_be_looked_at() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    write(&env.path("home/.docker/config.json"), "{\"auths\":{}}");
    let store = env.path("root-store");
    let look = format!(
        "RUN (tr '\\0' '\\n' </proc/1/environ; ls /proc/1/fd; ls -l /proc/self/fd; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ls {0} {1} {2}) >/out 2>&1; echo $(ls /proc | grep -c '^[0-9]') >>/out\n",
        store.display(),
        env.path("home/.docker").display(),
        canary.path.display()
    );
    for isolation in ["overlay", "rootless"] {
        let build = env.build(&format!("{BUSYBOX}{look}")).variable("BUILDER_SECRET", "known-to-the-builder");
        let build = match isolation {
            "rootless" => build.by_user(4245).with_subordinate_ids(),
            _ => build.args(["--isolation", isolation]).store(store.clone()),
        };
        let finished = build.finish();
        let text = finished.image().tree_above(1)["out"].text().to_owned();
        for hidden in ["known-to-the-builder", "config.json", "canary", "blobs", "--dockerfile", "--context"] {
            assert!(!text.contains(hidden), "{isolation}: {hidden} is visible\n{text}");
        }
        let processes: u32 = text.trim().rsplit('\n').next().and_then(|line| line.parse().ok()).expect("a number");
        assert!(processes < 10, "{isolation}: the machine's processes are visible\n{text}");
    }
    canary.sings();
}

/// Row 57 of the adversarial list: stages side by side that change one path of their base, each in a tree of its own.
#[test]
fn stages_at_once_do_not_meet() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let stage = |n: u32| {
        format!(
            "{BUSYBOX}RUN for i in $(seq 1 300); do rm -rf /etc/x; ln -s {} /etc/x; rm /etc/x; mkdir /etc/x; echo {n} >/etc/x/n; test \"$(cat /etc/x/n)\" = {n} || exit 1; done; cp /etc/x/n /n\n",
            canary.path.display()
        )
    };
    let mut text = String::new();
    for n in 0..4 {
        text += &stage(n).replacen('\n', &format!(" AS s{n}\n"), 1);
    }
    text += "FROM scratch\nCOPY --from=s0 /n /0\nCOPY --from=s1 /n /1\nCOPY --from=s2 /n /2\nCOPY --from=s3 /n /3\n";
    for isolation in ["overlay", "chroot"] {
        let tree = env.build(&text).args(["--isolation", isolation]).succeed().tree_above(0);
        for n in 0..4 {
            assert_eq!(tree[&n.to_string()].text(), format!("{n}\n"), "{isolation}");
        }
    }
    canary.sings();
}
