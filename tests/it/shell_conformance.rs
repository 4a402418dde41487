//! The expansion of words against what BuildKit makes of them.

use layerwright::dockerfile::{ExpandError, Expander, expand_word, expand_words};
use serde_json::Value;

use crate::support::conformance::{Differences, rows, table, text};

/// Rows that differ on purpose: which, and the reason.
type Exception = (fn(&Row) -> bool, &'static str);

const EXCEPTIONS: &[Exception] = &[
    (loses_prefix, "the text before a substitution with an operator is kept, not lost"),
    (|row| row.word.contains("//") && row.word.contains("\\$"), "a dollar in a replacement is a dollar, not a group of a match"),
];

struct Row {
    word: String,
    split: bool,
}

/// Whether the word has text before a `${name` with an operator, and is split.
fn loses_prefix(row: &Row) -> bool {
    let operator = |rest: &str| !rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').starts_with('}');
    row.split && row.word.match_indices("${").any(|(at, _)| at > 0 && operator(&row.word[at + 2..]))
}

fn lookup(variables: &[(String, String)], name: &str) -> Option<String> {
    variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// A row of the machine-made table.
fn expand(input: &Value) -> Result<Value, ExpandError> {
    let pairs = input["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |pair: &Value| pair.as_str().and_then(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables: Vec<_> = pairs.iter().map(|value| pair(value).expect("name=value")).collect();
    let environment = |name: &str| lookup(&variables, name);
    let escape = input["escape"].as_str().and_then(|text| text.chars().next()).unwrap_or('\\');
    let set = |name: &str| input[name].as_bool().unwrap_or_default();
    let mut expander = Expander::new(escape, &environment);
    if set("skip_quotes") {
        expander = expander.ignoring_quotes();
    }
    if set("raw_quotes") {
        expander = expander.keeping_quotes();
    }
    if set("skip_unset") {
        expander = expander.keeping_unset();
    }
    let word = input["word"].as_str().expect("a word");
    match input["mode"].as_str() {
        Some("words") => expander.words(word).map(|expansion| expansion.value.into()),
        None => expander.word(word).map(|expansion| expansion.value.into()),
        Some(other) => panic!("unknown mode {other}"),
    }
}

#[test]
fn machine_made_words() {
    let mut differences = Differences::default();
    for (input, output) in rows("vectors/oracle/shlex.jsonl") {
        let row = Row { word: input["word"].as_str().expect("a word").to_owned(), split: input["mode"] == "words" };
        let expected = if row.split { &output["words"] } else { &output["word"] };
        let got = expand(&input);
        let same = match &got {
            Ok(value) => value == expected,
            Err(_) => output["error"].is_string(),
        };
        match EXCEPTIONS.iter().find(|(applies, _)| !same && applies(&row)) {
            Some((_, reason)) => differences.excuse(format!("{} gives {got:?}, not {output}", row.word), reason),
            None => differences.check(|| format!("{input} gives {got:?}, not {output}"), same),
        }
    }
    differences.finish();
}

#[test]
fn variables() {
    let variables: Vec<_> = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let mut differences = Differences::default();
    let file = text("buildkit/frontend/dockerfile/shell/envVarTest");
    for line in file.lines().map(|line| line.split('#').next().unwrap_or_default().to_owned() + rest_after_hash(line)) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let &[platform, word, expected] = columns.as_slice() else { continue };
        if platform == "W" {
            continue;
        }
        let got = expand_word(word, '\\', &|name| lookup(&variables, name));
        let same = got.as_ref().map_or(expected == "error", |got| got == expected);
        differences.check(|| format!("{word} gives {got:?}, not {expected}"), same);
    }
    differences.finish();
}

/// A `#` starts a comment only at the start of a line.
fn rest_after_hash(line: &str) -> &str {
    if line.starts_with('#') { "" } else { line.find('#').map_or("", |at| &line[at..]) }
}

#[test]
fn words() {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut differences = Differences::default();
    for line in text("buildkit/frontend/dockerfile/shell/wordsTest").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(pair) = line.strip_prefix("ENV ") {
            let (name, value) = pair.trim_start_matches(' ').split_once('=').expect("name=value");
            variables.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let (word, expected) = line.split_once('|').expect("two columns");
        let expected = expected.trim_start();
        let got = expand_words(word.trim(), '\\', &|name| lookup(&variables, name)).map(|words| words.join(","));
        let same = got.as_ref().map_or(expected == "error", |got| got == expected);
        differences.check(|| format!("{word} gives {got:?}, not {expected:?}"), same);
    }
    differences.finish();
}

#[test]
fn variables_asked_for() {
    let mut differences = Differences::default();
    for row in table("vectors/tables/buildkit/shell/lex.TestProcessWithMatches.tc.json") {
        let pairs = |name: &str| row[name].as_array().map(Vec::as_slice).unwrap_or_default().to_vec();
        let key = |pair: &Value| pair["key"].as_str().expect("a key").to_owned();
        let variables: Vec<_> = pairs("envs").iter().map(|pair| (key(pair), pair["value"].as_str().expect("a value").to_owned())).collect();
        let environment = |name: &str| lookup(&variables, name);
        let got = Expander::new('\\', &environment).word(row["input"].as_str().expect("a word"));
        let same = match &got {
            Ok(expansion) => {
                let names = |name: &str| pairs(name).iter().map(key).collect();
                row["expectedErr"] == false
                    && row["expected"] == expansion.value.as_str()
                    && expansion.used == names("matches")
                    && expansion.unset == names("unmatched")
            }
            Err(_) => row["expectedErr"] == true,
        };
        differences.check(|| format!("{row} gives {got:?}"), same);
    }
    differences.finish();
}
