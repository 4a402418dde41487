//! GitLab's pipeline of examples/ci: its scripts as they stand, line by line, in containers of our debug image as the runner's docker
//! executor starts them, against a registry with TLS and a password and a mirror.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::container::runc;
use crate::support::pipeline::{Machine, PUBLISHED, document, example, gitlab_shell, images, strings, volume, write_login};
use crate::support::proxy::Proxy;
use crate::support::registry::{IN_AN_IMAGE, setting};
use crate::support::{Image, Registry, TestEnv, run, unique, write};

const LOGIN: &str = "builder:pass:word";

/// A group of projects with its registry, its mirror of Docker Hub and its executor.
struct Group<'a> {
    env: &'a TestEnv,
    machine: Machine<'a>,
    mirror: Proxy,
    pipeline: Value,
    executor: String,
    project: String,
}

/// Answers like python as far as the example asks.
const PYTHON: &str = r#"#!/bin/sh
case "$2" in
  compileall) for file in "$4"/*.py; do echo compiled >"${file}c"; done ;;
  app) echo "hello from $(basename "$PWD") with $(cat .venv/lib/greeting)" ;;
esac
"#;

impl<'a> Group<'a> {
    fn new(env: &'a TestEnv) -> Self {
        let (open, locked) = (Registry::open(), Registry::locked());
        let mirror = Proxy::counting(&open.address);
        let name = unique();
        hub(env);
        // The executor with the login in it, as examples/ci/gitlab/executor has it.
        let folder = example("gitlab/executor");
        let text = fs::read_to_string(folder.join("config.json")).expect("an example can be read");
        let mut config: Value = serde_json::from_str(&text).expect("a configuration is JSON");
        assert!(config["auths"]["registry.example.com"]["auth"].is_string());
        config["auths"] = serde_json::json!({ &locked.address: { "auth": IN_AN_IMAGE } });
        write(&env.path("executor/config.json"), config.to_string());
        fs::copy(folder.join("Dockerfile"), env.path("executor/Dockerfile")).expect("an example can be copied");
        let executor = locked.reference(&format!("tools/executor-{name}:debug"));
        write_login(&env.path("login/config.json"), &locked.address);
        let from = PUBLISHED.split_once('/').expect("a host and a name").0;
        env.build("")
            .context(env.path("executor"))
            .dockerfile(env.path("executor/Dockerfile"))
            .args(["--registry-map", &format!("{from}={}", published())])
            .args(["--skip-tls-verify"])
            .variable("DOCKER_CONFIG", env.path("login"))
            .push_to(&executor)
            .succeed();
        let machine = Machine::new(env);
        machine.pull(&executor, LOGIN);
        let group =
            Self { env, machine, mirror, pipeline: document("gitlab/.gitlab-ci.yml"), executor, project: format!("team/app-{name}") };
        group.check_out("hello");
        group
    }

    fn builds(&self) -> std::path::PathBuf {
        self.env.path("builds")
    }

    /// The runner checks the project out, and brings what an earlier job has left: `.venv`, with links in it.
    fn check_out(&self, greeting: &str) {
        let folder = self.builds().join(&self.project);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the folder can be made");
        for name in ["Dockerfile", "app"] {
            run(Command::new("cp").arg("-r").arg(example("gitlab").join(name)).arg(&folder));
        }
        write(&folder.join(".venv/pyvenv.cfg"), "home = /usr/local/bin\n");
        write(&folder.join(".venv/lib/greeting"), greeting);
        fs::create_dir(folder.join(".venv/bin")).expect("the folder is new");
        for (target, name) in [("/usr/local/bin/python3", "python"), ("python", "python3")] {
            std::os::unix::fs::symlink(target, folder.join(".venv/bin").join(name)).expect("a link");
        }
    }

    /// The script of a job.
    fn script(&self, job: &str) -> Vec<String> {
        let job = &self.pipeline[job];
        let template = &self.pipeline[job["extends"].as_str().expect("jobs extend a template")];
        assert_eq!(template["image"]["name"], "${HARBOR_REGISTRY}/tools/executor:debug");
        assert_eq!(strings(&template["image"]["entrypoint"]), [""]);
        strings(&job["script"])
    }

    /// Runs lines in a container, as the job of a branch.
    fn run(&self, branch: &str, lines: &[String], more: &[&str]) -> String {
        let (locked, project) = (Registry::locked().address, &self.project);
        let folder = format!("/builds/{project}");
        let (shell, input) = gitlab_shell(&folder, lines);
        let mut options = vec!["--entrypoint=".to_owned(), volume(&self.builds(), "/builds"), "--volume=/cache".to_owned()];
        for (name, value) in [
            ("HARBOR_REGISTRY", locked.as_str()),
            ("REGISTRY_MIRROR", &self.mirror.address),
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_DIR", &folder),
            ("CI_PROJECT_NAME", project.rsplit('/').next().expect("a name")),
            ("CI_PROJECT_PATH", project),
            ("CI_COMMIT_REF_NAME", branch),
            ("CI_COMMIT_REF_SLUG", &branch.replace('/', "-")),
            ("CI_COMMIT_SHORT_SHA", "0a1b2c3d"),
        ] {
            options.push(format!("--env={name}={value}"));
        }
        options.extend(more.iter().map(|&option| option.to_owned()));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.machine.succeed(&self.executor, &options, &input, &shell)
    }

    /// The image of a tag.
    fn image(&self, tag: &str) -> Image {
        let layout = self.env.path(format!("pushed.{}", unique()));
        run(Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--src-creds", LOGIN])
            .arg(format!("docker://{}/{}:{tag}", Registry::locked().address, self.project))
            .arg(format!("oci:{}:latest", layout.display())));
        Image::read(&layout)
    }

    /// What the image of a tag prints in podman, which pulls it.
    fn says(&self, tag: &str) -> String {
        let reference = format!("{}/{}:{tag}", Registry::locked().address, self.project);
        self.machine.pull(&reference, LOGIN);
        self.machine.succeed(&reference, &[], "", &[])
    }
}

fn greeting(group: &Group<'_>, what: &str) -> String {
    format!("hello from {} with {what}\n", group.project.rsplit('/').next().expect("a name"))
}

/// Docker Hub as far as it is needed: in the open registry, and as the runner's variable says.
fn hub(env: &TestEnv) -> String {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        write(&env.path("python/python3"), PYTHON);
        env.build("FROM {registry}/base/debian:latest\nCOPY --chmod=755 python3 /usr/local/bin/\n")
            .context(env.path("python"))
            .push_to(&Registry::open().reference("library/python:3.13-slim"))
            .succeed();
    });
    format!("--env=KANIKO_REGISTRY_MAP=index.docker.io={}", Registry::open().address)
}

#[test]
fn the_job_of_gitlabs_users_runs_as_it_stands() {
    let env = TestEnv::new();
    let group = Group::new(&env);
    let script = group.script("build-image");
    let said = group.run("main", &script, &[&hub(&env)]);
    assert!(said.contains("isolation: in-place"), "{said}");
    assert_eq!(group.says("latest"), greeting(&group, "hello"));
    // Of another branch, under another name.
    group.check_out("a feature");
    group.run("feature/x", &script, &[&hub(&env)]);
    assert_eq!(group.says("feature-x"), greeting(&group, "a feature"));
    assert_eq!(group.says("latest"), greeting(&group, "hello"));
    // What is in the image is the image's alone.
    let image = group.image("latest");
    assert_eq!(runc(&env, &image, &[]), greeting(&group, "hello"));
    let base = image.layers() - 4;
    let tree = image.tree_above(base);
    let name = group.project.rsplit('/').next().expect("a name");
    let folder = format!("srv/{name}");
    assert_eq!(tree[&format!("{folder}/.venv/bin/python")].link, "/usr/local/bin/python3");
    assert!(tree.contains_key(&format!("{folder}/app/__main__.pyc")), "{:?}", tree.keys());
    let foreign = tree.keys().find(|path| !path.is_empty() && *path != "srv" && !path.starts_with(&folder));
    assert_eq!(foreign, None, "nothing of the container");
    assert_eq!(*image.setting("Cmd"), serde_json::json!([".venv/bin/python", "-m", "app"]));
}

#[test]
fn the_job_with_a_mirror_pulls_through_it_alone() {
    let env = TestEnv::new();
    let group = Group::new(&env);
    let script = group.script("build-image-by-mirror");
    group.run("main", &script, &[]);
    assert!(group.mirror.take().iter().any(|passed| passed.target.contains("/library/python/")), "the base comes from the mirror");
    assert_eq!(group.says("latest"), greeting(&group, "hello"));
    assert_eq!(group.image("0a1b2c3d").digest, group.image("latest").digest);
    group.run("feature/x", &script, &[]);
    assert_eq!(group.says("feature-x"), greeting(&group, "hello"));
}

/// kaniko-asks 8: builds follow one another in one container, and the shell outlives them.
#[test]
fn one_container_builds_again_and_again() {
    let env = TestEnv::new();
    let group = Group::new(&env);
    let mut lines = group.script("build-image");
    lines.push("rm -r /workspace/.venv".to_owned());
    lines.push("echo second > .venv/lib/greeting; export CI_COMMIT_REF_NAME=feature/two CI_COMMIT_REF_SLUG=feature-two".to_owned());
    lines.extend(group.script("build-image-by-mirror"));
    lines.push("rm -rf /workspace/* && ls /busybox/sh /kaniko/executor /kaniko/.docker/config.json".to_owned());
    lines.push("printf 'FROM scratch\\nCOPY one /one\\n' > /workspace/Dockerfile; echo 1 > /workspace/one".to_owned());
    lines.push("cd / && /kaniko/executor --skip-tls-verify --destination ${HARBOR_REGISTRY}/${CI_PROJECT_PATH}:scratch".to_owned());
    let said = group.run("main", &lines, &[&hub(&env)]);
    assert!(said.contains("/kaniko/.docker/config.json"), "{said}");
    assert_eq!(group.says("latest"), greeting(&group, "hello"));
    assert_eq!(group.says("feature-two"), greeting(&group, "second"));
    let layers = group.image("latest").layers();
    assert_eq!(group.image("feature-two").layers(), layers);
    let tree = group.image("scratch").tree_above(0);
    assert_eq!(tree.keys().filter(|path| !path.is_empty()).collect::<Vec<_>>(), ["one"]);
}

/// As many a Dockerfile has it: the image works in `/workspace`, where the context lies.
#[test]
fn an_image_may_have_files_where_its_context_lies() {
    let env = TestEnv::new();
    let group = Group::new(&env);
    let base = Registry::locked().reference("base/busybox:latest");
    let text = format!(
        "FROM {base} AS build\nWORKDIR /workspace\nCOPY one .\nCOPY sub sub\nRUN cat one sub/two >both && test ! -e Dockerfile\n\
         FROM {base}\nCOPY --from=build /workspace/both /both\nCMD [\"cat\", \"/both\"]\n"
    );
    write(&env.path("builds/Dockerfile"), text);
    let build = "/kaniko/executor --skip-tls-verify --destination ${HARBOR_REGISTRY}/${CI_PROJECT_PATH}";
    let unharmed = "test \"$(cd /workspace && find . | sort | tr '\\n' ' ')\" = '. ./Dockerfile ./one ./sub ./sub/two '";
    let lines = [
        "cp /builds/Dockerfile /workspace && mkdir /workspace/sub && cd /workspace".to_owned(),
        "echo 1 >one && echo 2 >sub/two".to_owned(),
        format!("{build}:latest"),
        format!("{unharmed} && cd / && echo 3 >/workspace/sub/two"),
        format!("{build}:again --dockerfile /workspace/Dockerfile && {unharmed}"),
        "sed -i 's/^RUN.*/RUN touch three \\&\\& exit 5/' /workspace/Dockerfile".to_owned(),
        format!("{build}:never || echo ended with $?"),
        unharmed.to_owned(),
    ];
    let said = group.run("main", &lines, &[]);
    assert!(said.contains("ended with 5"), "{said}");
    assert_eq!((group.says("latest"), group.says("again")), ("1\n2\n".to_owned(), "1\n3\n".to_owned()));
}

