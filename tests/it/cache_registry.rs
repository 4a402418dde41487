//! A cache in a registry: what goes over the wire, what is believed, and that it never ends a build.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cache::{CACHED, TEN, hits, tags};
use crate::support::proxy::{Fault, Passed, Proxy, rounds};
use crate::support::{Image, Registry, TestEnv, digest_of, run, unique};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

fn place() -> TestEnv {
    let env = TestEnv::new();
    env.files(&["one", "two", "three"]);
    env
}

fn blobs_fetched(passed: &[Passed]) -> Vec<&Passed> {
    passed.iter().filter(|passed| passed.method == "GET" && passed.target.contains("/blobs/")).collect()
}

fn blobs_sent(passed: &[Passed]) -> Vec<&Passed> {
    passed.iter().filter(|passed| passed.brings_blob()).collect()
}

#[test]
fn a_rebuild_from_the_cache_fetches_and_sends_nothing() {
    let env = place();
    for same in ["--build-arg=SOURCE_DATE_EPOCH=1700000000", "--reproducible"] {
        rebuild_from_the_cache(&env, same);
    }
}

/// With a flag that makes the same image every time.
fn rebuild_from_the_cache(env: &TestEnv, same: &str) {
    drop(fs::remove_dir_all(env.path("other")));
    let address = &Registry::open().address;
    let proxy = Proxy::start(address, Duration::from_millis(40), |_, _| Fault::None);
    let destination = format!("{}/test/{}:latest", proxy.address, unique());
    let dockerfile = format!("FROM {}/base/busybox:latest\n{TEN}", proxy.address);
    let build = || env.build(&dockerfile).args(CACHED).arg(same).push_to(&destination);
    let first = build().finish();
    assert_eq!(hits(&first), ".......", "{}", first.stderr);
    let sent = proxy.take();
    let layers = first.image().layers();
    assert_eq!(blobs_sent(&sent).len(), 7 + 2, "each layer once, the image's configuration, and the records': {sent:?}");

    // Once on the machine of the first build, once on another one.
    for (store, most, fetched) in [("store", 6, 0), ("other", 6, 1)] {
        let again = build().store(env.path(store)).without_layout().finish();
        let passed = proxy.take();
        assert_eq!(hits(&again), "hhhhhhh", "{}", again.stderr);
        assert_eq!(blobs_fetched(&passed).len(), fetched, "nothing but the base's configuration: {passed:?}");
        assert!(blobs_sent(&passed).is_empty(), "{passed:?}");
        let count = rounds(&passed);
        assert!(count <= most, "{count} round trips: {passed:#?}");
        if store == "other" {
            assert_eq!(env.path("other/layers").read_dir().expect("a store").count(), 0, "nothing is unpacked");
        }
        let image = Image::pull(env, &destination.replace(&proxy.address, address));
        assert_eq!((image.layers(), image.digest), (layers, first.image().digest));
    }
}

#[test]
fn hits_reach_another_repository_by_mount() {
    let env = place();
    let proxy = Proxy::counting(&Registry::open().address);
    let cache = format!("{}/test/{}/cache", proxy.address, unique());
    let dockerfile = format!("FROM {}/base/busybox:latest\n{TEN}", proxy.address);
    let build = |to: &str| env.build(&dockerfile).repeatable().args(CACHED).arg(format!("--cache-repo={cache}")).push_to(to);
    let to = || format!("{}/test/{}:latest", proxy.address, unique());
    let first = build(&to()).succeed();
    proxy.take();
    let other = to();
    let again = build(&other).store(env.path("other")).without_layout().finish();
    let passed = proxy.take();
    assert_eq!(hits(&again), "hhhhhhh");
    assert_eq!(blobs_sent(&passed).len(), 1, "the configuration of the image alone: {passed:?}");
    let mounted = passed.iter().filter(|passed| passed.target.contains("mount=") && passed.status == 201).count();
    assert_eq!(mounted, first.layers(), "{passed:?}");
    assert_eq!(Image::pull(&env, &other).digest, first.digest);
}

#[test]
fn hits_of_another_registry_are_passed_through() {
    let env = place();
    let cache = format!("{}/test/{}", Registry::open().address, unique());
    let login = env.path("home/.docker/config.json");
    let guarded = Registry::guarded();
    crate::support::write(&login, format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, guarded.address, crate::support::registry::BASIC));
    let build = |to: &str| env.build(&format!("{BUSYBOX}{TEN}")).repeatable().args(CACHED).arg(format!("--cache-repo={cache}")).push_to(to);
    let first = build(&guarded.fresh()).succeed();
    let to = guarded.fresh();
    let again = build(&to).store(env.path("other")).without_layout().finish();
    assert_eq!(hits(&again), "hhhhhhh", "{}", again.stderr);
    assert_eq!(digest_of(guarded.raw_manifest(&to).expect("it was pushed").as_bytes()), first.digest);
    assert!(!env.path("other/layers").read_dir().expect("a store").any(|_| true), "nothing is unpacked on the way");
}

