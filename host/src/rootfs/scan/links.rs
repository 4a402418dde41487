//! Names that share a file, and names that are no file's.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{Entry, Snapshot};

impl Snapshot {
    /// Each regular file that has several names in the tree: its size in bytes, and the names, sorted. Those that take least when each name
    /// gets a file of its own come first.
    pub fn shared(&self) -> Vec<(u64, Vec<PathBuf>)> {
        let mut by_inode: HashMap<(u64, u64), (u64, Vec<PathBuf>)> = HashMap::new();
        self.visit(&mut |directory, name, entry| {
            if entry.kind() == FileType::RegularFile && entry.linked {
                let file = by_inode.entry((entry.device, entry.inode)).or_default();
                file.0 = entry.size;
                file.1.push(directory.join(name));
            }
        });
        let mut files: Vec<(u64, Vec<PathBuf>)> = by_inode.into_values().filter(|(_, names)| names.len() > 1).collect();
        files.iter_mut().for_each(|(_, names)| names.sort_unstable());
        files.sort_unstable_by(|(one, names), (other, others)| {
            let cost = |size: u64, names: &[PathBuf]| size.saturating_mul(names.len() as u64 - 1);
            (cost(*one, names), names).cmp(&(cost(*other, others), others))
        });
        files
    }

    /// The sockets in the tree. No layer has any.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.visit(&mut |directory, name, entry| {
            if entry.kind() == FileType::Socket {
                found.push(directory.join(name));
            }
        });
        found
    }

    /// Shows every entry: the directory that it lies in, its name and itself.
    fn visit(&self, show: &mut dyn FnMut(&Path, &OsStr, &Entry)) {
        let mut todo: Vec<(usize, PathBuf)> = if self.directories.is_empty() { Vec::new() } else { vec![(0, PathBuf::new())] };
        while let Some((at, path)) = todo.pop() {
            let Some(directory) = self.directories.get(at) else { continue };
            for (name, entry) in directory.entries() {
                if entry.kind() == FileType::Directory {
                    todo.push((entry.directory as usize, path.join(name)));
                }
                show(&path, name, entry);
            }
        }
    }
}
