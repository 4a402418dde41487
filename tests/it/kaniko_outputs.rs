//! What a build gives besides a push, and images that are pushed without one.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::container::podman;
use crate::support::image::files;
use crate::support::registry::setting;
use crate::support::{Image, Registry, TestEnv, output, program, run};

const STEPS: &str = "FROM {registry}/base/busybox:latest AS one\nRUN echo 1 > /one && rm /bin/vi && mkdir /d && touch /d/gone\nRUN rm -r /d && echo 2 >> /one\n\
     FROM one\nCOPY file /file\nRUN rm /one && ln /file /again\n";

fn layerwright(arguments: &[&str]) -> (bool, String) {
    let output = output(Command::new(program()).args(arguments));
    (output.status.success(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn a_single_snapshot_has_one_layer_a_stage() {
    let env = TestEnv::new();
    env.file("file", "content");
    let destination = Registry::open().fresh();
    let image = env.build(STEPS).args(["--single-snapshot"]).push_to(&destination).succeed();
    assert_eq!(image.layers(), 3, "the base's and one for each stage");
    assert_eq!(files(&image.layer(1)), ["bin/.wh.vi", "one"], "what was made and removed is in no layer");
    assert_eq!(files(&image.layer(2)), [".wh.one", "again", "file"]);
    let history = image.config["history"].as_array().expect("a history");
    let made = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!((history.len(), made), (5, 3));
    let seen = podman(&env, &destination, &["sh", "-c", "ls /d /one /bin/vi 2>&1 | grep -c 'No such'; cat /again"]);
    assert_eq!(seen, "3\ncontent");
    let many = env.build(STEPS).succeed();
    assert_eq!(many.layers(), 5);
    assert_eq!(many.tree_above(1).keys().collect::<Vec<_>>(), image.tree_above(1).keys().collect::<Vec<_>>());
}

#[test]
fn a_reproducible_image_is_the_same_every_time_and_everywhere() {
    let env = TestEnv::new();
    let file = env.file("file", "content");
    for (more, epoch, time) in [
        (&[][..], None, "1970-01-01T00:00:00Z"),
        (&["--single-snapshot"], None, "1970-01-01T00:00:00Z"),
        (&["--compression=zstd"], Some("1700000000"), "2023-11-14T22:13:20Z"),
    ] {
        let mut digests = Vec::new();
        for (place, isolation, age) in [("one", "overlay", 0), ("two", "overlay", 1000), ("three", "chroot", 2000)] {
            let modified = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(modified)).expect("a time can be set");
            let store = env.path(format!("store.{place}.{}", more.len() + epoch.map_or(0, str::len)));
            let mut build = env.build(STEPS).args(["--reproducible", "--isolation", isolation]).args(more).store(store);
            if let Some(epoch) = epoch {
                build = build.variable("SOURCE_DATE_EPOCH", epoch);
            }
            let image = build.succeed();
            assert_eq!(image.config["created"], time);
            let latest = epoch.map_or(0, |epoch| epoch.parse().expect("a number"));
            assert!(image.tree_above(1).values().all(|entry| entry.mtime <= latest), "a time of the build shows");
            digests.push(image.digest);
        }
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{more:?}: {digests:?}");
    }
    // What comes from the base stays what it is.
    let registry = Registry::open();
    let base = registry.manifest(&registry.reference("base/busybox:latest")).expect("the base");
    assert_eq!(env.build(STEPS).arg("--reproducible").succeed().manifest["layers"][0]["digest"], base["layers"][0]["digest"]);
}

#[test]
fn an_image_is_of_the_format_that_is_asked_for() {
    let env = TestEnv::new();
    env.file("file", "content");
    let dockerfile = "FROM {registry}/base/busybox:latest\nCOPY file /\n";
    let types = |image: &Image| -> Vec<String> {
        let layers = image.manifest["layers"].as_array().expect("layers").iter();
        let all = [&image.manifest, &image.manifest["config"]].into_iter().chain(layers);
        all.map(|part| part["mediaType"].as_str().expect("a type").to_owned()).collect()
    };
    let destination = Registry::open().fresh();
    let docker = env.build(dockerfile).arg("--image-format=docker").push_to(&destination).succeed();
    assert!(types(&docker).iter().all(|kind| kind.starts_with("application/vnd.docker.")), "{:?}", types(&docker));
    let again = env.build(&format!("FROM {destination}\nCOPY file /again\n")).succeed();
    assert!(types(&again).iter().all(|kind| kind.starts_with("application/vnd.docker.")), "as its base: {:?}", types(&again));
    let oci = env.build(&format!("FROM {destination}\nCOPY file /again\n")).arg("--image-format=oci").succeed();
    assert!(types(&oci).iter().all(|kind| kind.starts_with("application/vnd.oci.")), "{:?}", types(&oci));
    assert_eq!(oci.diff_ids(), again.diff_ids());
    let tar = env.path("x.tar").display().to_string();
    for (arguments, word) in [
        (["--image-format=docker", "--compression=zstd"], "Zstandard"),
        (["--image-format=oci", &format!("--tar-path={tar}")], "OCI"),
        (["--compression=zstd", &format!("--tar-path={tar}")], "Zstandard"),
        (["--compression-level=10", "--compression=gzip"], "compression-level"),
        (["--compression-level=23", "--compression=zstd"], "compression-level"),
        (["--annotation=novalue", "--no-push"], "annotation"),
        (["--label", "novalue"], "label"),
    ] {
        let error = env.build(dockerfile).args(arguments).fail(1);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    let size = |level: &str| env.build(dockerfile).args(["--compression-level", level]).succeed().manifest["layers"][1]["size"].clone();
    env.file("file", "some words again and again ".repeat(50_000));
    assert!(size("9").as_u64() < size("1").as_u64());
    assert_eq!(size("0"), size("-1"));
}

#[test]
fn annotations_and_labels() {
    let env = TestEnv::new();
    let arguments = ["--annotation", "a=1", "--annotation=b=x=y", "--annotation", "a=2", "--label", "over=new", "--label=empty="];
    let image = env.build("FROM scratch\nLABEL over=old stays=1\n").args(arguments).succeed();
    assert_eq!(image.manifest["annotations"], json!({ "a": "2", "b": "x=y" }));
    assert_eq!(image.config["config"]["Labels"], json!({ "over": "new", "stays": "1", "empty": "" }));
    let destination = Registry::open().fresh();
    env.build("FROM scratch\nENV A=1\n").args(["--annotation=a=1"]).push_to(&destination).succeed();
    // They are about the image, and not about what is built on it.
    assert!(env.build(&format!("FROM {destination}\n")).succeed().manifest.get("annotations").is_none());
}

#[test]
fn files_for_programs() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let (one, two) = (registry.fresh(), registry.fresh());
    let file = env.path("metadata.json");
    let image = env
        .build("FROM scratch\nENV A=1\n")
        .arg("--metadata-file")
        .arg(&file)
        .variable("BUILDER_OUTPUT", env.path("builder"))
        .push_to(&one)
        .push_to(&two)
        .succeed();
    let metadata: Value = serde_json::from_slice(&fs::read(file).expect("it is written")).expect("JSON");
    assert_eq!(metadata["containerimage.digest"], *image.digest);
    assert_eq!(metadata["containerimage.config.digest"], image.manifest["config"]["digest"]);
    assert_eq!(metadata["containerimage.descriptor"]["digest"], *image.digest);
    assert_eq!(metadata["containerimage.descriptor"]["mediaType"], image.manifest["mediaType"]);
    assert_eq!(metadata["image.name"], format!("{one},{two}"));
    let lines = fs::read_to_string(env.path("builder/images")).expect("it is written");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, [&one, &two].map(|name| json!({ "name": name, "digest": image.digest })));
}

#[test]
fn an_image_on_disk_is_pushed_as_it_is() {
    let env = TestEnv::new();
    env.file("file", "content");
    let registry = Registry::open();
    let tar = env.path("image.tar");
    let image = env.build(STEPS).args(["--destination=a/b:1", "--annotation=a=1"]).arg("--tar-path").arg(&tar).succeed();
    let push = |path: &std::path::Path| {
        let to = registry.fresh();
        let digest = env.path("pushed");
        let (path, digest_file) = (path.display().to_string(), digest.display().to_string());
        let (done, said) = layerwright(&["push", &path, "-d", &to, "--insecure", "--digest-file", &digest_file]);
        assert!(done, "{said}");
        assert_eq!(
            fs::read_to_string(&digest).expect("it is written"),
            crate::support::digest_of(registry.raw_manifest(&to).expect("it is there").as_bytes())
        );
        to
    };
    let pushed = push(&image.layout);
    assert_eq!(registry.manifest(&pushed), Some(image.manifest.clone()), "byte for byte");
    assert_eq!(podman(&env, &pushed, &["cat", "/again"]), "content");
    let manifest = registry.manifest(&push(&tar)).expect("it was pushed");
    assert_eq!(manifest["config"]["digest"], image.manifest["config"]["digest"]);
    // As docker and others write it: layers are not compressed.
    let plain = env.path("plain.tar");
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("docker-archive:{}", tar.display()))
        .arg(format!("docker-archive:{}", plain.display())));
    let pushed = push(&plain);
    let manifest = registry.manifest(&pushed).expect("it was pushed");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_eq!(podman(&env, &pushed, &["cat", "/again"]), "content");
    for (path, word) in [("/no/such", "/no/such"), ("/etc/passwd", "/etc/passwd")] {
        let (done, said) = layerwright(&["push", path, "-d", &registry.fresh(), "--insecure"]);
        assert!(!done && said.starts_with("error pushing image: ") && said.contains(word), "{said}");
    }
    let blob = image.layout.join("blobs").join(image.manifest["layers"][2]["digest"].as_str().expect("a digest").replace(':', "/"));
    fs::write(blob, "something else").expect("the layout is ours");
    let to = registry.fresh();
    let (done, said) = layerwright(&["push", &image.layout.display().to_string(), "-d", &to, "--insecure"]);
    assert!(!done && said.contains("another digest"), "{said}");
    assert_eq!(registry.manifest(&to), None);
}

