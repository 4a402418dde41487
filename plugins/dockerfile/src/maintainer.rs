//! `MAINTAINER`: who made the image. Deprecated in favour of a label, and still read.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("MAINTAINER", ArgumentForm::Text).stage_only().warned_of(crate::rules::maintainer_deprecated())
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    Ok(vec![ConfigChange::Author(crate::exactly_one(instruction)?.to_owned()).into()])
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, lower, message, text};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn the_rest_of_the_line() {
        let operations = lower(&text("MAINTAINER", "Foo Bar <a@b>")).unwrap();
        assert_eq!(operations, [change(ConfigChange::Author("Foo Bar <a@b>".to_owned()))]);
        assert_eq!(message(&text("MAINTAINER", "")), "MAINTAINER requires exactly one argument");
    }
}
