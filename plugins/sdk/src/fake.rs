//! A host for tests: it answers what the test says, and keeps what the plugin says.
//!
//! ```
//! use layerwright_plugin::{env, fake, log};
//!
//! let host = fake::Host::new().env("GREETING", "hello").install();
//! log::info(env::get("GREETING").unwrap().unwrap());
//! assert_eq!(host.messages(), ["hello"]);
//! ```
//!
//! A host belongs to the thread that installed it, until its guard is dropped. Without one, everything is empty and
//! missing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::Error;
use crate::credential_helper::Entry;
use crate::http::{Request, Response};
use crate::inspect::{FileInfo, FileKind, Place};
use crate::log::Level;

thread_local! {
    static CURRENT: RefCell<Rc<Host>> = RefCell::default();
}

type Responder = Box<dyn Fn(&Request) -> Result<Response, Error>>;

/// What the plugin is to find.
#[derive(Default)]
pub struct Host {
    env: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
    helpers: BTreeMap<(String, String), Entry>,
    denied: BTreeSet<String>,
    tree: Vec<(Place, String, FileInfo, Vec<u8>)>,
    responder: Option<Responder>,
    requests: RefCell<Vec<Request>>,
    now: u64,
    log: RefCell<Vec<(Level, String)>>,
}

/// A host in force. Dropping it brings the one before it back.
pub struct Installed {
    host: Rc<Host>,
    before: Rc<Host>,
}

impl Host {
    /// A host where everything is empty and missing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Puts a file where [`crate::files`] finds it.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    /// Refuses a variable, a file or a credential helper, by its name.
    #[must_use]
    pub fn deny(mut self, name: impl Into<String>) -> Self {
        self.denied.insert(name.into());
        self
    }

    /// Lets a credential helper know a server. A helper that knows none is not installed.
    #[must_use]
    pub fn helper(
        mut self,
        name: impl Into<String>,
        server: impl Into<String>,
        username: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        let entry = Entry { username: username.into(), secret: secret.into() };
        self.helpers.insert((name.into(), server.into()), entry);
        self
    }

    /// Puts a regular file into the root filesystem, with mode 0644.
    #[must_use]
    pub fn rootfs_file(self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.place_file(Place::Rootfs, path, 0o644, content)
    }

    /// Puts a regular file into a place that [`crate::inspect`] looks at.
    #[must_use]
    pub fn place_file(self, place: Place, path: impl Into<String>, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let info = FileInfo { size: content.len() as u64, ..info(FileKind::Regular, mode) };
        self.place_entry(place, path, info, content)
    }

    /// Puts an empty directory into a place.
    #[must_use]
    pub fn place_directory(self, place: Place, path: impl Into<String>, mode: u32) -> Self {
        self.place_entry(place, path, info(FileKind::Directory, mode), Vec::new())
    }

    /// Puts a symbolic link into a place. The fake does not follow it.
    #[must_use]
    pub fn place_symlink(self, place: Place, path: impl Into<String>, target: impl Into<String>) -> Self {
        let info = FileInfo { target: Some(target.into()), ..info(FileKind::Symlink, 0o777) };
        self.place_entry(place, path, info, Vec::new())
    }

    fn place_entry(mut self, place: Place, path: impl Into<String>, info: FileInfo, content: Vec<u8>) -> Self {
        self.tree.push((place, clean(&path.into()), info, content));
        self
    }

    /// Answers HTTP requests.
    #[must_use]
    pub fn http(mut self, responder: impl Fn(&Request) -> Result<Response, Error> + 'static) -> Self {
        self.responder = Some(Box::new(responder));
        self
    }

    /// Sets the clock, in seconds since 1970.
    #[must_use]
    pub fn now(mut self, seconds: u64) -> Self {
        self.now = seconds;
        self
    }