#[test]
fn images_built_apart_are_joined_to_an_index() {
    let env = TestEnv::new();
    env.file("file", "content");
    let registry = Registry::open();
    let dockerfile = "FROM scratch\nCOPY file /\n";
    let (arm, amd, to) = (registry.fresh(), registry.fresh(), registry.fresh());
    let one = env.build(dockerfile).args(["--custom-platform=linux/arm64", "--label=for=arm"]).push_to(&arm).succeed();
    let two = env.build(dockerfile).arg("--custom-platform=linux/arm/v7").succeed();
    let three = env.build(dockerfile).arg("--custom-platform=linux/amd64").push_to(&amd).succeed();
    let by_digest = format!("{}@{}", amd.trim_end_matches(":latest"), three.digest);
    let layout = two.layout.display().to_string();
    let create =
        |images: &[&str], more: &[&str]| layerwright(&[&["index", "create", &to, "--insecure", "--insecure-pull"], images, more].concat());
    let (done, said) = create(&[&arm, &layout, &by_digest], &["--annotation", "a=1"]);
    assert!(done, "{said}");
    assert!(said.contains("mounted "), "what the registry has is not sent again: {said}");
    let index = registry.manifest(&to).expect("it was pushed");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index["annotations"], json!({ "a": "1" }));
    let entries: Vec<(String, Value)> = index["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .map(|entry| (entry["digest"].as_str().expect("a digest").to_owned(), entry["platform"].clone()))
        .collect();
    assert_eq!(
        entries,
        [
            (one.digest, json!({ "os": "linux", "architecture": "arm64" })),
            (two.digest, json!({ "os": "linux", "architecture": "arm", "variant": "v7" })),
            (three.digest, json!({ "os": "linux", "architecture": "amd64" })),
        ]
    );
    // A build for each platform finds its own.
    let built = env.build(&format!("FROM {to}\n")).arg("--custom-platform=linux/arm64").succeed();
    assert_eq!(built.config["config"]["Labels"]["for"], "arm");
    let (done, said) = create(&[&amd, &by_digest], &[]);
    assert!(!done && said.contains("two images are for linux/amd64"), "{said}");
    let (done, said) = create(&[&amd, &registry.reference("no/such:1")], &[]);
    assert!(!done && said.contains("no/such:1"), "{said}");
    let folder = env.path("context").display().to_string();
    let (done, said) = create(&[&amd], &["--digest-file", &folder]);
    assert!(!done && said.contains("invalid value for --digest-file"), "{said}");
    assert_eq!(registry.manifest(&to), Some(index), "what fails changes nothing");
    // An index stands for its images.
    let copy = registry.fresh();
    let (done, said) = layerwright(&["index", "create", &copy, &to, "--insecure", "--insecure-pull"]);
    assert!(done, "{said}");
    assert_eq!(registry.manifest(&copy).expect("it was pushed")["manifests"].as_array().map(Vec::len), Some(3));
}

