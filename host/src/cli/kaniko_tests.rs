//! The command line beside the list of kaniko's, where that list is at hand.

use std::path::{Path, PathBuf};

use clap::builder::ArgAction;
use clap::{Arg, Command, CommandFactory};

use super::args::{Arguments, ExecutorArguments};
use super::commands::warmer::WarmerArguments;
use super::{env, features};

/// Flags whose default is another, and why.
const OTHER_DEFAULTS: [(&str, &str); 12] = [
    ("image-format", "the base image's, which the list says in words"),
    ("log-format", "colours are for terminals"),
    ("custom-platform", "the host's, which the list says in words"),
    ("target", "the last stage, which the list says in words"),
    ("git", "only what is built is fetched"),
    ("compression", "gzip, which kaniko does where nothing is said"),
    ("snapshot-mode", "needless: said where it is given"),
    ("image-fs-extract-retry", "needless: said where it is given"),
    ("compressed-caching", "needless: said where it is given"),
    ("ignore-var-run", "needless: said where it is given"),
    ("whitelist-var-run", "needless: said where it is given"),
    ("credential-helpers", "the same, which the list says in words"),
];

/// The list; none where it is not at hand, which is said.
fn list() -> Option<String> {
    let shared = std::env::var_os("LAYERWRIGHT_SHARED").map(PathBuf::from);
    let beside = std::env::var_os("LAYERWRIGHT_CONFORMANCE").map(|path| PathBuf::from(path).join(".."));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let places = [shared, beside, Some(repository)];
    let found = places.into_iter().flatten().find_map(|place| std::fs::read_to_string(place.join("requirements/kaniko.md")).ok());
    if found.is_none() {
        eprintln!("SKIPPED: there is no requirements/kaniko.md to compare with; set LAYERWRIGHT_SHARED to the folder that holds it");
    }
    found
}

/// The part of the list between two headings.
fn section<'a>(list: &'a str, from: &str, to: &str) -> &'a str {
    let start = list.find(from).unwrap_or_else(|| panic!("{from} is not in the list")) + from.len();
    let rest = &list[start..];
    &rest[..rest.find(to).unwrap_or_else(|| panic!("{to} is not in the list"))]
}

/// The rows of a table: names with their dashes, type, default.
fn rows(table: &str) -> Vec<(Vec<String>, String, String)> {
    let cells = |line: &str| -> Vec<String> { line.split('|').skip(1).map(|cell| cell.trim().to_owned()).collect() };
    let rows = table.lines().filter(|line| line.starts_with("| -")).map(cells).filter(|cells| cells.len() >= 4);
    let names =
        |cell: &str| cell.split([',', ' ', '/', ';']).map(str::trim).filter(|name| name.starts_with('-')).map(str::to_owned).collect();
    rows.map(|cells| (names(&cells[0]), cells[1].clone(), cells[2].clone())).collect()
}

/// A flag by its long or short name, former spellings included.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long)),
        None => arg.get_short() == name.chars().nth(1),
    })
}

fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|values| values.min_values() == 0 && values.max_values() == 1) && arg.is_require_equals_set()
}

fn compare(command: &Command, names: &[String], kind: &str, default: &str) -> Option<String> {
    let first = names.first()?;
    let Some(arg) = find(command, first) else { return Some(format!("{first} is missing")) };
    if let Some(other) = names.iter().find(|name| find(command, name).map(Arg::get_id) != Some(arg.get_id())) {
        return Some(format!("{first} is not {other}"));
    }
    let kind = kind.split_whitespace().next().unwrap_or_default();
    let repeated = matches!(arg.get_action(), ArgAction::Append);
    let fits = match kind {
        "multi" | "kv" | "kmv" | "secret" => repeated,
        "strings" => repeated && arg.get_value_delimiter() == Some(','),
        "bool" => is_switch(arg) && !repeated,
        "string" | "int" | "enum" | "duration" => !is_switch(arg) && matches!(arg.get_action(), ArgAction::Set),
        _ => return Some(format!("{first}: the list has a type {kind:?} that this test does not know")),
    };
    if !fits {
        return Some(format!("{first} is no {kind}"));
    }
    let name = first.trim_start_matches('-');
    let name = names.iter().find_map(|name| name.strip_prefix("--")).unwrap_or(name);
    if OTHER_DEFAULTS.iter().any(|(known, _)| *known == name) {
        return None;
    }
    let wanted = match default {
        "" | "–" | "\"\"" => "",
        text if text.starts_with("env ") => "",
        text => text,
    };
    let ours = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
    // A number that is 0 and a switch that is off need not be said.
    let same = ours == wanted || (ours.is_empty() && matches!(wanted, "false" | "0"));
    (!same).then(|| format!("{first} is {ours:?} where nothing is said, and {wanted:?} in the list"))
}

