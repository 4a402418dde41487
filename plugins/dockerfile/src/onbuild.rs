//! `ONBUILD`: an instruction for images built from this one.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("ONBUILD", ArgumentForm::Text).with_heredocs().stage_only()
}

/// The text is kept as it is; what it means is seen where it runs.
pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let trigger = instruction.text_argument().trim();
    let name = trigger.split_whitespace().next().ok_or_else(|| crate::at_least_one(instruction))?.to_ascii_uppercase();
    match name.as_str() {
        "ONBUILD" => return Err(Error::invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "FROM" | "MAINTAINER" => return Err(Error::invalid(format!("{name} isn't allowed as an ONBUILD trigger"))),
        _ => {}
    }
    let text = crate::heredoc::append(trigger, &instruction.heredocs);
    Ok(vec![ConfigChange::OnBuild(text).into()])
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, lower, message, text};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn the_text_is_kept() {
        for trigger in ["RUN a  b", "copy . /x", "ENV a=$b", "FOO x", "COPY --from=x --chown=1 a b"] {
            assert_eq!(lower(&text("ONBUILD", trigger)).unwrap(), [change(ConfigChange::OnBuild(trigger.to_owned()))]);
        }
    }

    #[test]
    fn bodies_come_along() {
        let instruction = text("ONBUILD", "RUN cat <<A <<B").with_heredoc("A", "a\n").with_heredoc("B", "");
        let expected = "RUN cat <<A <<B\na\nA\nB".to_owned();
        assert_eq!(lower(&instruction).unwrap(), [change(ConfigChange::OnBuild(expected))]);
    }

    #[test]
    fn what_cannot_wait() {
        assert_eq!(message(&text("ONBUILD", "ONBUILD RUN a")), "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        assert_eq!(message(&text("ONBUILD", "from x")), "FROM isn't allowed as an ONBUILD trigger");
        assert_eq!(message(&text("ONBUILD", "MAINTAINER x")), "MAINTAINER isn't allowed as an ONBUILD trigger");
        assert_eq!(message(&text("ONBUILD", "")), "ONBUILD requires at least one argument");
    }
}
