//! What other programs make of a layer that was made here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::tests::{Head, Tar, tree};
use super::*;
use crate::fs::Xattrs;
use crate::layer::{Compression, LayerOptions, LayerWriter};

/// A tree with every kind of entry, drawn by lot; hard links after what they name.
fn entries(seed: u64) -> Vec<(EntryMeta, Vec<u8>)> {
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut found: Vec<(EntryMeta, Vec<u8>)> = Vec::new();
    let mut directories = vec![PathBuf::new()];
    let mut files: Vec<PathBuf> = Vec::new();
    for n in 0..40_u64 {
        let pick = |from: &[PathBuf], at: u64| from[usize::try_from(at).unwrap()].clone();
        let names: [&[u8]; 5] = [b"plain", &[b'x'; 180], "ü ñ".as_bytes(), b"-dash", b" blank\ttab"];
        let mut name = names[usize::try_from(random(5)).unwrap()].to_vec();
        name.extend_from_slice(format!("{n}").as_bytes());
        let path = pick(&directories, random(directories.len() as u64)).join(OsStr::from_bytes(&name));
        if path.as_os_str().len() > 900 {
            continue;
        }
        let mut content = Vec::new();
        let kind = match n {
            _ if n % 5 == 0 => {
                directories.push(path.clone());
                EntryKind::Directory
            }
            _ if n % 7 == 1 => EntryKind::Symlink("../t/".repeat(usize::try_from(random(60)).unwrap() + 1).into()),
            _ if n % 11 == 2 && !files.is_empty() => EntryKind::HardLink(pick(&files, random(files.len() as u64))),
            _ if n % 13 == 3 => EntryKind::Fifo,
            _ if n % 17 == 4 => EntryKind::CharDevice(1, 3),
            _ if n % 19 == 5 => EntryKind::BlockDevice(8, 300),
            _ => {
                files.push(path.clone());
                content = vec![u8::try_from(n).unwrap(); usize::try_from(random(70_000)).unwrap()];
                EntryKind::File
            }
        };
        let xattrs = match kind {
            EntryKind::File if random(3) == 0 => Xattrs::from([("user.k".into(), b"v\n\xff".to_vec())]),
            EntryKind::Directory if random(3) == 0 => Xattrs::from([("user.note".into(), b"directory".to_vec())]),
            _ => Xattrs::new(),
        };
        // What a link says of itself is what its file says.
        let meta = EntryMeta {
            path,
            mode: u32::try_from(random(0o10000)).unwrap() | 0o400,
            uid: u32::try_from(random((1 << 32) - 1)).unwrap(),
            gid: u32::try_from(random(70_000)).unwrap(),
            mtime: Time { seconds: i64::try_from(random(1 << 33)).unwrap(), nanoseconds: u32::try_from(random(4)).unwrap() * 123_456_789 },
            size: content.len() as u64,
            kind,
            xattrs,
        };
        found.push((meta, content));
    }
    let (links, mut others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(meta, _)| matches!(meta.kind, EntryKind::HardLink(_)));
    let by_path: BTreeMap<PathBuf, EntryMeta> = others.iter().map(|(meta, _)| (meta.path.clone(), meta.clone())).collect();
    others.extend(links.into_iter().map(|(link, content)| {
        let EntryKind::HardLink(target) = &link.kind else { return (link, content) };
        let of = &by_path[target];
        (EntryMeta { path: link.path.clone(), kind: link.kind.clone(), size: 0, ..of.clone() }, content)
    }));
    others
}

fn archive(entries: &[(EntryMeta, Vec<u8>)], path: &Path) {
    let options = LayerOptions { compression: Compression::None, latest_mtime: None };
    let mut writer = LayerWriter::create(path, options).unwrap();
    for (meta, content) in entries {
        writer.append(meta, Some(&mut content.as_slice())).unwrap();
    }
    writer.finish().unwrap();
}

/// Every path with its time, for whoever sets times.
fn times(root: &Root) -> BTreeMap<PathBuf, Time> {
    let mut found = BTreeMap::new();
    let mut walk = root.walk("").unwrap();
    while let Some(entry) = walk.next().unwrap() {
        found.insert(entry.path.to_owned(), entry.metadata.mtime);
    }
    found
}

