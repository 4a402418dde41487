//! Hostile and odd archives. Each runs beside a canary that must stay as it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::layer::{Compression, LayerOptions, LayerWriter};

/// An archive in the making: raw headers, so that nothing is corrected on the way.
#[derive(Default)]
pub(super) struct Tar(pub(super) Vec<u8>);

/// One header; the fields that a test does not name are plain.
pub(super) struct Head<'a> {
    pub(super) name: &'a [u8],
    pub(super) flag: u8,
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: &'a [u8],
    pub(super) size: Vec<u8>,
    pub(super) device: (u32, u32),
    pub(super) magic: &'a [u8; 8],
}

impl Default for Head<'_> {
    fn default() -> Self {
        Head { name: b"", flag: b'0', link: b"", mode: 0o644, uid: b"0000000", size: Vec::new(), device: (0, 0), magic: b"ustar\x0000" }
    }
}

impl Tar {
    pub(super) fn head(&mut self, head: &Head<'_>, size: u64) -> &mut Self {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &head.name[..head.name.len().min(100)]);
        put(100, format!("{:07o}", head.mode).as_bytes());
        put(108, head.uid);
        put(116, b"0000000");
        put(124, &if head.size.is_empty() { format!("{size:011o}").into_bytes() } else { head.size.clone() });
        put(136, b"00000001750");
        put(156, &[head.flag]);
        put(157, &head.link[..head.link.len().min(100)]);
        put(257, head.magic);
        put(329, format!("{:07o}", head.device.0).as_bytes());
        put(337, format!("{:07o}", head.device.1).as_bytes());
        put(148, b"        ");
        self.sum(block)
    }

    fn sum(&mut self, mut block: [u8; 512]) -> &mut Self {
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    pub(super) fn data(&mut self, data: &[u8]) -> &mut Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn add(&mut self, flag: u8, name: &str, link: &str) -> &mut Self {
        self.head(&Head { name: name.as_bytes(), flag, link: link.as_bytes(), ..Head::default() }, 0)
    }

    pub(super) fn dir(&mut self, name: &str) -> &mut Self {
        self.head(&Head { name: name.as_bytes(), flag: b'5', mode: 0o755, ..Head::default() }, 0)
    }

    pub(super) fn file(&mut self, name: &str, content: &str) -> &mut Self {
        self.head(&Head { name: name.as_bytes(), ..Head::default() }, content.len() as u64).data(content.as_bytes())
    }

    pub(super) fn link(&mut self, name: &str, target: &str) -> &mut Self {
        self.add(b'2', name, target)
    }

    pub(super) fn hard(&mut self, name: &str, target: &str) -> &mut Self {
        self.add(b'1', name, target)
    }

    /// An extended header of any kind.
    pub(super) fn special(&mut self, flag: u8, data: &[u8]) -> &mut Self {
        let magic = if flag == b'L' || flag == b'K' { b"ustar  \0" } else { b"ustar\x0000" };
        self.head(&Head { name: b"special", flag, magic, ..Head::default() }, data.len() as u64).data(data)
    }

    pub(super) fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        self.special(b'x', &pax(records))
    }

    pub(super) fn end(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0; 1024]].concat()
    }
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..rest + 8).find(|length| *length == rest + length.to_string().len()).unwrap();
        data.extend_from_slice(format!("{length} {key}=").as_bytes());
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    data
}

/// A directory to extract to, with things beside it that nothing may touch.
struct Cage {
    dir: tempfile::TempDir,
    before: BTreeMap<String, String>,
}

impl Cage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = Root::open(dir.path()).unwrap();
        base.make_dirs("outside/dir", 0o750, (0, 0)).unwrap();
        base.create_file("outside/canary", 0o640).unwrap().write_all(b"canary").unwrap();
        base.make_dir("root", 0o755).unwrap();
        let before = tree(&Root::open(dir.path().join("outside")).unwrap());
        Self { dir, before }
    }

    fn root(&self) -> Root {
        Root::open(self.dir.path().join("root")).unwrap()
    }

    fn outside(&self) -> String {
        self.dir.path().join("outside").to_str().unwrap().to_owned()
    }

    fn extract(&self, tar: &[u8], mode: ExtractMode<'_>) -> Result<Extracted, ExtractError> {
        let limits = Limits { entries: 1_000, uncompressed: 16 << 20, content: 1 << 30, depth: 600, ..Limits::default() };
        let done = extract(tar, &self.root(), &ExtractOptions { mode, limits, expected: None });
        assert_eq!(tree(&Root::open(self.outside()).unwrap()), self.before, "something outside has changed");
        let beside: Vec<_> = Root::open(self.dir.path()).unwrap().read_dir("").unwrap();
        assert_eq!(beside.len(), 2, "something was made outside: {beside:?}");
        done
    }

    fn tree(&self) -> BTreeMap<String, String> {
        tree(&self.root())
    }
}

