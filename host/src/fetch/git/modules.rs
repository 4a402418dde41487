use std::collections::BTreeMap;
use std::path::Path;

use gix_hash::ObjectId;
use gix_object::{Kind, TreeRefIter};
use layerwright_git_reference::GitUrl;

use super::super::FetchError;
use super::super::name::shown_text;
use super::objects::Fetched;

/// The largest `.gitmodules`, in bytes.
const LIMIT: usize = 1 << 20;

/// Where the submodules of a repository are.
pub(super) struct Submodules {
    /// By path.
    urls: BTreeMap<String, String>,
    parent: GitUrl,
}

impl Submodules {
    /// Reads `.gitmodules`; none is as good as an empty one.
    pub(super) fn read(fetched: &Fetched, tree: ObjectId, parent: &GitUrl) -> Result<Self, FetchError> {
        let data = fetched.object(&tree, Kind::Tree)?;
        let found = TreeRefIter::from_bytes(&data, fetched.kind).filter_map(Result::ok).find(|entry| entry.filename == ".gitmodules");
        let text = match found {
            // A link would be a way to have another file read.
            Some(entry) if entry.mode.is_blob() => fetched.object(entry.oid, Kind::Blob)?,
            _ => Vec::new(),
        };
        if text.len() > LIMIT {
            return Err(fetched.failed("its .gitmodules is larger than 1 MiB"));
        }
        Ok(Self { urls: parse(&String::from_utf8_lossy(&text)), parent: parent.clone() })
    }

    /// Where the submodule at a path is; none where nothing is said.
    pub(super) fn url(&self, path: &Path) -> Option<Result<GitUrl, FetchError>> {
        let written = self.urls.get(&*path.to_string_lossy())?;
        Some(resolve(&self.parent, written).ok_or_else(|| FetchError::Git {
            url: self.parent.shown(),
            why: format!(
                "the submodule at {:?} is at {}, which is not fetched: want http, https, ssh or git",
                path.display().to_string(),
                shown_text(written)
            ),
        }))
    }
}

/// The URL of a submodule; `./` and `../` start at the repository that holds it. None where it is not one that is fetched.
fn resolve(parent: &GitUrl, written: &str) -> Option<GitUrl> {
    let url = if written.starts_with("./") || written.starts_with("../") {
        let mut parts: Vec<&str> = parent.path.trim_end_matches('/').split('/').collect();
        for part in written.split('/') {
            match part {
                "" | "." => {}
                // The first part is what comes before the first slash.
                ".." if parts.len() > 1 => drop(parts.pop()),
                ".." => return None,
                name => parts.push(name),
            }
        }
        GitUrl { path: parts.join("/"), ..parent.clone() }
    } else {
        GitUrl::parse(written)?
    };
    (url.looks_like_an_option().is_none() && !written.chars().any(char::is_control)).then_some(url)
}

/// The URLs of a `.gitmodules` by path (gitmodules(5)): of git's configuration format what git itself writes there.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut urls = BTreeMap::new();
    let (mut path, mut url) = (None, None);
    let mut section = false;
    for line in text.lines().map(str::trim).chain(["["]) {
        if line.starts_with('[') {
            if let (true, Some(path), Some(url)) = (section, path.take(), url.take()) {
                urls.insert(path, url);
            }
            (path, url) = (None, None);
            section = line.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("[submodule "));
        } else if let Some((key, written)) = line.split_once('=') {
            match key.trim().to_ascii_lowercase().as_str() {
                "path" => path = Some(value(written).trim_end_matches('/').to_owned()),
                "url" => url = Some(value(written)),
                _ => {}
            }
        }
    }
    urls
}

/// A value without its quotes, escapes and comment.
fn value(written: &str) -> String {
    let mut out = String::new();
    let mut kept = 0;
    let mut quoted = false;
    let mut chars = written.trim_start().chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' => out.extend(chars.next().map(|c| match c {
                'n' => '\n',
                't' => '\t',
                other => other,
            })),
            '#' | ';' if !quoted => break,
            c => out.push(c),
        }
        if quoted || !c.is_whitespace() {
            kept = out.len();
        }
    }
    out.truncate(kept);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_writes_is_read() {
        let text = "[core]\n\tx = y\n[submodule \"a b\"]\n\tpath = libs/a b/\n\turl = \"https://h/a.git\" # comment\n\
            [SubModule \"c\"]\nurl=../c.git\n  path=\"c#d\"\n\tbranch = x\n[other]\npath = p\nurl = u\n";
        let urls = parse(text);
        assert_eq!(
            urls.into_iter().collect::<Vec<_>>(),
            [("c#d".to_owned(), "../c.git".to_owned()), ("libs/a b".to_owned(), "https://h/a.git".to_owned()),]
        );
    }

    /// Rows 45 and 46 of the adversarial list.
    #[test]
    fn submodules_are_only_where_repositories_may_be() {
        let parent = GitUrl::parse("https://u:p@h:1/a/b.git").unwrap();
        let at = |written: &str| resolve(&parent, written).map(|url| url.remote());
        assert_eq!(at("../c.git").as_deref(), Some("https://u:p@h:1/a/c.git"));
        assert_eq!(at("./c").as_deref(), Some("https://u:p@h:1/a/b.git/c"));
        assert_eq!(at("git@g:x/y").as_deref(), Some("git@g:x/y"));
        for bad in [
            "file:///etc",
            "/etc",
            "../../../../x",
            "ext::sh -c x",
            "ssh://-oProxyCommand=x/y",
            "--upload-pack=x",
            "c:\\x",
            "https://h/a\nb",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
