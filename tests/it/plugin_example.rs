//! The plugin that newcomers start from: built as its page says, loaded, and used by its own Dockerfile.

use std::fs;
use std::path::PathBuf;

use crate::support::container::runc;
use crate::support::{Registry, TestEnv, cargo, repository};

pub fn component() -> PathBuf {
    let manifest = repository().join("examples/plugin-rust/Cargo.toml");
    // Where the build script builds the standard plugins: the standard library is there already.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory").join("plugins");
    let manifest = manifest.to_str().expect("a path in UTF-8");
    let folder = cargo::build(&repository(), &target, &["--manifest-path", manifest, "--config", "profile.plugin.inherits='release'"]);
    folder.unwrap_or_else(|message| panic!("{message}")).join("useradd.wasm")
}

#[test]
fn the_example_adds_an_instruction() {
    let env = TestEnv::new();
    let component = component();
    let registry = Registry::open();
    registry.copy(&registry.reference("base/busybox:latest"), &registry.reference("library/busybox:latest"));
    let dockerfile = fs::read_to_string(repository().join("examples/plugin-rust/Dockerfile")).expect("it has a Dockerfile");
    let image = env.build(&dockerfile).arg("--plugin").arg(&component).args(["--registry-mirror", &registry.address]).succeed();
    let tree = image.tree_above(1);
    assert!(tree["etc/passwd"].text().ends_with("\napp:x:1000:1000::/srv/app:/bin/sh\n"), "{}", tree["etc/passwd"].text());
    assert!(tree["etc/group"].text().ends_with("\napp:x:1000:\n"), "{}", tree["etc/group"].text());
    assert_eq!(tree["srv/app"].rights(), "0755 1000:1000");
    assert_eq!(tree["srv/app/works"].rights(), "0644 1000:1000");
    assert_eq!(runc(&env, &image, &["id", "-un"]), "app\n");

    // Without the plugin the instruction is unknown, and its own errors carry the line.
    let error = env.build(&dockerfile).fail(1);
    assert!(error.contains("USERADD"), "{error}");
    let error = env.build("FROM scratch\nUSERADD --uid=x app\n").arg("--plugin").arg(&component).fail(1);
    assert!(error.contains("--uid is not a number: x") && error.contains("2 | USERADD"), "{error}");
    // What the base has is looked at even where nothing runs.
    let error = env.build("FROM {registry}/base/busybox:latest\nUSERADD root\n").arg("--plugin").arg(&component).fail(1);
    assert!(error.contains("user root exists already"), "{error}");
}

#[test]
fn one_plugin_is_not_loaded_twice() {
    let env = TestEnv::new();
    let component = component();
    let copy = env.path("copy.wasm");
    fs::copy(&component, &copy).expect("a copy");
    let error = env.build("FROM scratch\nUSERADD app\n").arg("--plugin").arg(&component).arg("--plugin").arg(&copy).fail(1);
    assert!(error.contains("example/useradd"), "{error}");
}