/// All that is in a tree, a line for each path. Times of directories only where the archive sets them all to 1000.
pub(super) fn tree(root: &Root) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut inodes: BTreeMap<u64, String> = BTreeMap::new();
    let mut walk = root.walk("").unwrap();
    while let Some(entry) = walk.next().unwrap() {
        let found = entry.metadata;
        let path = entry.path.as_os_str().as_bytes().escape_ascii().to_string();
        let mut line = format!("{:?} {:o} {}:{}", found.kind, found.mode, found.uid, found.gid);
        match found.kind {
            Kind::File => {
                let mut content = Vec::new();
                entry.open().unwrap().read_to_end(&mut content).unwrap();
                write!(line, " {}", content.escape_ascii()).unwrap();
            }
            Kind::Symlink => write!(line, " -> {}", entry.read_link().unwrap().as_bytes().escape_ascii()).unwrap(),
            Kind::CharDevice | Kind::BlockDevice => write!(line, " {:?}", found.device).unwrap(),
            _ => {}
        }
        for (name, value) in entry.xattrs().unwrap() {
            write!(line, " {}={}", name.to_str().unwrap(), value.escape_ascii()).unwrap();
        }
        if found.nlink > 1 && found.kind != Kind::Directory {
            let first = inodes.entry(found.ino).or_insert_with(|| path.clone());
            write!(line, " = {first}").unwrap();
        }
        seen.insert(path, line);
    }
    seen
}

const NONE: Lowers = Lowers { roots: Vec::new() };
const OVERLAY: ExtractMode<'static> = ExtractMode::Overlay(Some(&NONE));

/// Extracts an archive that must be good in both modes.
fn good(tar: &Tar) -> BTreeMap<String, String> {
    let cage = Cage::new();
    cage.extract(&tar.end(), OVERLAY).unwrap();
    let merged = Cage::new();
    merged.extract(&tar.end(), ExtractMode::Merge).unwrap();
    assert_eq!(cage.tree(), merged.tree());
    cage.tree()
}

fn bad(tar: &[u8]) -> String {
    let mut says = String::new();
    for mode in [OVERLAY, ExtractMode::Merge] {
        let error = Cage::new().extract(tar, mode).unwrap_err();
        says = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            write!(says, ": {error}").unwrap();
            source = error.source();
        }
    }
    says
}

fn paths(tree: &BTreeMap<String, String>) -> Vec<&str> {
    tree.keys().map(String::as_str).collect()
}

/// Row 1 of the adversarial list.
#[test]
fn names_that_lead_up_stay_inside() {
    let found = good(Tar::default().file("../x", "1").file("a/../../y", "2").file("/z", "3").dir("./").file("a/./b//c", "4"));
    assert_eq!(paths(&found), ["a", "a/b", "a/b/c", "x", "y", "z"]);
}

/// Rows 2 and 3 of the adversarial list.
#[test]
fn links_out_lead_inside() {
    for mode in [OVERLAY, ExtractMode::Merge] {
        let cage = Cage::new();
        let mut tar = Tar::default();
        tar.link("abs", &cage.outside()).link("up", "../../../../../../..").link("conf", "/etc").file("up/top", "1").file("conf/x", "2");
        tar.file("abs/y", "3")
            .dir("deep")
            .link("deep/up", &"../".repeat(33))
            .file("deep/up/high", "4")
            .hard("deep/up/again", "deep/up/high");
        cage.extract(&tar.end(), mode).unwrap();
        let found = cage.tree();
        assert!(found.contains_key("top") && found.contains_key("etc/x") && found.keys().any(|path| path.ends_with("outside/y")));
        assert!(found["up"].ends_with("-> ../../../../../../.."));
        assert!(found["deep/up"].ends_with(&"../".repeat(33)), "kept as it is");
        assert_eq!(found["high"], "File 644 0:0 4 = again");
    }
}

/// Row 2 of the adversarial list.
#[test]
fn a_link_behind_which_nothing_is_gets_its_directory() {
    let found = good(Tar::default().link("d", "/etc").file("d/x", "1"));
    assert_eq!(found["d"], "Symlink 777 0:0 -> /etc");
    assert_eq!(found["etc/x"], "File 644 0:0 1");
}

/// Row 4 of the adversarial list.
#[test]
fn loops_of_links_are_an_error_at_their_entry() {
    let mut tar = Tar::default();
    for n in 0..45 {
        tar.link(&format!("l{n}"), &format!("l{}", n + 1));
    }
    good(&tar);
    assert!(bad(&tar.file("l0/x", "").end()).contains("l0/x"));
}

/// Row 5 of the adversarial list.
#[test]
fn a_directory_takes_the_place_of_a_link() {
    for mode in [OVERLAY, ExtractMode::Merge] {
        let cage = Cage::new();
        let mut tar = Tar::default();
        tar.link("d", &cage.outside()).head(&Head { name: b"d", flag: b'5', mode: 0o777, ..Head::default() }, 0).file("d/x", "1");
        // Followed, where there is another name on the way.
        tar.link("e", &cage.outside()).head(&Head { name: b"e/dir", flag: b'5', mode: 0o777, ..Head::default() }, 0);
        cage.extract(&tar.end(), mode).unwrap();
        assert!(cage.tree()["d"].starts_with("Directory 777 0:0"));
        assert_eq!(cage.tree()["d/x"], "File 644 0:0 1");
        assert!(cage.tree().iter().any(|(path, line)| path.ends_with("outside/dir") && line == "Directory 777 0:0"));
    }
}

