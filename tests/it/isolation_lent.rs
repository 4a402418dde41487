//! What a command is lent where nothing can be mounted.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::isolation_kill::running;
use crate::support::TestEnv;
use crate::support::place::Place;

const ISOLATIONS: [&str; 2] = ["chroot", "in-place"];

/// Adversarial 51: a command that puts a link on the way to what it was lent does not lead its builder out of the root.
#[test]
fn a_link_on_the_way_to_a_loan_leads_nowhere() {
    let env = TestEnv::new();
    for isolation in ISOLATIONS {
        let place = Place::new(&env, isolation);
        let outside = place.folder.join("test/outside");
        fs::create_dir_all(outside.join("x")).expect("a directory can be made");
        fs::write(outside.join("x/canary"), "canary").expect("a file can be written");
        fs::write(place.folder.join("test/word"), "do-not-keep-this").expect("a file can be written");
        let secret = format!("id=word,src={}", place.root().join("word").display());
        let way_out = place.root().join("outside");
        for mount in ["type=cache,target=/d/x", "type=secret,id=word,target=/d/x", "type=bind,target=/d/x", "type=tmpfs,target=/d/x"] {
            let what = format!("{isolation}, {mount}");
            let astray = format!("FROM base\nRUN --mount={mount} mv /d /e && ln -s {} /d\n", way_out.display());
            let layer = place.image(&astray, &["--secret", &secret]).layer(1);
            assert!(layer.contains_key("e") && !layer.contains_key("e/x"), "{what}: {:?}", layer.keys());
            assert_eq!(fs::read(outside.join("x/canary")).ok().as_deref(), Some(&b"canary"[..]), "{what}");
            assert_eq!(fs::read_dir(&outside).expect("readable").count(), 1, "{what}");
            let output = place.output(&format!("FROM base\nRUN --mount={mount} mv /d/x /d/y\n"), &["--secret", &secret]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("moved or linked what it was lent at \"/d/x\""), "{what}: {said}");
            assert!(!place.folder.join("test/image").exists(), "{what}");
        }
        // A second name: the content would be in the layer.
        let output = place.output("FROM base\nRUN --mount=type=secret,id=word,target=/s ln /s /t\n", &["--secret", &secret]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("moved or linked what it was lent at \"/s\""), "{isolation}");
        let image = place.image("FROM base\nRUN --mount=type=secret,id=word,target=/s rm /s && echo mine >/s\n", &["--secret", &secret]);
        assert_eq!(image.layer(1)["s"].text(), "mine\n", "{isolation}: what is put in its place is the command's");
    }
}

/// Whoever sees the command end gives a cache back where the builder was killed.
#[test]
fn a_cache_outlives_its_builder() {
    let env = TestEnv::new();
    for isolation in ISOLATIONS {
        let place = Place::new(&env, isolation);
        let marker = format!("{}", 700_000_000 + u64::from(std::process::id()));
        let mount = "--mount=type=cache,target=/deep/er/c";
        let mut command = place.builder(&format!("FROM base\nRUN {mount} echo kept >/deep/er/c/word; sleep {marker}\n"));
        let mut builder = command.stderr(Stdio::null()).spawn().expect("the program starts");
        let started = Instant::now();
        // The shell has it in its own command line too.
        while !running(&marker).iter().any(|line| line.starts_with("sleep")) {
            assert!(started.elapsed() < Duration::from_secs(30), "{isolation}: the command does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        builder.kill().expect("it can be killed");
        builder.wait().expect("it ends");
        let killed = Instant::now();
        while !running(&marker).is_empty() || !is_in_a_cache(&place.folder.join("test/store/caches")) {
            assert!(killed.elapsed() < Duration::from_secs(5), "{isolation}: the cache does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
        let image = place.image(&format!("FROM base\nRUN {mount} cp /deep/er/c/word /word\n"), &[]);
        assert_eq!(image.layer(1)["word"].text(), "kept\n", "{isolation}");
    }
}

fn is_in_a_cache(caches: &Path) -> bool {
    fs::read_dir(caches).into_iter().flatten().flatten().any(|cache| cache.path().join("files/word").exists())
}
