//! Pushing, and who may: passwords, certificates, several destinations.

use crate::support::registry::{BASIC, PASSWORD, USER};
use crate::support::web::Reply;
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
fn what_is_trusted_for_one_registry_is_trusted_for_no_other() {
    let env = env();
    let registry = Registry::tls();
    let authority = crate::support::registry::setting("LAYERWRIGHT_TEST_TLS_AUTHORITY");
    for flags in [
        ["--registry-certificate", &format!("other.test={authority}")],
        ["--skip-tls-verify-registry", "other.test"],
        // For what is pulled.
        ["--skip-tls-verify-pull", "--skip-tls-verify-pull=true"],
        ["--insecure-registry", &registry.address],
    ] {
        let destination = registry.fresh();
        let error = env.build(SMALL).secure().args(flags).push_to(&destination).fail(1);
        assert!(error.contains("certificate") && error.contains(&registry.address), "{flags:?}: {error}");
    }
}

#[test]
fn roots_from_the_environment() {
    let env = env();
    let registry = Registry::tls();
    let authority = crate::support::registry::setting("LAYERWRIGHT_TEST_TLS_AUTHORITY");
    let folder = env.path("roots");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(&authority, folder.join("any-name.pem")).expect("a copy");
    for (name, value) in [("SSL_CERT_FILE", authority.into()), ("SSL_CERT_DIR", folder.into_os_string())] {
        let destination = registry.fresh();
        env.build(SMALL).secure().variable(name, value).push_to(&destination).succeed();
        assert!(registry.manifest(&destination).is_some(), "{name}");
    }
}

#[test]
fn with_a_client_certificate() {
    let env = env();
    let address = crate::support::registry::setting("LAYERWRIGHT_TEST_MUTUAL_REGISTRY");
    let client = crate::support::registry::setting("LAYERWRIGHT_TEST_CLIENT");
    let authority = crate::support::registry::setting("LAYERWRIGHT_TEST_TLS_AUTHORITY");
    let trusted = format!("{address}={authority}");
    let destination = format!("{address}/test/{}:latest", crate::support::unique());
    let build = || env.build(SMALL).secure().args(["--registry-certificate", &trusted]).push_to(&destination);
    build().args(["--registry-client-cert", &format!("{address}={client}")]).succeed();
    let error = build().args(["--registry-client-cert", &format!("other.test={client}")]).fail(1);
    assert!(error.contains(&address) && error.to_lowercase().contains("certificate"), "{error}");
}

#[test]
fn to_a_tag_that_the_registry_does_not_let_go() {
    let env = env();
    let web = crate::support::web::Web::serve(|seen| {
        match seen.method.as_str() {
        _ if seen.path() == "/v2/" => Reply::ok(""),
        "POST" => Reply::status(202).header("Location", "/v2/a/b/blobs/uploads/1"),
        "HEAD" => Reply::status(404),
        "PUT" if seen.path().contains("/manifests/") => Reply {
            status: 400,
            body: br#"{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists and cannot be overwritten because the tag is immutable."}]}"#.to_vec(),
            ..Reply::default()
        },
        "PUT" => Reply::status(201),
        _ => Reply::status(202),
    }
    });
    let destination = format!("{}/a/b:1", web.address);
    let error = env.build(SMALL).push_to(&destination).fail(1);
    assert!(error.contains("immutable"), "{error}");
    env.build(SMALL).push_to(&destination).arg("--push-ignore-immutable-tag-errors").succeed();
    assert!(web.lines().iter().any(|line| line.starts_with("POST /v2/a/b/blobs/uploads/")));
}

#[test]
fn without_asking_before_whether_it_may() {
    let env = env();
    let web = crate::support::web::Web::serve(|seen| match seen.path() {
        "/v2/" => Reply::ok(""),
        _ => Reply::status(403),
    });
    let destination = format!("{}/a/b:1", web.address);
    let broken = "FROM scratch\nCOPY nothing /\n";
    let error = env.build(broken).push_to(&destination).fail(1);
    assert!(error.contains("403") && !error.contains("nothing"), "{error}");
    let error = env.build(broken).push_to(&destination).arg("--skip-push-permission-check").fail(1);
    assert!(error.contains("nothing"), "{error}");
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
