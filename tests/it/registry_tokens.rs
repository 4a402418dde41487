//! docker-registry with tokens: who may pull and push, and what those are told who may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::daemon::Daemon;
use crate::support::token::{self, Leave, asked};
use crate::support::web::Web;
use crate::support::{Build, Registry, TestEnv, digest_of, unique};

const USER: &str = "robot";
const PASSWORD: &str = "tok3n-server-passw0rd";
const IDENTITY: &str = "1dentity-token-of-the-tests";

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

/// Docker's configuration with one entry for a registry.
fn config(registry: &Daemon, entry: &str) -> String {
    format!(r#"{{"auths":{{"{}":{{{entry}}}}}}}"#, registry.address)
}

fn password(password: &str) -> String {
    format!(r#""auth":"{}""#, STANDARD.encode(format!("{USER}:{password}")))
}

/// From the base in the registry, to a fresh name there, which is returned too.
fn build<'a>(env: &'a TestEnv, (server, registry): (&Web, &Daemon), entry: &str) -> (Build<'a>, String) {
    env.file("file", "content");
    let name = format!("test/{}:latest", unique());
    let dockerfile = format!("FROM {}\nCOPY file /file\n", registry.reference("base/busybox:latest"));
    let build = env.build(&dockerfile).store(env.path(unique())).push_to(&registry.reference(&name));
    // It is on this machine, at another port than the registry.
    let build = build.args(["--trusted-host", &server.address]);
    (if entry.is_empty() { build } else { build.variable("DOCKER_AUTH_CONFIG", config(registry, entry)) }, name)
}

/// One error, which says what was to be done, where, and why not.
fn fails(build: Build<'_>, words: &[&str]) -> String {
    let error = build.fail(1);
    assert_eq!(error.matches("error: ").count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in:\n{error}");
    }
    error
}

fn guarded(env: &TestEnv) -> (Web, Daemon) {
    let server = token::serve(|seen| (seen.header("authorization") == Some(&basic())).then(Leave::all));
    let registry = Daemon::registry(env, &token::configuration(&server));
    (server, registry)
}

#[test]
fn builds_pull_and_push_with_tokens_for_a_password() {
    let env = TestEnv::new();
    let (server, registry) = guarded(&env);
    let (build, name) = build(&env, (&server, &registry), &password(PASSWORD));
    let image = build.succeed();
    let pushed = Registry::open().raw_manifest(&Registry::open().reference(&name)).expect("it was pushed");
    assert_eq!(digest_of(pushed.as_bytes()), image.digest);
    let scopes: Vec<String> = server.seen().iter().flat_map(asked).filter_map(|(name, value)| (name == "scope").then_some(value)).collect();
    assert!(scopes.contains(&"repository:base/busybox:pull".to_owned()), "{scopes:?}");
    let repository = name.trim_end_matches(":latest");
    assert!(scopes.contains(&format!("repository:{repository}:pull,push")), "{scopes:?}");
    assert!(server.lines().len() <= 4, "tokens are used again: {:?}", server.lines());
}

#[test]
fn builds_pull_and_push_with_tokens_for_an_identity_token() {
    let env = TestEnv::new();
    let server = token::serve(|seen| {
        let shown = asked(seen).into_iter().any(|(name, value)| name == "refresh_token" && value == IDENTITY);
        (seen.method == "POST" && shown).then(Leave::all)
    });
    let registry = Daemon::registry(&env, &token::configuration(&server));
    let (build, name) = build(&env, (&server, &registry), &format!(r#""identitytoken":"{IDENTITY}""#));
    build.succeed();
    assert!(Registry::open().manifest(&Registry::open().reference(&name)).is_some());
    assert!(server.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[test]
fn whoever_is_nobody_pulls_where_everybody_may() {
    let env = TestEnv::new();
    let server = token::serve(|_| Some(Leave { actions: |_| &["pull"], expired: None }));
    let registry = Daemon::registry(&env, &token::configuration(&server));
    env.file("file", "content");
    let trusted = ["--trusted-host", &server.address];
    env.build(&format!("FROM {}\nCOPY file /file\n", registry.reference("base/busybox:latest"))).args(trusted).succeed();
    let (build, name) = build(&env, (&server, &registry), "");
    let place = registry.reference(name.trim_end_matches(":latest"));
    fails(build, &["cannot push to", &place, "the registry wants a credential (401)", "hint: no credential was found"]);
}

#[test]
fn a_wrong_password_is_told_with_registry_repository_and_action() {
    let env = TestEnv::new();
    let (server, registry) = guarded(&env);
    let wrong = "n0t-the-passw0rd";
    let (build, name) = build(&env, (&server, &registry), &password(wrong));
    let error =
        fails(build, &["cannot pu", &registry.address, "the registry refused the credential (401)", "incorrect username or password"]);
    assert!(error.contains(&registry.reference(name.trim_end_matches(":latest"))) || error.contains(&registry.reference("base/busybox")));
    assert!(!error.contains(wrong) && !error.contains(&STANDARD.encode(format!("{USER}:{wrong}"))), "{error}");
}

#[test]
fn missing_rights_are_told_with_registry_repository_and_action() {
    let env = TestEnv::new();
    // It may pull the base, and do nothing else.
    let actions = |name: &str| if name == "base/busybox" { &["pull"] as &[&str] } else { &[] };
    let server = token::serve(move |seen| (seen.header("authorization") == Some(&basic())).then_some(Leave { actions, expired: None }));
    let registry = Daemon::registry(&env, &token::configuration(&server));
    let (ready, name) = build(&env, (&server, &registry), &password(PASSWORD));
    let place = registry.reference(name.trim_end_matches(":latest"));
    fails(ready, &["cannot push to", &place, "access is denied to this credential (401)", "has to be given the right"]);
    let late = build(&env, (&server, &registry), &password(PASSWORD)).0.arg("--skip-push-permission-check");
    fails(late, &["cannot push", &registry.reference("test/"), "access is denied to this credential (401)"]);
    let debian = registry.reference("base/debian:latest");
    let pull = env.build(&format!("FROM {debian}\nENV A=1\n")).variable("DOCKER_AUTH_CONFIG", config(&registry, &password(PASSWORD)));
    let pull = pull.args(["--trusted-host", &server.address]);
    fails(pull, &["cannot pull", &debian, "access is denied to this credential (401)"]);
}

#[test]
fn an_expired_token_is_replaced_once_and_then_told() {
    let env = TestEnv::new();
    let count = Arc::new(AtomicUsize::new(0));
    for always in [false, true] {
        let count = Arc::clone(&count);
        count.store(0, Ordering::SeqCst);
        let server = token::serve(move |_| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            Some(Leave { expired: (always || first).then_some(Duration::from_secs(300)), ..Leave::all() })
        });
        let registry = Daemon::registry(&env, &token::configuration(&server));
        let (build, name) = build(&env, (&server, &registry), &password(PASSWORD));
        if always {
            let words = ["cannot pu", &registry.address, "the registry refused the token of its token server (401)", "clocks"];
            fails(build, &words);
            assert!(server.lines().len() <= 4, "it is not asked again and again: {:?}", server.lines());
        } else {
            build.succeed();
            assert!(Registry::open().manifest(&Registry::open().reference(&name)).is_some());
        }
    }
}

#[test]
fn a_token_server_on_a_private_address_gets_nothing_unless_the_operator_means_it() {
    let env = TestEnv::new();
    let (server, registry) = guarded(&env);
    let (ready, _) = build(&env, (&server, &registry), &password(PASSWORD));
    // With a list, whoever is not on it gets nothing either.
    fails(ready.args(["--trusted-realm", "auth.example.test"]), &[&server.address, "--trusted-realm"]);
    let dockerfile = format!("FROM {}\nENV A=1\n", registry.reference("base/busybox:latest"));
    let untold = env.build(&dockerfile).variable("DOCKER_AUTH_CONFIG", config(&registry, &password(PASSWORD)));
    fails(untold, &[&server.address, "names the private address", "--trusted-host"]);
    assert_eq!(server.lines(), Vec::<String>::new());
}
