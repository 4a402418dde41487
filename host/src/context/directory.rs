use std::any::Any;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ignore::{IgnoreError, IgnoreFile};

/// The most bytes that a Dockerfile may have.
const MAX_DOCKERFILE: u64 = 4 << 20;
/// The most bytes that an ignore file may have.
const MAX_IGNORE: u64 = 1 << 20;

/// A local directory that a build copies from, and what in it does not count.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// Absolute and free of symlinks.
    pub root: PathBuf,
    /// Applies to COPY, ADD and bind mounts.
    pub ignore: IgnoreFile,
    /// Where the patterns come from; none where there is no such file.
    pub ignore_path: Option<PathBuf>,
    /// When what is in it was made, in seconds since 1970, where it comes from elsewhere and that says so: the time of a commit, what a
    /// server says of a file, else the latest of an archive. None for a directory of this machine.
    pub modified: Option<i64>,
    /// Holds the directory for as long as it is needed.
    pub kept: Option<Kept>,
}

/// Whatever must live as long as a directory that was made for a build.
#[derive(Clone)]
pub struct Kept(#[expect(dead_code, reason = "held, never read")] Arc<dyn Any + Send + Sync>);

impl Kept {
    /// Holds a value.
    pub fn new(value: Arc<dyn Any + Send + Sync>) -> Self {
        Self(value)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

/// Where a Dockerfile is looked for first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookFirst {
    /// Relative to the working directory, as with kaniko.
    WorkingDirectory,
    /// In the context: it was fetched, and what lies about here is not meant.
    Context,
}

/// A Dockerfile found and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileText {
    /// Where it was found.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A context that cannot be opened, or a Dockerfile that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context is not there, or not a directory.
    #[error("failed to open the build context {}, name a directory", .path.display())]
    Root {
        /// As given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The Dockerfile is in none of the places that were looked at.
    #[error("failed to find the Dockerfile {}, looked in the working directory and in {}", .path.display(), .root.display())]
    NotFound {
        /// As given.
        path: PathBuf,
        /// The context.
        root: PathBuf,
    },
    /// A file that is there and cannot be read.
    #[error("failed to read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory, a pipe or a device where a file is wanted.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A symlink in the context that leads out of it.
    #[error("{} is a symlink that leads out of the build context {}", .path.display(), .root.display())]
    Outside {
        /// The symlink.
        path: PathBuf,
        /// The context.
        root: PathBuf,
    },
    /// A file over the limit.
    #[error("{} is over {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Patterns that are malformed.
    #[error("failed to read the patterns of {}: {source}", .path.display())]
    Ignore {
        /// The ignore file.
        path: PathBuf,
        /// What is wrong.
        source: IgnoreError,
    },
}

impl BuildContext {
    /// Opens a directory. `dockerfile` is where the Dockerfile was found, if it is a file: `<Dockerfile>.dockerignore` beside it counts
    /// before `.dockerignore` in the root, and that before `.containerignore`.
    ///
    /// # Errors
    /// The directory is not there, or its ignore file is malformed, unreadable or leads out of it.
    pub fn open(directory: &Path, dockerfile: Option<&Path>) -> Result<Self, ContextError> {
        Self::open_with(directory, dockerfile, &[".dockerignore", ".containerignore"])
    }

    /// As [`BuildContext::open`], for what comes as somebody else has put it together: only the ignore file beside the Dockerfile counts.
    ///
    /// # Errors
    /// As there.
    pub fn open_whole(directory: &Path, dockerfile: Option<&Path>) -> Result<Self, ContextError> {
        Self::open_with(directory, dockerfile, &[])
    }

    fn open_with(directory: &Path, dockerfile: Option<&Path>, names: &[&str]) -> Result<Self, ContextError> {
        let root = open_root(directory)?;
        let beside = dockerfile.map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        for path in beside.into_iter().chain(names.iter().map(|name| root.join(name))) {
            if let Some(bytes) = read(&root, &path, MAX_IGNORE)? {
                let parsed = IgnoreFile::parse(&String::from_utf8_lossy(&bytes));
                let ignore = parsed.map_err(|source| ContextError::Ignore { path: path.clone(), source })?;
                return Ok(Self { root, ignore, ignore_path: Some(path), modified: None, kept: None });
            }
        }
        Ok(Self { root, ignore: IgnoreFile::default(), ignore_path: None, modified: None, kept: None })
    }
}

/// Finds and reads a Dockerfile, relative to the working directory or to the context; `Dockerfile` also as `dockerfile`.
///
/// # Errors
/// It is not there, is not a regular file, is too large, or is a symlink in the context that leads out of it.
pub fn read_dockerfile(directory: &Path, dockerfile: &Path, first: LookFirst) -> Result<DockerfileText, ContextError> {
    let root = open_root(directory)?;
    let lower = (dockerfile.file_name().is_some_and(|name| name == "Dockerfile")).then(|| dockerfile.with_file_name("dockerfile"));
    for name in [Some(dockerfile), lower.as_deref()].into_iter().flatten() {
        let mut places = [name.to_owned(), root.join(name)];
        if first == LookFirst::Context {
            places.reverse();
        }
        for path in places {
            if let Some(bytes) = read(&root, &path, MAX_DOCKERFILE)? {
                return Ok(DockerfileText { path, bytes });
            }
        }
    }
    Err(ContextError::NotFound { path: dockerfile.to_owned(), root })
}

fn open_root(directory: &Path) -> Result<PathBuf, ContextError> {
    let failed = |source| ContextError::Root { path: directory.to_owned(), source };
    let root = fs::canonicalize(directory).map_err(failed)?;
    if !root.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    Ok(root)
}

/// Reads a file that the operator named or that stands in the context; none where it is not there.
///
/// What stands in the context may be anybody's: it is followed only as far as it stays there.
fn read(root: &Path, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |source| ContextError::Read { path: path.to_owned(), source };
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stands_inside = fs::canonicalize(parent).map_err(failed)?.starts_with(root) || path.starts_with(root);
    if stands_inside && !target.starts_with(root) {
        return Err(ContextError::Outside { path: path.to_owned(), root: root.to_owned() });
    }
    // A pipe would keep the open waiting.
    if !fs::metadata(&target).map_err(failed)?.is_file() {
        return Err(ContextError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(&target).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ContextError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for one test, with a context in it.
    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            let scratch = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(scratch.context().join("sub")).unwrap();
            scratch
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            fs::write(self.path(name), text).unwrap();
            self.path(name)
        }

        fn context(&self) -> PathBuf {
            self.path("context")
        }
    }

    #[test]
    fn the_ignore_file_of_a_dockerfile_comes_first() {
        let scratch = Scratch::new();
        assert_eq!(BuildContext::open(&scratch.context(), None).unwrap().ignore_path, None);
        scratch.write("context/.dockerignore", "a");
        let dockerfile = scratch.write("Other", "FROM a");
        let open = || BuildContext::open(&scratch.context(), Some(&dockerfile)).unwrap();
        assert!(open().ignore.matches("a"));
        let own = scratch.write("Other.dockerignore", "b");
        assert!(open().ignore.matches("b") && !open().ignore.matches("a"));
        let whole = |dockerfile: Option<&Path>| BuildContext::open_whole(&scratch.context(), dockerfile).unwrap();
        assert!(whole(None).ignore_path.is_none() && whole(Some(&dockerfile)).ignore.matches("b"));
        scratch.write("context/.containerignore", "c");
        let main = || BuildContext::open(&scratch.context(), None).unwrap();
        assert!(main().ignore.matches("a") && !main().ignore.matches("c"));
        fs::remove_file(scratch.path("context/.dockerignore")).unwrap();
        assert!(main().ignore.matches("c"));
        assert_eq!(open().ignore_path, Some(own));
    }

    #[test]
    fn a_dockerfile_is_looked_for_in_the_context_too() {
        let scratch = Scratch::new();
        scratch.write("context/dockerfile", "lower");
        scratch.write("context/sub/D", "sub");
        let read = |name: &str| read_dockerfile(&scratch.context(), Path::new(name), LookFirst::WorkingDirectory);
        assert_eq!(read("Dockerfile").unwrap().bytes, b"lower");
        assert_eq!(read("sub/D").unwrap().path, scratch.context().join("sub/D"));
        assert!(matches!(read("none"), Err(ContextError::NotFound { .. })));
        assert!(matches!(read("sub"), Err(ContextError::NotAFile { .. })));
    }

    #[test]
    fn a_symlink_out_of_the_context_is_not_followed() {
        let scratch = Scratch::new();
        let secret = scratch.write("secret", "secret");
        for name in ["context/Dockerfile", "context/.dockerignore"] {
            std::os::unix::fs::symlink(&secret, scratch.path(name)).unwrap();
        }
        assert!(matches!(
            read_dockerfile(&scratch.context(), Path::new("Dockerfile"), LookFirst::WorkingDirectory),
            Err(ContextError::Outside { .. })
        ));
        assert!(matches!(BuildContext::open(&scratch.context(), None), Err(ContextError::Outside { .. })));
        scratch.write("context/sub/real", "ok");
        std::os::unix::fs::symlink("sub/real", scratch.context().join("inner")).unwrap();
        assert_eq!(read_dockerfile(&scratch.context(), Path::new("inner"), LookFirst::Context).unwrap().bytes, b"ok");
    }

    #[test]
    fn a_large_file_is_refused() {
        let scratch = Scratch::new();
        scratch.write("context/Dockerfile", &"#".repeat(MAX_DOCKERFILE as usize + 1));
        let error = read_dockerfile(&scratch.context(), Path::new("Dockerfile"), LookFirst::WorkingDirectory).unwrap_err();
        assert!(error.to_string().contains("context/Dockerfile") && matches!(error, ContextError::TooLarge { .. }));
    }
}
