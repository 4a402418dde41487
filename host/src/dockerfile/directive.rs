use super::error::{ParseError, ParseErrorKind};
use super::source::{Span, cut, printable};

/// What the first lines of a Dockerfile say to the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `\` unless `# escape=` says otherwise.
    pub escape: char,
    /// The frontend that the file asks for.
    pub syntax: Option<Syntax>,
    /// `# check=`, whose rules are lint's.
    pub check: Option<CheckOptions>,
    /// Lines taken up by directives.
    pub(super) lines: u32,
}

/// `# syntax=reference`, which names the image of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Up to the first space.
    pub reference: String,
    /// The whole value.
    pub command_line: String,
    /// Where it is.
    pub span: Span,
}

/// `# check=skip=A,B;error=true;experimental=C`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Rules to leave out; `all` leaves out every one.
    pub skip: Vec<String>,
    /// Experimental rules to apply; `all` applies every one.
    pub experimental: Vec<String>,
    /// Whether a finding fails the build.
    pub error: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', syntax: None, check: None, lines: 0 }
    }
}

impl Syntax {
    /// Whether the frontend is the Dockerfile language itself, which this program reads without running anything.
    pub fn is_dockerfile(&self) -> bool {
        let name = self.reference.strip_prefix("docker.io/").unwrap_or(&self.reference);
        let name = name.split(['@', ':']).next().unwrap_or(name);
        matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0")
    }
}

impl CheckOptions {
    /// Reads the value of a `check` directive.
    ///
    /// # Errors
    /// The option that is not known, or has no or a bad value.
    pub fn parse(value: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for part in value.trim().splitn(3, ';').filter(|_| !value.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| part.to_owned())?;
            let rules = || value.split(',').map(|rule| rule.trim().to_owned()).collect();
            match key.trim() {
                "skip" => options.skip = rules(),
                "experimental" => options.experimental = rules(),
                "error" => options.error = boolean(value.trim()).ok_or_else(|| part.to_owned())?,
                other => return Err(other.to_owned()),
            }
        }
        Ok(options)
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Directives {
    /// Reads the directives at the head of a text: the first line that is not a known one ends them.
    pub(super) fn read(text: &str, errors: &mut Vec<ParseError>) -> Self {
        let mut directives = Self::default();
        let mut seen = Vec::new();
        let mut first_syntax = None;
        for (number, line) in (1..).zip(text.lines()) {
            let Some((key, value)) = assignment(line.trim_start(), "#") else { break };
            let key = key.to_ascii_lowercase();
            if !matches!(key.as_str(), "syntax" | "escape" | "check") {
                break;
            }
            directives.lines = number;
            let mut report = |kind| errors.push(ParseError { kind, span: Span::lines(number, number) });
            if seen.contains(&key) {
                report(ParseErrorKind::RepeatedDirective(key));
                continue;
            }
            match (key.as_str(), value) {
                ("escape", "`") => directives.escape = '`',
                ("escape", "\\") => {}
                ("escape", other) => report(ParseErrorKind::Escape(cut(&printable(other)))),
                ("check", value) => match CheckOptions::parse(value) {
                    Ok(options) => directives.check = Some(options),
                    Err(option) => report(ParseErrorKind::CheckOption(option)),
                },
                (_, value) => first_syntax = Some(syntax(value, number)),
            }
            seen.push(key);
        }
        directives.syntax = first_syntax.or_else(|| foreign_syntax(text));
        directives
    }
}

/// A syntax directive in one of the other places that it may stand: below a `#!` line, after `//`, or in a JSON object.
fn foreign_syntax(text: &str) -> Option<Syntax> {
    let skip = usize::from(text.starts_with("#!"));
    for marker in ["#", "//"] {
        for (number, line) in (1..).zip(text.lines()).skip(skip) {
            let Some((key, value)) = assignment(line.trim_start(), marker) else { break };
            match key.to_ascii_lowercase().as_str() {
                "syntax" => return Some(syntax(value, number)),
                "escape" | "check" => {}
                _ => break,
            }
        }
    }
    let json = text.trim_start().strip_prefix('{').map(|_| text.trim());
    let object: serde_json::Value = serde_json::from_str(json?).ok()?;
    Some(syntax(object.get("syntax")?.as_str()?, 1))
}

fn syntax(value: &str, line: u32) -> Syntax {
    let reference = value.split(' ').next().unwrap_or(value).to_owned();
    Syntax { reference, command_line: value.to_owned(), span: Span::lines(line, line) }
}

/// `# key = value`, where the key is a letter and then letters and digits, and the value is not empty.
fn assignment<'a>(line: &'a str, marker: &str) -> Option<(&'a str, &'a str)> {
    let (key, value) = line.strip_prefix(marker)?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Directives, Vec<String>) {
        let mut errors = Vec::new();
        let directives = Directives::read(text, &mut errors);
        (directives, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_the_first_lines_hold_directives() {
        assert_eq!(read("# escape=`\nFROM a").0.escape, '`');
        assert_eq!(read("#escape = `  \r\nFROM a").0.escape, '`');
        for text in ["# x\n# escape=`", "\n# escape=`", "# foo=bar\n# escape=`", "FROM a\n# escape=`", "# escape="] {
            assert_eq!(read(text).0.escape, '\\', "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_reported_by_line() {
        let (_, errors) = read("# syntax=a\n# Syntax=b\n# escape=x\n# check=skipall\n");
        assert_eq!(errors.len(), 3);
        assert_eq!(errors[0], "dockerfile parse error on line 2: only one syntax parser directive can be used");
        assert_eq!(errors[1], "dockerfile parse error on line 3: invalid escape token 'x' does not match ` or \\");
        assert!(errors[2].ends_with("invalid check option \"skipall\""));
    }

    #[test]
    fn syntax_is_found_wherever_it_may_stand() {
        for text in ["# syntax=a/b:1 x y", "#!/bin/x\n# syntax=a/b:1 x y", "// syntax=a/b:1 x y", "{\"syntax\": \"a/b:1 x y\"}"] {
            let syntax = read(text).0.syntax.unwrap();
            assert_eq!((syntax.reference.as_str(), syntax.command_line.as_str()), ("a/b:1", "a/b:1 x y"), "{text}");
        }
        assert_eq!(read("# hello\n# syntax=a/b").0.syntax, None);
    }

    #[test]
    fn the_dockerfile_frontend_is_known_by_its_names() {
        let own = |reference: &str| syntax(reference, 1).is_dockerfile();
        assert!(own("docker/dockerfile:1") && own("docker.io/docker/dockerfile@sha256:aa") && own("docker/dockerfile-upstream:master"));
        assert!(!own("docker/dockerfile-evil") && !own("evil.test/docker/dockerfile:1"));
    }

    #[test]
    fn check_options() {
        let options = CheckOptions::parse("skip=A, B;error=true").unwrap();
        assert_eq!((options.skip, options.error), (vec!["A".to_owned(), "B".to_owned()], true));
        assert!(CheckOptions::parse("").is_ok() && CheckOptions::parse("error=maybe").is_err());
    }
}
