//! Ignore files and path patterns against what moby's libraries make of them.

use layerwright::context::{IgnoreFile, filepath_match};
use serde_json::Value;

use crate::support::conformance::{Differences, rows, table};

fn string(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// Paths that a walk never gives: they only show what the library does with what is not normalised.
fn is_path_of_a_walk(path: &str) -> bool {
    path.split('/').all(|component| !matches!(component, "" | "." | ".."))
}

#[test]
fn ignore_files() {
    let mut differences = Differences::default();
    for (input, output) in rows("vectors/oracle/dockerignore.jsonl") {
        let text = string(&input["file"]);
        let file = match IgnoreFile::parse(text) {
            Ok(file) => file,
            Err(error) => {
                differences.check(|| format!("{text:?}: {error}, expected {output}"), output["error"].is_string());
                continue;
            }
        };
        differences.check(|| format!("{text:?} is read, expected {}", output["error"]), output["error"].is_null());
        let patterns: Vec<Value> = file.patterns().map(Value::from).collect();
        differences.check(|| format!("{text:?}: patterns {patterns:?}"), output["patterns"].as_array() == Some(&patterns));
        differences.check(|| format!("{text:?}: negation"), output["has_negation"] == file.has_negation());
        for (path, excluded) in output["excluded"].as_object().expect("an object") {
            let (excluded, got) = (excluded.as_bool().expect("a truth value"), file.matches(path));
            differences.check(|| format!("{text:?} {path}: {got}"), got == excluded);
            if is_path_of_a_walk(path) {
                let walked = walk(&file, path);
                differences.check(|| format!("{text:?} {path} walked to: {walked}"), walked == excluded);
            }
        }
    }
    differences.finish();
}

/// What a walk that goes down to the path says of it, skipping what may be skipped.
fn walk(file: &IgnoreFile, path: &str) -> bool {
    let mut verdict = Default::default();
    for (end, _) in path.match_indices('/') {
        let directory = &path[..end];
        verdict = file.descend(verdict, directory);
        if file.skips(verdict, directory) {
            return true;
        }
    }
    file.excludes(file.descend(verdict, path))
}

#[test]
fn pattern_tables() {
    let mut differences = Differences::default();
    for row in table("vectors/tables/patternmatcher/patternmatcher.TestMatches.tests.json") {
        compare(&mut differences, &[string(&row["pattern"])], &row);
    }
    for row in table("vectors/tables/patternmatcher/patternmatcher.TestMatches.multiPatternTests.json") {
        let patterns: Vec<&str> = row["patterns"].as_array().expect("an array").iter().map(string).collect();
        compare(&mut differences, &patterns, &row);
    }
    differences.finish();
}

fn compare(differences: &mut Differences, patterns: &[&str], row: &Value) {
    let file = IgnoreFile::from_patterns(patterns.iter().copied());
    let got = file.map(|file| file.matches(string(&row["text"])));
    differences.check(|| format!("{row}: {got:?}"), got.as_ref().ok() == row["pass"].as_bool().as_ref());
}

#[test]
fn path_patterns() {
    let mut differences = Differences::default();
    for (input, output) in rows("vectors/oracle/filepath-match.jsonl") {
        let got = filepath_match(string(&input["pattern"]), string(&input["name"]));
        let expected = output["match"].as_bool();
        assert_eq!(expected.is_none(), output["error"].is_string(), "{output}");
        differences.check(|| format!("{input}: {got:?}"), got.ok() == expected);
    }
    for row in table("vectors/tables/patternmatcher/patternmatcher.TestMatch.matchTests.json") {
        let (pattern, name) = (string(&row["pattern"]), string(&row["s"]));
        if row["err"].is_object() {
            differences.check(|| row.to_string(), IgnoreFile::from_patterns([pattern]).is_err());
            continue;
        }
        // The table is of the ignore library, where a pattern matches what is below its match too.
        let got = IgnoreFile::from_patterns([pattern]).map(|file| file.matches(name));
        differences.check(|| format!("{row}: {got:?}"), got.as_ref().ok() == row["match"].as_bool().as_ref());
    }
    differences.finish();
}
