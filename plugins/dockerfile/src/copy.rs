//! `COPY`: files from the build context, another stage, or the Dockerfile itself.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, FlagSpec, Instruction, Keyword};
use layerwright_plugin::operation::{Operation, Source};

use crate::transfer::{self, Transfer, Word};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("COPY", ArgumentForm::ExecOrWords)
        .expanded()
        .with_heredocs()
        .flag(FlagSpec::value("from"))
        .flag(FlagSpec::value("chown").expanded())
        .flag(FlagSpec::value("chmod").expanded())
        .flag(FlagSpec::switch("link"))
        .flag(FlagSpec::switch("parents"))
        .flag(FlagSpec::value("exclude").repeated())
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let transfer = Transfer::read(instruction)?;
    let from = match instruction.flag("from").filter(|from| !from.is_empty()) {
        Some(from) if from.contains('$') => {
            return Err(Error::invalid(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            ));
        }
        Some(from) => Source::Stage(from.to_owned()),
        None => Source::main_context(),
    };
    let mut copies = Vec::new();
    for source in &transfer.sources {
        let copy = match source {
            Word::Inline(file) => transfer.copy(Source::Inline(vec![file.clone()]), Vec::new()),
            Word::Path(path) => {
                refuse_remote(path)?;
                let mut copy = transfer.copy(from.clone(), vec![path.clone()]);
                copy.parents = instruction.switch("parents");
                copy
            }
        };
        transfer::append(&mut copies, copy);
    }
    Ok(copies.into_iter().map(Operation::from).collect())
}

fn refuse_remote(source: &str) -> Result<(), Error> {
    let kind = match crate::git::parse(source) {
        Ok(Some(_)) => "a git ref",
        _ if transfer::is_url(source) => "a URL",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("source can't be {kind} for COPY")).hint("use ADD"))
}

#[cfg(test)]
mod tests {
    use layerwright_plugin::operation::{Copy, InlineFile};

    use super::*;
    use crate::testing::{exec, message, words};

    fn lower(instruction: &Instruction) -> Vec<Operation> {
        crate::testing::lower(instruction).unwrap()
    }

    #[test]
    fn paths_go_together_and_stay_as_written() {
        assert_eq!(lower(&words("COPY", &["a", "/b/*", "/d/"])), [Copy::from_context(["a", "/b/*"], "/d/").into()]);
        assert_eq!(lower(&exec("COPY", &["a b", "c d"])), [Copy::from_context(["a b"], "c d").into()]);
        assert_eq!(lower(&words("COPY", &["a", ""])), [Copy::from_context(["a"], "./").into()]);
    }

    #[test]
    fn flags() {
        let instruction = words("COPY", &["a", "/d/"])
            .with_flag("from", "build")
            .with_flag("chown", "1:2")
            .with_flag("exclude", "*.x")
            .with_flag("link", "true")
            .with_flag("parents", "true")
            .with_flag("exclude", "y");
        let expected = Copy {
            exclude: vec!["*.x".to_owned(), "y".to_owned()],
            independent: true,
            parents: true,
            ..Copy::from_stage("build", ["a"], "/d/").owner("1:2")
        };
        assert_eq!(lower(&instruction), [expected.into()]);
    }

    #[test]
    fn a_mode_takes_the_independence_away() {
        let link = words("COPY", &["a", "b"]).with_flag("link", "true");
        let with_mode = link.clone().with_flag("chmod", "u=rwX");
        assert_eq!(lower(&link), [Copy { independent: true, ..Copy::from_context(["a"], "b") }.into()]);
        assert_eq!(lower(&with_mode), [Copy::from_context(["a"], "b").mode("u=rwX").into()]);
        assert_eq!(lower(&words("COPY", &["a", "b"]).with_flag("link", "false")), [Copy::from_context(["a"], "b").into()]);
        assert_eq!(
            lower(&words("COPY", &["a", "b"]).with_flag("chown", "").with_flag("chmod", "")),
            [Copy::from_context(["a"], "b").into()]
        );
    }

    #[test]
    fn heredocs_are_files_in_their_place() {
        let instruction = words("COPY", &["a", "<<X", "<<-\"Y\"", "b", "c", "/d/"])
            .with_flag("from", "s")
            .with_flag("exclude", "e")
            .with_heredoc("X", "x\n")
            .with_heredoc("Y", "y\n");
        let stage = |paths: &[&str]| Copy { exclude: vec!["e".to_owned()], ..Copy::from_stage("s", paths.iter().copied(), "/d/") };
        let files = vec![InlineFile::new("X", "x\n"), InlineFile::new("Y", "y\n")];
        assert_eq!(lower(&instruction), [stage(&["a"]).into(), Copy::inline(files, "/d/").into(), stage(&["b", "c"]).into()]);
    }

    #[test]
    fn heredocs_of_one_name_follow_each_other() {
        let instruction = words("COPY", &["<<dir/E", "<<dir/E", "/d/"]).with_heredoc("dir/E", "a\n").with_heredoc("dir/E", "b\n");
        let one = |content: &str| Operation::from(Copy::inline(vec![InlineFile::new("E", content)], "/d/"));
        assert_eq!(lower(&instruction), [one("a\n"), one("b\n")]);
        assert_eq!(InlineFile::new("E", "").mode, 420);
    }

    #[test]
    fn json_has_no_heredocs() {
        let instruction = exec("COPY", &["<<E", "/d"]);
        assert_eq!(lower(&instruction), [Copy::from_context(["<<E"], "/d").into()]);
    }

    #[test]
    fn errors() {
        let no_destination = "COPY requires at least two arguments, but only one was provided. Destination could not be determined";
        assert_eq!(message(&words("COPY", &[])), no_destination);
        assert_eq!(message(&words("COPY", &["a"])), no_destination);
        assert_eq!(message(&words("COPY", &["http://x/y", "/z"])), "source can't be a URL for COPY");
        assert_eq!(message(&words("COPY", &["https://x/y.git", "/z"])), "source can't be a git ref for COPY");
        assert_eq!(message(&words("COPY", &["a", "<<EOF"]).with_heredoc("EOF", "x\n")), "COPY cannot accept a heredoc as a destination");
        assert_eq!(
            message(&words("COPY", &["a", "b"]).with_flag("chmod", "64a")),
            "invalid chmod parameter: '64a'. it should be octal string and between 0 and 07777"
        );
        assert!(message(&words("COPY", &["a", "b"]).with_flag("from", "$I")).starts_with("variable expansion is not supported for --from"));
    }
}
