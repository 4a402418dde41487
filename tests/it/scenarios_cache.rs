//! What a cache promises: the same result from another machine, nothing of it where none is wanted, and nothing that is held back.

use std::fs;
use std::process::Command;

use crate::support::cache::{CACHED, hits, tags};
use crate::support::{Finished, Registry, TestEnv, program, run, unique};

const RANDOM: &str = "cat /proc/sys/kernel/random/uuid";

/// Scenario 134: what a command made by chance is the same on a machine that has nothing but the registry's cache.
#[test]
fn chance_is_kept_in_a_registry() {
    let env = TestEnv::new();
    let cache = format!("--cache-repo={}/test/{}", Registry::open().address, unique());
    let dockerfile = format!("FROM {{registry}}/base/busybox:latest AS a\nRUN {RANDOM} >/a\nFROM scratch\nCOPY --from=a /a /copy\n");
    let build = || env.build(&dockerfile).repeatable().args(CACHED).arg(&cache).finish();
    let first = build();
    assert_eq!(hits(&first), "..");
    fs::remove_dir_all(env.path("store")).expect("the store is ours");
    let again = build();
    assert_eq!(hits(&again), "h", "the stage is not even looked at: {}", again.stderr);
    assert_eq!(again.image().tree_above(0)["copy"].text(), first.image().tree_above(0)["copy"].text());
    assert_eq!(again.image().digest, first.image().digest);
}

/// Scenario 135: a record is the manifest of an image to every registry and every tool; what it is besides says its artifact type.
#[test]
fn a_record_is_the_manifest_of_an_image() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let registry = Registry::open();
    let cache = registry.reference(&format!("test/{}", unique()));
    let build = env.build("FROM scratch\nCOPY one /\n").args(CACHED).arg(format!("--cache-repo={cache}"));
    let image = build.succeed();
    let [tag] = <[String; 1]>::try_from(tags(&cache)).expect("one step, one record");
    let record = registry.manifest(&format!("{cache}:{tag}")).expect("a record");
    assert_eq!(record["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(record["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    assert_eq!(record["artifactType"], "application/vnd.layerwright.cache.record.v1+json");
    assert_eq!(record["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(record["layers"][0], image.manifest["layers"][0]);
    // So it can be brought elsewhere with all that it names.
    let to = env.path("copy");
    let from = format!("docker://{cache}:{tag}");
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", &from])
        .arg(format!("oci:{}:{tag}", to.display())));
    let moved = env.build("FROM scratch\nCOPY one /\n").args(CACHED).arg(format!("--cache-repo=oci:{}", to.display()));
    assert_eq!(hits(&moved.store(env.path("other")).finish()), "h");
}

/// Scenario 136: images for two platforms, built again from the cache twice, make the same index each time.
#[test]
fn an_index_of_images_from_the_cache_is_the_same_index() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let name = unique();
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {{registry}}/base/busybox:latest AS made\nARG TARGETARCH\nRUN {RANDOM} >/$TARGETARCH\n\
         FROM scratch\nARG TARGETARCH\nCOPY --from=made /$TARGETARCH /random\n"
    );
    let mut seen = Vec::new();
    for round in 0..3 {
        let mut images = Vec::new();
        for platform in ["linux/amd64", "linux/arm64"] {
            let to = registry.reference(&format!("test/{name}:{round}-{}", &platform[6..]));
            let cache = format!("--cache-repo={}", registry.reference(&format!("test/{name}/cache")));
            let build = env.build(&dockerfile).repeatable().args(CACHED).arg(cache).arg(format!("--custom-platform={platform}"));
            let finished = build.push_to(&to).store(env.path(format!("store.{round}"))).finish();
            assert_eq!(hits(&finished), if round == 0 { ".." } else { "h" }, "{}", finished.stderr);
            images.push(to);
        }
        let to = registry.reference(&format!("test/{name}:{round}"));
        run(Command::new(program()).args(["index", "create", &to, "--insecure", "--insecure-pull"]).args(images));
        seen.push(registry.raw_manifest(&to).expect("it was pushed"));
    }
    assert!(seen.iter().all(|index| *index == seen[0]), "{seen:#?}");
}

