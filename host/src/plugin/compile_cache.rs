//! Compiled plugins on disk: `<folder>/<engine>/<digest of the component>.cwasm`.
//!
//! Whoever can write here runs code as this process. So the folder belongs to the user and to nobody else, the file as well, and the content
//! carries a checksum; where anything is off, the plugin is compiled anew. The cache never fails a build.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::precompiled::{Trusted, seal};

/// More than the code of the largest plugin that is taken in.
const LARGEST: u64 = 1 << 30;

/// A folder of compiled plugins that fit one engine.
pub(super) struct CompileCache {
    folder: PathBuf,
}

/// What the cache has.
pub(super) enum Found {
    Component(Component),
    Nothing,
    /// Something that is not to be used; says why.
    Unfit(String),
}

impl CompileCache {
    /// Makes the folder, private to the user.
    ///
    /// # Errors
    /// Where it cannot be made, is a link, or is open to others.
    pub(super) fn open(root: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let folder = root.join(format!("{:016x}", hasher.finish()));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        private(root)?;
        private(&folder)?;
        Ok(Self { folder })
    }

    /// The compiled form of the component of this digest.
    pub(super) fn get(&self, engine: &Engine, digest: &str) -> Found {
        let path = self.path(digest);
        let content = match read_own(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return Found::Unfit(format!("{}: {error}", path.display())),
        };
        match Trusted::unseal(&content, digest) {
            None => Found::Unfit(format!("{}: its checksum is wrong", path.display())),
            Some(code) => match code.load(engine) {
                Ok(component) => Found::Component(component),
                Err(error) => Found::Unfit(format!("{}: {error}", path.display())),
            },
        }
    }

    /// Keeps a compiled component; what is there is replaced at once or not at all.
    ///
    /// # Errors
    /// Where the disk is full or read-only.
    pub(super) fn put(&self, digest: &str, compiled: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let new = self.folder.join(format!(".{digest}.{}.{count}", process::id()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(&seal(digest, compiled))?;
            fs::rename(&new, self.path(digest))
        });
        written.inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.cwasm"))
    }
}

/// Checks that a folder is one, is ours, and is closed to others.
fn private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    check(found.is_dir(), "it is not a directory", folder)?;
    check(found.uid() == rustix::process::geteuid().as_raw(), "it belongs to another user", folder)?;
    check(found.mode() & 0o077 == 0, "others may enter it (its mode must be 0700)", folder)
}

/// Reads a regular file that nobody else can have written.
fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    check(found.is_file() && found.nlink() == 1, "it is not a plain file", path)?;
    check(found.uid() == rustix::process::geteuid().as_raw(), "it belongs to another user", path)?;
    check(found.mode() & 0o022 == 0, "others may write it", path)?;
    check(found.len() <= LARGEST, "it is too large", path)?;
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content)?;
    Ok(content)
}

fn check(holds: bool, otherwise: &str, path: &Path) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {otherwise}", path.display()))) }
}
