//! Build checks: what is likely not meant, though it is not wrong.
//!
//! Rules have the names, words and pages that BuildKit gives them. This module owns the values and the rules about a file's grammar; those
//! about scope and operations are found while instructions are lowered, and those about what an instruction means come from its handler.

mod casing;
mod grammar;
mod rule;

pub use grammar::grammar;
pub use rule::{Rule, host as rules};

use super::directive::CheckOptions;
use super::source::Span;

/// What a rule says of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMessage {
    /// The rule's name.
    pub rule: String,
    /// One sentence without a full stop.
    pub message: String,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is broken.
    pub rule: Rule,
    /// One sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} (line {})", self.rule.name, self.message, self.span.start_line)
    }
}

impl CheckOptions {
    /// Whether a rule is to be applied.
    pub fn applies(&self, rule: &Rule) -> bool {
        let named = |list: &[String]| matches!(list, [all] if all == "all") || list.iter().any(|name| *name == rule.name);
        if rule.experimental { named(&self.experimental) } else { !named(&self.skip) }
    }

    /// The same for an instruction with these comment lines right above it: `check=…` in one of them counts too.
    pub fn applies_below(&self, rule: &Rule, comments: &[String]) -> bool {
        let own = Self::above(comments);
        let asked = rule.experimental && own.as_ref().is_some_and(|own| own.applies(rule));
        let skipped = !rule.experimental && own.as_ref().is_some_and(|own| !own.applies(rule));
        asked || (self.applies(rule) && !skipped)
    }

    /// The options in an instruction's comments: of the first line that has any.
    fn above(comments: &[String]) -> Option<Self> {
        let value = |comment: &String| {
            let (key, value) = comment.split_once('=')?;
            let known = key.trim().eq_ignore_ascii_case("check");
            known.then(|| value.trim().split(' ').next().unwrap_or_default().to_owned())
        };
        Self::parse(&comments.iter().find_map(value)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(value: &str) -> CheckOptions {
        CheckOptions::parse(value).unwrap()
    }

    #[test]
    fn rules_are_left_out_by_name_or_all_at_once() {
        let rule = &rules::STAGE_NAME_CASING;
        assert!(options("").applies(rule) && options("skip=UndefinedVar").applies(rule));
        assert!(!options("skip=UndefinedVar, StageNameCasing").applies(rule) && !options("skip=all").applies(rule));
    }

    #[test]
    fn an_experimental_rule_is_applied_where_it_is_asked_for() {
        let rule = &rules::INVALID_DEFINITION_DESCRIPTION;
        assert!(!options("").applies(rule) && !options("experimental=Other").applies(rule));
        assert!(options("experimental=all").applies(rule) && options("experimental=InvalidDefinitionDescription").applies(rule));
        assert!(options("skip=all;experimental=all").applies(rule));
    }

    #[test]
    fn the_first_options_above_an_instruction_count() {
        let above = |lines: &[&str]| CheckOptions::above(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
        assert_eq!(above(&["note", "check=skip=A because", "check=skip=B"]), Some(options("skip=A")));
        assert_eq!(above(&["check = skip=A"]), Some(options("skip=A")));
        assert_eq!(above(&["checks=skip=A"]), None);
        assert_eq!(above(&["check=nonsense"]), None);
    }
}
