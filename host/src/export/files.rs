//! The files that say which image was made, in kaniko's formats.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::oci::{DOCKER_HUB, Digest, Reference};

use super::{ExportError, Outputs};

/// Writes the digest files that are asked for.
pub(super) fn write(outputs: &Outputs, digest: Digest) -> Result<(), ExportError> {
    let lines = |line: fn(&Reference, Digest) -> String| outputs.destinations.iter().map(|to| line(to, digest)).collect::<String>();
    put(&outputs.digest_file, || digest.to_string())?;
    put(&outputs.image_name_with_digest_file, || lines(|to, digest| format!("{}@{digest}\n", name(to))))?;
    let tagged = |to: &Reference, digest| format!("{}:{}@{digest}\n", name(to), to.tag().unwrap_or("latest"));
    put(&outputs.image_name_tag_with_digest_file, || lines(tagged))
}

/// As kaniko writes names, which pipelines read: Docker Hub by its old one.
fn name(of: &Reference) -> String {
    let registry = if of.registry() == DOCKER_HUB { "index.docker.io" } else { of.registry() };
    format!("{registry}/{}", of.repository())
}

fn put(path: &Option<PathBuf>, text: impl Fn() -> String) -> Result<(), ExportError> {
    let Some(path) = path else { return Ok(()) };
    let written = replace(path, |mut file| file.write_all(text().as_bytes()));
    written.map_err(|source| ExportError::File { what: "the digest file", path: path.clone(), source })
}

/// Writes a file so that its name never stands for half of it. What cannot be replaced, such as a device or the mounted
/// file of a pod's termination message, is written in place.
pub(super) fn replace(path: &Path, fill: impl Fn(File) -> io::Result<()>) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let in_place = || fill(OpenOptions::new().write(true).create(true).truncate(true).open(path)?);
    // A link is written through, and so stays a link.
    let path_is = fs::symlink_metadata(path).map(|found| found.file_type());
    if path_is.is_ok_and(|kind| kind.is_symlink() || kind.is_char_device() || kind.is_block_device() || kind.is_fifo()) {
        return in_place();
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside = path.with_file_name(name);
    let file = match File::create(&beside) {
        Ok(file) => file,
        // The file may be writable where its directory is not.
        Err(_) => return in_place(),
    };
    let filled = fill(file);
    match filled.and_then(|()| fs::rename(&beside, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            match error.kind() {
                io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => in_place(),
                _ => Err(error),
            }
        }
    }
}
