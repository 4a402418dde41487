use std::path::Path;

use layerwright_git_reference::GitUrl;

use super::super::FetchError;
use super::objects::{Commit, Fetched};
use crate::fs::{self, Attributes, Kind, Root, Time};

/// Writes `.git`, in which git finds a shallow clone with nothing changed. It holds no credentials and no hooks.
pub(super) fn write(fetched: &Fetched, root: &Root, commit: &Commit, url: &GitUrl) -> Result<(), FetchError> {
    let place = root.path().join(".git");
    make(fetched, &place, url).map_err(|error| fetched.failed(format!("cannot write .git: {error}")))?;
    let state = gix_index::State::from_tree(&commit.tree, fetched, Default::default());
    let state = state.map_err(|error| fetched.failed(format!("cannot list the files of the commit: {error}")))?;
    let written = gix_index::File::from_state(state, place.join("index")).write(Default::default());
    written.map_err(|error| fetched.failed(format!("cannot write .git/index: {error}")))?;
    let alike = settle(root, Path::new(".git"), commit.seconds).and_then(|()| root.set_times("", Time::from_seconds(commit.seconds)));
    alike.map_err(|error| fetched.failed(format!("cannot write .git: {error}")))
}

/// Times and modes that depend on nothing but the commit: the same commit makes the same layer.
fn settle(root: &Root, path: &Path, seconds: i64) -> Result<(), fs::Error> {
    for entry in root.read_dir(path)? {
        let path = path.join(&entry.name);
        if entry.kind == Kind::Directory {
            settle(root, &path, seconds)?;
        } else {
            let attributes = Attributes { mode: Some(0o644), mtime: Some(Time::from_seconds(seconds)), ..Attributes::default() };
            root.set_attributes(&path, &attributes)?;
        }
    }
    let attributes = Attributes { mode: Some(0o755), mtime: Some(Time::from_seconds(seconds)), ..Attributes::default() };
    root.set_attributes(path, &attributes)
}

/// A server may call a ref anything.
fn is_tag(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.chars().any(char::is_control);
    name.strip_prefix("refs/tags/").is_some_and(|rest| rest.split('/').all(plain))
}

fn make(fetched: &Fetched, place: &Path, url: &GitUrl) -> std::io::Result<()> {
    use std::fs;
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        fs::create_dir_all(place.join(directory))?;
    }
    fs::write(place.join("HEAD"), format!("{}\n", fetched.commit))?;
    let sha256 = fetched.kind == gix_hash::Kind::Sha256;
    let (version, extension) = if sha256 { (1, "[extensions]\n\tobjectformat = sha256\n") } else { (0, "") };
    // Nothing in a URL may end the value.
    let remote = url.shown().replace('\\', "\\\\").replace('"', "\\\"");
    let config = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n{extension}\
         [remote \"origin\"]\n\turl = \"{remote}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    );
    fs::write(place.join("config"), config)?;
    if let Some((name, id)) = fetched.reference.as_ref().filter(|(name, _)| is_tag(name)) {
        let path = place.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, format!("{id}\n"))?;
    }
    let shallow = Fetched::shallow_file(&fetched.directory);
    if shallow.exists() {
        fs::copy(shallow, place.join("shallow"))?;
    }
    for entry in fs::read_dir(Fetched::pack_directory(&fetched.directory))? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(Path::new(&name).extension().and_then(std::ffi::OsStr::to_str), Some("pack" | "idx")) {
            fs::copy(entry.path(), place.join("objects/pack").join(&name))?;
        }
    }
    Ok(())
}
