//! Records of the cache that turn out to be no good when their layers are needed: they are said, their steps are done again, and they are
//! replaced.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::cache::{CACHED, hits, tags};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Finished, Image, Registry, TestEnv, digest_of, run, unique};

const STEPS: &str = "FROM {registry}/base/busybox:latest\nCOPY one /one\nRUN cat /one >/two\nRUN echo three >/three\n";
/// Needs the files of all that is below it.
const MORE: &str = "RUN cat /one /two /three >/all\n";

const DIFF_ID: &str = "layerwright.cache.diff-id";

/// A build with a store of its own.
fn build(env: &TestEnv, dockerfile: &str, cache: &str) -> Finished {
    let build = env.build(dockerfile).repeatable().args(CACHED).arg(format!("--cache-repo={cache}"));
    build.store(env.path(format!("store.{}", unique()))).finish()
}

/// It has said so many records, and is what it should be; with the cache as it is now, the same comes out of that alone.
fn recovers(env: &TestEnv, finished: &Finished, cache: &str, why: &str, most: usize) {
    let said: Vec<&str> = finished.stderr.lines().filter(|line| line.contains("is not used: ")).collect();
    assert!((1..=most).contains(&said.len()), "{why}: {}", finished.stderr);
    assert!(said.iter().all(|line| line.contains("warning: ") && line.contains(cache) && line.contains(why)), "{why}: {said:?}");
    assert_eq!(finished.image().tree_above(1)["all"].text(), "oneonethree\n", "{why}");
    let again = build(env, &format!("{STEPS}{MORE}"), cache);
    assert_eq!((hits(&again).as_str(), again.image().digest), ("hhhh", finished.image().digest), "{why}: {}", again.stderr);
    assert!(!again.stderr.contains("warning: the cache"), "{why}: {}", again.stderr);
}

#[test]
fn a_layer_that_does_not_come_as_it_was_kept_is_made_again() {
    let env = TestEnv::new();
    env.files(&["one"]);
    for (fault, why) in
        [(Fault::Status(404), "is not there any more"), (Fault::SpoiltAnswer, "digest mismatch"), (Fault::Status(403), "403")]
    {
        let on = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&on);
        let spoils = move |method: &str, target: &str| {
            let wanted = method == "GET" && target.contains("/cachy/blobs/") && switch.load(Ordering::Relaxed);
            if wanted { fault } else { Fault::None }
        };
        let proxy = Proxy::start(&Registry::open().address, Duration::ZERO, spoils);
        let cache = format!("{}/test/{}/cachy", proxy.address, unique());
        assert_eq!(hits(&build(&env, STEPS, &cache)), "...");
        on.store(true, Ordering::Relaxed);
        let finished = build(&env, &format!("{STEPS}{MORE}"), &cache);
        on.store(false, Ordering::Relaxed);
        recovers(&env, &finished, &cache, why, 3);
    }
}

/// A registry gives blobs up one by one, and its records stay.
fn forget(cache: &str, media_type: &str) {
    for tag in tags(cache) {
        let record = Registry::open().manifest(&format!("{cache}:{tag}")).expect("a record");
        let layer = &record["layers"][0];
        assert_eq!(layer["mediaType"], media_type);
        let (address, repository) = cache.split_once('/').expect("a repository");
        let url = format!("http://{address}/v2/{repository}/blobs/{}", layer["digest"].as_str().expect("a digest"));
        run(Command::new("curl").args(["--fail", "--silent", "--show-error", "-X", "DELETE", &url]));
    }
}

#[test]
fn layers_that_have_gone_are_found_out_by_whoever_pulls_and_by_whoever_pushes() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let registry = Registry::open();
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let cache = registry.reference(&format!("test/{}/cache", unique()));
    assert_eq!(hits(&build(&env, STEPS, &cache)), "...");
    forget(&cache, gzip);
    let finished = build(&env, &format!("{STEPS}{MORE}"), &cache);
    recovers(&env, &finished, &cache, "is not there any more", 3);
    assert_eq!(finished.stderr.matches("is not used: ").count(), 3, "what has gone is found out at once: {}", finished.stderr);
    // Where all is a hit, nobody looks before the push.
    forget(&cache, gzip);
    let to = registry.fresh();
    let all = env.build(&format!("{STEPS}{MORE}")).repeatable().args(CACHED).arg(format!("--cache-repo={cache}"));
    let pushed = all.push_to(&to).store(env.path("fresh")).without_layout().finish();
    assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);
    assert_eq!(pushed.stderr.matches("is not used: ").count(), 4, "{}", pushed.stderr);
    assert_eq!(Image::pull(&env, &to).tree_above(1)["all"].text(), "oneonethree\n");
}