/// kaniko-asks 4: what follows a miss is looked for as well, and only what a later step needs is fetched.
#[test]
fn a_late_miss_needs_the_layers_below_it_only_where_it_looks_at_them() {
    let env = place();
    let proxy = Proxy::counting(&Registry::open().address);
    let destination = format!("{}/test/{}:latest", proxy.address, unique());
    let dockerfile = |last: &str| format!("FROM {}/base/busybox:latest\n{TEN}{last}", proxy.address);
    let build = |last: &str, store: &str| {
        let build = env.build(&dockerfile(last)).repeatable().args(CACHED).push_to(&destination).store(env.path(store));
        let finished = build.without_layout().finish();
        (hits(&finished), blobs_fetched(&proxy.take()).len())
    };
    build("COPY three /last\n", "store");
    env.file("three", "changed");
    let linked = build("COPY --link one /last\n", "linked");
    assert_eq!(linked, ("hhhhhh..".to_owned(), 1 + 7), "the copy before it looks at the files, and at those of no later one");
    assert_eq!(build("COPY --link two /other\n", "other"), ("hhhhhhh.".to_owned(), 1), "a linked copy looks at nothing");
    assert_eq!(build("RUN cat /one /four /srv/three\n", "run").0, "hhhhhhh.");
}

#[test]
fn old_records_are_not_used() {
    let env = place();
    let to = Registry::open().fresh();
    let build = |ttl: &str| {
        let build = env.build(&format!("{BUSYBOX}{TEN}")).args(CACHED).arg(format!("--cache-ttl={ttl}")).push_to(&to);
        hits(&build.finish())
    };
    assert_eq!(build("1h"), ".......");
    assert_eq!(build("1h"), "hhhhhhh");
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(build("1s"), ".......");
    assert_eq!(build("1h"), "hhhhhhh", "they have been replaced");
    let error = env.build("FROM scratch\n").args(["--cache", "--cache-ttl=soon"]).finish().stderr;
    assert!(error.contains("want a duration, for instance 336h"), "{error}");
}

#[test]
fn what_is_cached_is_said_by_flags() {
    let env = place();
    let build = |flags: &[&str], to: &str| hits(&env.build(&format!("{BUSYBOX}{TEN}")).args(flags).push_to(to).finish());
    let fresh = || Registry::open().fresh();
    let to = fresh();
    build(&["--cache"], &to);
    assert_eq!(build(&["--cache"], &to), ".hh.hh.", "RUN and WORKDIR");
    assert_eq!(build(&[], &to), ".......", "nothing without --cache");
    assert_eq!(build(&["--cache", "--no-cache"], &to), ".......", "nothing is looked for");
    let to = fresh();
    build(&["--cache=true", "--cache-run-layers=false", "--cache-copy-layers=true"], &to);
    // Within one second a command makes the same file with the same time.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(
        build(&["--cache", "--cache-copy-layers", "--cache-run-layers=false"], &to),
        "h......",
        "a command made the others' ground anew"
    );
    let to = fresh();
    build(&["--cache", "--no-push-cache"], &to);
    assert_eq!(build(&["--cache"], &to), ".......", "nothing was kept");
    assert_eq!(build(&["--cache", "--no-push-cache"], &to), ".hh.hh.", "and is used all the same");
}

/// What becomes of a request, by method and target.
type Meddle = fn(&str, &str) -> Fault;

