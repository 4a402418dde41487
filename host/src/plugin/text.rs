//! Makes a plugin's words fit to be shown.

/// Replaced in what a plugin says.
const REDACTED: &str = "***";

/// The shortest text that is treated as a secret: shorter ones would blank out ordinary words.
const SHORTEST_SECRET: usize = 6;

/// One line without terminal controls, at most `limit` bytes.
///
/// Escape sequences go as a whole, line ends become blanks, and what reorders or hides text goes too.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(limit));
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let shown = match character {
            '\u{1b}' => {
                skip_escape(&mut characters);
                continue;
            }
            '\n' | '\t' => ' ',
            // Controls, C1 included; marks that change the direction of writing; invisible ones.
            c if c.is_control() => continue,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => continue,
            c => c,
        };
        if clean.len() + shown.len_utf8() > limit {
            clean.push('…');
            break;
        }
        clean.push(shown);
    }
    clean.trim().to_owned()
}

/// Skips the rest of an escape sequence (ECMA-48, 5.3 and 5.4; strings end at BEL or ST).
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => {
            while characters.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_some() {}
            characters.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = characters.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    return;
                }
                if c == '\u{1b}' {
                    characters.next_if_eq(&'\\');
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Blanks out every secret in a text.
pub(super) fn redact(text: &str, secrets: &[String]) -> String {
    let mut secrets: Vec<&str> = secrets.iter().map(String::as_str).filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
    // The longest first: one may hold another.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| if text.contains(secret) { text.replace(secret, REDACTED) } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_do_not_get_through() {
        for (from, to) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("one\r\ntwo\tthree", "one two three"),
            ("a\u{202e}b\u{200b}c\u{9b}31md", "abc31md"),
            ("unfinished\u{1b}", "unfinished"),
            ("unfinished\u{1b}[3", "unfinished"),
        ] {
            assert_eq!(one_line(from, 1000), to, "{from:?}");
        }
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        assert_eq!(one_line("ääää", 5), "ää…");
    }

    #[test]
    fn secrets_are_blanked_out() {
        let secrets = ["hunter22".to_owned(), "hunter22-long".to_owned(), "x".to_owned()];
        assert_eq!(redact("x: hunter22-long and hunter22", &secrets), "x: *** and ***");
    }
}
