use std::iter::Peekable;
use std::str::Chars;

/// A pattern for names and paths: `*` is any text and `?` any character, but for `/`; `[a-z]` and `[^a-z]` are classes; `\` escapes.
///
/// The rules are those of Go's `filepath.Match`, which COPY and ADD use for each component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    tokens: Vec<Token>,
}

/// A pattern with an open bracket, an empty class or an escape at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// Characters from the first to the last of each pair, or all others.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether a whole name matches a pattern.
///
/// # Errors
/// The pattern is malformed, whatever the name.
pub fn filepath_match(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    PathPattern::parse(pattern).map(|pattern| pattern.matches(name))
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(pattern: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' => Token::Many,
                '?' => Token::One,
                '[' => class(&mut chars)?,
                '\\' => Token::Literal(chars.next().ok_or(BadPattern)?),
                c => Token::Literal(c),
            };
            if token != Token::Many || tokens.last() != Some(&Token::Many) {
                tokens.push(token);
            }
        }
        Ok(Self { tokens })
    }

    /// The one name that the pattern matches, escapes removed; none where it has a wildcard.
    pub fn literal(&self) -> Option<String> {
        let literal = |token: &Token| if let Token::Literal(c) = token { Some(*c) } else { None };
        self.tokens.iter().map(literal).collect()
    }

    /// Whether a whole name matches. Takes time in proportion to both lengths multiplied, at worst.
    pub fn matches(&self, name: &str) -> bool {
        let mut token = 0;
        let mut rest = name.chars();
        // Where to go on when a `*` has to take one character more.
        let mut retry: Option<(usize, Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            let matched = match (self.tokens.get(token), rest.next()) {
                (None, None) => return true,
                (Some(Token::Many), _) => {
                    rest = before.clone();
                    retry = Some((token + 1, before));
                    true
                }
                (Some(expected), Some(c)) => expected.matches(c),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if matched {
                token += 1;
                continue;
            }
            let Some((after, from)) = &mut retry else { return false };
            match from.next() {
                None | Some('/') => return false,
                Some(_) => (token, rest) = (*after, from.clone()),
            }
        }
    }
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::One => c != '/',
            Self::Many => false,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

/// Reads a class after its `[`.
pub(super) fn class(chars: &mut Peekable<Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        ranges.push((low, high));
    }
    Ok(Token::Class { negated, ranges })
}

fn class_char(chars: &mut Peekable<Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        for (pattern, name, expected) in [
            ("*", "a.b", true),
            ("*", "a/b", false),
            ("a*c?", "abcd", true),
            ("a*b*c", "aXbYbZc", true),
            ("*/b", "a/b", true),
            ("[a-cx]?", "x1", true),
            ("[^a]", "b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a*", "b", false),
            ("", "", true),
            ("**", "ab", true),
        ] {
            assert_eq!(filepath_match(pattern, name), Ok(expected), "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns() {
        for pattern in ["[", "[]", "[]a]", "[a", "[a-]", "[-a]", "a\\", "[^]", "[a\\"] {
            assert_eq!(filepath_match(pattern, "zzz"), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn literals_lose_their_escapes() {
        assert_eq!(PathPattern::parse("a\\[b").unwrap().literal().as_deref(), Some("a[b"));
        assert_eq!(PathPattern::parse("a?").unwrap().literal(), None);
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = format!("{}b", "a*".repeat(500));
        assert_eq!(filepath_match(&pattern, &"a".repeat(5_000)), Ok(false));
    }
}
