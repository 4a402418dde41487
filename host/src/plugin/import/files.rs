//! Reads granted files.
//!
//! A file that is granted by its own path may be a symbolic link, as mounted secrets are: the operator named it. Below a granted directory,
//! no link and no `..` leads out of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::plugin::grant::{Grant, plain};
use crate::plugin::state::{State, error};
use crate::plugin::v0_1::wit::files;
use crate::plugin::v0_1::wit::types::{Error, ErrorCode};

/// Of a file, in bytes.
const LARGEST: u64 = 1 << 20;

/// Names of a directory.
const MOST_NAMES: usize = 10_000;

/// Where a granted file is.
enum Place {
    Itself(PathBuf),
    Below(PathBuf, PathBuf),
}

impl files::Host for State {
    fn read(&mut self, path: String) -> Result<Vec<u8>, Error> {
        let Some(place) = self.place(&path) else {
            return Err(self.deny(&format!("read the file {path}"), format!("file={path}")));
        };
        place.open(OFlags::empty()).and_then(read).map_err(|why| self.failed(&path, &why))
    }

    fn entries(&mut self, path: String) -> Result<Vec<String>, Error> {
        let Some(place) = self.place(&path) else {
            return Err(self.deny(&format!("list the directory {path}"), format!("file={path}")));
        };
        place.open(OFlags::DIRECTORY).and_then(|folder| names(&folder)).map_err(|why| self.failed(&path, &why))
    }
}

impl State {
    fn failed(&mut self, path: &str, why: &io::Error) -> Error {
        match why.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => error(ErrorCode::NotFound, format!("{path}: not found")),
            io::ErrorKind::FileTooLarge => error(ErrorCode::TooLarge, format!("{path}: larger than 1 MiB or than {MOST_NAMES} names")),
            // A link that leads out of the granted directory.
            _ if [rustix::io::Errno::XDEV, rustix::io::Errno::LOOP].iter().any(|left| why.raw_os_error() == Some(left.raw_os_error())) => {
                self.deny(&format!("follow the link {path}"), "file=PATH, with the path that it leads to".to_owned())
            }
            _ => error(ErrorCode::Failed, format!("{path}: {why}")),
        }
    }

    fn place(&self, asked: &str) -> Option<Place> {
        if self.describing || asked.contains('\0') {
            return None;
        }
        let home = self.who.ambient.home.as_deref();
        let path = match asked.strip_prefix("~/") {
            Some(rest) => home?.join(rest),
            None => PathBuf::from(asked),
        };
        if !path.is_absolute() || !plain(&path) {
            return None;
        }
        self.who.grants.iter().find_map(|grant| {
            let Grant::File(grant) = grant else { return None };
            let granted = grant.resolve(home, |name| self.variable(name))?;
            let below = path.strip_prefix(&granted).ok()?;
            if below.as_os_str().is_empty() { Some(Place::Itself(granted)) } else { Some(Place::Below(granted, below.to_owned())) }
        })
    }
}

impl Place {
    fn open(&self, more: OFlags) -> io::Result<File> {
        // Without waiting for the writer of a FIFO.
        let flags = more | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self {
            Self::Itself(path) => Ok(rustix::fs::open(path, flags, Mode::empty())?.into()),
            Self::Below(folder, rest) => {
                let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::open(folder, folder_flags, Mode::empty())?;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match rustix::fs::openat2(&opened, rest, flags, Mode::empty(), resolve) {
                    Ok(file) => Ok(file.into()),
                    // Before Linux 5.6, or where a filter forbids what it does not know.
                    Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => step_by_step(opened, rest, flags),
                    Err(why) => Err(why.into()),
                }
            }
        }
    }
}

/// Opens a path below a directory, part by part, following no link at all.
fn step_by_step(folder: std::os::fd::OwnedFd, rest: &Path, flags: OFlags) -> io::Result<File> {
    let mut at = folder;
    let mut parts = rest.components().peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let how = if last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        at = rustix::fs::openat(&at, part.as_os_str(), how | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at.into())
}

/// Names that are no text are left out: no path that a plugin asks for leads there.
fn names(folder: &File) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(_) if found.len() == MOST_NAMES => return Err(io::ErrorKind::FileTooLarge.into()),
            Ok(name) => found.push(name.to_owned()),
        }
    }
    found.sort();
    Ok(found)
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn below(folder: &Path, path: &str) -> io::Result<Vec<u8>> {
        Place::Below(folder.to_owned(), path.into()).open(OFlags::empty()).and_then(read)
    }

    #[test]
    fn links_lead_nowhere_outside_a_granted_directory() {
        let folder = std::env::temp_dir().join(format!("layerwright-files-{}", std::process::id()));
        let inside = folder.join("inside");
        fs::create_dir_all(inside.join("data")).unwrap();
        fs::write(folder.join("outside"), "secret").unwrap();
        fs::write(inside.join("data/file"), "content").unwrap();
        symlink("data/file", inside.join("good")).unwrap();
        symlink("../outside", inside.join("up")).unwrap();
        symlink(folder.join("outside"), inside.join("absolute")).unwrap();
        symlink("..", inside.join("parent")).unwrap();

        assert_eq!(below(&inside, "data/file").unwrap(), b"content");
        assert_eq!(below(&inside, "good").unwrap(), b"content");
        for path in ["up", "absolute", "parent/outside", "data", "nothing"] {
            assert!(below(&inside, path).is_err(), "{path}");
        }
        let open = || rustix::fs::open(&inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let slowly = |path: &str| step_by_step(open(), Path::new(path), OFlags::RDONLY | OFlags::CLOEXEC).and_then(read);
        assert_eq!(slowly("data/file").unwrap(), b"content");
        for path in ["good", "up", "absolute", "parent/outside"] {
            assert!(slowly(path).is_err(), "{path}");
        }

        let list = |path: &str| Place::Below(folder.clone(), path.into()).open(OFlags::DIRECTORY).and_then(|folder| names(&folder));
        assert_eq!(list("inside/data").unwrap(), ["file"]);
        assert_eq!(list("inside/data/file").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(Place::Below(inside.clone(), "parent".into()).open(OFlags::DIRECTORY).is_err());

        // The operator's own path may be a link.
        assert_eq!(Place::Itself(inside.join("up")).open(OFlags::empty()).and_then(read).unwrap(), b"secret");
        fs::write(inside.join("large"), vec![0; (1 << 20) + 1]).unwrap();
        assert_eq!(below(&inside, "large").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::remove_dir_all(&folder).unwrap();
    }
}
