//! A build context that lies where the image is to have files of its own, moved out of the way of a build in place and back again.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::args::BuildArguments;
use crate::context::{Location, LookFirst, read_dockerfile};
use crate::fs::Root;

/// What the folder beside the context is called.
const NAME: &str = ".layerwright-context";

/// A context that has been moved, for as long as the value lives.
#[derive(Debug)]
pub struct Aside {
    /// Where it was, and is to be again.
    from: PathBuf,
    /// Where it is.
    to: PathBuf,
    back: bool,
}

impl Aside {
    /// Moves the context, if the Dockerfile names the directory that it lies in: the image has files there then. `fixed` are paths that
    /// stay where they are, such as mounts: a context that holds one, or lies in one, is not moved.
    ///
    /// # Errors
    /// What could not be moved; the context is where it was.
    pub fn make_way(args: &BuildArguments, location: &Location, fixed: &[PathBuf]) -> io::Result<Option<Self>> {
        let Location::Directory(path) = location else { return Ok(None) };
        let Ok(from) = fs::canonicalize(path) else { return Ok(None) };
        let Some(to) = from.parent().map(|parent| parent.join(NAME)) else { return Ok(None) };
        let dockerfile = Path::new(&args.context.dockerfile);
        let found = read_dockerfile(&from, dockerfile, LookFirst::WorkingDirectory);
        let moves_along = std::path::absolute(dockerfile).ok();
        let is_fixed = fixed
            .iter()
            .filter(|path| **path != from && Some(*path) != moves_along.as_ref())
            .any(|path| path.starts_with(&from) || from.starts_with(path));
        if is_fixed || to.exists() || !found.is_ok_and(|found| names(&found.bytes, &from)) {
            return Ok(None);
        }
        let moved = Self { from, to, back: false };
        // Where that fails, dropping the value moves back what has been moved.
        move_directory(&moved.from, &moved.to)?;
        Ok(Some(moved))
    }

    /// Where the context is now.
    pub fn location(&self) -> Location {
        Location::Directory(self.to.clone())
    }

    /// A path where it is now.
    pub fn moved(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.from).map_or_else(|_| path.to_owned(), |inside| self.to.join(inside))
    }

    /// Moves the context back, in place of what the image has left there.
    ///
    /// # Errors
    /// What could not be moved, and stays beside it.
    pub fn put_back(mut self) -> io::Result<()> {
        self.back = true;
        let parent = Root::open(self.from.parent().unwrap_or(Path::new("/"))).map_err(io::Error::other)?;
        if let Some(name) = self.from.file_name() {
            parent.remove(name).map_err(io::Error::other)?;
        }
        move_directory(&self.to, &self.from)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.back {
            // The build has failed before anything was built, and has said why.
            let _ = move_directory(&self.to, &self.from);
        }
    }
}

/// Whether a Dockerfile has the path of a directory in it.
fn names(dockerfile: &[u8], directory: &Path) -> bool {
    let directory = directory.as_os_str().as_encoded_bytes();
    dockerfile.windows(directory.len()).any(|bytes| bytes == directory)
}

/// Moves a directory within a filesystem. One that comes from an image's layer cannot be renamed on an overlay: its entries are.
fn move_directory(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::DirectoryNotEmpty) => {}
        done => return done,
    }
    let metadata = fs::symlink_metadata(from)?;
    if let Err(error) = fs::create_dir(to)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => move_directory(&entry.path(), &target)?,
            false => fs::rename(entry.path(), target)?,
        }
    }
    give_attributes(to, &metadata)?;
    fs::remove_dir(from)
}

fn give_attributes(directory: &Path, metadata: &Metadata) -> io::Result<()> {
    chown(directory, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(directory, metadata.permissions())?;
    File::open(directory)?.set_times(FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_takes_entries_in_and_has_the_same_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub/deep")).unwrap();
        fs::write(from.join("sub/deep/file"), "content").unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(to.join("other"), "stays").unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::open(&from).unwrap().set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
        fs::set_permissions(&from, std::os::unix::fs::PermissionsExt::from_mode(0o751)).unwrap();
        move_directory(&from, &to).unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read_to_string(to.join("sub/deep/file")).unwrap(), "content");
        assert_eq!(fs::read_to_string(to.join("other")).unwrap(), "stays");
        let metadata = fs::metadata(&to).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o751, 1_000_000_000));
    }

    #[test]
    fn only_the_whole_path_is_a_name() {
        assert!(names(b"FROM a\nWORKDIR /workspace\n", Path::new("/workspace")));
        assert!(!names(b"FROM a\nWORKDIR /work\n", Path::new("/workspace")));
    }
}
