use std::borrow::Cow;

use super::error::ParseErrorKind;
use super::instruction::Heredoc;
use super::source::{Span, cut, printable};

/// The longest physical line, in bytes without its end.
const MAX_LINE: usize = 65_535;

/// Physical lines one after the other, joined to logical ones on request.
pub(super) struct Reader<'a> {
    rest: &'a str,
    number: u32,
    escape: char,
    /// Comment lines above the next instruction, since the last bare `#`.
    comments: Vec<String>,
    /// Lines at the start that are directives and so no comments.
    directives: u32,
}

/// Physical lines joined to one: what one instruction is written on.
#[derive(Debug, Default)]
pub(super) struct LogicalLine {
    /// Without line ends and continuation characters.
    pub(super) text: String,
    /// The first and the last physical line.
    pub(super) first: u32,
    pub(super) last: u32,
    /// The comment lines above.
    pub(super) comments: Vec<String>,
    /// Whether a blank line stands inside a continuation.
    pub(super) blank_inside: bool,
    pieces: Vec<Piece>,
}

/// Where a part of a logical line comes from.
#[derive(Debug)]
struct Piece {
    offset: usize,
    line: u32,
    column: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, escape: char, directives: u32) -> Self {
        Self { rest: text, number: 0, escape, comments: Vec::new(), directives }
    }

    /// The number of the line read last.
    pub(super) fn line(&self) -> u32 {
        self.number
    }

    /// The next physical line with its end; none at the end of the text.
    fn physical(&mut self) -> Result<Option<&'a str>, ParseErrorKind> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        (self.rest, self.number) = (rest, self.number.saturating_add(1));
        if line.strip_suffix('\n').unwrap_or(line).len() > MAX_LINE {
            return Err(ParseErrorKind::LineTooLong(MAX_LINE));
        }
        Ok(Some(line))
    }

    /// The next logical line that is neither blank nor a comment.
    pub(super) fn logical(&mut self) -> Result<Option<LogicalLine>, ParseErrorKind> {
        while let Some(raw) = self.physical()? {
            let line = without_end(raw);
            let text = line.trim_start();
            if let Some(comment) = text.strip_prefix('#') {
                self.comment(comment.trim());
                continue;
            }
            if text.is_empty() {
                continue;
            }
            let mut joined = LogicalLine { first: self.number, ..LogicalLine::default() };
            let mut open = joined.push(text, self.number, line.len() - text.len(), self.escape);
            while open {
                let Some(raw) = self.physical()? else { break };
                let line = without_end(raw);
                let text = line.trim_start();
                if text.is_empty() {
                    joined.blank_inside = true;
                } else if !text.starts_with('#') {
                    open = joined.push(line, self.number, 0, self.escape);
                }
            }
            joined.last = self.number;
            joined.comments = std::mem::take(&mut self.comments);
            return Ok(Some(joined));
        }
        Ok(None)
    }

    fn comment(&mut self, text: &str) {
        if text.is_empty() {
            self.comments.clear();
        } else if self.number > self.directives {
            self.comments.push(text.to_owned());
        }
    }

    /// Reads the body of a heredoc up to its end.
    pub(super) fn heredoc(&mut self, heredoc: &mut Heredoc) -> Result<(), ParseErrorKind> {
        while let Some(line) = self.physical()? {
            let text = without_end(line);
            let text = if heredoc.chomp { text.trim_start_matches('\t') } else { text };
            if text == heredoc.name {
                return Ok(());
            }
            heredoc.content.push_str(line);
        }
        Err(ParseErrorKind::UnterminatedHeredoc(cut(&printable(&heredoc.name))))
    }
}

impl LogicalLine {
    /// Adds a physical line and says whether another one follows.
    fn push(&mut self, line: &str, number: u32, column: usize, escape: char) -> bool {
        let (text, open) = match continued(line, escape) {
            Some(text) => (text, true),
            None => (line, false),
        };
        self.pieces.push(Piece { offset: self.text.len(), line: number, column });
        self.text.push_str(text);
        open
    }

    /// The whole line.
    pub(super) fn span(&self) -> Span {
        Span::lines(self.first, self.last)
    }

    /// The place in the source of `length` bytes from an offset of the text. What runs over the end of a physical line is cut there.
    pub(super) fn part(&self, offset: usize, length: usize) -> Span {
        let index = self.pieces.partition_point(|piece| piece.offset <= offset);
        let Some(piece) = index.checked_sub(1).and_then(|index| self.pieces.get(index)) else { return self.span() };
        let end = self.pieces.get(index).map_or(self.text.len(), |next| next.offset);
        let length = length.min(end.saturating_sub(offset));
        let start = (piece.column + offset - piece.offset) as u32;
        Span { start_line: piece.line, end_line: piece.line, columns: Some(start..start.saturating_add(length as u32)) }
    }
}

/// A line up to its continuation character, if it ends in one. Two escape characters in a row continue nothing.
fn continued(line: &str, escape: char) -> Option<&str> {
    let text = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!text.ends_with(escape)).then_some(text)
}

fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// A heredoc's body without the tabs that lead its lines.
pub(super) fn without_tabs(content: &str) -> Cow<'_, str> {
    if !content.contains('\t') {
        return Cow::Borrowed(content);
    }
    Cow::Owned(content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<LogicalLine> {
        let mut reader = Reader::new(text, '\\', 0);
        std::iter::from_fn(|| reader.logical().unwrap()).collect()
    }

    #[test]
    fn continuations_join_without_a_trace() {
        let lines = all("RU\\\nN a \\  \n# c\n\n  b\\\\\nENV x \\");
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["RUN a   b\\\\", "ENV x "]);
        assert_eq!((lines[0].first, lines[0].last, lines[0].blank_inside), (1, 5, true));
        assert_eq!(lines[0].part(8, 3), Span { start_line: 5, end_line: 5, columns: Some(2..5) });
    }

    #[test]
    fn comments_belong_to_what_they_stand_above() {
        let lines = all("# a\n#\n# b\n  # c\nX\nY\n# d\n\nZ");
        assert_eq!((&*lines[0].comments.join(" "), &*lines[1].comments.join(" "), &*lines[2].comments.join(" ")), ("b c", "", "d"));
    }

    #[test]
    fn a_long_line_is_refused() {
        let text = format!("ENV a={}", "x".repeat(MAX_LINE));
        assert_eq!(Reader::new(&text, '\\', 0).logical().unwrap_err(), ParseErrorKind::LineTooLong(65_535));
        assert!(Reader::new(&text[..MAX_LINE], '\\', 0).logical().is_ok());
    }
}
