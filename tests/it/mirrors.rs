//! Where images are pulled from: the standard resolvers, each from its own kind of file.

use crate::support::daemon::Daemon;
use crate::support::proxy::Proxy;
use crate::support::{Image, Registry, TestEnv, digest_of, write};

fn pulls(env: &TestEnv, image: &str, args: &[&str]) -> Image {
    env.file("file", "content");
    let image =
        env.build(&format!("FROM {image}\nCOPY file /file\n")).secure().args(args).store(env.path(crate::support::unique())).succeed();
    assert_eq!(image.layers(), 2);
    image
}

fn fails(env: &TestEnv, image: &str, args: &[&str]) -> String {
    env.build(&format!("FROM {image}\nENV A=1\n")).secure().args(args).store(env.path(crate::support::unique())).fail(1)
}

#[test]
fn kaniko_rules_from_flags_and_variables() {
    let env = TestEnv::new();
    let address = Registry::open().address;
    // Both of Docker Hub's names; what fails is passed over.
    for hub in ["docker.io", "index.docker.io"] {
        pulls(&env, "base/busybox", &["--registry-map", &format!("{hub}=127.0.0.1:1;{hub}={address}")]);
    }
    pulls(&env, "base/busybox", &["--registry-mirror", "127.0.0.1:1", "--registry-mirror", &address]);
    pulls(&env, "gcr.test/busybox:latest", &["--registry-map", &format!("gcr.test={address}/base")]);
    for (name, value) in [("KANIKO_REGISTRY_MIRROR", address.clone()), ("KANIKO_REGISTRY_MAP", format!("docker.io={address}"))] {
        env.build("FROM base/busybox\nCOPY file /file\n")
            .secure()
            .variable(name, value)
            .store(env.path(crate::support::unique()))
            .succeed();
    }
    // Row 42 of the adversarial list: who said what a tag stands for is on record.
    let build = env.build("FROM gcr.test/busybox:latest\nENV A=1\n").secure().store(env.path(crate::support::unique()));
    let said = build.args(["--registry-map", &format!("gcr.test={address}/base")]).finish().stderr;
    let manifest = Registry::open().raw_manifest(&Registry::open().reference("base/busybox:latest")).expect("the base is there");
    let record = format!("gcr.test/busybox:latest is {}, served by {address}/base/busybox", digest_of(manifest.as_bytes()));
    assert!(said.contains(&record), "{said}");
    let error = fails(&env, "gcr.test/nothing:1", &["--registry-map", &format!("gcr.test={address}"), "--skip-default-registry-fallback"]);
    assert!(error.contains("image not found on any configured mapped registries for gcr.test/nothing:1"), "{error}");
    // Without the switch the registry itself comes last, and all attempts are named.
    let error = fails(&env, "gcr.test/nothing:1", &["--registry-map", &format!("gcr.test={address}"), "--registry-timeout", "5"]);
    assert!(error.contains("gcr.test") && error.contains(&format!("before that {address}/nothing")), "{error}");
}

#[test]
fn registries_conf_rewrites_blocks_and_renames() {
    let env = TestEnv::new();
    let address = Registry::open().address;
    let conf = env.path("registries.conf");
    write(
        &conf,
        format!(
            "[[registry]]\nprefix = 'corp.test/team'\nlocation = '{address}/base'\n[[registry]]\nlocation = 'bad.test'\nblocked = true\n\
             [aliases]\nbb = '{address}/base/busybox'\n"
        ),
    );
    let dropped = format!(
        "[[registry]]\nlocation = 'late.test'\n[[registry.mirror]]\nlocation = '127.0.0.1:1'\n[[registry.mirror]]\nlocation = '{address}'\n"
    );
    write(&env.path("registries.conf.d/50-more.conf"), dropped);
    let conf = conf.to_str().expect("UTF-8");
    let args = ["--registries-conf", conf];
    pulls(&env, "corp.test/team/busybox:latest", &args);
    pulls(&env, "late.test/base/busybox:latest", &args);
    pulls(&env, "bb:latest", &args);
    let error = fails(&env, "bad.test/x:1", &args);
    assert!(error.contains("blocked"), "{error}");
    let error = fails(&env, "x:1", &["--registries-conf", "/nonexistent/registries.conf"]);
    assert!(error.contains("--registries-conf"), "{error}");
}

