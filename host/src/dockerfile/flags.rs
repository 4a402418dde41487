use super::error::{ParseErrorKind, suggest};
use super::instruction::Flag;
use super::keyword::Keyword;
use super::lines::LogicalLine;
use super::source::{Span, cut, printable};

/// A flag as it stands in the text: quotes and escapes removed.
struct Word {
    text: String,
    offset: usize,
    end: usize,
}

/// Takes the flags off the start of a keyword's arguments: words that start with `--`, up to the first that does not.
/// Returns the offset in the line's text where the arguments begin.
pub(super) fn take_flags(line: &LogicalLine, start: usize) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut position = start;
    loop {
        let rest = line.text.get(position..).unwrap_or_default();
        position += rest.len() - rest.trim_start().len();
        if !rest.trim_start().starts_with("--") {
            return (flags, position);
        }
        let word = word(&line.text, position);
        position = word.end;
        if word.text == "--" {
            return (flags, position);
        }
        if word.text.is_empty() {
            continue;
        }
        let (name, value) = match word.text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.text.as_str(), None),
        };
        let name = name.strip_prefix("--").unwrap_or(name).to_owned();
        flags.push(Flag { name, value, span: line.part(word.offset, word.end - word.offset) });
    }
}

/// One word up to white space. The escape here is a backslash whatever the file says, and quotes end where they began.
fn word(line: &str, offset: usize) -> Word {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = line.get(offset..).unwrap_or_default().char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            ('\\', _) => text.extend(chars.next().map(|(_, escaped)| escaped)),
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            (c, None) if c.is_whitespace() => return Word { text, offset, end: offset + at },
            (c, _) => text.push(c),
        }
    }
    Word { text, offset, end: line.len() }
}

/// Checks the flags against what the keyword has, and gives each switch its value.
pub(super) fn check_flags(flags: &mut [Flag], keyword: &Keyword, report: &mut dyn FnMut(ParseErrorKind, Span)) {
    let mut seen: Vec<&str> = Vec::new();
    for flag in flags {
        let shown = || cut(&printable(&flag.name));
        let Some(spec) = keyword.flags.iter().find(|spec| spec.name == flag.name) else {
            let suggestion = suggest(&flag.name, keyword.flags.iter().map(|spec| spec.name.as_str()));
            report(ParseErrorKind::UnknownFlag { flag: shown(), suggestion }, flag.span.clone());
            continue;
        };
        if seen.contains(&spec.name.as_str()) && !spec.repeats {
            report(ParseErrorKind::DuplicateFlag(shown()), flag.span.clone());
            continue;
        }
        seen.push(&spec.name);
        let problem = match (&flag.value, spec.is_switch) {
            (None, true) => {
                flag.value = Some("true".to_owned());
                None
            }
            (Some(value), true) if value.is_empty() => Some(ParseErrorKind::MissingValue(shown())),
            (Some(value), true) => match value.to_lowercase().as_str() {
                truth @ ("true" | "false") => {
                    flag.value = Some(truth.to_owned());
                    None
                }
                _ => Some(ParseErrorKind::NotBoolean { flag: shown(), value: cut(&printable(value)) }),
            },
            (None, false) => Some(ParseErrorKind::MissingValue(shown())),
            (Some(_), false) => None,
        };
        if let Some(kind) = problem {
            report(kind, flag.span.clone());
        }
    }
}
