//! The client against servers that misbehave on order.

mod quirks;
mod registries;
mod server;
mod transfers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::*;
use crate::oci::{Descriptor, Digest, MediaType, Platform, Reference};
use crate::progress::Silent;
use server::{Reply, Seen, Server};

pub(crate) struct Fixed(pub(crate) Result<Option<AuthAnswer>, AuthError>);

#[async_trait]
impl AuthProvider for Fixed {
    async fn credential(&self, _: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
        self.0.clone()
    }
}

pub(crate) fn basic(registry: &str) -> Arc<dyn AuthProvider> {
    let credential = Credential::Basic { username: "me".into(), password: Secret::new("hush") };
    answers(credential, registry)
}

fn answers(credential: Credential, registry: &str) -> Arc<dyn AuthProvider> {
    Arc::new(Fixed(Ok(Some(AuthAnswer { credential, valid_for: registry.to_owned(), expires: None }))))
}

/// base64 of `me:hush`
const BASIC: &str = "Basic bWU6aHVzaA==";

pub(crate) fn client(settings: RegistrySettings, auth: Vec<Arc<dyn AuthProvider>>) -> Client {
    Client::new(settings, auth, Vec::new(), Arc::new(Silent)).unwrap()
}

pub(crate) fn trusting(server: &Server) -> RegistrySettings {
    RegistrySettings { trusted_hosts: [server.name.clone()].into(), ..RegistrySettings::default() }
}

pub(crate) fn linux() -> Platform {
    Platform::new("linux", "amd64")
}

/// An image of one layer.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) layer: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl Sample {
    pub(crate) fn new(size: usize) -> Self {
        let layer: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let diff = Digest::of(b"tar");
        let config = format!(r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#);
        let config = config.into_bytes();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}}]}}"#,
            MediaType::OciManifest,
            MediaType::OciConfig,
            Digest::of(&config),
            config.len(),
            Digest::of(&layer),
            layer.len()
        );
        Self { layer, config, manifest: manifest.into_bytes() }
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        let kind = MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip");
        Descriptor::new(kind, Digest::of(&self.layer), self.layer.len() as u64)
    }

    /// An honest registry's answer; none where it has nothing of that name.
    pub(crate) fn serve(&self, seen: &Seen) -> Reply {
        let path = seen.target.split('?').next().unwrap_or_default();
        let digest = Digest::of(&self.manifest);
        let manifest = Reply::new(200)
            .header("content-type", MediaType::OciManifest)
            .header("docker-content-digest", digest)
            .body(self.manifest.clone());
        match path {
            "/v2/" => Reply::new(200),
            "/v2/a/b/manifests/latest" => manifest,
            path if path == format!("/v2/a/b/manifests/{digest}") => manifest,
            path if path == format!("/v2/a/b/blobs/{}", Digest::of(&self.config)) => Reply::new(200).body(self.config.clone()),
            path if path == format!("/v2/a/b/blobs/{}", Digest::of(&self.layer)) => Reply::new(200).body(self.layer.clone()),
            _ => Reply::new(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        }
    }

    pub(crate) fn layer_path(&self) -> String {
        format!("/v2/a/b/blobs/{}", Digest::of(&self.layer))
    }
}

pub(crate) fn named(server: &Server) -> Reference {
    format!("{}/a/b", server.name).parse().unwrap()
}

pub(crate) fn cause(error: RegistryError) -> Cause {
    *error.cause
}

fn bearer(realm: &str) -> Reply {
    Reply::new(401).header("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"s\""))
}

/// Wants the token `t0k` from a realm, and has an image then.
fn guarded(sample: Sample, realm: String) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| match seen.header("authorization") {
        Some("Bearer t0k") => sample.serve(seen),
        _ => bearer(&realm),
    }
}

