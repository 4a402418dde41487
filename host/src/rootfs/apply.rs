//! Carrying out operations on the files of a stage, as BuildKit does.
//!
//! Written once, against [`Tree`]: whether the files lie on a disk or in an index makes no difference to what comes out.
//! Destinations and sources are resolved within their trees. Where a plain copy would differ from BuildKit's it is said at the
//! function.

mod copy;
mod fingerprint;
mod select;
mod unpack;
mod watched;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chmod::{BadMode, Chmod};
use super::owner::{OwnerError, resolve_owner};
use super::tree::{Content, Last, ReadTree, Tree, TreeError, make_dirs, normalise, resolve};
use crate::context::IgnoreError;
use crate::fs::{Attributes, Kind, Shown, Time};
use crate::layer::entries::ReadError;
use crate::layer::whiteout::is_reserved;
use crate::operation::{self, Operation, Ownership};

pub use fingerprint::{Selected, fingerprint, stamps};

/// Why an operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A literal source that is not there.
    #[error("{path:?} not found in the source{hint}", hint = hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default())]
    NotFound {
        /// As written.
        path: String,
        /// Why, or what may be meant.
        hint: Option<String>,
    },
    /// A pattern that is none.
    #[error("invalid pattern {0:?}: an open bracket, an empty class or a backslash at its end")]
    Pattern(String),
    /// The same of `--exclude`.
    #[error("invalid pattern to exclude")]
    Exclude(#[from] IgnoreError),
    /// A link that leads nowhere, where it counts.
    #[error("the symbolic link {} in the source points to nothing, and patterns look at what links point to: exclude it too", Shown(.0))]
    Dangling(PathBuf),
    /// A file where a directory stands, or the other way round.
    #[error("cannot put {what} in place of {there}: {}", Shown(path))]
    Conflict {
        /// In the root filesystem.
        path: PathBuf,
        /// What was to be there.
        what: Kind,
        /// What is there.
        there: Kind,
    },
    /// A name that means a removal to whoever unpacks the layer.
    #[error("cannot create {}: a name that starts with `.wh.` stands for a removed file in a layer", Shown(.0))]
    Reserved(PathBuf),
    /// Directories below each other without end.
    #[error("too many directories below each other: {}", Shown(.0))]
    Deep(PathBuf),
    /// The mode.
    #[error(transparent)]
    Mode(#[from] BadMode),
    /// The owner.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// Reading or writing failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An archive that begins well and goes on badly.
    #[error("cannot unpack {archive:?}")]
    Archive {
        /// Its path in the source.
        archive: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// An entry of an archive that makes no sense.
    #[error("cannot unpack {}: {what}", Shown(archive))]
    ArchiveEntry {
        /// Its path in the source.
        archive: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something that belongs elsewhere.
    #[error("{0} cannot be carried out on files alone")]
    Misplaced(&'static str),
}

/// The result of everything here.
pub type Result<T, E = ApplyError> = std::result::Result<T, E>;

/// What operations take from their surroundings.
#[derive(Clone, Debug)]
pub struct ApplyContext {
    /// Where relative paths start; absolute.
    pub working_dir: PathBuf,
    /// The time of directories that are made on the way, and of files that are written.
    pub created: Time,
}

/// Where a copy takes its files from.
#[derive(Clone)]
pub struct CopySource {
    /// The files.
    pub tree: Arc<dyn ReadTree>,
    /// Whether they keep their owners, as those of stages and images do; all others become 0:0.
    pub keep_owner: bool,
}

/// Carries out one operation; `source` is for a copy. Configuration and processes are no matter of files and an error.
///
/// For a copy with [`is_independent`], the tree must be an empty one, which is stacked afterwards.
pub fn apply(tree: &mut dyn Tree, operation: &Operation, source: Option<&CopySource>, context: &ApplyContext) -> Result<()> {
    let done = match operation {
        Operation::Copy(copy) => match source {
            Some(source) => copy::copy(tree, copy, source, context),
            None => Err(ApplyError::Misplaced("a copy without a source")),
        },
        Operation::MakeDirectory(operation) => make_directory(tree, operation, context),
        Operation::WriteFile(operation) => write_file(tree, operation, context),
        Operation::Symlink(operation) => symlink(tree, operation, context),
        Operation::Remove(path) => remove(tree, path, context),
        Operation::Configure(_) => Err(ApplyError::Misplaced("a change of the configuration")),
        Operation::Exec(_) => Err(ApplyError::Misplaced("a process")),
    };
    // What is half done keeps its times, too.
    let settled = tree.settle();
    done?;
    Ok(settled?)
}

/// Whether a copy is carried out on an empty tree and stacked (`--link`). One that changes modes looks at what is there.
pub fn is_independent(copy: &operation::Copy) -> bool {
    copy.independent && copy.ownership.mode.is_none()
}

/// Who owns what is made and which permissions it has.
#[derive(Clone, Debug, Default)]
struct Ownerships {
    owner: Option<(u32, u32)>,
    mode: Option<Chmod>,
}

impl Ownerships {
    fn new(ownership: &Ownership, tree: &dyn Tree) -> Result<Self> {
        let owner = ownership.owner.as_deref().map(|owner| resolve_owner(owner, tree)).transpose()?;
        let mode = ownership.mode.as_deref().map(str::parse).transpose()?;
        Ok(Self { owner, mode })
    }

    /// Of directories that are made on the way.
    fn implied(&self, context: &ApplyContext) -> Attributes {
        let mode = self.mode.as_ref().map_or(0o755, Chmod::implied);
        Attributes { owner: Some(self.owner.unwrap_or_default()), mode: Some(mode), mtime: Some(context.created), ..Attributes::default() }
    }

    fn mode(&self, mode: u32, directory: bool) -> u32 {
        self.mode.as_ref().map_or(mode, |chmod| chmod.apply(mode, directory))
    }
}

/// From the root of the tree on.
fn absolute(path: &str, context: &ApplyContext) -> PathBuf {
    context.working_dir.join(path)
}

/// Checks that no name of a path stands for a removal.
fn unreserved(path: &Path) -> Result<()> {
    if path.iter().any(is_reserved) { Err(ApplyError::Reserved(path.to_owned())) } else { Ok(()) }
}

fn root() -> &'static Path {
    Path::new("")
}

/// As WORKDIR does: `..` is taken back as text, links are followed, what is missing is made, what is there stays.
fn make_directory(tree: &mut dyn Tree, operation: &operation::MakeDirectory, context: &ApplyContext) -> Result<()> {
    let path = normalise(absolute(&operation.path, context).as_os_str());
    unreserved(&path)?;
    let attributes = Ownerships::new(&operation.ownership, tree)?.implied(context);
    make_dirs(tree, root(), &path, &attributes)?;
    Ok(())
}

/// The place of a new name, its parents made and what stands there removed, unless that is a directory.
fn vacate(tree: &mut dyn Tree, path: &str, what: Kind, context: &ApplyContext) -> Result<PathBuf> {
    let path = normalise(absolute(path, context).as_os_str());
    unreserved(&path)?;
    let conflict = |path: &Path| ApplyError::Conflict { path: path.to_owned(), what, there: Kind::Directory };
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(|| conflict(&path))?;
    let place = make_dirs(tree, root(), parent, &Ownerships::default().implied(context))?.join(name);
    match tree.stat(&place)? {
        Some(node) if node.is_dir() => return Err(conflict(&place)),
        Some(_) => tree.remove(&place)?,
        None => {}
    }
    Ok(place)
}

fn write_file(tree: &mut dyn Tree, operation: &operation::WriteFile, context: &ApplyContext) -> Result<()> {
    let ownerships = Ownerships::new(&operation.ownership, tree)?;
    let place = vacate(tree, &operation.path, Kind::File, context)?;
    let attributes = Attributes {
        owner: Some(ownerships.owner.unwrap_or_default()),
        mode: Some(ownerships.mode(0o644, false)),
        mtime: Some(context.created),
        ..Attributes::default()
    };
    Ok(tree.put_file(&place, &attributes, Content::Bytes(&operation.content))?)
}

fn symlink(tree: &mut dyn Tree, operation: &operation::Symlink, context: &ApplyContext) -> Result<()> {
    let place = vacate(tree, &operation.path, Kind::Symlink, context)?;
    let attributes = Attributes { owner: Some((0, 0)), mtime: Some(context.created), ..Attributes::default() };
    Ok(tree.symlink(&place, OsStr::new(&operation.target), &attributes)?)
}

fn remove(tree: &mut dyn Tree, path: &str, context: &ApplyContext) -> Result<()> {
    let path = normalise(absolute(path, context).as_os_str());
    let found = resolve(&*tree, root(), &path, Last::Keep)?;
    if found.node.is_some() {
        tree.remove(&found.path)?;
    }
    Ok(())
}
