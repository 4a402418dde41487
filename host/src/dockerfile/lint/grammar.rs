use std::collections::BTreeSet;

use super::casing::{self, Casing};
use super::rule::{Rule, host};
use crate::dockerfile::{Arguments, Dockerfile, FromInstruction, Instruction, Keywords, Span};

/// Names that mean something else than a stage.
const RESERVED_STAGES: &[&str] = &["context", "scratch"];

/// Takes one finding: the rule, what it says, where, and the comments above the instruction.
type Report<'a> = dyn FnMut(&Rule, String, &Span, &[String]) + 'a;

/// Applies the rules about how a file is written, whether its stages are built or not.
pub fn grammar(file: &Dockerfile, keywords: &Keywords, report: &mut Report<'_>) {
    let in_order: Vec<&Instruction> = file.instructions().collect();
    for warning in &file.warnings {
        if let Some(rule) = warning.rule {
            let line = warning.span.start_line;
            let next = in_order.partition_point(|instruction| instruction.span.start_line <= line);
            let here = next.checked_sub(1).and_then(|index| in_order.get(index)).filter(|instruction| line <= instruction.span.end_line);
            report(rule, warning.message.clone(), &warning.span, here.map(|i| i.comments.as_slice()).unwrap_or_default());
        }
    }
    for instruction in file.instructions().chain(&file.unread) {
        instruction_rules(instruction, keywords, report);
    }
    let mut names = BTreeSet::new();
    for stage in &file.stages {
        stage_name(&stage.from, &mut names, report);
    }
    let all = || file.stages.iter().flat_map(|stage| std::iter::once(&stage.from.instruction).chain(&stage.instructions));
    let casing = Casing::of_most(all().map(|instruction| instruction.keyword.as_str()));
    for instruction in all().filter(|instruction| !casing.fits(&instruction.keyword)) {
        let message = format!("Command '{}' should match the case of the command majority ({})", instruction.keyword, casing.name());
        report(&host::CONSISTENT_INSTRUCTION_CASING, message, &instruction.span, &instruction.comments);
    }
}

fn instruction_rules(instruction: &Instruction, keywords: &Keywords, report: &mut Report<'_>) {
    let standing = keywords.get(&instruction.name).and_then(|keyword| keyword.warning.as_ref());
    if let Some((warning, rule)) = standing.and_then(|warning| Some((warning, keywords.rule(&warning.rule)?))) {
        report(rule, warning.message.clone(), &instruction.span, &instruction.comments);
    }
    match (instruction.name.as_str(), &instruction.arguments) {
        ("FROM", Arguments::Words(words)) => {
            if let [_, word, name] = words.as_slice() {
                from_rules(instruction, word, name, report);
            }
        }
        ("ARG", _) => {
            let names: Vec<_> = instruction.declarations().into_iter().map(|declaration| declaration.name).collect();
            description(instruction, &names, report);
        }
        _ => {}
    }
}

fn from_rules(instruction: &Instruction, word: &str, name: &str, report: &mut Report<'_>) {
    if name != name.to_lowercase() {
        report(&host::STAGE_NAME_CASING, format!("Stage name '{name}' should be lowercase"), &instruction.span, &instruction.comments);
    }
    // A keyword of mixed case is a matter of another rule.
    if casing::of(&instruction.keyword).is_some_and(|casing| !casing.fits(word)) {
        let message = format!("'{word}' and '{}' keywords' casing do not match", instruction.keyword);
        report(&host::FROM_AS_CASING, message, &instruction.span, &instruction.comments);
    }
    description(instruction, &[name.to_lowercase()], report);
}

/// The comment right above a definition should describe it.
fn description(instruction: &Instruction, names: &[String], report: &mut Report<'_>) {
    let Some(comment) = instruction.comments.last() else { return };
    let first = comment.split(' ').next().unwrap_or_default();
    let example = match names {
        [] => return,
        [only] => only.as_str(),
        _ => "<arg_key>",
    };
    if !names.iter().any(|name| name == first) {
        let message = format!("Comment for {} should follow the format: `# {example} <description>`", instruction.name);
        report(&host::INVALID_DEFINITION_DESCRIPTION, message, &instruction.span, &instruction.comments);
    }
}

fn stage_name<'a>(from: &'a FromInstruction, names: &mut BTreeSet<&'a str>, report: &mut Report<'_>) {
    let Some(name) = &from.alias else { return };
    let (span, comments) = (&from.instruction.span, from.instruction.comments.as_slice());
    if RESERVED_STAGES.contains(&name.as_str()) {
        let message = format!("Stage name should not use the same name as reserved stage {name:?}");
        report(&host::RESERVED_STAGE_NAME, message, span, comments);
    }
    if !names.insert(name) {
        report(&host::DUPLICATE_STAGE_NAME, format!("Duplicate stage name {name:?}, stage names should be unique"), span, comments);
    }
}

#[cfg(test)]
mod tests {
    use crate::dockerfile::{ArgumentForm, Keyword, Keywords, Source, parse};

    use super::super::RuleMessage;
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let mut keywords = Keywords::new();
        let old = Rule::declared("OldHat".to_owned(), "it is out of use".to_owned(), None, false);
        keywords.claim_rule("test", old).unwrap();
        let warning = Some(RuleMessage { rule: "OldHat".to_owned(), message: "do not".to_owned() });
        keywords.claim("test", Keyword { warning, ..Keyword::new("OLD", ArgumentForm::Text) }).unwrap();
        keywords.claim("test", Keyword::new("RUN", ArgumentForm::Text)).unwrap();
        let file = parse(&Source::new("D", text), &keywords).unwrap();
        let mut found = Vec::new();
        grammar(&file, &keywords, &mut |rule, message, span, _| found.push(format!("{} {}: {message}", span.start_line, rule.name)));
        found
    }

    #[test]
    fn words_of_one_file_have_one_case() {
        assert_eq!(
            findings("FROM a as Stage\nrun x\nRun y\nRUN z\n"),
            [
                "1 StageNameCasing: Stage name 'Stage' should be lowercase",
                "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match",
                "2 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
                "3 ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase)",
            ]
        );
        assert!(findings("from a as b\nrun x\n").is_empty() && findings("FROM a AS b\nRUN x\n").is_empty());
    }

    #[test]
    fn names_of_stages_are_their_own() {
        assert_eq!(
            findings("FROM a AS b\nFROM a AS B\nFROM a AS scratch\n"),
            [
                "2 StageNameCasing: Stage name 'B' should be lowercase",
                "2 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique",
                "3 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
            ]
        );
    }

    #[test]
    fn comments_describe_what_they_stand_above() {
        assert_eq!(
            findings("# one\nARG a\n# two\nARG b c\n# d is fine\nARG d\n#\nFROM a AS e\n"),
            [
                "2 InvalidDefinitionDescription: Comment for ARG should follow the format: `# a <description>`",
                "4 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
            ]
        );
    }

    #[test]
    fn a_keyword_may_be_warned_of_wherever_it_stands() {
        assert_eq!(findings("FROM a\nOLD x\nFROM b\n"), ["2 OldHat: do not"]);
    }
}
