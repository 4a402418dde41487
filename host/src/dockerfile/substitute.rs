//! The patterns of `${name#p}`, `${name%p}` and `${name/p/r}`: `*` is any text, `?` any character, `\` escapes these, itself, and what
//! ends a pattern.

use super::error::ExpandErrorKind;

/// A pattern in parts: between two parts stands a `*`.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Vec<Token>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    Any,
}

/// Character comparisons that one substitution may take.
const MAX_STEPS: usize = 10_000_000;

/// A text to match in, and the work left.
struct Matcher<'a> {
    pattern: &'a [Vec<Token>],
    text: &'a [char],
    steps: usize,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, ExpandErrorKind> {
        let mut parts = vec![Vec::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' => {
                    parts.push(Vec::new());
                    continue;
                }
                '?' => Token::Any,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(escaped),
                    other => {
                        let escape = other.map_or_else(|| "\\".to_owned(), |other| format!("\\{other}"));
                        return Err(ExpandErrorKind::Pattern { pattern: text.to_owned(), escape });
                    }
                },
                other => Token::Literal(other),
            };
            if let Some(part) = parts.last_mut() {
                part.push(token);
            }
        }
        Ok(Self { parts })
    }

    /// The text without a prefix that matches: the shortest or the longest.
    pub(super) fn trim_prefix(&self, text: &str, longest: bool) -> Result<String, ExpandErrorKind> {
        let text: Vec<char> = text.chars().collect();
        let end = Matcher::new(&self.parts, &text).at(0, longest)?.unwrap_or(0);
        Ok(text.iter().skip(end).collect())
    }

    /// The text without a suffix that matches: the shortest or the longest.
    pub(super) fn trim_suffix(&self, text: &str, longest: bool) -> Result<String, ExpandErrorKind> {
        let text: Vec<char> = text.chars().rev().collect();
        let parts: Vec<Vec<Token>> = self.parts.iter().rev().map(|part| part.iter().rev().copied().collect()).collect();
        let end = Matcher::new(&parts, &text).at(0, longest)?.unwrap_or(0);
        Ok(text.iter().skip(end).rev().collect())
    }

    /// The text with the first match, or with every one, replaced. `limit` is the most bytes that the result may have.
    pub(super) fn replace(&self, text: &str, with: &str, all: bool, limit: usize) -> Result<String, ExpandErrorKind> {
        let text: Vec<char> = text.chars().collect();
        let mut matcher = Matcher::new(&self.parts, &text);
        let mut out = String::new();
        let mut copied = 0;
        let mut search = 0;
        while let Some((start, end)) = matcher.find(search)? {
            out.extend(text.iter().take(start).skip(copied));
            // Nothing matches between two matches that touch.
            if end > copied || start == 0 {
                out.push_str(with);
            }
            if out.len() > limit {
                return Err(ExpandErrorKind::TooLong(limit));
            }
            copied = end;
            search = end.max(search + 1);
            if !all {
                break;
            }
        }
        out.extend(text.iter().skip(copied));
        Ok(out)
    }
}

impl<'a> Matcher<'a> {
    fn new(pattern: &'a [Vec<Token>], text: &'a [char]) -> Self {
        Self { pattern, text, steps: MAX_STEPS }
    }

    /// The first match from a position on, as start and end; of those the longest.
    fn find(&mut self, from: usize) -> Result<Option<(usize, usize)>, ExpandErrorKind> {
        let first = self.pattern.first().map_or(0, Vec::len);
        for start in from..=self.text.len() {
            if let Some(end) = self.at(start, true)? {
                return Ok(Some((start, end)));
            }
            // Where the first part is there and the rest is not, the rest is not behind a later start either.
            if self.pattern.len() > 1 && self.part(0, start)? == Some(start + first) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Where the match that starts at a position ends.
    fn at(&mut self, start: usize, longest: bool) -> Result<Option<usize>, ExpandErrorKind> {
        let Some(mut end) = self.part(0, start)? else { return Ok(None) };
        let last = self.pattern.len().saturating_sub(1);
        for index in 1..=last {
            let length = self.pattern.get(index).map_or(0, Vec::len);
            let Some(highest) = self.text.len().checked_sub(length) else { return Ok(None) };
            let backwards = longest && index == last;
            let mut candidates = end..highest + 1;
            loop {
                let candidate = if backwards { candidates.next_back() } else { candidates.next() };
                let Some(candidate) = candidate else { return Ok(None) };
                if let Some(found) = self.part(index, candidate)? {
                    end = found;
                    break;
                }
            }
        }
        Ok(Some(end))
    }

    /// Where one part that starts at a position ends.
    fn part(&mut self, index: usize, start: usize) -> Result<Option<usize>, ExpandErrorKind> {
        let (Some(part), Some(text)) = (self.pattern.get(index), self.text.get(start..)) else { return Ok(None) };
        let matching = part.iter().zip(text).take_while(|(token, c)| matches!(token, Token::Any) || **token == Token::Literal(**c));
        let matched = matching.count();
        self.steps = self.steps.checked_sub(matched + 1).ok_or(ExpandErrorKind::TooSlow)?;
        Ok((matched == part.len()).then_some(start + matched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn prefixes_and_suffixes() {
        for (value, glob, shortest, longest) in [
            ("a.b.c", "*.", "b.c", "c"),
            ("a.b.c", "", "a.b.c", "a.b.c"),
            ("a.b.c", "?", ".b.c", ".b.c"),
            ("a.b.c", "*", "a.b.c", ""),
            ("a*b", "a\\*", "b", "b"),
            ("line\nline", "*line", "\nline", ""),
            ("é.ü", "?.", "ü", "ü"),
        ] {
            assert_eq!(pattern(glob).trim_prefix(value, false).unwrap(), shortest, "{glob}");
            assert_eq!(pattern(glob).trim_prefix(value, true).unwrap(), longest, "{glob}");
        }
        assert_eq!(pattern(".*").trim_suffix("a.b.c", false).unwrap(), "a.b");
        assert_eq!(pattern(".*").trim_suffix("a.b.c", true).unwrap(), "a");
    }

    #[test]
    fn replacements() {
        for (value, glob, with, first, all) in [
            ("foobarbaz", "ba", "$1", "foo$1rbaz", "foo$1r$1z"),
            ("foo", "", "x", "xfoo", "xfxoxox"),
            ("foo", "*", "x", "x", "x"),
            ("abcabc", "b*c", "-", "a-", "a-"),
            ("abab", "a*z", "-", "abab", "abab"),
            ("aaa", "aa", "b", "ba", "ba"),
            ("é", "?", "xy", "xy", "xy"),
        ] {
            assert_eq!(pattern(glob).replace(value, with, false, 99).unwrap(), first, "{value} {glob}");
            assert_eq!(pattern(glob).replace(value, with, true, 99).unwrap(), all, "{value} {glob}");
        }
        assert_eq!(pattern("a").replace("aaaa", "xxxx", true, 9), Err(ExpandErrorKind::TooLong(9)));
    }

    #[test]
    fn escapes_are_strict_and_work_is_bounded() {
        for text in ["\\", "\\x", "\\\\\\"] {
            assert!(matches!(Pattern::parse(text), Err(ExpandErrorKind::Pattern { .. })), "{text}");
        }
        let (long, glob) = ("a".repeat(400_000), format!("{}b", "a".repeat(200_000)));
        assert_eq!(pattern(&glob).replace(&long, "", true, usize::MAX), Err(ExpandErrorKind::TooSlow));
    }
}