/// Rows 16, 17, 18, 20 and 21 of the adversarial list seen from the other side: what is made here is what others read.
#[test]
fn gnu_tar_and_bsdtar_unpack_the_same_tree() {
    for seed in 1..=12 {
        let dir = tempfile::tempdir().unwrap();
        let tar = dir.path().join("layer.tar");
        archive(&entries(seed), &tar);
        let unpack = |name: &str| {
            let root = dir.path().join(name);
            std::fs::create_dir(&root).unwrap();
            Root::open(root).unwrap()
        };
        let own = unpack("own");
        let options = ExtractOptions { mode: ExtractMode::Merge, limits: Limits::default(), expected: None };
        extract(std::fs::File::open(&tar).unwrap(), &own, &options).unwrap();
        for (program, arguments) in [
            (
                "tar",
                &[
                    "--numeric-owner",
                    "--same-owner",
                    "-p",
                    "--xattrs",
                    "--xattrs-include=*",
                    "--delay-directory-restore",
                    "--warning=no-timestamp",
                ][..],
            ),
            ("bsdtar", &["--numeric-owner", "--same-owner", "-p", "--xattrs"]),
        ] {
            let other = unpack(program);
            let done = Command::new(program).args(arguments).arg("-C").arg(other.path()).arg("-xf").arg(&tar).output();
            let done = done.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
            assert!(done.status.success() && done.stderr.is_empty(), "seed {seed}: {program}: {}", String::from_utf8_lossy(&done.stderr));
            let (found, wanted) = (tree(&other), tree(&own));
            for (path, line) in &wanted {
                assert_eq!(found.get(path), Some(line), "seed {seed}: {program}: {path}");
            }
            assert_eq!(found.len(), wanted.len(), "seed {seed}: {program}");
            assert_eq!(times(&other), times(&own), "seed {seed}: {program}");
        }
    }
}

const PYTHON: &str = r#"
import sys, tarfile
out = sys.stdout
with tarfile.open(sys.argv[1], errors="surrogateescape") as tar:
    for e in tar:
        kind = {b"0": "file", b"1": "hard", b"2": "link", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}[e.type]
        name = e.name.encode("utf-8", "surrogateescape").hex()
        target = e.linkname.encode("utf-8", "surrogateescape").hex()
        device = (e.devmajor, e.devminor) if kind in ("char", "block") else (0, 0)
        mtime = str(e.pax_headers.get("mtime", int(e.mtime)))
        xattrs = sorted(k[13:] + "=" + v.encode("utf-8", "surrogateescape").hex() for k, v in e.pax_headers.items() if k.startswith("SCHILY.xattr."))
        content = tar.extractfile(e).read() if kind == "file" else b""
        print(name, kind, "%o" % e.mode, e.uid, e.gid, e.size, mtime, target, *device, sum(content), *xattrs)
"#;

#[test]
fn python_reads_the_same_entries() {
    for seed in 1..=12 {
        let dir = tempfile::tempdir().unwrap();
        let tar = dir.path().join("layer.tar");
        let entries = entries(seed);
        archive(&entries, &tar);
        let done = Command::new("python3").args(["-c", PYTHON]).arg(&tar).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let said = String::from_utf8(done.stdout).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), entries.len(), "seed {seed}");
        for (line, (meta, content)) in lines.iter().zip(&entries) {
            let (kind, target, device) = match &meta.kind {
                EntryKind::File => ("file", Vec::new(), (0, 0)),
                EntryKind::Directory => ("dir", Vec::new(), (0, 0)),
                EntryKind::Symlink(target) => ("link", target.as_bytes().to_vec(), (0, 0)),
                EntryKind::HardLink(target) => ("hard", target.as_os_str().as_bytes().to_vec(), (0, 0)),
                EntryKind::Fifo => ("fifo", Vec::new(), (0, 0)),
                EntryKind::CharDevice(major, minor) => ("char", Vec::new(), (*major, *minor)),
                EntryKind::BlockDevice(major, minor) => ("block", Vec::new(), (*major, *minor)),
            };
            let mtime = match meta.mtime {
                Time { seconds, nanoseconds: 0 } => seconds.to_string(),
                Time { seconds, nanoseconds } => format!("{seconds}.{nanoseconds:09}"),
            };
            let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
            let mut wanted = format!(
                "{} {kind} {:o} {} {} {} {mtime} {} {} {} {sum}",
                hex(meta.path.as_os_str().as_bytes()),
                meta.mode,
                meta.uid,
                meta.gid,
                meta.size,
                hex(&target),
                device.0,
                device.1
            );
            for (name, value) in &meta.xattrs {
                wanted += &format!(" {}={}", name.to_str().unwrap(), hex(value));
            }
            assert_eq!(*line, wanted, "seed {seed}: {:?}", meta.path);
        }
    }
}

