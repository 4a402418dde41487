//! What the tests share: a clean place for each, the registries that `./test` starts, and images read back byte by byte.

pub mod bucket;
pub mod build;
pub mod cache;
#[path = "../../../host/build/cargo.rs"]
pub mod cargo;
pub mod conformance;
pub mod container;
pub mod daemon;
pub mod git;
pub mod image;
pub mod keywords;
pub mod pipeline;
pub mod place;
pub mod plan;
pub mod proxy;
pub mod registry;
pub mod rust;
pub mod secrets;
pub mod token;
pub mod tunnel;
pub mod web;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tempfile::TempDir;

pub use build::{Build, Finished};
pub use image::{Entry, Image, Kind, Tree};
pub use registry::{Registry, digest_of};

/// The repository's top folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host package lies in the repository").to_owned()
}

/// The program under test.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_layerwright"))
}

/// Held by every test that builds, so that a test that takes the time can have the machine to itself.
static MACHINE: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "held, never read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// A place of its own for one test: home, store, context, and whatever it makes. One per test: a second one would wait for the first.
pub struct TestEnv {
    folder: TempDir,
    secrets: Mutex<Vec<String>>,
    _turn: Turn,
}

impl TestEnv {
    /// For a test that does not mind others beside it.
    pub fn new() -> Self {
        Self::with(Turn::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// For a test that measures time or memory: no other that builds runs beside it.
    pub fn alone() -> Self {
        Self::with(Turn::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn with(turn: Turn) -> Self {
        let folder = tempfile::Builder::new().prefix("layerwright-it-").tempdir().expect("a temporary folder");
        // Other users build in it too.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        let env = Self { folder, secrets: Mutex::default(), _turn: turn };
        for name in ["home", "context"] {
            fs::create_dir(env.path(name)).expect("the folder is empty");
        }
        env
    }

    /// A path in the test's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes note of what no run may show, such as the password that a server of the test gives out. What is given in variables and
    /// in docker's configuration needs no mention.
    pub fn conceal(&self, secret: &str) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }

    fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a file of the build context, with the folders above it.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("context").join(name);
        write(&path, content);
        path
    }

    /// Writes files of the build context that hold their own names.
    pub fn files(&self, names: &[&str]) {
        for name in names {
            self.file(name, name);
        }
    }

    /// Makes a symbolic link in the build context.
    pub fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.path("context").join(name)).expect("a link");
    }

    /// A build of a Dockerfile, in which `{registry}` stands for the address of the registry. The image is pushed nowhere and written to
    /// a layout, until the test says otherwise.
    pub fn build(&self, dockerfile: &str) -> Build<'_> {
        Build::new(self, dockerfile)
    }
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a path below a folder")).expect("the folders can be made");
    fs::write(path, content).expect("the file can be written");
}

/// Runs a program that has to succeed, and returns what it wrote to standard output.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output in UTF-8")
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}; run ./test, which installs it"))
}

/// A name that no other test has.
pub fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
