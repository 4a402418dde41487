//! One scenario for each registry of which is known how it differs, in the order in which the documentation names them. What holds for
//! several stands in `quirks`.

use super::quirks::{anonymous, takes};
use super::transfers::{blob, source};
use super::*;

/// A registry whose token server is itself.
fn own_realm(seen: &Seen, path: &str) -> Reply {
    bearer(&format!("http://{}{path}", seen.header("host").unwrap_or_default()))
}

fn manifest_with_config(kind: &str, more: &str) -> Vec<u8> {
    let empty = Digest::of(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{kind}","digest":"{empty}","size":2}},"layers":[]{more}}}"#,
        MediaType::OciManifest
    )
    .into_bytes()
}

#[tokio::test]
async fn docker_hub_says_that_its_limit_is_reached() {
    let registry = Server::start(|seen| match seen.target.as_str() {
        "/v2/" => Reply::new(200),
        _ => Reply::new(429)
            .header("ratelimit-limit", "100;w=21600")
            .header("ratelimit-remaining", "0;w=21600")
            .body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit."}]}"#),
    })
    .await;
    let settings = RegistrySettings { retry_deadline: Duration::from_millis(600), ..Default::default() };
    let failed = client(settings, Vec::new()).pull_image(&named(&registry), &linux()).await.unwrap_err();
    assert!(failed.to_string().contains("429"), "{failed}");
    let failed = client(RegistrySettings { retry_deadline: Duration::from_millis(600), ..Default::default() }, Vec::new())
        .pull_image(&named(&registry).at(Digest::of(b"x")), &linux())
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("429: TOOMANYREQUESTS (You have reached"), "{failed}");
}

#[tokio::test]
async fn harbor_has_many_words_for_not_found_and_proxy_projects_take_nothing() {
    let registry = Server::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        (_, "/v2/") => Reply::new(200),
        ("POST" | "PUT", _) => {
            Reply::new(405).body(r#"{"errors":[{"code":"UNSUPPORTED","message":"can not push artifact to a proxy project: hub-proxy"}]}"#)
        }
        ("HEAD", _) => Reply::new(404),
        _ => Reply::new(404).body(r#"{"errors":[{"code":"UNKNOWN","message":"unknown: not found"}]}"#),
    })
    .await;
    let failed = anonymous().pull_image(&named(&registry), &linux()).await.unwrap_err();
    assert!(failed.is_not_found(), "{failed}");
    let failed = anonymous().check_push(&named(&registry)).await.unwrap_err().to_string();
    assert!(failed.contains(&format!("cannot push to {}/a/b", registry.name)) && failed.contains("proxy project"), "{failed}");
}