/// Row 6 of the adversarial list.
#[test]
fn hard_links_name_what_is_inside() {
    for target in ["/etc/shadow", "../outside/canary", "missing", "d"] {
        let says = bad(&Tar::default().dir("d").hard("h", target).end());
        assert!(says.contains("hard link"), "{says}");
    }
    for mode in [OVERLAY, ExtractMode::Merge] {
        let cage = Cage::new();
        let mut tar = Tar::default();
        tar.link("out", &cage.outside()).hard("h", "out/canary");
        assert!(cage.extract(&tar.end(), mode).is_err());
        // Nor can one be written through, or given away.
        let mut tar = Tar::default();
        tar.link("out", &format!("{}/canary", cage.outside()))
            .hard("h", "out")
            .head(&Head { name: b"h", mode: 0o777, uid: b"0000011", ..Head::default() }, 1);
        cage.extract(&tar.data(b"x").end(), mode).unwrap();
        assert_eq!(cage.tree()["h"], "File 777 9:0 x");
    }
    let found = good(Tar::default().file("a", "1").hard("b", "/a").hard("c", "../b").link("l", "nowhere").hard("m", "l").hard("a", "a"));
    assert_eq!(found["c"], "File 644 0:0 1 = a");
    assert_eq!(found["m"], "Symlink 777 0:0 -> nowhere = l");
}

/// Row 7 of the adversarial list.
#[test]
fn a_hard_link_to_a_lower_layer_brings_the_file_up() {
    let lower = Cage::new();
    let mut tar = Tar::default();
    tar.dir("d").head(&Head { name: b"d/f", mode: 0o4755, uid: b"0000012", ..Head::default() }, 1).data(b"x").file("gone", "");
    lower.extract(&tar.end(), OVERLAY).unwrap();
    let upper = Cage::new();
    upper.extract(&Tar::default().file(".wh.gone", "").end(), OVERLAY).unwrap();
    let lowers = Lowers::open(&[lower.root().path().to_owned(), upper.root().path().to_owned()]).unwrap();
    let cage = Cage::new();
    let link = Tar::default().hard("h", "d/f").end();
    assert!(matches!(cage.extract(&link, ExtractMode::Overlay(None)), Err(ExtractError::NeedsLowers { .. })));
    let done = cage.extract(&link, ExtractMode::Overlay(Some(&lowers))).unwrap();
    assert!(done.used_lowers);
    let found = cage.tree();
    assert_eq!(found["d"], "Directory 755 0:0");
    assert_eq!(found["d/f"], "File 4755 10:0 x = d/f");
    assert_eq!(found["h"], "File 4755 10:0 x = d/f");
    let gone = Cage::new().extract(&Tar::default().hard("h", "gone").end(), ExtractMode::Overlay(Some(&lowers))).unwrap_err();
    assert!(matches!(gone, ExtractError::LinkTarget { .. }) && gone.to_string().contains(" h"), "{gone}");
    // One layer upon the other in one directory.
    let cage = Cage::new();
    cage.extract(&tar.end(), ExtractMode::Merge).unwrap();
    cage.extract(&Tar::default().file(".wh.gone", "").end(), ExtractMode::Merge).unwrap();
    cage.extract(&link, ExtractMode::Merge).unwrap();
    assert_eq!(cage.tree()["h"], "File 4755 10:0 x = d/f");
    let gone = cage.extract(&Tar::default().hard("h2", "gone").end(), ExtractMode::Merge).unwrap_err();
    assert!(matches!(gone, ExtractError::LinkTarget { .. }) && gone.to_string().contains("h2"), "{gone}");
}

#[test]
fn parents_that_the_layer_lacks_are_as_below() {
    let lower = Cage::new();
    lower.extract(&Tar::default().head(&Head { name: b"d", flag: b'5', mode: 0o1777, ..Head::default() }, 0).end(), OVERLAY).unwrap();
    let lowers = Lowers::open(&[lower.root().path().to_owned()]).unwrap();
    let cage = Cage::new();
    cage.extract(&Tar::default().file("d/e/f", "").end(), ExtractMode::Overlay(Some(&lowers))).unwrap();
    assert_eq!(cage.tree()["d"], "Directory 1777 0:0");
    assert_eq!(cage.tree()["d/e"], "Directory 755 0:0");
    assert_eq!(cage.root().stat("d").unwrap().unwrap().mtime, Time::from_seconds(1000));
}

/// Row 9 of the adversarial list.
#[test]
fn markers_that_remove_nothing_or_too_much_are_refused() {
    for name in [".wh...", ".wh..", ".wh.", "a/.wh...", "a/.wh.."] {
        let says = bad(&Tar::default().dir("a").file("a/keep", "").file(name, "").end());
        assert!(says.contains("whiteout"), "{name}: {says}");
        for mode in [OVERLAY, ExtractMode::Merge] {
            let cage = Cage::new();
            cage.extract(&Tar::default().dir("a").file("a/keep", "").file("keep", "").end(), ExtractMode::Merge).unwrap();
            cage.extract(&Tar::default().file(name, "").end(), mode).unwrap_err();
            assert_eq!(paths(&cage.tree()), ["a", "a/keep", "keep"], "{name}: neither the root nor a parent is removed");
        }
    }
}

/// Rows 10 and 11 of the adversarial list.
#[test]
fn markers_remove_what_is_below_and_nothing_else() {
    let cage = Cage::new();
    let mut below = Tar::default();
    below
        .dir("d")
        .file("d/a", "")
        .file("d/b", "")
        .dir("e")
        .file("e/x", "")
        .file("f", "")
        .dir("g")
        .file("g/old", "")
        .dir("h")
        .file("h/x", "");
    let canary = cage.outside();
    cage.extract(below.link("out", &canary).end().as_slice(), ExtractMode::Merge).unwrap();
    let mut tar = Tar::default();
    tar.file("d/.wh.a", "").file("e/new", "").file("e/.wh..wh..opq", "").file(".wh.f", "").file("f", "kept").file(".wh.missing", "");
    tar.dir("g")
        .file("g/new", "")
        .file(".wh.g", "")
        .file("out/.wh.canary", "")
        .file("out/.wh.dir", "")
        .file(".wh.h", "")
        .file(".wh..wh.plnk/x", "");
    cage.extract(&tar.end(), ExtractMode::Merge).unwrap();
    let found = cage.tree();
    let prefix = found.keys().filter(|path| !path.starts_with("tmp")).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(prefix, ["d", "d/b", "e", "e/new", "f", "g", "g/new", "out"]);
    assert_eq!(found["f"], "File 644 0:0 kept");
}

