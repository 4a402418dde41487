//! `SHELL`: what runs the command lines that follow.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Arguments, Instruction, Keyword};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("SHELL", ArgumentForm::ExecOrShell)
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    match &instruction.arguments {
        Arguments::Exec(shell) if shell.is_empty() => Err(crate::at_least_one(instruction)),
        Arguments::Exec(shell) => Ok(vec![ConfigChange::Shell(shell.clone()).into()]),
        _ => Err(Error::invalid("SHELL requires the arguments to be in JSON form").hint("write `SHELL [\"/bin/bash\", \"-c\"]`")),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, exec, lower, message, text};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn json_alone() {
        let shell = ["/bin/bash", "-c"];
        assert_eq!(lower(&exec("SHELL", &shell)).unwrap(), [change(ConfigChange::Shell(shell.map(str::to_owned).to_vec()))]);
        assert_eq!(message(&exec("SHELL", &[])), "SHELL requires at least one argument");
        assert_eq!(message(&text("SHELL", "bash -c")), "SHELL requires the arguments to be in JSON form");
    }
}
