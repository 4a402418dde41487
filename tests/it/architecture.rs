//! The shape of the host crate: who may name whom, and which words belong in one place. ARCHITECTURE in the form of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use layerwright::dockerfile::Keywords;

use crate::support::keywords::standard_keywords;
use crate::support::repository;
use crate::support::rust::{files, tokens, tokens_and_literals};

/// Modules, and the others that they may name. Who is not here may name nothing; `cli` may name all.
const MAY_NAME: &str = "
    oci progress dockerfile fs operation trust helper:
    image:     oci
    context:   fs layer
    graph:     oci dockerfile
    layer:     oci fs image
    sandbox:   fs operation
    rootfs:    oci fs image context layer operation sandbox
    registry:  oci image progress trust
    export:    oci fs image registry progress
    fetch:     oci fs progress context layer rootfs trust helper
    cache:     oci image progress registry rootfs
    build:     oci progress dockerfile fs operation image context graph layer sandbox rootfs registry export fetch cache
    plugin:    oci progress dockerfile operation fs context registry build trust helper
    cli:       oci progress dockerfile fs operation image context graph layer sandbox rootfs registry export fetch cache build plugin trust
";

/// Words that belong to some files alone. A word is tokens, with a space between each; a place is a path below `host/src`, or a folder of it.
const WORDS: &[(&[&str], &[&str], &str)] = &[
    (
        &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"],
        &["sandbox/sys.rs", "plugin/precompiled.rs"],
        "there each has its reasons beside it",
    ),
    (&["wasmtime ::"], &["plugin/"], "nothing else knows what a plugin runs on"),
    (
        &["std :: env :: var", "std :: env :: vars", "env :: var (", "env :: var_os (", "env :: vars ("],
        &["cli/"],
        "arguments and environment become settings once",
    ),
    (&["println !", "eprintln !", "print !", "eprint !", "dbg !"], &["cli/", "main.rs"], "the library speaks through `progress`"),
    (&["process :: exit", "process :: abort"], &["cli/", "main.rs"], "only the program ends the program"),
    (&[". unwrap (", ". expect (", ". unwrap_err (", ". expect_err ("], &[], "what comes from outside must not end the process"),
    (&["todo !", "unimplemented !"], &[], "what is not done is not there"),
];

/// Modules in which nothing waits.
const SYNCHRONOUS: &[&str] = &["oci", "dockerfile", "graph", "operation", "fs", "layer", "image", "context", "sandbox", "rootfs"];

fn table() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut table = BTreeMap::new();
    for line in MAY_NAME.trim().lines() {
        let (modules, may) = line.split_once(':').expect("a colon");
        table.extend(modules.split_whitespace().map(|module| (module, may.split_whitespace().collect())));
    }
    table
}

struct Source {
    /// Below `host/src`.
    path: String,
    module: String,
    tokens: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = repository().join("host/src");
    let mut sources = Vec::new();
    for file in files(&root) {
        let path = file.strip_prefix(&root).expect("below the root").to_str().expect("a name in UTF-8").to_owned();
        let only_tests = Path::new(&path).file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"));
        if only_tests || path.contains("/tests/") {
            continue;
        }
        let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        sources.push(Source { tokens: tokens(&file), module, path });
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// The modules that follow `crate::`: of `crate::a::B`, and of `crate::{a::B, c}`.
fn named(tokens: &[String]) -> BTreeSet<&str> {
    let text = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut found = BTreeSet::new();
    for index in 0..tokens.len() {
        if text(index) != "crate" || text(index + 1) != "::" {
            continue;
        }
        if text(index + 2) != "{" {
            found.insert(text(index + 2));
            continue;
        }
        let (mut depth, mut at, mut begins) = (1, index + 3, true);
        while depth > 0 && at < tokens.len() {
            match text(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => begins = true,
                word if begins => {
                    found.insert(word);
                    begins = false;
                }
                _ => {}
            }
            at += 1;
        }
    }
    found
}

#[test]
fn modules_name_only_those_below_them() {
    let allowed = table();
    let mut wrong = Vec::new();
    for source in sources() {
        if matches!(source.path.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let Some(may) = allowed.get(source.module.as_str()) else {
            wrong.push(format!("{}: the module {} is not in the table", source.path, source.module));
            continue;
        };
        for name in named(&source.tokens) {
            if name != source.module && !may.contains(name) {
                wrong.push(format!("{}: {} names {name}", source.path, source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let mut placed = BTreeSet::new();
    let mut left = table();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|module, may| {
            let ready = may.is_subset(&placed);
            if ready {
                placed.insert(*module);
            }
            !ready
        });
        assert!(left.len() < before, "these name each other in a circle, or one is missing: {left:?}");
    }
}

#[test]
fn some_words_belong_in_one_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (patterns, places, reason) in WORDS {
            if places.iter().any(|place| source.path == *place || (place.ends_with('/') && source.path.starts_with(place))) {
                continue;
            }
            for pattern in *patterns {
                let pattern: Vec<&str> = pattern.split(' ').collect();
                let times = source.tokens.windows(pattern.len()).filter(|window| window.iter().eq(&pattern)).count();
                if times > 0 {
                    wrong.push(format!("{}: `{}`, {times} times: {reason}", source.path, pattern.concat()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What an instruction means is its handler's to know: the host has FROM and ARG, which are grammar.
#[test]
fn the_host_names_no_instruction() {
    let host = Keywords::new();
    let names: Vec<String> =
        standard_keywords().names().filter(|name| host.get(name).is_none()).map(|name| format!("\"{name}\"")).collect();
    assert!(names.len() > 10, "the standard instructions were not found");
    let root = repository().join("host/src");
    let mut wrong = Vec::new();
    for source in sources() {
        let literals = tokens_and_literals(&root.join(&source.path));
        let named = literals.iter().filter(|literal| names.contains(literal));
        wrong.extend(named.map(|literal| format!("{}: {literal}", source.path)));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_what_waits_is_async() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !SYNCHRONOUS.contains(&source.module.as_str()) {
            continue;
        }
        if source.tokens.iter().any(|token| token == "async") {
            wrong.push(source.path);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let root = repository().join("host/src");
    let silent: Vec<_> = files(&root)
        .into_iter()
        .filter(|file| file.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs" || name == "main.rs"))
        .filter(|file| !std::fs::read_to_string(file).expect("a readable file").starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "without a first line that says what it owns: {silent:?}");
}
