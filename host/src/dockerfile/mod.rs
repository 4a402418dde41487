//! Text to instructions, told which keywords exist. No I/O: a Dockerfile is parsed from text that somebody else has read.
//!
//! `parse` gives stages of instructions as written; `expand_instruction` puts the values of variables in, when they are known.

mod arguments;
mod directive;
mod error;
mod expand;
mod expanded;
mod flags;
mod heredoc;
mod instruction;
mod keyword;
mod lines;
/// What is likely not meant.
pub mod lint;
mod parse;
mod source;
mod substitute;

pub use directive::{CheckOptions, Directives, Syntax};
pub use error::{ExpandError, ExpandErrorKind, KeywordError, ParseError, ParseErrorKind, ParseErrors, suggest, suggest_exactly};
pub use expand::{Environment, Expander, Expansion, MAX_EXPANDED, expand_raw, expand_word, expand_words};
pub use expanded::{ExpandedInstruction, expand_instruction, split_fields};
pub use instruction::{ArgDeclaration, Arguments, Flag, FromInstruction, Heredoc, Instruction, Pair};
pub use keyword::{ArgumentForm, FlagSpec, Keyword, Keywords};
pub use parse::{Dockerfile, StageSource, Syntactic, Warning, parse, parse_all, parse_syntax, parse_trigger};
pub use source::{Source, Span};