/// Row 10 of the adversarial list: where a marker is left for overlayfs to see, it is left inside as well.
#[test]
fn markers_behind_a_link_stay_inside() {
    let cage = Cage::new();
    let mut tar = Tar::default();
    tar.link("out", &cage.outside()).link("up", "../../../outside").file("out/.wh.canary", "").file("up/.wh.canary", "");
    tar.file("out/.wh..wh..opq", "").file("up/.wh..wh..opq", "").file("out/dir/.wh.x", "");
    cage.extract(&tar.end(), OVERLAY).unwrap();
    let found = cage.tree();
    let inside = format!("{}/canary", cage.outside().trim_start_matches('/'));
    assert_eq!((found[&inside].as_str(), found["outside/canary"].as_str()), ("CharDevice 0 0:0 (0, 0)", "CharDevice 0 0:0 (0, 0)"));
}

/// Row 18 of the adversarial list: what is removed may have the longest of names, and the longest of paths.
#[test]
fn the_longest_names_can_be_removed() {
    let name = "n".repeat(255);
    let path = format!("{}{}", format!("{}/", "d".repeat(255)).repeat(15), "f".repeat(255));
    assert_eq!(path.len(), 4095);
    let mut below = Tar::default();
    below.file(&name, "").pax(&[("path", name.as_bytes())]).file("f", "1").pax(&[("path", path.as_bytes())]).file("f", "2");
    let mut tar = Tar::default();
    let marker = |path: &str| whiteout::marker_for(Path::new(path)).to_str().unwrap().to_owned();
    tar.pax(&[("path", marker(&name).as_bytes())]).file("f", "").pax(&[("path", marker(&path).as_bytes())]).file("f", "");
    let cage = Cage::new();
    cage.extract(&below.end(), ExtractMode::Merge).unwrap();
    assert!(cage.tree().contains_key(&path) && cage.tree().contains_key(&name));
    cage.extract(&tar.end(), ExtractMode::Merge).unwrap();
    assert!(!cage.tree().contains_key(&path) && !cage.tree().contains_key(&name));
    let cage = Cage::new();
    cage.extract(&tar.end(), OVERLAY).unwrap();
    assert_eq!(cage.tree()[&path], "CharDevice 0 0:0 (0, 0)");
    // Not by one byte longer, nor anywhere else than at the end.
    for path in [format!(".wh.{}", "n".repeat(256)), format!(".wh.{name}/x")] {
        let says = bad(&Tar::default().pax(&[("path", path.as_bytes())]).file("f", "").end());
        assert!(says.contains("bytes"), "{says}");
    }
}

/// Row 11 of the adversarial list.
#[test]
fn markers_take_the_form_of_overlayfs() {
    let cage = Cage::new();
    let mut tar = Tar::default();
    tar.dir("d").file("d/.wh.a", "").file("e/new", "").file("e/.wh..wh..opq", "").file("e/.wh.z", "").file(".wh.f", "").file("f", "kept");
    tar.dir("g").file("g/new", "").file(".wh.g", "").file(".wh.h", "").dir("h").file("h/x", "").file(".wh..wh.plnk/x", "");
    cage.extract(&tar.end(), OVERLAY).unwrap();
    let found = cage.tree();
    assert_eq!(found["d/a"], "CharDevice 0 0:0 (0, 0)");
    assert_eq!(found["e"], "Directory 755 0:0 trusted.overlay.opaque=y");
    assert_eq!(found["f"], "File 644 0:0 kept");
    assert_eq!(found["g"], "Directory 755 0:0 trusted.overlay.opaque=y");
    assert_eq!(found["h"], "Directory 755 0:0 trusted.overlay.opaque=y");
    assert_eq!(paths(&found), ["d", "d/a", "e", "e/new", "f", "g", "g/new", "h", "h/x"]);
}

/// Row 13 of the adversarial list.
#[test]
fn nodes_are_made_and_never_opened() {
    let mut tar = Tar::default();
    tar.add(b'6', "fifo", "").head(&Head { name: b"null", flag: b'3', device: (1, 3), mode: 0o666, ..Head::default() }, 0);
    tar.head(&Head { name: b"disk", flag: b'4', device: (8, 300), mode: 0o660, ..Head::default() }, 0);
    let found = good(&tar);
    assert_eq!(found["fifo"], "Fifo 644 0:0");
    assert_eq!(found["null"], "CharDevice 666 0:0 (1, 3)");
    assert_eq!(found["disk"], "BlockDevice 660 0:0 (8, 300)");
}

