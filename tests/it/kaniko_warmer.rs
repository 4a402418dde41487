//! Base images that are kept warm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{Image, Registry, TestEnv, digest_of, output, program, write};

fn warmer(env: &TestEnv, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command.arg("warmer").arg("--cache-dir").arg(env.path("cache")).arg("--insecure-pull").args(arguments);
    let output = output(command.env("LAYERWRIGHT_STORE", env.path("store")));
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// The layouts in the directory.
fn kept(env: &TestEnv) -> Vec<PathBuf> {
    let entries = fs::read_dir(env.path("cache")).expect("the directory is there");
    let mut kept: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    kept.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sha256:")));
    kept.sort();
    kept
}

fn age(path: &Path, age: Duration) {
    fs::File::open(path).and_then(|directory| directory.set_modified(SystemTime::now() - age)).expect("a time can be set");
}

#[test]
fn a_warmer_fills_a_directory_of_layouts() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let busybox = registry.reference("base/busybox:latest");
    let (code, said) = warmer(&env, &["-i", &busybox]);
    assert_eq!(code, Some(0), "{said}");
    let all = kept(&env);
    let image = Image::read(&all[0]);
    assert!(all.len() == 1 && all[0].ends_with(&image.digest), "{all:?}");
    let pulls = |arguments: &[&str]| {
        let (code, said) = warmer(&env, arguments);
        assert_eq!(code, Some(0), "{said}");
        said.contains("pulled ")
    };
    assert!(!pulls(&["-i", &busybox]), "it is there");
    assert!(pulls(&["-i", &busybox, "--force"]));
    age(&all[0], Duration::from_secs(7200));
    assert!(!pulls(&["-i", &busybox]));
    assert!(pulls(&["-i", &busybox, "--cache-ttl=1h"]), "it is too old");
    assert!(!pulls(&["-i", &busybox, "--cache-ttl=1h"]), "it is new again");
    let blob = all[0].join("blobs").join(image.manifest["layers"][0]["digest"].as_str().expect("a digest").replace(':', "/"));
    fs::write(&blob, "damaged").expect("the directory is ours");
    assert!(pulls(&["-i", &busybox]), "what is damaged is fetched again");
    Image::read(&all[0]).layer(0);
    assert_eq!(kept(&env), all);
}

#[test]
fn a_warmer_takes_the_bases_of_a_dockerfile() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let busybox = registry.reference("base/busybox:latest");
    let dockerfile = env.path("Dockerfile");
    write(
        &dockerfile,
        format!(
            "ARG NAME=none\nFROM {0}/base/$NAME:latest AS one\nFROM scratch\nFROM one AS two\nFROM --platform=linux/amd64 {0}/base/busybox\nRUN false\n",
            registry.address
        ),
    );
    let file = dockerfile.to_str().expect("UTF-8");
    let (code, said) = warmer(&env, &["-d", file, "--build-arg", "NAME=debian"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(kept(&env).len(), 2, "{said}");
    // Without the argument one of the two is not there, which is said and no failure.
    let (code, said) = warmer(&env, &["-d", file]);
    assert!(code == Some(0) && said.contains("base/none:latest could not be kept"), "{said}");
    let (code, said) = warmer(&env, &["-i", &registry.reference("no/such:1"), "-i", &registry.reference("no/such:2")]);
    assert!(code == Some(1) && said.contains("no/such:1") && said.contains("no/such:2"), "{said}");
    for nothing in [&[][..], &["--dockerfile", ""]] {
        let (code, said) = warmer(&env, nothing);
        assert!(code == Some(1) && said.contains("none is given, and no --dockerfile"), "{said}");
    }
    for wrong in [["--image", "a b"], ["--cache-ttl", "-1h"], ["--customPlatform", "a/b/c/d"], ["--registry-certificate", "novalue"]] {
        let (code, said) = warmer(&env, &[&["-i", &busybox], &wrong[..]].concat());
        let first = said.lines().next().unwrap_or_default();
        assert!(code == Some(1) && first.starts_with("error: ") && first.contains(wrong[0]), "{said}");
    }
}

#[test]
fn warmers_side_by_side_take_turns() {
    let env = TestEnv::new();
    let busybox = Registry::open().reference("base/busybox:latest");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| warmer(&env, &["-i", &busybox, "--force"]))).collect();
        for run in runs {
            let (code, said) = run.join().expect("it ends");
            assert_eq!(code, Some(0), "{said}");
        }
    });
    Image::read(&kept(&env)[0]).layer(0);
    let left = fs::read_dir(env.path("cache")).expect("the directory is there").count();
    assert_eq!(left, 2, "the layout and the locks");
}

