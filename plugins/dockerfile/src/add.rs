//! `ADD`: as `COPY`, and from the web and git repositories as well; local archives are unpacked.

use layerwright_plugin::Error;
use layerwright_plugin::instruction::{ArgumentForm, FlagSpec, Instruction, Keyword};
use layerwright_plugin::operation::{Copy, Download, Git, Operation, Source};

use crate::transfer::{self, Transfer, Word};

pub(crate) fn keyword() -> Keyword {
    Keyword::new("ADD", ArgumentForm::ExecOrWords)
        .expanded()
        .with_heredocs()
        .flag(FlagSpec::value("chown").expanded())
        .flag(FlagSpec::value("chmod").expanded())
        .flag(FlagSpec::switch("link"))
        .flag(FlagSpec::value("exclude").repeated())
        .flag(FlagSpec::value("checksum").expanded())
        .flag(FlagSpec::switch("keep-git-dir"))
        .flag(FlagSpec::switch("unpack"))
}

pub(crate) fn lower(instruction: &Instruction) -> Result<Vec<Operation>, Error> {
    let transfer = Transfer::read(instruction)?;
    let checksum = instruction.flag("checksum").filter(|checksum| !checksum.is_empty());
    if checksum.is_some() && transfer.sources.len() != 1 {
        return Err(Error::invalid("checksum can't be specified for multiple sources"));
    }
    let mut copies = Vec::new();
    for source in &transfer.sources {
        let copy = match source {
            Word::Inline(_) if checksum.is_some() => return Err(no_checksum()),
            Word::Inline(file) => transfer.copy(Source::Inline(vec![file.clone()]), Vec::new()),
            Word::Path(path) => match crate::git::parse(path)? {
                Some(git) => transfer.copy(Source::Git(with_flags(git, instruction, checksum)?), Vec::new()),
                None if transfer::is_url(path) => download(instruction, &transfer, path, checksum)?,
                None if checksum.is_some() => return Err(no_checksum()),
                None => {
                    let mut copy = transfer.copy(Source::main_context(), vec![path.clone()]);
                    copy.unpack = instruction.flag("unpack").is_none() || instruction.switch("unpack");
                    copy
                }
            },
        };
        transfer::append(&mut copies, copy);
    }
    Ok(copies.into_iter().map(Operation::from).collect())
}

fn no_checksum() -> Error {
    Error::invalid("checksum can't be specified for sources that are neither HTTP(S) nor git")
}

fn download(instruction: &Instruction, transfer: &Transfer, url: &str, checksum: Option<&str>) -> Result<Copy, Error> {
    if let Some(checksum) = checksum {
        check_digest(checksum)?;
    }
    let download = Download { url: url.to_owned(), checksum: checksum.map(str::to_owned) };
    let mut copy = transfer.copy(Source::Download(download), Vec::new());
    // What comes from the web is unpacked only where that is asked for.
    copy.unpack = instruction.switch("unpack");
    Ok(copy)
}

fn check_digest(checksum: &str) -> Result<(), Error> {
    let (algorithm, hex) = checksum.split_once(':').ok_or_else(|| Error::invalid("invalid checksum digest format"))?;
    if algorithm != "sha256" {
        return Err(Error::invalid("unsupported digest algorithm").hint("use sha256"));
    }
    let well_formed = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if well_formed {
        Ok(())
    } else {
        Err(Error::invalid("invalid checksum digest format").hint("sha256: and 64 lowercase hexadecimal digits"))
    }
}

fn with_flags(mut git: Git, instruction: &Instruction, checksum: Option<&str>) -> Result<Git, Error> {
    if instruction.flag("keep-git-dir").is_some() {
        git.keep_git_dir = instruction.switch("keep-git-dir");
    }
    if let Some(checksum) = checksum {
        if git.checksum.as_deref().is_some_and(|other| other != checksum) {
            return Err(Error::invalid("the checksum of the flag is not the one of the URL"));
        }
        crate::git::check_commit(checksum)?;
        git.checksum = Some(checksum.to_owned());
    }
    Ok(git)
}

