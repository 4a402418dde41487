//! The judges: runtimes that other people wrote run what we built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Image, TestEnv, repository, run, unique};

/// What `podman run REFERENCE ARGUMENT...` prints; it has to succeed.
pub fn podman(env: &TestEnv, reference: &str, arguments: &[&str]) -> String {
    let storage = Storage::new(env, "podman");
    run(storage
        .command()
        // Containers in containers: no address of their own, and no more files and processes than the machine allows.
        .args(["--runtime", "runc", "run", "--rm", "--network", "host", "--tls-verify=false", "--quiet"])
        .args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"])
        .arg(reference)
        .args(arguments))
}

/// Pulls with buildah, and returns what it thinks of the image.
pub fn buildah(env: &TestEnv, reference: &str) -> Value {
    let storage = Storage::new(env, "buildah");
    run(storage.command().args(["pull", "--quiet", "--tls-verify=false", reference]));
    serde_json::from_str(&run(storage.command().args(["inspect", "--type", "image", reference]))).expect("buildah inspects in JSON")
}

/// What the image prints in runc, unpacked by umoci; `arguments` take the place of its command where there are any.
pub fn runc(env: &TestEnv, image: &Image, arguments: &[&str]) -> String {
    let name = unique();
    let tagged = env.path(format!("tagged.{name}"));
    run(Command::new("cp").arg("-r").arg(&image.layout).arg(&tagged));
    edit(&tagged.join("index.json"), |index| index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "run" }));
    let bundle = env.path(format!("bundle.{name}"));
    run(Command::new("umoci").arg("unpack").arg("--image").arg(format!("{}:run", tagged.display())).arg(&bundle));
    edit(&bundle.join("config.json"), |config| {
        let process = config["process"].as_object_mut().expect("a runtime configuration has a process");
        process.remove("rlimits");
        process.insert("terminal".to_owned(), json!(false));
        if !arguments.is_empty() {
            process.insert("args".to_owned(), json!(arguments));
        }
    });
    run(Command::new("runc")
        .arg("--root")
        .arg(env.path("runc"))
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(format!("layerwright-it-{name}")))
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).expect("a readable file")).expect("JSON");
    change(&mut value);
    fs::write(file, value.to_string()).expect("a writable file");
}

/// Runs the static program in a container that has nothing else, with `options` for podman. The test's folder is at `/test`; the
/// context and the home lie there.
pub fn static_build(env: &TestEnv, options: &[&str], arguments: &[&str]) -> std::process::Output {
    let root = static_root(env);
    static_build_on(env, &format!("{}:O", root.display()), options, arguments)
}

/// A root filesystem that holds the static program, a folder `tmp`, and what a test puts there.
pub fn static_root(env: &TestEnv) -> PathBuf {
    let program = std::env::var_os("LAYERWRIGHT_TEST_STATIC").expect("run ./test, which builds the static program");
    let root = env.path(format!("container.{}", unique()));
    fs::create_dir_all(root.join("tmp")).expect("the folder can be made");
    fs::copy(program, root.join("layerwright")).expect("the static program can be copied; run ./test, which builds it");
    root
}

/// As [`static_build`], on a root filesystem that is left as the program leaves it, or is not where its name ends in `:O`.
pub fn static_build_on(env: &TestEnv, root: &str, options: &[&str], arguments: &[&str]) -> std::process::Output {
    let storage = Storage::new(env, "podman");
    super::output(
        storage
            .command()
            .args(["--runtime", "runc", "run", "--rm", "--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"])
            .arg("--volume")
            .arg(format!("{}:/test", env.path("").display()))
            .args(options)
            .arg("--rootfs")
            .arg(root)
            .arg("/layerwright")
            .args(arguments),
    )
}

/// Docker's default capabilities and system call filter, as options for podman.
pub fn docker_defaults() -> Vec<String> {
    let capabilities =
        "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,MKNOD,NET_BIND_SERVICE,NET_RAW,SETFCAP,SETGID,SETPCAP,SETUID,SYS_CHROOT,AUDIT_WRITE";
    ["--security-opt", &docker_seccomp(), "--cap-drop", "ALL", "--cap-add", capabilities].map(str::to_owned).to_vec()
}

/// Docker's default system call filter, as `--security-opt` takes it.
pub fn docker_seccomp() -> String {
    let shared = std::env::var_os("LAYERWRIGHT_SHARED").map_or_else(|| repository().join("../shared"), Into::into);
    let profile = shared.join("containers/docker-seccomp.json");
    assert!(profile.exists(), "docker's default profile lies in LAYERWRIGHT_SHARED/containers");
    format!("seccomp={}", profile.display())
}

/// Image storage of its own for podman or buildah, taken down again at the end.
pub struct Storage<'a> {
    env: &'a TestEnv,
    program: &'static str,
}

impl<'a> Storage<'a> {
    pub fn new(env: &'a TestEnv, program: &'static str) -> Self {
        Self { env, program }
    }

    /// The program with this storage, to be told what to do.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(self.env.path(self.program)).arg("--runroot").arg(self.env.path(format!("{}.run", self.program)));
        command
    }
}

impl Drop for Storage<'_> {
    fn drop(&mut self) {
        // Its driver leaves a mount, which would be in the way of removing the folder.
        let _ = Command::new("umount").args(["--quiet", "--recursive"]).arg(self.env.path(self.program).join("overlay")).output();
    }
}