/// Row 42 of the adversarial list.
#[test]
fn hosts_toml_tells_hosts_trust_headers_and_certificates() {
    let env = TestEnv::new();
    let (open, tls) = (Registry::open(), Registry::tls());
    let proxy = Proxy::counting(&open.address);
    let folder = env.path("certs.d");
    // The first may not say what a tag stands for, and is asked for the digest alone.
    let hosts =
        format!("server = 'http://{}'\n[host.'http://{}']\ncapabilities = ['pull']\ndial_timeout = '200ms'\n", open.address, proxy.address);
    write(&folder.join("corp.test/hosts.toml"), hosts);
    let authority = crate::support::registry::setting("LAYERWRIGHT_TEST_TLS_AUTHORITY");
    std::fs::create_dir_all(folder.join("tls.test_5000_")).expect("a folder");
    std::fs::copy(authority, folder.join("tls.test_5000_/ca.pem")).expect("a copy");
    let hosts = format!("server = 'https://{}'\nca = 'ca.pem'\n", tls.address);
    write(&folder.join("tls.test_5000_/hosts.toml"), hosts);
    let unchecked = format!("server = 'https://{}'\nskip_verify = true\n", tls.address);
    write(&folder.join("unchecked.test/hosts.toml"), unchecked);
    let args = ["--registry-hosts-dir", folder.to_str().expect("UTF-8")];

    pulls(&env, "corp.test/base/busybox:latest", &args);
    assert!(proxy.take().iter().all(|passed| !passed.target.contains("manifests/latest")));
    let manifest = open.raw_manifest(&open.reference("base/busybox:latest")).expect("the base is there");
    pulls(&env, &format!("corp.test/base/busybox@{}", digest_of(manifest.as_bytes())), &args);
    let passed = proxy.take();
    assert!(passed.iter().any(|passed| passed.target.contains("/blobs/sha256:")), "blobs come from the mirror: {passed:?}");
    assert!(passed.iter().filter(|passed| passed.target.contains("/blobs/")).all(|p| p.target.contains("ns=corp.test")), "{passed:?}");
    pulls(&env, "tls.test:5000/base/busybox:latest", &args);

    let error = fails(&env, "unchecked.test/base/busybox:latest", &args);
    let grant = format!("mirror-containerd:skip-verification={}", tls.address);
    assert!(error.contains(&format!("--grant {grant}")), "{error}");
    pulls(&env, "unchecked.test/base/busybox:latest", &[&args[..], &["--grant", &grant]].concat());
}

#[test]
fn docker_daemons_insecure_registries_need_the_operators_leave() {
    let env = TestEnv::new();
    let (tls, config) = (Registry::tls(), env.path("daemon.json"));
    write(&config, format!("{{\"insecure-registries\":[\"{}\"]}}", tls.address));
    let args = ["--docker-daemon-config", config.to_str().expect("UTF-8")];
    let error = fails(&env, &tls.reference("base/busybox:latest"), &args);
    let grant = format!("mirror-docker-daemon:skip-verification={}", tls.address);
    assert!(error.contains(&format!("--grant {grant}")), "{error}");
    let args = [&args[..], &["--grant", &grant]].concat();
    pulls(&env, &tls.reference("base/busybox:latest"), &args);
    let destination = tls.fresh();
    env.build("FROM scratch\nENV A=1\n").secure().args(&args).push_to(&destination).succeed();
    assert!(tls.manifest(&destination).is_some(), "docker pushes there as well");
}

#[test]
fn docker_daemon_mirrors_are_for_docker_hub() {
    let env = TestEnv::new();
    let config = env.path("daemon.json");
    write(&config, format!("{{\"registry-mirrors\":[\"http://127.0.0.1:1\",\"http://{}/\"]}}", Registry::open().address));
    pulls(&env, "base/busybox", &["--docker-daemon-config", config.to_str().expect("UTF-8")]);
}

/// docker-registry as a cache of another: it fetches what it is asked for, keeps it, and takes no pushes.
#[test]
fn a_pull_through_cache_serves_builds_and_refuses_pushes() {
    let env = TestEnv::new();
    env.file("file", "content");
    let upstream = Proxy::counting(&Registry::open().address);
    let storage = env.path("cache-storage");
    let storage = storage.to_str().expect("UTF-8");
    let cache = Daemon::registry_at(&env, "127.0.0.1", storage, &format!("proxy: {{remoteurl: 'http://{}'}}", upstream.address));
    let mapped = format!("upstream.test={}", cache.address);
    let destination = Registry::open().fresh();
    let build = || {
        let build =
            env.build("FROM upstream.test/base/busybox:latest\nCOPY file /file\n").secure().store(env.path(crate::support::unique()));
        build.args(["--registry-map", &mapped]).push_to(&destination)
    };
    let image = build().succeed();
    let pushed = Registry::open().raw_manifest(&destination).expect("it was pushed");
    assert_eq!(digest_of(pushed.as_bytes()), image.digest);
    assert!(upstream.take().iter().any(|passed| passed.method == "GET" && passed.target.contains("/blobs/")), "fetched from upstream");
    build().succeed();
    let again = upstream.take();
    assert!(again.iter().all(|passed| passed.method != "GET" || !passed.target.contains("/blobs/")), "kept in the cache: {again:?}");

    let to = format!("{}/test/{}:latest", cache.address, crate::support::unique());
    let error = env.build("FROM scratch\nENV A=1\n").secure().push_to(&to).fail(1);
    assert!(error.contains("cannot push to") && error.contains(to.trim_end_matches(":latest")) && error.contains("405"), "{error}");
}