#[test]
fn a_cache_that_fails_costs_a_warning() {
    let env = place();
    let address = &Registry::open().address;
    let faults: [(&str, Meddle); 4] = [
        ("cannot be read", |_, target| if target.contains("/cachy/manifests/") { Fault::Status(403) } else { Fault::None }),
        ("cannot be read", |method, target| if method == "GET" && target.contains("/cachy/") { Fault::ResetBefore } else { Fault::None }),
        ("takes nothing", |method, target| if method == "POST" && target.contains("/cachy/") { Fault::Status(403) } else { Fault::None }),
        (
            "takes nothing",
            |method, target| if method == "PUT" && target.contains("/cachy/manifests/") { Fault::Status(400) } else { Fault::None },
        ),
    ];
    for (warning, fault) in faults {
        let proxy = Proxy::start(address, Duration::ZERO, fault);
        let name = unique();
        let to = format!("{address}/test/{name}:latest");
        let build = env.build(&format!("{BUSYBOX}{TEN}")).args(CACHED).arg(format!("--cache-repo={}/test/{name}/cachy", proxy.address));
        let start = Instant::now();
        let finished = build.push_to(&to).finish();
        assert_eq!(hits(&finished), ".......", "{}", finished.stderr);
        let warnings: Vec<&str> = finished.stderr.lines().filter(|line| line.contains("warning: ") && line.contains("cachy")).collect();
        assert_eq!(warnings.iter().filter(|line| line.contains(warning)).count(), 1, "{warning}: {}", finished.stderr);
        assert!(start.elapsed() < Duration::from_secs(60), "{warning}: it took {:?}", start.elapsed());
        assert_eq!(Image::pull(&env, &to).layers(), finished.image().layers());
    }
    // Nobody there at all.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let finished = env.build(&format!("{BUSYBOX}RUN true\n")).args(["--cache", &format!("--cache-repo={nobody}/cachy")]).finish();
    assert_eq!(hits(&finished), ".");
}

/// Adversarial 59: a record counts under its own key, in the repository that was named, and its layer is what it says.
#[test]
fn forged_records_are_not_believed() {
    let env = place();
    let registry = Registry::open();
    let repository = format!("test/{}", unique());
    let cache = format!("--cache-repo={}/{repository}", registry.address);
    let dockerfile = format!("{BUSYBOX}RUN echo one > /one\nRUN echo two > /two\n");
    let build = |store: &str| env.build(&dockerfile).args(["--cache", &cache]).store(env.path(store));
    assert_eq!(hits(&build("store").finish()), "..");
    let names = tags(&registry.reference(&repository));
    assert_eq!(names.len(), 2);
    let manifest = |name: &str| registry.manifest(&registry.reference(&format!("{repository}:{name}"))).expect("a record");
    // The record of one key under the other.
    registry.put_manifest(&repository, &names[0], &manifest(&names[1]));
    let finished = build("first").finish();
    assert!(hits(&finished).contains('.'), "{}", finished.stderr);
    assert!(finished.stderr.contains("is the record of another key"), "{}", finished.stderr);
    assert_eq!(finished.image().tree_above(1)["one"].text(), "one\n");
    // The right key, and a layer of other content: whoever unpacks it finds out, and its step is done again.
    let mut forged = manifest(&names[0]);
    let other = manifest(&names[1])["layers"][0].clone();
    forged["layers"][0] = other;
    registry.put_manifest(&repository, &names[0], &forged);
    let more = format!("{dockerfile}RUN cat /one /two > /three\n");
    let finished = env.build(&more).args(["--cache", &cache]).store(env.path("second")).finish();
    assert_eq!(finished.image().tree_above(1)["three"].text(), "one\ntwo\n");
    assert!(finished.stderr.contains("is not used: the diff-id of its layer is"), "{}", finished.stderr);
}

#[test]
fn two_builds_at_once_share_a_cache() {
    let env = place();
    let to = [Registry::open().fresh(), Registry::open().fresh()];
    let cache = format!("--cache-repo={}/test/{}", Registry::open().address, unique());
    let dockerfile = format!("{BUSYBOX}RUN cat /proc/sys/kernel/random/uuid > /random\n{TEN}RUN cp /random /copy\n");
    let build = |at: usize| {
        let store = env.path(format!("store{at}"));
        let finished = env.build(&dockerfile).args(CACHED).arg(&cache).push_to(&to[at]).store(store).finish();
        let tree = finished.image().tree_above(1);
        assert_eq!(tree["random"].text(), tree["copy"].text());
        tree["random"].text().to_owned()
    };
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| build(1));
        (build(0), other.join().expect("it ends"))
    });
    // Whoever comes later gets one of the two, whole.
    let last = env.build(&dockerfile).args(CACHED).arg(&cache).store(env.path("later")).finish();
    let tree = last.image().tree_above(1);
    assert_eq!(tree["random"].text(), tree["copy"].text(), "{}", last.stderr);
    let _ = (one, other);
}

/// Adversarial 54 and 41: a secret is in no record, whoever may read the cache.
#[test]
fn secrets_are_in_no_record() {
    let env = place();
    crate::support::write(&env.path("secret"), "very-secret-value");
    let layout = env.path("cache");
    let secret = format!("--secret=id=name,src={}", env.path("secret").display());
    let dockerfile = format!("{BUSYBOX}RUN --mount=type=secret,id=name,env=TOKEN test \"$TOKEN\" = very-secret-value && echo $TOKEN\n");
    let build = env.build(&dockerfile).args(["--cache", &format!("--cache-repo=oci:{}", layout.display()), &secret]);
    assert_eq!(hits(&build.finish()), ".");
    let found = crate::support::output(Command::new("grep").args(["-r", "-a", "-l", "very-secret"]).arg(&layout));
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(fs::read_dir(layout.join("blobs/sha256")).expect("a cache").count() >= 3);
}

