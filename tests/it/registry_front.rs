//! docker-registry behind nginx: TLS by a private authority, passwords, client certificates and HTTP/2, as registries stand in companies.

use crate::support::daemon::Daemon;
use crate::support::registry::{BASIC, setting};
use crate::support::{Build, Image, Registry, TestEnv, digest_of, unique, write};

fn ready<'a>(env: &'a TestEnv, front: &Daemon) -> (Build<'a>, String) {
    env.file("file", "content");
    let name = format!("test/{}:latest", unique());
    let trusted = format!("{}={}", front.address, setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"));
    let dockerfile = format!("FROM {}\nCOPY file /file\n", front.reference("base/busybox:latest"));
    let build = env.build(&dockerfile).secure().store(env.path(unique())).args(["--registry-certificate", &trusted]);
    (build.push_to(&front.reference(&name)), name)
}

fn is_pushed(name: &str, image: &Image) {
    let registry = Registry::open();
    let pushed = registry.raw_manifest(&registry.reference(name)).expect("it was pushed");
    assert_eq!(digest_of(pushed.as_bytes()), image.digest);
}

fn password(registry: &Daemon, basic: &str) -> String {
    format!(r#"{{"auths":{{"{}":{{"auth":"{basic}"}}}}}}"#, registry.address)
}

/// The password file that nginx reads.
fn passwords(env: &TestEnv) -> String {
    let line = crate::support::run(std::process::Command::new("htpasswd").args(["-nbm", "builder", "pass:word"]));
    write(&env.path("passwords"), line);
    format!("auth_basic 'a registry'; auth_basic_user_file {};", env.path("passwords").display())
}

#[test]
fn with_a_password_over_http_2() {
    let env = TestEnv::new();
    let front = Daemon::nginx(&env, &Registry::open().address, &passwords(&env));
    let (build, name) = ready(&env, &front);
    let image = build.variable("DOCKER_AUTH_CONFIG", password(&front, BASIC)).succeed();
    is_pushed(&name, &image);
    let requests = front.requests();
    assert!(requests.iter().all(|request| request.starts_with("HTTP/2.0 ")), "{requests:#?}");
    assert!(requests.iter().any(|request| request.contains(" PATCH ")), "{requests:#?}");
}

#[test]
fn without_http_2_where_it_is_switched_off() {
    let env = TestEnv::new();
    let front = Daemon::nginx(&env, &Registry::open().address, "");
    let (build, name) = ready(&env, &front);
    let image = build.variable("FF_KANIKO_DISABLE_HTTP2", "1").succeed();
    is_pushed(&name, &image);
    let requests = front.requests();
    assert!(requests.len() > 5 && requests.iter().all(|request| request.starts_with("HTTP/1.1 ")), "{requests:#?}");
}

#[test]
fn a_wrong_password_or_none_is_told_with_registry_and_repository() {
    let env = TestEnv::new();
    let front = Daemon::nginx(&env, &Registry::open().address, &passwords(&env));
    // builder:wr0ng-passw0rd
    let wrong = "YnVpbGRlcjp3cjBuZy1wYXNzdzByZA==";
    let error = ready(&env, &front).0.variable("DOCKER_AUTH_CONFIG", password(&front, wrong)).fail(1);
    assert!(error.contains("cannot pu") && error.contains(&front.address), "{error}");
    assert!(error.contains("the registry refused the credential (401): 401 Authorization Required"), "{error}");
    assert!(!error.contains(wrong) && !error.contains("wr0ng-passw0rd"), "{error}");
    let error = ready(&env, &front).0.fail(1);
    assert!(error.contains("the registry wants a credential (401)") && error.contains(&front.address), "{error}");
}

#[test]
fn with_a_client_certificate_over_http_2() {
    let env = TestEnv::new();
    let more = format!("ssl_client_certificate {}; ssl_verify_client on;", setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"));
    let front = Daemon::nginx(&env, &Registry::open().address, &more);
    let shown = format!("{}={}", front.address, setting("LAYERWRIGHT_TEST_CLIENT"));
    let (build, name) = ready(&env, &front);
    is_pushed(&name, &build.args(["--registry-client-cert", &shown]).succeed());
    let error = ready(&env, &front).0.fail(1);
    assert!(error.contains("certificate") && error.contains(&front.address) && error.contains("cannot pu"), "{error}");
}

/// nginx says GOAWAY after so many requests of a connection: what it did not begin is sent again, and nothing is lost.
#[test]
fn connections_that_are_ended_in_between_are_replaced() {
    let env = TestEnv::new();
    let front = Daemon::nginx(&env, &Registry::open().address, "keepalive_requests 3;");
    let mut dockerfile = format!("FROM {}\n", front.reference("base/busybox:latest"));
    for index in 0..12 {
        env.file(&format!("file{index}"), format!("{index}").repeat(300_000));
        dockerfile.push_str(&format!("COPY file{index} /\n"));
    }
    let trusted = format!("{}={}", front.address, setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"));
    let name = format!("test/{}:latest", unique());
    let build = env.build(&dockerfile).secure().args(["--registry-certificate", &trusted]).push_to(&front.reference(&name));
    is_pushed(&name, &build.succeed());
    let requests = front.requests();
    assert!(requests.len() > 30 && requests.iter().all(|request| request.starts_with("HTTP/2.0 ")), "{requests:#?}");
}

#[test]
fn a_registry_at_an_ipv6_address() {
    let env = TestEnv::new();
    let registry = Daemon::registry_at(&env, "[::1]", &setting("LAYERWRIGHT_TEST_REGISTRY_STORAGE"), "");
    assert!(registry.address.starts_with("[::1]:"), "{}", registry.address);
    env.file("file", "content");
    let name = format!("test/{}:latest", unique());
    let dockerfile = format!("FROM {}\nCOPY file /file\n", registry.reference("base/busybox:latest"));
    // Plain HTTP needs no leave on this machine.
    let image = env.build(&dockerfile).secure().push_to(&registry.reference(&name)).succeed();
    is_pushed(&name, &image);
}

#[test]
fn a_registry_that_this_machine_calls_localhost() {
    let env = TestEnv::new();
    let port = Registry::open().address.rsplit(':').next().expect("a port").to_owned();
    env.file("file", "content");
    let name = format!("test/{}:latest", unique());
    let build = env.build(&format!("FROM localhost:{port}/base/busybox:latest\nCOPY file /file\n"));
    is_pushed(&name, &build.secure().push_to(&format!("localhost:{port}/{name}")).succeed());
}
