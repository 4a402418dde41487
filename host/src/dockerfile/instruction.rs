use std::borrow::Cow;

use super::error::ParseErrorKind;
use super::lines::without_tabs;
use super::source::{Span, cut, printable};

/// One instruction as written: nothing is expanded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword, upper case.
    pub name: String,
    /// The keyword as written.
    pub keyword: String,
    /// In the order written. Once checked, every flag has a value: a switch has `true` or `false`.
    pub flags: Vec<Flag>,
    /// By the form that the keyword declares.
    pub arguments: Arguments,
    /// In the order written. Their words (`<<EOF`) stay among the arguments.
    pub heredocs: Vec<Heredoc>,
    /// The line, continuations joined; without heredoc bodies.
    pub original: String,
    /// The lines it stands on, heredoc bodies included.
    pub span: Span,
    /// The comment lines above, without `#`; a bare `#` line sets those before it apart.
    pub comments: Vec<String>,
}

/// `--name=value`, or `--name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes.
    pub name: String,
    /// Quotes and escapes removed.
    pub value: Option<String>,
    /// Where it is.
    pub span: Span,
}

/// What follows the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// A JSON array.
    Exec(Vec<String>),
    /// Words; quotes are still there.
    Words(Vec<String>),
    /// Names and values; quotes are still there.
    Pairs(Vec<Pair>),
    /// The line.
    Text(String),
}

/// `name=value`, or the old `name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Never has `=` in it, unless in the old form.
    pub name: String,
    /// What follows.
    pub value: String,
    /// Whether it is written in the old form.
    pub legacy: bool,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, unquoted.
    pub name: String,
    /// The lines as written; see `body`.
    pub content: String,
    /// 3 for `3<<EOF`; 0 where none is written.
    pub descriptor: u32,
    /// Whether the delimiter is free of quotes, so that variables in the content count.
    pub expand: bool,
    /// Whether tabs that lead a line are dropped: `<<-`.
    pub chomp: bool,
}

/// A FROM instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromInstruction {
    /// The image or stage as written: quotes and variables are still there.
    pub image: String,
    /// `--platform` as written.
    pub platform: Option<String>,
    /// The stage's name, lower case.
    pub alias: Option<String>,
    /// The instruction itself.
    pub instruction: Instruction,
}

/// One name that an ARG instruction declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// As written; a name is never expanded.
    pub name: String,
    /// As written: quotes and variables are still there. None for `ARG NAME`, empty for `ARG NAME=`.
    pub default: Option<String>,
}

impl Instruction {
    /// The value of a flag that stands once; the first where it stands more often.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|flag| flag.name == name).and_then(|flag| flag.value.as_deref())
    }

    /// The names that an ARG instruction declares, in order. For any other instruction there are none.
    pub fn declarations(&self) -> Vec<ArgDeclaration> {
        let words = match &self.arguments {
            Arguments::Words(words) if self.name == "ARG" => words.as_slice(),
            _ => &[],
        };
        let declaration = |word: &String| match word.split_once('=') {
            Some((name, default)) => ArgDeclaration { name: name.to_owned(), default: Some(default.to_owned()) },
            None => ArgDeclaration { name: word.clone(), default: None },
        };
        words.iter().map(declaration).collect()
    }

    /// What is wrong with the arguments that the host itself can tell.
    pub(super) fn check_arguments(&self) -> Option<ParseErrorKind> {
        let blank = match &self.arguments {
            Arguments::Words(words) if self.name == "ARG" => {
                if words.is_empty() {
                    return Some(ParseErrorKind::NoArguments(self.name.clone()));
                }
                words.iter().any(|word| word.starts_with('='))
            }
            Arguments::Pairs(pairs) => pairs.iter().any(|pair| pair.name.is_empty()),
            _ => false,
        };
        blank.then(|| ParseErrorKind::BlankName(self.name.clone()))
    }
}

impl Heredoc {
    /// The content as it counts: without leading tabs where `<<-` says so.
    pub fn body(&self) -> Cow<'_, str> {
        if self.chomp { without_tabs(&self.content) } else { Cow::Borrowed(&self.content) }
    }
}

impl FromInstruction {
    /// Reads the words of a FROM.
    pub(super) fn new(instruction: Instruction) -> Result<Self, ParseErrorKind> {
        let words = match &instruction.arguments {
            Arguments::Words(words) => words.as_slice(),
            _ => &[],
        };
        let (image, alias) = match words {
            [image] => (image.clone(), None),
            [image, word, alias] if word.eq_ignore_ascii_case("as") => {
                let name = alias.to_lowercase();
                if !is_stage_name(&name) {
                    return Err(ParseErrorKind::StageName(cut(&printable(alias))));
                }
                (image.clone(), Some(name))
            }
            _ => return Err(ParseErrorKind::FromArguments),
        };
        let platform = instruction.flag("platform").map(str::to_owned);
        Ok(Self { image, platform, alias, instruction })
    }
}

/// A lower case letter, then lower case letters, digits, `-`, `_` and `.`.
fn is_stage_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(rest)
}
