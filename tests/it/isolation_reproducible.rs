//! `--reproducible` and `SOURCE_DATE_EPOCH`: the same inputs give the same image, bit for bit, wherever and however it is built.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::container::{docker_defaults, static_build};
use crate::support::{Build, Image, Registry, TestEnv, program, write};

const USER: u32 = 4245;

/// Says what of the builder's surroundings it sees, and makes files in an order of its own.
const STEPS: &str = r#"
FROM {registry}/base/busybox:latest AS one
WORKDIR /srv/app
COPY --chown=12:34 . ./
RUN mkdir -p /opt/d && for name in 9 3 7 1; do echo $name >/opt/d/$name; done && ln /opt/d/1 /opt/again && ln -s d /opt/link && rm /bin/vi
RUN { umask; env | sort; date -u -r /opt/link +%Z; } >/seen && mkdir /made && touch /made/file
FROM one
COPY --from=one /opt /copied
ENV A=b
"#;

/// Without a command, so that it can be built where none can be run.
const FILES: &str = "FROM {registry}/base/busybox:latest\nWORKDIR /srv/app\nCOPY --chown=12:34 . ./\nADD run.sh /bin/\n";

/// The files of a commit, as a checkout lays them down in one order or the other.
fn check_out(folder: &Path, backwards: bool) {
    let mut names: Vec<String> = (0..60).map(|number| format!("src/{}/file{number}", number % 7)).collect();
    names.extend(["run.sh", "zz", "a/b/c/d"].map(str::to_owned));
    if backwards {
        names.reverse();
    }
    for name in &names {
        write(&folder.join(name), name);
    }
    fs::set_permissions(folder.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("the file is ours");
}

/// The program, started by a line of shell.
fn started_by(env: &TestEnv, name: &str, line: &str) -> PathBuf {
    let path = env.path(name);
    write(&path, format!("#!/bin/sh\n{}\n", line.replace("PROGRAM", &format!("{} build \"$@\"", program().display()))));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    path
}

/// The same image in a container that has nothing else, which becomes the image.
fn in_a_container(env: &TestEnv, dockerfile: &str, epoch: Option<&str>) -> Image {
    write(&env.path("Dockerfile"), dockerfile.replace("{registry}", &Registry::open().address));
    let defaults = docker_defaults();
    let mut options: Vec<&str> = defaults.iter().map(String::as_str).collect();
    let variable = epoch.map(|epoch| format!("SOURCE_DATE_EPOCH={epoch}"));
    options.extend(variable.iter().flat_map(|variable| ["--env", variable.as_str()]));
    let arguments = "build --no-push --insecure-pull --reproducible --isolation in-place --context /test/context --dockerfile /test/Dockerfile \
        --store /test/store.container --oci-layout-path /test/image.container";
    let output = static_build(env, &options, &arguments.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = Image::read(&env.path("image.container"));
    fs::remove_dir_all(env.path("image.container")).expect("the folder is ours");
    image
}

#[test]
fn an_image_is_the_same_wherever_and_however_it_is_built() {
    let env = TestEnv::new();
    check_out(&env.path("context"), false);
    check_out(&env.path("another/checkout"), true);
    let umask = started_by(&env, "umask", "umask 077\nexec PROGRAM");
    let one_processor = started_by(&env, "one-processor", "exec taskset -c 0 PROGRAM");
    for (number, epoch) in [None, Some("1700000000")].into_iter().enumerate() {
        let any = || epoch.iter().fold(env.build(STEPS).arg("--reproducible"), |build, epoch| build.variable("SOURCE_DATE_EPOCH", epoch));
        let build = |place: &str| any().store(env.path(format!("store.{number}.{place}")));
        let expected = build("root").args(["--isolation", "overlay"]).succeed();
        let seen = expected.tree_above(1)["seen"].text().to_owned();
        assert!(seen.starts_with("0022\n") && !seen.contains("LAYERWRIGHT") && !seen.contains("TZ="), "{seen}");
        let cached = |build: Build<'_>| build.args(["--cache", "--cache-copy-layers", "--cache-repo=local:"]).succeed().digest;
        let digests = [
            ("chroot", build("chroot").args(["--isolation", "chroot"]).succeed().digest),
            ("in place, in a container", in_a_container(&env, STEPS, epoch).digest),
            ("rootless", any().by_user(USER).with_subordinate_ids().succeed().digest),
            ("another umask", build("umask").called(umask.clone()).succeed().digest),
            ("one processor", build("one").called(one_processor.clone()).succeed().digest),
            ("another time zone", build("zone").variable("TZ", "Asia/Tokyo").succeed().digest),
            ("another locale", build("locale").variable("LC_ALL", "tr_TR.UTF-8").variable("LANG", "de_DE.UTF-8").succeed().digest),
            ("another checkout", build("checkout").context(env.path("another/checkout")).succeed().digest),
            ("a cache that is empty", cached(build("cache"))),
            ("a cache that has all", cached(build("cache"))),
        ];
        for (place, digest) in digests {
            assert_eq!(digest, expected.digest, "{place}, {epoch:?}");
        }
    }
}

#[test]
fn files_alone_make_the_same_image_with_and_without_a_root_filesystem() {
    let env = TestEnv::new();
    check_out(&env.path("context"), false);
    check_out(&env.path("another/checkout"), true);
    let umask = started_by(&env, "umask", "umask 0\nexec PROGRAM");
    let build = |place: &str| env.build(FILES).arg("--reproducible").store(env.path(format!("store.{place}")));
    let expected = build("none").args(["--isolation", "none"]).succeed().digest;
    for (place, digest) in [
        ("overlay", build("overlay").args(["--isolation", "overlay"]).succeed().digest),
        ("chroot", build("chroot").args(["--isolation", "chroot"]).succeed().digest),
        ("in place, in a container", in_a_container(&env, FILES, None).digest),
        ("an ordinary user", env.build(FILES).arg("--reproducible").by_user(USER).args(["--isolation", "none"]).succeed().digest),
        ("another umask", build("umask").args(["--isolation", "none"]).called(umask).succeed().digest),
        ("another checkout", build("checkout").args(["--isolation", "none"]).context(env.path("another/checkout")).succeed().digest),
    ] {
        assert_eq!(digest, expected, "{place}");
    }
}