#[tokio::test]
async fn gitlab_challenges_for_its_dependency_proxy_on_another_host() {
    let sample = Sample::new(10);
    let gitlab = Server::start(|seen| match seen.header("authorization") {
        Some(BASIC) => Reply::new(200).body(r#"{"token":"t0k"}"#),
        _ => Reply::new(401),
    })
    .await;
    let realm = format!("http://{}/jwt/auth", gitlab.name);
    let inner = guarded(sample, realm);
    let registry = Server::start(move |seen| {
        let mut seen = seen.clone();
        seen.target = seen.target.replace("group/dependency_proxy/containers/alpine", "a/b");
        inner(&seen)
    })
    .await;
    let image: Reference = format!("{}/group/dependency_proxy/containers/alpine", registry.name).parse().unwrap();
    let pulled = client(trusting(&gitlab), vec![basic(&registry.name)]).pull_image(&image, &linux()).await;
    assert!(pulled.is_ok(), "{pulled:?}");
    assert!(gitlab.seen()[0].target.contains("scope=repository%3Agroup%2Fdependency_proxy%2Fcontainers%2Falpine%3Apull"));
}

#[tokio::test]
async fn gitlab_and_quay_take_listed_media_types_only() {
    for (status, code, message) in
        [(400, "MANIFEST_INVALID", "unknown media type"), (400, "MANIFEST_INVALID", "manifest invalid: config media type not allowed")]
    {
        let registry = Server::start(takes(move |seen| {
            let known = [MediaType::OciConfig, MediaType::DockerConfig]
                .iter()
                .any(|kind| String::from_utf8_lossy(&seen.body).contains(kind.as_str()));
            let refused = seen.method == "PUT" && seen.target.contains("/manifests/") && !known;
            refused.then(|| Reply::new(status).body(format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#)))
        }))
        .await;
        let client = anonymous();
        client.push_manifest(&named(&registry), &Sample::new(10).manifest, &MediaType::OciManifest).await.unwrap();
        let artifact = manifest_with_config("application/vnd.acme.config.v1+json", "");
        let failed = client.push_manifest(&named(&registry), &artifact, &MediaType::OciManifest).await.unwrap_err().to_string();
        assert!(failed.contains(&format!("{code} ({message})")), "{failed}");
    }
}

#[tokio::test]
async fn ecr_passwords_are_asked_for_again_before_they_end() {
    struct Counting(AtomicUsize, String, u64);
    #[async_trait]
    impl AuthProvider for Counting {
        async fn credential(&self, _: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let credential = Credential::Basic { username: "me".into(), password: Secret::new("hush") };
            Ok(Some(AuthAnswer { credential, valid_for: self.1.clone(), expires: Some(now + self.2) }))
        }
    }
    for (left, most) in [(12 * 3600, 1), (30, usize::MAX)] {
        let sample = Sample::new(10);
        let registry = Server::start(move |seen| match seen.header("authorization") {
            Some(BASIC) => sample.serve(seen),
            _ => Reply::new(401).header(
                "www-authenticate",
                "Basic realm=\"https://123456789012.dkr.ecr.us-east-1.amazonaws.com/\",service=\"ecr.amazonaws.com\"",
            ),
        })
        .await;
        let provider = Arc::new(Counting(AtomicUsize::new(0), registry.name.clone(), left));
        client(RegistrySettings::default(), vec![provider.clone()]).pull_image(&named(&registry), &linux()).await.unwrap();
        let asked = provider.0.load(Ordering::Relaxed);
        assert!(asked <= most && (most == 1 || asked > 1), "{asked}");
    }
}

#[tokio::test]
async fn ecr_wants_the_repository_to_be_there() {
    let registry = Server::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        (_, "/v2/") => Reply::new(200),
        ("HEAD", _) => Reply::new(404),
        _ => Reply::new(404).body(
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'a/b' does not exist in the registry with id '123456789012'"}]}"#,
        ),
    })
    .await;
    let failed = anonymous().check_push(&named(&registry)).await.unwrap_err().to_string();
    assert!(failed.contains("cannot push to") && failed.contains("The repository with name 'a/b' does not exist"), "{failed}");
}

#[tokio::test]
async fn gcr_and_gar_challenge_at_the_root_alone() {
    let sample = Sample::new(10);
    let registry = Server::start(move |seen| match (seen.target.as_str(), seen.header("authorization")) {
        (target, shown) if target.starts_with("/v2/token") => match shown {
            Some(BASIC) => Reply::new(200).body(r#"{"token":"t0k","expires_in":43200,"issued_at":"2026-01-01T00:00:00Z"}"#),
            _ => Reply::new(401),
        },
        (_, Some("Bearer t0k")) => sample.serve(seen),
        ("/v2/", _) => own_realm(seen, "/v2/token"),
        _ => Reply::new(401).body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"You don't have the needed permissions"}]}"#),
    })
    .await;
    client(RegistrySettings::default(), vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await.unwrap();
}

