//! Build checks and errors of whole Dockerfiles against what BuildKit says of them, through the standard plugin and with stub base images.

use layerwright::build::Report;
use layerwright::dockerfile::lint::Finding;
use serde_json::Value;

use crate::support::conformance::{self, Differences};
use crate::support::plan::Case;

/// Inputs that differ on purpose, by what they are called, and the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("run-empty-json", "BuildKit takes RUN [] and fails when it runs; it is refused here before anything runs"),
    ("device", "BuildKit wants a certain version of the syntax for --device; here every Dockerfile has it"),
    ("expose-emptyvar", "BuildKit does not look for undefined variables in EXPOSE"),
    ("Dockerfile_test_issue_519", "BuildKit finds a stage of another case for COPY --from and not for FROM; kaniko finds it for both"),
];

/// A finding as a row of the data: rule, line and words.
type Line = (String, u64, String);

fn found(findings: &[Finding]) -> Vec<Line> {
    let line = |f: &Finding| (f.rule.name.to_string(), u64::from(f.span.start_line), f.message.clone());
    let mut lines: Vec<Line> = findings.iter().map(line).collect();
    lines.sort();
    lines
}

fn expected(list: &Value) -> Vec<Line> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let line = |f: &Value| (text(&f["rule"]), f["lines"][0].as_u64().expect("a line"), text(&f["msg"]));
    let mut lines: Vec<Line> = list.as_array().into_iter().flatten().map(line).collect();
    lines.sort();
    lines
}

/// The errors of a report, without the words that only say where.
fn errors(report: &Report) -> Vec<String> {
    report.errors.iter().map(crate::support::plan::words).collect()
}

fn compare(differences: &mut Differences, name: &str, case: &Case, output: &Value) {
    if let Some((_, reason)) = EXCEPTIONS.iter().find(|(end, _)| name.ends_with(end)) {
        return differences.excuse(name.to_owned(), reason);
    }
    let (target, _) = case.plan();
    let all = case.check();
    let wrong = ["convert_error", "instructions_error", "parse_error"].iter().find_map(|key| output[*key].as_str());
    for (key, report) in [("lint", &target), ("lint_all_stages", &all)] {
        let (got, wanted) = (found(&report.findings), expected(&output[key]));
        // BuildKit stops at the first error; what it found until then is found here too.
        let same = if wrong.is_some() { wanted.iter().all(|line| got.contains(line)) } else { got == wanted };
        differences.check(|| format!("{name}: {key}\n  got      {got:?}\n  expected {wanted:?}"), same);
    }
    let said = || errors(&target).into_iter().chain(target.violation.clone()).collect::<Vec<_>>();
    match wrong {
        Some(error) => {
            let same = said().iter().any(|said| same_words(said, error));
            differences.check(|| format!("{name}: error\n  got      {:?}\n  expected {error}", said()), same);
        }
        None => differences.check(|| format!("{name}: {:?}", said()), said().is_empty()),
    }
}

/// Whether one message holds the other, but for the place that BuildKit writes in front.
fn same_words(got: &str, expected: &str) -> bool {
    let expected = expected.to_lowercase();
    let expected = match expected.strip_prefix("dockerfile parse error on line ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => &expected,
    };
    // The class of an error in Go.
    let expected = expected.strip_suffix(": invalid argument").unwrap_or(expected);
    // Bytes that are not text are shown in another way.
    let text = expected.split(['\u{fffd}', '\u{1f}']).next().unwrap_or_default();
    got.to_lowercase().contains(text)
}

#[test]
fn edge_cases() {
    conformance::edge_cases(|differences, name, source, input, output| compare(differences, name, &Case::new(source).asked(input), output));
}

#[test]
fn dockerfiles_of_other_tools() {
    conformance::dockerfiles_of_other_tools(|differences, name, source, output| compare(differences, name, &Case::new(source), output));
}