#[cfg(test)]
mod tests {
    use layerwright_plugin::operation::InlineFile;

    use super::*;
    use crate::testing::{message, words};

    fn lower(instruction: &Instruction) -> Vec<Operation> {
        crate::testing::lower(instruction).unwrap()
    }

    fn local(paths: &[&str], destination: &str) -> Copy {
        Copy { unpack: true, ..Copy::from_context(paths.iter().copied(), destination) }
    }

    #[test]
    fn local_archives_are_unpacked_unless_told_not_to() {
        assert_eq!(lower(&words("ADD", &["a.tgz", "b", "/d/"])), [local(&["a.tgz", "b"], "/d/").into()]);
        assert_eq!(lower(&words("ADD", &["a", "/d/"]).with_flag("unpack", "false")), [Copy::from_context(["a"], "/d/").into()]);
        assert_eq!(lower(&words("ADD", &["a", "/d/"]).with_flag("unpack", "true")), [local(&["a"], "/d/").into()]);
    }

    #[test]
    fn downloads() {
        let url = "https://x.y/a.tgz?q=1";
        assert_eq!(lower(&words("ADD", &[url, "/d/"])), [Copy::download(url, None, "/d/").into()]);
        let digest = format!("sha256:{}", "a".repeat(64));
        let instruction = words("ADD", &[url, "/d/"]).with_flag("checksum", &digest).with_flag("unpack", "true").with_flag("chmod", "0644");
        let expected = Copy { unpack: true, ..Copy::download(url, Some(digest), "/d/").mode("0644") };
        assert_eq!(lower(&instruction), [expected.into()]);
    }

    #[test]
    fn git_repositories() {
        let instruction = words("ADD", &["https://x/y.git#v1:sub", "/d"]).with_flag("keep-git-dir", "true").with_flag("checksum", "abc");
        let git = Git {
            url: "https://x/y.git".to_owned(),
            revision: Some("v1".to_owned()),
            directory: Some("sub".to_owned()),
            keep_git_dir: true,
            submodules: true,
            checksum: Some("abc".to_owned()),
        };
        assert_eq!(lower(&instruction), [Copy::new(Source::Git(git), [""; 0], "/d").into()]);
    }

    #[test]
    fn sources_of_all_kinds_keep_their_order() {
        let instruction = words("ADD", &["a", "http://x/b", "<<E", "c", "/d/"]).with_heredoc("E", "e\n");
        let expected = [
            local(&["a"], "/d/").into(),
            Copy::download("http://x/b", None, "/d/").into(),
            Copy::inline(vec![InlineFile::new("E", "e\n")], "/d/").into(),
            local(&["c"], "/d/").into(),
        ];
        assert_eq!(lower(&instruction), expected);
    }

    #[test]
    fn errors() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let checksum = |sources: &[&str], checksum: &str| message(&words("ADD", sources).with_flag("checksum", checksum));
        assert_eq!(checksum(&["http://x/a", "http://x/b", "/d/"], &digest), "checksum can't be specified for multiple sources");
        assert_eq!(checksum(&["a", "/d/"], &digest), "checksum can't be specified for sources that are neither HTTP(S) nor git");
        assert_eq!(checksum(&["http://x/a", "/d/"], "md5:aa"), "unsupported digest algorithm");
        assert_eq!(checksum(&["http://x/a", "/d/"], "sha256:aa"), "invalid checksum digest format");
        assert_eq!(checksum(&["http://x/a", "/d/"], "aa"), "invalid checksum digest format");
        assert_eq!(checksum(&["https://x/a.git", "/d/"], "main"), "invalid commit: \"main\"");
        assert_eq!(checksum(&["https://x/a.git?checksum=ab", "/d/"], "cd"), "the checksum of the flag is not the one of the URL");
        assert_eq!(message(&words("ADD", &["https://h/a.git?ref=x#y", "/d"])), "ref conflicts: \"y\" vs \"x\"");
        assert_eq!(
            message(&words("ADD", &["a"])),
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined"
        );
    }
}
