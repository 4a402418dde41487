//! Dockerfiles against what BuildKit reads in them: instructions, lines, heredocs and errors.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use layerwright::dockerfile::{Arguments, Dockerfile, Instruction, ParseErrorKind, ParseErrors, Source, Syntactic, parse, parse_syntax};
use serde_json::{Value, json};

use crate::support::conformance::{self, Differences, files, table};
use crate::support::keywords::standard_keywords;

/// Inputs that differ on purpose, by what they are called, and the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

fn excuse(name: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, reason)| *reason)
}

/// The instruction as the oracle's syntax tree has it, without the places.
fn node(instruction: &Instruction) -> Value {
    let mut args = Vec::new();
    let mut is_json = false;
    match &instruction.arguments {
        Arguments::Exec(list) => {
            is_json = true;
            args.extend(list.iter().map(|arg| json!(arg)));
        }
        Arguments::Words(words) => args.extend(words.iter().map(|word| json!(word))),
        Arguments::Pairs(pairs) => {
            args.extend(pairs.iter().flat_map(|pair| [json!(pair.name), json!(pair.value), json!(if pair.legacy { "" } else { "=" })]));
        }
        Arguments::Text(text) if text.is_empty() => {}
        Arguments::Text(text) if instruction.name == "ONBUILD" => args.push(json!({ "children": [trigger(text, instruction)] })),
        Arguments::Text(text) if instruction.name == "HEALTHCHECK" => {
            let (kind, command) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            args.push(json!(kind));
            match serde_json::from_str::<Vec<String>>(command) {
                Ok(list) => {
                    is_json = true;
                    args.extend(list.iter().map(|arg| json!(arg)));
                }
                Err(_) => args.extend(Some(command.trim_start()).filter(|command| !command.is_empty()).map(|command| json!(command))),
            }
        }
        Arguments::Text(text) => args.push(json!(text)),
    }
    let mut node = json!({ "instruction": instruction.keyword, "original": instruction.original });
    node["args"] = if args.is_empty() { Value::Null } else { args.into() };
    if is_json {
        node["json"] = json!(true);
    }
    if !instruction.flags.is_empty() {
        let written = instruction.flags.iter().map(|flag| match &flag.value {
            Some(value) => format!("--{}={value}", flag.name),
            None => format!("--{}", flag.name),
        });
        node["flags"] = written.collect();
    }
    node
}

/// The instruction in an ONBUILD.
fn trigger(text: &str, onbuild: &Instruction) -> Value {
    let mut text = text.to_owned();
    for heredoc in &onbuild.heredocs {
        let _ = write!(text, "\n{}{}", heredoc.content, heredoc.name);
    }
    let inner = parse_syntax(&Source::new("ONBUILD", &text), &standard_keywords());
    let [instruction] = inner.instructions.as_slice() else { return json!(format!("{inner:?}")) };
    let mut node = node(instruction);
    if standard_keywords().get(&instruction.name).is_none() {
        node["args"] = json!([""]);
    }
    (node["line"], node["end_line"]) = (json!(0), json!(0));
    node
}

/// The syntax tree as the oracle writes it.
fn tree(syntactic: &Syntactic) -> Vec<Value> {
    let with_places = |instruction: &Instruction| {
        let mut node = node(instruction);
        (node["line"], node["end_line"]) = (json!(instruction.span.start_line), json!(instruction.span.end_line));
        if !instruction.comments.is_empty() {
            node["prev_comment"] = json!(instruction.comments);
        }
        if !instruction.heredocs.is_empty() {
            let heredoc = |h: &layerwright::dockerfile::Heredoc| json!({ "name": h.name, "fd": h.descriptor, "expand": h.expand, "chomp": h.chomp, "content": h.content });
            node["heredocs"] = instruction.heredocs.iter().map(heredoc).collect();
        }
        node
    };
    syntactic.instructions.iter().map(with_places).collect()
}

/// The stages as the oracle writes them, as far as the parser knows them.
fn stages(file: &Dockerfile) -> Vec<Value> {
    let stage = |stage: &layerwright::dockerfile::StageSource| {
        let commands: Vec<_> = stage.instructions.iter().map(|instruction| instruction.name.clone()).collect();
        let commands = if commands.is_empty() { Value::Null } else { json!(commands) };
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        json!({ "base": stage.from.image, "name": or_empty(&stage.from.alias), "platform": or_empty(&stage.from.platform), "commands": commands })
    };
    file.stages.iter().map(stage).collect()
}

