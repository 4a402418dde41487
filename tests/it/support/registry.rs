//! The registries that `./test` starts, seen from outside: through skopeo and curl.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{output, run};

/// A registry on this machine.
pub struct Registry {
    /// `127.0.0.1:PORT`
    pub address: String,
    credentials: Option<&'static str>,
    scheme: &'static str,
}

/// The user of the guarded registry, and `USER:PASSWORD` in base 64.
pub const USER: &str = "builder";
/// A colon in it is allowed, and is a test of its own.
pub const PASSWORD: &str = "pass:word";
/// Another user with another password, as docker's configuration has them: for a login that is meant to be in an image.
pub const IN_AN_IMAGE: &str = "cGlwZWxpbmU6aW4tYW4taW1hZ2U=";
/// `USER:PASSWORD` as docker's configuration has it.
pub const BASIC: &str = "YnVpbGRlcjpwYXNzOndvcmQ=";

/// A variable that `./test` sets.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./test, which starts the registries that this test needs"))
}

impl Registry {
    /// The one that lets everybody do everything. It holds `base/busybox:latest`, `base/debian:latest` and `base/debian:bookworm`.
    pub fn open() -> Self {
        Self { address: setting("LAYERWRIGHT_TEST_REGISTRY"), credentials: None, scheme: "http" }
    }

    /// The one that wants a user and a password. It holds `base/busybox:latest`.
    pub fn guarded() -> Self {
        Self { address: setting("LAYERWRIGHT_TEST_GUARDED_REGISTRY"), credentials: Some("builder:pass:word"), scheme: "http" }
    }

    /// The one that speaks TLS, with a certificate that nobody knows. It holds `base/busybox:latest`.
    pub fn tls() -> Self {
        Self { address: setting("LAYERWRIGHT_TEST_TLS_REGISTRY"), credentials: None, scheme: "https" }
    }

    /// The one that wants a user and a password over TLS, with a certificate that nobody knows. It holds `base/busybox:latest`.
    pub fn locked() -> Self {
        Self { address: setting("LAYERWRIGHT_TEST_LOCKED_REGISTRY"), credentials: Some("builder:pass:word"), scheme: "https" }
    }

    /// Where the open registry keeps a blob.
    pub fn blob_file(digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a SHA-256");
        let folder = PathBuf::from(setting("LAYERWRIGHT_TEST_REGISTRY_STORAGE")).join("docker/registry/v2/blobs/sha256");
        folder.join(&hex[..2]).join(hex).join("data")
    }

    /// The reference of an image here.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// A tag here that no other test has.
    pub fn fresh(&self) -> String {
        self.reference(&format!("test/{}:latest", super::unique()))
    }

    /// The bytes of a manifest, as text; none where the registry has nothing of the name.
    pub fn raw_manifest(&self, reference: &str) -> Option<String> {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--raw", "--tls-verify=false"]);
        if let Some(credentials) = self.credentials {
            command.args(["--creds", credentials]);
        }
        let output = output(command.arg(format!("docker://{reference}")));
        if output.status.success() {
            return Some(String::from_utf8(output.stdout).expect("a manifest in UTF-8"));
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("manifest unknown") || error.contains("name unknown"), "skopeo cannot look at {reference}: {error}");
        None
    }

    /// A manifest; none where the registry has nothing of the name.
    pub fn manifest(&self, reference: &str) -> Option<Value> {
        self.raw_manifest(reference).map(|text| serde_json::from_str(&text).expect("a manifest is JSON"))
    }

    /// Copies an image within the registry.
    pub fn copy(&self, from: &str, to: &str) {
        run(Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"])
            .args([format!("docker://{from}"), format!("docker://{to}")]));
    }

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, content: impl AsRef<[u8]>) -> String {
        let digest = digest_of(content.as_ref());
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("the file can be written");
        let start = run(self.curl().args(["-X", "POST", "-D", "-", "-o", "/dev/null"]).arg(self.url(repository, "blobs/uploads/")));
        let location = start.lines().find_map(|line| line.strip_prefix("Location: ")).expect("an upload has a location").trim();
        run(self
            .curl()
            .args(["-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", &format!("@{}", file.path().display())])
            .arg(format!("{location}&digest={digest}")));
        digest
    }

    /// Puts a manifest into a repository, and returns its descriptor.
    pub fn put_manifest(&self, repository: &str, tag: &str, manifest: &Value) -> Value {
        let media_type = manifest["mediaType"].as_str().expect("a manifest with a media type");
        let text = manifest.to_string();
        run(self
            .curl()
            .args(["-X", "PUT", "-H", &format!("Content-Type: {media_type}"), "--data-binary", &text])
            .arg(self.url(repository, &format!("manifests/{tag}"))));
        serde_json::json!({ "mediaType": media_type, "digest": digest_of(text.as_bytes()), "size": text.len() })
    }

    fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--fail", "--silent", "--show-error"]);
        command
    }

    fn url(&self, repository: &str, rest: &str) -> String {
        format!("{}://{}/v2/{repository}/{rest}", self.scheme, self.address)
    }
}

/// `sha256:…` of bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
