//! Blobs, uploads and mirrors against servers that misbehave on order.

use super::*;
use crate::image::BlobSource;

pub(crate) fn source(server: &Server) -> BlobSource {
    BlobSource { registry: server.name.clone(), repository: "a/b".to_owned() }
}

/// Row 39 of the adversarial list.
#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    for knows_ranges in [true, false] {
        let sample = Sample::new(300_000);
        let (served, count) = (sample.clone(), AtomicUsize::new(0));
        let registry = Server::start(move |seen| {
            if !seen.target.contains("/blobs/") {
                return Reply::new(200);
            }
            let whole = Reply::new(200).body(served.layer.clone());
            match (count.fetch_add(1, Ordering::Relaxed), seen.header("range")) {
                (0, None) => whole.cut(100_000),
                (1, Some("bytes=100000-")) if knows_ranges => {
                    Reply::new(206).header("content-range", "bytes 100000-299999/300000").body(&served.layer[100_000..])
                }
                (1, Some(_)) => whole,
                _ => Reply::new(400),
            }
        })
        .await;
        let directory = Scratch::new();
        let to = directory.0.join("layer");
        client(RegistrySettings::default(), Vec::new()).fetch_blob(&source(&registry), &sample.descriptor(), &to).await.unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), sample.layer);
        assert_eq!(registry.seen().len(), 2);
    }
}

/// Rows 28 and 39 of the adversarial list.
#[tokio::test]
async fn a_blob_that_is_not_what_it_should_be_leaves_no_file() {
    let sample = Sample::new(1000);
    let mut other = sample.layer.clone();
    other[0] ^= 1;
    let longer = [sample.layer.as_slice(), b"x"].concat();
    type Case = (Vec<Reply>, fn(&Cause) -> bool);
    let replies: Vec<Case> = vec![
        (vec![Reply::new(200).body(other.clone()), Reply::new(200).body(other)], |cause| matches!(cause, Cause::DigestMismatch { .. })),
        (vec![Reply::new(200).body(longer)], |cause| matches!(cause, Cause::SizeMismatch { .. })),
        (
            vec![
                Reply::new(200).body(sample.layer.clone()).cut(500),
                Reply::new(206).header("content-range", "bytes 400-999/1000").body(&sample.layer[400..]),
            ],
            |cause| matches!(cause, Cause::Protocol(_)),
        ),
        (vec![Reply::new(404)], |cause| matches!(cause, Cause::NotFound(_))),
    ];
    for (replies, fits) in replies {
        let count = AtomicUsize::new(0);
        let registry = Server::start(move |seen| match seen.target.contains("/blobs/") {
            true => replies.get(count.fetch_add(1, Ordering::Relaxed)).cloned().unwrap_or(Reply::new(400)),
            false => Reply::new(200),
        })
        .await;
        let directory = Scratch::new();
        let to = directory.0.join("layer");
        let failed = client(RegistrySettings::default(), Vec::new()).fetch_blob(&source(&registry), &sample.descriptor(), &to).await;
        let failed = cause(failed.unwrap_err());
        assert!(fits(&failed), "{failed}");
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
    }
}

pub(crate) fn blob(sample: &Sample) -> PushBlob {
    PushBlob { descriptor: sample.descriptor(), content: PushContent::Bytes(sample.layer.clone().into()) }
}

