//! Servers of Debian's that a test starts for itself, since no other wants them as it does: docker-registry, and nginx before one.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::registry::setting;
use super::{TestEnv, unique, write};

/// A running server; it ends with the test.
pub struct Daemon {
    /// `HOST:PORT`
    pub address: String,
    folder: PathBuf,
    child: Child,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Daemon {
    /// A docker-registry on the open registry's storage, so that it holds the same images. `more` is added to its configuration.
    pub fn registry(env: &TestEnv, more: &str) -> Self {
        Self::registry_at(env, "127.0.0.1", &setting("LAYERWRIGHT_TEST_REGISTRY_STORAGE"), more)
    }

    /// A docker-registry at a host's free port, on a storage.
    pub fn registry_at(env: &TestEnv, host: &str, storage: &str, more: &str) -> Self {
        let folder = env.path(format!("registry.{}", unique()));
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n\
             http: {{addr: '{host}:0'}}\n{more}\n"
        );
        write(&folder.join("config.yml"), config);
        let log = fs::File::create(folder.join("log")).expect("a log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry starts: run ./test, which installs it");
        let mut daemon = Self { address: String::new(), folder, child };
        let begun = Instant::now();
        while daemon.address.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "docker-registry does not start:\n{}", daemon.log());
            thread::sleep(Duration::from_millis(20));
            let log = daemon.log();
            let told = log.split_once("listening on ").map(|(_, rest)| rest.split(['"', ' ', ',']).next().unwrap_or_default());
            daemon.address = told.unwrap_or_default().to_owned();
        }
        daemon
    }

    /// nginx with TLS and HTTP/2 before a registry, with the tests' certificate. `more` goes into its `server` block.
    pub fn nginx(env: &TestEnv, registry: &str, more: &str) -> Self {
        let folder = env.path(format!("nginx.{}", unique()));
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port is free").to_string();
        let client = setting("LAYERWRIGHT_TEST_CLIENT");
        let (certificate, key) = client.split_once(',').expect("certificate and key");
        let at = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/log;\n\
             events {{}}\n\
             http {{\n\
             log_format requests '$server_protocol $request_method $request_uri $status $http_authorization';\n\
             access_log {at}/requests requests;\n\
             client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;\n\
             server {{\n\
             listen {address} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             client_max_body_size 0;\n\
             {more}\n\
             location / {{\n\
             proxy_pass http://{registry}; proxy_http_version 1.1; proxy_request_buffering off;\n\
             proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;\n\
             }}\n\
             }}\n\
             }}\n"
        );
        write(&folder.join("nginx.conf"), config);
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts: run ./test, which installs it");
        let daemon = Self { address, folder, child };
        let begun = Instant::now();
        while TcpStream::connect(&daemon.address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "nginx does not start:\n{}", daemon.log());
            thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    /// A reference to an image there.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// `PROTOCOL METHOD TARGET STATUS AUTHORIZATION` of the requests that nginx has answered.
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("requests")).expect("nginx keeps a log");
        text.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
