use std::path::{Path, PathBuf};

use layerwright_git_reference::{GitReference, ReferenceError};

use super::BucketObject;

/// Where a build context is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// An archive of this machine.
    Tar(PathBuf),
    /// An archive on standard input, or a Dockerfile alone.
    StandardInput,
    /// An archive from the web, or a Dockerfile alone.
    Web(String),
    /// An archive in a bucket.
    Bucket(Box<BucketObject>),
    /// A git repository.
    Git(Box<GitReference>),
}

/// A location that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// A scheme that nobody knows.
    #[error("{scheme}:// is not supported: want a directory, dir://, tar://, http://, https://, s3://, gs:// or a git repository")]
    Scheme {
        /// As written.
        scheme: String,
    },
    /// A git reference that makes no sense.
    #[error(transparent)]
    Git(#[from] ReferenceError),
    /// A bucket that makes no sense.
    #[error("{0}")]
    Bucket(&'static str),
    /// Nothing.
    #[error("it is empty")]
    Empty,
}

impl Location {
    /// Reads where a context is. A path of this machine counts before a repository that is written like one.
    ///
    /// # Errors
    /// The scheme is not known, or it is a git reference that contradicts itself.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        match text {
            "" => return Err(LocationError::Empty),
            "-" | "tar://stdin" | "tar://-" => return Ok(Self::StandardInput),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("dir://") {
            return Ok(Self::Directory(path.into()));
        }
        if let Some(path) = text.strip_prefix("tar://") {
            return Ok(Self::Tar(path.into()));
        }
        if !text.contains("://") && Path::new(text).exists() {
            return Ok(Self::Directory(text.into()));
        }
        if let Some(reference) = layerwright_git_reference::parse(text)? {
            return Ok(Self::Git(Box::new(reference)));
        }
        if let Some(object) = BucketObject::parse(text).map_err(LocationError::Bucket)? {
            return Ok(Self::Bucket(Box::new(object)));
        }
        match text.split_once("://") {
            Some((scheme, _)) if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") => Ok(Self::Web(text.to_owned())),
            Some((scheme, _)) => Err(LocationError::Scheme { scheme: scheme.to_owned() }),
            None => Ok(Self::Directory(text.into())),
        }
    }

    /// As [`Location::parse`], for kaniko's `git://host/path#ref#commit`, which is pulled by `method` and not by git's own protocol.
    ///
    /// # Errors
    /// As there.
    pub fn parse_pulled_by(text: &str, method: &str) -> Result<Self, LocationError> {
        let Some(rest) = text.strip_prefix("git://") else { return Self::parse(text) };
        let (rest, commit) = match rest.match_indices('#').nth(1) {
            Some((at, _)) => (rest.get(..at).unwrap_or(rest), rest.get(at + 1..)),
            None => (rest, None),
        };
        let Some(mut reference) = layerwright_git_reference::parse(&format!("git://{rest}"))? else {
            return Err(LocationError::Scheme { scheme: "git".to_owned() });
        };
        if let Some(commit) = commit.filter(|commit| !commit.is_empty()) {
            layerwright_git_reference::check_commit(commit)?;
            reference.revision = Some(commit.to_owned());
            reference.checksum = Some(commit.to_owned());
        }
        if let Some(rest) = reference.remote.strip_prefix("git://") {
            reference.remote = format!("{method}://{rest}");
        }
        Ok(Self::Git(Box::new(reference)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_str().unwrap();
        assert_eq!(Location::parse(here).unwrap(), Location::Directory(here.into()));
        assert_eq!(Location::parse("dir:///x").unwrap(), Location::Directory("/x".into()));
        assert_eq!(Location::parse("./nowhere").unwrap(), Location::Directory("./nowhere".into()));
        assert_eq!(Location::parse("tar://a.tar.gz").unwrap(), Location::Tar("a.tar.gz".into()));
        for text in ["-", "tar://stdin"] {
            assert_eq!(Location::parse(text).unwrap(), Location::StandardInput);
        }
        assert_eq!(Location::parse("https://h/a.tar").unwrap(), Location::Web("https://h/a.tar".to_owned()));
        for text in ["s3://b/a.tar", "gs://b", "https://a.blob.core.windows.net/c/a.tgz"] {
            assert!(matches!(Location::parse(text).unwrap(), Location::Bucket(_)), "{text}");
        }
        for text in ["https://h/a.git#x", "github.com/a/b", "git@h:a", "git://h/a", "ssh://h/a"] {
            assert!(matches!(Location::parse(text).unwrap(), Location::Git(_)), "{text}");
        }
        for text in ["file:///etc", "ext::sh://x", "ftp://h/x", "s3://", ""] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_context_of_kaniko() {
        let read = |text: &str| match Location::parse_pulled_by(text, "https").unwrap() {
            Location::Git(reference) => (reference.remote.clone(), reference.revision.clone()),
            other => panic!("{other:?}"),
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("git://github.com/a/b"), ("https://github.com/a/b".to_owned(), None));
        assert_eq!(read("git://u:p@h/b.git#refs/heads/x"), ("https://u:p@h/b.git".to_owned(), some("refs/heads/x")));
        assert_eq!(read("git://h/b#refs/heads/x#abcdef"), ("https://h/b".to_owned(), some("abcdef")));
        assert!(Location::parse_pulled_by("git://h/b#x#--y", "https").is_err());
    }
}
