use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tokio::runtime::Handle;

use super::Deps;
use super::error::Failure;
use super::handler::{FileInfo, FileKind, LookError};
use super::stage::{Shared, StageFiles, StageOutcome};
use crate::context::{BuildContext, GitReference, Location};
use crate::fetch::Downloaded;
use crate::fs::{Kind, Root, Time};
use crate::image::Image;
use crate::operation::{InlineFile, Operation, Ownership, Source};
use crate::rootfs::apply::{ApplyContext, CopySource, apply};
use crate::rootfs::disk::Disk;
use crate::rootfs::list::{FileList, ListedData, ListedFile};
use crate::rootfs::tree::{Last, ReadTree, resolve};

/// What a name in a Dockerfile stands for.
#[derive(Clone)]
pub enum PlannedSource {
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(Box<Image>),
    /// Files of a named context.
    Context(Arc<BuildContext>),
}

/// Files that a step reads.
pub enum SourceFiles {
    /// A build context.
    Context(Arc<BuildContext>),
    /// A stage that has been built.
    Stage(Arc<StageOutcome>, Arc<Shared>),
    /// An image.
    Image(Box<Image>, Arc<Shared>),
    /// What an instruction carries, or a file from the web.
    Inline(Arc<FileList>),
}

impl SourceFiles {
    /// What the main context leaves to builds.
    pub fn context(context: &Arc<BuildContext>) -> Self {
        Self::Context(Arc::clone(context))
    }

    /// Files that an instruction carries.
    pub fn inline(files: &[InlineFile], now: Option<i64>) -> Self {
        let listed = |file: &InlineFile| ListedFile {
            name: file.name.clone().into(),
            mode: file.mode,
            mtime: Time { seconds: now.unwrap_or(0), nanoseconds: 0 },
            data: ListedData::Bytes(Arc::from(file.content.as_slice())),
        };
        Self::Inline(Arc::new(FileList::new(files.iter().map(listed).collect())))
    }

    /// A file from the web.
    pub fn download(file: &Downloaded) -> Self {
        let listed = ListedFile {
            name: file.name.clone().into(),
            mode: 0o600,
            mtime: Time::from_seconds(file.modified.unwrap_or(0)),
            data: ListedData::File { path: file.path.clone(), size: file.size },
        };
        Self::Inline(Arc::new(FileList::new(vec![listed])))
    }

    /// Brings here what has to be fetched before the files can be read.
    pub async fn fetch(&self) -> Result<(), Failure> {
        match self {
            Self::Stage(outcome, shared) => {
                if outcome.files.get().is_none() {
                    let files = StageFiles::Layered(shared.image_files(&outcome.image)?);
                    // Another step may have been faster, with the same files.
                    let _ = outcome.files.set(files);
                }
                match outcome.files.get() {
                    Some(StageFiles::Overlay(_)) => Ok(()),
                    _ => shared.fetch_blobs(&outcome.image).await,
                }
            }
            Self::Image(image, shared) => shared.fetch_blobs(image).await,
            Self::Context(_) | Self::Inline(_) => Ok(()),
        }
    }

    /// The files as a tree.
    pub fn tree(&self) -> Result<Arc<dyn ReadTree>, Failure> {
        Ok(match self {
            Self::Context(context) => context_tree(context)?,
            Self::Stage(outcome, _) => outcome.tree()?,
            Self::Image(image, shared) => Arc::new(shared.image_files(image)?),
            Self::Inline(list) => Arc::clone(list) as _,
        })
    }

    /// The files for a copy: those of stages and images keep their owners.
    pub fn copy_source(&self) -> Result<CopySource, Failure> {
        Ok(CopySource { tree: self.tree()?, keep_owner: matches!(self, Self::Stage(..) | Self::Image(..)) })
    }

    /// The files as directories to be stacked, lowest first.
    pub fn directories(&self, deps: &Deps, made: &mut Vec<crate::rootfs::store::TemporaryDirectory>) -> Result<Vec<PathBuf>, Failure> {
        Ok(match self {
            Self::Context(context) if context.ignore_path.is_none() => vec![context.root.clone()],
            Self::Stage(outcome, shared) => match outcome.files.get() {
                Some(StageFiles::Overlay(files)) => files.lock().unwrap_or_else(PoisonError::into_inner).lowers().to_vec(),
                _ => Handle::current().block_on(shared.unpack(&outcome.image))?,
            },
            Self::Image(image, shared) => Handle::current().block_on(shared.unpack(image))?,
            // What is ignored must not be seen, so what is left is copied.
            Self::Context(_) | Self::Inline(_) => {
                let directory = deps.store.temporary_directory()?;
                let path = directory.path().to_owned();
                copy_into(&self.tree()?, &path)?;
                made.push(directory);
                vec![path]
            }
        })
    }
}