#[test]
fn builds_take_bases_that_are_kept_warm() {
    let env = TestEnv::new();
    env.file("file", "content");
    let registry = Registry::open();
    let busybox = registry.reference("base/busybox:latest");
    assert_eq!(warmer(&env, &["-i", &busybox]).0, Some(0));
    let layout = kept(&env).remove(0);
    let digest = layout.file_name().expect("a name").to_string_lossy().into_owned();
    let cache = env.path("cache");
    let build = |dockerfile: &str, store: &str, more: &[&str]| {
        let build = env.build(dockerfile).arg("--cache-dir").arg(&cache).args(more).store(env.path(store));
        build.args(["--cache-repo=local:"]).finish()
    };
    // Nobody listens there: the digest says all.
    let nowhere = format!("FROM 127.0.0.1:1/base/busybox@{digest}\nCOPY file /\nRUN cp /file /made\n");
    let finished = build(&nowhere, "offline", &["--cache"]);
    let image = finished.image();
    assert_eq!(image.tree_above(1)["made"].text(), "content");
    assert!(finished.stderr.contains("is taken from"), "{}", finished.stderr);
    assert_eq!(build(&nowhere, "without", &[]).code, Some(1), "only with --cache");
    // A tag is resolved at its registry, and no layer is fetched from there.
    let by_tag = "FROM {registry}/base/busybox:latest\nCOPY file /\nRUN cp /file /made\n";
    let finished = build(by_tag, "tag", &["--cache"]);
    assert_eq!(finished.image().diff_ids()[0], image.diff_ids()[0]);
    assert!(finished.stderr.contains("is taken from") && !finished.stderr.contains("pulled "), "{}", finished.stderr);
    age(&layout, Duration::from_secs(7200));
    let finished = build(by_tag, "old", &["--cache", "--cache-ttl=1h"]);
    assert!(finished.code == Some(0) && finished.stderr.contains("is older than --cache-ttl"), "{}", finished.stderr);
    let blob = layout.join("blobs").join(image.manifest["layers"][0]["digest"].as_str().expect("a digest").replace(':', "/"));
    fs::write(blob, "damaged").expect("the directory is ours");
    let finished = build(by_tag, "damaged", &["--cache"]);
    assert!(finished.stderr.contains("is not taken from the cache directory"), "{}", finished.stderr);
    assert_eq!(finished.image().diff_ids()[0], image.diff_ids()[0]);
}

/// A directory as kaniko's older warmers leave it: for each image an archive and its manifest, called by the digest.
#[test]
fn a_directory_that_kaniko_has_filled_with_archives_is_passed_over_and_filled_anew() {
    let env = TestEnv::new();
    env.file("file", "content");
    let busybox = Registry::open().reference("base/busybox:latest");
    let digest = digest_of(Registry::open().raw_manifest(&busybox).expect("the base").as_bytes());
    // Whoever took the archive for the base would have no shell.
    let other = env.path("other.tar").display().to_string();
    env.build("FROM scratch\nCOPY file /\n").args(["--tar-path", &other, "--destination=a/b"]).succeed();
    let place = env.path("cache").join(&digest);
    write(&place, fs::read(&other).expect("it was written"));
    write(&env.path("cache").join(format!("{digest}.json")), Registry::open().raw_manifest(&busybox).expect("the base"));
    write(&env.path("cache/.warmer-locks").join(&digest), "");
    let build = |store: &str| {
        let build = env.build(&format!("FROM {busybox}\nCOPY file /\nRUN cp /file /made\n")).store(env.path(store));
        build.args(["--cache", "--cache-repo=local:", "--cache-dir"]).arg(env.path("cache")).finish()
    };
    let finished = build("first");
    assert_eq!(finished.image().tree_above(1)["made"].text(), "content");
    assert!(finished.stderr.contains("is not taken from the cache directory"), "{}", finished.stderr);
    assert!(place.is_file(), "a build only reads");
    let (code, said) = warmer(&env, &["-i", &busybox]);
    assert_eq!(code, Some(0), "{said}");
    assert!(place.is_dir() && env.path("cache").join(format!("{digest}.json")).is_file());
    assert!(build("second").stderr.contains("is taken from"));
}