/// Row 14 of the adversarial list.
#[test]
fn bits_and_attributes_that_an_image_carries_survive() {
    let capability = [1, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut tar = Tar::default();
    tar.pax(&[
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.user.note", b"two\nlines=\0"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("mtime", b"1234.567891234"),
    ]);
    tar.head(&Head { name: b"f", mode: 0o6755, uid: b"0000017", ..Head::default() }, 0);
    tar.head(&Head { name: b"d", flag: b'5', mode: 0o3777, ..Head::default() }, 0);
    let found = good(&tar);
    let capability = capability.escape_ascii();
    assert_eq!(found["f"], format!("File 6755 15:0  security.capability={capability} user.note=two\\nlines=\\x00"));
    assert_eq!(found["d"], "Directory 3777 0:0");
    let cage = Cage::new();
    cage.extract(&tar.file("d/x", "").end(), OVERLAY).unwrap();
    assert_eq!(cage.root().stat("f").unwrap().unwrap().mtime, Time { seconds: 1234, nanoseconds: 567_891_234 });
    assert_eq!(cage.root().stat("d").unwrap().unwrap().mtime, Time::from_seconds(1000), "set after the last file in it");
}

/// Row 15 of the adversarial list: what an archive says is an owner up to the kernel's largest, 2^32-2; what a Dockerfile says ends at 2^31-1.
#[test]
fn owners_out_of_range_are_refused() {
    for uid in ["-1", "4294967295", "4294967297", "99999999999999999999"] {
        let says = bad(&Tar::default().pax(&[("uid", uid.as_bytes())]).file("f", "").end());
        assert!(says.contains("out of range") && says.contains("\"f\""), "{says}");
    }
    for uid in [&b"\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x80\0\0\0\xff\xff\xff\xff", b"\x80\0\0\x01\0\0\0\x01"] {
        assert!(bad(&Tar::default().head(&Head { name: b"f", uid, ..Head::default() }, 0).end()).contains("out of range"));
    }
    for (uid, number) in [
        (b"\x80\0\0\0\x7f\xff\xff\xff", 2_147_483_647_u32),
        (b"\x80\0\0\0\x80\0\0\0", 1 << 31),
        (b"\x80\0\0\0\xff\xff\xff\xfe", 4_294_967_294),
    ] {
        let found = good(Tar::default().head(&Head { name: b"f", uid, ..Head::default() }, 0));
        assert_eq!(found["f"], format!("File 644 {number}:0 "));
        let found = good(Tar::default().pax(&[("gid", number.to_string().as_bytes())]).file("f", ""));
        assert_eq!(found["f"], format!("File 644 0:{number} "));
    }
}

/// Row 16 of the adversarial list.
#[test]
fn extended_headers_mean_what_posix_says() {
    // The size in the extended header counts: were the other one taken, `smuggled` would appear.
    let mut inner = Tar::default();
    inner.file("smuggled", "");
    let mut tar = Tar::default();
    tar.pax(&[("size", inner.0.len().to_string().as_bytes())])
        .head(&Head { name: b"f", ..Head::default() }, 0)
        .data(&inner.0)
        .file("g", "1");
    assert_eq!(paths(&good(&tar)), ["f", "g"]);
    // It describes the entry and not the long name between the two.
    let mut tar = Tar::default();
    tar.pax(&[("size", b"3")]).special(b'L', b"long/name\0").head(&Head { name: b"f", ..Head::default() }, 0).data(b"abc").file("g", "1");
    let found = good(&tar);
    assert_eq!((found["long/name"].as_str(), found.len()), ("File 644 0:0 abc", 3));
    let found = good(Tar::default().pax(&[("path", b"first"), ("path", b"second"), ("uid", b"5"), ("uid", b"")]).file("f", ""));
    assert_eq!(found["second"], "File 644 0:0 ", "the last of a key counts, an empty one is none");
    let found = good(Tar::default().special(b'g', &pax(&[("comment", b"x")])).file("f", ""));
    assert_eq!(paths(&found), ["f"]);
    for (records, what) in [
        (&b"5 path=x\n"[..], "malformed"),
        (b"11 path=x\n", "malformed"),
        (b"999999 path=x\n", "malformed"),
        (b"path=x\n", "malformed"),
        (b"11 size=-1\n", "decimal"),
        (b"27 size=999999999999999999\n", "limit"),
        (b"28 size=9999999999999999999\n", "63 bits"),
        (b"13 path=a\0bc\n", "NUL"),
        (b"11 mtime=x\n", "time"),
    ] {
        let says = bad(&Tar::default().special(b'x', records).file("f", "").end());
        assert!(says.contains(what), "{:?}: {says}", records.escape_ascii().to_string());
    }
    assert!(bad(&Tar::default().special(b'g', &pax(&[("path", b"x")])).file("f", "").end()).contains("global"));
    assert!(bad(&Tar::default().pax(&[("path", b"x")]).end()).contains("without an entry"));
    assert!(bad(&Tar::default().special(b'L', &vec![b'a'; 2 << 20]).file("f", "").end()).contains("limit"));
}

/// Row 17 of the adversarial list.
#[test]
fn sizes_are_checked_before_anything_is_made() {
    for size in [
        &b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"777777777777",
        b"\x80\0\0\0\xff\0\0\0\0\0\0\0",
    ] {
        let cage = Cage::new();
        let tar = Tar::default().head(&Head { name: b"f", size: size.to_vec(), ..Head::default() }, 0).end();
        assert!(matches!(cage.extract(&tar, OVERLAY), Err(ExtractError::Read(ReadError::Limit { .. }))), "{}", size.escape_ascii());
        assert!(cage.tree().is_empty());
    }
}

/// Row 17 of the adversarial list.
#[test]
fn holes_are_kept() {
    let map = b"2\n10\n3\n4096\n2\n";
    let mut one = map.to_vec();
    one.resize(512, 0);
    one.extend_from_slice(b"abcde");
    let mut tar = Tar::default();
    tar.pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"one"), ("GNU.sparse.realsize", b"5000")]);
    tar.head(&Head { name: b"GNUSparseFile.0/one", ..Head::default() }, one.len() as u64).data(&one);
    tar.pax(&[("GNU.sparse.size", b"5000"), ("GNU.sparse.map", b"10,3,4096,2"), ("GNU.sparse.name", b"zero1")]);
    tar.head(&Head { name: b"x", ..Head::default() }, 5).data(b"abcde");
    let zero =
        [("GNU.sparse.size", &b"5000"[..]), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.offset", b"10"), ("GNU.sparse.numbytes", b"3")];
    tar.pax(&[&zero[..], &[("GNU.sparse.offset", b"4096"), ("GNU.sparse.numbytes", b"2")]].concat());
    tar.head(&Head { name: b"zero0", ..Head::default() }, 5).data(b"abcde");
    let mut old = Tar::default();
    old.head(&Head { name: b"old", flag: b'S', magic: b"ustar  \0", ..Head::default() }, 5);
    let mut block: [u8; 512] = old.0.as_slice().try_into().unwrap();
    block[345..500].fill(0);
    for (at, number) in [(386, 10), (398, 3), (410, 4096), (422, 2), (483, 5000)] {
        block[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
    }
    block[148..156].fill(b' ');
    tar.sum(block).data(b"abcde").file("last", "1");
    let found = good(&tar);
    assert_eq!(paths(&found), ["last", "old", "one", "zero0", "zero1"]);
    let mut content = vec![0; 5000];
    content[10..13].copy_from_slice(b"abc");
    content[4096..4098].copy_from_slice(b"de");
    for name in ["old", "one", "zero0", "zero1"] {
        assert_eq!(found[name], format!("File 644 0:0 {}", content.escape_ascii()), "{name}");
    }
    let mut read = Vec::new();
    super::super::entries::for_each_entry::<ReadError>(tar.end().as_slice(), &Limits::default(), &mut |meta, from| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        read.push((meta.size, bytes.len()));
        Ok(())
    })
    .unwrap();
    assert_eq!(read, [(5000, 5000), (5000, 5000), (5000, 5000), (5000, 5000), (1, 1)]);
    for map in ["10,3,5,2", "10,3,4999,2", "10,3", "10,3,4096", "10,9,4096,2", "9223372036854775807,5", "x"] {
        let mut tar = Tar::default();
        tar.pax(&[("GNU.sparse.size", b"5000"), ("GNU.sparse.map", map.as_bytes())]).file("f", "abcde");
        assert!(bad(&tar.end()).contains("spars") || bad(&tar.end()).contains("decimal"), "{map}");
    }
}

