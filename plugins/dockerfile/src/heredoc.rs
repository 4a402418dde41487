//! Here-documents: which words name one, and how they are put back together.

use layerwright_plugin::instruction::Heredoc;

/// The delimiter that a text such as `<<EOF`, `<<-"EOF"` or `3<<EOF` names, where the text is that and nothing more.
pub(crate) fn delimiter(text: &str) -> Option<String> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    unquote(rest)
}

/// A single shell word without its quotes and escapes; none where there are several words or a quote stays open.
fn unquote(word: &str) -> Option<String> {
    let mut plain = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => plain.extend(chars.next()),
            ('\\', Some('"')) => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$')) => plain.push(escaped),
                other => plain.extend(['\\'].into_iter().chain(other)),
            },
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => return None,
            (c, _) => plain.push(c),
        }
    }
    quote.is_none().then_some(plain)
}

/// A line with its bodies below it, as it was written.
pub(crate) fn append(line: &str, heredocs: &[Heredoc]) -> String {
    let mut text = line.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters() {
        for (text, expected) in [
            ("<<EOF", Some("EOF")),
            ("<<-EOF", Some("EOF")),
            ("3<<EOF", Some("EOF")),
            ("<< EOF", Some("EOF")),
            ("<<'E F'", Some("E F")),
            ("<<\"E\\\"F\"", Some("E\"F")),
            ("<<E\\ F", Some("E F")),
            ("<<EOF cat", None),
            ("<<A <<B", None),
            ("<<<a", None),
            ("<<", None),
            ("<<-", None),
            ("a<<b", None),
            ("<<'EOF", None),
            ("", None),
        ] {
            assert_eq!(delimiter(text).as_deref(), expected, "{text}");
        }
    }
}
