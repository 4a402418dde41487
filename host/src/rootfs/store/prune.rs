//! Making a store smaller: what was used longest ago goes first, what a living process uses stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use super::unpack::DONE;
use super::{Result, Store, failed};
use crate::fs::{Kind, Root};

/// The smallest piece of a disk that a file takes, in bytes, as most filesystems have it.
const BLOCK: u64 = 4096;

/// Folders of a store in which each entry can go by itself; those of unpacked layers are found by their names.
const FOLDERS: &[(&str, Holding)] =
    &[("blobs/sha256", Holding::Blob), ("cache", Holding::Record), ("caches", Holding::Cache), ("downloads", Holding::Download)];

/// What a folder of unpacked layers is called, or how that begins.
const LAYERS: &str = "layers";

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Holding {
    /// The bytes of a layer, a manifest, or a download.
    Blob,
    /// The unpacked files of a layer.
    Layer,
    /// A directory of `RUN --mount=type=cache`.
    Cache,
    /// What is known of a download.
    Download,
    /// What a layer was made of, for the next build.
    Record,
}

/// What is to go. Each of the fields that say something adds to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prune {
    /// Everything.
    pub all: bool,
    /// What was not used for so long.
    pub max_age: Option<Duration>,
    /// What was used longest ago, until so many bytes are left.
    pub max_size: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// A number of things and what they take of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// In bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What has gone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// By what it was.
    pub freed: BTreeMap<Holding, Amount>,
    /// What should have gone, and a living process uses.
    pub in_use: Amount,
    /// What the store holds now.
    pub left: Amount,
    /// What should have gone and could not be removed, with the reason, one sentence each.
    pub failed: Vec<String>,
}

impl Pruned {
    /// All that has gone.
    pub fn total(&self) -> Amount {
        let sum = |total: Amount, one: &Amount| Amount { count: total.count + one.count, bytes: total.bytes + one.bytes };
        self.freed.values().fold(Amount::default(), sum)
    }
}

/// Something that can go by itself.
#[derive(Debug)]
struct Item {
    holding: Holding,
    /// Relative to the store; by this it is named where it is used.
    name: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// How taking something away went.
enum Taken {
    /// It lies there now, in nobody's sight.
    Away(PathBuf),
    /// Somebody has it.
    InUse,
    /// Somebody else was faster.
    Gone,
}

impl Store {
    /// Removes what is due and nobody uses. Other processes may build with the store and prune it all the while.
    ///
    /// # Errors
    /// The store cannot be read. What alone cannot be removed is in the answer.
    pub fn prune(&self, what: &Prune) -> Result<Pruned> {
        let mut items = self.items()?;
        items.sort_by(|one, other| (one.used, &one.name).cmp(&(other.used, &other.name)));
        let mut pruned = Pruned::default();
        items.iter().for_each(|item| pruned.left.add(item.bytes));
        let now = SystemTime::now();
        let mut away = Vec::new();
        {
            let _alone = self.names_lock(FlockOperation::LockExclusive)?;
            let used = self.used()?;
            for item in items {
                let idle = now.duration_since(item.used).unwrap_or_default();
                let is_old = what.max_age.is_some_and(|most| idle > most);
                let is_too_much = what.max_size.is_some_and(|most| pruned.left.bytes > most);
                if !(what.all || is_old || is_too_much) {
                    continue;
                }
                match self.take_away(&item, &used, what.dry_run) {
                    Ok(Taken::Away(path)) => {
                        pruned.left = Amount { count: pruned.left.count - 1, bytes: pruned.left.bytes - item.bytes };
                        away.push((item, path));
                    }
                    Ok(Taken::InUse) => pruned.in_use.add(item.bytes),
                    Ok(Taken::Gone) => pruned.left = Amount { count: pruned.left.count - 1, bytes: pruned.left.bytes - item.bytes },
                    Err(error) => pruned.failed.push(format!("{} cannot be taken away: {error}", item.name.display())),
                }
            }
        }
        for (item, path) in away {
            match if what.dry_run { Ok(()) } else { remove(&path) } {
                Ok(()) => pruned.freed.entry(item.holding).or_default().add(item.bytes),
                Err(why) => pruned.failed.push(format!("{} cannot be removed: {why}", item.name.display())),
            }
        }
        Ok(pruned)
    }

