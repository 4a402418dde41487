/// The case that most keywords of a file have; upper case where it is a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Casing {
    Lower,
    Upper,
}

impl Casing {
    /// Counts the words that are all of one case.
    pub(super) fn of_most<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let (mut lower, mut upper) = (0_usize, 0_usize);
        for word in words {
            if word == word.to_lowercase() {
                lower += 1;
            } else if word == word.to_uppercase() {
                upper += 1;
            }
        }
        if lower > upper { Self::Lower } else { Self::Upper }
    }

    /// Whether a word has this case.
    pub(super) fn fits(self, word: &str) -> bool {
        match self {
            Self::Lower => word == word.to_lowercase(),
            Self::Upper => word == word.to_uppercase(),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lower => "lowercase",
            Self::Upper => "uppercase",
        }
    }
}

/// The case of a word that is all of one.
pub(super) fn of(word: &str) -> Option<Casing> {
    [Casing::Lower, Casing::Upper].into_iter().find(|casing| casing.fits(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_decides_and_mixed_words_have_no_vote() {
        let most = |words: &[&str]| Casing::of_most(words.iter().copied());
        assert_eq!(most(&["from", "run", "CMD"]), Casing::Lower);
        assert_eq!(most(&["from", "CMD"]), Casing::Upper);
        assert_eq!(most(&["From", "Run", "Cmd", "env"]), Casing::Lower);
        assert_eq!(of("From"), None);
    }
}
