use std::collections::HashMap;

use regex::{RegexSet, RegexSetBuilder};

use super::pattern::{PathPattern, Token, class};

/// The patterns of a `.dockerignore` file, compiled.
///
/// A path is excluded if the last pattern that matches it or a directory above it has no `!` in front. `*`, `?` and classes stay within a
/// component, `**` is any number of components.
#[derive(Clone, Debug)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
    /// Patterns without wildcards: the number of the last one by its path.
    exact: HashMap<String, usize>,
    /// The same for patterns of `**/` and no other wildcard: what follows it.
    ends: HashMap<String, usize>,
    /// All others.
    set: RegexSet,
    /// The pattern number of each expression in the set.
    numbers: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    negated: bool,
}

/// What is wrong with an ignore file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A bracket left open and the like.
    #[error("syntax error in pattern {pattern:?} on line {line}")]
    Pattern {
        /// As it counts: trimmed and normalised.
        pattern: String,
        /// Counted from 1.
        line: usize,
    },
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern \"!\" on line {line}")]
    Exclusion {
        /// Counted from 1.
        line: usize,
    },
    /// More than can be matched in reasonable time.
    #[error("more than {MAX_WILDCARDS} patterns with wildcards, or very long ones, use fewer")]
    TooLarge,
}

/// What the patterns say about a path: made from what they say about its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The number of the last pattern that matches the path or a directory above it, counted from 1.
    last: usize,
}

/// Patterns that need more than a look in a table.
const MAX_WILDCARDS: usize = 1_000;
/// Memory that the compiled patterns may take, in bytes.
const MAX_COMPILED: usize = 32 << 20;

impl Default for IgnoreFile {
    fn default() -> Self {
        Self { patterns: Vec::new(), exact: HashMap::new(), ends: HashMap::new(), set: RegexSet::empty(), numbers: Vec::new() }
    }
}