/// Row 34 of the adversarial list.
#[tokio::test]
async fn an_upload_elsewhere_carries_no_credential() {
    let store = Server::start(|seen| match seen.method.as_str() {
        "PATCH" => Reply::new(202).header("location", "/next?state=2"),
        _ => Reply::new(201),
    })
    .await;
    let location = format!("http://{}/upload", store.name);
    let registry = Server::start(move |seen| match (seen.header("authorization"), seen.method.as_str()) {
        (None, _) => Reply::new(401).header("www-authenticate", "Basic realm=x"),
        (_, "HEAD") => Reply::new(404),
        _ => Reply::new(202).header("location", &location),
    })
    .await;
    let sample = Sample::new(1000);
    let failed = client(RegistrySettings::default(), vec![basic(&registry.name)]).push_blob(&named(&registry), &blob(&sample)).await;
    assert!(matches!(cause(failed.unwrap_err()), Cause::Refused { .. }));
    assert!(store.seen().is_empty());

    let pushed = client(trusting(&store), vec![basic(&registry.name)]).push_blob(&named(&registry), &blob(&sample)).await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    // A relative location belongs to who answered.
    assert_eq!(store.lines(), ["PATCH /upload", "PUT /next"]);
    assert!(store.seen().iter().all(|seen| seen.header("authorization").is_none()));
    assert_eq!(store.seen()[0].body, sample.layer);
    assert!(store.seen()[1].target.starts_with("/next?state=2&digest=sha256%3A"));
}

#[tokio::test]
async fn a_mount_that_is_not_made_is_an_upload_that_is_used() {
    let sample = Sample::new(1000);
    let served = sample.clone();
    let registry = Server::start(move |seen| match seen.method.as_str() {
        _ if seen.target.starts_with("/token") => Reply::new(200).body(r#"{"token":"t0k"}"#),
        _ if seen.header("authorization").is_none() => {
            let host = seen.header("host").unwrap_or_default();
            bearer(&format!("http://{host}/token"))
        }
        "GET" => served.serve(seen),
        "HEAD" if seen.target.contains("/manifests/") => served.serve(seen),
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/v2/c/d/blobs/uploads/1"),
        "PATCH" => Reply::new(202).header("range", "0-999").header("location", "/v2/c/d/blobs/uploads/1"),
        _ => Reply::new(201),
    })
    .await;
    let client = client(RegistrySettings::default(), Vec::new());
    let image = client.pull_image(&named(&registry), &linux()).await.unwrap();
    let blob = PushBlob { descriptor: sample.descriptor(), content: PushContent::Remote(image.source.clone()) };
    let to: Reference = format!("{}/c/d", registry.name).parse().unwrap();
    assert_eq!(client.push_blob(&to, &blob).await.unwrap(), Pushed::Sent);
    let posts: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    assert!(posts[0].target.ends_with(&format!("?mount=sha256%3A{}&from=a%2Fb", sample.descriptor().digest.hex())), "{}", posts[0].target);
    let tokens: Vec<String> = registry.seen().into_iter().map(|seen| seen.target).filter(|target| target.starts_with("/token")).collect();
    let both = "scope=repository%3Ac%2Fd%3Apull%2Cpush&scope=repository%3Aa%2Fb%3Apull";
    assert!(tokens.iter().any(|target| target.contains(both)), "{tokens:?}");
    assert_eq!(registry.seen().iter().find(|seen| seen.method == "PATCH").map(|seen| seen.body.clone()), Some(sample.layer.clone()));
    // Once more costs nothing.
    let before = registry.seen().len();
    assert_eq!(client.push_blob(&to, &blob).await.unwrap(), Pushed::Exists);
    assert_eq!(registry.seen().len(), before);
}

#[tokio::test]
async fn an_upload_goes_on_where_the_registry_stands() {
    let sample = Sample::new(1000);
    let count = AtomicUsize::new(0);
    let registry = Server::start(move |seen| match seen.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("location", "/v2/a/b/blobs/uploads/1"),
        "GET" if seen.target.contains("uploads") => Reply::new(204).header("range", "0-599"),
        "PATCH" if count.fetch_add(1, Ordering::Relaxed) == 0 => Reply::new(502),
        "PATCH" => Reply::new(202).header("range", "0-999"),
        "PUT" => Reply::new(201),
        _ => Reply::new(200),
    })
    .await;
    let directory = Scratch::new();
    let file = directory.0.join("layer");
    std::fs::write(&file, &sample.layer).unwrap();
    let blob = PushBlob { descriptor: sample.descriptor(), content: PushContent::File(file) };
    client(RegistrySettings::default(), Vec::new()).push_blob(&named(&registry), &blob).await.unwrap();
    let patches: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.method == "PATCH").collect();
    assert_eq!(patches.len(), 2);
    assert_eq!((patches[0].header("content-range"), patches[0].body.len()), (None, 1000));
    assert_eq!(patches[1].header("content-range"), Some("600-999"));
    assert_eq!(patches[1].body, sample.layer[600..]);
}

