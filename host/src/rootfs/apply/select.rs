//! Which files of the source a copy means.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{ApplyError, Result, root};
use crate::context::{IgnoreFile, PathPattern, Verdict};
use crate::fs::Kind;
use crate::rootfs::tree::{Last, ReadTree, normalise, resolve};

/// Whether `*`, `?` or `[` stands in it without a backslash before it.
pub(super) fn has_wildcard(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// The paths that a pattern means, in the order of their bytes. A literal path must lead somewhere, its links followed.
pub(super) fn expand(tree: &dyn ReadTree, pattern: &str) -> Result<Vec<PathBuf>> {
    let path = normalise(OsStr::new(pattern));
    if !has_wildcard(pattern) {
        return literal(tree, pattern, path).map(|path| vec![path]);
    }
    let (mut base, mut rest) = (PathBuf::new(), Vec::new());
    for name in path.iter() {
        let name = name.to_string_lossy();
        if rest.is_empty() && !has_wildcard(&name) {
            base.push(&*name);
        } else {
            rest.push(PathPattern::parse(&name).map_err(|_| ApplyError::Pattern(pattern.to_owned()))?);
        }
    }
    let base = resolve(tree, root(), &base, Last::Follow)?;
    if !base.node.is_some_and(|node| node.is_dir()) {
        return Ok(Vec::new());
    }
    let mut found = vec![base.path];
    for (at, pattern) in rest.iter().enumerate() {
        let last = at + 1 == rest.len();
        let mut next = Vec::new();
        for directory in found {
            for entry in tree.entries(&directory)? {
                // Links on the way are not followed.
                if pattern.matches(&entry.name.to_string_lossy()) && (last || entry.kind == Kind::Directory) {
                    next.push(directory.join(&entry.name));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// A path as written or, where there is no such file, with its escapes resolved.
fn literal(tree: &dyn ReadTree, pattern: &str, path: PathBuf) -> Result<PathBuf> {
    if resolve(tree, root(), &path, Last::Follow)?.node.is_some() {
        return Ok(path);
    }
    if pattern.contains('\\')
        && let Some(unescaped) = PathPattern::parse(pattern).ok().and_then(|pattern| pattern.literal())
    {
        let path = normalise(OsStr::new(&unescaped));
        if resolve(tree, root(), &path, Last::Follow)?.node.is_some() {
            return Ok(path);
        }
    }
    Err(not_found(tree, pattern))
}

/// Names the path, and why it is not there or what may be meant.
pub(super) fn not_found(tree: &dyn ReadTree, pattern: &str) -> ApplyError {
    let path = normalise(OsStr::new(pattern));
    let hint = hint(tree, &path).unwrap_or_default();
    ApplyError::NotFound { path: pattern.to_owned(), hint }
}

fn hint(tree: &dyn ReadTree, path: &Path) -> Result<Option<String>> {
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        if let Some(reason) = tree.hidden(ancestor) {
            return Ok(Some(reason));
        }
    }
    if tree.stat(path)?.is_some_and(|node| node.kind == Kind::Symlink) {
        return Ok(Some("it is a symbolic link to something that is not there".to_owned()));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let parent = resolve(tree, root(), parent, Last::Follow)?;
    if !parent.node.is_some_and(|node| node.is_dir()) {
        return Ok(None);
    }
    let name = name.to_string_lossy().to_lowercase();
    let entries = tree.entries(&parent.path)?;
    let near = entries.iter().map(|entry| (strsim::levenshtein(&name, &entry.name.to_string_lossy().to_lowercase()), &entry.name));
    let nearest = near.min().filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    Ok(nearest.map(|(_, name)| format!("did you mean {:?}?", path.with_file_name(name))))
}

/// What of a directory is copied, said step by step on the way down.
pub(super) struct Selection {
    include: Option<Include>,
    exclude: Option<IgnoreFile>,
}

/// A pattern of `--parents`, which may have `**`.
struct Include {
    patterns: IgnoreFile,
    /// One for each name; none where `**` begins.
    names: Vec<Option<PathPattern>>,
}

/// What is known of a directory on the way.
#[derive(Clone, Copy, Default)]
pub(super) struct Above {
    depth: usize,
    included: bool,
    include: Verdict,
    exclude: Verdict,
}

impl Selection {
    pub(super) fn new(include: Option<&str>, exclude: &[String]) -> Result<Self> {
        let include = include.map(Include::new).transpose()?;
        let exclude = if exclude.is_empty() { None } else { Some(IgnoreFile::from_patterns(exclude.iter().map(String::as_str))?) };
        Ok(Self { include, exclude })
    }

    /// Whether links that lead nowhere are an error, as everywhere where BuildKit selects by patterns.
    pub(super) fn follows_links(&self) -> bool {
        self.exclude.is_some() || self.include.as_ref().is_some_and(|include| include.names.iter().any(Include::is_pattern))
    }

    /// At the root of what is copied.
    pub(super) fn start(&self) -> Above {
        Above { included: self.include.is_none(), ..Above::default() }
    }

    /// The one name that can be meant in a directory, where there is only one.
    pub(super) fn only(&self, above: &Above) -> Option<String> {
        let include = self.include.as_ref().filter(|_| !above.included)?;
        include.names.get(above.depth)?.as_ref()?.literal()
    }

    /// Whether a path is copied, and what is known below it; none where neither it nor anything below it is.
    pub(super) fn step(&self, above: &Above, path: &Path, directory: bool) -> Option<(bool, Above)> {
        let text = path.to_string_lossy();
        let mut here = Above { depth: above.depth + 1, ..*above };
        if let Some(include) = self.include.as_ref().filter(|_| !above.included) {
            here.include = include.patterns.descend(above.include, &text);
            here.included = include.patterns.excludes(here.include);
            let may_lead = directory && include.may_match_below(path, above.depth);
            if !here.included && !may_lead {
                return None;
            }
        }
        let mut selected = here.included;
        if let Some(exclude) = &self.exclude {
            here.exclude = exclude.descend(above.exclude, &text);
            if exclude.excludes(here.exclude) {
                if !directory || exclude.skips(here.exclude, &text) {
                    return None;
                }
                selected = false;
            }
        }
        Some((selected, here))
    }
}

impl Include {
    fn new(pattern: &str) -> Result<Self> {
        let path = normalise(OsStr::new(pattern));
        let mut names = Vec::new();
        for name in path.iter() {
            let name = name.to_string_lossy();
            if name.contains("**") {
                names.push(None);
                break;
            }
            names.push(Some(PathPattern::parse(&name).map_err(|_| ApplyError::Pattern(pattern.to_owned()))?));
        }
        let patterns = IgnoreFile::from_patterns([&*path.to_string_lossy()]).map_err(|_| ApplyError::Pattern(pattern.to_owned()))?;
        Ok(Self { patterns, names })
    }

    fn is_pattern(name: &Option<PathPattern>) -> bool {
        name.as_ref().is_none_or(|name| name.literal().is_none())
    }

    /// Whether a directory, at so many below the root, can lead to a match.
    fn may_match_below(&self, path: &Path, depth: usize) -> bool {
        match self.names.get(depth) {
            None => self.names.last().is_some_and(Option::is_none),
            Some(None) => true,
            Some(Some(pattern)) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                pattern.matches(&name) && depth + 1 < self.names.len()
            }
        }
    }
}
