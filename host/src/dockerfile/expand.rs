use std::collections::BTreeSet;

use super::error::{ExpandError, ExpandErrorKind};
use super::source::cut;
use super::substitute::Pattern;

/// The most bytes that expansion may add to one word.
pub const MAX_EXPANDED: usize = 1 << 20;
/// How deep `${a:-${b:-…}}` may go.
const MAX_DEPTH: usize = 100;

/// Finds the value of a variable; none where it is not set.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A result, and the variables that were asked for on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion<T> {
    /// The result.
    pub value: T,
    /// Names that have a value.
    pub used: BTreeSet<String>,
    /// Names that have none, defaults given or not.
    pub unset: BTreeSet<String>,
}

/// How words are expanded.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: char,
    environment: &'a Environment<'a>,
    quotes: Quotes,
    keep_escapes: bool,
    keep_unset: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// They quote, and are removed.
    Removed,
    /// They quote, and stay.
    Kept,
    /// They are characters like others.
    Ignored,
}

/// Expands a word: quotes and escapes are removed, variables replaced. White space is kept.
///
/// # Errors
/// The word is malformed, asks for a variable that is not set (`${name:?}`), or its result is too long.
pub fn expand_word(word: &str, escape: char, environment: &Environment<'_>) -> Result<String, ExpandError> {
    Expander::new(escape, environment).word(word).map(|expansion| expansion.value)
}

/// Expands a word and splits the result at white space that is neither quoted nor escaped.
///
/// # Errors
/// As `expand_word`.
pub fn expand_words(word: &str, escape: char, environment: &Environment<'_>) -> Result<Vec<String>, ExpandError> {
    Expander::new(escape, environment).words(word).map(|expansion| expansion.value)
}

/// Expands the body of a heredoc: quotes are characters like others.
///
/// # Errors
/// As `expand_word`.
pub fn expand_raw(body: &str, environment: &Environment<'_>) -> Result<String, ExpandError> {
    Expander::new('\\', environment).ignoring_quotes().word(body).map(|expansion| expansion.value)
}

fn nothing_set(_: &str) -> Option<String> {
    None
}

impl<'a> Expander<'a> {
    /// An expander as the arguments of an instruction want it.
    pub fn new(escape: char, environment: &'a Environment<'a>) -> Self {
        Self { escape, environment, quotes: Quotes::Removed, keep_escapes: false, keep_unset: false }
    }

    pub(super) fn environment(&self) -> &'a Environment<'a> {
        self.environment
    }

    /// Quotes are characters like others.
    pub fn ignoring_quotes(self) -> Self {
        Self { quotes: Quotes::Ignored, ..self }
    }

    /// Quotes still quote, but stay in the result.
    pub fn keeping_quotes(self) -> Self {
        Self { quotes: Quotes::Kept, ..self }
    }

    /// Variables that are not set stay in the result as written.
    pub fn keeping_unset(self) -> Self {
        Self { keep_unset: true, ..self }
    }

    /// For a heredoc's delimiter: no variable is ever replaced.
    pub(super) fn unset_kept() -> Self {
        Self::new('\\', &nothing_set).keeping_unset()
    }

    /// As `unset_kept`, and quotes stay.
    pub(super) fn quotes_kept() -> Self {
        Self::unset_kept().keeping_quotes()
    }

    /// Splits and changes nothing else.
    pub(super) fn verbatim() -> Self {
        Self { keep_escapes: true, ..Self::quotes_kept() }
    }

    /// Expands a word.
    ///
    /// # Errors
    /// As `expand_word`.
    pub fn word(&self, word: &str) -> Result<Expansion<String>, ExpandError> {
        self.run(word, |_, text| text)
    }

    /// Expands a word and splits it.
    ///
    /// # Errors
    /// As `expand_word`.
    pub fn words(&self, word: &str) -> Result<Expansion<Vec<String>>, ExpandError> {
        self.run(word, |words, _| words)
    }

