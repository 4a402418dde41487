//! Makes a plugin's words fit to be shown.

pub(super) use crate::progress::redact;

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
}
