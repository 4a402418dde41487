//! The pipelines of examples/ci, but for GitLab's: each is what its platform takes, and does what it says, in containers as the platform
//! starts them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::container::{Storage, docker_seccomp};
use crate::support::git::{Repository, serve};
use crate::support::pipeline::{Machine, checker, document, example, fill, images, strings, volume, write_login};
use crate::support::registry::setting;
use crate::support::{Image, Registry, TestEnv, output, run, write};

const LOGIN: &str = "builder:pass:word";

#[test]
fn every_pipeline_is_what_its_platform_takes() {
    let env = TestEnv::new();
    for (name, word) in [
        ("gitlab/.gitlab-ci.yml", "script:"),
        ("github/image.yml", "uses:"),
        ("tekton/task.yaml", "workingDir:"),
        ("argo/workflow-template.yaml", "volumeMounts:"),
        ("kubernetes/job.yaml", "args:"),
        ("kubernetes/pod-restricted.yaml", "drop:"),
    ] {
        run(checker().arg(example(name)));
        // A checker that takes everything shows nothing.
        let text = fs::read_to_string(example(name)).expect("an example can be read");
        let broken = env.path(name.replace('/', "-"));
        write(&broken, text.replacen(word, &format!("un{word}"), 1));
        assert!(!output(checker().arg(&broken)).status.success(), "{name} without {word}");
    }
}

/// What the locked registry has of an image, and what the image says when it runs.
fn pushed(env: &TestEnv, reference: &str) -> (Image, String) {
    let layout = env.path(format!("pushed.{}", crate::support::unique()));
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--src-creds", LOGIN])
        .arg(format!("docker://{reference}"))
        .arg(format!("oci:{}:latest", layout.display())));
    let image = Image::read(&layout);
    let said = crate::support::container::runc(env, &image, &[]);
    (image, said)
}

const DOCKERFILE: &str = "FROM {base}\nCOPY page.txt /page.txt\nRUN echo built >>/page.txt\nCMD [\"cat\", \"/page.txt\"]\n";

/// A Dockerfile for the platforms that have RUN, one for those that have not, and a file.
fn project(folder: &Path, run: bool) {
    let base = Registry::locked().reference("base/busybox:latest");
    let text = DOCKERFILE.replace("{base}", &base);
    let text = if run { text } else { text.replace("RUN echo built >>/page.txt\n", "") };
    write(&folder.join("Dockerfile"), text);
    write(&folder.join("page.txt"), "a page\n");
}

/// A git server with a project, and the variables with which a build reaches it on this machine.
fn git_server(env: &TestEnv, name: &str, run: bool) -> (crate::support::web::Web, String) {
    let root = env.path("git");
    let repository = Repository::new(root.join(name), "sha1");
    project(&repository.path, run);
    repository.commit(&[]);
    let server = serve(&root, |_| None);
    let address = server.address.clone();
    (server, address)
}

/// The arguments of a container, for this machine's servers.
fn local(arguments: &Value, git: &str, image: &str) -> Vec<String> {
    let arguments = strings(arguments).into_iter();
    let arguments = arguments.map(|argument| match argument.strip_prefix("--destination=") {
        Some(_) => format!("--destination={image}"),
        None => argument.replace("git://git.example.com/team/", &format!("git://{git}/")),
    });
    // The registry's certificate is nobody's here.
    arguments.chain(["--skip-tls-verify".to_owned()]).collect()
}

