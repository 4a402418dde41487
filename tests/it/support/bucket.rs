//! Contexts in buckets, and a server of Amazon's kind.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{Build, TestEnv, run, write};

/// An archive that is a context with one file in `dir`.
pub fn archive(env: &TestEnv) -> PathBuf {
    let folder = env.path("in");
    write(&folder.join("Dockerfile"), "FROM scratch\nCOPY hello /\n");
    write(&folder.join("hello"), "hello");
    write(&folder.join("dir/Dockerfile"), "FROM scratch\nCOPY below /\n");
    write(&folder.join("dir/below"), "below");
    let path = env.path("context.tar.gz");
    run(Command::new("tar").arg("-czf").arg(&path).arg("-C").arg(&folder).arg("."));
    path
}

/// A build of a context that brings its Dockerfile along.
pub fn from<'a>(env: &'a TestEnv, context: &str) -> Build<'a> {
    env.build("").context(context).dockerfile("Dockerfile")
}

/// A server of the S3 protocol, with users and roles, that verifies signatures; it holds a bucket `sources` and ends with the value.
pub struct Amazon {
    server: Child,
    said: Value,
}

impl Amazon {
    /// Serves one object, called as the file is.
    pub fn serve(object: &Path) -> Self {
        let python = std::env::var("LAYERWRIGHT_TEST_MOTO").expect("LAYERWRIGHT_TEST_MOTO is set by ./test");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/setup/s3.py");
        let mut command = Command::new(python);
        command.arg(script).arg("sources").arg(object).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().expect("the server starts");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("a pipe")).read_line(&mut line).expect("the server says where it is");
        Self { server, said: serde_json::from_str(&line).expect("JSON") }
    }

    /// What the server says of itself: `endpoint`, `region`, who may log in, and which roles there are.
    pub fn text(&self, name: &str) -> &str {
        self.said[name].as_str().unwrap_or_else(|| panic!("s3.py says no {name}"))
    }

    /// A build with the keys of the user who may read.
    pub fn login<'a>(&self, build: Build<'a>) -> Build<'a> {
        self.place(build).variable("AWS_ACCESS_KEY_ID", self.text("id")).variable("AWS_SECRET_ACCESS_KEY", self.text("secret"))
    }

    /// A build that knows the server and nobody who may log in there.
    pub fn place<'a>(&self, build: Build<'a>) -> Build<'a> {
        let build = build.variable("S3_ENDPOINT", self.text("endpoint")).variable("S3_FORCE_PATH_STYLE", "true");
        build.variable("AWS_REGION", self.text("region"))
    }
}

impl Drop for Amazon {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
