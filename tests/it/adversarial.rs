//! What attackers send, row by row of the adversarial list, as far as no other file has it; and that every row has a test.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::registry::PASSWORD;
use crate::support::web::{Reply, Web};
use crate::support::{Registry, TestEnv, repository, unique, write};

/// The base image with another configuration, as a reference.
fn image(change: impl Fn(&mut Value)) -> String {
    let registry = Registry::open();
    let name = format!("test/{}", unique());
    registry.copy(&registry.reference("base/busybox:latest"), &registry.reference(&format!("{name}:honest")));
    let mut manifest = registry.manifest(&registry.reference(&format!("{name}:honest"))).expect("it was copied");
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    let digest = manifest["config"]["digest"].as_str().expect("a digest").to_owned();
    let mut config: Value = serde_json::from_slice(&fs::read(Registry::blob_file(&digest)).expect("a blob")).expect("JSON");
    change(&mut config);
    let text = config.to_string();
    let digest = registry.put_blob(&name, &text);
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = text.len().into();
    registry.put_manifest(&name, "evil", &manifest);
    registry.reference(&format!("{name}:evil"))
}

/// Row 30 of the adversarial list.
#[test]
fn configurations_that_are_too_large_or_hold_line_ends_are_refused() {
    let env = TestEnv::new();
    let many: Vec<String> = (0..100_000).map(|index| format!("V{index}=x")).collect();
    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("environment variables", Box::new(|config| config["config"]["Env"] = json!(many))),
        ("User", Box::new(|config| config["config"]["User"] = "0\nroot".into())),
        ("WorkingDir", Box::new(|config| config["config"]["WorkingDir"] = "/a\nb".into())),
        ("Volumes", Box::new(|config| config["config"]["Volumes"] = json!({ "/a\u{1b}[31m": {} }))),
        ("Env", Box::new(|config| config["config"]["Env"] = json!(["A=\u{0}"]))),
    ];
    for (word, change) in changes {
        let base = image(change);
        let begun = Instant::now();
        let error = env.build(&format!("FROM {base}\nRUN true\n")).fail(1);
        assert!(error.contains(word) && error.contains(&base), "{word}: {error}");
        assert!(!error.contains('\u{1b}') && error.lines().all(|line| line.len() < 1000), "{word}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{word} took {:?}", begun.elapsed());
    }
}

/// Row 30 of the adversarial list: paths of the configuration lead nowhere but into the image, and no descriptor of the builder's is open to
/// a step.
#[test]
fn directories_of_a_configuration_stay_in_the_image() {
    let env = TestEnv::new();
    let canary = format!("canary-{}", unique());
    write(&env.path(&canary), "outside");
    let base = image(|config| config["config"]["Volumes"] = json!({ "/../../etc": {}, "/a/../../b": {} }));
    let built = env.build(&format!("FROM {base}\nRUN echo x > /x\n")).succeed();
    assert_eq!(built.layer(-1)["x"].text(), "x\n");
    assert!(!built.layer(-1).keys().any(|path| path.contains("..")), "{:?}", built.layer(-1).keys());

    for descriptor in 3..12 {
        let base = image(|config| config["config"]["WorkingDir"] = format!("/proc/self/fd/{descriptor}/../../../../..").into());
        let script = "ls -la / . .. ../.. ../../.. /proc/self/fd > /seen 2>&1; find . -maxdepth 3 >> /seen 2>/dev/null; true";
        let finished = env.build(&format!("FROM {base}\nRUN {script}\n")).finish();
        match finished.code {
            Some(0) => {
                let seen = finished.image().layer(-1)["seen"].text().to_owned();
                assert!(!seen.contains(&canary) && !seen.contains("layerwright-it-"), "a step sees the builder's folders:\n{seen}");
            }
            code => assert!(code == Some(1) && finished.stderr.contains("error: "), "{code:?}: {}", finished.stderr),
        }
    }
    assert_eq!(fs::read_to_string(env.path(&canary)).expect("the canary"), "outside");
}