/// Where the repository is that an instruction names; none for a source that is no repository.
pub fn git_location(source: &Source) -> Option<Location> {
    let Source::Git { url, revision, directory, keep_git_dir, submodules, checksum } = source else { return None };
    Some(Location::Git(Box::new(GitReference {
        remote: url.clone(),
        revision: revision.clone(),
        directory: directory.clone(),
        checksum: checksum.clone(),
        keep_git_dir: Some(*keep_git_dir),
        submodules: Some(*submodules),
        ..GitReference::default()
    })))
}

/// The main context without what its ignore file excludes.
fn context_tree(context: &Arc<BuildContext>) -> Result<Arc<dyn ReadTree>, Failure> {
    let root = Root::open(&context.root)?;
    Ok(match &context.ignore_path {
        Some(path) => Arc::new(Disk::context(root, Arc::new(context.ignore.clone()), path.display().to_string())),
        None => Arc::new(Disk::new(root)),
    })
}

/// Copies a directory's content, owners and all.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    let tree: Arc<dyn ReadTree> = Arc::new(Disk::new(Root::open(from)?));
    copy_into(&tree, to)
}

/// Copies what a path names to `to`/content: the content of a directory, or a file.
pub fn copy_path(tree: &Arc<dyn ReadTree>, path: &str, to: &Path) -> Result<(), Failure> {
    copy(tree, path, "/content", to)
}

fn copy_into(tree: &Arc<dyn ReadTree>, to: &Path) -> Result<(), Failure> {
    copy(tree, ".", "/", to)
}

fn copy(tree: &Arc<dyn ReadTree>, path: &str, destination: &str, to: &Path) -> Result<(), Failure> {
    let all = Operation::Copy(crate::operation::Copy {
        from: Source::Context(String::new()),
        paths: vec![path.to_owned()],
        exclude: Vec::new(),
        destination: destination.to_owned(),
        ownership: Ownership::default(),
        unpack: false,
        parents: false,
        independent: false,
    });
    let mut target = Disk::new(Root::open(to)?);
    let context = ApplyContext { working_dir: "/".into(), created: Time { seconds: 0, nanoseconds: 0 } };
    Ok(apply(&mut target, &all, Some(&CopySource { tree: Arc::clone(tree), keep_owner: true }), &context)?)
}

/// A handler's look at a tree.
pub struct TreeLook(pub Arc<dyn ReadTree>);

impl TreeLook {
    /// At the main build context.
    pub fn context(context: &Arc<BuildContext>) -> Result<Self, LookError> {
        context_tree(context).map(Self).map_err(|failure| LookError::Failed(failure.message))
    }

    /// What lies at a path; a final link is not followed.
    pub fn stat(&self, path: &str) -> Result<Option<FileInfo>, LookError> {
        let found = resolve(&*self.0, Path::new(""), Path::new(path), Last::Keep).map_err(failed)?;
        let Some(node) = found.node else { return Ok(None) };
        let kind = match node.kind {
            Kind::File => FileKind::Regular,
            Kind::Directory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            _ => FileKind::Other,
        };
        let target = match kind {
            FileKind::Symlink => Some(self.0.read_link(&found.path).map_err(failed)?.to_string_lossy().into_owned()),
            _ => None,
        };
        Ok(Some(FileInfo { kind, mode: node.mode, uid: node.uid, gid: node.gid, size: node.size, target }))
    }

    /// The content of a regular file, links followed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, LookError> {
        let found = resolve(&*self.0, Path::new(""), Path::new(path), Last::Follow).map_err(failed)?;
        let node = found.node.ok_or(LookError::NotFound)?;
        if node.kind != Kind::File {
            return Err(LookError::Failed(format!("{path} is not a regular file")));
        }
        if node.size > READ_LIMIT {
            return Err(LookError::TooLarge);
        }
        let mut bytes = Vec::new();
        let content = self.0.open(&found.path, &node).map_err(failed)?;
        content.take(READ_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| LookError::Failed(e.to_string()))?;
        if bytes.len() as u64 > READ_LIMIT { Err(LookError::TooLarge) } else { Ok(bytes) }
    }

    /// The names in a directory, links followed.
    pub fn entries(&self, path: &str) -> Result<Vec<String>, LookError> {
        let found = resolve(&*self.0, Path::new(""), Path::new(path), Last::Follow).map_err(failed)?;
        let node = found.node.ok_or(LookError::NotFound)?;
        if !node.is_dir() {
            return Err(LookError::Failed(format!("{path} is not a directory")));
        }
        let names = self.0.entries(&found.path).map_err(failed)?;
        if names.len() > ENTRIES_LIMIT {
            return Err(LookError::TooLarge);
        }
        Ok(names.iter().map(|entry| OsStr::to_string_lossy(&entry.name).into_owned()).collect())
    }
}

/// The largest file that a handler reads, in bytes.
const READ_LIMIT: u64 = 1 << 20;
/// The most names that a handler is given.
const ENTRIES_LIMIT: usize = 10_000;

fn failed(error: crate::rootfs::tree::TreeError) -> LookError {
    LookError::Failed(error.to_string())
}
