//! Any text as a word, with any text as the values of its variables: expanded or refused, in bounds.
#![no_main]

use layerwright_fuzz::dockerfile::{Expander, MAX_EXPANDED, expand_raw, expand_word, expand_words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(4, '\0');
    let (word, first, second) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    let environment = |name: &str| match name {
        "a" | "A" => first.map(str::to_owned),
        "b" | "_" => second.map(str::to_owned),
        "PATH" => Some("/usr/bin:/bin".to_owned()),
        _ => None,
    };
    for escape in ['\\', '`'] {
        let bound = MAX_EXPANDED + word.len();
        if let Ok(value) = expand_word(word, escape, &environment) {
            assert!(value.len() <= bound, "{} bytes", value.len());
        }
        if let Ok(words) = expand_words(word, escape, &environment) {
            assert!(words.iter().all(|word| !word.is_empty()), "{words:?}");
        }
        let expander = Expander::new(escape, &environment);
        for expander in [expander.ignoring_quotes(), expander.keeping_quotes(), expander.keeping_unset()] {
            if let Ok(expansion) = expander.word(word) {
                assert!(expansion.value.len() <= bound);
                assert!(expansion.used.is_disjoint(&expansion.unset));
            }
        }
    }
    let _ = expand_raw(word, &environment);
});