struct Ways(Route);

#[async_trait]
impl MirrorResolver for Ways {
    async fn resolve(&self, _: &str, repository: &str, _: &MirrorVersion, access: Access) -> Result<Option<Route>, MirrorError> {
        match (repository, access) {
            ("blocked/image", _) => Err(MirrorError::Blocked("not here".to_owned())),
            (_, Access::Push) => Ok(None),
            (_, Access::Pull) => Ok(Some(self.0.clone())),
        }
    }
}

fn mirror(server: &Server, resolve: bool) -> MirrorEndpoint {
    MirrorEndpoint {
        root: format!("http://{}/v2", server.name),
        repository: "a/b".to_owned(),
        resolve,
        pull: true,
        push: false,
        namespace: true,
        headers: vec![("x-mirror".to_owned(), "1".to_owned())],
        tls: None,
        connect_timeout: None,
    }
}

/// Rows 28 and 42 of the adversarial list.
#[tokio::test]
async fn mirrors_are_tried_in_order_and_never_see_the_registrys_credential() {
    let sample = Sample::new(1000);
    let (liar, good, own) = (sample.clone(), sample.clone(), sample.clone());
    let no_tags = Server::start(|_| Reply::new(500)).await;
    let liar = Server::start(move |seen| match seen.target.contains("/blobs/") || seen.method == "HEAD" {
        true => liar.serve(seen),
        false if seen.target.contains("/manifests/") => Reply::new(200).header("content-type", MediaType::OciManifest).body("{}"),
        false => Reply::new(200),
    })
    .await;
    let wants_login = Server::start(|_| Reply::new(401).header("www-authenticate", "Basic realm=x")).await;
    let good = Server::start(move |seen| good.serve(seen)).await;
    let own = Server::start(move |seen| own.serve(seen)).await;
    let endpoints = vec![mirror(&no_tags, false), mirror(&liar, true), mirror(&wants_login, true), mirror(&good, true)];
    let ways = Arc::new(Ways(Route { endpoints, fallback: true }));
    // This provider knows the registry itself only.
    struct OnlyOwn(String);
    #[async_trait]
    impl AuthProvider for OnlyOwn {
        async fn credential(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
            let credential = Credential::Basic { username: "me".into(), password: Secret::new("hush") };
            let answer = AuthAnswer { credential, valid_for: self.0.clone(), expires: None };
            Ok((target.registry == self.0).then_some(answer))
        }
    }
    let client = Client::new(RegistrySettings::default(), vec![Arc::new(OnlyOwn(own.name.clone()))], vec![ways], Arc::new(Silent)).unwrap();
    let image = client.pull_image(&named(&own), &linux()).await.unwrap();
    assert_eq!(image.served_by, format!("{}/a/b", good.name));
    assert!(no_tags.seen().is_empty(), "a mirror that may not resolve is not asked for tags");
    assert!(own.seen().is_empty());
    assert!(wants_login.seen().iter().all(|seen| seen.header("authorization").is_none()));
    let ask = &good.seen()[0];
    assert_eq!(ask.header("x-mirror"), Some("1"));
    assert!(ask.target.ends_with(&format!("?ns={}", own.name.replace(':', "%3A"))), "{}", ask.target);

    // Blobs come from where the manifest came from; the liar is asked last.
    let directory = Scratch::new();
    client.fetch_blob(&image.source, &sample.descriptor(), &directory.0.join("layer")).await.unwrap();
    assert!(good.lines().contains(&format!("GET {}", sample.layer_path())));
    assert!(!liar.lines().contains(&format!("GET {}", sample.layer_path())));

    let blocked: Reference = format!("{}/blocked/image", own.name).parse().unwrap();
    let failed = client.pull_image(&blocked, &linux()).await.unwrap_err();
    assert!(matches!(cause(failed), Cause::Mirror(MirrorError::Blocked(_))));
    assert!(own.seen().is_empty());
}

