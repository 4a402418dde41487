//! `USER`: who runs what follows.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("USER", ArgumentForm::Text).expanded()
}

/// Whether the user exists is seen where it is first needed. A variable that is empty makes it root again.
pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    Ok(vec![ConfigChange::User(crate::exactly_one(instruction)?.to_owned()).into()])
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, lower, message, text, written};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn users_are_kept_as_written() {
        for user in ["me", "me:grp", "1000:1000", "a b"] {
            assert_eq!(lower(&text("USER", user)).unwrap(), [change(ConfigChange::User(user.to_owned()))]);
        }
        assert_eq!(message(&text("USER", "")), "USER requires exactly one argument");
    }

    #[test]
    fn an_empty_variable_is_an_argument() {
        let operations = lower(&written("USER", "", "USER $NOPE")).unwrap();
        assert_eq!(operations, [change(ConfigChange::User(String::new()))]);
    }
}
