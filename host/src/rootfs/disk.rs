//! A directory of this machine as a tree.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::tree::{Content, Look, Node, ReadTree, Result, Stamp, Tree, TreeError, belongs_in_image};
use crate::context::{IgnoreFile, Verdict};
use crate::fs::{self, Attributes, DirEntry, Kind, Metadata, Root, Time, Xattrs};
use crate::layer::entries::LONGEST_NAME;

const BUFFER: usize = 128 << 10;
/// Of a file that is about to take another one's place; added to its name.
const PARTED: &str = ".layerwright-part";

/// A directory, all of it or what an ignore file leaves of it.
#[derive(Debug)]
pub struct Disk {
    root: Root,
    ignored: Option<Ignored>,
    /// Directories whose time of modification must be put back.
    times: HashMap<PathBuf, Time>,
}

#[derive(Debug)]
struct Ignored {
    patterns: Arc<IgnoreFile>,
    /// Where the patterns stand, for messages.
    file: String,
    /// What they say about directories, and whether these are there at all.
    known: Mutex<HashMap<PathBuf, Known>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    verdict: Verdict,
    visible: Option<bool>,
}

impl Disk {
    /// The whole directory.
    pub fn new(root: Root) -> Self {
        Self { root, ignored: None, times: HashMap::new() }
    }

    /// What the patterns leave of a build context; `file` is where they stand.
    pub fn context(root: Root, patterns: Arc<IgnoreFile>, file: impl Into<String>) -> Self {
        let ignored = Ignored { patterns, file: file.into(), known: Mutex::default() };
        Self { ignored: Some(ignored), ..Self::new(root) }
    }

    /// The directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What the patterns say of a path, its parents first.
    fn verdict(&self, ignored: &Ignored, path: &Path) -> Verdict {
        let Some(parent) = path.parent() else { return Verdict::default() };
        let known = ignored.known.lock().unwrap_or_else(PoisonError::into_inner).get(parent).copied();
        let above = match known {
            Some(known) => known.verdict,
            None => {
                let verdict = self.verdict(ignored, parent);
                let mut known = ignored.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(parent.to_owned()).or_insert(Known { verdict, visible: None });
                verdict
            }
        };
        ignored.patterns.descend(above, &path.to_string_lossy())
    }

    /// Whether a path counts. A directory that is ignored does where something below it does not.
    fn visible(&self, path: &Path, kind: Kind) -> Result<bool> {
        let Some(ignored) = &self.ignored else { return Ok(true) };
        if path.as_os_str().is_empty() {
            return Ok(true);
        }
        let verdict = self.verdict(ignored, path);
        if !ignored.patterns.excludes(verdict) {
            return Ok(true);
        }
        if !ignored.patterns.has_negation() || ignored.patterns.skips(verdict, &path.to_string_lossy()) || kind != Kind::Directory {
            return Ok(false);
        }
        let known = ignored.known.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        if let Some(visible) = known.and_then(|known| known.visible) {
            return Ok(visible);
        }
        let mut visible = false;
        for entry in self.root.read_dir(path)? {
            if self.visible(&path.join(&entry.name), entry.kind)? {
                visible = true;
                break;
            }
        }
        let mut known = ignored.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), Known { verdict, visible: Some(visible) });
        Ok(visible)
    }

    /// Gives one name of a file with several a file of its own that is the same.
    pub(in crate::rootfs) fn part(&mut self, path: &Path) -> Result<()> {
        let Some(found) = self.root.stat(path)?.filter(|found| found.kind == Kind::File && found.nlink > 1) else { return Ok(()) };
        let mut own = path.to_owned().into_os_string();
        own.push(PARTED);
        // A name may be as long as names can be.
        let own = match Path::new(&own).file_name().is_some_and(|name| name.len() > LONGEST_NAME) {
            true => path.with_file_name(PARTED),
            false => PathBuf::from(own),
        };
        self.keep_time_of_parent(path)?;
        let attributes = Attributes {
            owner: Some((found.uid, found.gid)),
            mode: Some(found.mode),
            xattrs: self.xattrs(path)?,
            mtime: Some(found.mtime),
        };
        let failed = |action| move |source| TreeError::Io { action, path: path.to_owned(), source };
        let mut from = self.root.open_file(path)?;
        let mut to = self.root.create_file(&own, 0o600)?;
        // Where the filesystem can, they go on sharing their blocks.
        io::copy(&mut from, &mut to).map_err(failed("copy"))?;
        fs::set_attributes(&to, &attributes).map_err(failed("set attributes of"))?;
        Ok(self.root.rename(&own, path)?)
    }

    /// To be called before something is put into the parent of a path or taken from it.
    pub(in crate::rootfs) fn keep_time_of_parent(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if !self.times.contains_key(parent)
            && let Some(metadata) = self.root.stat(here(parent))?
        {
            self.times.insert(parent.to_owned(), metadata.mtime);
        }
        Ok(())
    }

    fn write(&self, path: &Path, attributes: &Attributes, content: &mut dyn Read, size: Option<u64>) -> Result<()> {
        // Nobody else reads it before it is whole and its mode is set.
        let mut file = self.root.create_file(path, 0o600)?;
        let failed = |source| TreeError::Io { action: "write", path: path.to_owned(), source };
        let mut buffer = [0; BUFFER];
        let mut written = 0;
        loop {
            let length = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            file.write_all(buffer.get(..length).unwrap_or_default()).map_err(failed)?;
            written += length as u64;
        }
        if size.is_some_and(|size| size != written) {
            return Err(TreeError::Changed { path: path.to_owned() });
        }
        fs::set_attributes(&file, attributes).map_err(|source| TreeError::Io { action: "set attributes of", path: path.to_owned(), source })
    }
}