    fn run<T>(&self, word: &str, pick: fn(Vec<String>, String) -> T) -> Result<Expansion<T>, ExpandError> {
        let mut lexer = Lexer {
            rest: word,
            how: *self,
            depth: 0,
            limit: MAX_EXPANDED.saturating_add(word.len()),
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        };
        let mut words = Words::default();
        let text = match lexer.until(None, self.keep_escapes, &mut words) {
            Ok(text) => text,
            Err(kind) => return Err(ExpandError { word: cut(word), kind, unset: lexer.unset.into_iter().collect() }),
        };
        Ok(Expansion { value: pick(words.finish(), text), used: lexer.used, unset: lexer.unset })
    }
}

/// The words of a result, split where white space stands bare.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn bare(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Lexer<'a> {
    rest: &'a str,
    how: Expander<'a>,
    depth: usize,
    /// The most bytes that any result may have.
    limit: usize,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
}

type Lexed = Result<String, ExpandErrorKind>;

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.rest.strip_prefix(c);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Expands up to a character, which is taken, or to the end of the word.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool, words: &mut Words) -> Lexed {
        let outer = std::mem::replace(&mut self.how.keep_escapes, keep_escapes);
        let mut result = String::new();
        let quotes = self.how.quotes != Quotes::Ignored;
        while let Some(c) = self.next() {
            if Some(c) == stop {
                self.how.keep_escapes = outer;
                return Ok(result);
            }
            let before = result.len();
            match c {
                '\'' if quotes => result.push_str(&self.single_quoted()?),
                '"' if quotes => result.push_str(&self.double_quoted()?),
                '$' => {
                    result.push_str(&self.dollar()?);
                    words.bare(result.get(before..).unwrap_or_default());
                    self.check_length(&result)?;
                    continue;
                }
                // The delimiter of a heredoc may follow after white space.
                '<' if self.accept('<') => {
                    result.push_str("<<");
                    if self.accept('-') {
                        result.push('-');
                    }
                    while let Some(blank) = self.peek().filter(|c| matches!(c, ' ' | '\t' | '\r')) {
                        result.push(blank);
                        self.next();
                    }
                }
                c if c == self.how.escape => {
                    if keep_escapes {
                        result.push(c);
                    }
                    result.extend(self.next());
                }
                c => {
                    result.push(c);
                    words.bare(result.get(before..).unwrap_or_default());
                    continue;
                }
            }
            words.quoted(result.get(before..).unwrap_or_default());
        }
        self.how.keep_escapes = outer;
        match stop {
            None => self.check_length(&result).map(|()| result),
            Some(stop) => Err(ExpandErrorKind::Missing(stop)),
        }
    }

    /// The text up to a single quote, as it is.
    fn single_quoted(&mut self) -> Lexed {
        let (text, rest) = self.rest.split_once('\'').ok_or(ExpandErrorKind::UnmatchedQuote("single-quote"))?;
        self.rest = rest;
        Ok(if self.how.quotes == Quotes::Kept { format!("'{text}'") } else { text.to_owned() })
    }

    /// The text up to a double quote. Only `"`, `$` and the escape itself can be escaped.
    fn double_quoted(&mut self) -> Lexed {
        let kept = if self.how.quotes == Quotes::Kept { "\"" } else { "" };
        let mut result = kept.to_owned();
        loop {
            match self.next().ok_or(ExpandErrorKind::UnmatchedQuote("double-quote"))? {
                '"' => return Ok(result + kept),
                '$' => {
                    result.push_str(&self.dollar()?);
                    self.check_length(&result)?;
                }
                c if c == self.how.escape => {
                    let escaped = self.peek().filter(|next| matches!(next, '"' | '$') || *next == c);
                    if escaped.is_none() || self.how.keep_escapes {
                        result.push(c);
                    }
                    if escaped.is_some() {
                        result.extend(self.next());
                    }
                }
                c => result.push(c),
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Lexed {
        if self.accept('{') {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(ExpandErrorKind::TooDeep(MAX_DEPTH));
            }
            let result = self.braced();
            self.depth -= 1;
            return result;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name) {
            None if self.how.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// A variable's name: letters, digits and `_`, or digits alone, or one special character. Empty where none follows.
    fn name(&mut self) -> String {
        let first = self.peek();
        let length = match first {
            Some(c) if is_digit(c) => self.rest.find(|c: char| !is_digit(c)),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => self.rest.find(|c: char| !is_name(c)),
        };
        let (name, rest) = self.rest.split_at_checked(length.unwrap_or(self.rest.len())).unwrap_or((self.rest, ""));
        self.rest = rest;
        name.to_owned()
    }

    fn check_length(&self, result: &str) -> Result<(), ExpandErrorKind> {
        if result.len() > self.limit { Err(ExpandErrorKind::TooLong(self.limit)) } else { Ok(()) }
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.how.environment)(name);
        let seen = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        value
    }

    /// What follows `${`.
    fn braced(&mut self) -> Lexed {
        match self.peek() {
            None => return Err(ExpandErrorKind::Missing('}')),
            Some('}') => return Err(ExpandErrorKind::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        if name.is_empty() {
            return Err(ExpandErrorKind::BadSubstitution);
        }
        let operator = self.next().ok_or(ExpandErrorKind::Missing('}'))?;
        match operator {
            '}' => match self.value(&name) {
                None if self.how.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            '/' => self.replaced(&name),
            '#' | '%' => self.trimmed(&name, operator),
            ':' => {
                let operator = self.next().ok_or(ExpandErrorKind::Missing('}'))?;
                self.conditional(&name, operator, ":")
            }
            operator => self.conditional(&name, operator, ""),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`; with a colon an empty value counts as none.
    fn conditional(&mut self, name: &str, operator: char, colon: &str) -> Lexed {
        if !matches!(operator, '-' | '+' | '?') {
            return Err(ExpandErrorKind::Modifier(format!("{colon}{operator}").escape_default().to_string()));
        }
        let word = self.until(Some('}'), false, &mut Words::default())?;
        let value = self.value(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let set = value.is_some();
        let counts = value.filter(|value| colon.is_empty() || !value.is_empty());
        match (operator, counts) {
            ('-', counts) => Ok(counts.unwrap_or(word)),
            ('+', counts) => Ok(counts.map(|_| word).unwrap_or_default()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let why = if set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { why.to_owned() } else { cut(&word) };
                Err(ExpandErrorKind::Required { name: cut(name), message })
            }
        }
    }

    /// `${name#pattern}` and `${name%pattern}`; the operator twice takes the longest match.
    fn trimmed(&mut self, name: &str, operator: char) -> Lexed {
        let word = self.until(Some('}'), true, &mut Words::default())?;
        let value = self.value(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let (longest, pattern) = word.strip_prefix(operator).map_or((false, word.as_str()), |pattern| (true, pattern));
        let (pattern, value) = (Pattern::parse(pattern)?, value.unwrap_or_default());
        if operator == '#' { pattern.trim_prefix(&value, longest) } else { pattern.trim_suffix(&value, longest) }
    }

    /// `${name/pattern/replacement}`; with a second slash in front every match is replaced.
    fn replaced(&mut self, name: &str) -> Lexed {
        let all = self.accept('/');
        let pattern = self.until(Some('/'), true, &mut Words::default())?;
        let replacement = self.until(Some('}'), true, &mut Words::default())?;
        let value = self.value(name);
        if value.is_none() && self.how.keep_unset {
            let slash = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slash}{pattern}/{replacement}}}"));
        }
        Pattern::parse(&pattern)?.replace(&value.unwrap_or_default(), &replacement, all, self.limit)
    }
}

/// Whether a character may stand in a variable's name: letters and decimal digits, but no fractions and the like.
fn is_name(c: char) -> bool {
    c == '_' || c.is_alphabetic() || is_digit(c)
}

fn is_digit(c: char) -> bool {
    c.is_numeric() && !matches!(c, '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{bc}'..='\u{be}' | '\u{2070}'..='\u{2bff}')
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
