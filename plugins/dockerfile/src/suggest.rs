//! "Did you mean": for what is almost a known word.

/// Two slips of the finger are understood.
const MAX_DISTANCE: usize = 2;

/// Adds the known word that a wrong one is closest to, where one is close.
pub(crate) fn or_near(message: String, wrong: &str, known: &[&str]) -> String {
    let wrong = wrong.to_ascii_lowercase();
    let near = known.iter().map(|word| (strsim::levenshtein(&wrong, word), *word)).min().filter(|(distance, _)| *distance <= MAX_DISTANCE);
    match near {
        Some((_, word)) => format!("{message} (did you mean {word}?)"),
        None => message,
    }
}
