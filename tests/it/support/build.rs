//! One run of the program, and what came of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Image, Registry, TestEnv, output, program, secrets, unique, write};

/// A build that is being prepared.
pub struct Build<'a> {
    env: &'a TestEnv,
    program: OsString,
    before: Vec<OsString>,
    subcommand: Option<&'static str>,
    context: OsString,
    dockerfile: OsString,
    stdin: Option<PathBuf>,
    layout: PathBuf,
    store: PathBuf,
    destinations: Vec<String>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    insecure: bool,
    writes_layout: bool,
}

/// A build that has ended.
pub struct Finished {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// The largest resident size of a process of the build, in KiB.
    pub peak_kib: u64,
    layout: PathBuf,
}

impl<'a> Build<'a> {
    pub(super) fn new(env: &'a TestEnv, dockerfile: &str) -> Self {
        let name = unique();
        let path = env.path(format!("Dockerfile.{name}"));
        // Only a test that names the registry needs one.
        let text = if dockerfile.contains("{registry}") {
            dockerfile.replace("{registry}", &Registry::open().address)
        } else {
            dockerfile.to_owned()
        };
        write(&path, text);
        Self {
            env,
            program: program().into(),
            before: Vec::new(),
            subcommand: Some("build"),
            context: env.path("context").into(),
            dockerfile: path.into(),
            stdin: None,
            layout: env.path(format!("image.{name}")),
            store: env.path("store"),
            destinations: Vec::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            insecure: true,
            writes_layout: true,
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<I: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// A variable of the program's environment, which holds nothing else but HOME and PATH.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Pushes there.
    pub fn push_to(mut self, destination: &str) -> Self {
        self.destinations.push(destination.to_owned());
        self
    }

    /// At a fixed time, so that the same files make the same layers.
    pub fn repeatable(self) -> Self {
        self.variable("SOURCE_DATE_EPOCH", "1700000000")
    }

    /// Another place than the test's for what is kept between builds.
    pub fn store(mut self, folder: PathBuf) -> Self {
        self.store = folder;
        self
    }

    /// Another context than the test's.
    pub fn context(mut self, context: impl AsRef<OsStr>) -> Self {
        self.context = context.as_ref().to_owned();
        self
    }

    /// Another Dockerfile than the text that was given.
    pub fn dockerfile(mut self, dockerfile: impl AsRef<OsStr>) -> Self {
        self.dockerfile = dockerfile.as_ref().to_owned();
        self
    }

    /// With a file as standard input.
    pub fn stdin(mut self, file: PathBuf) -> Self {
        self.stdin = Some(file);
        self
    }

    /// Without the leave to speak plain HTTP that the other builds have.
    pub fn secure(mut self) -> Self {
        self.insecure = false;
        self
    }

    /// Another subcommand than `build`.
    pub fn subcommand(mut self, name: &'static str) -> Self {
        self.subcommand = Some(name);
        self
    }

    /// Another program, without a subcommand.
    pub fn called(mut self, program: PathBuf) -> Self {
        (self.program, self.subcommand) = (program.into(), None);
        self
    }

    /// As a user that has no rights here, with a copy of the program that this user can reach.
    pub fn by_user(mut self, id: u32) -> Self {
        let program = self.env.path("layerwright");
        if !program.exists() {
            fs::copy(&self.program, &program).expect("the program can be copied");
        }
        for name in ["home", "store"] {
            fs::create_dir_all(self.env.path(name)).expect("the folder can be made");
            std::os::unix::fs::chown(self.env.path(name), Some(id), Some(id)).expect("root may give folders away");
        }
        let outputs = self.env.path(format!("outputs.{}", unique()));
        fs::create_dir(&outputs).expect("the folder can be made");
        std::os::unix::fs::chown(&outputs, Some(id), Some(id)).expect("root may give folders away");
        self.layout = outputs.join("image");
        self.program = program.into();
        self.before = ["setpriv", "--reuid", &id.to_string(), "--regid", &id.to_string(), "--clear-groups", "--inh-caps=-all"]
            .map(OsString::from)
            .to_vec();
        self
    }

    /// Gives the user of [`Build::by_user`] 65536 subordinate ids, for this build alone.
    pub fn with_subordinate_ids(mut self) -> Self {
        let id = self.before.get(2).expect("by_user comes first").to_string_lossy().into_owned();
        let file = self.env.path(format!("subordinate.{}", unique()));
        write(&file, format!("{id}:700000:65536\n"));
        // The helper that maps them asks for the user's name as well.
        let accounts = self.env.path(format!("accounts.{}", unique()));
        let known = fs::read_to_string("/etc/passwd").expect("the accounts can be read");
        write(&accounts, format!("{known}layerwright-it:x:{id}:{id}::/:/bin/sh\n"));
        let script = "mount --bind \"$1\" /etc/subuid && mount --bind \"$1\" /etc/subgid && mount --bind \"$2\" /etc/passwd && shift 2 && exec \"$@\"";
        let mut before = ["unshare", "--mount", "sh", "-c", script, "sh"].map(OsString::from).to_vec();
        before.extend([file.into(), accounts.into()]);
        before.append(&mut self.before);
        self.before = before;
        self
    }

    /// Without the layout that the other builds write, for which every layer has to be here.
    pub fn without_layout(mut self) -> Self {
        self.writes_layout = false;
        self
    }

    /// Runs it to its end. Nothing that it says or writes shows a secret that it was given.
    pub fn finish(self) -> Finished {
        let secrets = secrets::given(self.env, &self.variables);
        secrets::remember(&secrets);
        let usage = self.env.path(format!("usage.{}", unique()));
        let mut command = Command::new("time");
        command.args(["--quiet", "--format=%M", "--output"]).arg(&usage).args(&self.before).arg(&self.program).args(self.subcommand);
        command.arg("--context").arg(&self.context).arg("--dockerfile").arg(&self.dockerfile);
        command.arg("--store").arg(&self.store);
        if self.writes_layout {
            command.arg("--oci-layout-path").arg(&self.layout);
        }
        if self.insecure {
            command.args(["--insecure", "--insecure-pull"]);
        }
        if self.destinations.is_empty() {
            command.arg("--no-push");
        }
        command.args(self.destinations.iter().flat_map(|destination| ["--destination", destination]));
        command.args(&self.arguments);
        command.env_clear().env("HOME", self.env.path("home")).env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("RUST_BACKTRACE", "1").envs(self.variables).current_dir(self.env.path("home"));
        let start = Instant::now();
        let output = match &self.stdin {
            Some(file) => command.stdin(fs::File::open(file).expect("the input can be read")).output().expect("the program starts"),
            None => output(&mut command),
        };
        let took = start.elapsed();
        let peak = fs::read_to_string(&usage).expect("`time` says what it measured");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        secrets::search_text(&secrets, "standard output", &stdout);
        secrets::search_text(&secrets, "standard error", &stderr);
        for written in [&self.layout, &self.store].into_iter().chain(&named_files(self.env, &self.arguments)) {
            secrets::search_files(&secrets, written);
        }
        Finished {
            code: output.status.code(),
            stdout,
            stderr,
            took,
            peak_kib: peak.trim().parse().unwrap_or_else(|_| panic!("`time` says {peak:?}")),
            layout: self.layout,
        }
    }

    /// Runs it; it has to succeed.
    pub fn succeed(self) -> Image {
        self.finish().image()
    }

    /// Runs it; it has to fail with an exit code, and returns what it said.
    pub fn fail(self, code: i32) -> String {
        let finished = self.finish();
        assert_eq!(finished.code, Some(code), "the exit code\n{}", finished.stderr);
        assert!(finished.stderr.contains("error: "), "no error is named:\n{}", finished.stderr);
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        assert!(!finished.layout.join("index.json").exists(), "a failed build wrote an image");
        finished.stderr
    }
}

/// The places in the test's folder that arguments name, as `--flag PATH` or `--flag=PATH`, where a run may have written.
fn named_files(env: &TestEnv, arguments: &[OsString]) -> Vec<PathBuf> {
    let folder = env.path("");
    let inputs = ["context", "home"].map(|name| env.path(name));
    let texts = arguments.iter().filter_map(|argument| argument.to_str());
    let paths = texts.map(|text| PathBuf::from(text.rsplit('=').next().unwrap_or(text)));
    paths.filter(|path| path.starts_with(&folder) && inputs.iter().all(|input| !path.starts_with(input))).collect()
}

impl Finished {
    /// The image of a build that has to have succeeded.
    pub fn image(&self) -> Image {
        assert_eq!(self.code, Some(0), "the build failed:\n{}{}", self.stdout, self.stderr);
        Image::read(&self.layout)
    }
}
