//! Contexts in buckets: of Amazon's kind, against a server that verifies signatures; of Google's and Azure's, against servers of the tests'
//! own that do.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde_json::json;

use crate::support::bucket::{Amazon, archive, from};
use crate::support::web::{Reply, Seen, Web};
use crate::support::{Build, TestEnv, run, write};

#[test]
fn a_context_in_s3() {
    let env = TestEnv::new();
    let s3 = Amazon::serve(&archive(&env));
    let tree = s3.login(from(&env, "s3://sources/context.tar.gz")).succeed().tree_above(0);
    assert_eq!(tree["hello"].text(), "hello");
    // The name that kaniko assumes, and a directory of it.
    let tree = s3.login(from(&env, "s3://sources")).args(["--context-sub-path", "dir"]).succeed().tree_above(0);
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["below"]);
    assert!(fs::read_dir(env.path("store/tmp")).expect("the store is there").next().is_none(), "something is left in the store");
}

#[test]
fn a_login_to_s3_from_a_profile() {
    let env = TestEnv::new();
    let s3 = Amazon::serve(&archive(&env));
    let profile = format!("[ci]\naws_access_key_id = {}\naws_secret_access_key = {}\n", s3.text("id"), s3.text("secret"));
    write(&env.path("home/.aws/credentials"), &profile);
    let tree = s3.place(from(&env, "s3://sources/context.tar.gz")).variable("AWS_PROFILE", "ci").succeed().tree_above(0);
    assert_eq!(tree["hello"].text(), "hello");
}

#[test]
fn what_s3_refuses_is_said_without_the_secret() {
    let env = TestEnv::new();
    let s3 = Amazon::serve(&archive(&env));
    let wrong = "wrong-secret-wrong-secret";
    let said = s3.login(from(&env, "s3://sources/context.tar.gz")).variable("AWS_SECRET_ACCESS_KEY", wrong).fail(1);
    assert!(said.contains("cannot read s3://sources/context.tar.gz: access is denied"), "{said}");
    assert!(said.contains("SignatureDoesNotMatch") && said.contains("hint: credentials come from AWS_ACCESS_KEY_ID"), "{said}");
    assert!(!said.contains(wrong), "{said}");
    let said = s3.login(from(&env, "s3://sources/other.tar.gz")).fail(1);
    assert!(said.contains("cannot read s3://sources/other.tar.gz: there is no such bucket or object"), "{said}");
    let said = s3.login(from(&env, "s3://sources/context.tar.gz")).args(["--max-download-size", "100"]).fail(1);
    assert!(said.contains("is larger than 100 bytes"), "{said}");
}

/// The file of a service account of Google's, and the public half of its key.
fn service_account(env: &TestEnv) -> (PathBuf, Vec<u8>) {
    let key = env.path("key.pem");
    run(Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(&key)
        .stderr(Stdio::null()));
    let public = env.path("key.der");
    run(Command::new("openssl")
        .args(["rsa", "-RSAPublicKey_out", "-outform", "DER", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(&public)
        .stderr(Stdio::null()));
    let account = json!({
        "type": "service_account",
        "client_email": "builder@acme.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": fs::read_to_string(&key).expect("openssl wrote it"),
    });
    let file = env.path("account.json");
    write(&file, account.to_string());
    (file, fs::read(public).expect("openssl wrote it"))
}

/// Whether a request brings a token that the key has signed.
fn is_signed(seen: &Seen, public: &[u8]) -> bool {
    let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let Some((message, signed)) = token.and_then(|token| token.rsplit_once('.')) else { return false };
    let Ok(signed) = BASE64_URL_SAFE_NO_PAD.decode(signed) else { return false };
    let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public);
    key.verify(message.as_bytes(), &signed).is_ok()
}

#[test]
fn a_context_at_google() {
    let env = TestEnv::new();
    let bytes = fs::read(archive(&env)).expect("tar wrote it");
    let keys: Arc<OnceLock<Vec<u8>>> = Arc::default();
    let known = Arc::clone(&keys);
    let web = Web::serve(move |seen| match (seen.method.as_str(), seen.path()) {
        ("GET", "/sources/dir%2Fcontext%2Etar%2Egz") if is_signed(seen, known.get().expect("the key is there")) => {
            Reply::ok(bytes.clone()).header("ETag", "\"1\"").header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        }
        _ => Reply::status(403),
    });
    let (file, public) = service_account(&env);
    keys.set(public).expect("once");
    let build = from(&env, "gs://sources/dir/context.tar.gz")
        .variable("GOOGLE_APPLICATION_CREDENTIALS", &file)
        .variable("GOOGLE_BASE_URL", web.url("").trim_end_matches('/'));
    let tree = build.succeed().tree_above(0);
    assert_eq!(tree["hello"].text(), "hello");
    assert_eq!(web.lines(), ["GET /sources/dir%2Fcontext%2Etar%2Egz"]);
    // Without a login, for a bucket that is public.
    let said = from(&env, "gs://sources/dir/context.tar.gz").variable("STORAGE_EMULATOR_HOST", &web.address).fail(1);
    assert!(said.contains("cannot read gs://sources/dir/context.tar.gz: access is denied"), "{said}");
    assert_eq!(web.seen().last().expect("a request").header("authorization"), None);
}

/// The signature of Azure's shared keys for a GET without a body.
fn shared_key(seen: &Seen, account: &str, key: &[u8]) -> String {
    let mut headers: Vec<String> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    headers.sort();
    let date = seen.header("date").unwrap_or_default();
    let text = format!("GET{}{date}{}{}/{account}{}", "\n".repeat(6), "\n".repeat(6), headers.concat(), seen.path());
    let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    format!("SharedKey {account}:{}", BASE64_STANDARD.encode(signed))
}

#[test]
fn a_context_at_azure() {
    let env = TestEnv::new();
    let bytes = fs::read(archive(&env)).expect("tar wrote it");
    let key = b"an account's key of some length!";
    let web = Web::serve(move |seen| match seen.header("authorization") {
        Some(given) if given == shared_key(seen, "acme", key) && seen.path() == "/box/dir/a.tar.gz" => Reply::ok(bytes.clone())
            .header("ETag", "\"1\"")
            .header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            .header("x-ms-version", "2023-11-03"),
        _ => Reply::status(403),
    });
    let login = |build: Build<'_>, key: &[u8]| {
        let place = web.url("").trim_end_matches('/').to_owned();
        build.variable("AZURE_STORAGE_ACCESS_KEY", BASE64_STANDARD.encode(key)).variable("AZURE_STORAGE_ENDPOINT", place).finish()
    };
    let url = "https://acme.blob.core.windows.net/box/dir/a.tar.gz";
    let tree = login(from(&env, url), key).image().tree_above(0);
    assert_eq!(tree["hello"].text(), "hello");
    let finished = login(from(&env, url), b"another");
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(&format!("cannot read {url}: access is denied")), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint: credentials come from AZURE_STORAGE_ACCESS_KEY"), "{}", finished.stderr);
    assert!(!finished.stderr.contains(&BASE64_STANDARD.encode(b"another")), "{}", finished.stderr);
}
