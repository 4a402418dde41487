use std::fmt::Write as _;
use std::ops::Range;

/// How many lines of one span an excerpt shows.
const EXCERPT_LINES: usize = 12;
/// How many characters of one line an excerpt shows.
const EXCERPT_WIDTH: usize = 160;

/// The text of a Dockerfile and the name to show for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A path, or what stands for one: `<stdin>`.
    pub name: String,
    /// Without a byte order mark.
    pub text: String,
}

/// Lines of a source, counted from 1, and where it is known the columns in the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first line.
    pub start_line: u32,
    /// The last line; never before the first.
    pub end_line: u32,
    /// Bytes of the first line, counted from 0, to underline.
    pub columns: Option<Range<u32>>,
}

impl Source {
    /// A source from text; a byte order mark is dropped.
    pub fn new(name: impl Into<String>, text: &str) -> Self {
        Self { name: name.into(), text: text.strip_prefix('\u{feff}').unwrap_or(text).to_owned() }
    }

    /// A source from bytes. What is not UTF-8 becomes U+FFFD: old Dockerfiles have Latin-1 in their comments.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(name, &String::from_utf8_lossy(bytes))
    }

    /// Shows the lines of a span as a compiler does: numbered, with the columns underlined.
    ///
    /// Control characters are replaced, since they come from outside and end on a terminal; long lines and long spans are cut.
    pub fn excerpt(&self, span: &Span) -> String {
        let first = span.start_line.max(1);
        let count = (span.end_line.max(first) - first) as usize + 1;
        let width = span.end_line.max(first).to_string().len();
        let mut out = format!("{:width$}--> {}:{first}", "", printable(&self.name));
        let _ = write!(out, "\n{:width$} |", "");
        // A part of the first line is all that is meant, or it goes on to the end.
        let mut whole = true;
        let lines = self.text.split('\n').enumerate().skip(first as usize - 1).take(count.min(EXCERPT_LINES));
        for (index, line) in lines {
            let line = line.trim_end_matches('\r');
            let _ = write!(out, "\n{:>width$} | {}", index + 1, cut(&printable(line)));
            if index + 1 == first as usize {
                let (indent, length) = underline(line, span.columns.as_ref());
                let _ = write!(out, "\n{:width$} | {:indent$}{}", "", "", "^".repeat(length));
                whole = reaches_end(line, span.columns.as_ref());
            } else if whole && !line.trim().is_empty() {
                let (indent, length) = underline(line, None);
                let _ = write!(out, "\n{:width$} | {:indent$}{}", "", "", "^".repeat(length));
            }
        }
        if count > EXCERPT_LINES {
            let _ = write!(out, "\n{:width$} | … {} more lines", "", count - EXCERPT_LINES);
        }
        out
    }
}

impl Span {
    /// A span of whole lines.
    pub fn lines(start_line: u32, end_line: u32) -> Self {
        Self { start_line, end_line, columns: None }
    }
}

/// Whether columns end where the line does, but for the character that continues it.
fn reaches_end(line: &str, columns: Option<&Range<u32>>) -> bool {
    columns.is_none_or(|columns| line.trim_end().len() <= columns.end as usize + 1)
}

/// Where the underline of a line starts and how long it is, in characters as they are shown.
fn underline(line: &str, columns: Option<&Range<u32>>) -> (usize, usize) {
    let whole = || line.len() - line.trim_start().len()..line.trim_end().len();
    let bytes = columns.map_or_else(whole, |columns| columns.start as usize..columns.end as usize);
    let shown = |range: Range<usize>| line.get(range).map_or(0, |part| printable(part).chars().count());
    let start = bytes.start.min(line.len());
    let indent = shown(0..start).min(EXCERPT_WIDTH);
    let length = shown(start..bytes.end.clamp(start, line.len())).clamp(1, EXCERPT_WIDTH + 1 - indent);
    (indent, length)
}

/// The text with tabs as four spaces and other control characters as U+FFFD.
pub(super) fn printable(text: &str) -> String {
    text.replace('\t', "    ").chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether a character could change how a terminal shows what is around it.
fn hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `EXCERPT_WIDTH` characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_WIDTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_underlines_the_columns() {
        let source = Source::new("Dockerfile", "FROM scratch\nCOPY --form=a \\\n  b c\n");
        let span = Span { start_line: 2, end_line: 3, columns: Some(5..13) };
        let expected = " --> Dockerfile:2\n  |\n2 | COPY --form=a \\\n  |      ^^^^^^^^\n3 |   b c";
        assert_eq!(source.excerpt(&span), expected);
    }

    #[test]
    fn an_excerpt_underlines_every_line_of_an_instruction() {
        let source = Source::new("Dockerfile", "FROM scratch\nRUN a && \\\n  b\n");
        let expected = " --> Dockerfile:2\n  |\n2 | RUN a && \\\n  | ^^^^^^^^^\n3 |   b\n  |   ^";
        assert_eq!(source.excerpt(&Span { start_line: 2, end_line: 3, columns: Some(0..9) }), expected);
        assert!(source.excerpt(&Span::lines(2, 3)).ends_with("3 |   b\n  |   ^"));
    }

    #[test]
    fn an_excerpt_hides_control_characters_and_survives_any_span() {
        let source = Source::new("D\u{1b}[2J", "a\u{1b}[31mb\té\r\n");
        assert!(!source.excerpt(&Span::lines(1, 1)).contains('\u{1b}'));
        let backwards = std::ops::Range { start: 900, end: 3 };
        for columns in [Some(3..900), Some(backwards), Some(8..9), None] {
            for (start_line, end_line) in [(0, 0), (1, 1), (2, 1), (7, 90_000)] {
                let _ = source.excerpt(&Span { start_line, end_line, columns: columns.clone() });
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_bad_bytes_are_replaced() {
        assert_eq!(Source::from_bytes("D", b"\xef\xbb\xbfFROM a\xff").text, "FROM a\u{fffd}");
    }
}
