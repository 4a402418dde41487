//! References to git repositories, as `ADD` takes them: `https://host/x.git#ref:directory`, `git@host:x?branch=main`.

use layerwright_plugin::operation::Git;
use layerwright_plugin::{Error, log};

/// Reads a source as a git reference; none where it is something else.
///
/// # Errors
/// It is a git reference that contradicts itself or asks for what is not known.
pub(crate) fn parse(source: &str) -> Result<Option<Git>, Error> {
    let (rest, fragment) = cut(source, '#');
    let (location, query) = cut(rest, '?');
    let Some(url) = repository(location) else { return Ok(None) };
    let query = Query::parse(query.unwrap_or_default())?;
    let (fragment_ref, fragment_directory) = cut(fragment.unwrap_or_default(), ':');

    if query.tag.is_some() && query.branch.is_some() {
        return Err(Error::invalid("branch conflicts with tag"));
    }
    let tag = query.tag.map(|tag| format!("refs/tags/{tag}"));
    let branch = query.branch.map(|branch| format!("refs/heads/{branch}"));
    let written = Some(fragment_ref.to_owned()).filter(|text| !text.is_empty());
    let mut revision = agree("ref", [written, query.reference, tag, branch])?;
    let directory = |path: &str| Some(crate::path::join("/", path).trim_start_matches('/').to_owned()).filter(|path| !path.is_empty());
    let directory = agree("subdir", [fragment_directory.and_then(directory), query.directory.as_deref().and_then(directory)])?;
    if let Some(checksum) = &query.checksum {
        check_commit(checksum)?;
    }
    if query.fetch_by_commit {
        revision = Some(query.checksum.clone().ok_or_else(|| Error::invalid("fetch-by-commit needs a checksum"))?);
    }
    if query.mtime_of_commit {
        log::warning(format!("{url}: mtime=commit is not followed, files get the time of the build"));
    }
    Ok(Some(Git { url, revision, directory, keep_git_dir: query.keep_git_dir, checksum: query.checksum }))
}

/// Checks that this is a commit or the start of one.
pub(crate) fn check_commit(commit: &str) -> Result<(), Error> {
    let valid = !commit.is_empty() && commit.len() <= 64 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if valid { Ok(()) } else { Err(Error::invalid(format!("invalid commit: {commit:?}"))) }
}

/// The URL of a repository, where the text is one.
fn repository(location: &str) -> Option<String> {
    if let Some((scheme, rest)) = location.split_once("://") {
        let scheme = scheme.to_ascii_lowercase();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_repository = match scheme.as_str() {
            "git" | "ssh" => true,
            // A web address may be anything, so the name has to say what it is.
            "http" | "https" => path.ends_with(".git"),
            _ => false,
        };
        return (is_repository && !host.is_empty()).then(|| format!("{scheme}://{rest}"));
    }
    let (user, rest) = location.split_once('@')?;
    let (host, _) = rest.split_once(':')?;
    let all = |text: &str, more: &[char]| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c));
    (all(user, &['-', '_']) && all(host, &['-', '.'])).then(|| location.to_owned())
}

#[derive(Default)]
struct Query {
    reference: Option<String>,
    tag: Option<String>,
    branch: Option<String>,
    checksum: Option<String>,
    directory: Option<String>,
    keep_git_dir: bool,
    fetch_by_commit: bool,
    mtime_of_commit: bool,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Error> {
        let mut query = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(Error::invalid(format!("query {key:?} has multiple values")));
            }
            seen.push(key);
            query.set(key, &percent_decoded(value))?;
        }
        Ok(query)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let text = || match value {
            "" => Err(Error::invalid(format!("query {key:?} has no value"))),
            value => Ok(Some(value.to_owned())),
        };
        let switch = || match value {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(Error::invalid(format!("invalid {key} value: {other:?}"))),
        };
        match key {
            "ref" => self.reference = text()?,
            "tag" => self.tag = text()?,
            "branch" => self.branch = text()?,
            "subdir" => self.directory = text()?,
            "checksum" | "commit" => self.checksum = agree("checksum", [self.checksum.take(), text()?])?,
            "keep-git-dir" => self.keep_git_dir = switch()?,
            "fetch-by-commit" => self.fetch_by_commit = switch()?,
            "submodules" if !switch()? => {
                return Err(Error::invalid("submodules=false is not possible here: a checkout comes with its submodules"));
            }
            "submodules" => {}
            "mtime" => match value {
                "commit" => self.mtime_of_commit = true,
                "checkout" => {}
                other => return Err(Error::invalid(format!("invalid mtime value: {other:?} (must be \"checkout\" or \"commit\")"))),
            },
            other => return Err(Error::invalid(format!("unexpected query {other:?}"))),
        }
        Ok(())
    }
}

