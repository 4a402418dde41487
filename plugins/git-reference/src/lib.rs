//! References to git repositories: `https://host/x.git#ref:directory`, `git@host:x?branch=main`, `github.com/x/y`.
//!
//! One reading for all who meet them: ADD, the build context and named contexts.

mod query;
mod url;

pub use url::{GitUrl, Scheme};

use query::{Query, agree};

/// A repository, what of it, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GitReference {
    /// The repository as it is written, without query and fragment.
    pub remote: String,
    /// A branch, a tag, another ref or a commit; none for the default branch.
    pub revision: Option<String>,
    /// Only this directory, without slashes at its ends.
    pub directory: Option<String>,
    /// A commit or the start of one, which the revision must be.
    pub checksum: Option<String>,
    /// Whether `.git` stays; none where nothing is said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are checked out, too; none where nothing is said.
    pub submodules: Option<bool>,
    /// Which time files get; none where nothing is said.
    pub times: Option<Times>,
    /// Whether the commit is asked for, not the ref that should lead to it.
    pub fetch_by_commit: bool,
    /// Whether it might as well be a path of this machine (`github.com/x/y`): meant as a repository only where a context is named.
    pub maybe_local: bool,
}

/// Which time the files of a checkout get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// That of the checkout.
    Checkout,
    /// That of the commit.
    Commit,
}

/// A reference that contradicts itself or asks for what is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReferenceError(String);

impl std::fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReferenceError {}

pub(crate) fn error(message: impl Into<String>) -> ReferenceError {
    ReferenceError(message.into())
}

/// Reads a source as a git reference; none where it is something else.
///
/// # Errors
/// It is a git reference that contradicts itself, asks for what is not known, or would be read as an option by a program.
pub fn parse(source: &str) -> Result<Option<GitReference>, ReferenceError> {
    let (rest, fragment) = cut(source, '#');
    let (location, query) = cut(rest, '?');
    let maybe_local = location.strip_prefix("github.com/").is_some_and(|path| !path.is_empty());
    let url = if maybe_local { GitUrl::parse(&format!("https://{location}")) } else { GitUrl::parse(location) };
    let Some(url) = url.filter(|url| maybe_local || url.names_a_repository()) else { return Ok(None) };
    if let Some(what) = url.looks_like_an_option() {
        return Err(error(format!("invalid git reference: its {what} looks like an option")));
    }
    if source.chars().any(char::is_control) {
        return Err(error("invalid git reference: it holds control characters"));
    }
    let query = Query::parse(query.unwrap_or_default())?;
    let (fragment_ref, fragment_directory) = cut(fragment.unwrap_or_default(), ':');
    if query.tag.is_some() && query.branch.is_some() {
        return Err(error("branch conflicts with tag"));
    }
    let tag = query.tag.map(|tag| format!("refs/tags/{tag}"));
    let branch = query.branch.map(|branch| format!("refs/heads/{branch}"));
    let written = Some(fragment_ref.to_owned()).filter(|text| !text.is_empty());
    let revision = agree("ref", [written, query.reference, tag, branch])?;
    if let Some(revision) = &revision {
        check_revision(revision)?;
    }
    let directory = |text: Option<&str>| text.map(clean_directory).transpose().map(Option::flatten);
    let directory = agree("subdir", [directory(fragment_directory)?, directory(query.directory.as_deref())?])?;
    if let Some(checksum) = &query.checksum {
        check_commit(checksum)?;
    }
    if query.fetch_by_commit && query.checksum.is_none() {
        return Err(error("fetch-by-commit needs a checksum"));
    }
    Ok(Some(GitReference {
        remote: if maybe_local { location.to_owned() } else { url.remote() },
        revision,
        directory,
        checksum: query.checksum,
        keep_git_dir: query.keep_git_dir,
        submodules: query.submodules,
        times: query.times,
        fetch_by_commit: query.fetch_by_commit,
        maybe_local,
    }))
}

/// Checks that this is a commit or the start of one.
///
/// # Errors
/// It is not.
pub fn check_commit(commit: &str) -> Result<(), ReferenceError> {
    let valid = !commit.is_empty() && commit.len() <= 64 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if valid { Ok(()) } else { Err(error(format!("invalid commit: {commit:?}"))) }
}

/// Whether this is a whole commit id: 40 hexadecimal digits of SHA-1, or 64 of SHA-256.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks a name that servers and programs are told.
fn check_revision(revision: &str) -> Result<(), ReferenceError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    match revision {
        text if text.starts_with('-') => Err(error(format!("invalid ref {text:?}: it looks like an option"))),
        text if text.contains(odd) || text.contains("..") || text.contains("@{") => Err(error(format!("invalid ref {text:?}"))),
        _ => Ok(()),
    }
}

/// A directory within the repository; none for all of it.
fn clean_directory(path: &str) -> Result<Option<String>, ReferenceError> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| error(format!("invalid subdir {path:?}: it leads out of the repository")))?;
            }
            name => parts.push(name),
        }
    }
    Ok(Some(parts.join("/")).filter(|path| !path.is_empty()))
}

/// What stands before and after the first separator.
pub(crate) fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

#[cfg(test)]
mod tests;