/// Scenario 139: nothing of the cache is taken, or nothing of it for a stage; what others take from that counts by what it is now.
#[test]
fn the_cache_is_left_out_for_all_or_for_a_stage() {
    let env = TestEnv::new();
    let cache = format!("--cache-repo={}/test/{}", Registry::open().address, unique());
    let busybox = "FROM {registry}/base/busybox:latest";
    let dockerfile = format!(
        "{busybox} AS one\nRUN {RANDOM} >/one\n{busybox} AS two\nRUN {RANDOM} >/two\nRUN echo same >/same\n\
         FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /same /\nCOPY --from=two /two /\n"
    );
    let texts = |finished: &Finished| {
        let tree = finished.image().tree_above(0);
        ["one", "two"].map(|name| tree[name].text().to_owned())
    };
    let build = |flags: &[&str]| env.build(&dockerfile).args(CACHED).arg(&cache).args(flags).finish();
    let first = build(&[]);
    let again = build(&[]);
    assert_eq!((hits(&again).as_str(), texts(&again)), ("hhh", texts(&first)));
    for flags in [&["--no-cache-filter=TWO"][..], &["--no-cache-filter", "two,two"]] {
        let before = texts(&build(&[]));
        let of_two = build(flags);
        assert!(of_two.stderr.contains("RUN cat /proc"), "{}", of_two.stderr);
        assert_eq!(hits(&of_two).matches('.').count(), 3, "its two steps, and the copy of what has changed: {}", of_two.stderr);
        assert_eq!(texts(&of_two)[0], before[0]);
        assert_ne!(texts(&of_two)[1], before[1]);
        assert_eq!(texts(&build(&[])), texts(&of_two), "what was made is kept");
    }
    let before = texts(&build(&[]));
    let none = build(&["--no-cache"]);
    assert!(!hits(&none).contains('h'), "{}", none.stderr);
    assert!(texts(&none)[0] != before[0] && texts(&none)[1] != before[1]);
    assert_eq!(texts(&build(&[])), texts(&none), "what was made is kept");
    let error = build(&["--no-cache-filter=three"]).stderr;
    assert!(error.contains("error: ") && error.contains("three"), "{error}");
}

/// Scenario 140: after a build, one that failed too, nothing is mounted or locked, and all that was kept can be let go of.
#[test]
fn everything_can_be_let_go_of_after_a_build() {
    let env = TestEnv::new();
    env.files(&["one"]);
    let dockerfile = "FROM {registry}/base/busybox:latest AS a\nRUN --mount=type=cache,target=/c --mount=type=bind,target=/b echo x >/c/x && cp /b/one /one\n\
                      FROM a\nRUN --mount=type=bind,from=a,target=/a,rw echo 2 >/a/two\nCOPY --from=a /one /again\n";
    for (isolation, last) in [("overlay", ""), ("chroot", ""), ("overlay", "RUN false\n")] {
        let build = || {
            let build = env.build(&format!("{dockerfile}{last}")).args(["--isolation", isolation, "--cache-repo=local:"]).args(CACHED);
            build.finish()
        };
        for expected in ["...", "hhh"] {
            let finished = build();
            assert_eq!(finished.code, Some(i32::from(!last.is_empty())), "{}", finished.stderr);
            if last.is_empty() {
                assert_eq!(hits(&finished), expected);
            }
        }
        let mounted = fs::read_to_string("/proc/self/mountinfo").expect("mounts can be read");
        let folder = env.path("").display().to_string();
        assert!(!mounted.contains(&folder), "{mounted}");
        assert_eq!(fs::read_dir(env.path("store/tmp")).expect("a store").count(), 0, "{isolation}");
        let prune = |arguments: &[&str]| {
            run(Command::new(program())
                .args(["prune", "--all", "--store"])
                .arg(env.path("store"))
                .args(arguments)
                .env("HOME", env.path("home")))
        };
        assert!(prune(&["--cache-repo=local:"]).contains("; 0 (0 B) left in "));
        let said = prune(&[]);
        assert!(said.contains("\n0 B left in "), "{isolation}: {said}");
        for place in ["layers", "blobs/sha256", "cache"] {
            assert_eq!(fs::read_dir(env.path("store").join(place)).map_or(0, Iterator::count), 0, "{isolation}: {place}");
        }
        let directories = run(Command::new("find").arg(env.path("store/caches")).args(["-name", "files"]));
        assert_eq!(directories, "", "{isolation}: nobody has them any more");
    }
}
