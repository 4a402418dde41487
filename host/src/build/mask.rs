//! Keeping secrets out of what is shown.

use crate::sandbox::split_lines;

/// What stands in a secret's place.
const STARS: &[u8] = b"****";
/// A shorter value, in bytes, would be found everywhere and is none that anything rests on.
const SHORTEST: usize = 3;
/// A line of a secret of several lines is hidden by itself from this length on, in bytes.
const SHORTEST_LINE: usize = 8;
/// An unfinished line is handed on at this length, in bytes.
const LONGEST_LINE: usize = 16 << 10;

/// What must not be shown.
#[derive(Default)]
pub struct Mask {
    /// The longest first: of two that fit the longer one counts.
    values: Vec<Vec<u8>>,
    /// By the first byte of a value.
    starts: Vec<bool>,
}

impl Mask {
    /// Hides values, and the lines of those that have several.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let whole = secret.trim_ascii();
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| line.len() >= SHORTEST_LINE);
            values.extend(lines.chain([whole].into_iter().filter(|whole| whole.len() >= SHORTEST)).map(<[u8]>::to_vec));
        }
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        let mut starts = vec![false; 256];
        for first in values.iter().filter_map(|value| value.first()) {
            if let Some(start) = starts.get_mut(usize::from(*first)) {
                *start = true;
            }
        }
        Self { values, starts }
    }

    /// A text without the values.
    pub fn text(&self, text: &str) -> String {
        let mut shown = Vec::new();
        let mut held = text.as_bytes().to_vec();
        self.show(&mut held, true, &mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Moves from `held` to `shown` what is certain: all of it at the end, else all but what may be the start of a value.
    fn show(&self, held: &mut Vec<u8>, end: bool, shown: &mut Vec<u8>) {
        if self.values.is_empty() {
            shown.append(held);
            return;
        }
        let mut at = 0;
        while let Some((first, rest)) = held.get(at..).and_then(|rest| Some((rest.first()?, rest))) {
            let begins = self.starts.get(usize::from(*first)).copied().unwrap_or_default();
            if begins && !end && self.values.iter().any(|value| value.len() > rest.len() && value.starts_with(rest)) {
                break;
            }
            match self.values.iter().filter(|_| begins).find(|value| rest.starts_with(value)) {
                Some(value) => {
                    shown.extend_from_slice(STARS);
                    at += value.len();
                }
                None => {
                    shown.push(*first);
                    at += 1;
                }
            }
        }
        held.drain(..at);
    }
}

/// One stream of a process's output on its way to being shown, in lines.
#[derive(Default)]
pub struct MaskedLines {
    held: Vec<u8>,
    line: Vec<u8>,
}

impl MaskedLines {
    /// Takes what was written, and hands on the lines that are certain, each without its end.
    pub fn feed(&mut self, mask: &Mask, written: &[u8], emit: &mut dyn FnMut(&[u8])) {
        self.held.extend_from_slice(written);
        self.go_on(mask, false, emit);
    }

    /// Hands on what is left.
    pub fn finish(&mut self, mask: &Mask, emit: &mut dyn FnMut(&[u8])) {
        self.go_on(mask, true, emit);
        if !self.line.is_empty() {
            emit(&self.line);
            self.line.clear();
        }
    }

    fn go_on(&mut self, mask: &Mask, end: bool, emit: &mut dyn FnMut(&[u8])) {
        let mut shown = Vec::new();
        mask.show(&mut self.held, end, &mut shown);
        for piece in split_lines(&shown) {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                emit(self.line.strip_suffix(b"\n").unwrap_or(&self.line));
                self.line.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(secrets: &[&[u8]], chunks: &[&[u8]]) -> Vec<String> {
        let mask = Mask::new(secrets.iter().copied());
        let mut seen = Vec::new();
        let mut emit = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        let mut stream = MaskedLines::default();
        for chunk in chunks {
            stream.feed(&mask, chunk, &mut emit);
        }
        stream.finish(&mask, &mut emit);
        seen
    }

    #[test]
    fn a_value_is_hidden_wherever_the_chunks_end() {
        let text = b"a s3cret, s3cret\ns3cre s3cret\nend".as_slice();
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(lines(&[b"s3cret\n"], &chunks), ["a ****, ****", "s3cre ****", "end"], "chunks of {size}");
        }
    }

    #[test]
    fn the_longer_value_counts() {
        assert_eq!(lines(&[b"abc", b"abcdef"], &[b"abcde", b"f abcx\n"]), ["**** ****x"]);
    }

    #[test]
    fn several_lines_are_hidden_whole_and_one_by_one() {
        let key = b"-----BEGIN KEY-----\nMIIabcdefgh\nshort\n-----END KEY-----\n".as_slice();
        assert_eq!(lines(&[key], &[b"<", key, b">\n"]), ["<****", ">"]);
        assert_eq!(lines(&[key], &[b"grep: MIIabcdefgh!\nshort\n"]), ["grep: ****!", "short"]);
        assert_eq!(lines(&[key], &[b"-----BEGIN KEY-----\nother\n"]), ["****", "other"]);
    }

    #[test]
    fn what_is_no_secret_is_shown_as_it_is() {
        assert_eq!(lines(&[b"", b"\n", b"ab"], &[b"ab\n\n\xff\n"]), ["ab", "", "\u{fffd}"]);
        assert_eq!(Mask::new([b"token".as_slice()]).text("the token is token"), "the **** is ****");
        let long = vec![b'x'; 40_000];
        assert_eq!(lines(&[b"secret"], &[&long]).iter().map(String::len).sum::<usize>(), 40_000);
    }
}