/// Row 18 of the adversarial list.
#[test]
fn names_are_bytes_or_refused() {
    let long = format!("{}/", "a".repeat(240)).repeat(17);
    let name = OsStr::from_bytes(b"n\n\xff\x1b[1m");
    let found = good(Tar::default().head(&Head { name: name.as_bytes(), ..Head::default() }, 0).file("dots...", ""));
    assert_eq!(paths(&found), ["dots...", r"n\n\xff\x1b[1m"]);
    assert!(bad(&Tar::default().special(b'L', long.as_bytes()).file("f", "").end()).contains("a path of 4096 bytes"));
    assert!(bad(&Tar::default().special(b'L', "n".repeat(256).as_bytes()).file("f", "").end()).contains("a name of 256 bytes"));
    assert!(bad(&Tar::default().file("", "x").end()).contains("without a name"));
    assert!(bad(&Tar::default().file("a/..", "x").end()).contains("without a name"));
    assert!(bad(&Tar::default().link("l", "").end()).contains("without a target"));
    assert!(bad(&Tar::default().special(b'K', "t".repeat(5000).as_bytes()).link("l", "").end()).contains("5000 bytes"));
    let says = bad(&Tar::default().hard("evil\n\x1b[31m", "missing").end());
    assert!(!says.contains('\n') && !says.contains('\x1b'), "{says}");
}

/// Row 19 of the adversarial list.
#[test]
fn bombs_end_in_a_limit() {
    let zeros = vec![0; 1 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&Tar::default().head(&Head { name: b"f", ..Head::default() }, 1 << 29).0).unwrap();
    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    zstd.write_all(&Tar::default().head(&Head { name: b"f", ..Head::default() }, 1 << 29).0).unwrap();
    for _ in 0..20 {
        gzip.write_all(&zeros).unwrap();
        zstd.write_all(&zeros).unwrap();
    }
    for bomb in [gzip.finish().unwrap(), zstd.finish().unwrap()] {
        assert!(matches!(Cage::new().extract(&bomb, OVERLAY), Err(ExtractError::Read(ReadError::Limit { .. }))));
    }
    // A frame that wants 2 GiB of window.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert!(matches!(Cage::new().extract(&window, OVERLAY), Err(ExtractError::Read(ReadError::Io(_)))));
    let mut many = Tar::default();
    for n in 0..1_001 {
        many.add(b'0', &format!("f{n}"), "");
    }
    assert!(bad(&many.end()).contains("1000 entries"));
    let deep = "d/".repeat(601);
    assert!(bad(&Tar::default().special(b'L', deep.as_bytes()).dir("d").end()).contains("600 directories"));
    let deep = "d/".repeat(600);
    assert_eq!(good(Tar::default().special(b'L', deep.as_bytes()).dir("d")).len(), 600);
    let mut sparse = Tar::default();
    sparse.pax(&[("GNU.sparse.size", b"8796093022208"), ("GNU.sparse.map", b"0,1")]).file("f", "x");
    assert!(bad(&sparse.end()).contains("limit"));
}