/// Row 31 of the adversarial list.
#[tokio::test]
async fn a_realm_elsewhere_gets_nothing() {
    let elsewhere = Server::start(|_| Reply::new(200).body(r#"{"token":"t0k"}"#)).await;
    let realm = format!("http://{}/token", elsewhere.name);
    let registry = Server::start(guarded(Sample::new(10), realm)).await;
    let failed = client(RegistrySettings::default(), vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await;
    let failed = cause(failed.unwrap_err());
    assert!(matches!(&failed, Cause::Refused { why: Refusal::PrivateAddress(_), .. }), "{failed}");
    assert!(elsewhere.seen().is_empty());

    // Where the operator trusts it, the credential goes there and only there.
    let pulled = client(trusting(&elsewhere), vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await;
    assert!(pulled.is_ok(), "{pulled:?}");
    let asked = elsewhere.seen();
    assert_eq!(asked[0].header("authorization"), Some(BASIC));
    assert!(asked[0].target.contains("service=s&scope=repository%3Aa%2Fb%3Apull"), "{}", asked[0].target);
    assert_eq!(asked.len(), 1, "a token is used again");
    assert!(registry.seen().iter().all(|seen| seen.header("authorization") != Some(BASIC)));
}

/// Rows 32 and 36 of the adversarial list.
#[tokio::test]
async fn what_a_token_server_may_not_do() {
    let target = Server::start(|_| Reply::new(200).body(r#"{"token":"t0k"}"#)).await;
    let location = format!("http://{}/token", target.name);
    for reply in [
        Reply::new(307).header("location", location),
        Reply::new(200).body(vec![b' '; 70_000]),
        Reply::new(200).body("{}"),
        Reply::new(200).body("no"),
    ] {
        let realm = Server::start(move |_| reply.clone()).await;
        let registry = Server::start(guarded(Sample::new(10), format!("http://{}/token", realm.name))).await;
        let settings = RegistrySettings { trusted_hosts: [realm.name.clone(), target.name.clone()].into(), ..Default::default() };
        let failed = client(settings, vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await;
        let failed = cause(failed.unwrap_err());
        assert!(matches!(failed, Cause::Protocol(_) | Cause::TooLarge { .. }), "{failed}");
    }
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn an_identity_token_is_posted_and_where_that_is_unknown_sent_as_a_password() {
    for knows in [true, false] {
        let realm = Server::start(move |seen| match seen.method.as_str() {
            "POST" if !knows => Reply::new(404),
            _ => Reply::new(200).body(r#"{"access_token":"t0k"}"#),
        })
        .await;
        let registry = Server::start(guarded(Sample::new(10), format!("http://{}/token", realm.name))).await;
        let provider = answers(Credential::IdentityToken(Secret::new("hush")), &registry.name);
        client(trusting(&realm), vec![provider]).pull_image(&named(&registry), &linux()).await.unwrap();
        let asked = realm.seen();
        let form = String::from_utf8_lossy(&asked[0].body);
        assert_eq!(form, "grant_type=refresh_token&service=s&client_id=layerwright&scope=repository%3Aa%2Fb%3Apull&refresh_token=hush");
        assert_eq!(asked[0].header("authorization"), None);
        assert_eq!(asked.len(), if knows { 1 } else { 2 });
    }
}

/// Row 41 of the adversarial list.
#[tokio::test]
async fn a_refused_credential_is_asked_for_once_more_and_never_shown() {
    let registry = Server::start(|_| {
        let body = format!(r#"{{"errors":[{{"code":"UNAUTHORIZED","message":"bad password hush or {BASIC}"}}]}}"#);
        Reply::new(401).header("www-authenticate", "BASIC realm=x").body(body)
    })
    .await;
    let failed = client(RegistrySettings::default(), vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await;
    let failed = failed.unwrap_err();
    assert!(matches!(*failed.cause, Cause::Denied { status: 401, refused: Refused::Credential, .. }), "{failed}");
    assert!(!format!("{failed} {failed:?}").contains("hush"), "{failed:?}");
    assert!(!format!("{failed}").contains(BASIC), "{failed}");
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn a_provider_that_fails_or_oversteps_ends_the_pull() {
    let registry = Server::start(|_| bearer("https://realm.invalid/token")).await;
    let error = AuthError { provider: "p".into(), message: "broken".into(), hint: Some("mend it".into()) };
    let failed = client(RegistrySettings::default(), vec![Arc::new(Fixed(Err(error)))]).pull_image(&named(&registry), &linux()).await;
    assert_eq!(failed.unwrap_err().hint().as_deref(), Some("mend it"));
    let failed = client(RegistrySettings::default(), vec![basic("other.registry")]).pull_image(&named(&registry), &linux()).await;
    assert!(matches!(cause(failed.unwrap_err()), Cause::Auth(_)));
}

/// Row 33 of the adversarial list.
#[tokio::test]
async fn a_redirect_elsewhere_carries_no_credential() {
    let sample = Sample::new(1000);
    let store = sample.clone();
    let elsewhere = Server::start(move |_| Reply::new(200).body(store.layer.clone())).await;
    let location = format!("http://{}/signed?x=y", elsewhere.name);
    let (served, path) = (sample.clone(), sample.layer_path());
    let registry = Server::start(move |seen| match seen.header("authorization") {
        Some(BASIC) if seen.target == path => Reply::new(307).header("location", &location),
        Some(BASIC) => served.serve(seen),
        _ => Reply::new(401).header("www-authenticate", "Basic realm=x"),
    })
    .await;
    let directory = Scratch::new();
    let to = directory.0.join("layer");

    let strict = client(RegistrySettings::default(), vec![basic(&registry.name)]);
    let image = strict.pull_image(&named(&registry), &linux()).await.unwrap();
    let failed = cause(strict.fetch_blob(&image.source, &sample.descriptor(), &to).await.unwrap_err());
    assert!(matches!(&failed, Cause::Refused { url, .. } if !url.contains("x=y")), "{failed}");
    assert!(elsewhere.seen().is_empty());

    let trusting = client(trusting(&elsewhere), vec![basic(&registry.name)]);
    trusting.fetch_blob(&image.source, &sample.descriptor(), &to).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), sample.layer);
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);
}

/// Row 37 of the adversarial list.
#[tokio::test]
async fn a_busy_registry_is_given_time() {
    let count = AtomicUsize::new(0);
    let sample = Sample::new(10);
    let registry = Server::start(move |seen| {
        if seen.method == "HEAD" && count.fetch_add(1, Ordering::Relaxed) == 0 {
            return Reply::new(429).header("retry-after", 1);
        }
        sample.serve(seen)
    })
    .await;
    let start = Instant::now();
    client(RegistrySettings::default(), Vec::new()).pull_image(&named(&registry), &linux()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    let registry = Server::start(|_| Reply::new(429).header("retry-after", "1000000000000")).await;
    let settings = RegistrySettings { retry_deadline: Duration::from_secs(1), ..Default::default() };
    let start = Instant::now();
    let failed = client(settings, Vec::new()).pull_image(&named(&registry), &linux()).await;
    assert!(matches!(cause(failed.unwrap_err()), Cause::Status { status: 429, .. }));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_registry_without_head_is_asked_with_get() {
    for status in [403, 405] {
        let sample = Sample::new(10);
        let registry = Server::start(move |seen| if seen.method == "HEAD" { Reply::new(status) } else { sample.serve(seen) }).await;
        client(RegistrySettings::default(), Vec::new()).pull_image(&named(&registry), &linux()).await.unwrap();
    }
}

/// Rows 25, 27 and 28 of the adversarial list.
#[tokio::test]
async fn documents_that_are_not_taken() {
    let sample = Sample::new(10);
    let mut large = sample.manifest.clone();
    large.resize(5 * 1024 * 1024, b' ');
    let text = String::from_utf8(sample.manifest.clone()).unwrap();
    let bomb = text.replace("\"layers\"", "\"manifests\":[],\"layers\"");
    // It calls itself something else than the header does.
    let index = text.replacen(MediaType::OciManifest.as_str(), MediaType::OciIndex.as_str(), 1);
    let huge = text.replace(&format!("\"size\":{}", sample.config.len()), "\"size\":9223372036854775808");
    for manifest in [large, b"{}".to_vec(), bomb.into_bytes(), b"[".repeat(100_000), index.into_bytes(), huge.into_bytes()] {
        let digest = Digest::of(&manifest);
        let registry = Server::start(move |seen| match seen.target.contains("/manifests/") {
            true => Reply::new(200)
                .header("content-type", MediaType::OciManifest)
                .header("docker-content-digest", digest)
                .body(manifest.clone()),
            false => Reply::new(200),
        })
        .await;
        let failed = client(RegistrySettings::default(), Vec::new()).pull_image(&named(&registry), &linux()).await;
        let failed = cause(failed.unwrap_err());
        assert!(matches!(failed, Cause::TooLarge { .. } | Cause::Document(_)), "{failed}");
    }
    // Other bytes than the digest that HEAD told.
    let registry = Server::start(move |seen| match seen.method.as_str() {
        "HEAD" => Reply::new(200).header("docker-content-digest", Digest::of(b"other")),
        _ => Reply::new(200).header("content-type", MediaType::OciManifest).body(sample.manifest.clone()),
    })
    .await;
    let failed = client(RegistrySettings::default(), Vec::new()).pull_image(&named(&registry), &linux()).await;
    assert!(matches!(cause(failed.unwrap_err()), Cause::DigestMismatch { .. }));
}

/// Row 31 of the adversarial list.
#[tokio::test]
async fn realms_that_are_no_honest_token_servers_get_nothing() {
    let elsewhere = Server::start(|_| Reply::new(200).body(r#"{"token":"t0k"}"#)).await;
    let port = elsewhere.name.rsplit(':').next().unwrap().to_owned();
    for realm in [
        format!("http://127.0.0.1:{port}/token"),
        format!("http://[::ffff:127.0.0.1]:{port}/token"),
        format!("http://2130706433:{port}/token"),
        format!("http://0x7f000001:{port}/token"),
        format!("http://127.1:{port}/token"),
        format!("http://localhost:{port}/token"),
        format!("http://a.localhost.:{port}/token"),
        format!("http://0.0.0.0:{port}/token"),
        "http://169.254.169.254/token".to_owned(),
        "http://[::ffff:169.254.169.254]/token".to_owned(),
        "http://[fe80::1]/token".to_owned(),
        "http://10.0.0.1/token".to_owned(),
        "http://user:word@realm.invalid/token".to_owned(),
        "ftp://realm.invalid/token".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/token".to_owned(),
    ] {
        let shown = realm.clone();
        let registry = Server::start(move |_| bearer(&realm)).await;
        let failed = client(RegistrySettings::default(), vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await;
        let failed = cause(failed.unwrap_err());
        assert!(matches!(&failed, Cause::Refused { .. }), "{shown}: {failed}");
        assert!(registry.seen().iter().all(|seen| seen.header("authorization").is_none()), "{shown}");
    }
    assert!(elsewhere.seen().is_empty());
    // A registry of TLS cannot name one without; the rule is tried by itself, for there is no certificate here.
    let secure = origin::Origin::of(&"https://r.example".parse().unwrap()).unwrap();
    assert!(origin::check_named(&"http://auth.example/token".parse().unwrap(), &secure, [].iter()).is_err());
}

/// A directory that goes away.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("layerwright-registry-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
