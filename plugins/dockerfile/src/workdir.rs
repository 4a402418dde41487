//! `WORKDIR`: where what follows runs, made if it is missing.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, Instruction, Keyword, Stage};
use layerwright_plugin::operation::{ConfigChange, MakeDirectory, Operation};

use crate::path;

pub(crate) fn keyword() -> Keyword {
    Keyword::new("WORKDIR", ArgumentForm::Text).expanded()
}

/// A relative path starts at the directory before. Directories that are made belong to the current user; the root is there already.
pub(crate) fn lower(instruction: &Instruction, stage: &Stage) -> Result<Vec<Operation>, Error> {
    let directory = path::join(&stage.working_dir, crate::exactly_one(instruction)?);
    let mut operations = vec![ConfigChange::WorkingDir(directory.clone()).into()];
    if directory != "/" {
        let mut make = MakeDirectory::new(directory);
        if !stage.user.is_empty() {
            make = make.owner(stage.user.clone());
        }
        operations.push(make.into());
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{change, message, stage, text, written};

    fn workdir(before: &str, path: &str, user: &str) -> Vec<Operation> {
        let stage = Stage { working_dir: before.to_owned(), user: user.to_owned(), ..stage() };
        crate::lower(&written("WORKDIR", path, "WORKDIR x"), &stage).unwrap()
    }

    #[test]
    fn paths_are_joined_and_made() {
        for (before, path, after) in [
            ("/", "a", "/a"),
            ("/a", "b", "/a/b"),
            ("/a/b", "../c", "/a/c"),
            ("/a", "/d/./e/../f/", "/d/f"),
            ("/a", "", "/a"),
            ("/a", "../../..", "/"),
            ("/", "/p//q/", "/p/q"),
        ] {
            let operations = workdir(before, path, "");
            assert_eq!(operations[0], change(ConfigChange::WorkingDir(after.to_owned())), "{before} {path}");
            let made: Vec<Operation> = if after == "/" { vec![] } else { vec![MakeDirectory::new(after).into()] };
            assert_eq!(operations[1..], made);
        }
    }

    #[test]
    fn the_current_user_owns_it() {
        assert_eq!(workdir("/", "w", "me:grp")[1], MakeDirectory::new("/w").owner("me:grp").into());
        assert_eq!(message(&text("WORKDIR", "")), "WORKDIR requires exactly one argument");
    }
}
