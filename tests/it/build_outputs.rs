//! Where the image goes besides a registry, and what else a build writes.

use std::fs;
use std::process::Command;

use crate::support::{Image, Registry, TestEnv, digest_of, run};

const SMALL: &str = "FROM {registry}/base/busybox:latest\nRUN echo x > /x\n";

#[test]
fn without_a_push_the_registry_stays_as_it_is() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let destination = registry.fresh();
    let digest_file = env.path("digest");
    let image = env.build(SMALL).args(["--destination", &destination]).arg("--digest-file").arg(&digest_file).succeed();
    assert_eq!(registry.manifest(&destination), None);
    assert_eq!(fs::read_to_string(digest_file).expect("a digest").trim(), image.digest);
}

#[test]
fn the_files_that_name_the_image() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let (one, two) = (registry.fresh(), registry.fresh());
    let files = ["digest", "deep/er/name", "tagged"].map(|name| env.path(name));
    let image = env
        .build(SMALL)
        .push_to(&one)
        .push_to(&two)
        .arg("--digest-file")
        .arg(&files[0])
        .arg("--image-name-with-digest-file")
        .arg(&files[1])
        .arg("--image-name-tag-with-digest-file")
        .arg(&files[2])
        .succeed();
    let text = files.map(|file| fs::read_to_string(file).expect("the file is written"));
    assert_eq!(text[0].trim(), image.digest);
    let lines = |tagged: bool| -> Vec<String> {
        [&one, &two].map(|name| format!("{}@{}", if tagged { name } else { name.trim_end_matches(":latest") }, image.digest)).to_vec()
    };
    assert_eq!(text[1].lines().collect::<Vec<_>>(), lines(false));
    assert_eq!(text[2].lines().collect::<Vec<_>>(), lines(true));
    for destination in [one, two] {
        assert_eq!(digest_of(registry.raw_manifest(&destination).expect("it was pushed").as_bytes()), image.digest);
    }
}

#[test]
fn an_archive_that_docker_loads() {
    let env = TestEnv::new();
    let archive = env.path("image.tar");
    let image = env.build(SMALL).args(["--destination", "example.com/team/app:v1"]).arg("--tar-path").arg(&archive).succeed();
    let copy = env.path("from-archive");
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("docker-archive:{}", archive.display()))
        .arg(format!("oci:{}:latest", copy.display())));
    let copy = Image::read(&copy);
    assert_eq!(copy.diff_ids(), image.diff_ids());
    assert_eq!(copy.config["config"], image.config["config"]);
    let list = run(Command::new("tar").arg("-xOf").arg(&archive).arg("manifest.json"));
    assert!(list.contains("example.com/team/app:v1"), "{list}");
}

#[test]
fn zstd_layers() {
    let env = TestEnv::new();
    let destination = Registry::open().fresh();
    let image = env.build(SMALL).args(["--compression", "zstd"]).push_to(&destination).succeed();
    assert_eq!(image.manifest["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(image.tree_above(1)["x"].text(), "x\n");
    let again = env.build(&format!("FROM {destination}\nRUN cp /x /y\n")).store(env.path("other-store")).succeed();
    assert_eq!(again.tree_above(1)["y"].text(), "x\n");
}

#[test]
fn nothing_of_the_build_stays_behind() {
    let env = TestEnv::new();
    let mounts = || {
        fs::read_to_string("/proc/self/mountinfo")
            .expect("mounts")
            .lines()
            .filter(|line| line.contains(env.path("").to_str().expect("UTF-8")))
            .count()
    };
    let before = mounts();
    env.build(SMALL).succeed();
    env.build("FROM {registry}/base/busybox:latest\nRUN exit 4\n").fail(4);
    assert_eq!(mounts(), before, "a mount is left");
    let work: Vec<_> =
        fs::read_dir(env.path("store/tmp")).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
    assert!(work.is_empty(), "left in the store's working folder: {work:?}");
}