#[tokio::test]
async fn all_places_that_failed_are_named() {
    for fallback in [true, false] {
        let empty = |seen: &Seen| if seen.target == "/v2/" { Reply::new(200) } else { Reply::new(404) };
        let (nothing, own) = (Server::start(empty).await, Server::start(empty).await);
        let ways = Arc::new(Ways(Route { endpoints: vec![mirror(&nothing, true)], fallback }));
        let client = Client::new(RegistrySettings::default(), Vec::new(), vec![ways], Arc::new(Silent)).unwrap();
        let failed = client.pull_image(&named(&own), &linux()).await.unwrap_err();
        assert!(failed.is_not_found());
        let failed = failed.to_string();
        assert_eq!(failed.contains(&format!("before that {}", nothing.name)), fallback, "{failed}");
        assert_eq!(own.seen().is_empty(), !fallback);
    }
}

#[tokio::test]
async fn a_manifest_is_pushed_as_it_is() {
    let sample = Sample::new(10);
    let registry = Server::start(|seen| if seen.method == "PUT" { Reply::new(201) } else { Reply::new(200) }).await;
    let client = client(RegistrySettings::default(), Vec::new());
    let digest = client.push_manifest(&named(&registry), &sample.manifest, &MediaType::OciManifest).await.unwrap();
    let by_digest = client.push_manifest(&named(&registry).at(digest), &sample.manifest, &MediaType::OciManifest).await;
    assert_eq!(by_digest.unwrap(), digest);
    let puts = registry.seen();
    assert_eq!(registry.lines(), ["PUT /v2/a/b/manifests/latest".to_owned(), format!("PUT /v2/a/b/manifests/{digest}")]);
    assert!(puts.iter().all(|put| put.body == sample.manifest && put.header("content-type") == Some(MediaType::OciManifest.as_str())));
    let other = named(&registry).at(Digest::of(b"other"));
    assert!(client.push_manifest(&other, &sample.manifest, &MediaType::OciManifest).await.is_err());
}