/// The root has a name too.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new("/") } else { path }
}

fn node(metadata: &Metadata) -> Node {
    let linked = metadata.nlink > 1 && metadata.kind != Kind::Directory;
    Node {
        kind: metadata.kind,
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        size: if metadata.kind == Kind::File { metadata.size } else { 0 },
        device: metadata.device,
        link: linked.then_some((metadata.dev, metadata.ino)),
        stamp: Some(Stamp { dev: metadata.dev, ino: metadata.ino, ctime: metadata.ctime }),
    }
}

impl Look for Disk {
    fn stat(&self, path: &Path) -> Result<Option<Node>> {
        let Some(metadata) = self.root.stat(here(path))? else { return Ok(None) };
        let counts = self.visible(path, metadata.kind)?;
        Ok(counts.then(|| node(&metadata)))
    }

    fn read_link(&self, path: &Path) -> Result<OsString> {
        Ok(self.root.read_link(path)?.into_os_string())
    }
}

impl ReadTree for Disk {
    fn entries(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let mut entries = self.root.read_dir(here(path))?;
        if self.ignored.is_some() {
            let mut kept = Vec::with_capacity(entries.len());
            for entry in entries {
                if self.visible(&path.join(&entry.name), entry.kind)? {
                    kept.push(entry);
                }
            }
            entries = kept;
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, node: &Node) -> Result<Box<dyn Read + Send>> {
        let file = self.root.open_file(path)?;
        let failed = |source: io::Error| TreeError::Io { action: "stat", path: path.to_owned(), source };
        let now = Metadata::from(rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?);
        if now.size != node.size || now.mtime != node.mtime {
            return Err(TreeError::Changed { path: path.to_owned() });
        }
        Ok(Box::new(file))
    }

    fn xattrs(&self, path: &Path) -> Result<Xattrs> {
        let mut xattrs = self.root.xattrs(here(path))?;
        xattrs.retain(|name, _| belongs_in_image(name));
        Ok(xattrs)
    }

    fn hidden(&self, path: &Path) -> Option<String> {
        let ignored = self.ignored.as_ref()?;
        let there = self.root.stat(here(path)).ok().flatten().is_some();
        (there && ignored.patterns.excludes(self.verdict(ignored, path))).then(|| format!("it is excluded by {}", ignored.file))
    }
}

impl Tree for Disk {
    fn make_dir(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        self.keep_time_of_parent(path)?;
        self.root.make_dir(path, 0o700)?;
        self.set_attributes(path, attributes)
    }

    fn put_file(&mut self, path: &Path, attributes: &Attributes, content: Content<'_>) -> Result<()> {
        self.keep_time_of_parent(path)?;
        match content {
            Content::Of(tree, from, node) => {
                let mut reader = tree.open(from, node)?;
                self.write(path, attributes, &mut reader, Some(node.size))
            }
            Content::Bytes(mut bytes) => self.write(path, attributes, &mut bytes, None),
            Content::Stream(reader, size) => self.write(path, attributes, reader, Some(size)),
        }
    }

    fn symlink(&mut self, path: &Path, target: &OsStr, attributes: &Attributes) -> Result<()> {
        self.keep_time_of_parent(path)?;
        self.root.symlink(target, path)?;
        Ok(self.root.set_attributes(path, attributes)?)
    }

    fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        self.keep_time_of_parent(path)?;
        Ok(self.root.hard_link(existing, path)?)
    }

    fn make_node(&mut self, path: &Path, kind: Kind, device: (u32, u32), attributes: &Attributes) -> Result<()> {
        self.keep_time_of_parent(path)?;
        match self.root.make_node(path, kind, 0o600, device) {
            Ok(()) => Ok(self.root.set_attributes(path, attributes)?),
            Err(error) => match fs::stand_in(kind, device).filter(|_| error.kind() == io::ErrorKind::PermissionDenied) {
                Some(xattrs) => self.write(path, &Attributes { xattrs, ..attributes.clone() }, &mut io::empty(), None),
                None => Err(error.into()),
            },
        }
    }

    fn set_attributes(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        self.root.set_attributes(here(path), attributes)?;
        if let (Some(mtime), Some(kept)) = (attributes.mtime, self.times.get_mut(path)) {
            *kept = mtime;
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(self.root.clear("/")?);
        }
        self.keep_time_of_parent(path)?;
        self.times.retain(|kept, _| !kept.starts_with(path));
        Ok(self.root.remove(path)?)
    }

    fn settle(&mut self) -> Result<()> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            if self.root.stat(here(&path))?.is_some_and(|now| now.kind == Kind::Directory && now.mtime != mtime) {
                self.root.set_times(here(&path), mtime)?;
            }
        }
        Ok(())
    }
}
