//! `ENV`: the image's environment.

use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::Operation;
use layerwright_plugin::{Error, Property};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("ENV", ArgumentForm::Pairs).expanded()
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let set = |pair: &Property| Operation::env(pair.name.clone(), pair.value.clone());
    Ok(named_pairs(instruction)?.iter().map(set).collect())
}

/// The pairs of an instruction, at least one, each with a name.
pub(crate) fn named_pairs(instruction: &Instruction) -> Result<&[Property], Error> {
    let pairs = instruction.pairs();
    if pairs.is_empty() {
        return Err(crate::at_least_one(instruction));
    }
    if pairs.iter().any(|pair| pair.name.is_empty()) {
        return Err(Error::invalid(format!("{} names can not be blank", instruction.name)));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use crate::testing::{lower, message, pairs};
    use layerwright_plugin::operation::Operation;

    #[test]
    fn pairs_keep_their_order() {
        let operations = lower(&pairs("ENV", &[("b", "2 3"), ("a", ""), ("b", "4")])).unwrap();
        assert_eq!(operations, [Operation::env("b", "2 3"), Operation::env("a", ""), Operation::env("b", "4")]);
    }

    #[test]
    fn names_are_needed() {
        assert_eq!(message(&pairs("ENV", &[])), "ENV requires at least one argument");
        assert_eq!(message(&pairs("ENV", &[("a", "1"), ("", "2")])), "ENV names can not be blank");
    }
}