#[tokio::test]
async fn leave_to_push_is_asked_for_and_given_back() {
    let registry = Server::start(|seen| match seen.method.as_str() {
        "POST" if seen.target.contains("/no/") => Reply::new(403).body(r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#),
        "POST" => Reply::new(202).header("location", "/v2/a/b/blobs/uploads/1"),
        _ => Reply::new(204),
    })
    .await;
    let client = client(RegistrySettings::default(), Vec::new());
    client.check_push(&named(&registry)).await.unwrap();
    assert_eq!(registry.lines(), ["POST /v2/a/b/blobs/uploads/", "DELETE /v2/a/b/blobs/uploads/1"]);
    let no: Reference = format!("{}/a/no/b", registry.name).parse().unwrap();
    let failed = client.check_push(&no).await.unwrap_err().to_string();
    assert!(failed.contains("cannot push to") && failed.contains("DENIED (read only)"), "{failed}");
}

/// Row 42 of the adversarial list: what may serve and may not say what a tag stands for is asked by digest.
#[tokio::test]
async fn a_tag_is_resolved_where_that_is_trusted_and_pulled_from_the_mirror() {
    let sample = Sample::new(1000);
    let (other, own) = (sample.clone(), sample.clone());
    let puller = Server::start(move |seen| other.serve(seen)).await;
    let own = Server::start(move |seen| own.serve(seen)).await;
    let ways = Arc::new(Ways(Route { endpoints: vec![mirror(&puller, false)], fallback: true }));
    let client = Client::new(RegistrySettings::default(), Vec::new(), vec![ways], Arc::new(Silent)).unwrap();
    let image = client.pull_image(&named(&own), &linux()).await.unwrap();
    let directory = Scratch::new();
    client.fetch_blob(&image.source, &sample.descriptor(), &directory.0.join("layer")).await.unwrap();
    assert_eq!(own.lines(), ["HEAD /v2/a/b/manifests/latest"]);
    let asked = puller.lines();
    assert_eq!(asked[0], format!("GET /v2/a/b/manifests/{}", Digest::of(&sample.manifest)), "{asked:?}");
    assert!(asked.contains(&format!("GET {}", sample.layer_path())) && asked.iter().all(|line| !line.contains("latest")), "{asked:?}");
    assert_eq!(image.served_by, format!("{}/a/b", puller.name));

    // Where it lies about the digest, the registry itself has the last word.
    let liar = Server::start(|seen| if seen.target == "/v2/" { Reply::new(200) } else { Reply::new(200).body("{}") }).await;
    let ways = Arc::new(Ways(Route { endpoints: vec![mirror(&liar, false)], fallback: true }));
    let client = Client::new(RegistrySettings::default(), Vec::new(), vec![ways], Arc::new(Silent)).unwrap();
    assert_eq!(client.pull_image(&named(&own), &linux()).await.unwrap().served_by, format!("{}/a/b", own.name));
}

#[tokio::test]
async fn documents_that_break_off_are_asked_for_again() {
    let sample = Sample::new(10);
    let (served, count) = (sample.clone(), AtomicUsize::new(0));
    let registry = Server::start(move |seen| match seen.header("authorization") {
        _ if seen.target.starts_with("/token") => {
            let token = Reply::new(200).body(r#"{"token":"t0k"}"#);
            if count.fetch_add(1, Ordering::Relaxed) == 0 { token.cut(5) } else { token }
        }
        None => bearer(&format!("http://{}/token", seen.header("host").unwrap_or_default())),
        Some(_) => {
            let reply = served.serve(seen);
            let first = seen.method == "GET" && seen.target.contains("/manifests/") && count.fetch_add(1, Ordering::Relaxed) == 2;
            if first { reply.cut(20) } else { reply }
        }
    })
    .await;
    client(RegistrySettings::default(), Vec::new()).pull_image(&named(&registry), &linux()).await.unwrap();
    let lines = registry.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("GET /v2/a/b/manifests/")).count(), 2, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "GET /token").count(), 2, "{lines:?}");
}

#[tokio::test]
async fn a_manifest_that_was_spoilt_on_its_way_is_put_again() {
    let sample = Sample::new(10);
    for refused in [true, false] {
        let count = AtomicUsize::new(0);
        let registry = Server::start(move |seen| match seen.method.as_str() {
            "PUT" if count.fetch_add(1, Ordering::Relaxed) == 0 => match refused {
                true => Reply::new(400).body(r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#),
                // It took what is not what was sent, and says so.
                false => Reply::new(201).header("docker-content-digest", Digest::of(b"other")),
            },
            "PUT" => Reply::new(201).header("docker-content-digest", Digest::of(&seen.body)),
            _ => Reply::new(200),
        })
        .await;
        let client = client(RegistrySettings::default(), Vec::new());
        let pushed = client.push_manifest(&named(&registry), &sample.manifest, &MediaType::OciManifest).await;
        assert_eq!(pushed.unwrap(), Digest::of(&sample.manifest));
        assert_eq!(registry.lines().len(), 2);
    }
}

#[tokio::test]
async fn what_was_spoilt_on_its_way_from_the_only_place_is_asked_for_once_more() {
    let sample = Sample::new(1000);
    let (served, count) = (sample.clone(), AtomicUsize::new(0));
    let registry = Server::start(move |seen| {
        let reply = served.serve(seen);
        // Every first answer about a manifest, a configuration and a layer has another bit.
        let first = seen.method == "GET" && seen.target != "/v2/" && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if first { reply.flipped() } else { reply }
    })
    .await;
    let client = client(RegistrySettings::default(), Vec::new());
    let image = client.pull_image(&named(&registry), &linux()).await.unwrap();
    let directory = Scratch::new();
    let to = directory.0.join("layer");
    client.fetch_blob(&image.source, &sample.descriptor(), &to).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), sample.layer);
    assert_eq!(registry.lines().iter().filter(|line| line.starts_with("GET")).count(), 6);
}