/// Row 20 of the adversarial list.
#[test]
fn the_last_of_a_name_counts() {
    let mut tar = Tar::default();
    tar.file("a", "1").file("a", "2").file("b", "1").dir("b").file("b/x", "").link("b", "a").dir("c").file("c/x", "").file("c", "3");
    tar.file("Case", "1").file("case", "2").dir("d").file("d/x", "").dir("d").link("e", "a").file("e", "4");
    let found = good(&tar);
    assert_eq!(paths(&found), ["Case", "a", "b", "c", "case", "d", "d/x", "e"]);
    assert_eq!((found["a"].as_str(), found["b"].as_str()), ("File 644 0:0 2", "Symlink 777 0:0 -> a"));
    assert_eq!((found["c"].as_str(), found["e"].as_str()), ("File 644 0:0 3", "File 644 0:0 4"));
}

/// Row 21 of the adversarial list.
#[test]
fn what_is_cut_off_is_an_error_and_what_follows_is_digested() {
    let whole = Tar::default().file("f", "content").end();
    let gzip = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let diff_id = |data: &[u8]| DiffId(crate::oci::Digest::of(data));
    for cut in [100, 512, 515, 600] {
        assert!(Cage::new().extract(&whole[..cut], OVERLAY).is_err(), "{cut}");
        assert!(Cage::new().extract(&gzip(&whole[..cut]), OVERLAY).is_err(), "{cut}");
    }
    for cut in [1, 5, 20] {
        let packed = gzip(&whole);
        assert!(Cage::new().extract(&packed[..packed.len() - cut], OVERLAY).is_err(), "{cut}");
        let packed = zstd::encode_all(whole.as_slice(), 3).unwrap();
        assert!(Cage::new().extract(&packed[..packed.len() - cut], OVERLAY).is_err(), "{cut}");
    }
    let longer = [whole.as_slice(), b"trailing"].concat();
    for stream in [
        longer.clone(),
        gzip(&longer),
        [gzip(&longer[..700]), gzip(&longer[700..])].concat(),
        zstd::encode_all(longer.as_slice(), 3).unwrap(),
        [
            &[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..],
            &zstd::encode_all(&longer[..9], 3).unwrap(),
            &zstd::encode_all(&longer[9..], 3).unwrap(),
        ]
        .concat(),
    ] {
        let cage = Cage::new();
        let done = cage.extract(&stream, OVERLAY).unwrap();
        assert_eq!(done.digests.diff_id, diff_id(&longer));
        assert_eq!((done.digests.digest, done.digests.size), (crate::oci::Digest::of(&stream), stream.len() as u64));
        assert_eq!(paths(&cage.tree()), ["f"]);
    }
    assert!(Cage::new().extract(&[gzip(&whole), b"garbage".to_vec()].concat(), OVERLAY).is_err());
    assert!(Cage::new().extract(b"", OVERLAY).is_ok(), "an empty stream is an empty archive");
    assert!(Cage::new().extract(b"not a tar", OVERLAY).is_err());
    assert!(Cage::new().extract(&[1; 2048], OVERLAY).is_err());
}

#[test]
fn damaged_archives_neither_escape_nor_bring_anything_down() {
    let mut tar = Tar::default();
    tar.dir("d")
        .file("d/f", "content")
        .link("l", "../..")
        .hard("h", "d/f")
        .pax(&[("path", b"p"), ("size", b"3"), ("uid", b"7")])
        .file("x", "abc");
    tar.pax(&[("GNU.sparse.size", b"5000"), ("GNU.sparse.map", b"10,3,4096,2")]).file("s", "abcde").special(b'L', b"l/long").file("x", "");
    tar.file("d/.wh.a", "").file("d/.wh..wh..opq", "");
    let whole = tar.end();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut extracted = 0;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = [0, b'/', b'.', b'7', b'9', 0xff, b'L', b'x', b'1', b' '][random(10)];
        }
        // Most damage would end at the checksum.
        for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        extracted += usize::from(Cage::new().extract(&bytes, [OVERLAY, ExtractMode::Merge][random(2)]).is_ok());
    }
    assert!(extracted > 20, "{extracted}");
}

/// Row 22 of the adversarial list.
#[test]
fn the_content_must_be_what_the_configuration_names() {
    let tar = Tar::default().file("f", "").end();
    let cage = Cage::new();
    let expected = DiffId(crate::oci::Digest::of(b"other"));
    let options = ExtractOptions { mode: OVERLAY, limits: Limits::default(), expected: Some(expected) };
    assert!(matches!(extract(tar.as_slice(), &cage.root(), &options), Err(ExtractError::DiffId { .. })));
}

