//! Git repositories, checked out without git: only what is built is fetched, nothing of a repository runs, and nothing of it is believed.
//!
//! Hooks, attributes and filters have no effect: files are what was committed. Everything here waits for the network in the ordinary way, on
//! a thread of its own.

mod checkout;
mod connect;
mod fetch;
mod http;
mod keep;
mod modules;
mod objects;
mod refs;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use layerwright_git_reference::{GitReference, GitUrl};
use tokio::runtime::Handle;

use super::exchange::Web;
use super::{FetchError, Fetcher, NamedBy, Opened};
use crate::context::Kept;
use crate::fs::Root;
use crate::progress::{Level, Reporter};
use crate::rootfs::store::{Store, TemporaryDirectory};
use checkout::Checkout;
use modules::Submodules;

/// Repositories within repositories within repositories.
const DEEPEST: usize = 10;
/// All submodules of one checkout.
const MOST_SUBMODULES: u64 = 500;

impl Fetcher {
    /// Checks a repository out; each once in a build.
    pub(super) async fn open_repository(&self, reference: &GitReference, by: NamedBy) -> Result<Opened, FetchError> {
        let cell = {
            let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(repositories.entry(format!("{by:?} {reference:?}")).or_default())
        };
        cell.get_or_try_init(|| self.check_out(reference, by)).await.cloned()
    }

    async fn check_out(&self, reference: &GitReference, by: NamedBy) -> Result<Opened, FetchError> {
        let whole = self.web.settings.whole;
        if let Some(host) = self.web.settings.unverified_git.as_deref().filter(|_| by == NamedBy::Operator) {
            let warning = format!("the TLS certificate of {host} is not verified for git repositories: whoever answers there is believed");
            self.reporter.log(Level::Warning, &warning);
        }
        let work = Arc::new(Work {
            web: Arc::clone(&self.web),
            store: self.store.clone(),
            reporter: Arc::clone(&self.reporter),
            runtime: Handle::current(),
            interrupt: AtomicBool::new(false),
            left: AtomicU64::new(self.web.settings.largest),
            submodules: AtomicU64::new(0),
            until: Instant::now() + whole,
        });
        let (reference, own) = (reference.clone(), Arc::clone(&work));
        // A build that is given up must not keep a thread at it.
        let _interrupted = Interrupt(Arc::clone(&work));
        let done = tokio::task::spawn_blocking(move || own.check_out(&reference, by)).await;
        let (directory, modified) =
            done.map_err(|error| FetchError::Context { what: "the repository".to_owned(), why: error.to_string() })??;
        let path = directory.path().to_owned();
        let kept = Some(Kept::new(Arc::new(directory)));
        Ok(Opened { path, ignores: false, single: None, fetched: true, modified: Some(modified), kept })
    }
}

struct Interrupt(Arc<Work>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.interrupt.store(true, Ordering::Relaxed);
    }
}

/// One checkout with its submodules, and what is left of what it may take.
pub(super) struct Work {
    web: Arc<Web>,
    store: Store,
    reporter: Arc<dyn Reporter>,
    runtime: Handle,
    interrupt: AtomicBool,
    left: AtomicU64,
    submodules: AtomicU64,
    until: Instant,
}

impl Work {
    fn check_out(self: &Arc<Self>, reference: &GitReference, by: NamedBy) -> Result<(TemporaryDirectory, i64), FetchError> {
        let url = read_url(&reference.remote)?;
        let directory = self.store.temporary_directory().map_err(|error| self.kept(&error))?;
        let root = Root::open(directory.path()).map_err(|error| self.kept(&error))?;
        let wanted = Wanted {
            url: &url,
            revision: match reference.fetch_by_commit {
                true => reference.checksum.as_deref(),
                false => reference.revision.as_deref(),
            },
            checksum: reference.checksum.as_deref(),
            by,
        };
        let how = How {
            directory: reference.directory.as_deref(),
            keep_git_dir: reference.keep_git_dir.unwrap_or(false),
            submodules: reference.submodules.unwrap_or(true),
        };
        let modified = self.one(&wanted, how, &root, 0)?;
        Ok((directory, modified))
    }

