//! Taking away the mount points that were made for a step.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::beneath::{Tree, remove_stub};

/// Removes `stubs` from `rootfs` as far as the step left them empty, and returns the directories that were there
/// before and held one, each with all above it.
pub(super) fn clean_up(rootfs: &Path, stubs: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    if stubs.is_empty() {
        return Ok(Vec::new());
    }
    let tree = Tree::open(rootfs)?;
    for stub in stubs.iter().rev() {
        match remove_stub(tree.root().as_fd(), stub) {
            Ok(()) => {}
            // The step removed it, put something into it, or put something in its place: that is the step's work.
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let made: BTreeSet<&Path> = stubs.iter().map(PathBuf::as_path).collect();
    let above = stubs.iter().flat_map(|stub| stub.ancestors().skip(1));
    let touched: BTreeSet<PathBuf> = above.filter(|path| !made.contains(path)).map(|path| Path::new("/").join(path)).collect();
    Ok(touched.into_iter().collect())
}