#[test]
fn a_kubernetes_job_builds_a_git_repository_and_leaves_its_digest_as_termination_message() {
    let env = TestEnv::new();
    let job = document("kubernetes/job.yaml");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let (_server, git) = git_server(&env, "app", true);
    let image = Registry::locked().fresh();
    write_login(&env.path("login/config.json"), &Registry::locked().address);
    write(&env.path("termination-log"), "");
    fs::create_dir(env.path("store")).expect("the folder is new");
    let options = [
        volume(&env.path("login"), "/kaniko/.docker:ro"),
        volume(&env.path("store"), "/kaniko/store"),
        volume(&env.path("termination-log"), "/dev/termination-log"),
        "--env=GIT_PULL_METHOD=http".to_owned(),
        format!("--env=LAYERWRIGHT_ALLOW_PRIVATE_HOSTS={git}"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let arguments = local(&container["args"], &git, &image);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = Machine::new(&env).succeed(&format!("{}/executor:latest", images()), &options, "", &arguments);
    assert!(said.contains("isolation: in-place"), "{said}");
    let (built, output) = pushed(&env, &image);
    assert_eq!(output, "a page\nbuilt\n");
    assert_eq!(fs::read_to_string(env.path("termination-log")).expect("a message"), built.digest);
}

/// kaniko-asks 6.
#[test]
fn a_restricted_pod_builds_without_user_0_and_without_a_capability() {
    let env = TestEnv::new();
    let pod = document("kubernetes/pod-restricted.yaml");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 1000);
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    let (_server, git) = git_server(&env, "site", false);
    let image = Registry::locked().fresh();
    write_login(&env.path("login/config.json"), &Registry::locked().address);
    write(&env.path("termination-log"), "");
    fs::create_dir(env.path("store")).expect("the folder is new");
    for name in ["store", "termination-log"] {
        chown(env.path(name), Some(1000), Some(1000)).expect("root may give files away");
    }
    fs::set_permissions(env.path("login/config.json"), fs::Permissions::from_mode(0o644)).expect("the file is ours");
    let storage = Storage::new(&env, "podman");
    let mut command = storage.command();
    command.args(["--runtime", "runc", "run", "--rm", "--network", "host", "--tls-verify=false", "--quiet"]);
    command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--read-only", "--read-only-tmpfs=false"]);
    command.args(["--security-opt", &docker_seccomp(), "--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--user", "1000:1000"]);
    command.args([volume(&env.path("login"), "/kaniko/.docker:ro"), volume(&env.path("store"), "/kaniko/store")]);
    command.arg(volume(&env.path("termination-log"), "/dev/termination-log"));
    command.args(["--env=GIT_PULL_METHOD=http", &format!("--env=LAYERWRIGHT_ALLOW_PRIVATE_HOSTS={git}")]);
    run(command.arg(format!("{}/executor:latest", images())).args(local(&container["args"], &git, &image)));
    let (built, output) = pushed(&env, &image);
    assert_eq!(output, "a page\n");
    assert_eq!(fs::read_to_string(env.path("termination-log")).expect("a message"), built.digest);
}

#[test]
fn a_tekton_task_builds_and_writes_its_results() {
    let env = TestEnv::new();
    let task = document("tekton/task.yaml");
    let image = Registry::locked().fresh();
    project(&env.path("source"), true);
    write_login(&env.path("login/config.json"), &Registry::locked().address);
    fs::create_dir(env.path("results")).expect("the folder is new");
    let mut values = vec![
        ("workspaces.source.path", "/workspace/source"),
        ("results.IMAGE_DIGEST.path", "/tekton/results/IMAGE_DIGEST"),
        ("results.IMAGE_URL.path", "/tekton/results/IMAGE_URL"),
    ];
    for param in task["spec"]["params"].as_array().expect("parameters") {
        let name = param["name"].as_str().expect("a name");
        let value = if name == "IMAGE" { Some(image.as_str()) } else { param["default"].as_str() };
        values.extend(value.map(|value| (&*format!("params.{name}").leak(), value)));
    }
    let mounts = [
        volume(&env.path("source"), "/workspace/source"),
        volume(&env.path("login"), "/kaniko/.docker"),
        volume(&env.path("results"), "/tekton/results"),
    ];
    let machine = Machine::new(&env);
    for step in task["spec"]["steps"].as_array().expect("steps") {
        let mut options: Vec<String> = mounts.to_vec();
        let mut arguments = Vec::new();
        let mut input = String::new();
        match step["script"].as_str() {
            None => {
                options.push(format!("--entrypoint={}", step["command"][0].as_str().expect("a command")));
                for argument in strings(&step["args"]) {
                    match argument.as_str() {
                        "$(params.EXTRA_ARGS[*])" => arguments.push("--skip-tls-verify".to_owned()),
                        argument => arguments.push(fill(argument, "$(", ")", &values)),
                    }
                }
            }
            // The script is a file there; its first line says what reads it.
            Some(script) => {
                let (first, rest) = script.split_once('\n').expect("lines");
                options.push(format!("--entrypoint={}", first.strip_prefix("#!").expect("a program")));
                input = fill(rest, "$(", ")", &values);
            }
        }
        for variable in step["env"].as_array().into_iter().flatten() {
            let value = fill(variable["value"].as_str().expect("a value"), "$(", ")", &values);
            options.push(format!("--env={}={value}", variable["name"].as_str().expect("a name")));
        }
        if let Some(folder) = step["workingDir"].as_str() {
            options.push(format!("--workdir={}", fill(folder, "$(", ")", &values)));
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        machine.succeed(&format!("{}/executor:debug", images()), &options, &input, &arguments);
    }
    let (built, output) = pushed(&env, &image);
    assert_eq!(output, "a page\nbuilt\n");
    let result = |name: &str| fs::read_to_string(env.path("results").join(name)).expect("a result");
    assert_eq!((result("IMAGE_DIGEST"), result("IMAGE_URL")), (built.digest, image));
}

#[test]
fn an_argo_workflow_builds_what_it_has_checked_out() {
    let env = TestEnv::new();
    let template = document("argo/workflow-template.yaml");
    let build = &template["spec"]["templates"][0];
    let (container, source) = (&build["container"], build["inputs"]["artifacts"][0]["path"].as_str().expect("a path"));
    let image = Registry::locked().fresh();
    project(&env.path("source"), true);
    write_login(&env.path("login/config.json"), &Registry::locked().address);
    for name in ["store", "argo", "out"] {
        fs::create_dir(env.path(name)).expect("the folder is new");
    }
    let arguments: Vec<String> = strings(&container["args"])
        .iter()
        .map(|argument| fill(argument, "{{", "}}", &[("workflow.parameters.image", &image)]))
        .chain(["--skip-tls-verify".to_owned()])
        .collect();
    // What starts the command there stays in the container, and reads the outputs when the command has ended: here a shell of the debug
    // image does.
    let script = format!("{} {} && cp /tmp/digest /out/digest", container["command"][0].as_str().expect("a command"), arguments.join(" "));
    let mounts = [
        volume(&env.path("source"), source),
        volume(&env.path("login"), "/kaniko/.docker:ro"),
        volume(&env.path("store"), "/kaniko/store"),
        volume(&env.path("argo"), "/var/run/argo"),
        volume(&env.path("out"), "/out"),
        "--entrypoint=/busybox/sh".to_owned(),
    ];
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    Machine::new(&env).succeed(&format!("{}/executor:debug", images()), &mounts, "", &["-c", &script]);
    let (built, output) = pushed(&env, &image);
    assert_eq!(output, "a page\nbuilt\n");
    assert_eq!(fs::read_to_string(env.path("out/digest")).expect("an output"), built.digest);
}

#[test]
fn a_github_workflow_builds_in_a_step_that_is_a_container() {
    let env = TestEnv::new();
    let workflow = document("github/image.yml");
    let steps = workflow["jobs"]["image"]["steps"].as_array().expect("steps");
    let registry = Registry::locked();
    let repository = format!("test/{}", crate::support::unique());
    let image = format!("{}/{repository}:main", registry.address);
    project(&env.path("checkout"), true);
    let step = steps.iter().find(|step| step["uses"].as_str().is_some_and(|uses| uses.starts_with("docker://"))).expect("a step");
    let values = [("env.REGISTRY", registry.address.as_str()), ("github.repository", &repository), ("github.ref_name", "main")];
    let arguments = fill(step["with"]["args"].as_str().expect("arguments"), "${{", "}}", &values);
    for name in ["github-home", "github-workflow"] {
        fs::create_dir(env.path(name)).expect("the folder is new");
    }
    write_login(&env.path("github-home/.docker/config.json"), &registry.address);
    let options = [
        volume(&env.path("checkout"), "/github/workspace"),
        volume(&env.path("github-home"), "/github/home"),
        volume(&env.path("github-workflow"), "/github/workflow"),
        "--workdir=/github/workspace".to_owned(),
        "--env=HOME=/github/home".to_owned(),
        "--env=GITHUB_ACTIONS=true".to_owned(),
        "--env=GITHUB_TOKEN=for-another-registry".to_owned(),
        "--env=DOCKER_CONFIG=/github/home/.docker".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let arguments: Vec<&str> = arguments.split_whitespace().chain(["--skip-tls-verify"]).collect();
    Machine::new(&env).succeed(&format!("{}/executor:latest", images()), &options, "", &arguments);
    let (built, said) = pushed(&env, &image);
    assert_eq!(said, "a page\nbuilt\n");
    let after = steps.iter().find_map(|step| step["run"].as_str()).expect("a step that runs a script");
    let outputs = env.path("outputs");
    run(Command::new("bash").args(["-e", "-c", after]).current_dir(env.path("checkout")).env("GITHUB_OUTPUT", &outputs));
    assert_eq!(fs::read_to_string(&outputs).expect("outputs"), format!("digest={}\n", built.digest));
}

/// kaniko-asks 10: G3304, G837, G1919, G475 and G661. The executor works from an image of one's own, which has a shell, a user's tools
/// and authorities, and builds in it again and again.
#[test]
fn the_executor_works_in_an_image_of_ones_own() {
    let env = TestEnv::new();
    let registry = Registry::locked();
    let open = Registry::open();
    let agent = open.fresh();
    let text = fs::read_to_string(example("agent/Dockerfile")).expect("an example can be read");
    // As if they were published.
    open.copy(&open.reference("base/debian:latest"), &open.reference("hub/jenkins/inbound-agent:latest"));
    open.copy(&format!("{}/executor:v0", images()), &open.reference("published/layerwright/executor:v0.1.0"));
    env.build(&text)
        .args(["--registry-map", &format!("docker.io={}/hub", open.address)])
        .args(["--registry-map", &format!("registry.example.com={}/published", open.address)])
        .push_to(&agent)
        .succeed();
    // The workspace is a volume there.
    project(&env.path("agent/app"), true);
    write_login(&env.path("agent/config.json"), &registry.address);
    let names = ["one", "two", "three"].map(|name| registry.reference(&format!("test/{}-{name}:latest", crate::support::unique())));
    // An authority of the agent's own: it is there before the build, and gone when the image is pushed.
    fs::copy(setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"), env.path("agent/authority.pem")).expect("an authority");
    let open_base = open.reference("base/busybox:latest");
    let believing = format!(
        "mkdir -p /etc/ssl/certs && cp ../authority.pem /etc/ssl/certs/ca-certificates.crt && unset SSL_CERT_DIR\n\
         printf 'FROM {open_base}\\nRUN echo x >/x\\nCMD [\"cat\", \"/page.txt\"]\\nCOPY page.txt /\\n' >Dockerfile\n\
         executor --context . --skip-push-permission-check --insecure-registry {} --destination {}\n",
        open.address, names[2]
    );
    let script = format!(
        "set -e\ncp config.json /kaniko/.docker/config.json\ncd app\n\
         executor --context . --destination {} --skip-tls-verify\n\
         echo more >>page.txt\n\
         /kaniko/executor --context dir:///home/jenkins/agent/app --destination {} --skip-tls-verify\n\
         {}",
        names[0], names[1], believing
    );
    let mounts = [volume(&env.path("agent"), "/home/jenkins/agent"), "--workdir=/home/jenkins/agent".to_owned()];
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    let said = Machine::new(&env).succeed(&agent, &mounts, "", &["sh", "-c", &script]);
    assert_eq!(said.matches("isolation: in-place").count(), 3, "{said}");
    for (name, wanted) in names.iter().zip(["a page\nbuilt\n", "a page\nmore\nbuilt\n", "a page\nmore\n"]) {
        let (image, said) = pushed(&env, name);
        assert_eq!(said, wanted);
        let layer = image.layer(-1);
        assert!(layer.keys().all(|path| path.is_empty() || path == "page.txt"), "nothing of the agent: {:?}", layer.keys());
    }
}
