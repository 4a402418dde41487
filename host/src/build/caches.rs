//! Directories that outlive a build: `RUN --mount=type=cache`.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Failure;
use crate::oci::Digest;
use crate::operation::{Sharing, Source};
use crate::rootfs::store::{Store, TemporaryDirectory};
use crate::sandbox::Cancel;

/// How often a directory that another process has is asked for.
const PATIENCE: Duration = Duration::from_millis(20);
const FILES: &str = "files";
const OLD: &str = "old-";

/// Which directory is meant, and what it is like when it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Mounts of one name share the directory, as far as the rest is the same.
    pub id: String,
    /// Where its first content comes from.
    pub from: Option<&'a Source>,
    /// The directory there.
    pub path: &'a str,
    /// Owner and group, where they are said.
    pub owner: Option<(u32, u32)>,
    /// Permission bits, where they are said.
    pub mode: Option<u32>,
}

impl Wanted<'_> {
    /// The name of the directory in the store.
    pub fn key(&self) -> String {
        let from = self.from.map(|from| (from, self.path));
        // What is said and what goes without saying is the same directory.
        let key = format!("{:?}", (&self.id, from, self.owner.unwrap_or_default(), self.mode.unwrap_or(0o755)));
        Digest::of(key.as_bytes()).hex()
    }

    /// Whether an instruction makes its first content, so that it is made anew where nothing old is to be used: as in BuildKit, a
    /// directory that is as it comes is kept.
    fn is_made(&self) -> bool {
        self.owner.is_some() || self.mode.is_some() || matches!(self.from, Some(Source::Stage(_)))
    }
}

/// A directory that is in use.
pub struct Held {
    /// Where it is.
    pub directory: PathBuf,
    /// Held while a process uses it.
    _lock: Option<File>,
    /// Held while it is somewhere else.
    _lent: Option<File>,
    _own: Option<TemporaryDirectory>,
}

/// The directories of one build.
#[derive(Default)]
pub struct Caches {
    moved: bool,
    renewed: std::sync::Mutex<BTreeSet<String>>,
    /// Those that a process has had.
    pub used: std::sync::Mutex<BTreeSet<String>>,
}

/// Where a directory is that is not a process's own.
pub fn files(store: &Store, key: &str) -> PathBuf {
    store.path().join("caches").join(key).join(FILES)
}

impl Caches {
    /// Of a build. `moved` says that processes are given the directory itself, which is not where it was meanwhile: one has it at a time,
    /// however it is shared.
    pub fn new(moved: bool) -> Self {
        Self { moved, ..Self::default() }
    }

    /// Takes a directory for a process; `fill` gives a new one its content.
    ///
    /// # Errors
    /// The directory cannot be made, or the build was cancelled while another process had it.
    pub fn take(
        &self,
        wanted: &Wanted<'_>,
        sharing: Sharing,
        no_cache: bool,
        store: &Store,
        cancel: &Cancel,
        fill: &mut dyn FnMut(&Path) -> Result<(), Failure>,
    ) -> Result<Held, Failure> {
        let key = wanted.key();
        let base = store.path().join("caches").join(&key);
        DirBuilder::new().recursive(true).mode(0o700).create(&base)?;
        let lent = match self.moved {
            false => None,
            true => {
                let file = File::create(base.join("lent"))?;
                wait(cancel, || file.try_lock())?;
                Some(file)
            }
        };
        loop {
            let directory = base.join(FILES);
            {
                let setup = File::create(base.join("lock"))?;
                setup.lock()?;
                sweep(&base)?;
                let renew = no_cache && wanted.is_made();
                if renew && self.renewed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key.clone()) {
                    set_aside(&directory)?;
                }
                if !directory.exists() {
                    make(wanted, &directory, store, fill)?;
                }
            }
            let lock = File::open(&directory)?;
            let locked = match sharing {
                Sharing::Shared => wait(cancel, || lock.try_lock_shared()),
                Sharing::Locked => wait(cancel, || lock.try_lock()),
                Sharing::Private => match lock.try_lock() {
                    Ok(()) => Ok(()),
                    Err(TryLockError::WouldBlock) => {
                        let own = store.temporary_directory()?;
                        let directory = own.path().join(FILES);
                        make(wanted, &directory, store, fill)?;
                        return Ok(Held { directory, _lock: None, _lent: None, _own: Some(own) });
                    }
                    Err(TryLockError::Error(error)) => Err(error.into()),
                },
            };
            locked?;
            // Another build may have set it aside before it was ours.
            let same = |one: &std::fs::Metadata, other: &std::fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
            if std::fs::metadata(&directory).is_ok_and(|now| lock.metadata().is_ok_and(|held| same(&now, &held))) {
                return Ok(Held { directory, _lock: Some(lock), _lent: lent, _own: None });
            }
        }
    }
}

