//! Secrets that tests give to the program: whatever a run says and writes is searched for them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::TestEnv;

/// Shorter ones would be found by chance.
const SHORTEST: usize = 6;
/// No more of a file is read: nothing that a test writes is larger, and base images hold no secrets.
const LARGEST: u64 = 8 << 20;

/// What of a run's environment, files and flags must not be shown.
pub fn given(env: &TestEnv, variables: &[(OsString, OsString)]) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = env.secrets().into_iter().collect();
    let mut configurations = vec![env.path("home/.docker/config.json"), env.path("home/.config/containers/auth.json")];
    for (name, value) in variables.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?))) {
        match name {
            "DOCKER_AUTH_CONFIG" => configuration(value, &mut found),
            "DOCKER_CONFIG" => configurations.push(Path::new(value).join("config.json")),
            "REGISTRY_AUTH_FILE" => configurations.push(value.into()),
            _ if ["_FILE", "_URI", "_URL"].iter().any(|end| name.ends_with(end)) => {}
            _ if ["PASSWORD", "SECRET", "TOKEN"].iter().any(|word| name.contains(word)) => drop(found.insert(value.trim().to_owned())),
            _ => {}
        }
    }
    for text in configurations.into_iter().filter_map(|path| fs::read_to_string(path).ok()) {
        configuration(&text, &mut found);
    }
    found.retain(|secret| secret.len() >= SHORTEST);
    found
}

/// The secrets of a configuration as docker and podman have them; none where it is malformed.
fn configuration(text: &str, found: &mut BTreeSet<String>) {
    fn gather(value: &Value, found: &mut BTreeSet<String>) {
        let Value::Object(entries) = value else { return };
        for (name, value) in entries {
            match (name.as_str(), value.as_str()) {
                ("auth", Some(auth)) => {
                    found.insert(auth.to_owned());
                    let decoded = STANDARD.decode(auth).ok().and_then(|decoded| String::from_utf8(decoded).ok());
                    found.extend(decoded.and_then(|decoded| Some(decoded.split_once(':')?.1.to_owned())));
                }
                ("password" | "identitytoken" | "registrytoken", Some(secret)) => drop(found.insert(secret.to_owned())),
                _ => gather(value, found),
            }
        }
    }
    if let Ok(value) = serde_json::from_str(text) {
        gather(&value, found);
    }
}

/// Keeps secrets for the search over all that the tests leave behind, which `./test` makes at its end.
pub fn remember(secrets: &BTreeSet<String>) {
    let Some(list) = std::env::var_os("LAYERWRIGHT_TEST_SECRETS").filter(|_| !secrets.is_empty()) else { return };
    let lines: String = secrets.iter().map(|secret| format!("{secret}\n")).collect();
    let kept = fs::OpenOptions::new().append(true).create(true).open(list).and_then(|mut list| list.write_all(lines.as_bytes()));
    kept.expect("the list of secrets can be written");
}

/// Fails where a text shows a secret.
pub fn search_text(secrets: &BTreeSet<String>, what: &str, text: &str) {
    for secret in secrets {
        assert!(
            !text.contains(secret.as_str()),
            "{what} shows a secret, {:?}…:\n{}",
            &secret[..2],
            text.replace(secret.as_str(), "<HERE>")
        );
    }
}

/// Fails where a file below a path holds a secret, compressed or not.
pub fn search_files(secrets: &BTreeSet<String>, path: &Path) {
    if secrets.is_empty() {
        return;
    }
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if found.is_file() {
            let text = content(&path);
            for secret in secrets {
                assert!(!text.contains(secret.as_str()), "{} holds a secret, {:?}…", path.display(), &secret[..2]);
            }
        }
    }
}

fn content(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let _ = file.take(LARGEST).read_to_end(&mut bytes);
    }
    let mut plain = Vec::new();
    match bytes.get(..4) {
        Some([0x1f, 0x8b, ..]) => drop(flate2::read::MultiGzDecoder::new(&bytes[..]).take(LARGEST).read_to_end(&mut plain)),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => {
            if let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[..]) {
                let _ = decoder.take(LARGEST).read_to_end(&mut plain);
            }
        }
        _ => plain = bytes,
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[test]
fn the_search_finds_what_it_is_to_find() {
    let env = TestEnv::new();
    env.conceal("hidden-in-plain-sight");
    let variables = [
        ("A_PASSWORD", "s3cret-of-a-variable"),
        ("DOCKER_AUTH_CONFIG", r#"{"auths":{"r":{"auth":"dXNlcjpzM2NyZXQtb2YtYXV0aA=="},"s":{"identitytoken":"s3cret-token"}}}"#),
        ("B_TOKEN_FILE", "/not/a/secret"),
    ];
    let secrets = given(&env, &variables.map(|(name, value)| (name.into(), value.into())));
    for secret in ["hidden-in-plain-sight", "s3cret-of-a-variable", "s3cret-of-auth", "dXNlcjpzM2NyZXQtb2YtYXV0aA==", "s3cret-token"] {
        assert!(secrets.contains(secret), "{secrets:?}");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(format!("before {secret} after").as_bytes()).expect("memory takes it");
        let files =
            [secret.as_bytes().to_vec(), gzip.finish().expect("memory takes it"), zstd::encode_all(secret.as_bytes(), 1).expect("zstd")];
        for (index, bytes) in files.into_iter().enumerate() {
            let folder = env.path(format!("{secret}-{index}"));
            super::write(&folder.join("a/b"), bytes);
            assert!(std::panic::catch_unwind(|| search_files(&secrets, &folder)).is_err(), "{secret} {index}");
        }
        assert!(std::panic::catch_unwind(|| search_text(&secrets, "it", &format!("error: {secret}"))).is_err());
    }
    assert_eq!(secrets.len(), 5);
}
