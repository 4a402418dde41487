//! A cache in a layout or in the store, with every way to run commands, and with little memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::plugin_example::component;
use crate::support::cache::{CACHED, hits};
use crate::support::{Finished, Image, Registry, TestEnv, program, run, unique};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

fn layout(env: &TestEnv) -> String {
    format!("--cache-repo=oci:{}", env.path("cache").display())
}

/// The records that a layout names.
fn records(layout: &Path) -> Vec<Value> {
    let index = fs::read(layout.join("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("an index is JSON");
    index["manifests"].as_array().expect("a list").clone()
}

/// After a hit the rest is built by every backend as if there were no cache, and what is hit is taken from whoever made it.
#[test]
fn every_backend_goes_on_after_hits() {
    let env = TestEnv::new();
    env.file("app/run", "#!/bin/sh\necho ran\n");
    let first = "WORKDIR /srv/app
COPY --chown=12:34 --chmod=4755 app ./
RUN mkdir -p /opt/d/old && echo one >/opt/d/old/one && ln /srv/app/run /srv/app/again && mkfifo /opt/fifo && ln -s ../etc /opt/link && touch -h -d @1000000000 /srv/app/* /srv/app /opt/* /opt/d/old/one /opt/d/old /opt/d /opt
";
    let second = "RUN rm -r /opt/d && mkdir /opt/d && echo two >/opt/d/two && rm /bin/wget && mv /opt/fifo /opt/moved && touch -h -d @1000000000 /opt/d/two /opt/d /opt /bin /opt/moved
COPY app/run /opt/d/three
RUN --mount=from=below,target=/m cat /m/srv/app/again >/four && touch -d @1000000000 /four
";
    let last = "COPY --from=built /opt /opt
RUN --mount=type=bind,from=built,source=/opt/d,target=/b test -e /b/two && touch -d @1000000000 /opt
";
    let busybox = BUSYBOX.trim();
    let base = format!("{busybox} AS below\n{first}");
    let all = format!("{base}FROM below AS built\n{second}{busybox}\n{last}");
    let plain = env.build(&all).repeatable().args(["--isolation", "overlay"]).store(env.path("plain")).succeed();
    for isolation in ["overlay", "chroot"] {
        let cache = format!("--cache-repo=oci:{}", env.path(format!("cache-{isolation}")).display());
        let build = |dockerfile: &str, store: &str| {
            let build = env.build(dockerfile).repeatable().args(["--isolation", isolation]).args(CACHED).arg(&cache);
            build.store(env.path(format!("{store}-{isolation}"))).finish()
        };
        assert_eq!(hits(&build(&base, "one")), "...");
        let rest = build(&all, "two");
        assert_eq!(hits(&rest), "hhh.....", "{}", rest.stderr);
        assert_eq!(rest.image().digest, plain.digest, "{isolation}");
        let again = build(&all, "three");
        assert!(!hits(&again).contains('.'), "{}", again.stderr);
        assert_eq!(again.image().digest, plain.digest, "{isolation}");
    }
    // What one backend kept serves the other, and a place where nothing can run.
    let cache = format!("--cache-repo=oci:{}", env.path("cache-chroot").display());
    for isolation in ["overlay", "none"] {
        let build = env.build(&all).repeatable().args(["--isolation", isolation]).args(CACHED).arg(&cache);
        let finished = build.store(env.path(format!("last-{isolation}"))).finish();
        assert!(!hits(&finished).contains('.'), "{}", finished.stderr);
        assert_eq!(finished.image().digest, plain.digest);
    }
}

#[test]
fn a_layout_keeps_records_for_other_machines() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let dockerfile = format!("{BUSYBOX}COPY one /\nRUN cat /one > /two\n");
    let build = |store: &str| env.build(&dockerfile).repeatable().args(CACHED).arg(layout(&env)).store(env.path(store)).finish();
    let first = build("a");
    assert_eq!(hits(&first), "..");
    let again = build("b");
    assert_eq!((hits(&again).as_str(), again.image().digest), ("hh", first.image().digest));
    let known = records(&env.path("cache"));
    assert_eq!(known.len(), 2);
    let umoci = run(Command::new("umoci").args(["list", "--layout"]).arg(env.path("cache")));
    assert_eq!(umoci.lines().count(), 2, "it is a layout as others see it: {umoci}");
    // A blob that rots is not used; one that is gone neither.
    for spoil in [true, false] {
        for entry in fs::read_dir(env.path("cache/blobs/sha256")).expect("blobs").flatten() {
            let bytes = fs::read(entry.path()).expect("a blob");
            if bytes.starts_with(&[0x1f, 0x8b]) {
                if spoil {
                    let mut spoilt = bytes;
                    let middle = spoilt.len() / 2;
                    spoilt[middle] ^= 1;
                    fs::write(entry.path(), spoilt).expect("a blob");
                } else {
                    fs::remove_file(entry.path()).expect("a blob");
                }
            }
        }
        let finished = build(&format!("c{spoil}"));
        assert_eq!(hits(&finished), "..", "{}", finished.stderr);
        assert_eq!(finished.image().tree_above(1)["two"].text(), "one");
        assert_eq!(finished.stderr.contains("has another content"), spoil, "{}", finished.stderr);
        fs::remove_dir_all(env.path("cache")).expect("a cache");
        build("d");
    }
    let error = env.build("FROM scratch\n").args(["--cache", "--cache-repo=oci:"]).fail(1);
    assert!(error.contains("--cache-repo: oci: names no directory"), "{error}");
}

/// kaniko-asks 1 and 3, and what an executor without a cache took gigabytes for.
#[test]
fn a_gigabyte_is_cached_in_little_memory() {
    const LIMIT: u64 = 150 * 1024;
    let env = TestEnv::alone();
    let file = env.file("big", "");
    run(Command::new("sh").args(["-c", "head -c 268435456 /dev/urandom > \"$0\""]).arg(&file));
    fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
    let destination = Registry::open().fresh();
    let build = |store: &str| {
        let build = env.build("FROM scratch\nCOPY big /big\n").repeatable().args(CACHED).args(["--compression-level", "1"]);
        build.push_to(&destination).store(env.path(store)).without_layout().finish()
    };
    let first = build("store");
    assert_eq!(hits(&first), ".");
    assert!(first.peak_kib < LIMIT, "keeping took {} KiB", first.peak_kib);
    drop(fs::remove_dir_all(env.path("store")));
    let again = build("other");
    assert_eq!(hits(&again), "h");
    assert!(again.peak_kib < LIMIT, "taking took {} KiB", again.peak_kib);
}

/// What a handler saw is known again, so that a hit below it needs no files.
#[test]
fn an_instruction_that_looks_is_taken_without_files() {
    let env = TestEnv::new();
    let to = Registry::open().fresh();
    let component = component();
    let dockerfile = format!("{BUSYBOX}RUN echo x > /x\nUSERADD --uid=1000 app\nRUN id app > /id\n");
    let build = |dockerfile: &str, store: &str| {
        let build = env.build(dockerfile).repeatable().args(CACHED).arg("--plugin").arg(&component).push_to(&to);
        build.store(env.path(store)).without_layout().finish()
    };
    let none = |finished: &Finished, store: &str| {
        assert!(!finished.stderr.contains("pulled "), "{}", finished.stderr);
        assert_eq!(fs::read_dir(env.path(store).join("layers")).expect("a store").count(), 0);
    };
    assert_eq!(hits(&build(&dockerfile, "store")), "...");
    let first = Image::pull(&env, &to);
    let again = build(&dockerfile, "other");
    assert_eq!(hits(&again), "hhh", "{}", again.stderr);
    none(&again, "other");
    assert_eq!(Image::pull(&env, &to).digest, first.digest);
    // Another instruction looks for itself.
    let other = build(&dockerfile.replace("1000", "1001"), "third");
    assert_eq!(hits(&other), "h..", "{}", other.stderr);
    let tree = Image::pull(&env, &to).tree_above(1);
    assert!(tree["etc/passwd"].text().contains("app:x:1001:"), "{}", tree["etc/passwd"].text());
}

#[test]
fn cache_mounts_are_kept_in_the_cache_where_that_is_asked() {
    let env = TestEnv::new();
    let repository = format!("--cache-repo={}/test/{}", Registry::open().address, unique());
    let dockerfile = |text: &str| {
        format!(
            "{BUSYBOX}RUN --mount=type=cache,target=/c,uid=7 ls /c > /seen; mkdir -p /c/d && echo {text} > /c/d/{text} && ln -sfn d /c/link; true\n"
        )
    };
    let build = |text: &str, store: &str, flags: &[&str]| {
        let build = env.build(&dockerfile(text)).arg("--cache").arg(&repository).args(flags).store(env.path(store));
        build.succeed().tree_above(1)["seen"].text().to_owned()
    };
    assert_eq!(build("one", "a", &["--cache-mounts"]), "");
    assert_eq!(build("two", "b", &[]), "", "without being asked, a directory stays where it is");
    assert_eq!(build("three", "c", &["--cache-mounts"]), "d\nlink\n");
    let list =
        |store: &str| run(Command::new("find").arg(env.path(store).join("caches")).args(["-path", "*/files/d/*", "-printf", "%f\n"]));
    let mut seen: Vec<String> = list("c").lines().map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, ["one", "three"]);
    assert_eq!(build("four", "d", &["--cache-mounts", "--no-push-cache"]), "d\nlink\n");
    build("five", "e", &["--cache-mounts"]);
    assert_eq!(list("e").lines().count(), 3, "one, three and five: what was not to be kept was not");
}

/// kaniko-asks 25: a cache is kept small by age and size, wherever it is, and what is not its own stays there.
#[test]
fn records_are_pruned_by_age_and_size() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let repository = registry.reference(&format!("test/{}", unique()));
    registry.copy(&registry.reference("base/busybox:latest"), &format!("{repository}:other"));
    for repo in [repository.clone(), format!("oci:{}", env.path("cache").display()), "local:".to_owned()] {
        let flag = format!("--cache-repo={repo}");
        let build = |text: &str| {
            hits(&env.build(&format!("{BUSYBOX}RUN echo {text} > /{text}\n")).args(["--cache", "--no-push-cache=false", &flag]).finish())
        };
        let prune = |flags: &[&str]| {
            let mut command = Command::new(program());
            command.args(["prune", "--insecure", &flag, "--store"]).arg(env.path("store")).args(flags);
            run(command.env("HOME", env.path("home")))
        };
        build("one");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        build("two");
        assert!(prune(&["--max-age=1h"]).starts_with("removed 0 records (0 B); 2 ("), "{repo}");
        let said = prune(&["--max-size=250", "--dry-run"]);
        assert!(said.starts_with("would remove 1 records (") && said.ends_with(&format!("would be left in {repo}\n")), "{said}");
        assert!(prune(&["--max-size=250"]).starts_with("removed 1 records ("), "{repo}: the older one");
        assert_eq!([build("two"), build("one")], ["h", "."], "{repo}");
        assert!(prune(&["--all"]).contains("; 0 (0 B) left in "), "{repo}");
        assert_eq!([build("two"), build("one")], [".", "."], "{repo}");
    }
    assert!(registry.manifest(&format!("{repository}:other")).is_some(), "an image in the same repository stays");
    let blobs = fs::read_dir(env.path("cache/blobs/sha256")).expect("blobs").count();
    assert_eq!(blobs, 5, "two records, two layers and the configuration of records");
}
