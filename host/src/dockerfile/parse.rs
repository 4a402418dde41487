use super::arguments::{is_blank, json_strings, parse_arguments};
use super::directive::Directives;
use super::error::{ParseError, ParseErrorKind, ParseErrors, suggest};
use super::flags::{check_flags, take_flags};
use super::heredoc::heredocs_of;
use super::instruction::{Arguments, FromInstruction, Instruction};
use super::keyword::{ArgumentForm, Keyword, Keywords};
use super::lines::{LogicalLine, Reader};
use super::lint::{Rule, rules};
use super::source::{Source, Span, cut, printable};

/// How many errors are reported at once.
const MAX_ERRORS: usize = 50;
/// How many instructions a file may have. Each is handed to its handler with all variables in force: the work grows with the square of
/// their number.
const MAX_INSTRUCTIONS: usize = 5_000;
/// How many stages a file may have. Each may be based on the one before, and the build goes as deep.
const MAX_STAGES: usize = 500;

/// A Dockerfile without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The directives of its first lines.
    pub directives: Directives,
    /// The ARG instructions before the first FROM.
    pub global_args: Vec<Instruction>,
    /// In the order written; never empty.
    pub stages: Vec<StageSource>,
    /// What is odd without being wrong.
    pub warnings: Vec<Warning>,
    /// FROM instructions that cannot be read; none in a Dockerfile without errors.
    pub unread: Vec<Instruction>,
}

/// One stage as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSource {
    /// Its first line.
    pub from: FromInstruction,
    /// What follows, up to the next FROM.
    pub instructions: Vec<Instruction>,
}

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The build check that says so; none for what no check can be asked to leave out.
    pub rule: Option<&'static Rule>,
    /// One sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// The instructions of a text, with neither their keywords nor their flags checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syntactic {
    /// The directives of the first lines.
    pub directives: Directives,
    /// In the order written. One with an unknown keyword has empty text as its arguments.
    pub instructions: Vec<Instruction>,
    /// What is odd.
    pub warnings: Vec<Warning>,
    /// What cannot be read.
    pub errors: Vec<ParseError>,
}

impl Dockerfile {
    /// All instructions in the order written.
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        let stages = self.stages.iter().flat_map(|stage| std::iter::once(&stage.from.instruction).chain(&stage.instructions));
        self.global_args.iter().chain(stages)
    }
}

/// Parses a Dockerfile.
///
/// # Errors
/// All that is wrong, as far as one error does not hide another.
pub fn parse(source: &Source, keywords: &Keywords) -> Result<Dockerfile, ParseErrors> {
    match parse_all(source, keywords) {
        (file, None) => Ok(file),
        (_, Some(errors)) => Err(errors),
    }
}

