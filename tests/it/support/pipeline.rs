//! Our own images in containers, run as a CI runs them, and the pipelines of examples/ci as values.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::container::{Storage, docker_defaults};
use super::registry::setting;
use super::{Registry, TestEnv, repository, run, unique};

/// Where the images are, built once by the command that the README names: `{}/executor:latest`, `{}/executor:debug`, `{}/warmer:latest`.
pub fn images() -> &'static str {
    static IMAGES: OnceLock<String> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let prefix = Registry::open().reference(&format!("images-{}", unique()));
        let program = setting("LAYERWRIGHT_TEST_STATIC");
        run(build_images().args(["--push", &prefix, "--version", "v0", "--program", &program, "--", "--insecure"]));
        prefix
    })
}

/// The command that builds the images.
pub fn build_images() -> Command {
    Command::new(repository().join("host/images/build"))
}

/// The name that the examples know our images by.
pub const PUBLISHED: &str = "registry.example.com/layerwright";

/// A file of examples/ci.
pub fn example(name: &str) -> PathBuf {
    repository().join("examples/ci").join(name)
}

/// What a file of examples/ci says.
pub fn document(name: &str) -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(example(name)).expect("an example can be read")).expect("an example is YAML")
}

/// The program that checks pipelines, to be told which.
pub fn checker() -> Command {
    let mut command = Command::new(setting("LAYERWRIGHT_TEST_PYTHON"));
    command.arg(repository().join("tests/setup/check-pipeline.py"));
    command
}

/// The strings of a list.
pub fn strings(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|value| value.as_str().expect("a string").to_owned()).collect()
}

/// A text in which a platform's expressions, such as `$(params.IMAGE)`, have their values. One that is not known is a mistake.
pub fn fill(text: &str, open: &str, close: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        let (name, after) = after.split_once(close).expect("an expression ends");
        let value = values.iter().find(|(known, _)| *known == name.trim());
        filled.push_str(before);
        filled.push_str(value.unwrap_or_else(|| panic!("{name} has no value")).1);
        rest = after;
    }
    filled + rest
}

/// A machine that runs containers with docker's default capabilities and system call filter.
pub struct Machine<'a> {
    storage: Storage<'a>,
}

impl<'a> Machine<'a> {
    pub fn new(env: &'a TestEnv) -> Self {
        Self { storage: Storage::new(env, "podman") }
    }

    /// Runs an image with `options` for podman, standard input and arguments.
    pub fn run(&self, image: &str, options: &[&str], input: &str, arguments: &[&str]) -> Output {
        let mut command = self.storage.command();
        command.args(["--runtime", "runc", "run", "--rm", "--interactive", "--network", "host", "--tls-verify=false", "--quiet"]);
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]).args(docker_defaults());
        command.args(options).arg(image).args(arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("podman starts; run ./test, which installs it");
        // What ends early reads no more.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("podman ends")
    }

    /// As [`Machine::run`]; it has to succeed. Returns all that it said.
    pub fn succeed(&self, image: &str, options: &[&str], input: &str, arguments: &[&str]) -> String {
        let output = self.run(image, options, input, arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{image} {arguments:?}: {}\n{input}\n{said}", output.status);
        said
    }

    /// Brings an image from a registry that wants to know who asks, as a runner does.
    pub fn pull(&self, image: &str, credentials: &str) {
        run(self.storage.command().args(["pull", "--quiet", "--tls-verify=false", "--creds", credentials, image]));
    }
}

/// How GitLab's runner finds a shell in an image, and gives it the lines of a script: each is a command of its own, and the first that
/// fails ends the job.
pub fn gitlab_shell(folder: &str, lines: &[String]) -> (Vec<&'static str>, String) {
    let find = "for shell in /usr/local/bin/bash /usr/bin/bash /bin/bash /usr/local/bin/sh /usr/bin/sh /bin/sh /busybox/sh; do\n\
                [ ! -x $shell ] || exec $shell\ndone\necho shell not found\nexit 1";
    let script = format!("set -eo pipefail\nset +o noclobber\ncd {folder}\n{}\nexit 0\n", lines.join("\n"));
    (vec!["sh", "-c", find], script)
}

/// Writes docker's configuration with a login for one registry.
pub fn write_login(file: &Path, registry: &str) {
    super::write(file, format!("{{\"auths\":{{\"{registry}\":{{\"auth\":\"{}\"}}}}}}", super::registry::BASIC));
}

/// `--volume`, and where a folder of the test is to be in the container.
pub fn volume(from: &Path, to: &str) -> String {
    format!("--volume={}:{to}", from.display())
}