    /// Puts the host in force for this thread.
    #[must_use = "the host is in force until this is dropped"]
    pub fn install(self) -> Installed {
        let host = Rc::new(self);
        let before = CURRENT.replace(Rc::clone(&host));
        Installed { host, before }
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }

    pub(crate) fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        self.ask(name)?;
        Ok(self.env.get(name).cloned())
    }

    pub(crate) fn read_file(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.ask(path)?;
        self.files.get(path).cloned().ok_or_else(|| missing(path))
    }

    pub(crate) fn list_files(&self, path: &str) -> Result<Vec<String>, Error> {
        self.ask(path)?;
        let directory = path.trim_end_matches('/');
        let below = self.files.keys().filter_map(|known| known.strip_prefix(directory)?.strip_prefix('/'));
        let names: BTreeSet<&str> = below.map(|rest| rest.split('/').next().unwrap_or(rest)).collect();
        if names.is_empty() {
            return Err(missing(path));
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    pub(crate) fn run_helper(&self, name: &str, server: &str) -> Result<Option<Entry>, Error> {
        self.ask(name)?;
        if !self.helpers.keys().any(|(known, _)| known == name) {
            return Err(missing(&format!("docker-credential-{name}")));
        }
        Ok(self.helpers.get(&(name.to_owned(), server.to_owned())).cloned())
    }

    pub(crate) fn send(&self, request: &Request) -> Result<Response, Error> {
        self.requests.borrow_mut().push(request.clone());
        match &self.responder {
            Some(responder) => responder(request),
            None => Err(Error::denied(format!("{} is not granted", request.url))),
        }
    }

    pub(crate) fn time(&self) -> u64 {
        self.now
    }

    pub(crate) fn stat(&self, place: &Place, path: &str) -> Result<Option<FileInfo>, Error> {
        let path = clean(path);
        if let Some((_, info, _)) = self.entries_of(place).find(|(known, ..)| *known == path) {
            return Ok(Some(info.clone()));
        }
        // Directories that lead to a file exist without being named.
        let implied = path.is_empty() || self.entries_of(place).any(|(known, ..)| below(&path, known).is_some());
        Ok(implied.then(|| info(FileKind::Directory, 0o755)))
    }

    pub(crate) fn read_in(&self, place: &Place, path: &str) -> Result<Vec<u8>, Error> {
        let wanted = clean(path);
        self.entries_of(place)
            .find(|(known, info, _)| *known == wanted && info.kind == FileKind::Regular)
            .map(|(_, _, content)| content.to_owned())
            .ok_or_else(|| missing(path))
    }

    pub(crate) fn entries(&self, place: &Place, path: &str) -> Result<Vec<String>, Error> {
        match self.stat(place, path)? {
            Some(info) if info.kind == FileKind::Directory => {}
            _ => return Err(missing(path)),
        }
        let directory = clean(path);
        let names: BTreeSet<&str> = self
            .entries_of(place)
            .filter_map(|(known, ..)| below(&directory, known))
            .map(|rest| rest.split('/').next().unwrap_or(rest))
            .collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn entries_of<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = (&'a str, &'a FileInfo, &'a [u8])> {
        self.tree.iter().filter(move |(known, ..)| known == place).map(|(_, path, info, content)| (path.as_str(), info, content.as_slice()))
    }

    fn ask(&self, name: &str) -> Result<(), Error> {
        if self.denied.contains(name) {
            return Err(Error::denied(format!("{name} is not granted")));
        }
        Ok(())
    }
}

impl Installed {
    /// What the plugin said, with levels.
    pub fn log(&self) -> Vec<(Level, String)> {
        self.host.log.borrow().clone()
    }

    /// The requests that the plugin sent, those that were refused as well.
    pub fn requests(&self) -> Vec<Request> {
        self.host.requests.borrow().clone()
    }

    /// What the plugin said.
    pub fn messages(&self) -> Vec<String> {
        self.log().into_iter().map(|(_, message)| message).collect()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(Rc::clone(&self.before));
    }
}

/// Asks the host in force.
pub(crate) fn with<T>(question: impl FnOnce(&Host) -> T) -> T {
    let host = CURRENT.with_borrow(Rc::clone);
    question(&host)
}

fn info(kind: FileKind, mode: u32) -> FileInfo {
    FileInfo { kind, mode, uid: 0, gid: 0, size: 0, target: None }
}

fn missing(what: &str) -> Error {
    Error::not_found(format!("{what}: no such file"))
}

/// A path without its leading and trailing slashes and without empty parts.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// What is left of `path` below `directory`.
fn below<'a>(directory: &str, path: &'a str) -> Option<&'a str> {
    if directory.is_empty() {
        return Some(path);
    }
    path.strip_prefix(directory)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, clock, credential_helper, env, files, http, inspect, log};

    #[test]
    fn without_a_host_everything_is_missing() {
        assert_eq!(env::get("HOME").unwrap(), None);
        assert_eq!(files::read("/etc/hostname").unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(inspect::stat(&Place::Rootfs, "/etc").unwrap(), None);
        assert_eq!(credential_helper::get("x", "y").unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(http::send(&Request::new("GET", "https://x/")).unwrap_err().code, ErrorCode::Denied);
        assert_eq!(clock::now(), 0);
    }

    #[test]
    fn hosts_nest_and_end_with_their_guard() {
        let outer = Host::new().env("A", "outer").install();
        {
            let inner = Host::new().env("A", "inner").now(7).install();
            assert_eq!(env::get("A").unwrap().as_deref(), Some("inner"));
            assert_eq!(clock::now(), 7);
            log::info("heard inside");
            assert_eq!(inner.messages(), ["heard inside"]);
        }
        assert_eq!(env::get("A").unwrap().as_deref(), Some("outer"));
        assert!(outer.messages().is_empty());
    }

    #[test]
    fn what_is_denied_says_so() {
        let _host = Host::new().env("A", "a").deny("A").file("/f", "x").deny("/f").install();
        assert_eq!(env::get("A").unwrap_err().code, ErrorCode::Denied);
        assert_eq!(files::read("/f").unwrap_err().code, ErrorCode::Denied);
    }

    #[test]
    fn a_tree_has_the_directories_that_lead_to_its_files() {
        let _host = Host::new()
            .rootfs_file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
            .place_symlink(Place::Rootfs, "/bin", "usr/bin")
            .place_directory(Place::Stage("build".to_owned()), "/out", 0o700)
            .install();
        let stat = |path| inspect::stat(&Place::Rootfs, path).unwrap().map(|info| info.kind);
        assert_eq!(stat("/"), Some(FileKind::Directory));
        assert_eq!(stat("/etc/"), Some(FileKind::Directory));
        assert_eq!(stat("/etc/passwd"), Some(FileKind::Regular));
        assert_eq!(stat("/bin"), Some(FileKind::Symlink));
        assert_eq!(stat("/out"), None);
        assert_eq!(inspect::entries(&Place::Rootfs, "/").unwrap(), ["bin", "etc"]);
        assert!(inspect::read(&Place::Rootfs, "/etc/passwd").unwrap().starts_with(b"root:"));
        assert_eq!(inspect::read(&Place::Rootfs, "/etc").unwrap_err().code, ErrorCode::NotFound);
        assert!(inspect::stat(&Place::Stage("build".to_owned()), "/out").unwrap().is_some());
    }

    #[test]
    fn requests_are_answered_by_the_test() {
        let _host = Host::new()
            .http(|request| {
                Ok(Response { status: 200, headers: vec![crate::Property::new("x-seen", request.url.clone())], body: b"ok".to_vec() })
            })
            .install();
        let response = http::send(&Request::new("GET", "https://example.com/")).unwrap();
        assert_eq!(response.header("X-Seen"), Some("https://example.com/"));
    }
}
