//! Files that an instruction carries or that were downloaded: a flat list as a tree.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Look, Node, ReadTree, Result, TreeError};
use crate::fs::{DirEntry, Kind, Time, Xattrs};

/// A file of a list.
#[derive(Clone, Debug)]
pub struct ListedFile {
    /// Without a slash.
    pub name: OsString,
    /// 0 to 0o7777.
    pub mode: u32,
    /// Of the content.
    pub mtime: Time,
    /// The content.
    pub data: ListedData,
}

/// What a listed file holds.
#[derive(Clone, Debug)]
pub enum ListedData {
    /// At hand.
    Bytes(Arc<[u8]>),
    /// A file of this machine, which nobody else writes to.
    File {
        /// Where it is.
        path: PathBuf,
        /// In bytes.
        size: u64,
    },
}

/// A root directory with files in it, all of them 0:0.
#[derive(Clone, Debug, Default)]
pub struct FileList {
    files: Vec<ListedFile>,
}

impl FileList {
    /// Later files of one name hide earlier ones.
    pub fn new(files: Vec<ListedFile>) -> Self {
        Self { files }
    }

    fn file(&self, path: &Path) -> Option<&ListedFile> {
        self.files.iter().rev().find(|file| Path::new(&file.name) == path)
    }
}

impl Look for FileList {
    fn stat(&self, path: &Path) -> Result<Option<Node>> {
        let root = path.as_os_str().is_empty();
        let blank = Node {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: self.files.first().map_or_else(Time::default, |file| file.mtime),
            size: 0,
            device: (0, 0),
            link: None,
            stamp: None,
        };
        Ok(self.file(path).map_or(root.then_some(blank), |file| {
            let size = match &file.data {
                ListedData::Bytes(bytes) => bytes.len() as u64,
                ListedData::File { size, .. } => *size,
            };
            Some(Node { kind: Kind::File, mode: file.mode & 0o7777, mtime: file.mtime, size, ..blank })
        }))
    }

    fn read_link(&self, path: &Path) -> Result<OsString> {
        Err(TreeError::Missing { path: path.to_owned(), wanted: "a symbolic link" })
    }
}

impl ReadTree for FileList {
    fn entries(&self, _path: &Path) -> Result<Vec<DirEntry>> {
        let mut entries: Vec<_> = self.files.iter().map(|file| DirEntry { name: file.name.clone(), kind: Kind::File }).collect();
        entries.sort_unstable();
        entries.dedup();
        Ok(entries)
    }

    fn open(&self, path: &Path, _node: &Node) -> Result<Box<dyn Read + Send>> {
        let file = self.file(path).ok_or_else(|| TreeError::Missing { path: path.to_owned(), wanted: "a file" })?;
        match &file.data {
            ListedData::Bytes(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            ListedData::File { path, .. } => match File::open(path) {
                Ok(file) => Ok(Box::new(file)),
                Err(source) => Err(TreeError::Io { action: "open", path: path.clone(), source }),
            },
        }
    }

    fn xattrs(&self, _path: &Path) -> Result<Xattrs> {
        Ok(Xattrs::new())
    }

    fn everything(&self) -> Result<Vec<PathBuf>> {
        Ok(self.files.iter().map(|file| PathBuf::from(&file.name)).collect())
    }
}
