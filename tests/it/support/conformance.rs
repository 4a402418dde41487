//! The conformance data: what other tools make of the same inputs. It is not part of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use layerwright::dockerfile::Source;
use serde_json::Value;

/// Where the data lies: `LAYERWRIGHT_CONFORMANCE`, else beside the repository.
pub fn directory() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance");
    let directory = std::env::var_os("LAYERWRIGHT_CONFORMANCE").map_or_else(|| beside.into(), PathBuf::from);
    assert!(directory.is_dir(), "no conformance data in {}, set LAYERWRIGHT_CONFORMANCE", directory.display());
    directory
}

/// The text of a data file.
pub fn text(name: &str) -> String {
    let path = directory().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of a file that has one JSON value a line, as input and output.
pub fn rows(name: &str) -> Vec<(Value, Value)> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
    let rows: Vec<_> = text(name).lines().map(parse).map(|row| (row["in"].clone(), row["out"].clone())).collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    rows
}

/// The rows of a file that is one JSON array.
pub fn table(name: &str) -> Vec<Value> {
    let rows: Vec<Value> = serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!rows.is_empty(), "{name} has no rows");
    rows
}

/// The files below a directory whose name ends so, sorted.
pub fn files(below: &str, end: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&directory().join(below), end, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no *{end} below {below}");
    files
}

fn collect(directory: &Path, end: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, end, files);
        } else if path.to_string_lossy().ends_with(end) {
            files.push(path);
        }
    }
}

/// What differed, shown together: one difference seldom comes alone.
#[derive(Default)]
pub struct Differences {
    checked: usize,
    excused: Vec<String>,
    found: Vec<String>,
}

impl Differences {
    /// Notes one comparison.
    pub fn check(&mut self, what: impl FnOnce() -> String, same: bool) {
        self.checked += 1;
        if !same {
            self.found.push(what());
        }
    }

    /// Notes a comparison that differs on purpose.
    pub fn excuse(&mut self, what: String, reason: &str) {
        self.checked += 1;
        self.excused.push(format!("{what}: {reason}"));
    }

    /// Fails if anything differed, or nothing was compared.
    pub fn finish(self) {
        println!("{} compared, {} differ on purpose\n{}", self.checked, self.excused.len(), self.excused.join("\n"));
        assert!(self.checked > 0, "nothing was compared");
        assert!(self.found.is_empty(), "{} of {} differ\n{}", self.found.len(), self.checked, self.found.join("\n"));
    }
}

/// Compares every edge case: its name, its Dockerfile, what else was asked, and what came of it.
pub fn edge_cases(compare: impl Fn(&mut Differences, &str, Source, &Value, &Value)) {
    let mut differences = Differences::default();
    for (input, output) in rows("vectors/oracle/dockerfile-cases.jsonl") {
        let source = Source::new("Dockerfile", input["dockerfile"].as_str().expect("a Dockerfile"));
        compare(&mut differences, input["id"].as_str().expect("a name"), source, &input, &output);
    }
    differences.finish();
}

/// Compares every Dockerfile of other tools: its name, the Dockerfile, and what came of it.
pub fn dockerfiles_of_other_tools(compare: impl Fn(&mut Differences, &str, Source, &Value)) {
    let mut differences = Differences::default();
    let oracle = directory().join("oracle");
    for path in files("oracle", ".json") {
        let name = path.strip_prefix(&oracle).expect("it lies there").with_extension("");
        let Ok(bytes) = fs::read(directory().join(&name)) else { panic!("no Dockerfile for {}", name.display()) };
        let output: Value = serde_json::from_slice(&fs::read(&path).expect("it is readable")).expect("it is JSON");
        compare(&mut differences, &name.to_string_lossy(), Source::from_bytes("Dockerfile", &bytes), &output);
    }
    differences.finish();
}