/// A pipeline that changes the name of the image alone keeps its cache repository, and with it what kaniko has put there: an image of Docker's
/// types for each of its keys, without platform, and pointers from one key to another. The last are under our own keys here, which would be
/// an accident.
#[test]
fn what_kaniko_has_left_in_a_repository_is_never_taken_and_never_in_the_way() {
    let env = place();
    let registry = Registry::open();
    let name = format!("test/{}", unique());
    let destination = registry.reference(&format!("{name}:latest"));
    let repository = format!("{name}/cache");
    env.file("evil", "not what was asked for");
    let layer = run(Command::new("sh").args(["-c", "tar -c evil | gzip -n | base64 -w0"]).current_dir(env.path("context")));
    let layer = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, layer.trim()).expect("base64");
    let (layer_digest, size) = (registry.put_blob(&repository, &layer), layer.len());
    let put = |tag: &str, labels: Value, layers: Value| {
        let history = serde_json::json!([{ "author": "kaniko", "created": "0001-01-01T00:00:00Z", "created_by": "RUN cat /one > /two" }]);
        let config = serde_json::json!({
            "architecture": "", "os": "", "created": "2026-11-01T00:00:00Z", "config": { "Labels": labels }, "history": history,
            "rootfs": { "type": "layers", "diff_ids": [] },
        })
        .to_string();
        let config_digest = registry.put_blob(&repository, &config);
        let config = serde_json::json!({
            "mediaType": "application/vnd.docker.container.image.v1+json", "digest": config_digest, "size": config.len(),
        });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": config, "layers": layers,
        });
        registry.put_manifest(&repository, tag, &manifest);
    };
    let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layers = serde_json::json!([{ "mediaType": gzip, "digest": layer_digest, "size": size }]);
    let kanikos = digest_of(b"a key of kaniko's").replace("sha256:", "");
    put(&kanikos, Value::Null, layers.clone());
    let build = || env.build(&format!("{BUSYBOX}{TEN}")).args(CACHED).arg("--reproducible").push_to(&destination).finish();
    let first = build();
    assert_eq!(hits(&first), ".......", "{}", first.stderr);
    let all = tags(&registry.reference(&repository));
    assert!(all.len() > 7 && all.contains(&kanikos), "{all:?}");
    for (number, tag) in all.iter().filter(|tag| **tag != kanikos).enumerate() {
        let pointer = serde_json::json!({ "kaniko.cache.pointer-target": kanikos });
        put(tag, if number % 2 == 0 { pointer } else { Value::Null }, if number % 2 == 0 { serde_json::json!([]) } else { layers.clone() });
    }
    fs::remove_dir_all(env.path("store")).expect("the store is ours");
    let again = build();
    assert_eq!(hits(&again), ".......", "nothing of it is taken: {}", again.stderr);
    assert_eq!(again.image().digest, first.image().digest);
    fs::remove_dir_all(env.path("store")).expect("the store is ours");
    let third = build();
    assert_eq!(hits(&third), "hhhhhhh", "our own records are back: {}", third.stderr);
    // Pruning leaves what is not ours to whoever put it there.
    let mut prune = Command::new(crate::support::program());
    prune.args(["prune", "--all", "--insecure", "--insecure-pull", "--cache-repo", &registry.reference(&repository)]);
    let said = run(prune.env("HOME", env.path("home")));
    assert!(said.starts_with("removed ") || said.contains("0 records"), "{said}");
    assert!(registry.manifest(&registry.reference(&format!("{repository}:{kanikos}"))).is_some());
}

/// kaniko keeps a layout for each key beside the directory that `oci:` names.
#[test]
fn layouts_that_kaniko_has_left_beside_a_directory_stay_there() {
    let env = place();
    let kanikos = env.path(format!("cache:{}", digest_of(b"a key").replace("sha256:", "")));
    fs::create_dir_all(&kanikos).expect("the folder can be made");
    fs::write(kanikos.join("index.json"), "{}").expect("the folder is ours");
    let repo = format!("--cache-repo=oci:{}", env.path("cache").display());
    let build = |store: &str| env.build(&format!("{BUSYBOX}{TEN}")).args(CACHED).arg(&repo).store(env.path(store)).finish();
    assert_eq!(hits(&build("one")), ".......");
    assert_eq!(hits(&build("two")), "hhhhhhh");
    assert_eq!(fs::read_to_string(kanikos.join("index.json")).expect("it is there"), "{}");
}