impl IgnoreFile {
    /// Reads the text of an ignore file.
    ///
    /// # Errors
    /// The first pattern that is malformed.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#'));
        Self::compile(lines.map(|(number, line)| (number, line.trim())).filter(|(_, line)| !line.is_empty()))
    }

    /// Compiles patterns that are given one by one.
    ///
    /// # Errors
    /// As `parse`; the line is the pattern's number.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        Self::compile((1..).zip(patterns).map(|(number, pattern)| (number, pattern.trim())).filter(|(_, pattern)| !pattern.is_empty()))
    }

    fn compile<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Self, IgnoreError> {
        let mut file = Self::default();
        let mut expressions = Vec::new();
        for (line, text) in lines {
            let (negated, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text.trim()));
            if text.is_empty() {
                return Err(IgnoreError::Exclusion { line });
            }
            let text = clean(text);
            let text = text.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&text).to_owned();
            let malformed = |_| IgnoreError::Pattern { pattern: text.clone(), line };
            PathPattern::parse(&text).map_err(malformed)?;
            let number = file.patterns.len() + 1;
            let plain = |text: &str| !text.contains(['*', '?', '\\', '[', ']']);
            if plain(&text) {
                file.exact.insert(text.clone(), number);
            } else if let Some(end) = text.strip_prefix("**/").filter(|end| plain(end)) {
                file.ends.insert(end.to_owned(), number);
            } else {
                expressions.push(expression(&text).map_err(malformed)?);
                file.numbers.push(number);
            }
            file.patterns.push(Pattern { text, negated });
        }
        if expressions.len() > MAX_WILDCARDS {
            return Err(IgnoreError::TooLarge);
        }
        let mut builder = RegexSetBuilder::new(expressions);
        file.set = builder.size_limit(MAX_COMPILED).build().map_err(|_| IgnoreError::TooLarge)?;
        Ok(file)
    }

    /// The patterns as they count, in order.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.patterns.iter().map(|pattern| if pattern.negated { format!("!{}", pattern.text) } else { pattern.text.clone() })
    }

    /// Whether any pattern takes back what others exclude.
    pub fn has_negation(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }

    /// Whether a path, relative to the root and with `/` between its components, is excluded.
    pub fn matches(&self, path: &str) -> bool {
        let mut verdict = self.descend(Verdict::default(), path);
        let parent = path.rfind('/').map_or_else(|| ".".to_owned(), |at| clean(path.get(..=at).unwrap_or_default()));
        if parent != "." {
            let ends = parent.match_indices('/').map(|(at, _)| at).chain([parent.len()]);
            for directory in ends.filter_map(|end| parent.get(..end)) {
                verdict = self.descend(verdict, directory);
            }
        }
        self.excludes(verdict)
    }

    /// What the patterns say about a path whose parent's verdict is known: one look at each path is enough for a whole tree. The root's
    /// verdict is the default one.
    pub fn descend(&self, parent: Verdict, path: &str) -> Verdict {
        let matching = self.set.matches(path);
        let from_set = matching.iter().filter_map(|index| self.numbers.get(index)).max();
        let ends = path.match_indices('/').filter_map(|(at, _)| path.get(at + 1..)).chain([path]);
        let ends = ends.filter_map(|end| self.ends.get(end));
        let found = ends.chain(from_set).chain(self.exact.get(path)).copied();
        Verdict { last: found.fold(parent.last, usize::max) }
    }

    /// Whether a verdict is that the path is excluded.
    pub fn excludes(&self, verdict: Verdict) -> bool {
        verdict.last.checked_sub(1).and_then(|index| self.patterns.get(index)).is_some_and(|pattern| !pattern.negated)
    }

    /// Whether nothing below an excluded directory can be taken back, so that a walk need not enter it.
    pub fn skips(&self, verdict: Verdict, directory: &str) -> bool {
        let later = || self.patterns.iter().skip(verdict.last).filter(|pattern| pattern.negated);
        self.excludes(verdict) && !later().any(|pattern| may_match_below(&pattern.text, directory))
    }
}

/// Whether a pattern could match something below a directory: false only where a component without wildcards says so.
fn may_match_below(pattern: &str, directory: &str) -> bool {
    let plain = pattern.split('/').take_while(|component| !component.contains(['*', '?', '[', '\\']));
    plain.zip(directory.split('/')).all(|(expected, component)| expected == component)
}

/// The regular expression of a pattern that has wildcards.
fn expression(pattern: &str) -> Result<String, super::pattern::BadPattern> {
    // `**name` is any path that ends so, not only a path whose last component is that.
    if let Some(end) = pattern.strip_prefix("**").filter(|end| !end.starts_with('/') && !end.contains(['*', '?', '\\', '[', ']'])) {
        return Ok(format!("^(?s:.*){}$", regex::escape(end)));
    }
    let mut out = "^".to_owned();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                let _ = chars.next_if_eq(&'/');
                out.push_str(if chars.peek().is_none() { "(?s:.*)" } else { "(?s:.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => push_class(&mut out, &class(&mut chars)?),
            '\\' => push_literal(&mut out, chars.next().unwrap_or('\\')),
            c => push_literal(&mut out, c),
        }
    }
    Ok(out + "$")
}

fn push_literal(out: &mut String, c: char) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

fn push_class(out: &mut String, class: &Token) {
    let Token::Class { negated, ranges } = class else { return };
    // A range that runs backwards holds nothing; a slash belongs to no component.
    let held =
        ranges.iter().filter(|(low, high)| low <= high).map(|(low, high)| format!("\\x{{{:x}}}-\\x{{{:x}}}", *low as u32, *high as u32));
    let held: String = held.collect();
    match (*negated, held.is_empty()) {
        (true, _) => out.push_str(&format!("[^/{held}]")),
        (false, true) => out.push_str("[^\\s\\S]"),
        (false, false) => out.push_str(&format!("[{held}--/]")),
    }
}

