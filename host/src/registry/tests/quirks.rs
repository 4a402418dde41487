//! One scenario for each way in which a registry is known to differ, or to attack.

use super::transfers::{blob, source};
use super::*;

pub(super) fn anonymous() -> Client {
    client(RegistrySettings::default(), Vec::new())
}

/// Gives up soon.
fn hasty() -> RegistrySettings {
    RegistrySettings { idle_timeout: Duration::from_millis(300), retry_deadline: Duration::from_secs(2), ..Default::default() }
}

/// Takes uploads as the specification has it, but for what `other` answers.
pub(super) fn takes(other: impl Fn(&Seen) -> Option<Reply> + Send + Sync) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| {
        other(seen).unwrap_or_else(|| match seen.method.as_str() {
            "HEAD" => Reply::new(404),
            "POST" => Reply::new(202).header("location", "/v2/a/b/blobs/uploads/1"),
            "PATCH" => Reply::new(202),
            "PUT" => Reply::new(201),
            _ => Reply::new(200),
        })
    }
}

#[tokio::test]
async fn refusals_without_a_challenge_as_gcr_has_them() {
    let sample = Sample::new(10);
    let registry = Server::start(move |seen| match (seen.target.as_str(), seen.header("authorization")) {
        (target, _) if target.starts_with("/token") => Reply::new(200).body(r#"{"token":"t0k"}"#),
        (_, Some("Bearer t0k")) => sample.serve(seen),
        ("/v2/", _) => bearer(&format!("http://{}/token", seen.header("host").unwrap_or_default())),
        _ => Reply::new(401),
    })
    .await;
    anonymous().pull_image(&named(&registry), &linux()).await.unwrap();
}

#[tokio::test]
async fn a_challenge_in_capitals_as_nexus_has_it() {
    let sample = Sample::new(10);
    let registry = Server::start(move |seen| match seen.header("authorization") {
        Some(BASIC) => sample.serve(seen),
        _ => Reply::new(401).header("www-authenticate", "BASIC realm=\"Sonatype Nexus Repository Manager\""),
    })
    .await;
    client(RegistrySettings::default(), vec![basic(&registry.name)]).pull_image(&named(&registry), &linux()).await.unwrap();
}

#[tokio::test]
async fn tags_are_resolved_without_being_counted_as_docker_hub_counts() {
    let sample = Sample::new(10);
    let served = sample.clone();
    let registry = Server::start(move |seen| served.serve(seen)).await;
    let directory = Scratch::new();
    let pull = async || {
        let settings = RegistrySettings { content_cache: Some(directory.0.clone()), ..Default::default() };
        client(settings, Vec::new()).pull_image(&named(&registry), &linux()).await.unwrap();
    };
    pull().await;
    let gets = |lines: Vec<String>| lines.into_iter().filter(|line| line.starts_with("GET /v2/a/b/manifests/")).collect::<Vec<_>>();
    // Where nothing is at hand, it is fetched at once: that counts once, whichever way.
    assert_eq!(gets(registry.lines()), ["GET /v2/a/b/manifests/latest"]);
    let before = registry.lines().len();
    pull().await;
    assert_eq!(registry.lines()[before..], ["HEAD /v2/a/b/manifests/latest"]);
}

#[tokio::test]
async fn answers_without_a_location_and_whole_uploads_as_ecr_wants_them() {
    let registry = Server::start(takes(|seen| match seen.method.as_str() {
        // Chunks are broken there.
        "PATCH" if seen.header("content-range").is_some() => Some(Reply::new(201)),
        _ => None,
    }))
    .await;
    let sample = Sample::new(100_000);
    let client = anonymous();
    assert_eq!(client.push_blob(&named(&registry), &blob(&sample)).await.unwrap(), Pushed::Sent);
    client.push_manifest(&named(&registry), &sample.manifest, &MediaType::OciManifest).await.unwrap();
    assert!(registry.seen().iter().all(|seen| seen.header("content-range").is_none()));
}

#[tokio::test]
async fn what_a_registry_says_is_said_to_the_user() {
    for (status, body, words) in [
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'a/b' does not exist"}]}"#, "does not exist"),
        (404, r#"{"errors":[{"code":"UNKNOWN","message":"not found"}]}"#, "UNKNOWN (not found)"),
        (403, r#"{"errors":[{"code":"DENIED","message":"can not push artifact to a proxy project"}]}"#, "proxy project"),
        (400, r#"{"errors":[{"code":"MANIFEST_INVALID","message":"unknown media type"}]}"#, "unknown media type"),
        (405, "<html><title>405 Not Allowed</title></html>", "405 Not Allowed"),
    ] {
        let registry = Server::start(move |seen| match seen.target.as_str() {
            "/v2/" => Reply::new(200),
            _ => Reply::new(status).body(body),
        })
        .await;
        let sample = Sample::new(10);
        let failed = anonymous().push_manifest(&named(&registry), &sample.manifest, &MediaType::OciManifest).await.unwrap_err();
        let said = failed.to_string();
        assert!(said.contains(words) && said.contains(&format!("{}/a/b", registry.name)), "{said}");
        assert_eq!(failed.is_not_found(), status == 404);
    }
}

#[tokio::test]
async fn a_registry_that_takes_blobs_in_one_request_only() {
    for status in [405, 501] {
        let registry = Server::start(takes(move |seen| (seen.method == "PATCH").then(|| Reply::new(status)))).await;
        let sample = Sample::new(1000);
        assert_eq!(anonymous().push_blob(&named(&registry), &blob(&sample)).await.unwrap(), Pushed::Sent);
        let puts: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.method == "PUT").collect();
        assert_eq!(puts.len(), 1);
        assert_eq!(puts[0].body, sample.layer);
        assert!(puts[0].target.contains("digest=sha256%3A"));
    }
}

#[tokio::test]
async fn too_large_a_request_is_sent_in_parts_of_the_size_that_the_registry_wants() {
    for least in [0_usize, 150_000] {
        let parts = AtomicUsize::new(0);
        let arrived = AtomicUsize::new(0);
        let registry = Server::start(takes(move |seen| match seen.method.as_str() {
            "POST" => Some(Reply::new(202).header("location", "/v2/a/b/blobs/uploads/0").header("oci-chunk-min-length", least)),
            "PATCH" if seen.body.len() > 200_000 => Some(Reply::new(413)),
            "PATCH" => {
                let range = seen.header("content-range").unwrap_or_default();
                let from = arrived.fetch_add(seen.body.len(), Ordering::Relaxed);
                assert_eq!(range, format!("{from}-{}", from + seen.body.len() - 1), "inclusive, and where it stands");
                let part = parts.fetch_add(1, Ordering::Relaxed) + 1;
                // Each part goes where the answer to the one before said.
                assert!(seen.target.ends_with(&format!("/{}", part - 1)), "{}", seen.target);
                let now = from + seen.body.len() - 1;
                Some(Reply::new(202).header("location", format!("/v2/a/b/blobs/uploads/{part}")).header("range", format!("0-{now}")))
            }
            _ => None,
        }))
        .await;
        let sample = Sample::new(600_000);
        anonymous().push_blob(&named(&registry), &blob(&sample)).await.unwrap();
        let sent: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.method == "PATCH" && seen.body.len() <= 200_000).collect();
        assert_eq!(sent.iter().flat_map(|seen| seen.body.clone()).collect::<Vec<_>>(), sample.layer);
        assert!(sent[..sent.len() - 1].iter().all(|seen| seen.body.len() >= least));
    }
    // Where it takes less than makes sense, the refusal is the failure.
    let registry = Server::start(takes(|seen| (seen.method == "PATCH").then(|| Reply::new(413)))).await;
    let failed = anonymous().push_blob(&named(&registry), &blob(&Sample::new(600_000))).await.unwrap_err();
    assert!(matches!(cause(failed), Cause::Status { status: 413, .. }));
}

#[tokio::test]
async fn a_part_out_of_order_goes_on_where_the_registry_stands() {
    let count = AtomicUsize::new(0);
    let registry = Server::start(takes(move |seen| match (seen.method.as_str(), seen.target.contains("uploads/")) {
        ("PATCH", _) if count.fetch_add(1, Ordering::Relaxed) == 0 => Some(Reply::new(416)),
        ("GET", true) => Some(Reply::new(204).header("range", "0-399").header("location", "/v2/a/b/blobs/uploads/2")),
        _ => None,
    }))
    .await;
    let sample = Sample::new(1000);
    anonymous().push_blob(&named(&registry), &blob(&sample)).await.unwrap();
    let last = registry.seen().into_iter().rfind(|seen| seen.method == "PATCH").unwrap();
    assert_eq!((last.header("content-range"), last.target.as_str()), (Some("400-999"), "/v2/a/b/blobs/uploads/2"));
    assert_eq!(last.body, sample.layer[400..]);
}

#[tokio::test]
async fn bytes_that_were_spoilt_on_their_way_are_sent_again() {
    let count = AtomicUsize::new(0);
    let registry = Server::start(takes(move |seen| {
        let spoilt = seen.method == "PUT" && count.fetch_add(1, Ordering::Relaxed) == 0;
        spoilt.then(|| Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#))
    }))
    .await;
    let sample = Sample::new(1000);
    anonymous().push_blob(&named(&registry), &blob(&sample)).await.unwrap();
    let patches: Vec<Seen> = registry.seen().into_iter().filter(|seen| seen.method == "PATCH").collect();
    assert_eq!(patches.iter().map(|seen| seen.body.len()).collect::<Vec<_>>(), [1000, 1000]);
}

#[tokio::test]
async fn a_blob_whose_arrival_was_not_confirmed_is_not_sent_again() {
    let there = Arc::new(AtomicUsize::new(0));
    let count = AtomicUsize::new(0);
    let state = there.clone();
    let registry = Server::start(takes(move |seen| match seen.method.as_str() {
        "HEAD" if state.load(Ordering::Relaxed) == 1 => Some(Reply::new(200)),
        "PUT" => {
            state.store(1, Ordering::Relaxed);
            (count.fetch_add(1, Ordering::Relaxed) == 0).then(|| Reply::new(504))
        }
        _ => None,
    }))
    .await;
    anonymous().push_blob(&named(&registry), &blob(&Sample::new(1000))).await.unwrap();
    assert_eq!(registry.lines().iter().filter(|line| line.starts_with("PATCH") || line.starts_with("PUT")).count(), 2);
}

#[tokio::test]
async fn a_manifest_of_the_old_format_is_named_as_such() {
    let old = r#"{"schemaVersion":1,"name":"a/b","tag":"latest","architecture":"amd64","fsLayers":[],"history":[]}"#;
    for kind in ["text/plain; charset=utf-8", "application/vnd.docker.distribution.manifest.v1+prettyjws"] {
        let registry = Server::start(move |seen| match seen.target.contains("/manifests/") {
            true => Reply::new(200).header("content-type", kind).body(old),
            false => Reply::new(200),
        })
        .await;
        let failed = anonymous().pull_image(&named(&registry), &linux()).await.unwrap_err();
        assert!(matches!(&*failed.cause, Cause::Document(_)), "{failed}");
    }
}

/// Row 38 of the adversarial list.
#[tokio::test]
async fn a_body_that_trickles_or_stalls_is_given_up() {
    let sample = Sample::new(1000);
    for stalls in [false, true] {
        let served = sample.clone();
        let registry = Server::start(move |seen| match seen.target.contains("/blobs/") {
            true => {
                let pause = if stalls { Duration::from_secs(60) } else { Duration::from_millis(50) };
                Reply::new(200).body(served.layer.clone()).dribble(pause)
            }
            false => Reply::new(200),
        })
        .await;
        let directory = Scratch::new();
        let start = Instant::now();
        let fetched = client(hasty(), Vec::new()).fetch_blob(&source(&registry), &sample.descriptor(), &directory.0.join("layer")).await;
        assert!(matches!(cause(fetched.unwrap_err()), Cause::TimedOut { .. }));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
    }
}

/// Row 38 of the adversarial list.
#[tokio::test]
async fn a_body_that_stalled_once_is_gone_on_with() {
    let sample = Sample::new(300_000);
    let (served, count) = (sample.clone(), AtomicUsize::new(0));
    let registry = Server::start(move |seen| match (seen.target.contains("/blobs/"), count.load(Ordering::Relaxed)) {
        (true, 0) => {
            count.store(1, Ordering::Relaxed);
            // Promises more than it sends, and keeps the line open.
            Reply::new(200).header("x-stall", "1").body(served.layer[..100_000].to_vec()).promise(300_000)
        }
        (true, _) => {
            assert_eq!(seen.header("range"), Some("bytes=100000-"));
            Reply::new(206).header("content-range", "bytes 100000-299999/300000").body(&served.layer[100_000..])
        }
        _ => Reply::new(200),
    })
    .await;
    let directory = Scratch::new();
    let to = directory.0.join("layer");
    client(hasty(), Vec::new()).fetch_blob(&source(&registry), &sample.descriptor(), &to).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), sample.layer);
}

/// Row 29 of the adversarial list.
#[tokio::test]
async fn urls_of_a_layer_are_not_followed() {
    let elsewhere = Server::start(|_| Reply::new(200)).await;
    let mut sample = Sample::new(10);
    let text = String::from_utf8(sample.manifest.clone()).unwrap();
    let urls = format!(r#""urls":["http://{}/layer","file:///etc/passwd"],"mediaType":"application/vnd.oci.image.layer"#, elsewhere.name);
    sample.manifest = text.replace(r#""mediaType":"application/vnd.oci.image.layer"#, &urls).into_bytes();
    let served = sample.clone();
    let registry = Server::start(move |seen| served.serve(seen)).await;
    let client = anonymous();
    let image = client.pull_image(&named(&registry), &linux()).await.unwrap();
    let directory = Scratch::new();
    client.fetch_blob(&image.source, &image.manifest.layers[0], &directory.0.join("layer")).await.unwrap();
    assert!(elsewhere.seen().is_empty());
}

/// Rows 34 and 40 of the adversarial list.
#[tokio::test]
async fn a_location_with_controls_or_a_name_and_password_is_refused() {
    for location in
        ["/v2/a\u{1}b", "http://u:p@127.0.0.1/x", "ftp://127.0.0.1/x", "http://[::ffff:169.254.169.254]/x", "http://169.254.169.254/x"]
    {
        let registry =
            Server::start(takes(move |seen| (seen.method == "POST").then(|| Reply::new(202).header("location", location)))).await;
        let failed = anonymous().push_blob(&named(&registry), &blob(&Sample::new(10))).await.unwrap_err();
        // What is no header at all ends the exchange before.
        assert!(matches!(&*failed.cause, Cause::Refused { .. } | Cause::Unreachable { .. }), "{location:?}: {failed}");
        assert!(registry.lines().iter().all(|line| !line.starts_with("PATCH")));
    }
}

/// Rows 26 and 27 of the adversarial list.
#[tokio::test]
async fn digests_that_are_none_and_indexes_without_end_are_refused() {
    let index = |digest: &str, size: u64| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
            kind = MediaType::OciIndex
        )
    };
    let good = Digest::of(b"x").to_string();
    for bad in ["sha256:../../x".to_owned(), good.to_uppercase(), good[..70].to_owned(), good.replace("sha256", "md5")] {
        let text = index(&bad, 1);
        let registry = Server::start(move |seen| match seen.target.contains("/manifests/latest") {
            true => Reply::new(200).header("content-type", MediaType::OciIndex).body(text.clone()),
            false => Reply::new(200),
        })
        .await;
        let failed = cause(anonymous().pull_image(&named(&registry), &linux()).await.unwrap_err());
        assert!(matches!(failed, Cause::Document(_)), "{failed}");
        assert!(registry.lines().iter().all(|line| line.contains("/manifests/latest")), "{:?}", registry.lines());
    }
    // Ten indexes, each of the next.
    let mut chain = vec![index(&good, 1).into_bytes()];
    for _ in 0..10 {
        let inner = chain.last().unwrap();
        chain.push(index(&Digest::of(inner).to_string(), inner.len() as u64).into_bytes());
    }
    let count = chain.len();
    let registry = Server::start(move |seen| {
        let named = |bytes: &&Vec<u8>| seen.target.ends_with(&Digest::of(bytes).to_string());
        match chain.iter().find(named) {
            Some(bytes) => Reply::new(200).header("content-type", MediaType::OciIndex).body(bytes.clone()),
            None if seen.target.ends_with("latest") => Reply::new(200).header("content-type", MediaType::OciIndex).body(chain[10].clone()),
            None => Reply::new(if seen.target == "/v2/" { 200 } else { 404 }),
        }
    })
    .await;
    let failed = cause(anonymous().pull_image(&named(&registry), &linux()).await.unwrap_err());
    assert!(matches!(&failed, Cause::Protocol(why) if why.contains("deep")), "{failed}");
    assert!(registry.lines().len() < count);
}

#[tokio::test]
async fn all_requests_to_a_busy_server_wait_together() {
    let sample = Sample::new(10);
    let (served, busy) = (sample.clone(), Mutex::new(None::<Instant>));
    let early = Arc::new(AtomicUsize::new(0));
    let counted = early.clone();
    let registry = Server::start(move |seen| {
        if seen.target == "/v2/" {
            return Reply::new(200);
        }
        let mut since = busy.lock().unwrap();
        match *since {
            None => {
                *since = Some(Instant::now());
                Reply::new(429).header("retry-after", 1)
            }
            Some(since) => {
                counted.fetch_add(usize::from(since.elapsed() < Duration::from_millis(990)), Ordering::Relaxed);
                served.serve(seen)
            }
        }
    })
    .await;
    let client = anonymous();
    let first = tokio::spawn({
        let (client, name) = (client.clone(), named(&registry));
        async move { client.pull_image(&name, &linux()).await.map(drop) }
    });
    while registry.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let directory = Scratch::new();
    client.fetch_blob(&source(&registry), &sample.descriptor(), &directory.0.join("layer")).await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(early.load(Ordering::Relaxed), 0, "asked again before the time was up");
}

#[tokio::test]
async fn a_registry_that_speaks_neither_is_reached_no_further() {
    // It resets whatever comes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream)
        }
    });
    let reference: Reference = format!("{name}/a/b").parse().unwrap();
    let failed = client(hasty(), Vec::new()).pull_image(&reference, &linux()).await.unwrap_err();
    assert!(matches!(&*failed.cause, Cause::Unreachable { .. }), "{failed}");
    assert!(failed.to_string().contains(&name));
}
