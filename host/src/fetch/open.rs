//! Build contexts that are no directory of this machine, made into one for as long as the build lasts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::not_public;
use super::name::UNNAMED;
use super::{FetchError, Fetcher, NamedBy};
use crate::context::{BuildContext, Kept, Location, extract};
use crate::fs::Root;
use crate::layer::archive::is_archive;
use crate::layer::entries::Limits;
use crate::progress::{Level, reasons};
use crate::rootfs::store::{Store, TemporaryDirectory};

/// A context, opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its files.
    pub path: PathBuf,
    /// Whether ignore files in it count.
    pub ignores: bool,
    /// The one file that it is, where it is no archive: a Dockerfile, most likely.
    pub single: Option<PathBuf>,
    /// Whether it was put together for this build.
    pub fetched: bool,
    /// When its content was made, as [`BuildContext::modified`].
    pub modified: Option<i64>,
    pub(super) kept: Option<Kept>,
}

impl Opened {
    /// The directory below a path of it.
    ///
    /// # Errors
    /// There is no such directory, or it lies outside.
    pub fn below(mut self, path: &Path) -> Result<Self, FetchError> {
        let refused =
            |why: &str| FetchError::Context { what: format!("the directory {} of the context", path.display()), why: why.to_owned() };
        let root = std::fs::canonicalize(&self.path).map_err(|error| refused(&error.to_string()))?;
        let wanted =
            std::fs::canonicalize(root.join(path.strip_prefix("/").unwrap_or(path))).map_err(|error| refused(&error.to_string()))?;
        match wanted.starts_with(&root) && wanted.is_dir() {
            true => self.path = wanted,
            false => return Err(refused("it is no directory of the context")),
        }
        Ok(self)
    }

    /// With the ignore file that counts for it; `dockerfile` is where the Dockerfile lies, if it is a file.
    ///
    /// # Errors
    /// As [`BuildContext::open`].
    pub fn context(&self, dockerfile: Option<&Path>) -> Result<BuildContext, crate::context::ContextError> {
        let open = if self.ignores { BuildContext::open } else { BuildContext::open_whole };
        Ok(BuildContext { modified: self.modified, kept: self.kept.clone(), ..open(&self.path, dockerfile)? })
    }
}

impl Fetcher {
    /// Opens a context; what is not a directory yet is fetched, and extracted into one that goes away with the value.
    ///
    /// # Errors
    /// It cannot be had, or is damaged.
    pub async fn open(&self, location: &Location, by: NamedBy) -> Result<Opened, FetchError> {
        match location {
            Location::Directory(path) => {
                Ok(Opened { path: path.clone(), ignores: true, single: None, fetched: false, modified: None, kept: None })
            }
            Location::Tar(path) => {
                let failed = |error: io::Error| FetchError::Context { what: format!("{}", path.display()), why: error.to_string() };
                if !std::fs::metadata(path).map_err(failed)?.is_file() {
                    return Err(failed(io::Error::other("it is not a regular file")));
                }
                self.unpack(Source { path: path.clone(), shown: path.display().to_string(), single: None, modified: None }, true).await
            }
            Location::StandardInput => {
                let path = self.store.temporary_path();
                let (to, limit) = (path.clone(), self.web.settings.largest);
                let read = tokio::task::spawn_blocking(move || copy_standard_input(&to, limit)).await;
                read.unwrap_or_else(|error| Err(io::Error::other(error)))
                    .map_err(|error| FetchError::Context { what: "the context on standard input".to_owned(), why: error.to_string() })?;
                let shown = "the context on standard input".to_owned();
                let opened =
                    self.unpack(Source { path: path.clone(), shown, single: Some("Dockerfile".to_owned()), modified: None }, true).await;
                let _ = std::fs::remove_file(path);
                opened
            }
            Location::Web(url) => {
                let file = self.download(url, None, by).await?;
                let name = if file.name == UNNAMED { "Dockerfile".to_owned() } else { file.name };
                let shown = super::name::shown_text(url);
                self.unpack(Source { path: file.path, shown, single: Some(name), modified: file.modified }, false).await
            }
            Location::Bucket(object) if self.is_public(object) => {
                let file = self.download(&object.shown, None, by).await.map_err(|error| not_public(object, error))?;
                let shown = object.shown.clone();
                self.unpack(Source { path: file.path, shown, single: None, modified: file.modified }, false).await
            }
            Location::Bucket(object) => {
                let path = self.store.temporary_path();
                let opened = match self.bring_object(object, &path).await {
                    Ok(modified) => {
                        let source = Source { path: path.clone(), shown: object.shown.clone(), single: None, modified: Some(modified) };
                        self.unpack(source, false).await
                    }
                    Err(error) => Err(error),
                };
                let _ = std::fs::remove_file(path);
                opened
            }
            Location::Git(reference) => self.open_repository(reference, by).await,
        }
    }

    async fn unpack(&self, source: Source, ignores: bool) -> Result<Opened, FetchError> {
        let store = self.store.clone();
        let unpacked = tokio::task::spawn_blocking(move || source.unpack(&store)).await;
        let unpacked = unpacked.map_err(|error| FetchError::Context { what: "the context".to_owned(), why: error.to_string() })??;
        if unpacked.left_out > 0 {
            self.reporter.log(Level::Warning, &format!("{} devices in the build context are left out", unpacked.left_out));
        }
        let path = unpacked.directory.path().to_owned();
        let kept = Some(Kept::new(Arc::new(unpacked.directory)));
        Ok(Opened { path, ignores, single: unpacked.single, fetched: true, modified: unpacked.modified, kept })
    }
}

/// A file that is a context.
struct Source {
    path: PathBuf,
    shown: String,
    /// What the file is called if it is no archive; none where it must be one.
    single: Option<String>,
    /// When a server says that it was changed.
    modified: Option<i64>,
}

struct Unpacked {
    directory: TemporaryDirectory,
    single: Option<PathBuf>,
    modified: Option<i64>,
    left_out: u64,
}

impl Source {
    fn unpack(self, store: &Store) -> Result<Unpacked, FetchError> {
        let failed = |error: &dyn std::error::Error| FetchError::Context { what: self.shown.clone(), why: reasons(error) };
        let directory = store.temporary_directory().map_err(|error| failed(&error))?;
        let file = || File::open(&self.path).map_err(|error| failed(&error));
        if is_archive(file()?) {
            let root = Root::open(directory.path()).map_err(|error| failed(&error))?;
            let done = extract(file()?, &root, &Limits::default()).map_err(|error| failed(&error))?;
            return Ok(Unpacked { directory, single: None, modified: self.modified.or(done.modified), left_out: done.left_out });
        }
        let Some(name) = &self.single else {
            let why = "it is no tar archive, neither plain nor compressed as gzip, bzip2, xz or zstd".to_owned();
            return Err(FetchError::Context { what: self.shown.clone(), why });
        };
        let path = directory.path().join(name);
        std::fs::copy(&self.path, &path).map_err(|error| failed(&error))?;
        if let Some(seconds) = self.modified.and_then(|seconds| u64::try_from(seconds).ok()) {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).map_err(|error| failed(&error))?;
        }
        Ok(Unpacked { directory, single: Some(path), modified: self.modified, left_out: 0 })
    }
}

fn copy_standard_input(to: &Path, limit: u64) -> io::Result<()> {
    let input = io::stdin();
    let mut file = File::create_new(to)?;
    let copied = io::copy(&mut input.lock().take(limit.saturating_add(1)), &mut file)?;
    if copied > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    if copied == 0 {
        return Err(io::Error::other("it is empty"));
    }
    file.flush()
}