/// A path without `.`, `//` and what `..` takes back, as Go's `path.Clean` gives it.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if components.last().is_some_and(|last| *last != "..") => {
                components.pop();
            }
            ".." if rooted => {}
            other => components.push(other),
        }
    }
    match (rooted, components.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(text: &str, path: &str) -> bool {
        IgnoreFile::parse(text).unwrap().matches(path)
    }

    #[test]
    fn the_last_match_wins_and_parents_count() {
        for (text, path, expected) in [
            ("a\n", "a/b/c", true),
            ("a\n!a/b\n", "a/b/c", false),
            ("a\n!a/b\na/b/c", "a/b/c", true),
            ("*.txt", "d/x.txt", false),
            ("**/*.txt", "x.txt", true),
            ("d/**", "d", false),
            ("d/**", "d/x", true),
            ("**x", "d/yx", true),
            ("**/x", "d/yx", false),
            ("/a/../b/./", "b", true),
            ("# a\n #c", "#c", true),
            ("../a", "a", false),
            ("[^a]", "b/c", true),
            ("a[^b]c", "a/c", false),
            ("a[.-0]c", "a/c", false),
            ("(a|b).*", "(a|b).c", true),
            ("a**b", "a/x/b", true),
        ] {
            assert_eq!(excluded(text, path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn malformed_patterns_name_their_line() {
        assert_eq!(IgnoreFile::parse("a\n\n[b\n").unwrap_err(), IgnoreError::Pattern { pattern: "[b".to_owned(), line: 3 });
        assert_eq!(IgnoreFile::parse("a\n! \n").unwrap_err(), IgnoreError::Exclusion { line: 2 });
    }

    #[test]
    fn a_walk_skips_what_cannot_come_back() {
        let file = IgnoreFile::parse("*\n!src/**/*.rs\n!docs").unwrap();
        let verdict = |directory| file.descend(Verdict::default(), directory);
        assert!(file.skips(verdict("node_modules"), "node_modules"));
        assert!(!file.skips(verdict("src"), "src") && !file.skips(file.descend(verdict("src"), "src/a"), "src/a"));
        assert!(!file.skips(verdict("docs"), "docs"));
        let file = IgnoreFile::parse("!a/b\na").unwrap();
        assert!(file.skips(file.descend(Verdict::default(), "a"), "a"));
        let file = IgnoreFile::parse("a\n!**/keep").unwrap();
        assert!(!file.skips(file.descend(Verdict::default(), "a"), "a"));
    }

    #[test]
    fn a_walk_says_what_matches_says() {
        let file = IgnoreFile::parse("a/*\n!a/b/c*\n**/*.o\n!x\n").unwrap();
        for path in ["a", "a/b", "a/b/c1", "a/b/c1/d.o", "q/a.o/x", "x", "x/y.o", "a/z/x"] {
            let mut verdict = Verdict::default();
            for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
                verdict = file.descend(verdict, &path[..end]);
            }
            assert_eq!(file.excludes(verdict), file.matches(path), "{path}");
        }
    }

    #[test]
    fn large_files_are_fine_and_very_large_ones_refused() {
        let names = (0..10_000).map(|n| format!("some/directory/file-{n}\n**/cache-{n}\n"));
        let wildcards = (0..200).map(|n| format!("**/c{n}-*/x\n"));
        let start = std::time::Instant::now();
        let file = IgnoreFile::parse(&names.chain(wildcards).collect::<String>()).unwrap();
        for n in 0..1_000 {
            assert!(!file.matches(&format!("src/module-{n}/file.rs")));
        }
        assert!(file.matches("a/b/cache-77/x") && file.matches("q/c7-z/x/y") && !file.matches("some/directory"));
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        assert_eq!(IgnoreFile::parse(&"a*\n".repeat(1_001)).unwrap_err(), IgnoreError::TooLarge);
    }
}
