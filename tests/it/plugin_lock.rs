//! Plugins that a configuration names: they are used as they were approved, or not at all.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::plugin_faults::guest;
use crate::support::{Registry, TestEnv, output, program, unique, write};

const PLAIN: &str = "FROM scratch\nENV A=1\n";

fn lock(env: &TestEnv, config: &Path) -> Output {
    let mut command = Command::new(program());
    output(command.args(["plugin", "lock"]).arg(config).env_clear().env("HOME", env.path("home")).env("PATH", "/usr/bin:/bin"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn locks(env: &TestEnv, config: &Path) -> String {
    let done = lock(env, config);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    said(&done)
}

fn configure(config: &Path, sources: &[&str]) {
    write(config, sources.iter().map(|source| format!("[[plugin]]\nsource = '{source}'\n")).collect::<String>());
}

/// Row 66 of the adversarial list.
#[test]
fn plugins_are_used_as_they_were_approved_or_not_at_all() {
    let env = TestEnv::new();
    let config = env.path("plugins/layerwright.toml");
    let file = env.path("plugins/acme.wasm");
    configure(&config, &["acme.wasm"]);
    fs::copy(guest("nonsense"), &file).expect("a copy");
    let build = |dockerfile: &str| env.build(dockerfile).arg("--config").arg(&config);

    let error = build(PLAIN).fail(1);
    assert!(error.contains("not approved") && error.contains("layerwright plugin lock"), "{error}");
    let approved = locks(&env, &config);
    assert!(approved.contains("digest = \"sha256:") && approved.contains("layerwright.lock"), "{approved}");
    build(PLAIN).succeed();
    let error = build("FROM scratch\nNONSENSE slash\n").fail(1);
    assert!(error.contains("file name"), "the plugin handles its keyword: {error}");
    env.build(PLAIN).variable("LAYERWRIGHT_CONFIG", &config).succeed();

    // The same name and version, other bytes.
    let good = fs::read(&file).expect("a file");
    let mut other = good.clone();
    other.extend([0, 2, 1, b'x']);
    fs::write(&file, &other).expect("a file");
    let error = build(PLAIN).fail(1);
    assert!(error.contains("acme.wasm is not used: its digest is sha256:"), "{error}");
    fs::write(&file, &good).expect("a file");

    // Other wants than were approved, as a whole.
    let kept = env.path("plugins/layerwright.lock");
    let text = fs::read_to_string(&kept).expect("a lock");
    fs::write(&kept, text.replace("wants = []", "wants = [\"env=TOKEN\"]")).expect("a lock");
    let error = build(PLAIN).fail(1);
    assert!(error.contains("it wants [], and [env=TOKEN] is what was approved"), "{error}");
    fs::write(&kept, &text).expect("a lock");

    // One more, or one less, than was approved.
    fs::copy(guest("traps"), env.path("plugins/more.wasm")).expect("a copy");
    configure(&config, &["acme.wasm", "more.wasm"]);
    let error = build(PLAIN).fail(1);
    assert!(error.contains("more.wasm is not in it"), "{error}");
    configure(&config, &["more.wasm"]);
    assert!(build(PLAIN).fail(1).contains("it names acme.wasm, which the configuration does not"));
    configure(&config, &["acme.wasm", "more.wasm"]);
    locks(&env, &config);
    build(PLAIN).succeed();

    // An approval that fails leaves the one before.
    let before = fs::read_to_string(&kept).expect("a lock");
    fs::write(env.path("plugins/more.wasm"), "#!/bin/sh").expect("a file");
    let failed = lock(&env, &config);
    assert!(failed.status.code() == Some(1) && said(&failed).contains("not a WebAssembly component"), "{}", said(&failed));
    assert_eq!(fs::read_to_string(&kept).expect("a lock"), before);
}

fn artifact(registry: &Registry, name: &str, config: &str, layers: &[(&str, &[u8])]) {
    let config = json!({ "mediaType": config, "digest": registry.put_blob(name, "{}"), "size": 2 });
    let layers: Vec<_> = layers
        .iter()
        .map(|(kind, bytes)| json!({ "mediaType": kind, "digest": registry.put_blob(name, bytes), "size": bytes.len() }))
        .collect();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers });
    registry.put_manifest(name, "1", &manifest);
}

/// Row 71 of the adversarial list.
#[test]
fn plugins_come_from_registries_by_the_digest_that_was_approved() {
    const CONFIG: &str = "application/vnd.wasm.config.v0+json";
    const WASM: &str = "application/wasm";
    let env = TestEnv::new();
    let registry = Registry::open();
    let name = format!("test/plugin-{}", unique());
    let source = registry.reference(&format!("{name}:1"));
    let config = env.path("layerwright.toml");
    configure(&config, &[&source]);
    let component = fs::read(guest("nonsense")).expect("a guest");
    let build = || env.build("FROM scratch\nNONSENSE slash\n").arg("--config").arg(&config);

    for (kind, layers, words) in [
        (CONFIG, vec![(WASM, &component[..]), (WASM, b"more")], "2 layers"),
        (CONFIG, vec![("application/octet-stream", &component[..])], "application/octet-stream"),
        ("application/vnd.oci.image.config.v1+json", vec![(WASM, &component[..])], "no WebAssembly artifact"),
        (CONFIG, vec![(WASM, b"#!/bin/sh")], "not a WebAssembly component"),
    ] {
        artifact(&registry, &name, kind, &layers);
        let failed = lock(&env, &config);
        assert!(failed.status.code() == Some(1) && said(&failed).contains(words), "{words}: {}", said(&failed));
        assert!(!env.path("layerwright.lock").exists());
    }
    artifact(&registry, &name, CONFIG, &[(WASM, &component)]);
    locks(&env, &config);
    assert!(build().fail(1).contains("file name"), "it is at hand");
    // The tag moves on, and the cache is emptied: what was approved is fetched.
    artifact(&registry, &name, CONFIG, &[(WASM, &fs::read(guest("traps")).expect("a guest"))]);
    fs::remove_dir_all(env.path("home/.cache/layerwright/plugins/components")).expect("the cache");
    assert!(build().fail(1).contains("file name"), "it was fetched");
    // What lies in the cache is not believed.
    let folder = env.path("home/.cache/layerwright/plugins/components");
    let kept = fs::read_dir(&folder).expect("the cache").next().expect("a component").expect("an entry").path();
    let mut other = component.clone();
    other[8] ^= 1;
    fs::write(&kept, other).expect("a file");
    let error = build().fail(1);
    assert!(error.contains(&format!("{source} is not used: its digest is")), "{error}");
}
