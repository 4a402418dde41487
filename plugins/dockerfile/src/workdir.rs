//! `WORKDIR`: where what follows runs, made if it is missing.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword, Lowered, Stage};
use layerwright_plugin::operation::{ConfigChange, MakeDirectory, Operation};

use crate::path;

pub(crate) fn keyword() -> Keyword {
    Keyword::new("WORKDIR", ArgumentForm::Text).expanded()
}

/// A relative path starts at the directory before; an absolute one stands in the configuration as it is written, as BuildKit has it.
/// Directories that are made belong to the current user; the root is there already.
pub(crate) fn lower(instruction: &Instruction, stage: &Stage) -> Result<Lowered, Error> {
    let argument = crate::exactly_one(instruction)?;
    let directory = path::join(&stage.working_dir, argument);
    let shown = match argument {
        "" => stage.working_dir.clone(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        _ => directory.clone(),
    };
    let mut operations: Vec<Operation> = vec![ConfigChange::WorkingDir(shown).into()];
    if directory != "/" {
        let mut make = MakeDirectory::new(directory);
        if !stage.user.is_empty() {
            make = make.owner(stage.user.clone());
        }
        operations.push(make.into());
    }
    let lowered = Lowered::new(operations);
    let certain = stage.working_dir_set || argument.starts_with('/');
    Ok(if certain { lowered } else { lowered.warn(crate::rules::workdir_relative_path(argument)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{change, message, stage, text, written};

    fn workdir(before: &str, path: &str, user: &str) -> Vec<Operation> {
        let stage = Stage { working_dir: before.to_owned(), user: user.to_owned(), ..stage() };
        crate::lower(&written("WORKDIR", path, "WORKDIR x"), &stage).unwrap().operations
    }

    #[test]
    fn paths_are_joined_and_made() {
        for (before, path, shown, after) in [
            ("/", "a", "/a", "/a"),
            ("/a", "b", "/a/b", "/a/b"),
            ("/a/b", "../c", "/a/c", "/a/c"),
            ("/a", "/d/./e/../f/", "/d/./e/../f/", "/d/f"),
            ("/d/./e/../f/", "g/", "/d/f/g", "/d/f/g"),
            ("/a/", "", "/a/", "/a"),
            ("/a", "../../..", "/", "/"),
            ("/", "/p//q/", "/p//q/", "/p/q"),
        ] {
            let operations = workdir(before, path, "");
            assert_eq!(operations[0], change(ConfigChange::WorkingDir(shown.to_owned())), "{before} {path}");
            let made: Vec<Operation> = if after == "/" { vec![] } else { vec![MakeDirectory::new(after).into()] };
            assert_eq!(operations[1..], made);
        }
    }

    #[test]
    fn the_first_path_should_not_depend_on_the_base() {
        let warnings = |path: &str, set: bool| {
            let stage = Stage { working_dir: "/base".to_owned(), working_dir_set: set, ..stage() };
            let lowered = crate::lower(&written("WORKDIR", path, "WORKDIR x"), &stage).unwrap();
            lowered.warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
        };
        assert_eq!(warnings("a", false), ["Relative workdir \"a\" can have unexpected results if the base image changes"]);
        assert!(warnings("/a", false).is_empty() && warnings("a", true).is_empty());
    }

    #[test]
    fn the_current_user_owns_it() {
        assert_eq!(workdir("/", "w", "me:grp")[1], MakeDirectory::new("/w").owner("me:grp").into());
        assert_eq!(message(&text("WORKDIR", "")), "WORKDIR requires exactly one argument");
    }
}