/// What each program finds in an archive, by name and size: ours, Python's, GNU tar's.
fn listed(bytes: &[u8]) -> [Vec<(String, u64)>; 3] {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    std::fs::write(&path, bytes).unwrap();
    let mut own = Vec::new();
    crate::layer::entries::for_each_entry::<ReadError>(bytes, &Limits::default(), &mut |meta, _| {
        own.push((meta.path.as_os_str().as_bytes().escape_ascii().to_string(), meta.size));
        Ok(())
    })
    .unwrap();
    let script = "import sys, tarfile\nfor e in tarfile.open(sys.argv[1], errors='surrogateescape'): print(e.name.strip('/').encode('utf-8', 'surrogateescape').hex(), e.size)";
    let said = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
    let unhex =
        |text: &str| -> Vec<u8> { (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect() };
    let python = String::from_utf8(said.stdout).unwrap();
    let python = python.lines().map(|line| line.split_once(' ').unwrap());
    let python = python.map(|(name, size)| (unhex(name).escape_ascii().to_string(), size.parse().unwrap())).collect();
    let said =
        Command::new("tar").args(["--quoting-style=escape", "--numeric-owner", "-tvf"]).arg(&path).env("LC_ALL", "C").output().unwrap();
    let gnu = String::from_utf8(said.stdout).unwrap();
    let gnu = gnu.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = line.split(fields[4]).nth(1).unwrap().trim_start();
        let name = name.split(" -> ").next().unwrap().split(" link to ").next().unwrap();
        (name.trim_end_matches('/').to_owned(), fields[2].parse().unwrap())
    });
    [own, python, gnu.collect()]
}

/// Rows 16, 17, 18, 20 and 21 of the adversarial list: what an odd archive holds is what Python and GNU tar say that it holds.
#[test]
fn odd_archives_hold_what_others_find_in_them() {
    let mut inner = Tar::default();
    inner.file("smuggled", "");
    let sized = |size: &str| {
        let mut tar = Tar::default();
        tar.pax(&[("size", size.as_bytes())]);
        tar
    };
    let mut smuggling = sized(&inner.0.len().to_string());
    smuggling.head(&Head { name: b"f", ..Head::default() }, 0).data(&inner.0).file("g", "1");
    let mut long = sized("3");
    long.special(b'L', b"long/name\0").head(&Head { name: b"f", ..Head::default() }, 0).data(b"abc").file("g", "1");
    let mut twice = Tar::default();
    twice
        .pax(&[("path", b"first"), ("path", b"second")])
        .file("f", "")
        .file("f", "1")
        .file("f", "22")
        .dir("d")
        .file("d", "x")
        .file("Case", "1")
        .file("case", "2");
    let mut raw = Tar::default();
    raw.head(&Head { name: b"n\xff\x01", ..Head::default() }, 0).file("./dot/./name", "1").link("l", "../x").hard("h", "l");
    let mut based = Tar::default();
    based.head(&Head { name: b"b", size: b"\x80\0\0\0\0\0\0\0\0\0\0\x03".to_vec(), ..Head::default() }, 0).data(b"abc").file("after", "1");
    let trailing = [Tar::default().file("t", "1").end(), b"garbage".to_vec()].concat();
    for (what, bytes) in [
        ("two sizes", smuggling.end()),
        ("two sizes and a long name", long.end()),
        ("duplicates", twice.end()),
        ("raw names", raw.end()),
        ("a binary size", based.end()),
        ("trailing bytes", trailing),
    ] {
        let [own, python, gnu] = listed(&bytes);
        let clean = |all: Vec<(String, u64)>| -> Vec<(String, u64)> {
            all.into_iter().map(|(name, size)| (name.split('/').filter(|part| *part != ".").collect::<Vec<_>>().join("/"), size)).collect()
        };
        assert_eq!(own, clean(python), "{what}: Python");
        let octal = |name: &str| name.replace("\\xff", "\\377").replace("\\x01", "\\001");
        assert_eq!(own.iter().map(|(name, size)| (octal(name), *size)).collect::<Vec<_>>(), clean(gnu), "{what}: GNU tar");
    }
}
