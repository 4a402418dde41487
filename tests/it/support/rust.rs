//! Rust source as tokens: comments, strings and tests out of the way.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A token, flat: a group is its brackets with what lies between.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

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

/// The tokens of a file, without what only the tests see.
pub fn tokens(file: &Path) -> Vec<Token> {
    let text = fs::read_to_string(file).expect("a readable file");
    let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, out: &mut Vec<Token>) {
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
                out.push(Token { text: open.to_owned(), line: group.span_open().start().line });
                flatten(group.stream(), out);
                out.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            // A string may hold anything; no rule looks into one.
            TokenTree::Literal(literal) => out.push(Token { text: "\"\"".to_owned(), line: literal.span().start().line }),
            other => out.push(Token { text: other.to_string(), line: other.span().start().line }),
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
