//! Where a base comes from: tags, digests, indexes, mirrors, a folder on disk.

use serde_json::json;

use crate::support::{Image, Registry, TestEnv, unique};

const ON_BUSYBOX: &str = "RUN echo ran > /ran\n";

#[test]
fn a_base_by_digest() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let digest = Image::pull(&env, &registry.reference("base/busybox:latest")).digest;
    for reference in
        [format!("base/busybox@{digest}"), format!("base/busybox:latest@{digest}"), format!("base/busybox:no-such-tag@{digest}")]
    {
        let image = env.build(&format!("FROM {}\n{ON_BUSYBOX}", registry.reference(&reference))).succeed();
        assert_eq!(image.tree_above(1)["ran"].text(), "ran\n", "{reference}");
    }
    let other = "sha256:".to_owned() + &"0".repeat(64);
    let error = env.build(&format!("FROM {}\n", registry.reference(&format!("base/busybox@{other}")))).fail(1);
    assert!(error.contains(&other), "{error}");
}

/// Pushes an index of two images that differ in their platform and in one variable.
fn index(env: &TestEnv, registry: &Registry) -> String {
    let repository = format!("test/{}", unique());
    let first = registry.reference(&format!("{repository}:amd64"));
    registry.copy(&registry.reference("base/busybox:latest"), &first);
    let amd64 = Image::pull(env, &first);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let mut config = amd64.config.clone();
    config["architecture"] = json!("arm64");
    config["variant"] = json!("v8");
    config["config"]["Env"] = json!(["PATH=/bin", "WHICH=arm64"]);
    let config = config.to_string();
    let mut manifest = amd64.manifest.clone();
    manifest["mediaType"] = json!(media_type);
    manifest["config"]["digest"] = json!(registry.put_blob(&repository, &config));
    manifest["config"]["size"] = json!(config.len());
    let mut arm64 = registry.put_manifest(&repository, "arm64", &manifest);
    arm64["platform"] = json!({ "os": "linux", "architecture": "arm64", "variant": "v8" });
    let size = registry.raw_manifest(&first).expect("it was just copied").len();
    let amd64 =
        json!({ "mediaType": media_type, "digest": amd64.digest, "size": size, "platform": { "os": "linux", "architecture": "amd64" } });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [arm64, amd64] });
    registry.put_manifest(&repository, "latest", &index);
    registry.reference(&format!("{repository}:latest"))
}

#[test]
fn the_platform_chooses_from_an_index() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let reference = index(&env, &registry);
    env.file("file", "file");
    let dockerfile = format!("FROM {reference}\nCOPY file /file\n");

    let image = env.build(&dockerfile).args(["--custom-platform", "linux/amd64"]).succeed();
    assert_eq!((image.config["architecture"].as_str(), image.variable("WHICH")), (Some("amd64"), None));

    let image = env.build(&dockerfile).args(["--custom-platform", "linux/arm64"]).succeed();
    assert_eq!((image.config["architecture"].as_str(), image.variable("WHICH")), (Some("arm64"), Some("arm64")));

    let image =
        env.build(&dockerfile.replace("FROM", "FROM --platform=linux/arm64/v8")).args(["--custom-platform", "linux/amd64"]).succeed();
    assert_eq!(image.variable("WHICH"), Some("arm64"), "FROM --platform wins");

    let finished = env.build(&dockerfile).args(["--custom-platform", "linux/s390x"]).finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("s390x"), "{}", finished.stderr);
    assert!(finished.stderr.contains("arm64"), "what there is instead is named:\n{}", finished.stderr);
}

#[test]
fn a_mirror_of_docker_hub() {
    let env = TestEnv::new();
    let registry = Registry::open();
    registry.copy(&registry.reference("base/busybox:latest"), &registry.reference("library/busybox:mirrored"));
    for name in [
        "docker.io/base/busybox:latest",
        "base/busybox",
        "docker.io/library/busybox:mirrored",
        "busybox:mirrored",
        "index.docker.io/base/busybox",
    ] {
        let image = env.build(&format!("FROM {name}\n{ON_BUSYBOX}")).args(["--registry-mirror", &registry.address]).succeed();
        assert_eq!(image.tree_above(1)["ran"].text(), "ran\n", "{name}");
    }
}

#[test]
fn a_mirror_of_any_registry_and_its_order() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let map = format!("quay.invalid={0};other.invalid={0}/base", registry.address);
    for name in ["quay.invalid/base/busybox:latest", "other.invalid/busybox:latest"] {
        let image = env.build(&format!("FROM {name}\n{ON_BUSYBOX}")).args(["--registry-map", &map]).succeed();
        assert_eq!(image.tree_above(1)["ran"].text(), "ran\n", "{name}");
    }
    // A mirror that is not there is passed over.
    let image = env
        .build(&format!("FROM quay.invalid/base/busybox:latest\n{ON_BUSYBOX}"))
        .args(["--registry-map", "quay.invalid=127.0.0.1:1", "--registry-map", &format!("quay.invalid={}", registry.address)])
        .succeed();
    assert_eq!(image.tree_above(1)["ran"].text(), "ran\n");
}

#[test]
fn a_mirror_by_environment_variable() {
    let env = TestEnv::new();
    let address = Registry::open().address;
    let image = env.build(&format!("FROM base/busybox\n{ON_BUSYBOX}")).variable("KANIKO_REGISTRY_MIRROR", &address).succeed();
    assert_eq!(image.layers(), 2);
}

#[test]
fn an_image_without_layers_is_a_base() {
    let env = TestEnv::new();
    let destination = Registry::open().fresh();
    let image = env.build("FROM scratch\nENV A=1\n").push_to(&destination).succeed();
    assert_eq!((image.layers(), image.variable("A")), (0, Some("1")));
    env.file("a", "a");
    let image = env.build(&format!("FROM {destination}\nCOPY a /a\n")).succeed();
    assert_eq!((image.layers(), image.variable("A")), (1, Some("1")));
}

#[test]
fn named_contexts_take_the_place_of_bases_and_sources() {
    let env = TestEnv::new();
    let base = env.build("FROM {registry}/base/busybox:latest\nENV FROM_LAYOUT=1\n").succeed();
    env.file("a", "of the context");
    let other = env.path("other");
    crate::support::write(&other.join("b"), "of the other context");
    let image = env
        .build("FROM base-image\nCOPY a /a\nCOPY --from=files b /b\n")
        .arg("--build-context")
        .arg(format!("base-image=oci-layout://{}", base.layout.display()))
        .arg("--build-context")
        .arg(format!("files={}", other.display()))
        .succeed();
    assert_eq!(image.variable("FROM_LAYOUT"), Some("1"));
    assert_eq!(image.tree_above(1)["b"].text(), "of the other context");
}

#[test]
fn builds_share_a_store_at_the_same_time() {
    let env = TestEnv::new();
    let images: Vec<Image> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|number| {
                let build = env.build(&format!("FROM {{registry}}/base/debian:latest\nRUN echo {number} > /number\n"));
                scope.spawn(move || build.succeed())
            })
            .collect();
        builds.into_iter().map(|build| build.join().expect("each build succeeds")).collect()
    });
    for (number, image) in images.iter().enumerate() {
        assert_eq!(image.tree_above(1)["number"].text(), format!("{number}\n"));
    }
}