/// The one value that all agree on.
fn agree(what: &str, values: impl IntoIterator<Item = Option<String>>) -> Result<Option<String>, Error> {
    let mut agreed: Option<String> = None;
    for value in values.into_iter().flatten() {
        match &agreed {
            Some(other) if *other != value => return Err(Error::invalid(format!("{what} conflicts: {other:?} vs {value:?}"))),
            _ => agreed = Some(value),
        }
    }
    Ok(agreed)
}

/// What stands before and after the first separator.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(url: &str, revision: &str, directory: &str) -> Option<Git> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Some(Git { url: url.to_owned(), revision: some(revision), directory: some(directory), keep_git_dir: false, checksum: None })
    }

    #[test]
    fn what_is_a_repository() {
        for (source, expected) in [
            ("https://h/a.git", git("https://h/a.git", "", "")),
            ("HTTPS://h/a.git", git("https://h/a.git", "", "")),
            ("http://h/a.git#", git("http://h/a.git", "", "")),
            ("https://u:p@h/a.git#v1", git("https://u:p@h/a.git", "v1", "")),
            ("https://h/a.git#:sub", git("https://h/a.git", "", "sub")),
            ("https://h/a.git#baz/qux:/x/y/", git("https://h/a.git", "baz/qux", "x/y")),
            ("ssh://git@h:22/a", git("ssh://git@h:22/a", "", "")),
            ("git://h/a", git("git://h/a", "", "")),
            ("git@h:a/b.git#v:d", git("git@h:a/b.git", "v", "d")),
            ("user@h:a", git("user@h:a", "", "")),
            ("git@h:a?ref=x", git("git@h:a", "x", "")),
            ("https://h/a.git?tag=v1", git("https://h/a.git", "refs/tags/v1", "")),
            ("https://h/a.git?branch=b%2Fc", git("https://h/a.git", "refs/heads/b/c", "")),
            ("https://h/a.git?tag=v1#refs/tags/v1", git("https://h/a.git", "refs/tags/v1", "")),
            ("https://h/a.git?subdir=/s#x:s", git("https://h/a.git", "x", "s")),
            ("https://h/a.git?submodules&mtime=checkout", git("https://h/a.git", "", "")),
            ("https://h/a", None),
            ("https://h/a.git/", None),
            ("https://h/a.GIT", None),
            ("https://h/a.git.tar", None),
            ("http://h/a.git:#branch", None),
            ("github.com/a/b", None),
            ("./a.git", None),
            ("a", None),
            ("a:b", None),
            ("a/b@c:d", None),
            ("httpx://h/a.git", None),
        ] {
            assert_eq!(parse(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn options() {
        let parsed = parse("https://h/a.git?keep-git-dir=1&fetch-by-commit&checksum=deadbeef#refs/heads/b").unwrap().unwrap();
        assert!(parsed.keep_git_dir);
        assert_eq!(parsed.revision.as_deref(), Some("deadbeef"));
        assert_eq!(parsed.checksum.as_deref(), Some("deadbeef"));
    }

    #[test]
    fn errors() {
        for (query, expected) in [
            ("?ref=x#y", "ref conflicts: \"y\" vs \"x\""),
            ("?ref=v1&tag=v1", "ref conflicts: \"v1\" vs \"refs/tags/v1\""),
            ("?tag=a&branch=a", "branch conflicts with tag"),
            ("?subdir=a#x:b", "subdir conflicts: \"b\" vs \"a\""),
            ("?keep-git-dir=maybe", "invalid keep-git-dir value: \"maybe\""),
            ("?fetch-by-commit=maybe", "invalid fetch-by-commit value: \"maybe\""),
            ("?mtime=x", "invalid mtime value: \"x\" (must be \"checkout\" or \"commit\")"),
            ("?unknown=1", "unexpected query \"unknown\""),
            ("?ref=", "query \"ref\" has no value"),
            ("?ref=a&ref=b", "query \"ref\" has multiple values"),
            ("?checksum=zz", "invalid commit: \"zz\""),
        ] {
            assert_eq!(parse(&format!("https://h/a.git{query}")).unwrap_err().message, expected);
        }
    }
}
