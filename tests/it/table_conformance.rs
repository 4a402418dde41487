//! The small tables of BuildKit and of the reference grammar, and that none of them is forgotten.

use std::fs;

use layerwright::dockerfile::{Arguments, Instruction, Source, parse_syntax};
use layerwright::oci::{Platform, Reference};
use serde_json::{Value, json};

use crate::support::conformance::{Differences, directory, files, rows, table};
use crate::support::keywords::standard_keywords;
use crate::support::plan::{Case, words};
use crate::support::repository;

/// Tables that no test reads, by the start of their path below `vectors/tables`, and why.
const NOT_READ: &[(&str, &str)] = &[
    ("buildkit/build/", "flags of BuildKit's own command line, which this program does not have"),
    ("buildkit/instructions/parse.TestCommandsTooManyArguments", "syntax trees that no text gives"),
    ("buildkit/parser/parser_heredoc.TestParseExtractsHeredoc.", "results alone, the Dockerfiles that give them are not in the data"),
    ("buildkit/parser/parser_heredoc.TestHeredocsFromLine.heredocs", "the same heredocs as those of the lines beside it"),
    ("buildkit/shell/lex.TestConvertShellPatternToRegex.cases", "the text of Go's regular expressions, which do not exist here"),
    ("buildkit/shell/lex.TestReversePattern.", "a step of BuildKit's own way to match a suffix"),
    ("buildkit/system/path.TestIsAbs.", "paths of Windows, for which nothing is built"),
    ("buildkit/system/path.TestNormalizeWorkdirWindows.", "paths of Windows, for which nothing is built"),
    ("patternmatcher/patternmatcher.testCompile.", "the text of Go's regular expressions, which do not exist here"),
    ("reference/reference.Test", "functions of a library on names that are not completed; here every name is, and `normalize` has those"),
    ("reference/regexp.Test", "the library's regular expressions one by one; here there are none"),
    ("reference/sort.", "the order of references, which nothing here sorts"),
    ("reference/normalize.TestMatch.", "matching references by patterns, which nothing here does"),
    ("reference/normalize.TestParseAnyReference.", "image ids in place of names, which no Dockerfile has"),
];

/// Names and platforms that differ on purpose, and the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("gcr.io/a/b@sha512:", "content is known by its sha256 digest, as registries give it"),
    ("windows(10.0.17763)/amd64", "nothing is built for Windows, whose platforms alone have a version"),
];

fn excuse(name: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, reason)| *reason)
}

fn syntax(text: &str) -> (bool, Vec<Instruction>) {
    let syntactic = parse_syntax(&Source::new("D", text), &standard_keywords());
    (syntactic.errors.is_empty(), syntactic.instructions)
}

/// What a stage of these lines gets wrong, and the configuration that it makes where it gets all right.
fn stage(lines: &str) -> (Vec<String>, Value) {
    let (report, image) = Case::new(Source::new("Dockerfile", &format!("FROM scratch\n{lines}\n"))).plan();
    let config = image.map_or(Value::Null, |image| serde_json::to_value(image).expect("it is JSON"));
    (report.errors.iter().map(words).collect(), config)
}

fn fails(differences: &mut Differences, lines: &str, expected: &str) {
    let (errors, _) = stage(lines);
    differences.check(|| format!("{lines}: {errors:?}, expected {expected}"), errors.iter().any(|error| error.contains(expected)));
}

#[test]
fn no_table_is_forgotten() {
    let mut sources = String::new();
    for folder in ["tests/it", "host/src", "plugins"] {
        for file in crate::support::rust::files(&repository().join(folder)) {
            sources.push_str(&fs::read_to_string(file).expect("a readable file"));
        }
    }
    let root = directory().join("vectors");
    let forgotten: Vec<String> = files("vectors", "")
        .into_iter()
        .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_str()?.to_owned()))
        .filter(|name| {
            let below = name.strip_prefix("tables/").unwrap_or(name);
            let (_, file) = name.rsplit_once('/').unwrap_or(("", name));
            // Some are named by a part of the name alone.
            let in_part = |(dot, _)| sources.contains(&format!("{}.{{", &file[..dot]));
            let read = sources.contains(file) || file.match_indices('.').any(in_part);
            !NOT_READ.iter().any(|(start, _)| below.starts_with(start)) && !read
        })
        .collect();
    assert!(forgotten.is_empty(), "no test reads {forgotten:#?}");
}

