use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::context::IgnoreFile;
use crate::dockerfile::CheckOptions;
use crate::dockerfile::lint::{Finding, Rule};
use crate::dockerfile::{Instruction, Span};
use crate::operation::{Copy, Source};

/// The build checks of one run: which count, and what they found so far.
#[derive(Default)]
pub struct Checks {
    options: CheckOptions,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    all: Vec<Finding>,
    /// How many of them have been handed out.
    taken: usize,
}

impl Checks {
    /// Checks that have found nothing yet.
    pub fn new(options: CheckOptions) -> Self {
        Self { options, found: Mutex::default() }
    }

    /// Takes a finding at an instruction, unless its rule is left out there.
    pub fn report(&self, rule: &Rule, message: impl Into<String>, at: &Instruction) {
        self.report_at(rule, message, &at.span, &at.comments);
    }

    /// The same for a place below comments.
    pub fn report_at(&self, rule: &Rule, message: impl Into<String>, span: &Span, comments: &[String]) {
        if self.options.applies_below(rule, comments) {
            self.found().all.push(Finding { rule: rule.clone(), message: message.into(), span: span.clone() });
        }
    }

    /// What has been found since the last call, by line.
    pub fn take(&self) -> Vec<Finding> {
        let mut found = self.found();
        let mut fresh = found.all.get(found.taken..).unwrap_or_default().to_vec();
        found.taken = found.all.len();
        fresh.sort_by_key(|finding| finding.span.start_line);
        fresh
    }

    /// The rules that were broken, where the Dockerfile or the user says that none may be.
    pub fn violation(&self) -> Option<String> {
        let broken: BTreeSet<String> = self.found().all.iter().map(|finding| finding.rule.name.to_string()).collect();
        let refused = self.options.error && !broken.is_empty();
        refused.then(|| format!("lint violation found for rules: {}", broken.into_iter().collect::<Vec<_>>().join(", ")))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a variable's name says that its value is a secret.
pub fn is_secret_name(name: &str) -> bool {
    const SECRET: &[&str] = &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: &[&str] = &["public", "file", "version"];
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(SECRET) && !has(HARMLESS)
}

/// The sources of a copy from the main context that its ignore file leaves out, as far as the patterns alone can tell.
pub fn ignored_sources(copy: &Copy, ignore: &IgnoreFile) -> Vec<String> {
    let from_context = matches!(&copy.from, Source::Context(name) if name.is_empty());
    // A pattern that takes something back may take back a file in an excluded directory.
    if !from_context || ignore.has_negation() {
        return Vec::new();
    }
    let everything = || ignore.patterns().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
    let is_ignored = |path: &String| match path.trim_start_matches('/') {
        "" | "." => everything(),
        below => ignore.matches(below),
    };
    copy.paths.iter().map(|path| clean(path)).filter(is_ignored).collect()
}

/// A path without `.` and `//`, and without what `..` takes back.
fn clean(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if components.last().is_some_and(|last| *last != "..") => drop(components.pop()),
            ".." if path.starts_with('/') => {}
            other => components.push(other),
        }
    }
    let joined = components.join("/");
    match (path.starts_with('/'), joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::lint::rules;

    #[test]
    fn names_of_secrets() {
        for name in ["API_KEY", "auth", "GITHUB_TOKEN", "secret_MESSAGE", "DB_PASSWORD", "A_CREDENTIALS_B"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["KEYBOARD", "PUBLIC_KEY", "TOKEN_FILE", "TOKENS", "SECRET_VERSION", "MONKEY", ""] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn sources_that_are_ignored() {
        let ignored = |patterns: &str, paths: &[&str]| {
            let paths = paths.iter().map(|&path| path.to_owned()).collect();
            let copy = Copy { paths, ..Copy::all(Source::Context(String::new())) };
            ignored_sources(&copy, &IgnoreFile::parse(patterns).unwrap())
        };
        assert_eq!(ignored("Dockerfile\n*.md\n", &["./Dockerfile", "a.md", "/b.md", "src"]), ["Dockerfile", "a.md", "/b.md"]);
        assert_eq!(ignored("foobar", &["foobar/x", ".", "foo"]), ["foobar/x"]);
        assert_eq!(ignored("**", &[".", "/"]), [".", "/"]);
        assert!(ignored("*\n!a", &["b"]).is_empty());
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let checks = Checks::new(CheckOptions::parse("error=true").unwrap());
        checks.report_at(&rules::UNDEFINED_VAR, "b", &Span::lines(2, 2), &[]);
        checks.report_at(&rules::STAGE_NAME_CASING, "a", &Span::lines(1, 1), &[]);
        checks.report_at(&rules::STAGE_NAME_CASING, "c", &Span::lines(1, 1), &["check=skip=all".to_owned()]);
        assert_eq!(checks.take().iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(checks.take().is_empty());
        assert_eq!(checks.violation().unwrap(), "lint violation found for rules: StageNameCasing, UndefinedVar");
        assert_eq!(Checks::default().violation(), None);
    }
}