    fn items(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut folders: Vec<(PathBuf, Holding)> = FOLDERS.iter().map(|(name, holding)| (PathBuf::from(name), *holding)).collect();
        for entry in Root::open(&self.path)?.read_dir("")? {
            if entry.kind == Kind::Directory && entry.name.as_encoded_bytes().starts_with(LAYERS.as_bytes()) {
                folders.push((entry.name.into(), Holding::Layer));
            }
        }
        for (folder, holding) in folders {
            let path = self.path.join(&folder);
            let entries = match std::fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("read", &path)(error)),
            };
            for entry in entries {
                let name = folder.join(entry.map_err(failed("read", &path))?.file_name());
                // What goes away meanwhile is somebody else's doing.
                items.extend(look(&self.path.join(&name), holding).map(|(used, bytes)| Item { holding, name, used, bytes }));
            }
        }
        Ok(items)
    }

    /// Moves something to where nobody looks. Nobody can say meanwhile that he uses it.
    fn take_away(&self, item: &Item, used: &BTreeSet<PathBuf>, dry_run: bool) -> io::Result<Taken> {
        let path = self.path.join(&item.name);
        // A blob that is on its way is called by its digest, and after a dot by who brings it.
        let whole = item.name.file_name().and_then(|name| name.as_encoded_bytes().split(|&byte| byte == b'.').next());
        let whole = whole.map(|name| item.name.with_file_name(OsStr::from_bytes(name)));
        if used.contains(&item.name) || whole.is_some_and(|whole| used.contains(&whole)) {
            return Ok(Taken::InUse);
        }
        let (path, _locks) = match item.holding {
            // Its users hold a lock on it, as long as a command runs that has it.
            Holding::Cache => match locks_of_cache(&path)? {
                Some(locks) => (path.join("files"), Some(locks)),
                None => return Ok(Taken::InUse),
            },
            Holding::Blob | Holding::Layer | Holding::Download | Holding::Record => (path, None),
        };
        if dry_run {
            return Ok(Taken::Away(path));
        }
        let away = self.temporary_path();
        match std::fs::rename(&path, &away) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
            done => done?,
        }
        if item.holding == Holding::Layer
            && let Some(name) = item.name.file_name()
        {
            self.forget_lock(&self.path.join("locks").join(name));
        }
        Ok(Taken::Away(away))
    }

    /// Removes the lock of what is not there any more, unless somebody holds it.
    fn forget_lock(&self, path: &Path) {
        if let Ok(file) = File::open(path)
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            drop(std::fs::remove_file(path));
        }
    }
}

/// When something was used and what it takes; none for what is none of those things.
fn look(path: &Path, holding: Holding) -> Option<(SystemTime, u64)> {
    match holding {
        Holding::Blob | Holding::Download | Holding::Record => {
            let found = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
            Some((found.modified().ok()?, found.blocks() * 512))
        }
        Holding::Layer => {
            let done = path.join(DONE);
            let used = std::fs::metadata(&done).ok()?.modified().ok()?;
            let known = std::fs::read_to_string(&done).ok().and_then(|text| text.trim().parse().ok());
            Some((used, known.unwrap_or_else(|| measure_layer(&path.join("fs"), &done, used))))
        }
        // The lock is written anew with each use.
        Holding::Cache => {
            let files = path.join("files");
            files.is_dir().then(|| Some((std::fs::metadata(path.join("lock")).ok()?.modified().ok()?, size_of_tree(&files))))?
        }
    }
}

/// A layer does not change, so that its size need not be found out again.
fn measure_layer(files: &Path, done: &Path, used: SystemTime) -> u64 {
    let bytes = size_of_tree(files);
    let kept = File::options().write(true).open(done).and_then(|mut file| {
        io::Write::write_all(&mut file, format!("{bytes}\n").as_bytes())?;
        file.set_times(std::fs::FileTimes::new().set_modified(used))
    });
    // It is measured again then.
    drop(kept);
    bytes
}

/// What a tree takes of the disk, about; what cannot be looked at counts nothing.
fn size_of_tree(directory: &Path) -> u64 {
    let walk = || -> std::result::Result<u64, crate::fs::Error> {
        let mut bytes = BLOCK;
        let mut linked = BTreeSet::new();
        let mut walk = Root::open(directory)?.walk("")?;
        while let Ok(Some(entry)) = walk.next() {
            let found = &entry.metadata;
            let counted = found.nlink > 1 && found.kind != Kind::Directory && !linked.insert(found.ino);
            bytes += match found.kind {
                Kind::File if !counted => found.size.next_multiple_of(BLOCK),
                Kind::Directory => BLOCK,
                _ => 0,
            };
        }
        Ok(bytes)
    };
    walk().unwrap_or(0)
}

/// The locks of a cache's directory, or none where somebody has it: the one that it is set up with, and the one of its users.
fn locks_of_cache(path: &Path) -> io::Result<Option<[File; 2]>> {
    let setup = File::open(path.join("lock"))?;
    let files = File::open(path.join("files"))?;
    let is_ours = |file: &File| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok((is_ours(&setup) && is_ours(&files)).then_some([setup, files]))
}

fn remove(path: &Path) -> std::result::Result<(), String> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let removed = Root::open(parent).and_then(|root| root.remove(name));
    removed.map_err(|error| std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