#[test]
fn instructions() {
    let mut differences = Differences::default();
    let folder = "vectors/tables/buildkit/instructions";
    let names =
        |file: &str| table(&format!("{folder}/{file}")).iter().map(|row| row.as_str().expect("a keyword").to_owned()).collect::<Vec<_>>();
    for name in names("parse.TestCommandsAtLeastOneArgument.commands.json") {
        fails(&mut differences, &name, &format!("{name} requires at least one argument"));
    }
    for name in names("parse.TestCommandsExactlyOneArgument.commands.json") {
        fails(&mut differences, &name, &format!("{name} requires exactly one argument"));
    }
    for name in names("parse.TestCommandsBlankNames.commands.json") {
        fails(&mut differences, &format!("{name} =arg2"), &format!("{name} names can not be blank"));
    }
    for name in names("parse.TestCommandsNoDestinationArgument.commands.json") {
        fails(&mut differences, &format!("{name} arg1"), &format!("{name} requires at least two arguments, but only one was provided"));
    }
    for row in table(&format!("{folder}/parse.TestErrorCases.cases.json")) {
        let expected = row["expectedError"].as_str().expect("an error");
        fails(&mut differences, row["dockerfile"].as_str().expect("a Dockerfile"), expected);
    }
    for row in table(&format!("{folder}/commands_rundevice.TestParseDevice.cases.json")) {
        let line = format!("RUN --device={} true", row["input"].as_str().expect("a device"));
        match row["expectedErr"]["error"].as_str() {
            Some(error) => fails(&mut differences, &line, error),
            None => {
                let (errors, _) = stage(&line);
                differences.check(|| format!("{line}: {errors:?}"), errors.is_empty());
            }
        }
    }
    for row in table(&format!("{folder}/parse_heredoc.TestCopyHeredoc.cases.json")) {
        let (_, found) = syntax(row["dockerfile"].as_str().expect("a Dockerfile"));
        let wanted = row["sourcesAndDest"]["SourceContents"].as_array().cloned().unwrap_or_default();
        let got: Vec<_> = found[0].heredocs.iter().map(|h| json!({ "Path": h.name, "Data": h.body(), "Expand": h.expand })).collect();
        differences.check(|| format!("{row}: {got:?}"), got == wanted);
    }
    for row in table(&format!("{folder}/parse_heredoc.TestRunHeredoc.cases.json")) {
        let (_, found) = syntax(row["dockerfile"].as_str().expect("a Dockerfile"));
        let wanted = row["files"].as_array().cloned().unwrap_or_default();
        let got: Vec<_> = found[0].heredocs.iter().map(|h| json!({ "Name": h.name, "Data": h.content, "Chomp": h.chomp })).collect();
        let (line, shell) = match &found[0].arguments {
            Arguments::Exec(words) => (json!(words), false),
            Arguments::Text(text) => (json!([text]), true),
            other => (json!(format!("{other:?}")), false),
        };
        differences.check(|| format!("{row}: {got:?} {line}"), got == wanted && line == row["command"] && json!(shell) == row["shell"]);
    }
    for row in table(&format!("{folder}/support.TestHandleJSONArgs.testCases.json")) {
        let args = row["args"].as_array().expect("a list");
        let is_json = row["attributes"].as_array().is_some_and(|attributes| !attributes.is_empty());
        let plain: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
        let line = if is_json { json!(args).to_string() } else { plain.join(" ") };
        let got = match &syntax(&format!("CMD {line}")).1[0].arguments {
            Arguments::Exec(words) => json!(words),
            Arguments::Text(text) if text.is_empty() => json!([]),
            Arguments::Text(text) => json!([text]),
            other => json!(format!("{other:?}")),
        };
        differences.check(|| format!("{row}: {got}"), got == row["expected"]);
    }
    differences.finish();
}

