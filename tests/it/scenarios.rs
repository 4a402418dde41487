//! The numbered behaviours that a Dockerfile builder must show: each has a test that says so in a comment above it, `scenario N`. What of
//! one cannot be shown by a test is said there too, with the reason.

use std::collections::BTreeSet;
use std::fs;

use crate::support::repository;

/// From the parser to contexts, the cache, and the listings.
const NUMBERS: [std::ops::RangeInclusive<u32>; 4] = [1..=133, 134..=136, 139..=140, 163..=166];

/// The numbers that a line of a comment names: after `scenario` or `scenarios`, up to the first word that is neither a number nor joins two.
fn named(line: &str) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    let lower = line.to_lowercase();
    for (at, _) in lower.match_indices("scenario") {
        let rest = lower[at..].trim_start_matches("scenarios").trim_start_matches("scenario");
        let mut range_from = None;
        for word in rest.split([' ', ',', ':', '.', ';', '(', ')']).filter(|word| !word.is_empty()) {
            if let Some((first, last)) = word.split_once(['–', '-'])
                && let (Ok(first), Ok(last)) = (first.parse(), last.parse::<u32>())
            {
                numbers.extend(first..=last);
            } else if let Ok(number) = word.parse::<u32>() {
                match range_from.take() {
                    Some(first) => numbers.extend(first..=number),
                    None => drop(numbers.insert(number)),
                }
            } else if word == "to" {
                range_from = numbers.last().copied();
            } else if word != "and" && word != "scenario" && word != "scenarios" {
                break;
            }
        }
    }
    numbers
}

#[test]
fn every_scenario_has_a_test_that_names_it() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(repository().join("tests/it")).expect("the folder is readable") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("scenarios.rs") {
            let text = fs::read_to_string(&path).expect("a readable file");
            let comments = text.lines().map(str::trim).filter(|line| line.starts_with("//"));
            found.extend(comments.flat_map(named));
        }
    }
    let wanted: BTreeSet<u32> = NUMBERS.into_iter().flatten().collect();
    let missing: Vec<_> = wanted.difference(&found).collect();
    assert!(missing.is_empty(), "no test names scenarios {missing:?}");
}

#[test]
fn numbers_are_read_from_comments() {
    for (line, expected) in [
        ("// scenario 7", vec![7]),
        ("/// Scenarios 3, 4 and 9: words 12", vec![3, 4, 9]),
        ("//! scenarios 117 to 119, and more", vec![117, 118, 119]),
        ("// scenarios 13–15", vec![13, 14, 15]),
        ("// no number of any 5", vec![]),
    ] {
        assert_eq!(named(line).into_iter().collect::<Vec<_>>(), expected, "{line}");
    }
}