/// What others see of an index, and what is built on one: its own platform's image each time.
#[test]
fn an_index_is_a_base_for_each_of_its_platforms_and_others_read_it() {
    let env = TestEnv::new();
    env.file("file", "content");
    let registry = Registry::open();
    let inspect = |reference: &str, arch: &str, what: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--override-os", "linux", "--override-arch", arch, "inspect", "--tls-verify=false"]).args(what);
        serde_json::from_str::<Value>(&run(skopeo.arg(format!("docker://{reference}")))).expect("skopeo inspects in JSON")
    };
    // Each job builds for its platform on the same name: nothing at first, then the index of the images before.
    let mut base = "scratch".to_owned();
    for (round, dockerfile) in
        ["ARG TARGETARCH\nCOPY file /$TARGETARCH\nLABEL built=one\n", "COPY file /second\nLABEL again=yes\n"].iter().enumerate()
    {
        let index = registry.fresh();
        let images: Vec<String> = ["amd64", "arm64"]
            .iter()
            .map(|arch| {
                let to = registry.fresh();
                let platform = format!("--custom-platform=linux/{arch}");
                let image = env.build(&format!("FROM {base}\n{dockerfile}")).arg(platform).push_to(&to).succeed();
                assert_eq!(image.config["architecture"], **arch);
                assert_eq!(image.layers(), round + 1);
                to
            })
            .collect();
        let (done, said) = layerwright(&["index", "create", &index, &images[0], &images[1], "--insecure", "--insecure-pull"]);
        assert!(done, "{said}");
        for (arch, own) in ["amd64", "arm64"].iter().zip(&images) {
            let (seen, config) = (inspect(&index, arch, &[]), inspect(&index, arch, &["--config"]));
            assert_eq!((&seen["Architecture"], &config["architecture"]), (&json!(arch), &json!(arch)));
            assert_eq!(seen["Layers"], inspect(own, arch, &[])["Layers"]);
            assert_eq!(config["config"]["Labels"]["built"], "one");
            let copied = env.path(format!("copied.{round}.{arch}"));
            run(Command::new("skopeo")
                .args(["--override-os", "linux", "--override-arch", arch, "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"])
                .arg(format!("docker://{index}"))
                .arg(format!("oci:{}", copied.display())));
            let tree = Image::read(&copied).tree_above(0);
            assert_eq!((tree[*arch].text(), tree.contains_key("second")), ("content", round == 1));
        }
        base = index;
    }
}