#[test]
fn grammar() {
    let mut differences = Differences::default();
    let folder = "vectors/tables/buildkit/parser";
    for row in table(&format!("{folder}/parser.TestParseWords.tests.json")) {
        let pairs = row.as_array().expect("pairs");
        let of = |key: &str| pairs.iter().find(|pair| pair["key"] == key).map(|pair| pair["value"].clone()).unwrap_or_default();
        let input = of("input")[0].as_str().expect("a line").to_owned();
        let (_, found) = syntax(&format!("ARG {input}"));
        let got = match &found[0].arguments {
            Arguments::Words(words) => json!(words),
            other => json!(format!("{other:?}")),
        };
        differences.check(|| format!("{row}: {got}"), got == of("expect"));
    }
    let word = |row: Value| row.as_str().expect("a word").to_owned();
    for row in table(&format!("{folder}/parser_heredoc.TestParseHeredocHelpers.validHeredocs.json")) {
        let (readable, found) = syntax(&format!("RUN {}\nEOF\n", word(row.clone())));
        differences.check(|| format!("{row} is a heredoc: {found:?}"), readable && found[0].heredocs.len() == 1);
    }
    for row in table(&format!("{folder}/parser_heredoc.TestParseHeredocHelpers.notHeredocs.json")) {
        // With white space in it, it is several words of a line.
        if word(row.clone()).contains(' ') {
            continue;
        }
        let (readable, found) = syntax(&format!("RUN {}\n", word(row.clone())));
        differences.check(|| format!("{row} is no heredoc: {found:?}"), readable && found[0].heredocs.is_empty());
    }
    for row in table(&format!("{folder}/parser_heredoc.TestParseHeredocHelpers.invalidHeredocs.json")) {
        let (readable, found) = syntax(&format!("RUN {}\nEOF\n", word(row.clone())));
        differences.check(|| format!("{row} is no heredoc either: {found:?}"), !readable || found[0].heredocs.is_empty());
    }
    for row in table("vectors/tables/buildkit/shell/lex.TestConvertShellPatternToRegex.invalid.json") {
        let pattern = word(row.clone());
        let get = |_: &str| Some("value".to_owned());
        let expanded = layerwright::dockerfile::expand_word(&format!("${{x#{pattern}}}"), '\\', &get);
        differences.check(|| format!("{row}: {expanded:?}"), expanded.is_err());
    }
    differences.finish();
}

#[test]
fn ports_and_folders() {
    let mut differences = Differences::default();
    let folder = "vectors/tables/buildkit";
    for row in table(&format!("{folder}/dockerfile2llb/convert_expose.TestPartPortIPV6.cases.json")) {
        let (errors, image) = stage(&format!("EXPOSE {}", row["spec"].as_str().expect("a port")));
        let got: Vec<_> = image["config"]["ExposedPorts"].as_object().into_iter().flatten().map(|(port, _)| json!(port)).collect();
        differences.check(|| format!("{row}: {got:?} {errors:?}"), Some(&got) == row["expected"].as_array());
    }
    for row in table(&format!("{folder}/dockerfile2llb/convert_expose.TestParsePortEmptyContainerPort.tests.json")) {
        // No port at all is what an empty variable gives.
        let spec = row["spec"].as_str().expect("a port");
        if !spec.is_empty() {
            fails(&mut differences, &format!("EXPOSE {spec}"), row["expError"].as_str().expect("an error"));
        }
    }
    for file in ["path.TestNormalizeWorkdir.testCases.json", "path.TestNormalizeWorkdirUnix.testCases.json"] {
        for row in table(&format!("{folder}/system/{file}")) {
            let text = |key: &str| row[key].as_str().expect("a path").to_owned();
            let before = match text("currentWorkdir").as_str() {
                "" => String::new(),
                path => format!("WORKDIR {path}\n"),
            };
            let (errors, image) = stage(&format!("{before}WORKDIR \"{}\"", text("newWorkDir")));
            differences.check(
                || format!("{row}: {} {errors:?}", image["config"]["WorkingDir"]),
                image["config"]["WorkingDir"] == row["desiredResult"],
            );
        }
    }
    differences.finish();
}