fn compare(differences: &mut Differences, name: &str, source: &Source, expected: &Value) {
    if let Some(reason) = excuse(name) {
        return differences.excuse(name.to_owned(), reason);
    }
    let keywords = standard_keywords();
    let syntactic = parse_syntax(source, &keywords);
    let parsed = parse(source, &keywords);
    let shown = |parsed: &Result<Dockerfile, ParseErrors>| parsed.as_ref().map_or_else(ToString::to_string, |_| "no error".to_owned());
    if let Some(error) = expected["parse_error"].as_str() {
        return differences.check(|| format!("{name}: {}, expected {error}", shown(&parsed)), parsed.is_err());
    }
    // The oracle reads the options of checks later.
    let unreadable = syntactic.errors.iter().any(|error| !matches!(error.kind, ParseErrorKind::CheckOption(_)));
    differences.check(|| format!("{name}: {:?}", syntactic.errors), !unreadable);
    let got = tree(&syntactic);
    let wanted = expected["ast"].as_array().expect("a syntax tree");
    differences.check(|| format!("{name}: {} instructions, expected {}", got.len(), wanted.len()), got.len() == wanted.len());
    for (got, wanted) in got.iter().zip(wanted) {
        // Of what nobody can read the oracle says that it has one empty argument.
        let unknown =
            wanted["args"] == json!([""]) && standard_keywords().get(wanted["instruction"].as_str().unwrap_or_default()).is_none();
        if !unknown {
            differences.check(|| format!("{name}:\n  got      {got}\n  expected {wanted}"), got == wanted);
        }
    }
    let escape = syntactic.directives.escape.to_string();
    differences.check(|| format!("{name}: escape {escape}"), expected["escape"] == escape);
    let syntax = syntactic
        .directives
        .syntax
        .as_ref()
        .map_or(Value::Null, |syntax| json!({ "ref": syntax.reference, "cmdline": syntax.command_line }));
    differences.check(|| format!("{name}: syntax {syntax}, expected {}", expected["syntax"]), expected["syntax"] == syntax);
    let warnings = expected["parser_warnings"].as_array().map_or(0, Vec::len);
    differences
        .check(|| format!("{name}: {} warnings, expected {warnings}", syntactic.warnings.len()), syntactic.warnings.len() == warnings);

    // What is wrong with instructions is compared where all of them are lowered.
    match (&parsed, expected["instructions_error"].as_str()) {
        (_, Some(_)) => {}
        (Ok(file), None) => {
            let mut wanted = expected["stages"].as_array().cloned().unwrap_or_default();
            for stage in &mut wanted {
                // The doc comment is not the parser's.
                stage.as_object_mut().map(|stage| stage.remove("doc"));
            }
            let got = stages(file);
            differences.check(|| format!("{name}: stages {got:?}, expected {wanted:?}"), got == wanted);
        }
        // It may fail now or later, if it must fail.
        (Err(errors), None) => differences.check(|| format!("{name}: {errors}"), expected["convert_error"].is_string()),
    }
}

#[test]
fn edge_cases() {
    conformance::edge_cases(|differences, name, source, _, output| compare(differences, name, &source, output));
}

#[test]
fn dockerfiles_of_other_tools() {
    conformance::dockerfiles_of_other_tools(|differences, name, source, output| compare(differences, name, &source, output));
}

/// A string as Go quotes it.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        c if c.is_control() => format!("\\x{:02x}", c as u32),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A node as the dumps have it.
fn dump(node: &Value) -> String {
    let mut out = format!("({}", node["instruction"].as_str().unwrap_or_default().to_lowercase());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let flags: Vec<_> = list(&node["flags"]).iter().filter_map(Value::as_str).map(quoted).collect();
    if !flags.is_empty() {
        let _ = write!(out, " [{}]", flags.join(" "));
    }
    for arg in list(&node["args"]) {
        let arg = arg.as_str().map_or_else(|| dump(&arg["children"][0]), quoted);
        let _ = write!(out, " {arg}");
    }
    out + ")"
}

#[test]
fn dumps() {
    let mut differences = Differences::default();
    for path in files("buildkit/frontend/dockerfile/parser/testfiles", "/Dockerfile") {
        let folder = path.parent().unwrap_or(Path::new(""));
        let expected = fs::read_to_string(folder.join("result")).expect("the dump is readable");
        let syntactic = parse_syntax(&Source::from_bytes("Dockerfile", &fs::read(&path).expect("it is readable")), &standard_keywords());
        let got: Vec<_> = syntactic.instructions.iter().map(|instruction| dump(&node(instruction))).collect();
        let same = syntactic.errors.is_empty() && got.join("\n").trim() == expected.trim();
        differences.check(|| format!("{}: {:?}\n{}\nexpected\n{expected}", path.display(), syntactic.errors, got.join("\n")), same);
    }
    differences.finish();
}

#[test]
fn files_that_must_fail() {
    let mut differences = Differences::default();
    for path in files("buildkit/frontend/dockerfile/parser/testfiles-negative", "/Dockerfile") {
        let source = Source::from_bytes("Dockerfile", &fs::read(&path).expect("it is readable"));
        differences.check(|| path.display().to_string(), parse(&source, &standard_keywords()).is_err());
    }
    differences.finish();
}

#[test]
fn tables() {
    let mut differences = Differences::default();
    let parser = "vectors/tables/buildkit/parser";
    let arguments = |line: &str| {
        let syntactic = parse_syntax(&Source::new("D", line), &standard_keywords());
        (syntactic.errors.is_empty(), syntactic.instructions.into_iter().next())
    };
    for row in table(&format!("{parser}/json.TestJSONArraysOfStrings.validJSONArraysOfStrings.json")) {
        let got = arguments(&format!("CMD {}", row["key"].as_str().expect("JSON")));
        let same = matches!(&got.1, Some(Instruction { arguments: Arguments::Exec(list), .. }) if json!(list) == row["value"]);
        differences.check(|| format!("{row}: {got:?}"), same);
    }
    for row in table(&format!("{parser}/json.TestJSONArraysOfStrings.invalidJSONArraysOfStrings.json")) {
        differences.check(|| row.to_string(), !arguments(&format!("CMD {}", row.as_str().expect("JSON"))).0);
    }
    for row in table(&format!("{parser}/parser_heredoc.TestHeredocsFromLine.srcs.json")) {
        let line = row["line"].as_str().expect("a line");
        let names: Vec<_> = row["heredocNames"].as_array().map(Vec::as_slice).unwrap_or_default().to_vec();
        let ends: String = names.iter().map(|name| format!("\n{}", name.as_str().unwrap_or_default())).collect();
        let (_, instruction) = arguments(&format!("{line}{ends}"));
        let got: Vec<_> = instruction.iter().flat_map(|i| &i.heredocs).map(|heredoc| json!(heredoc.name)).collect();
        differences.check(|| format!("{row}: {got:?}"), got == names);
    }
    differences.finish();
}
