//! Shorthands for tests.

use layerwright_plugin::instruction::{Arguments, Instruction, Stage};
use layerwright_plugin::operation::{ConfigChange, Operation};
use layerwright_plugin::{Error, ErrorCode, Property};

pub(crate) fn stage() -> Stage {
    Stage::default()
}

pub(crate) fn text(name: &str, text: &str) -> Instruction {
    Instruction::new(name, Arguments::Text(text.to_owned()))
}

/// A text argument that the Dockerfile wrote in another way than it became.
pub(crate) fn written(name: &str, argument: &str, written: &str) -> Instruction {
    Instruction { text: written.to_owned(), ..text(name, argument) }
}

pub(crate) fn words(name: &str, words: &[&str]) -> Instruction {
    Instruction::new(name, Arguments::Words(words.iter().map(|&word| word.to_owned()).collect()))
}

pub(crate) fn exec(name: &str, words: &[&str]) -> Instruction {
    Instruction::new(name, Arguments::Exec(words.iter().map(|&word| word.to_owned()).collect()))
}

pub(crate) fn pairs(name: &str, pairs: &[(&str, &str)]) -> Instruction {
    Instruction::new(name, Arguments::Pairs(pairs.iter().map(|&(name, value)| Property::new(name, value)).collect()))
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    crate::lower(instruction, &stage()).map(|lowered| lowered.operations)
}

/// The message of an instruction that is wrong.
pub(crate) fn message(instruction: &Instruction) -> String {
    let error = lower(instruction).unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
    error.message
}

pub(crate) fn change(change: ConfigChange) -> Operation {
    change.into()
}
