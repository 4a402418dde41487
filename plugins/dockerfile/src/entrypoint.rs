//! `ENTRYPOINT`: what a container of the image runs, with the command as its arguments.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword, Lowered, Stage};
use layerwright_plugin::operation::ConfigChange;

pub(crate) fn keyword() -> Keyword {
    Keyword::new("ENTRYPOINT", ArgumentForm::ExecOrShell).last_counts()
}

/// An empty array takes the inherited one away.
pub(crate) fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error> {
    Ok(crate::starts(instruction, stage, ConfigChange::Entrypoint))
}

#[cfg(test)]
mod tests {
    use crate::testing::{change, exec, lower, text};
    use layerwright_plugin::operation::ConfigChange;

    #[test]
    fn forms() {
        for (instruction, expected) in [
            (exec("ENTRYPOINT", &["/a"]), vec!["/a"]),
            (exec("ENTRYPOINT", &[]), vec![]),
            (text("ENTRYPOINT", "exec top -b"), vec!["/bin/sh", "-c", "exec top -b"]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(lower(&instruction).unwrap(), [change(ConfigChange::Entrypoint(expected))]);
        }
    }
}