/// Takes one request over TLS, writes down what it was, and says that it is done.
const RECEIVER: &str = r#"
import http.server, ssl, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        open(sys.argv[3], "w").write(" ".join([self.path, self.headers["Content-Type"], str(self.headers["Authorization"]), body]))
        self.send_response(201)
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.handle_request()
"#;

#[test]
fn the_digest_is_put_to_a_url() {
    use std::io::{BufRead as _, BufReader};
    let env = TestEnv::new();
    let client = setting("LAYERWRIGHT_TEST_CLIENT");
    let (certificate, key) = client.split_once(',').expect("a certificate and a key");
    let seen = env.path("seen");
    let mut server = Command::new("python3")
        .args(["-c", RECEIVER, certificate, key])
        .arg(&seen)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("a pipe")).read_line(&mut port).expect("a line");
    let url = format!("https://127.0.0.1:{}/digests/app?key=hidden", port.trim());
    let build = || env.build("FROM scratch\nENV A=1\n").args(["--digest-file", &url]);
    let image = build().variable("SSL_CERT_FILE", setting("LAYERWRIGHT_TEST_TLS_AUTHORITY")).succeed();
    assert!(server.wait().expect("it ends").success());
    assert_eq!(fs::read_to_string(seen).expect("it is written"), format!("/digests/app?key=hidden text/plain None {}", image.digest));
    let finished = build().finish();
    assert!(finished.code == Some(1) && !finished.stderr.contains("hidden"), "{}", finished.stderr);
}

#[test]
fn a_rebuild_from_the_cache_is_the_same_image() {
    let env = TestEnv::new();
    env.file("file", "content");
    for flags in [["--reproducible"].as_slice(), &["--reproducible", "--single-snapshot"], &["--reproducible", "--compression=zstd"]] {
        let cached = ["--cache", "--cache-copy-layers", "--cache-repo=local:"];
        let build = || env.build(STEPS).args(cached).args(flags).succeed();
        let first = build();
        assert_eq!(build().digest, first.digest, "{flags:?}");
        let plain = env.build(STEPS).args(flags).store(env.path("other-store")).succeed();
        assert_eq!(plain.digest, first.digest, "with the cache or without: {flags:?}");
    }
}
