//! `LABEL`: what the image says of itself.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::Operation;

pub(crate) fn keyword() -> Keyword {
    Keyword::new("LABEL", ArgumentForm::Pairs).expanded()
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let pairs = crate::env::named_pairs(instruction)?;
    Ok(pairs.iter().map(|pair| Operation::label(pair.name.clone(), pair.value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use crate::testing::{lower, message, pairs};
    use layerwright_plugin::operation::Operation;

    #[test]
    fn labels() {
        let operations = lower(&pairs("LABEL", &[("com.x", "A B"), ("v", "1")])).unwrap();
        assert_eq!(operations, [Operation::label("com.x", "A B"), Operation::label("v", "1")]);
        assert_eq!(message(&pairs("LABEL", &[])), "LABEL requires at least one argument");
        assert_eq!(message(&pairs("LABEL", &[("", "2")])), "LABEL names can not be blank");
    }
}