#[tokio::test]
async fn acr_trades_identity_tokens_and_challenges_everybody() {
    let sample = Sample::new(10);
    let registry = Server::start(move |seen| match (seen.method.as_str(), seen.target.as_str(), seen.header("authorization")) {
        ("POST", "/oauth2/token", None) => {
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            let fits = form.contains("grant_type=refresh_token") && form.contains("refresh_token=hush") && form.contains("service=s");
            if fits { Reply::new(200).body(r#"{"access_token":"t0k"}"#) } else { Reply::new(400) }
        }
        ("GET", target, None) if target.starts_with("/oauth2/token") => {
            Reply::new(401).body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
        }
        (_, _, Some("Bearer t0k")) => sample.serve(seen),
        _ => own_realm(seen, "/oauth2/token"),
    })
    .await;
    let identity = answers(Credential::IdentityToken(Secret::new("hush")), &registry.name);
    client(RegistrySettings::default(), vec![identity]).pull_image(&named(&registry), &linux()).await.unwrap();
    let failed = anonymous().pull_image(&named(&registry), &linux()).await.unwrap_err();
    assert!(failed.to_string().contains("the registry wants a credential (401): UNAUTHORIZED"), "{failed}");
}

#[tokio::test]
async fn ghcr_keeps_no_list_of_referrers_so_that_a_tag_does() {
    let tagged: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let subject = Digest::of(b"the image");
    let tag = format!("/v2/a/b/manifests/sha256-{}", subject.hex());
    let kept = tagged.clone();
    let registry = Server::start(takes(move |seen| {
        let mut kept = kept.lock().unwrap();
        let path = seen.target.split('?').next().unwrap_or_default();
        let index = kept.as_deref().map(Digest::of);
        match (seen.method.as_str(), path) {
            ("GET", path) if path.starts_with("/v2/a/b/referrers/") => Some(Reply::new(404).body("404 page not found")),
            ("PUT", path) if path == tag => {
                *kept = Some(seen.body.clone());
                None
            }
            ("GET" | "HEAD", path) if path.starts_with("/v2/a/b/manifests/") => match (kept.as_ref(), index) {
                (Some(bytes), Some(digest)) if path == tag || path.ends_with(&digest.to_string()) => Some(
                    Reply::new(200).header("content-type", MediaType::OciIndex).header("docker-content-digest", digest).body(bytes.clone()),
                ),
                _ => Some(Reply::new(404)),
            },
            _ => None,
        }
    }))
    .await;
    let client = anonymous();
    let subject = named(&registry).at(subject);
    assert_eq!(client.referrers(&subject, None).await.unwrap(), []);
    let about = format!(r#","subject":{{"mediaType":"{}","digest":"{}","size":9}}"#, MediaType::OciManifest, subject.digest().unwrap());
    let of_type = |kind: &str| manifest_with_config(MediaType::OciConfig.as_str(), &format!(r#"{about},"artifactType":"{kind}""#));
    let (signature, list) = (of_type("application/x.signature"), of_type("application/x.sbom"));
    for manifest in [&signature, &list, &signature] {
        client.push_manifest(&named(&registry).at(Digest::of(manifest)), manifest, &MediaType::OciManifest).await.unwrap();
    }
    let all = client.referrers(&subject, None).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [Digest::of(&signature), Digest::of(&list)]);
    let some = client.referrers(&subject, Some("application/x.sbom")).await.unwrap();
    assert_eq!((some.len(), some[0].digest, some[0].other["artifactType"].as_str()), (1, Digest::of(&list), Some("application/x.sbom")));
}

#[tokio::test]
async fn registries_with_a_list_of_referrers_keep_it_themselves_page_by_page() {
    let entry = |name: &str, kind: &str| {
        let digest = Digest::of(name.as_bytes());
        format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1,"artifactType":"{kind}"}}"#, MediaType::OciManifest)
    };
    let index = |entries: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entries}]}}"#, MediaType::OciIndex);
    let (first, second) = (index(&entry("one", "x/a")), index(&[entry("two", "x/b"), entry("three", "x/a")].join(",")));
    for (link, whole) in [("</v2/a/b/referrers/next?n=1>; rel=\"next\"", true), ("<http://169.254.169.254/>; rel=next", false)] {
        let (first, second) = (first.clone(), second.clone());
        let registry = Server::start(takes(move |seen| match (seen.method.as_str(), seen.target.as_str()) {
            ("GET", "/v2/a/b/referrers/next?n=1") => Some(Reply::new(200).header("content-type", MediaType::OciIndex).body(second.clone())),
            ("GET", target) if target.contains("/referrers/") => {
                Some(Reply::new(200).header("content-type", MediaType::OciIndex).header("link", link).body(first.clone()))
            }
            ("PUT", target) if target.contains("/manifests/") => Some(Reply::new(201).header("oci-subject", Digest::of(b"x"))),
            _ => None,
        }))
        .await;
        let subject = named(&registry).at(Digest::of(b"x"));
        match anonymous().referrers(&subject, Some("x/a")).await {
            Ok(found) => {
                assert!(whole);
                assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [Digest::of(b"one"), Digest::of(b"three")]);
            }
            Err(failed) => assert!(!whole && failed.to_string().contains("goes on somewhere else"), "{failed}"),
        }
        let about = format!(r#","subject":{{"mediaType":"{}","digest":"{}","size":1}}"#, MediaType::OciManifest, Digest::of(b"x"));
        let manifest = manifest_with_config(MediaType::OciConfig.as_str(), &about);
        let before = registry.lines().len();
        anonymous().push_manifest(&named(&registry), &manifest, &MediaType::OciManifest).await.unwrap();
        assert_eq!(registry.lines().len(), before + 1, "the registry has taken note itself: {:?}", registry.lines());
    }
}