    /// Fetches one repository and writes its files; returns the time of the commit.
    fn one(self: &Arc<Self>, wanted: &Wanted<'_>, how: How<'_>, root: &Root, depth: usize) -> Result<i64, FetchError> {
        let fetched = self.fetch(wanted)?;
        let commit = fetched.commit_info()?;
        let mut checkout = Checkout::new(&fetched, root, commit.seconds, wanted.url);
        checkout.write(commit.tree, how.directory)?;
        let links = checkout.finish()?;
        if how.keep_git_dir && how.directory.is_none() {
            keep::write(&fetched, root, &commit, wanted.url)?;
        }
        if how.submodules && !links.is_empty() {
            let submodules = Submodules::read(&fetched, commit.tree, wanted.url)?;
            for link in links {
                let Some(url) = submodules.url(&link.path) else {
                    return Err(fetched.failed(format!("the submodule at {:?} has no URL in .gitmodules", link.path.display())));
                };
                self.submodule(wanted, how, root, depth, &link, &url?)?;
            }
            checkout::set_times(root, "", commit.seconds).map_err(|error| self.kept(&error))?;
        }
        Ok(commit.seconds)
    }

    fn submodule(
        self: &Arc<Self>,
        parent: &Wanted<'_>,
        how: How<'_>,
        root: &Root,
        depth: usize,
        link: &checkout::Link,
        url: &GitUrl,
    ) -> Result<(), FetchError> {
        let failed = |why: String| FetchError::Git { url: parent.url.shown(), why };
        if depth >= DEEPEST || self.submodules.fetch_add(1, Ordering::Relaxed) >= MOST_SUBMODULES {
            return Err(failed("there are too many submodules, or too many within each other".to_owned()));
        }
        let below = root.sub_root(&link.written).map_err(|error| self.kept(&error))?;
        let commit = link.commit.to_string();
        // Whoever wrote the repository names its submodules: only on the same host are they the operator's.
        let by = if url.host.eq_ignore_ascii_case(&parent.url.host) { parent.by } else { NamedBy::Dockerfile };
        let wanted = Wanted { url, revision: Some(&commit), checksum: Some(&commit), by };
        self.one(&wanted, How { directory: None, ..how }, &below, depth + 1)?;
        checkout::set_times(root, &link.written, self.time_of(&below)).map_err(|error| self.kept(&error))?;
        Ok(())
    }

    fn time_of(&self, root: &Root) -> i64 {
        root.stat("").ok().flatten().map_or(0, |found| found.mtime.seconds)
    }

    fn kept(&self, error: &dyn std::error::Error) -> FetchError {
        let why = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        FetchError::Store { path: self.store.path().to_owned(), why }
    }

    /// Takes so many bytes of what is left, and looks at the clock.
    fn take(&self, url: &str, count: u64) -> Result<(), FetchError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
        if taken.is_err() {
            return Err(FetchError::TooLarge { url: url.to_owned(), limit: self.web.settings.largest });
        }
        if Instant::now() > self.until || self.interrupt.load(Ordering::Relaxed) {
            return Err(FetchError::Slow { url: url.to_owned(), seconds: self.web.settings.whole.as_secs() });
        }
        Ok(())
    }

    fn idle(&self) -> Duration {
        self.web.settings.idle
    }
}

/// What is to be fetched.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    url: &'a GitUrl,
    revision: Option<&'a str>,
    checksum: Option<&'a str>,
    by: NamedBy,
}

/// What is to be written.
#[derive(Clone, Copy)]
struct How<'a> {
    directory: Option<&'a str>,
    keep_git_dir: bool,
    submodules: bool,
}

fn read_url(remote: &str) -> Result<GitUrl, FetchError> {
    let text = if remote.starts_with("github.com/") { format!("https://{remote}") } else { remote.to_owned() };
    let refused = |why: &str| FetchError::Url { url: super::name::shown_text(remote), why: why.to_owned() };
    let url = GitUrl::parse(&text).ok_or_else(|| refused("want http, https, ssh or git"))?;
    match url.looks_like_an_option() {
        Some(what) => Err(refused(&format!("its {what} looks like an option"))),
        None => Ok(url),
    }
}
