//! Devices that this process cannot make.
//!
//! In a user namespace no device can be made. Where a layer is to have one, an empty file takes its place until the layer is written, and says
//! in an extended attribute what it stands for.

use std::ffi::OsStr;

use super::{Kind, Xattrs};

/// `c` or `b`, and the major and the minor number in decimal digits, with blanks between.
pub(super) const NODE_XATTR: &str = "user.layerwright.node";

/// The attribute of a file that stands for a device; none for what can be made.
pub fn stand_in(kind: Kind, (major, minor): (u32, u32)) -> Option<Xattrs> {
    let word = match kind {
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        _ => return None,
    };
    super::in_user_namespace().then(|| Xattrs::from([(NODE_XATTR.into(), format!("{word} {major} {minor}").into_bytes())]))
}

/// What a file with these attributes stands for; none where it stands for itself.
pub fn stood_for(xattrs: &Xattrs) -> Option<(Kind, (u32, u32))> {
    let value = xattrs.get(OsStr::new(NODE_XATTR)).filter(|_| super::in_user_namespace())?;
    read(std::str::from_utf8(value).ok()?)
}

fn read(text: &str) -> Option<(Kind, (u32, u32))> {
    let mut words = text.split(' ');
    let kind = match words.next()? {
        "c" => Kind::CharDevice,
        "b" => Kind::BlockDevice,
        _ => return None,
    };
    let device = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((kind, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_stands_for_itself() {
        assert_eq!(read("c 1 3"), Some((Kind::CharDevice, (1, 3))));
        assert_eq!(read("b 8 300"), Some((Kind::BlockDevice, (8, 300))));
        for text in ["", "c", "c 1", "c 1 3 4", "d 1 3", "c -1 3", "c 1 4294967296"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(stand_in(Kind::Fifo, (0, 0)), None);
    }
}