/// Adversarial 59: the right key and the right blob, and a diff-id that is not the blob's.
#[test]
fn a_forged_diff_id_is_found_out_when_the_layer_is_unpacked() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let registry = Registry::open();
    let repository = format!("test/{}", unique());
    let cache = registry.reference(&repository);
    let other = digest_of(b"other");
    assert_eq!(hits(&build(&env, STEPS, &cache)), "...");
    for tag in tags(&cache) {
        let mut record = registry.manifest(&format!("{cache}:{tag}")).expect("a record");
        record["annotations"][DIFF_ID] = other.as_str().into();
        registry.put_manifest(&repository, &tag, &record);
    }
    let finished = build(&env, &format!("{STEPS}{MORE}"), &cache);
    recovers(&env, &finished, &cache, "the diff-id of its layer is", 3);
    // In a layout likewise.
    let folder = env.path("cache");
    let cache = format!("oci:{}", folder.display());
    assert_eq!(hits(&build(&env, STEPS, &cache)), "...");
    change_records(&folder, |record| record["annotations"][DIFF_ID] = other.as_str().into());
    let finished = build(&env, &format!("{STEPS}{MORE}"), &cache);
    recovers(&env, &finished, &cache, "the diff-id of its layer is", 3);
}

/// Changes the manifests that a layout names.
fn change_records(layout: &Path, change: impl Fn(&mut Value)) {
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON") };
    let mut index = read(&layout.join("index.json"));
    for entry in index["manifests"].as_array_mut().expect("a list") {
        let mut record = read(&blob(entry["digest"].as_str().expect("a digest")));
        change(&mut record);
        let text = record.to_string();
        entry["digest"] = digest_of(text.as_bytes()).into();
        entry["size"] = text.len().into();
        fs::write(blob(&digest_of(text.as_bytes())), text).expect("the layout is ours");
    }
    fs::write(layout.join("index.json"), index.to_string()).expect("the layout is ours");
}

#[test]
fn what_rots_in_a_layout_is_replaced() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let folder = env.path("cache");
    let cache = format!("oci:{}", folder.display());
    // The layers of copies alone, so that they are the same each time that they are made.
    let dockerfile = "FROM scratch\nCOPY one /one\nCOPY one /two\n";
    assert_eq!(hits(&build(&env, dockerfile, &cache)), "..");
    let rots = |layers: bool| {
        for entry in fs::read_dir(folder.join("blobs/sha256")).expect("blobs").flatten() {
            let mut bytes = fs::read(entry.path()).expect("a blob");
            let (is_layer, middle) = (bytes.starts_with(&[0x1f, 0x8b]), bytes.len() / 2);
            if is_layer == layers && bytes != b"{}" {
                bytes.truncate(middle);
                fs::write(entry.path(), bytes).expect("the layout is ours");
            }
        }
    };
    for layers in [true, false] {
        rots(layers);
        let finished = build(&env, dockerfile, &cache);
        assert_eq!(hits(&finished), "..", "{}", finished.stderr);
        assert_eq!(finished.stderr.matches("is not used: blob sha256:").count(), 2, "{}", finished.stderr);
        assert_eq!(hits(&build(&env, dockerfile, &cache)), "hh", "they have been replaced");
    }
}

/// A failure that no layer is to blame for stays what it is, and nothing is done twice.
#[test]
fn a_build_that_fails_for_another_reason_is_not_begun_again() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let cache = Registry::open().reference(&format!("test/{}", unique()));
    assert_eq!(hits(&build(&env, STEPS, &cache)), "...");
    for wrong in ["RUN cat /one && false\n", "COPY /nothing /there\n"] {
        let finished = build(&env, &format!("{STEPS}{wrong}"), &cache);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert_eq!(finished.stderr.matches("CACHED").count(), 3, "{}", finished.stderr);
        assert!(!finished.stderr.contains("is not used"), "{}", finished.stderr);
    }
}