/// Parses a Dockerfile as far as it goes: what is wrong with it, and what is left of it without the instructions that are wrong.
pub fn parse_all(source: &Source, keywords: &Keywords) -> (Dockerfile, Option<ParseErrors>) {
    let Syntactic { directives, instructions, mut warnings, mut errors } = parse_syntax(source, keywords);
    if let Some(syntax) = directives.syntax.as_ref().filter(|syntax| !syntax.is_dockerfile()) {
        let message = format!("the frontend {} is not run, the file is read as a Dockerfile", cut(&printable(&syntax.reference)));
        warnings.push(Warning { rule: None, message, span: syntax.span.clone() });
    }
    let mut file = Dockerfile { directives, global_args: Vec::new(), stages: Vec::new(), warnings, unread: Vec::new() };
    let readable = errors.is_empty();
    let mut first_stray = None;
    let mut headed = false;
    // What stands below a FROM that cannot be read belongs to no stage.
    let mut lost = false;
    for mut instruction in instructions {
        let before = errors.len();
        check(&mut instruction, keywords, &mut errors);
        if errors.len() > before && instruction.name != "FROM" {
            continue;
        }
        if instruction.name == "FROM" {
            headed = true;
            let span = instruction.span.clone();
            if file.stages.len() == MAX_STAGES {
                errors.push(ParseError { kind: ParseErrorKind::TooManyStages(MAX_STAGES), span });
                break;
            }
            match FromInstruction::new(instruction.clone()) {
                Ok(from) => {
                    lost = false;
                    file.stages.push(StageSource { from, instructions: Vec::new() });
                }
                Err(kind) => {
                    lost = true;
                    file.unread.push(instruction);
                    errors.push(ParseError { kind, span });
                }
            }
        } else if lost {
            continue;
        } else if let Some(stage) = file.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if instruction.name == "ARG" {
            file.global_args.push(instruction);
        } else if !headed {
            first_stray.get_or_insert(instruction);
        }
    }
    if let Some(stray) = first_stray.filter(|stray| keywords.get(&stray.name).is_some()) {
        errors.push(ParseError { kind: ParseErrorKind::BeforeFrom(stray.name), span: stray.span });
    } else if errors.is_empty() && readable && file.stages.is_empty() {
        let kind = match source.text.as_str() {
            "" => ParseErrorKind::Empty,
            _ if file.global_args.is_empty() => ParseErrorKind::NoInstructions,
            _ => ParseErrorKind::NoStages,
        };
        errors.push(ParseError { kind, span: Span::lines(1, 1) });
    }
    let errors = if errors.is_empty() { None } else { Some(sorted(errors)) };
    (file, errors)
}

/// Reads the instructions of a text and checks only what is needed to tell them apart. For tools; a build wants `parse`.
pub fn parse_syntax(source: &Source, keywords: &Keywords) -> Syntactic {
    let mut errors = Vec::new();
    let directives = Directives::read(&source.text, &mut errors);
    let mut reader = Reader::new(&source.text, directives.escape, directives.lines);
    let mut result = Syntactic { errors, ..Syntactic::default() };
    while result.errors.len() < MAX_ERRORS {
        let line = match reader.logical() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(kind) => {
                // What the line would have said is not known, so neither is what follows.
                result.errors.push(ParseError { kind, span: Span::lines(reader.line(), reader.line()) });
                break;
            }
        };
        if result.instructions.len() == MAX_INSTRUCTIONS {
            result.errors.push(ParseError { kind: ParseErrorKind::TooManyInstructions(MAX_INSTRUCTIONS), span: line.span() });
            break;
        }
        if line.blank_inside {
            let rule = Some(&rules::NO_EMPTY_CONTINUATION);
            result.warnings.push(Warning { rule, message: "Empty continuation line".to_owned(), span: Span::lines(line.last, line.last) });
        }
        let span = line.span();
        let read = instruction(line, keywords, directives.escape).and_then(|mut instruction| {
            for heredoc in &mut instruction.heredocs {
                reader.heredoc(heredoc)?;
            }
            instruction.span.end_line = reader.line();
            Ok(instruction)
        });
        match read {
            Ok(instruction) => result.instructions.push(instruction),
            Err(kind) => result.errors.push(ParseError { kind, span }),
        }
    }
    result.directives = directives;
    result
}

/// Parses the text of an ONBUILD trigger: one instruction and the bodies of its heredocs.
///
/// # Errors
/// All that is wrong with it; lines are counted within the text.
pub fn parse_trigger(text: &str, keywords: &Keywords) -> Result<Instruction, ParseErrors> {
    let Syntactic { mut instructions, mut errors, .. } = parse_syntax(&Source::new("trigger", text), keywords);
    if errors.is_empty() && instructions.len() != 1 {
        errors.push(ParseError { kind: ParseErrorKind::TriggerCount(instructions.len()), span: Span::lines(1, 1) });
    }
    for instruction in &mut instructions {
        let stays = keywords.get(&instruction.name).is_some_and(|keyword| keyword.stage_only);
        if stays {
            errors.push(ParseError { kind: ParseErrorKind::Trigger(instruction.name.clone()), span: instruction.span.clone() });
        } else {
            check(instruction, keywords, &mut errors);
        }
    }
    match instructions.pop().filter(|_| errors.is_empty()) {
        Some(instruction) => Ok(instruction),
        None => Err(sorted(errors)),
    }
}

