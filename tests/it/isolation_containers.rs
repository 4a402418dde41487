//! The containers that builds run in, for real: each takes the isolation that it allows, and the same layers come of all.

use std::fs;
use std::process::Command;

use crate::support::container::static_build;
use crate::support::{Image, TestEnv, repository, run};

/// Docker's default capabilities.
const CAPABILITIES: &[&str] = &[
    "--cap-drop",
    "ALL",
    "--cap-add",
    "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,MKNOD,NET_BIND_SERVICE,NET_RAW,SETFCAP,SETGID,SETPCAP,SETUID,SYS_CHROOT,AUDIT_WRITE",
];

const DOCKERFILE: &str = r"
FROM base AS one
COPY --chown=12:34 app /srv/app
RUN mkdir -p /opt/d && echo one >/opt/d/one && ln /srv/app/run /srv/app/again && mkfifo /opt/fifo && chown 5:6 /opt/d/one && touch -h -d @1000000000 /srv/app/* /srv/app /opt/* /opt/d/one /opt
RUN rm -r /opt/d && mkdir /opt/d && echo two >/opt/d/two && rm /bin/wget && touch -h -d @1000000000 /opt/d/two /opt/d /opt /bin
FROM base
COPY --from=one /opt /opt
RUN --mount=type=secret,id=word grep -q hidden /run/secrets/word && rm /opt/d/two && touch -d @1000000000 /opt/d
";

struct Place<'a> {
    env: &'a TestEnv,
    number: std::cell::Cell<u32>,
}

impl<'a> Place<'a> {
    fn new(env: &'a TestEnv) -> Self {
        env.file("app/run", "#!/bin/sh\necho ran\n");
        fs::write(env.path("Dockerfile"), DOCKERFILE).expect("a file can be written");
        fs::write(env.path("word"), "hidden\n").expect("a file can be written");
        let bases = std::env::var_os("LAYERWRIGHT_TEST_BASES").expect("run ./test, which makes the bases");
        run(Command::new("cp").arg("-r").arg(std::path::Path::new(&bases).join("busybox")).arg(env.path("base")));
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(env.path("base")));
        Self { env, number: std::cell::Cell::new(0) }
    }

    /// What is said, and the image where there is one.
    fn build(&self, options: &[&str], more: &[&str]) -> (String, Option<Image>) {
        let number = self.number.replace(self.number.get() + 1);
        let outputs = self.env.path(format!("outputs.{number}"));
        fs::create_dir(&outputs).expect("the folder is new");
        run_as_anybody(&outputs);
        let layout = format!("/test/outputs.{number}/image");
        let mut arguments = vec!["build", "--no-push", "--context", "/test/context", "--dockerfile", "/test/Dockerfile"];
        arguments.extend(["--build-context", "base=oci-layout:///test/base", "--secret", "id=word,src=/test/word"]);
        arguments.extend(["--oci-layout-path", &layout]);
        if !more.contains(&"--store") {
            arguments.extend(["--store", "/store"]);
        }
        arguments.extend(more);
        let output = static_build(self.env, options, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let image = output.status.success().then(|| Image::read(&outputs.join("image")));
        (said, image)
    }
}

fn run_as_anybody(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("the folder is ours");
}

fn docker_seccomp() -> Option<String> {
    let shared = std::env::var_os("LAYERWRIGHT_SHARED").map_or_else(|| repository().join("../shared"), Into::into);
    let profile = shared.join("containers/docker-seccomp.json");
    profile.exists().then(|| format!("seccomp={}", profile.display()))
}

/// kaniko-asks 6: every environment that builds run in takes the isolation that is to be expected of it, and makes the same layers.
#[test]
fn every_container_gives_the_same_layers() {
    let env = TestEnv::new();
    let place = Place::new(&env);
    fs::create_dir(env.path("volume")).expect("the folder is new");
    let volume = format!("{}:/store", env.path("volume").display());
    let docker = docker_seccomp().expect("the profile lies in LAYERWRIGHT_SHARED/containers");
    let filtered: Vec<&str> = ["--security-opt", &docker].into_iter().chain(CAPABILITIES.iter().copied()).collect();
    let unfiltered: Vec<&str> = ["--security-opt", "seccomp=unconfined"].into_iter().chain(CAPABILITIES.iter().copied()).collect();
    let administrator: Vec<&str> = unfiltered.iter().copied().chain(["--cap-add", "SYS_ADMIN"]).collect();
    let read_only = ["--read-only", "--volume", &volume];
    let filtered_read_only: Vec<&str> = filtered.iter().copied().chain(read_only).collect();
    // A developer's shell, root's.
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let word = format!("id=word,src={}", env.path("word").display());
    let shell = || env.build(DOCKERFILE).args(["--build-context", &base, "--secret", &word]);
    let finished = shell().store(env.path("root-store")).finish();
    assert!(finished.stderr.contains("isolation: overlay, root"), "{}", finished.stderr);
    let wanted = finished.image();
    // And a user's.
    let finished = shell().by_user(4247).with_subordinate_ids().finish();
    assert!(finished.stderr.contains("isolation: overlay, rootless with subordinate ids"), "{}", finished.stderr);
    assert_eq!(finished.image().diff_ids(), wanted.diff_ids(), "a user's shell");
    for (what, options, isolation) in [
        ("privileged", &["--privileged"][..], "overlay, root"),
        ("the right to mount", &administrator, "overlay, root"),
        ("docker's defaults, and a pod with RuntimeDefault", &filtered, "in-place"),
        ("a pod without a filter", &unfiltered, "overlay, rootless with every id"),
        ("podman's defaults", &[], "overlay, rootless with every id"),
        ("podman's defaults, the store on a volume", &["--volume", &volume], "overlay, rootless with every id"),
        ("a read-only root, docker's defaults", &filtered_read_only, "chroot"),
        ("a read-only root, podman's defaults", &read_only, "overlay, rootless with every id"),
    ] {
        let (said, image) = place.build(options, &[]);
        let image = image.unwrap_or_else(|| panic!("{what}: {said}"));
        assert!(said.contains(&format!("isolation: {isolation}")), "{what}: {said}");
        assert_eq!(image.diff_ids(), wanted.diff_ids(), "{what}");
    }
}

/// kaniko-asks 6: a user without subordinate ids makes the same layers, as far as one owner goes, and is told what is missing beyond.
#[test]
fn a_user_with_one_id_makes_the_same_layers_or_is_told_what_is_missing() {
    let env = TestEnv::new();
    let place = Place::new(&env);
    let own = DOCKERFILE.replace("chown 5:6 /opt/d/one && ", "");
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let word = format!("id=word,src={}", env.path("word").display());
    let shell = |text: &str| env.build(text).args(["--build-context", &base, "--secret", &word]);
    let wanted = shell(&own).store(env.path("root-store")).succeed();
    let finished = shell(&own).by_user(4248).finish();
    assert!(finished.stderr.contains("isolation: overlay, rootless with a single id"), "{}", finished.stderr);
    assert_eq!(finished.image().diff_ids(), wanted.diff_ids());
    let error = shell(DOCKERFILE).by_user(4248).fail(1);
    assert!(error.contains("chown: ") && error.contains("/etc/subuid"), "{error}");
    // An ordinary user in a container that allows namespaces.
    fs::create_dir(env.path("volume")).expect("the folder is new");
    run_as_anybody(&env.path("volume"));
    let volume = format!("{}:/store", env.path("volume").display());
    let user = ["--security-opt", "seccomp=unconfined", "--cap-drop", "ALL", "--user", "1000", "--volume", &volume];
    fs::write(env.path("Dockerfile"), own).expect("a file can be written");
    let (said, image) = place.build(&user, &[]);
    let image = image.unwrap_or_else(|| panic!("{said}"));
    assert!(said.contains("isolation: overlay, rootless with a single id"), "{said}");
    assert_eq!(image.diff_ids(), wanted.diff_ids());
}

#[test]
fn a_restricted_pod_builds_what_runs_nothing_and_says_what_is_missing() {
    let env = TestEnv::new();
    let place = Place::new(&env);
    fs::create_dir(env.path("volume")).expect("the folder is new");
    run_as_anybody(&env.path("volume"));
    let volume = format!("{}:/store", env.path("volume").display());
    let docker = docker_seccomp().expect("the profile lies in LAYERWRIGHT_SHARED/containers");
    let restricted =
        ["--security-opt", &docker, "--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--user", "1000", "--volume", &volume];
    let (said, image) = place.build(&restricted, &[]);
    assert!(image.is_none() && said.contains("a command cannot be run here"), "{said}");
    assert!(said.contains("failed to make a user namespace") && said.contains("hint: "), "{said}");
    fs::write(env.path("Dockerfile"), "FROM base\nCOPY --chown=3:4 app /app\n").expect("a file can be written");
    let (said, image) = place.build(&restricted, &[]);
    let image = image.unwrap_or_else(|| panic!("{said}"));
    assert_eq!(image.tree_above(1)["app/run"].rights(), "0644 3:4");
    // With the root filesystem read-only as well, as the strictest have it.
    let strictest: Vec<&str> = restricted.iter().copied().chain(["--read-only", "--read-only-tmpfs=false"]).collect();
    let (said, again) = place.build(&strictest, &[]);
    assert_eq!(again.unwrap_or_else(|| panic!("{said}")).diff_ids(), image.diff_ids());
}

/// kaniko-asks 8, 11 and 12: mounts in the way are left alone, and what a Dockerfile copies there is in the image all the same.
#[test]
fn a_build_in_place_leaves_mounts_alone_and_keeps_their_files_in_the_image() {
    let env = TestEnv::new();
    let place = Place::new(&env);
    let secret = env.path("mounted/token");
    crate::support::write(&secret, "not yours");
    let mounted = format!("{}:/var/run/secrets/kubernetes.io/serviceaccount:ro", env.path("mounted").display());
    let text =
        "FROM base\nCOPY app/run /etc/hosts\nCOPY app/run /var/run/mine\nRUN test -e /var/run/mine && echo x >/made && test ! -e /stale\n";
    fs::write(env.path("Dockerfile"), text).expect("a file can be written");
    let (said, image) = place.build(&["--volume", &mounted], &["--isolation", "in-place", "--cleanup"]);
    let image = image.unwrap_or_else(|| panic!("{said}"));
    let tree = image.tree_above(1);
    assert!(tree["etc/hosts"].text().contains("echo ran"));
    assert!(tree.contains_key("made"));
    assert!(!tree.keys().any(|path| path.contains("serviceaccount") || path.contains("layerwright")), "{:?}", tree.keys());
    assert_eq!(fs::read_to_string(&secret).expect("it is there"), "not yours");
}

/// kaniko-asks 11 and 12: files of an image where the container has mounts, over files, over directories, read-only and behind links, are no
/// reason to fail, and are in the image; what a command leaves in /run, /tmp, /var/run and a volume is as well.
#[test]
fn an_image_with_files_where_the_container_has_mounts_is_built_as_anywhere() {
    let env = TestEnv::new();
    let place = Place::new(&env);
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let text = "FROM base\nRUN mkdir -p /lib/modules/5 /sbin /usr/lib/nvidia /run && echo image >/sbin/docker-init && echo image >/lib/modules/5/m && \
                echo image >/product_uuid && echo image >/usr/lib/nvidia/lib.so && rm -rf /var/run && mkdir -p /var && ln -s /run /var/run\n";
    let layered = env.build(text).args(["--build-context", &base]).store(env.path("root-store")).succeed();
    fs::rename(env.path("base"), env.path("plain")).expect("it can be moved");
    run(Command::new("cp").arg("-r").arg(&layered.layout).arg(env.path("base")));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(env.path("base")));
    crate::support::write(&env.path("mounted/token"), "the container's");
    let mounted = |target: &str, file: &str| format!("{}{file}:{target}:ro", env.path("mounted").display());
    let mounts = [
        mounted("/sbin/docker-init", "/token"),
        mounted("/lib/modules", ""),
        mounted("/product_uuid", "/token"),
        mounted("/usr/lib/nvidia/lib.so", "/token"),
        mounted("/run/secrets/kubernetes.io/serviceaccount", ""),
    ];
    let options: Vec<&str> = mounts.iter().flat_map(|mount| ["--volume", mount]).collect();
    let text = "FROM base\nVOLUME /data\nRUN mkdir -p /data /run/d /tmp/d /var/run/e && for f in /data/f /run/d/f /tmp/d/f /var/run/e/f; do echo x >$f; done && \
                find /data /run/d /run/e /tmp/d -exec touch -d @1000000000 {} + && touch -d @1000000000 / /run /tmp\n\
                COPY app/run /sbin/docker-init\nCOPY app/run /lib/modules/5/n\nCOPY app/run /var/run/copied\nCOPY app/run /tmp/copied\n";
    fs::write(env.path("Dockerfile"), text).expect("a file can be written");
    let (said, image) = place.build(&options, &["--isolation", "in-place"]);
    let image = image.unwrap_or_else(|| panic!("{said}"));
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let wanted = env.build(text).args(["--build-context", &base, "--isolation", "overlay"]).store(env.path("root-store")).succeed();
    let (found, wanted) = (image.tree_above(2), wanted.tree_above(2));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for path in ["data/f", "run/d/f", "run/e/f", "tmp/d/f", "sbin/docker-init", "lib/modules/5/n", "run/copied", "tmp/copied"] {
        assert_eq!(found[path].content, wanted[path].content, "{path}");
    }
    assert_eq!(fs::read_to_string(env.path("mounted/token")).expect("it is there"), "the container's");
    assert_eq!(fs::read_dir(env.path("mounted")).expect("it is there").count(), 1);
}
