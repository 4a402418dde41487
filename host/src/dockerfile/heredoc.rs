use super::error::ParseErrorKind;
use super::expand::Expander;
use super::instruction::Heredoc;
use super::source::{cut, printable};

/// The heredocs that a line opens, without their bodies, in the order written.
///
/// A line that cannot be read as shell words opens none: it is the shell's to complain about.
pub(super) fn heredocs_of(line: &str) -> Result<Vec<Heredoc>, ParseErrorKind> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let Ok(words) = Expander::verbatim().words(line) else { return Ok(Vec::new()) };
    words.value.iter().filter_map(|word| heredoc_of(word).transpose()).collect()
}

/// Reads one word as the start of a heredoc: `<<EOF`, `<<-EOF`, `3<<EOF`, with the delimiter quoted or not.
pub(super) fn heredoc_of(word: &str) -> Result<Option<Heredoc>, ParseErrorKind> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (descriptor, rest) = word.split_at_checked(digits).unwrap_or(("", word));
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let delimiter = rest.trim_start();
    if delimiter.is_empty() || delimiter.contains('<') {
        return Ok(None);
    }
    let unreadable = |_| ParseErrorKind::HeredocDelimiter(cut(&printable(delimiter)));
    let plain = Expander::unset_kept().words(delimiter).map_err(unreadable)?.value;
    let raw = Expander::quotes_kept().words(delimiter).map_err(unreadable)?.value;
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        content: String::new(),
        descriptor: descriptor.parse().unwrap_or(0),
        expand: quotes(name) == quotes(raw),
        chomp,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        heredocs_of(line).unwrap().into_iter().map(|heredoc| heredoc.name).collect()
    }

    #[test]
    fn what_opens_a_heredoc() {
        assert_eq!(names("cat <<EOF 3<<-'B C' << D <<- E << -F > x"), ["EOF", "B C", "D", "E", "-F"]);
        for line in ["'<<EOF'", "\"<<EOF\"", "a<<b", "$((1<<2))", "cat <<< x", "<<", "<<-", "<EOF", "it's <<EOF"] {
            assert!(names(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn what_a_delimiter_says() {
        let one = |word| heredoc_of(word).unwrap().unwrap();
        assert!(one("<<EOF").expand && !one("<<'EOF'").expand && !one("<<EO\"F\"").expand);
        assert!(one("<<-EOF").chomp && !one("<<EOF").chomp);
        assert_eq!((one("3<<EOF").descriptor, one("<<EOF").descriptor), (3, 0));
        assert_eq!(one("<<$EOF").name, "$EOF");
        assert!(heredoc_of("<<'EOF").is_err());
    }
}