#[test]
fn entries_are_those_that_gnu_tar_writes() {
    let made = Cage::new();
    let root = made.root();
    let deep = format!("{}/{}", "d".repeat(120), "e".repeat(130));
    root.make_dirs(&deep, 0o750, (3, 4)).unwrap();
    root.create_file(format!("{deep}/file"), 0o600).unwrap().write_all(&vec![7; 100_000]).unwrap();
    root.hard_link(format!("{deep}/file"), "hard").unwrap();
    root.symlink("t".repeat(300), "link").unwrap();
    root.make_node("fifo", Kind::Fifo, 0o600, (0, 0)).unwrap();
    root.make_node("node", Kind::CharDevice, 0o600, (7, 9)).unwrap();
    root.create_file("owned", 0o644).unwrap();
    root.set_owner("owned", (2_100_000_000, 3_000_000)).unwrap();
    root.create_file(OsStr::from_bytes(b"\xe4\xff"), 0o644).unwrap();
    let sparse = root.create_file("sparse", 0o644).unwrap();
    sparse.set_len(2 << 20).unwrap();
    root.set_times("owned", Time { seconds: -1_000_000_000, nanoseconds: 0 }).unwrap();
    for format in ["gnu", "posix", "oldgnu"] {
        let tar = std::process::Command::new("tar")
            .args(["--numeric-owner", "--sparse", "-C"])
            .arg(root.path())
            .arg(format!("--format={format}"))
            .args(["-cf", "-", "."])
            .output()
            .unwrap()
            .stdout;
        let cage = Cage::new();
        cage.extract(&tar, OVERLAY).unwrap();
        assert!(cage.tree() == made.tree(), "{format}");
        assert_eq!(cage.root().stat("owned").unwrap().unwrap().mtime.seconds, -1_000_000_000, "{format}");
    }
}

#[test]
fn a_tree_made_a_layer_and_extracted_is_the_same_tree() {
    // A small generator: the same trees each time.
    let mut state = 12_345_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..20 {
        let cage = Cage::new();
        let mut metas: BTreeMap<PathBuf, (EntryMeta, Vec<u8>)> = BTreeMap::new();
        let mut directories = vec![PathBuf::new()];
        let mut files: Vec<PathBuf> = Vec::new();
        for n in 0..random(60) {
            let parent = directories[usize::try_from(random(directories.len() as u64)).unwrap()].clone();
            let name = [format!("f{n}"), "x".repeat(200), format!("ü {n}"), format!("{n}\n")][usize::try_from(random(4)).unwrap()].clone();
            let path = parent.join(name);
            if metas.contains_key(&path) || path.as_os_str().len() > 3000 {
                continue;
            }
            let mut content = Vec::new();
            let kind = match random(8) {
                0 | 1 => {
                    directories.push(path.clone());
                    EntryKind::Directory
                }
                2 => EntryKind::Symlink("t/".repeat(usize::try_from(random(100)).unwrap() + 1).into()),
                3 if !files.is_empty() => EntryKind::HardLink(files[usize::try_from(random(files.len() as u64)).unwrap()].clone()),
                4 => EntryKind::Fifo,
                5 => EntryKind::CharDevice(1, 3),
                _ => {
                    files.push(path.clone());
                    content = vec![u8::try_from(n).unwrap(); usize::try_from(random(5000)).unwrap()];
                    EntryKind::File
                }
            };
            let xattrs = match kind {
                EntryKind::File | EntryKind::Directory if random(4) == 0 => fs::Xattrs::from([("user.k".into(), vec![10, 0, 255])]),
                _ => fs::Xattrs::new(),
            };
            let meta = EntryMeta {
                path: path.clone(),
                kind,
                mode: u32::try_from(random(0o10000)).unwrap(),
                uid: u32::try_from(random((1 << 32) - 1)).unwrap(),
                gid: u32::try_from(random(5)).unwrap(),
                mtime: Time {
                    seconds: i64::try_from(random(1 << 34)).unwrap(),
                    nanoseconds: u32::try_from(random(1_000_000_000)).unwrap(),
                },
                size: content.len() as u64,
                xattrs,
            };
            metas.insert(path, (meta, content));
        }
        // A link comes after what it names.
        let (links, mut order): (Vec<_>, Vec<_>) = metas.values().partition(|(meta, _)| matches!(meta.kind, EntryKind::HardLink(_)));
        order.extend(links);
        let compression = [Compression::GZIP, Compression::None][round % 2];
        let mut writer = LayerWriter::create(cage.dir.path().join("root/blob"), LayerOptions { compression, latest_mtime: None }).unwrap();
        for (meta, content) in &order {
            writer.append(meta, Some(&mut content.as_slice())).unwrap();
        }
        let layer = writer.finish().unwrap();
        let blob = std::fs::read(&layer.path).unwrap();
        std::fs::remove_file(&layer.path).unwrap();
        let done = cage.extract(&blob, OVERLAY).unwrap();
        assert_eq!((done.digests.diff_id, done.digests.digest, done.digests.size), (layer.diff_id, layer.digest, layer.size));
        let root = cage.root();
        assert_eq!(cage.tree().len(), metas.len());
        for (path, (meta, content)) in &metas {
            let target = if let EntryKind::HardLink(target) = &meta.kind { target } else { path };
            let (meta, content) = if target == path { (meta, content) } else { (&metas[target].0, &metas[target].1) };
            let found = root.stat(path).unwrap().unwrap();
            assert_eq!((found.uid, found.gid, found.mtime), (meta.uid, meta.gid, meta.mtime), "{path:?}");
            assert_eq!(root.xattrs(path).unwrap(), meta.xattrs);
            if !matches!(meta.kind, EntryKind::Symlink(_)) {
                assert_eq!(found.mode, meta.mode, "{path:?}");
            }
            if meta.kind == EntryKind::File {
                let mut read = Vec::new();
                root.open_file(path).unwrap().read_to_end(&mut read).unwrap();
                assert_eq!(read, *content);
            }
        }
    }
}