/// In the order of the lines, and no more than anybody would read.
fn sorted(mut errors: Vec<ParseError>) -> ParseErrors {
    errors.sort_by_key(|error| error.span.start_line);
    if errors.len() > MAX_ERRORS {
        errors.truncate(MAX_ERRORS);
        let span = errors.last().map(|error| error.span.clone()).unwrap_or_default();
        errors.push(ParseError { kind: ParseErrorKind::TooManyErrors, span });
    }
    ParseErrors { errors }
}

/// Reads a logical line. Heredocs have no content yet.
fn instruction(line: LogicalLine, keywords: &Keywords, escape: char) -> Result<Instruction, ParseErrorKind> {
    let start = line.text.len() - line.text.trim_start().len();
    let trimmed = line.text.trim();
    let end = start + trimmed.len();
    let word = trimmed.split(is_blank).next().unwrap_or_default();
    let (flags, offset) = take_flags(&line, start + word.len());
    let text = line.text.get(offset..end).unwrap_or_default().trim();
    let mut span = line.span();
    span.columns = line.part(start, trimmed.len()).columns;
    let keyword = keywords.get(word);
    let mut result = Instruction {
        name: word.to_ascii_uppercase(),
        keyword: word.to_owned(),
        flags,
        arguments: Arguments::Text(String::new()),
        heredocs: Vec::new(),
        span,
        original: String::new(),
        comments: Vec::new(),
    };
    if let Some(keyword) = keyword {
        result.arguments = parse_arguments(keyword, text, escape)?;
        if may_hold_heredocs(keyword, &result.arguments, keywords) {
            result.heredocs = heredocs_of(&line.text)?;
        }
    }
    (result.original, result.comments) = (line.text, line.comments);
    Ok(result)
}

/// Whether `<<` in the arguments opens a heredoc: not in a JSON array, and where the arguments are an instruction themselves, only if
/// that one takes heredocs.
fn may_hold_heredocs(keyword: &Keyword, arguments: &Arguments, keywords: &Keywords) -> bool {
    let nested = || match arguments {
        Arguments::Text(text) if keyword.form == ArgumentForm::Text => Some(text),
        _ => None,
    };
    if !keyword.heredocs || matches!(arguments, Arguments::Exec(_)) {
        return false;
    }
    let Some(text) = nested() else { return true };
    let (word, rest) = text.split_once(is_blank).unwrap_or((text, ""));
    let json = rest.contains('[') && matches!(json_strings(rest.trim()), Ok(Some(_)));
    keywords.get(word).is_none_or(|inner| inner.heredocs && !json)
}

/// Checks the keyword, the flags and what the host can tell of the arguments.
fn check(instruction: &mut Instruction, keywords: &Keywords, errors: &mut Vec<ParseError>) {
    if errors.len() > MAX_ERRORS {
        return;
    }
    let whole = instruction.span.clone();
    let Some(keyword) = keywords.get(&instruction.name) else {
        let suggestion = suggest(&instruction.keyword, keywords.names());
        let kind = ParseErrorKind::UnknownInstruction { word: cut(&printable(&instruction.keyword)), suggestion };
        let length = u32::try_from(instruction.keyword.len()).unwrap_or(u32::MAX);
        let columns = whole.columns.clone().map(|columns| columns.start..columns.end.min(columns.start.saturating_add(length)));
        errors.push(ParseError { kind, span: Span { end_line: whole.start_line, columns, ..whole } });
        return;
    };
    check_flags(&mut instruction.flags, keyword, &mut |kind, span| errors.push(ParseError { kind, span }));
    if let Some(kind) = instruction.check_arguments() {
        errors.push(ParseError { kind, span: whole });
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