fn wait(cancel: &Cancel, mut attempt: impl FnMut() -> Result<(), TryLockError>) -> Result<(), Failure> {
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if cancel.is_cancelled() => return Err(Failure::new("cancelled")),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PATIENCE),
        }
    }
}

fn make(wanted: &Wanted<'_>, directory: &Path, store: &Store, fill: &mut dyn FnMut(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    // In the store's own place for work: what a killed build leaves there is in nobody's way.
    let fresh = store.temporary_path();
    DirBuilder::new().mode(0o700).create(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o755))?;
    fill(&fresh)?;
    if let Some((uid, gid)) = wanted.owner {
        std::os::unix::fs::chown(&fresh, Some(uid), Some(gid))?;
    }
    if let Some(mode) = wanted.mode {
        std::fs::set_permissions(&fresh, Permissions::from_mode(mode))?;
    }
    Ok(std::fs::rename(&fresh, directory)?)
}

/// Takes a directory out of the way; a process that has it keeps it.
fn set_aside(directory: &Path) -> io::Result<()> {
    let old = |number| directory.with_file_name(format!("{OLD}{}-{number}", std::process::id()));
    let Some(free) = (0..u32::MAX).map(old).find(|path| !path.exists()) else { return Ok(()) };
    match std::fs::rename(directory, free) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Removes what was set aside and is in use no longer.
fn sweep(base: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(base)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(OLD.as_bytes()) && File::open(entry.path())?.try_lock().is_ok() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(id: &str) -> Wanted<'_> {
        Wanted { id: id.to_owned(), from: None, path: "", owner: None, mode: None }
    }

    #[test]
    fn what_goes_without_saying_is_the_same_directory() {
        let plain = wanted("a").key();
        assert_eq!(plain, Wanted { mode: Some(0o755), owner: Some((0, 0)), ..wanted("a") }.key());
        let stage = Source::Stage("s".to_owned());
        let others = [
            wanted("b").key(),
            Wanted { mode: Some(0o700), ..wanted("a") }.key(),
            Wanted { owner: Some((1, 0)), ..wanted("a") }.key(),
            Wanted { from: Some(&stage), ..wanted("a") }.key(),
            Wanted { from: Some(&stage), path: "/x", ..wanted("a") }.key(),
        ];
        let distinct: BTreeSet<&String> = others.iter().chain([&plain]).collect();
        assert_eq!(distinct.len(), 6);
        assert_eq!(plain, Wanted { path: "/x", ..wanted("a") }.key(), "a part of a directory is in the directory");
    }

    #[test]
    fn a_directory_is_shared_or_not() {
        let place = tempfile::tempdir().unwrap();
        let (store, caches, cancel) = (Store::open(place.path()).unwrap(), Caches::default(), Cancel::new().unwrap());
        let take = |sharing| caches.take(&wanted("a"), sharing, false, &store, &cancel, &mut |_| Ok(())).unwrap();
        let first = take(Sharing::Shared);
        let second = take(Sharing::Shared);
        assert_eq!(first.directory, second.directory);
        let own = take(Sharing::Private);
        assert_ne!(own.directory, first.directory);
        cancel.cancel();
        assert!(caches.take(&wanted("a"), Sharing::Locked, false, &store, &cancel, &mut |_| Ok(())).is_err(), "it is in use");
        drop((first, second));
        let cancel = Cancel::new().unwrap();
        let locked = caches.take(&wanted("a"), Sharing::Locked, false, &store, &cancel, &mut |_| Ok(())).unwrap();
        assert!(own.directory.exists() && locked.directory.exists());
    }

    #[test]
    fn without_the_cache_what_was_made_is_made_anew_once_a_build() {
        let place = tempfile::tempdir().unwrap();
        let (store, cancel) = (Store::open(place.path()).unwrap(), Cancel::new().unwrap());
        let made = Wanted { mode: Some(0o700), ..wanted("a") };
        for (wanted, kept) in [(&made, false), (&wanted("a"), true)] {
            let take =
                |caches: &Caches, no_cache| caches.take(wanted, Sharing::Shared, no_cache, &store, &cancel, &mut |_| Ok(())).unwrap();
            let before = take(&Caches::default(), false);
            std::fs::write(before.directory.join("file"), "").unwrap();
            let build = Caches::default();
            let anew = take(&build, true);
            assert_eq!(anew.directory.join("file").exists(), kept);
            std::fs::write(anew.directory.join("other"), "").unwrap();
            assert!(take(&build, true).directory.join("other").exists(), "the same build goes on with it");
            assert!(take(&Caches::default(), false).directory.join("other").exists());
        }
    }
}
