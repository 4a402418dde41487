//! Git repositories made by git itself, and served by it over HTTP and by its daemon.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::web::{Reply, Seen, Web};
use super::{run, write};

/// When all commits are made.
pub const TIME: u64 = 1_500_000_000;

/// A working copy.
pub struct Repository {
    pub path: PathBuf,
}

impl Repository {
    /// A new repository without a commit, its branch called `main`.
    pub fn new(path: PathBuf, format: &str) -> Self {
        std::fs::create_dir_all(&path).expect("the folder can be made");
        let repository = Self { path };
        repository.git(&["init", "--quiet", "--initial-branch=main", &format!("--object-format={format}")]);
        repository.git(&["config", "uploadpack.allowFilter", "true"]);
        repository
    }

    /// Runs git in it.
    pub fn git(&self, arguments: &[&str]) -> String {
        let date = format!("@{TIME} +0000");
        let mut command = Command::new("git");
        command.args(["-c", "protocol.file.allow=always"]).args(arguments).current_dir(&self.path).env_clear();
        command.env("PATH", std::env::var_os("PATH").expect("a PATH")).env("HOME", &self.path).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "Tester")
                .env(format!("GIT_{who}_EMAIL"), "tester@example.test")
                .env(format!("GIT_{who}_DATE"), &date);
        }
        run(&mut command).trim().to_owned()
    }

    /// Writes files, and commits all that there is; returns the commit.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            write(&self.path.join(name), content);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "a commit"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Serves all repositories below a folder, each as `/NAME/.git` and as `/NAME.git`, if `allowed` has nothing against a request.
pub fn serve(root: &Path, allowed: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Web {
    let root = root.to_owned();
    Web::serve(move |seen| allowed(seen).unwrap_or_else(|| backend(&root, seen)))
}

fn backend(root: &Path, seen: &Seen) -> Reply {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear().env("PATH", std::env::var_os("PATH").expect("a PATH"));
    // A repository called x.git lies in x/.git.
    let inside = path.replacen(".git/", "/.git/", 1);
    command.envs([
        ("GIT_PROJECT_ROOT", root.to_str().expect("a path in UTF-8")),
        ("GIT_HTTP_EXPORT_ALL", "1"),
        ("PATH_INFO", &inside),
        ("QUERY_STRING", query),
        ("REQUEST_METHOD", &seen.method),
        ("CONTENT_TYPE", seen.header("content-type").unwrap_or_default()),
        ("GIT_PROTOCOL", seen.header("git-protocol").unwrap_or_default()),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", "*"),
    ]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git starts");
    child.stdin.take().expect("a pipe").write_all(&seen.body).expect("git reads");
    let output = child.wait_with_output().expect("git ends").stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("a header");
    let mut reply = Reply::ok(&output[end + 4..]);
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        match name {
            "Status" => reply.status = value[..3].parse().expect("a status"),
            _ => reply = reply.header(name, value),
        }
    }
    reply
}

/// A `git daemon`, which ends with the value.
pub struct Daemon {
    pub port: u16,
    child: Child,
}

impl Daemon {
    /// Serves all repositories below a folder.
    pub fn start(root: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").port();
        let mut command = Command::new("/usr/lib/git-core/git-daemon");
        command.args(["--export-all", "--listen=127.0.0.1", "--reuseaddr"]).arg(format!("--port={port}"));
        command.arg(format!("--base-path={}", root.display())).env("GIT_CONFIG_COUNT", "1");
        command.env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*").stderr(Stdio::null());
        let daemon = Self { port, child: command.spawn().expect("git daemon starts") };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "git daemon does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