/// A failing line ends the job with its code, and nothing is pushed.
#[test]
fn a_failing_run_ends_the_job_with_its_code() {
    let env = TestEnv::new();
    let group = Group::new(&env);
    let folder = group.builds().join(&group.project);
    let text = fs::read_to_string(folder.join("Dockerfile")).expect("a Dockerfile");
    write(&folder.join("Dockerfile"), text.replace("RUN .venv", "RUN exit 7\nRUN .venv"));
    let mut lines = group.script("build-image");
    let last = lines.pop().expect("a script has lines");
    lines.push(format!("{last} || echo ended with $?"));
    let said = group.run("main", &lines, &[&hub(&env)]);
    assert!(said.contains("ended with 7"), "{said}");
    assert_eq!(Registry::locked().manifest(&format!("{}/{}:latest", Registry::locked().address, group.project)), None);
}

/// The base image brings names of its own for everything that the builder lives by: its shell, its certificates, how names are looked up,
/// even `/busybox` and `/kaniko`.
#[test]
fn what_a_base_image_brings_along_does_not_change_the_builder() {
    let env = TestEnv::new();
    let group = Group::new(&env);
    let (open, locked) = (Registry::open(), Registry::locked());
    let named = locked.address.replace("127.0.0.1", "registry.test");
    for name in ["sh", "executor", "config.json", "ca-certificates.crt"] {
        write(&env.path("hostile").join(name), "of the base image");
    }
    // A library that the C library would look names up with, and run.
    let source =
        "__attribute__((constructor)) static void run(void) { FILE *file = fopen(\"/builds/ran\", \"a\"); if (file) fclose(file); }\n";
    write(&env.path("library.c"), format!("#include <stdio.h>\n{source}"));
    run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(env.path("hostile/libnss_other.so.2")).arg(env.path("library.c")));
    let libraries = format!("/usr/lib/{}/", run(Command::new("cc").arg("-print-multiarch")).trim());
    write(&env.path("hostile/nsswitch.conf"), "hosts: other files dns\npasswd: other files\ngroup: other files\n");
    let base = open.fresh();
    env.build(&format!(
        "FROM {{registry}}/base/debian:latest\n\
         COPY sh /busybox/sh\nCOPY executor /kaniko/executor\nCOPY config.json /kaniko/.docker/config.json\n\
         COPY ca-certificates.crt /kaniko/ssl/certs/\nCOPY ca-certificates.crt /etc/ssl/certs/\nCOPY nsswitch.conf /etc/\n\
         COPY config.json /root/.docker/config.json\nCOPY libnss_other.so.2 {libraries}\n"
    ))
    .context(env.path("hostile"))
    .push_to(&base)
    .succeed();
    // The registry goes by a name, which /etc/hosts has, and is believed by its certificate.
    fs::copy(setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"), env.path("builds/authority.pem")).expect("an authority");
    write(&env.path("builds/Dockerfile"), format!("FROM {base}\nRUN echo made >/made && test -e /builds\nCMD [\"cat\", \"/made\"]\n"));
    let lines = [
        "cat /builds/authority.pem >>/kaniko/ssl/certs/ca-certificates.crt".to_owned(),
        format!("sed -i s/{}/{named}/ /kaniko/.docker/config.json", locked.address),
        format!(
            "/kaniko/executor --dockerfile /builds/Dockerfile --insecure-registry {} --destination {named}/${{CI_PROJECT_PATH}}:latest",
            open.address
        ),
        "grep -q registry.test /kaniko/.docker/config.json".to_owned(),
        "/kaniko/executor --help | grep -q destination".to_owned(),
        "test \"$(echo still a shell | sed 's/ //g')\" = stillashell".to_owned(),
    ];
    group.run("main", &lines, &["--add-host=registry.test:127.0.0.1"]);
    assert!(!env.path("builds/ran").exists(), "code of the image ran in the builder");
    assert_eq!(group.says("latest"), "made\n");
    let image = group.image("latest");
    let tree = image.layer(-1);
    assert!(tree.keys().all(|path| path.is_empty() || path == "made"), "{:?}", tree.keys());
    let all = image.tree_above(0);
    for name in ["kaniko/executor", "busybox/sh", "kaniko/.docker/config.json"] {
        assert_eq!(all[name].text(), "of the base image", "{name}");
    }
}

/// Makes our images known by the names that the examples have, and says where.
fn published() -> String {
    static PUBLISHED_AT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let prefix = PUBLISHED_AT.get_or_init(|| {
        let open = Registry::open();
        let prefix = open.reference(&format!("published-{}", unique()));
        let name = PUBLISHED.split_once('/').expect("a host and a name").1;
        open.copy(&format!("{}/executor:debug", images()), &format!("{prefix}/{name}/executor:debug"));
        prefix
    });
    prefix.clone()
}
