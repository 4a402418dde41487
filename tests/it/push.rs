//! Pushing, and who may: passwords, certificates, several destinations.

use crate::support::registry::{BASIC, PASSWORD, USER};
use crate::support::{Image, Registry, TestEnv, digest_of, write};

const SMALL: &str = "FROM scratch\nCOPY file /file\nENV A=1\n";

fn docker_config(registry: &Registry, basic: &str) -> String {
    format!(r#"{{ "auths": {{ "{}": {{ "auth": "{basic}" }} }} }}"#, registry.address)
}

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.file("file", "content");
    env
}

#[test]
fn with_a_password_from_docker_config() {
    let env = env();
    let registry = Registry::guarded();
    write(&env.path("docker/config.json"), docker_config(&registry, BASIC));
    let destination = registry.fresh();
    let image = env.build(SMALL).push_to(&destination).variable("DOCKER_CONFIG", env.path("docker")).succeed();
    assert_eq!(digest_of(registry.raw_manifest(&destination).expect("it was pushed").as_bytes()), image.digest);
}

#[test]
fn with_a_password_from_the_home() {
    let env = env();
    let registry = Registry::guarded();
    write(&env.path("home/.docker/config.json"), docker_config(&registry, BASIC));
    let destination = registry.fresh();
    // The base too is only for those who know the password.
    let dockerfile = format!("FROM {}\nRUN true > /x\n", registry.reference("base/busybox:latest"));
    let image = env.build(&dockerfile).push_to(&destination).succeed();
    assert_eq!(image.layers(), 2);
    assert!(registry.manifest(&destination).is_some());
}

#[test]
fn with_a_password_from_the_file_that_a_variable_names() {
    let env = env();
    let registry = Registry::guarded();
    write(&env.path("auth.json"), docker_config(&registry, BASIC));
    let destination = registry.fresh();
    env.build(SMALL).push_to(&destination).variable("REGISTRY_AUTH_FILE", env.path("auth.json")).succeed();
    assert!(registry.manifest(&destination).is_some());
}

#[test]
fn with_a_password_from_a_variable() {
    let env = env();
    let registry = Registry::guarded();
    let destination = registry.fresh();
    env.build(SMALL).push_to(&destination).variable("DOCKER_AUTH_CONFIG", docker_config(&registry, BASIC)).succeed();
    assert!(registry.manifest(&destination).is_some());
}

#[test]
fn with_a_credential_helper() {
    let env = env();
    let registry = Registry::guarded();
    let helper = env.path("bin/docker-credential-tests");
    write(
        &helper,
        format!("#!/bin/sh\nread server\necho '{{\"ServerURL\":\"'\"$server\"'\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n"),
    );
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    write(&env.path("home/.docker/config.json"), format!(r#"{{ "credHelpers": {{ "{}": "tests" }} }}"#, registry.address));
    let destination = registry.fresh();
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    // A configuration file names it; that it may be run is the operator's to say, and the error tells how.
    let error = env.build(SMALL).push_to(&destination).variable("PATH", &path).fail(1);
    assert!(error.contains("hint: ") && error.contains("credential-helper=tests"), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
    let grant = ["--grant", "auth-docker-config:credential-helper=tests"];
    env.build(SMALL).push_to(&destination).variable("PATH", &path).args(grant).succeed();
    assert!(registry.manifest(&destination).is_some());
}

#[test]
fn with_a_wrong_password_or_none() {
    let env = env();
    let registry = Registry::guarded();
    // builder:not-this
    let wrong = "YnVpbGRlcjpub3QtdGhpcw==";
    for config in [docker_config(&registry, wrong), "{}".to_owned()] {
        write(&env.path("home/.docker/config.json"), config);
        let destination = registry.fresh();
        let error = env.build(SMALL).push_to(&destination).fail(1);
        assert!(error.contains(&registry.address), "the registry is named:\n{error}");
        assert!(error.contains("401") || error.to_lowercase().contains("unauthorized") || error.contains("credential"), "{error}");
        assert!(!error.contains("not-this") && !error.contains(wrong), "a secret is shown:\n{error}");
        assert_eq!(registry.manifest(&destination), None);
    }
}

#[test]
fn over_tls() {
    let env = env();
    let registry = Registry::tls();
    let authority = crate::support::registry::setting("LAYERWRIGHT_TEST_TLS_AUTHORITY");
    let dockerfile = format!("FROM {}\nCOPY file /file\n", registry.reference("base/busybox:latest"));
    let trusted = format!("{}={authority}", registry.address);
    for flags in [
        vec!["--registry-certificate", &trusted],
        vec!["--skip-tls-verify", "--skip-tls-verify-pull"],
        vec!["--skip-tls-verify-registry", &registry.address],
    ] {
        let destination = registry.fresh();
        let image = env.build(&dockerfile).secure().args(&flags).push_to(&destination).store(env.path(crate::support::unique())).succeed();
        assert_eq!(digest_of(registry.raw_manifest(&destination).expect("it was pushed").as_bytes()), image.digest, "{flags:?}");
    }
    let destination = registry.fresh();
    let error = env.build(SMALL).secure().push_to(&destination).fail(1);
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(registry.manifest(&destination), None);
}

#[test]
fn plain_http_for_one_registry() {
    let env = env();
    let registry = Registry::open();
    let destination = registry.fresh();
    let image = env.build(SMALL).secure().args(["--insecure-registry", &registry.address]).push_to(&destination).succeed();
    assert_eq!(Image::pull(&env, &destination).digest, image.digest);
}

#[test]
fn to_several_destinations_and_over_an_older_image() {
    let env = env();
    let registry = Registry::open();
    let (one, two) = (registry.fresh(), registry.fresh());
    let first = env.build("FROM scratch\nENV OLD=1\n").push_to(&one).succeed();
    let second = env.build(SMALL).push_to(&one).push_to(&two).succeed();
    assert_ne!(first.digest, second.digest);
    for destination in [&one, &two] {
        assert_eq!(Image::pull(&env, destination).digest, second.digest);
    }
    // All of it is there already.
    assert_eq!(env.build(SMALL).variable("SOURCE_DATE_EPOCH", "0").push_to(&one).succeed().diff_ids(), second.diff_ids());
}

#[test]
fn to_two_registries_of_which_one_refuses() {
    let env = env();
    let (open, guarded) = (Registry::open(), Registry::guarded());
    let (one, two) = (open.fresh(), guarded.fresh());
    let error = env.build(SMALL).push_to(&one).push_to(&two).fail(1);
    assert!(error.contains(&guarded.address), "{error}");
    assert_eq!(guarded.manifest(&two), None);
    assert_eq!(open.manifest(&one), None, "who may push is asked before anything is pushed");
}
