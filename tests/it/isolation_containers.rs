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

/// kaniko-asks 6, 8 and 9; adversarial 23 and 56.
#[test]
fn every_container_gives_the_same_layers() {
    let env = TestEnv::new();
    let place = Place::new(&env);
    fs::create_dir(env.path("volume")).expect("the folder is new");
    let volume = format!("{}:/store", env.path("volume").display());
    let docker = docker_seccomp().expect("the profile lies in LAYERWRIGHT_SHARED/containers");
    let filtered: Vec<&str> = ["--security-opt", &docker].into_iter().chain(CAPABILITIES.iter().copied()).collect();
    let unfiltered: Vec<&str> = ["--security-opt", "seccomp=unconfined"].into_iter().chain(CAPABILITIES.iter().copied()).collect();
    let read_only: Vec<&str> = filtered.iter().copied().chain(["--read-only", "--volume", &volume]).collect();
    let (said, image) = place.build(&["--privileged"], &[]);
    let wanted = image.unwrap_or_else(|| panic!("{said}"));
    assert!(said.contains("isolation: overlay, root"), "{said}");
    for (what, options, isolation) in [
        ("docker's defaults, and a pod with RuntimeDefault", &filtered[..], "in-place"),
        ("a pod without a filter", &unfiltered, "overlay, rootless with every id"),
        ("podman's defaults", &[], "overlay, rootless with every id"),
        ("podman's defaults, the store on a volume", &["--volume", &volume], "overlay, rootless with every id"),
        ("a read-only root", &read_only, "chroot"),
    ] {
        let (said, image) = place.build(options, &[]);
        let image = image.unwrap_or_else(|| panic!("{what}: {said}"));
        assert!(said.contains(&format!("isolation: {isolation}")), "{what}: {said}");
        assert_eq!(image.diff_ids(), wanted.diff_ids(), "{what}");
    }
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
