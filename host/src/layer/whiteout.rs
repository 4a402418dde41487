//! The names that stand in a layer for what is no longer there (image-spec, layer.md, "Whiteouts").
//!
//! On the disk, in the form that overlayfs reads, they are a character device 0:0 and an extended attribute.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fs::{Kind, Metadata};

/// What the name of a marker begins with.
pub const MARKER_PREFIX: &[u8] = b".wh.";
/// Markers of aufs, which invented these names; the opaque marker is the one that stayed.
const META_PREFIX: &[u8] = b".wh..wh.";
/// The name of the marker that hides what the layers below have in a directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// By this character device overlayfs knows that there is nothing, whatever is below.
pub const WHITEOUT_DEVICE: (u32, u32) = (0, 0);

/// The extended attribute by which overlayfs knows a directory that hides the one below it; its value is `y`.
pub fn opaque_xattr() -> &'static str {
    if crate::fs::in_user_namespace() { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// What the name of an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Marker {
    /// It is an entry like any other.
    Entry,
    /// This path is gone.
    Removed(PathBuf),
    /// What this directory had in the layers below is gone.
    Opaque(PathBuf),
    /// It means nothing outside aufs.
    Ignored,
    /// It would remove a directory by the name `.` or `..`, or nothing at all.
    Invalid,
}

/// Reads the name of an entry; the path is relative and without `.` and `..`.
pub fn classify(path: &Path) -> Marker {
    let Some(name) = path.file_name().map(OsStr::as_bytes) else { return Marker::Entry };
    let parent = || path.parent().map(Path::to_path_buf).unwrap_or_default();
    if name == OPAQUE {
        return Marker::Opaque(parent());
    }
    if path.iter().any(|part| part.as_bytes().starts_with(META_PREFIX)) {
        return Marker::Ignored;
    }
    match name.strip_prefix(MARKER_PREFIX) {
        None => Marker::Entry,
        Some(b"" | b"." | b"..") => Marker::Invalid,
        Some(hidden) => Marker::Removed(parent().join(OsStr::from_bytes(hidden))),
    }
}

/// Whether a file of that name would be taken for a marker by whoever unpacks the layer.
pub fn is_reserved(name: &OsStr) -> bool {
    name.as_bytes().starts_with(MARKER_PREFIX)
}

/// The name of the marker that removes a path.
pub fn marker_for(path: &Path) -> PathBuf {
    let mut name = OsString::from(".wh.");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Whether a file on the disk is what overlayfs takes for a removal.
pub fn is_device(metadata: &Metadata) -> bool {
    metadata.kind == Kind::CharDevice && metadata.device == WHITEOUT_DEVICE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_classified_by_their_last_part() {
        for (path, marker) in [
            ("a", Marker::Entry),
            ("", Marker::Entry),
            ("a/.wh.b", Marker::Removed("a/b".into())),
            (".wh.b", Marker::Removed("b".into())),
            (".wh..hidden", Marker::Removed(".hidden".into())),
            ("a/.wh..wh..opq", Marker::Opaque("a".into())),
            (".wh..wh..opq", Marker::Opaque("".into())),
            (".wh..wh.plnk/1.2", Marker::Ignored),
            (".wh..wh.aufs", Marker::Ignored),
            (".wh.", Marker::Invalid),
            ("a/.wh..", Marker::Invalid),
            ("a/.wh...", Marker::Invalid),
            (".wh....", Marker::Removed("...".into())),
        ] {
            assert_eq!(classify(Path::new(path)), marker, "{path}");
        }
        assert_eq!(marker_for(Path::new("a/b")), Path::new("a/.wh.b"));
    }
}