#[tokio::test]
async fn quay_knows_no_delete_and_no_mount_without_a_source() {
    let registry = Server::start(takes(|seen| match seen.method.as_str() {
        _ if seen.target.starts_with("/token") => Some(Reply::new(200).body(r#"{"token":"t0k"}"#)),
        _ if seen.header("authorization").is_none() => Some(own_realm(seen, "/token")),
        "DELETE" => Some(own_realm(seen, "/token").header("x-registry-supports", "no delete")),
        "POST" if seen.target.contains("mount=") && !seen.target.contains("from=") => Some(Reply::new(500)),
        _ => None,
    }))
    .await;
    let client = client(RegistrySettings::default(), vec![basic(&registry.name)]);
    client.check_push(&named(&registry)).await.unwrap();
    assert_eq!(client.push_blob(&named(&registry), &blob(&Sample::new(10))).await.unwrap(), Pushed::Sent);
    let tokens: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.target.starts_with("/token")).collect();
    assert!(tokens.iter().all(|seen| !seen.target.contains("delete")), "{tokens:?}");
    assert!(registry.seen().iter().all(|seen| !seen.target.contains("mount=") || seen.target.contains("from=")));
}

#[tokio::test]
async fn artifactory_wants_blobs_in_a_patch() {
    let registry = Server::start(takes(|seen| {
        let whole = seen.method == "PUT" && seen.target.contains("/blobs/") && !seen.body.is_empty();
        whole.then(|| Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#))
    }))
    .await;
    let sample = Sample::new(1000);
    assert_eq!(anonymous().push_blob(&named(&registry), &blob(&sample)).await.unwrap(), Pushed::Sent);
    let sent: Vec<Seen> = registry.seen().into_iter().filter(|seen| !seen.body.is_empty()).collect();
    assert_eq!(sent.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["PATCH"]);
    assert_eq!(sent[0].body, sample.layer);
}

#[tokio::test]
async fn azure_and_s3_storage_behind_a_registry_gets_blobs_asked_for_without_credentials() {
    // Docker Hub, Quay, ECR and ACR answer so: the signature in the URL is all that the storage wants to see, and it refuses more.
    let sample = Sample::new(1000);
    let stored = sample.clone();
    let storage = Server::start(move |seen| match seen.header("authorization") {
        None if seen.target == "/blob?sig=a%2Bb%3D%3D&se=1" => Reply::new(200).body(stored.layer.clone()),
        _ => Reply::new(400).body("<Error><Code>InvalidArgument</Code></Error>"),
    })
    .await;
    let location = format!("http://{}/blob?sig=a%2Bb%3D%3D&se=1", storage.name);
    let registry = Server::start(move |seen| match seen.header("authorization") {
        Some(BASIC) if seen.target.contains("/blobs/") => Reply::new(307).header("location", &location),
        Some(BASIC) => Reply::new(200),
        _ => Reply::new(401).header("www-authenticate", "Basic realm=x"),
    })
    .await;
    let directory = Scratch::new();
    let to = directory.0.join("layer");
    client(trusting(&storage), vec![basic(&registry.name)]).fetch_blob(&source(&registry), &sample.descriptor(), &to).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), sample.layer);
}
