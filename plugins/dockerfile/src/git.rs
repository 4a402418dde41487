//! References to git repositories, as `ADD` takes them: `https://host/x.git#ref:directory`, `git@host:x?branch=main`.

use layerwright_git_reference::{ReferenceError, Times};
use layerwright_plugin::operation::Git;
use layerwright_plugin::{Error, log};

/// Reads a source as a git reference; none where it is something else.
///
/// # Errors
/// It is a git reference that contradicts itself or asks for what is not known.
pub(crate) fn parse(source: &str) -> Result<Option<Git>, Error> {
    let Some(reference) = layerwright_git_reference::parse(source).map_err(invalid)?.filter(|reference| !reference.maybe_local) else {
        return Ok(None);
    };
    if reference.times == Some(Times::Checkout) {
        log::warning("mtime=checkout is not followed: files get the time of their commit, so that a layer does not depend on the clock");
    }
    Ok(Some(Git {
        url: reference.remote,
        revision: if reference.fetch_by_commit { reference.checksum.clone() } else { reference.revision },
        directory: reference.directory,
        keep_git_dir: reference.keep_git_dir.unwrap_or(false),
        submodules: reference.submodules.unwrap_or(true),
        checksum: reference.checksum,
    }))
}

/// Checks that this is a commit or the start of one.
pub(crate) fn check_commit(commit: &str) -> Result<(), Error> {
    layerwright_git_reference::check_commit(commit).map_err(invalid)
}

fn invalid(error: ReferenceError) -> Error {
    Error::invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_passed_on() {
        let some = |text: &str| Some(text.to_owned());
        let parsed = parse("https://h/a.git?keep-git-dir=1&submodules=0&fetch-by-commit&checksum=deadbeef#refs/heads/b:s").unwrap();
        let expected = Git {
            url: "https://h/a.git".to_owned(),
            revision: some("deadbeef"),
            directory: some("s"),
            keep_git_dir: true,
            submodules: false,
            checksum: some("deadbeef"),
        };
        assert_eq!(parsed, Some(expected));
        assert!(parse("https://h/a.git").unwrap().unwrap().submodules);
    }

    #[test]
    fn a_name_that_may_be_a_path_is_a_path() {
        assert_eq!(parse("github.com/a/b").unwrap(), None);
        assert_eq!(parse("https://h/a").unwrap(), None);
        assert_eq!(parse("https://h/a.git?tag=a&branch=a").unwrap_err().message, "branch conflicts with tag");
    }
}
