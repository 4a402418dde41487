//! What a rebuild from the cache asks of registries, counted: the round trips of all of them and of their token servers together.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::cache::{CACHED, TEN, hits};
use crate::support::daemon::Daemon;
use crate::support::proxy::{Fault, Passed, Proxy, rounds};
use crate::support::token::{self, Leave};
use crate::support::{Build, Registry, TestEnv, unique};

const PASSWORD: &str = "c0unted-passw0rd";

/// So long that what goes out together overlaps.
const DELAY: Duration = Duration::from_millis(60);

fn slow(address: &str) -> Proxy {
    Proxy::start(address, DELAY, |_, _| Fault::None)
}

/// Rebuilds on another machine, and gives what has passed and the round trips.
fn rebuild<'a>(env: &TestEnv, build: &dyn Fn() -> Build<'a>, proxies: &[&Proxy]) -> (Vec<Passed>, usize) {
    let first = build().finish();
    assert_eq!(hits(&first), ".......", "{}", first.stderr);
    proxies.iter().for_each(|proxy| drop(proxy.take()));
    let again = build().store(env.path("other")).without_layout().finish();
    assert_eq!(hits(&again), "hhhhhhh", "{}", again.stderr);
    let passed: Vec<Passed> = proxies.iter().flat_map(|proxy| proxy.take()).collect();
    let blobs = passed.iter().filter(|passed| passed.method == "GET" && passed.target.contains("/blobs/")).count();
    assert_eq!(blobs, 1, "the base's configuration alone: {passed:#?}");
    assert!(!passed.iter().any(Passed::brings_blob), "{passed:#?}");
    let count = rounds(&passed);
    (passed, count)
}

#[test]
fn with_the_base_in_another_registry_there_are_no_more_rounds() {
    let env = TestEnv::new();
    env.files(&["one", "two", "three"]);
    let address = &Registry::open().address;
    let (bases, images) = (slow(address), slow(address));
    let destination = format!("{}/test/{}:latest", images.address, unique());
    let dockerfile = format!("FROM {}/base/busybox:latest\n{TEN}", bases.address);
    let build = || env.build(&dockerfile).arg("--reproducible").args(CACHED).push_to(&destination);
    let (passed, count) = rebuild(&env, &build, &[&bases, &images]);
    assert!(count <= 6, "{count} round trips: {passed:#?}");
}

#[test]
fn tokens_are_counted_and_asked_for_together() {
    let env = TestEnv::new();
    env.files(&["one", "two", "three"]);
    let basic = STANDARD.encode(format!("robot:{PASSWORD}"));
    let header = format!("Basic {basic}");
    let server = token::serve(move |seen| (seen.header("authorization") == Some(&header)).then(Leave::all));
    let tokens = slow(&server.address);
    let registry = Daemon::registry(&env, &token::configuration(&server).replace(&server.address, &tokens.address));
    let images = slow(&registry.address);
    let destination = format!("{}/test/{}:latest", images.address, unique());
    let dockerfile = format!("FROM {}/base/busybox:latest\n{TEN}", images.address);
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"{basic}"}}}}}}"#, images.address);
    let build = || {
        let build = env.build(&dockerfile).arg("--reproducible").args(CACHED).push_to(&destination);
        build.args(["--trusted-host", &tokens.address]).variable("DOCKER_AUTH_CONFIG", &login)
    };
    let (passed, count) = rebuild(&env, &build, &[&tokens, &images]);
    assert!(count <= 9, "{count} round trips: {passed:#?}");
}
