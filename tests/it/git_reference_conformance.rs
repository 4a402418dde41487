//! References to git repositories, against BuildKit's own reading of them.

use layerwright_git_reference::{GitReference, GitUrl, Times, is_commit, parse};
use serde_json::Value;

use crate::support::conformance::{rows, table};

/// BuildKit's name for what we call something else; its short name is for progress messages, which here say the URL.
fn compare(source: &str, reference: &GitReference, expected: &Value) {
    let text = |name: &str| expected[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(reference.remote, text("Remote"), "{source}");
    assert_eq!(reference.revision.clone().unwrap_or_default(), text("Ref"), "{source}");
    assert_eq!(reference.checksum.clone().unwrap_or_default(), text("Checksum"), "{source}");
    // A slash before a directory in a query means nothing.
    assert_eq!(reference.directory.clone().unwrap_or_default(), text("SubDir").trim_matches('/'), "{source}");
    assert_eq!(reference.keep_git_dir, expected["KeepGitDir"].as_bool(), "{source}");
    assert_eq!(reference.submodules, expected["Submodules"].as_bool(), "{source}");
    let times = match text("MTime").as_str() {
        "commit" => Some(Times::Commit),
        "checkout" => Some(Times::Checkout),
        _ => None,
    };
    assert_eq!(reference.times, times, "{source}");
    assert_eq!(Some(reference.fetch_by_commit), expected["FetchByCommit"].as_bool(), "{source}");
    assert_eq!(Some(reference.maybe_local), expected["IndistinguishableFromLocal"].as_bool(), "{source}");
}

#[test]
fn every_reading_of_the_oracle() {
    for (input, out) in rows("vectors/oracle/git-url.jsonl") {
        let source = input["url"].as_str().expect("a URL");
        match (parse(source), out["is_git"].as_bool() == Some(true), out["error"].as_str()) {
            (Ok(None), false, _) => {}
            (Ok(Some(reference)), true, None) => compare(source, &reference, &out["ref"]),
            (Err(error), true, Some(expected)) => assert_eq!(error.to_string(), expected, "{source}"),
            (found, ..) => panic!("{source}: {found:?}, want {out}"),
        }
    }
}

#[test]
fn every_row_of_the_table_of_references() {
    for row in table("vectors/tables/buildkit/dfgitutil/git_ref.TestParseGitRef.cases.json") {
        let source = row["ref"].as_str().expect("a reference");
        match (parse(source), row["err"].as_str().unwrap_or_default(), &row["expected"]) {
            (Err(error), expected, _) if !expected.is_empty() => assert!(error.to_string().contains(expected), "{source}: {error}"),
            (Ok(None), "", Value::Null) => {}
            (Ok(Some(reference)), "", expected) if !expected.is_null() => compare(source, &reference, expected),
            (found, ..) => panic!("{source}: {found:?}, want {row}"),
        }
    }
}

/// The tables of how BuildKit writes a reference down; here it is only taken apart.
#[test]
fn every_row_of_the_tables_of_fragments() {
    for name in ["TestFragmentFormat", "TestFragmentFormatWithSubdir"] {
        for row in table(&format!("vectors/tables/buildkit/dfgitutil/git_ref.{name}.cases.json")) {
            let source = row["ref"].as_str().expect("a reference");
            let read = parse(source).ok().flatten();
            assert_eq!(read.is_some(), row["ok"].as_bool() == Some(true), "{source}");
            let Some(read) = read else { continue };
            let mut written = read.remote.clone();
            let revision = read.revision.clone().unwrap_or_default();
            let directory = read.directory.clone().filter(|_| name.ends_with("Subdir")).map(|path| format!(":{path}")).unwrap_or_default();
            if !revision.is_empty() || !directory.is_empty() {
                written.push_str(&format!("#{revision}{directory}"));
            }
            assert_eq!(Some(written.as_str()), row["expected"].as_str(), "{source}");
        }
    }
}

#[test]
fn every_row_of_the_table_of_urls() {
    for row in table("vectors/tables/buildkit/gitutil/git_url.TestParseURL.tests.json") {
        let source = row["url"].as_str().expect("a URL");
        let location = source.split(['#', '?']).next().unwrap_or_default();
        let Some(url) = GitUrl::parse(location) else {
            assert_eq!(row["err"].as_bool(), Some(true), "{source}");
            continue;
        };
        let expected = &row["result"];
        let user = match expected["User"]["username"].as_str() {
            Some(name) if expected["User"]["passwordSet"] == true => {
                Some(format!("{name}:{}", expected["User"]["password"].as_str().unwrap_or_default()))
            }
            name => name.map(str::to_owned),
        };
        assert_eq!(
            (Some(url.scheme.name()), Some(url.host.as_str())),
            (expected["Scheme"].as_str(), expected["Host"].as_str()),
            "{source}"
        );
        assert_eq!((Some(url.path.as_str()), url.user), (expected["Path"].as_str(), user), "{source}");
    }
}

#[test]
fn what_is_a_whole_commit() {
    for (name, expected) in [("commits", true), ("commitsx", false)] {
        for row in table(&format!("vectors/tables/buildkit/gitutil/git_commit.TestIsCommitSHA.{name}.json")) {
            let text = row.as_str().expect("text");
            assert_eq!(is_commit(text), expected, "{text:?}");
        }
    }
}