/// Row 40 of the adversarial list: what a helper prints, a tag, a challenge and a location.
#[test]
fn line_ends_that_would_become_headers_are_refused() {
    let env = TestEnv::new();
    let registry = Registry::guarded();
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    write(&env.path("home/.docker/config.json"), format!(r#"{{"credHelpers":{{"{}":"tests"}}}}"#, registry.address));
    let grant = ["--grant", "auth-docker-config:credential-helper=tests"];
    for (user, secret) in [
        (r"builder\r\nX-Evil: 1", PASSWORD),
        ("builder", r"pass\r\nX-Evil: 1"),
        ("<token>", r"t0ken-of\nlines"),
        ("builder", r"with\u0000nul"),
    ] {
        helper(&env, &format!(r#"printf '%s' '{{"ServerURL":"x","Username":"{user}","Secret":"{secret}"}}'"#));
        let error = env.build("FROM scratch\nENV A=1\n").push_to(&registry.fresh()).variable("PATH", &path).args(grant).fail(1);
        assert!(error.contains("line end") || error.contains("user name with a colon"), "{user:?}: {error}");
        assert!(!error.contains("X-Evil") && !error.contains("t0ken-of"), "{error}");
    }

    for tag in ["1\r\nX-Evil: 1", "1\nb", "1\tb", "1%0d%0a"] {
        let error = env.build("FROM scratch\nENV A=1\n").push_to(&format!("{}/a:{tag}", registry.address)).fail(1);
        assert!(error.contains("invalid"), "{tag:?}: {error}");
        let error = env.build("FROM scratch\nENV A=1\n").arg("--build-arg").arg(format!("T={tag}")).finish();
        assert_eq!(error.code, Some(0), "unused: {}", error.stderr);
        let error =
            env.build(&format!("ARG T\nFROM {}/a:$T\nENV A=1\n", registry.address)).arg("--build-arg").arg(format!("T={tag}")).fail(1);
        assert!(error.contains("invalid"), "{tag:?}: {error}");
    }

    for realm in ["http://127.0.0.1:1/\\\r\\\nX-Evil: 1", "http://127.0.0.1:1/\tx", "\r\n"] {
        let target = Web::serve(|_| Reply::ok("{}"));
        let challenge = format!("Bearer realm=\"{}\",service=\"a\tb\"", realm.replace("127.0.0.1:1", &target.address));
        let web = Web::serve(move |_| Reply::status(401).header("WWW-Authenticate", &challenge));
        let error = env.build(&format!("FROM {}/a/b\nENV A=1\n", web.address)).args(["--registry-timeout", "5"]).fail(1);
        assert!(error.contains(&web.address), "{realm:?}: {error}");
        assert!(web.seen().iter().chain(&target.seen()).all(|seen| seen.header("x-evil").is_none()), "{realm:?}");
    }

    for location in ["/v2/a/b/blobs/uploads/1\r\nX-Evil: 1", "/v2/a/b/\tuploads", "/v2/a/b/%0d%0aX-Evil:%201"] {
        let web = Web::serve(move |seen| match seen.method.as_str() {
            "POST" => Reply::status(202).header("Location", location),
            "HEAD" => Reply::status(404),
            "GET" => Reply::ok("{}"),
            _ => Reply::status(201),
        });
        let _ = env.build("FROM scratch\nENV A=1\n").push_to(&format!("{}/a/b:1", web.address)).args(["--registry-timeout", "5"]).finish();
        assert!(web.seen().iter().all(|seen| seen.header("x-evil").is_none() && !seen.target.contains('\t')), "{:?}", web.lines());
    }
}

fn helper(env: &TestEnv, script: &str) {
    let helper = env.path("bin/docker-credential-tests");
    write(&helper, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Row 44 of the adversarial list.
#[test]
fn credential_helpers_that_are_paths_flood_hang_or_fail_are_named() {
    let env = TestEnv::new();
    let registry = Registry::guarded();
    let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
    let config = env.path("home/.docker/config.json");
    let build = || {
        let grant = ["--grant", "auth-docker-config:credential-helper=tests"];
        env.build("FROM scratch\nENV A=1\n").push_to(&registry.fresh()).variable("PATH", &path).args(grant)
    };
    write(&env.path("x"), "#!/bin/sh\ntouch \"$(dirname \"$0\")/ran\"\n");
    fs::set_permissions(env.path("x"), fs::Permissions::from_mode(0o755)).expect("a mode");
    for name in ["../../x", "../x", "/bin/sh", "", ".", "tests -x"] {
        write(&config, format!(r#"{{"credsStore":"{name}"}}"#));
        let finished = build().finish();
        // No name is no helper.
        assert_eq!(finished.code, Some(1), "{name:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains("helper") || (name.is_empty() && finished.stderr.contains("credential")),
            "{name:?}: {}",
            finished.stderr
        );
    }
    assert!(!env.path("ran").exists() && !env.path("bin/ran").exists());

    write(&config, r#"{"credsStore":"tests"}"#);
    for (script, word) in [
        ("head -c 1073741824 /dev/zero", "64 KiB"),
        ("printf 'gar\\033[31mbage\\nof lines'; exit 1", "docker-credential-tests failed"),
        ("echo '{\"Username\":'", "something else than credentials"),
        ("exit 3", "docker-credential-tests failed"),
        ("kill -9 $$", "docker-credential-tests failed"),
    ] {
        helper(&env, script);
        let begun = Instant::now();
        let error = build().fail(1);
        assert!(error.contains(word) && !error.contains('\u{1b}'), "{script}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{script} took {:?}", begun.elapsed());
    }
    // Thirty seconds is what it gets.
    helper(&env, "sleep 100 & sleep 100");
    let begun = Instant::now();
    let error = build().fail(1);
    assert!(error.contains("docker-credential-tests") && error.contains("no answer within"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
}

/// The rows that a file's comments say it tests: `Row 1`, `Rows 1 and 2`, `Rows 1 to 3` `of the adversarial list`.
fn rows(text: &str, found: &mut BTreeSet<u32>) {
    for comment in text.lines().filter(|line| line.contains(" of the adversarial list")) {
        let before = comment.split(" of the adversarial list").next().unwrap_or_default();
        let Some((_, list)) = before.rsplit_once("Row") else { continue };
        let words: Vec<&str> = list.trim_start_matches('s').split([' ', ',']).filter(|word| !word.is_empty()).collect();
        for (at, word) in words.iter().enumerate() {
            let Ok(number) = word.parse::<u32>() else { continue };
            let first = match at.checked_sub(1).and_then(|at| words.get(at)) {
                Some(&"to") => at.checked_sub(2).and_then(|at| words.get(at)?.parse().ok()).unwrap_or(number),
                _ => number,
            };
            found.extend(first..=number);
        }
    }
}

#[test]
fn every_row_about_layers_registries_sources_commands_and_plugins_has_a_test() {
    let mut found = BTreeSet::new();
    let mut left: Vec<_> = ["host/src", "plugins", "tests"].map(|folder| repository().join(folder)).into();
    while let Some(path) = left.pop() {
        if path.is_dir() && path.file_name() != Some("target".as_ref()) {
            left.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension() == Some("rs".as_ref()) {
            rows(&fs::read_to_string(&path).expect("a source"), &mut found);
        }
    }
    let missing: Vec<u32> = (1..=57).chain(66..=72).filter(|row| !found.contains(row)).collect();
    assert!(missing.is_empty(), "no test says that it is of row {missing:?}");
}
