//! Rust source as tokens: comments, strings and tests out of the way.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// Every file of Rust below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The tokens of a file in order, without what only the tests see. A group is its brackets with what lies between; `::` is one token.
pub fn tokens(file: &Path) -> Vec<String> {
    read(file, false)
}

/// As `tokens`, with the text of literals.
pub fn tokens_and_literals(file: &Path) -> Vec<String> {
    read(file, true)
}

fn read(file: &Path, literals: bool) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a readable file");
    let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens, literals);
    tokens
}

fn flatten(stream: TokenStream, out: &mut Vec<String>, literals: bool) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let mut index = 0;
    while index < trees.len() {
        if let (TokenTree::Punct(mark), Some(TokenTree::Group(attribute))) = (&trees[index], trees.get(index + 1))
            && mark.as_char() == '#'
            && is_for_tests(attribute)
        {
            index = after_item(&trees, index + 2);
            continue;
        }
        match &trees[index] {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                out.push(open.to_owned());
                flatten(group.stream(), out, literals);
                out.push(close.to_owned());
            }
            TokenTree::Literal(literal) if literals => out.push(literal.to_string()),
            // A string may hold anything.
            TokenTree::Literal(_) => out.push("\"\"".to_owned()),
            TokenTree::Punct(first) if first.as_char() == ':' && first.spacing() == Spacing::Joint => {
                out.push("::".to_owned());
                index += 1;
            }
            other => out.push(other.to_string()),
        }
        index += 1;
    }
}

/// `[cfg(test)]` or `[test]`.
fn is_for_tests(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    matches!(text.as_str(), "cfg(test)" | "test")
}

/// The place after the item that begins at `index`: behind its braces or its semicolon.
fn after_item(trees: &[TokenTree], mut index: usize) -> usize {
    while let Some(tree) = trees.get(index) {
        index += 1;
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(mark) if mark.as_char() == ';' => break,
            _ => {}
        }
    }
    index
}
