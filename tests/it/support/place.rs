//! A folder with all that a build needs, which may be the builder's own root directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Image, TestEnv, program, run};

/// A folder; what the test needs in it lies in `test`.
pub struct Place {
    /// Where it is.
    pub folder: PathBuf,
    isolation: &'static str,
    own_root: bool,
}

impl Place {
    /// In place the builder lives in the folder; otherwise it is a folder of this machine.
    pub fn new(env: &TestEnv, isolation: &'static str) -> Self {
        let folder = env.path(format!("place-{isolation}"));
        fs::create_dir_all(folder.join("test/context")).expect("the folder can be made");
        for name in ["proc", "dev"] {
            fs::create_dir_all(folder.join(name)).expect("the folder can be made");
        }
        fs::write(folder.join("test/context/app"), "app").expect("a file can be written");
        let bases = std::env::var_os("LAYERWRIGHT_TEST_BASES").expect("run ./test, which makes the bases");
        run(Command::new("cp").arg("-r").arg(Path::new(&bases).join("busybox")).arg(folder.join("test/base")));
        let own_root = isolation == "in-place";
        if own_root {
            let program = std::env::var_os("LAYERWRIGHT_TEST_STATIC").expect("run ./test, which builds the static program");
            fs::copy(program, folder.join("test/layerwright")).expect("the static program can be copied");
        }
        Self { folder, isolation, own_root }
    }

    /// The same folder, and another isolation for what runs there.
    pub fn with_isolation(self, isolation: &'static str) -> Self {
        Self { isolation, ..self }
    }

    /// Where `test` is for the builder.
    pub fn root(&self) -> PathBuf {
        if self.own_root { PathBuf::from("/test") } else { self.folder.join("test") }
    }

    /// The command of a build; it becomes the builder. `FROM base` is busybox.
    pub fn builder(&self, dockerfile: &str) -> Command {
        fs::write(self.folder.join("test/Dockerfile"), dockerfile).expect("a file can be written");
        let mut command = if self.own_root {
            // Its own root directory, which it uses up, and a /proc that goes with its mount namespace.
            let mut command = Command::new("unshare");
            let script = "mount -t proc proc \"$1/proc\" && mount --bind /dev \"$1/dev\" && exec chroot \"$@\"";
            command.args(["--mount", "sh", "-c", script, "sh"]).arg(&self.folder).arg("/test/layerwright");
            command
        } else {
            Command::new(program())
        };
        let root = self.root();
        command.args(["build", "--no-push", "--force", "--isolation", self.isolation, "--ignore-path", "/test"]);
        command.arg("--build-context").arg(format!("base=oci-layout://{}", root.join("base").display()));
        for (flag, name) in [("--context", "context"), ("--dockerfile", "Dockerfile"), ("--store", "store"), ("--oci-layout-path", "image")]
        {
            command.arg(flag).arg(root.join(name));
        }
        command.env("HOME", root.join("home")).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// What comes of a build.
    pub fn output(&self, dockerfile: &str, arguments: &[&str]) -> Output {
        drop(fs::remove_dir_all(self.folder.join("test/image")));
        self.builder(dockerfile).args(arguments).output().expect("the program starts")
    }

    /// The image of a build that has to succeed.
    pub fn image(&self, dockerfile: &str, arguments: &[&str]) -> Image {
        let output = self.output(dockerfile, arguments);
        assert!(output.status.success(), "{}: {}", self.isolation, String::from_utf8_lossy(&output.stderr));
        Image::read(&self.folder.join("test/image"))
    }
}
