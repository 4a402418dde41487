//! The files that say which image was made, in the formats of kaniko and buildx.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::image::{Documents, Image};
use crate::oci::{DOCKER_HUB, Digest, Reference};

use super::{ExportError, Outputs};

/// Writes the files that are asked for.
pub(super) fn write(outputs: &Outputs, documents: &Documents, image: &Image) -> Result<(), ExportError> {
    let digest = documents.descriptor.digest;
    let lines = |line: fn(&Reference, Digest) -> String| outputs.destinations.iter().map(|to| line(to, digest)).collect::<String>();
    put(&outputs.digest_file, || digest.to_string())?;
    put(&outputs.image_name_with_digest_file, || lines(|to, digest| format!("{}@{digest}\n", name(to))))?;
    put(&outputs.image_name_tag_with_digest_file, || lines(|to, digest| format!("{}@{digest}\n", tagged(to))))?;
    put(&outputs.metadata_file, || metadata(outputs, documents, image))?;
    let images = outputs.builder_output.as_ref().map(|directory| directory.join("images"));
    put(&images, || {
        let line = |to: &Reference| json!({ "name": tagged(to), "digest": digest.to_string() }).to_string() + "\n";
        outputs.destinations.iter().map(line).collect()
    })
}

/// What buildx writes for `--metadata-file`.
fn metadata(outputs: &Outputs, documents: &Documents, image: &Image) -> String {
    let descriptor = &documents.descriptor;
    let platform = image.config.platform();
    let mut of_platform = json!({ "architecture": platform.architecture, "os": platform.os });
    if let Some(variant) = platform.variant {
        of_platform["variant"] = variant.into();
    }
    let mut about =
        json!({ "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size, "platform": of_platform });
    if !image.annotations.is_empty() {
        about["annotations"] = json!(image.annotations);
    }
    let mut all = json!({
        "containerimage.config.digest": documents.config_descriptor.digest,
        "containerimage.descriptor": about,
        "containerimage.digest": descriptor.digest,
    });
    if !outputs.destinations.is_empty() {
        // As buildx has them: Docker Hub by its own name, and no tag where none was given.
        let name = |to: &Reference| match to.tag() {
            Some(tag) => format!("{}/{}:{tag}", to.registry(), to.repository()),
            None => format!("{}/{}", to.registry(), to.repository()),
        };
        all["image.name"] = outputs.destinations.iter().map(name).collect::<Vec<_>>().join(",").into();
    }
    format!("{all:#}\n")
}

fn tagged(of: &Reference) -> String {
    format!("{}:{}", name(of), of.tag().unwrap_or("latest"))
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
