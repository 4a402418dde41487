use std::fmt;

use super::source::Span;

/// A keyword that cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeywordError {
    /// Two handlers want one keyword.
    #[error("the instruction {keyword} is claimed by both {first} and {second}, remove one of the two")]
    Taken {
        /// The keyword.
        keyword: String,
        /// Who claimed it first.
        first: String,
        /// Who claimed it again.
        second: String,
    },
    /// Two handlers have a rule of one name.
    #[error("the check {rule} is declared by both {first} and {second}, remove one of the two")]
    Rule {
        /// Its name.
        rule: String,
        /// Who declared it first.
        first: String,
        /// Who declared it again.
        second: String,
    },
    /// A name that no Dockerfile could use.
    #[error("{claimant} claims {keyword:?}, which is not an instruction's name: upper case letters, digits, - and _ in at most 64 bytes")]
    Name {
        /// The name.
        keyword: String,
        /// Who claims it.
        claimant: String,
    },
    /// A flag that could not be written, or is there twice.
    #[error("{claimant} declares the flag {flag:?} of {keyword} twice, or its name is not lower case letters, digits, - and _")]
    Flag {
        /// The instruction.
        keyword: String,
        /// The flag.
        flag: String,
        /// Who claims it.
        claimant: String,
    },
}

/// What is wrong with a Dockerfile: one or more errors, in the order of their lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors {
    /// Never empty.
    pub errors: Vec<ParseError>,
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [] => f.write_str("dockerfile parse error"),
            [only] => only.fmt(f),
            [first, rest @ ..] => write!(f, "{first} (and {} more)", rest.len()),
        }
    }
}

impl std::error::Error for ParseErrors {}

/// One error and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dockerfile parse error on line {}: {kind}", .span.start_line)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// Where.
    pub span: Span,
}

/// What can be wrong with a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Nothing at all.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// Comments and blank lines only.
    #[error("file with no instructions")]
    NoInstructions,
    /// ARG and nothing else.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// An instruction that needs a stage stands before the first FROM.
    #[error("no build stage in current context: {0} stands before the first FROM")]
    BeforeFrom(String),
    /// A physical line over the limit.
    #[error("dockerfile line greater than max allowed size of {0}")]
    LineTooLong(usize),
    /// A parser directive is there twice.
    #[error("only one {0} parser directive can be used")]
    RepeatedDirective(String),
    /// An escape character that is not one.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    Escape(String),
    /// A `check` directive that cannot be read.
    #[error("failed to parse check options: invalid check option {0:?}")]
    CheckOption(String),
    /// A keyword that nobody claims.
    #[error("unknown instruction: {word}{}", did_you_mean(.suggestion))]
    UnknownInstruction {
        /// As written.
        word: String,
        /// The keyword that was meant, perhaps.
        suggestion: Option<String>,
    },
    /// A flag that the keyword does not have.
    #[error("unknown flag: --{flag}{}", did_you_mean(.suggestion))]
    UnknownFlag {
        /// Without dashes.
        flag: String,
        /// The flag that was meant, perhaps.
        suggestion: Option<String>,
    },
    /// A flag twice that may stand once.
    #[error("duplicate flag specified: --{0}")]
    DuplicateFlag(String),
    /// A flag without its value.
    #[error("missing a value on flag: --{0}")]
    MissingValue(String),
    /// A switch with another value than true or false.
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    NotBoolean {
        /// Without dashes.
        flag: String,
        /// As written.
        value: String,
    },
    /// A JSON array with something else than strings in it.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    /// `ENV name` with no value.
    #[error("{0} must have two arguments")]
    TwoArguments(String),
    /// A word without `=` among pairs.
    #[error("syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEquals(String),
    /// A pair with no name.
    #[error("{0} names can not be blank")]
    BlankName(String),
    /// An instruction without arguments that needs some.
    #[error("{0} requires at least one argument")]
    NoArguments(String),
    /// A heredoc whose end is not there.
    #[error("unterminated heredoc: no line says {0}")]
    UnterminatedHeredoc(String),
    /// A heredoc's delimiter that cannot be read.
    #[error("heredoc delimiter {0:?} cannot be read")]
    HeredocDelimiter(String),
    /// FROM with two or more than three words.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A stage's name that is not one.
    #[error("invalid name for build stage: {0:?}, name can't start with a number or contain symbols")]
    StageName(String),
    /// An instruction that may not be a trigger.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    Trigger(String),
    /// A trigger of more or less than one instruction.
    #[error("an ONBUILD trigger is one instruction, not {0}")]
    TriggerCount(usize),
    /// More stages than anybody writes by hand.
    #[error("the file has more than {0} stages")]
    TooManyStages(usize),
    /// More instructions than anybody writes by hand.
    #[error("the file has more than {0} instructions")]
    TooManyInstructions(usize),
    /// So many errors that the rest is left out.
    #[error("too many errors, the rest of the file is not checked")]
    TooManyErrors,
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|word| format!(" (did you mean {word}?)")).unwrap_or_default()
}

/// The distance from which on two words have nothing to do with each other.
const FAR: usize = 3;
/// The longest word for which a nearest one is looked for, in bytes.
const LONGEST_WORD: usize = 64;

/// The option nearest to a word that is not one of them: at most two letters off, in any case.
pub fn suggest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = if word.len() <= LONGEST_WORD { word.to_lowercase() } else { return None };
    let distances = options.into_iter().map(|option| (strsim::levenshtein(&word, &option.to_lowercase()), option));
    distances.filter(|(distance, _)| *distance < FAR).min_by_key(|(distance, _)| *distance).map(|(_, option)| option.to_owned())
}

/// The option nearest to a word that is none of them, where case counts: at most two letters off, the first of several.
pub fn suggest_exactly<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut nearest: Option<(usize, &str)> = None;
    for option in options.into_iter().filter(|option| option.len() <= LONGEST_WORD && word.len() <= LONGEST_WORD) {
        // The word itself is known: something else is wrong.
        if option == word {
            return None;
        }
        let distance = strsim::levenshtein(word, option);
        if distance < FAR && nearest.is_none_or(|(least, _)| distance < least) {
            nearest = Some((distance, option));
        }
    }
    nearest.map(|(_, option)| option.to_owned())
}

/// An expansion that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {kind}")]
pub struct ExpandError {
    /// The word; a long one is cut.
    pub word: String,
    /// What is wrong with it.
    pub kind: ExpandErrorKind,
    /// Variables that were asked for on the way and are not set.
    pub unset: Vec<String>,
}

/// What can be wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// A quote without its other half.
    #[error("unexpected end of statement while looking for matching {0}")]
    UnmatchedQuote(&'static str),
    /// `${` without `}`, or `${name/` without the second `/`.
    #[error("syntax error: missing '{0}'")]
    Missing(char),
    /// `${}`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// An operator that is not one.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// A pattern that ends in an escape, or escapes what needs none.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '{escape}'")]
    Pattern {
        /// The whole pattern.
        pattern: String,
        /// The part that is wrong.
        escape: String,
    },
    /// `${name:?message}` and the variable is not there.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says, or why.
        message: String,
    },
    /// `${a:-${b:-…}}` beyond the limit.
    #[error("substitutions are nested more than {0} deep")]
    TooDeep(usize),
    /// A result beyond the limit.
    #[error("the result is over {0} bytes")]
    TooLong(usize),
    /// A pattern that takes too long.
    #[error("the pattern takes too long to match, use a shorter one")]
    TooSlow,
}