#[test]
fn every_flag_of_kaniko_is_there_with_its_type_and_default() {
    let Some(list) = list() else { return };
    let mut wrong = Vec::new();
    let executor = ExecutorArguments::command();
    let table = rows(section(&list, "### executor (root command)", "### registry flags"));
    assert!(table.len() > 40, "the list's table was not found");
    for (names, kind, default) in &table {
        if names.iter().any(|name| name == "--snapshotMode") {
            wrong.extend(names.iter().filter(|name| find(&executor, name).is_none()).map(|name| format!("{name} is missing")));
        } else if !names.iter().any(|name| name == "--help" || name == "-h") {
            wrong.extend(compare(&executor, names, kind, default));
        }
    }
    let table = rows(section(&list, "### registry flags", "### warmer"));
    assert!(table.len() > 12, "the list's table was not found");
    let push = executor.find_subcommand("push").expect("there is a push");
    for (names, kind, default) in &table {
        wrong.extend(compare(&executor, names, kind, default).map(|why| format!("executor: {why}")));
        wrong.extend(compare(push, names, kind, default).map(|why| format!("push: {why}")));
    }
    for command in ["login", "push", "version", "completion", "help"] {
        let mut whole = executor.clone();
        whole.build();
        if whole.find_subcommand(command).is_none() {
            wrong.push(format!("there is no {command}"));
        }
    }
    let warmer = WarmerArguments::command();
    let text = section(&list, "### warmer", "(No --credential-helpers");
    let flags: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with('-')).collect();
    assert!(flags.len() > 20, "the list's flags of the warmer were not found");
    wrong.extend(flags.iter().filter(|flag| find(&warmer, flag).is_none()).map(|flag| format!("warmer: {flag} is missing")));
    for pair in text.split(|c: char| c.is_whitespace() || ";,".contains(c)).filter_map(|word| word.split_once('/')) {
        if pair.0.len() == 2 && find(&warmer, pair.0).map(Arg::get_id) != find(&warmer, pair.1).map(Arg::get_id) {
            wrong.push(format!("warmer: {} is not {}", pair.0, pair.1));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The words of the documentation, for names of flags and variables.
fn documented(name: &str) -> bool {
    let page = include_str!("../../../docs/kaniko.md");
    page.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).any(|word| word == name)
}

#[test]
fn every_flag_and_variable_of_kaniko_is_in_the_documentation() {
    let Some(list) = list() else { return };
    let tables = [("### executor (root command)", "### registry flags"), ("### registry flags", "### warmer")];
    let flags = tables.into_iter().flat_map(|(from, to)| rows(section(&list, from, to))).flat_map(|(names, ..)| names);
    let mut missing: Vec<String> = flags.filter(|name| name.starts_with("--") && !documented(name)).collect();
    let text = section(&list, "### environment variables read", "RUN steps get only");
    let is_name = |word: &&str| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let names: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_name).collect();
    assert!(names.len() > 30, "the list's variables were not found");
    let prefix = |name: &str| ["OTEL_", "FF_KANIKO_", "KANIKO_", "HTTP", "_PROXY", "CI_"].contains(&name);
    let word = |name: &str| ["FQDN", "_PASSWORD", "JSON"].contains(&name);
    missing.extend(names.into_iter().filter(|name| !prefix(name) && !word(name) && !documented(name)).map(str::to_owned));
    missing.sort_unstable();
    missing.dedup();
    assert!(missing.is_empty(), "not in docs/kaniko.md: {missing:?}");
}

#[test]
fn every_feature_flag_of_kaniko_is_known() {
    let Some(list) = list() else { return };
    let text = section(&list, "FF_KANIKO_* default true:", "Most become default");
    let is_name = |word: &&str| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let names: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_name).collect();
    assert!(names.len() > 30, "the list's flags were not found");
    let changing = env::FF_KANIKO_DISABLE_HTTP2.trim_start_matches("FF_KANIKO_");
    let known: Vec<&str> = features::ALWAYS.iter().map(|(name, _)| *name).chain([changing]).collect();
    let missing: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
    let invented: Vec<_> = known.iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:?}, not in the list {invented:?}");
    assert!(documented(env::FF_KANIKO_DISABLE_HTTP2));
}

#[test]
fn the_command_lines_contradict_themselves_nowhere() {
    Arguments::command().debug_assert();
    ExecutorArguments::command().debug_assert();
    WarmerArguments::command().debug_assert();
}
