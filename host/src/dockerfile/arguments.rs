use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

use super::error::ParseErrorKind;
use super::instruction::{Arguments, Pair};
use super::keyword::{ArgumentForm, Keyword};
use super::source::{cut, printable};

/// Reads what follows the flags by the keyword's form. The text is trimmed.
pub(super) fn parse_arguments(keyword: &Keyword, text: &str, escape: char) -> Result<Arguments, ParseErrorKind> {
    match keyword.form {
        // A build argument's default may be quoted.
        ArgumentForm::Words if keyword.name == "ARG" => Ok(Arguments::Words(quoted_words(text, escape))),
        ArgumentForm::Words => Ok(Arguments::Words(plain_words(text))),
        ArgumentForm::Pairs => pairs(&keyword.name, text, escape),
        ArgumentForm::ExecOrShell => Ok(json_strings(text)?.map_or_else(|| Arguments::Text(text.to_owned()), Arguments::Exec)),
        ArgumentForm::ExecOrWords => Ok(json_strings(text)?.map_or_else(|| Arguments::Words(plain_words(text)), Arguments::Exec)),
        ArgumentForm::Text => Ok(Arguments::Text(text.to_owned())),
    }
}

/// What separates a keyword from its arguments and plain words from each other.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn plain_words(text: &str) -> Vec<String> {
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Words between white space, where quotes and escapes keep white space in; both stay in the words.
fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else if c == escape && quote != Some('\'') {
            // An escape at the end escapes nothing and is dropped.
            if let Some(escaped) = chars.next() {
                word.extend([c, escaped]);
            }
        } else {
            quote = match quote {
                None if matches!(c, '\'' | '"') => Some(c),
                Some(open) if c == open => None,
                other => other,
            };
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `name=value …`; where the first word has no `=`, the old form of one name and the rest of the line.
fn pairs(keyword: &str, text: &str, escape: char) -> Result<Arguments, ParseErrorKind> {
    let words = quoted_words(text, escape);
    let Some(first) = words.first() else { return Ok(Arguments::Pairs(Vec::new())) };
    if !first.contains('=') {
        let (name, value) = text.split_once(is_blank).ok_or_else(|| ParseErrorKind::TwoArguments(keyword.to_owned()))?;
        let value = value.trim_start_matches(is_blank).to_owned();
        return Ok(Arguments::Pairs(vec![Pair { name: name.to_owned(), value, legacy: true }]));
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => Ok(Pair { name: name.to_owned(), value: value.to_owned(), legacy: false }),
        None => Err(ParseErrorKind::NoEquals(cut(&printable(word)))),
    };
    words.iter().map(pair).collect::<Result<_, _>>().map(Arguments::Pairs)
}

/// The strings of a JSON array; none where the text is not a JSON array and nothing else.
pub(super) fn json_strings(text: &str) -> Result<Option<Vec<String>>, ParseErrorKind> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(elements) = serde_json::from_str::<Vec<Element>>(text) else { return Ok(None) };
    let strings: Option<Vec<_>> = elements.into_iter().map(|Element(string)| string).collect();
    strings.map(Some).ok_or(ParseErrorKind::NotStrings)
}

/// A string, or none for any other JSON value.
struct Element(Option<String>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor).map(Element)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_all_or_nothing() {
        let strings = |text| json_strings(text).map(|found| found.map(|list| list.join("|")));
        assert_eq!(strings(r#" [ "a" , "b\u00e9" ] "#).unwrap().unwrap(), "a|bé");
        assert_eq!(strings("[]").unwrap().unwrap(), "");
        for text in ["", "a", "[\"a\"] x", "[\"a\"", "['a']", "[\"a\",]", "[\"c:\\x\"]", "[\"a\tb\"]", "{}", "\"a\""] {
            assert_eq!(strings(text).unwrap(), None, "{text}");
        }
        for text in ["[1]", "[null]", "[\"a\",[\"b\"]]", "[{\"a\":1}]", "[true]", "[1.5]", "[-1]"] {
            assert_eq!(strings(text).unwrap_err(), ParseErrorKind::NotStrings, "{text}");
        }
        let deep = format!("[{}", "[".repeat(500_000));
        assert_eq!(strings(&deep).unwrap(), None);
    }

    #[test]
    fn words_keep_quotes_and_escapes() {
        let words = |text| quoted_words(text, '\\');
        assert_eq!(words(r#"a  b="c d" 'e \' f\ g \"h "i\"j k" "#), ["a", r#"b="c d""#, r"'e \'", r"f\ g", r#"\"h"#, r#""i\"j k""#]);
        assert_eq!(words(r"a\"), ["a"]);
        assert_eq!(words("\"open end"), ["\"open end"]);
    }
}