#[test]
fn references() {
    let mut differences = Differences::default();
    let parse = |text: &Value| text.as_str().expect("a name").parse::<Reference>();
    for (input, output) in rows("vectors/oracle/reference.jsonl") {
        let name = input["ref"].as_str().expect("a name");
        if let Some(reason) = excuse(name) {
            differences.excuse(name.to_owned(), reason);
            continue;
        }
        let got = parse(&input["ref"]);
        let same = match (&got, output["error"].as_str()) {
            (Err(_), Some(_)) => true,
            (Ok(got), None) => {
                got.registry() == output["domain"] && got.repository() == output["path"] && json!(got.to_string()) == output["tagged"]
            }
            _ => false,
        };
        differences.check(|| format!("{input}: {got:?}, expected {output}"), same);
    }
    let folder = "vectors/tables/reference";
    for row in table(&format!("{folder}/normalize.TestParseRepositoryInfo.tests.json")) {
        for key in ["AmbiguousName", "FullName", "FamiliarName"] {
            if row[key].as_str().is_some_and(|name| !name.is_empty()) {
                let got = parse(&row[key]);
                let same = got.as_ref().is_ok_and(|got| got.registry() == row["Domain"] && got.repository() == row["RemoteName"]);
                differences.check(|| format!("{key} of {row}: {got:?}"), same);
            }
        }
    }
    for row in table(&format!("{folder}/normalize.TestNormalizedSplitHostname.tests.json")) {
        let got = parse(&row["input"]);
        let same = got.as_ref().is_ok_and(|got| got.registry() == row["domain"] && got.repository() == row["path"]);
        differences.check(|| format!("{row}: {got:?}"), same);
    }
    for row in table(&format!("{folder}/normalize.TestParseDockerRef.tests.json")) {
        let got = parse(&row["input"]);
        // The tag beside a digest is kept for messages; the digest is what is asked for.
        let shown = |got: &Reference| got.digest().map_or_else(|| got.to_string(), |digest| got.at(digest).to_string());
        differences.check(|| format!("{row}: {got:?}"), got.as_ref().is_ok_and(|got| shown(got) == row["expected"]));
    }
    for file in ["normalize.TestValidateReferenceName.validRepoNames.json", "normalize.TestValidateRemoteName.validRepositoryNames.json"] {
        for row in table(&format!("{folder}/{file}")) {
            differences.check(|| format!("{row} is a name: {:?}", parse(&row)), parse(&row).is_ok());
        }
    }
    for file in
        ["normalize.TestValidateReferenceName.invalidRepoNames.json", "normalize.TestValidateRemoteName.invalidRepositoryNames.json"]
    {
        for row in table(&format!("{folder}/{file}")) {
            differences.check(|| format!("{row} is no name: {:?}", parse(&row)), parse(&row).is_err());
        }
    }
    differences.finish();
}

#[test]
fn platforms() {
    let mut differences = Differences::default();
    for (input, output) in rows("vectors/oracle/platform.jsonl") {
        let text = input["platform"].as_str().expect("a platform");
        if let Some(reason) = excuse(text) {
            differences.excuse(text.to_owned(), reason);
            continue;
        }
        let got = text.parse::<Platform>();
        let same = match (&got, output["error"].is_string()) {
            (Err(_), true) => true,
            (Ok(got), false) => got.os == output["os"] && got.architecture == output["arch"],
            _ => false,
        };
        differences.check(|| format!("{text}: {got:?}, expected {output}"), same);
    }
    differences.finish();
}
