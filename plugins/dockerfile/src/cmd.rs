//! `CMD`: what the image runs.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword, Lowered, Stage};
use layerwright_plugin::operation::ConfigChange;

pub(crate) fn keyword() -> Keyword {
    Keyword::new("CMD", ArgumentForm::ExecOrShell).last_counts()
}

/// A bare `CMD` is an empty line for the shell, as in BuildKit.
pub(crate) fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error> {
    Ok(crate::starts(instruction, stage, ConfigChange::Command))
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, exec, lower, stage, text};
    use layerwright_plugin::instruction::{Instruction, Stage};
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
        let operations = crate::lower(&text("CMD", "b"), &bash).unwrap().operations;
        let expected = ["/bin/bash", "-ec", "b"].map(str::to_owned).to_vec();
        assert_eq!(operations, [change(ConfigChange::Command(expected))]);
    }

    #[test]
    fn a_shell_that_nobody_chose_is_warned_of() {
        let warnings = |instruction, stage: Stage| {
            let lowered = crate::lower(instruction, &stage).unwrap();
            lowered.warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
        };
        let line = Instruction { text: "Cmd b".to_owned(), ..text("CMD", "b") };
        let expected = "JSON arguments recommended for Cmd to prevent unintended behavior related to OS signals";
        assert_eq!(warnings(&line, stage()), [expected]);
        assert!(warnings(&line, Stage { shell_set: true, ..stage() }).is_empty());
        assert!(warnings(&exec("CMD", &["b"]), stage()).is_empty());
    }
}
