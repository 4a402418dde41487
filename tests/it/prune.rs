//! The store stays as small as the user says, and nobody who builds notices.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{TestEnv, output, program, run};

const DOCKERFILE: &str = "FROM {registry}/base/busybox:latest\nCOPY app /app\nRUN --mount=type=cache,target=/c echo x >/c/x && echo y >/y && touch -d @1000000000 /y\n";

fn prune(env: &TestEnv, arguments: &[&str]) -> String {
    run(Command::new(program()).arg("prune").arg("--store").arg(env.path("store")).args(arguments))
}

/// How many things lie in a folder of the store.
fn count(env: &TestEnv, folder: &str) -> usize {
    fs::read_dir(env.path("store").join(folder)).map_or(0, Iterator::count)
}

#[test]
fn what_is_freed_is_said_and_the_next_build_brings_it_back() {
    let env = TestEnv::new();
    env.file("app", "content");
    let first = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
    assert!(count(&env, "layers") >= 3 && count(&env, "blobs/sha256") >= 3 && count(&env, "caches") == 1);
    let nothing = prune(&env, &[]);
    assert!(nothing.starts_with("freed 0 B: nothing was due\n"), "a fresh store has nothing that is 7 days old: {nothing}");
    let would = prune(&env, &["--all", "--dry-run"]);
    assert!(would.starts_with("would free ") && would.contains("unpacked layers"), "{would}");
    assert!(count(&env, "layers") >= 3, "a dry run removes nothing");
    let freed = prune(&env, &["--all"]);
    assert_eq!(freed.lines().next(), would.lines().next().map(|line| line.replace("would free", "freed")).as_deref());
    assert!(freed.contains("1 cache of RUN (") && freed.contains("\n0 B left in "), "{freed}");
    assert_eq!((count(&env, "layers"), count(&env, "blobs/sha256"), count(&env, "tmp")), (0, 0, 0));
    let again = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
    assert_eq!(first.diff_ids(), again.diff_ids());
    for wrong in [&["--max-age", "soon"][..], &["--max-size", "much"]] {
        let said = output(Command::new(program()).arg("prune").arg("--store").arg(env.path("store")).args(wrong));
        assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("for instance"));
    }
    let nowhere = run(Command::new(program()).args(["prune", "--store", "/nowhere/at/all"]));
    assert!(nowhere.contains("nothing to free") && !Path::new("/nowhere").exists());
}

#[test]
fn a_running_build_keeps_what_it_uses() {
    let env = TestEnv::new();
    env.file("app", "content");
    let wanted = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
    let busy = "FROM {registry}/base/busybox:latest AS one\nRUN sleep 2; ls -lR /bin /etc >/dev/null && echo 1 >/one\nFROM {registry}/base/busybox:latest\nCOPY --from=one /one /one\nRUN sleep 1; test -x /bin/busybox && cat /one && touch -d @1 /one\n";
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| env.build(busy).args(["--isolation", "overlay"]).finish());
        let mut in_use = false;
        while !builder.is_finished() {
            in_use |= prune(&env, &["--all"]).contains("in use");
        }
        let image = builder.join().expect("the build ends").image();
        assert!(in_use, "the build was never seen");
        assert_eq!(image.tree_above(1)["one"].text(), "1\n");
    });
    let again = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
    assert_eq!(again.diff_ids(), wanted.diff_ids());
}

#[test]
fn a_prune_that_is_killed_leaves_a_store_that_works() {
    let env = TestEnv::new();
    env.file("app", "content");
    let wanted = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
    for at in 0..12_u64 {
        let mut command = Command::new(program());
        command.args(["prune", "--all", "--store"]).arg(env.path("store")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut pruner = command.spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(at * at % 37));
        pruner.kill().expect("it can be killed");
        pruner.wait().expect("it ends");
        let again = env.build(DOCKERFILE).args(["--isolation", "overlay"]).succeed();
        assert_eq!(again.diff_ids(), wanted.diff_ids());
    }
    assert_eq!(count(&env, "tmp"), 0, "what killed ones were removing is gone");
}

#[test]
fn a_limit_is_kept_to_by_builds_themselves() {
    let env = TestEnv::new();
    let size = || run(Command::new("du").args(["-s", "--block-size=1"]).arg(env.path("store"))).split('\t').next().map(str::to_owned);
    let size = || size().and_then(|text| text.parse::<u64>().ok()).expect("du prints a number");
    for round in 0..4_u64 {
        // Nothing that compresses.
        let mut state = round;
        let noise = (0..3_u64 << 20).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        env.file("app", noise.collect::<Vec<u8>>());
        let finished = env.build("FROM scratch\nCOPY app /app\n").args(["--store-limit", "8m"]).finish();
        finished.image();
        assert!(size() < 9 << 20, "{} bytes after round {round}: {}", size(), finished.stderr);
        assert_eq!(finished.stderr.contains("over its limit"), round >= 2, "{}", finished.stderr);
    }
    // As a variable, and smaller than one build's needs.
    let finished = env.build(DOCKERFILE).variable("LAYERWRIGHT_STORE_LIMIT", "1k").args(["--isolation", "overlay"]).finish();
    finished.image();
    assert!(count(&env, "blobs/sha256") == 0 && count(&env, "layers") == 0, "{}", finished.stderr);
    let error = env.build("FROM scratch\n").args(["--store-limit", "lots"]).fail(1);
    assert!(error.contains("invalid value for --store-limit"), "{error}");
}

/// Concurrent builds of the same base unpack it once: the others wait for it.
#[test]
fn builds_at_once_unpack_their_base_once() {
    let env = TestEnv::new();
    let builders: Vec<_> = (0..4).map(|n| format!("FROM {{registry}}/base/debian:latest\nRUN echo {n} >/n\n")).collect();
    let mut unpacking = BTreeSet::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            builders.iter().map(|text| scope.spawn(|| env.build(text).args(["--isolation", "overlay"]).succeed())).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            unpacking.extend(unpacked_now(&env.path("store/tmp")));
            std::thread::sleep(Duration::from_millis(2));
        }
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().expect("the build ends").tree_above(1)["n"].text(), format!("{n}\n"));
        }
    });
    assert_eq!(unpacking.len(), 1, "{unpacking:?}");
    assert_eq!(count(&env, "layers"), 5, "the base, and one of each build");
}

/// The directories into which something of a Debian image is unpacked at this moment.
fn unpacked_now(tmp: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    entries(tmp).iter().flat_map(|session| entries(session)).filter(|work| work.join("fs/usr").exists()).collect()
}
