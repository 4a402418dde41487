//! Answers about Dockerfiles as JSON, in the shapes that BuildKit gives them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::dockerfile::{Source, Span};

/// A place in one of the sources of an answer.
#[derive(Serialize)]
pub struct Location {
    ranges: [Range; 1],
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: u32,
}

/// A Dockerfile with its text.
#[derive(Serialize)]
pub struct SourceText {
    filename: String,
    language: &'static str,
    data: String,
}

impl From<&Span> for Location {
    fn from(span: &Span) -> Self {
        let position = |line| Position { line };
        Self { ranges: [Range { start: position(span.start_line), end: position(span.end_line) }] }
    }
}

impl From<&Source> for SourceText {
    fn from(source: &Source) -> Self {
        Self { filename: source.name.clone(), language: "Dockerfile", data: encoded(source) }
    }
}

/// The text of a source in base64.
pub fn encoded(source: &Source) -> String {
    STANDARD.encode(&source.text)
}

/// Writes an answer to standard output.
pub fn print(answer: &impl Serialize) -> anyhow::Result<()> {
    use std::io::Write as _;

    use anyhow::Context as _;
    let text = serde_json::to_string_pretty(answer).context("failed to write the answer")?;
    writeln!(std::io::stdout(), "{text}").context("failed to write to standard output")
}

/// Rows with their columns aligned, as BuildKit prints them.
pub fn table(gap: usize, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0) + gap;
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["NAME", "TEXT"], ["a", ""], ["longer", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(2, &rows), "NAME    TEXT\na\nlonger  x\n");
    }
}
