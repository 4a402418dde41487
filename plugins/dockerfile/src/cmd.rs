//! `CMD`: what the image runs.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword, Stage};
use layerwright_plugin::operation::{ConfigChange, Operation};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("CMD", ArgumentForm::ExecOrShell)
}

/// A bare `CMD` is an empty line for the shell, as in BuildKit.
pub(crate) fn lower(instruction: &Instruction, stage: &Stage) -> Result<Vec<Operation>, Error> {
    Ok(vec![ConfigChange::Command(crate::command_line(instruction, stage)).into()])
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, exec, lower, stage, text};
    use layerwright_plugin::instruction::Stage;
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn forms() {
        for (instruction, expected) in [
            (exec("CMD", &["a", "b $X"]), vec!["a", "b $X"]),
            (exec("CMD", &[]), vec![]),
            (text("CMD", "a \"b\" $X"), vec!["/bin/sh", "-c", "a \"b\" $X"]),
            (text("CMD", ""), vec!["/bin/sh", "-c", ""]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(lower(&instruction).unwrap(), [change(ConfigChange::Command(expected))]);
        }
    }

    #[test]
    fn the_shell_of_the_stage_is_used() {
        let bash = Stage { shell: vec!["/bin/bash".to_owned(), "-ec".to_owned()], ..stage() };
        let operations = crate::lower(&text("CMD", "b"), &bash).unwrap();
        let expected = ["/bin/bash", "-ec", "b"].map(str::to_owned).to_vec();
        assert_eq!(operations, [change(ConfigChange::Command(expected))]);
    }
}
