//! `login` and `logout`: what they check, what they write, and what they leave alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use crate::support::registry::{BASIC, PASSWORD, USER};
use crate::support::{Registry, TestEnv, program, write};

fn layerwright(env: &TestEnv, arguments: &[&str], input: &str) -> Output {
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    let mut child = Command::new(program())
        .args(arguments)
        .env_clear()
        .env("HOME", env.path("home"))
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_login_is_checked_kept_used_and_forgotten() {
    let env = TestEnv::new();
    let registry = Registry::guarded();
    let config = env.path("home/.docker/config.json");
    let login = ["login", "--username", USER, "--password-stdin", &registry.address];

    let refused = layerwright(&env, &login, "not-this-0ne\n");
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains(&registry.address) && said(&refused).contains("refused the credential"), "{}", said(&refused));
    assert!(!said(&refused).contains("not-this-0ne"), "{}", said(&refused));
    assert!(!config.exists(), "a login that does not work is not kept");

    write(&config, r#"{"auths":{"other.example":{"auth":"b3RoZXI6cA=="}},"detachKeys":"ctrl-e"}"#);
    let done = layerwright(&env, &login, &format!("{PASSWORD}\n"));
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(said(&done).contains("Login Succeeded") && !said(&done).contains(PASSWORD), "{}", said(&done));
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&config).expect("a file")).expect("JSON");
    assert_eq!(kept["auths"][&registry.address]["auth"], BASIC);
    assert_eq!((&kept["auths"]["other.example"]["auth"], &kept["detachKeys"]), (&"b3RoZXI6cA==".into(), &"ctrl-e".into()));
    assert_eq!(fs::metadata(&config).expect("a file").permissions().mode() & 0o777, 0o600);

    let destination = registry.fresh();
    env.build("FROM scratch\nENV A=1\n").push_to(&destination).succeed();
    assert!(registry.manifest(&destination).is_some());

    let gone = layerwright(&env, &["logout", &registry.address], "");
    assert_eq!(gone.status.code(), Some(0), "{}", said(&gone));
    let kept = fs::read_to_string(&config).expect("a file");
    assert!(!kept.contains(&registry.address) && kept.contains("other.example") && kept.contains("detachKeys"), "{kept}");
    assert!(said(&layerwright(&env, &["logout", &registry.address], "")).contains("Not logged in"));
}

#[test]
fn a_helper_keeps_the_login_where_the_configuration_says_so() {
    let env = TestEnv::new();
    let registry = Registry::guarded();
    let helper = env.path("bin/docker-credential-tests");
    write(&helper, format!("#!/bin/sh\necho \"$1\" >> {0}/calls\ncat >> {0}/calls\n[ ! -e {0}/broken ]\n", env.path("").display()));
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a mode");
    let config = env.path("home/.docker/config.json");
    write(&config, r#"{"credsStore":"tests"}"#);
    let login = ["login", "-u", USER, "-p", PASSWORD, &registry.address];

    let done = layerwright(&env, &login, "");
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let calls = fs::read_to_string(env.path("calls")).expect("calls");
    let (verb, entry) = calls.split_once('\n').expect("two lines");
    let entry: serde_json::Value = serde_json::from_str(entry).expect("JSON");
    assert_eq!((verb, &entry), ("store", &serde_json::json!({ "ServerURL": registry.address, "Username": USER, "Secret": PASSWORD })));
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&config).expect("a file")).expect("JSON");
    assert_eq!(kept, serde_json::json!({ "credsStore": "tests", "auths": { (&registry.address): {} } }));

    assert_eq!(layerwright(&env, &["logout", &registry.address], "").status.code(), Some(0));
    assert!(fs::read_to_string(env.path("calls")).expect("calls").ends_with(&format!("erase\n{}", registry.address)));

    write(&env.path("broken"), "");
    let failed = layerwright(&env, &login, "");
    assert_eq!(failed.status.code(), Some(1));
    assert!(said(&failed).contains("docker-credential-tests store failed") && !said(&failed).contains(PASSWORD), "{}", said(&failed));
    for name in ["../../x", "missing"] {
        write(&config, format!(r#"{{"credsStore":"{name}"}}"#));
        assert_eq!(layerwright(&env, &login, "").status.code(), Some(1), "{name}");
    }
}

#[test]
fn flags_that_are_missing_or_make_no_sense() {
    let env = TestEnv::new();
    for (arguments, word) in [
        (["login", "r.example"].as_slice(), "--username"),
        (&["login", "-u", "x", "r.example"], "--password-stdin"),
        (&["login", "-u", "x:y", "-p", "z", "r.example"], "colons"),
        (&["login", "-u", "x", "-p", "z", "not a registry"], "not a registry"),
        (&["login", "-u", "x", "-p", "", "r.example"], "empty"),
    ] {
        let failed = layerwright(&env, arguments, "");
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}");
        assert!(said(&failed).contains(word), "{arguments:?}: {}", said(&failed));
    }
}
