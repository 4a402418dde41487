//! A command's output, cut into lines within bounded memory.

use std::io::BufRead as _;

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A longer line comes in pieces of this size, in bytes.
const LONGEST_LINE: usize = 16 << 10;

/// The lines of a text, each with its end, which the last one may lack. A command may write gigabytes: the search is the library's own, which
/// looks at many bytes at once.
pub fn split_lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut rest = text;
        let length = rest.skip_until(b'\n').ok().filter(|length| *length > 0)?;
        let (line, after) = text.split_at_checked(length)?;
        text = after;
        Some(line)
    })
}

/// Holds the beginning of a line until the rest of it arrives.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Hands on what `chunk` completes.
    pub(super) fn feed(&mut self, chunk: &[u8], emit: &mut dyn FnMut(&[u8])) {
        for piece in split_lines(chunk) {
            let mut piece = piece;
            while self.partial.len() + piece.len() > LONGEST_LINE {
                let (head, tail) = piece.split_at(LONGEST_LINE - self.partial.len());
                self.push(head, emit);
                piece = tail;
            }
            if piece.ends_with(b"\n") {
                self.push(piece, emit);
            } else {
                self.partial.extend_from_slice(piece);
            }
        }
    }

    /// Hands on what is left at the end.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(&[u8])) {
        if !self.partial.is_empty() {
            emit(&self.partial);
            self.partial.clear();
        }
    }

    fn push(&mut self, last: &[u8], emit: &mut dyn FnMut(&[u8])) {
        if self.partial.is_empty() {
            emit(last);
        } else {
            self.partial.extend_from_slice(last);
            emit(&self.partial);
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.feed(chunk, &mut |line| seen.push(line.to_vec()));
        }
        lines.finish(&mut |line| seen.push(line.to_vec()));
        seen
    }

    #[test]
    fn a_text_is_its_lines() {
        for text in ["", "\n", "a", "a\n", "\n\na\nb"] {
            let wanted: Vec<&[u8]> = text.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
            assert_eq!(split_lines(text.as_bytes()).collect::<Vec<_>>(), wanted, "{text:?}");
        }
    }

    #[test]
    fn lines_come_whole() {
        let seen = cut(&[b"a\nb", b"c\n\n", b"d"]);
        assert_eq!(seen, [&b"a\n"[..], b"bc\n", b"\n", b"d"]);
    }

    #[test]
    fn long_lines_come_in_pieces_and_lose_nothing() {
        let long = vec![b'x'; 3 * LONGEST_LINE + 7];
        let seen = cut(&[b"ab", &long, b"\nend\n"]);
        assert!(seen.iter().all(|line| line.len() <= LONGEST_LINE));
        let mut all = b"ab".to_vec();
        all.extend_from_slice(&long);
        all.extend_from_slice(b"\nend\n");
        assert_eq!(seen.concat(), all);
    }
}
