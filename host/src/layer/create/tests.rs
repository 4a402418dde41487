use std::io::Read as _;

use super::*;
use crate::layer::entries::{Limits, ReadError, for_each_entry};
use crate::oci::Hasher;

fn file(path: &str, size: u64) -> EntryMeta {
    let mtime = Time { seconds: 1_600_000_000, nanoseconds: 5 };
    EntryMeta { path: path.into(), kind: EntryKind::File, mode: 0o644, uid: 0, gid: 0, mtime, size, xattrs: Xattrs::new() }
}

fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

fn unpacked(layer: &NewLayer) -> Vec<u8> {
    let blob = std::fs::read(&layer.path).unwrap();
    assert_eq!(blob.len() as u64, layer.size);
    assert_eq!(digest(&blob), layer.digest);
    let mut tar = Vec::new();
    match layer.compression {
        Compression::None => tar = blob,
        // Reads one member and no more.
        Compression::Gzip(_) => drop(flate2::read::GzDecoder::new(&blob[..]).read_to_end(&mut tar).unwrap()),
        Compression::Zstd(_) => tar = zstd::decode_all(&blob[..]).unwrap(),
    }
    assert_eq!(tar.len() as u64, layer.uncompressed_size);
    assert_eq!(DiffId(digest(&tar)), layer.diff_id);
    tar
}

fn read(tar: &[u8]) -> Vec<(EntryMeta, Vec<u8>)> {
    let mut seen = Vec::new();
    for_each_entry::<ReadError>(tar, &Limits::default(), &mut |meta, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        seen.push((meta.clone(), bytes));
        Ok(())
    })
    .unwrap();
    seen
}

#[test]
fn every_compression_holds_the_same_tar() {
    let dir = tempfile::tempdir().unwrap();
    let mut diff_ids = Vec::new();
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        for size in [0u64, 3, 512, 3_000_000] {
            let path = dir.path().join(format!("{compression:?}-{size}"));
            let mut writer = LayerWriter::create(path, LayerOptions { compression, latest_mtime: None }).unwrap();
            let content: Vec<u8> = (0..size).map(|at| (at * at / 7) as u8).collect();
            writer.append(&file("a", size), Some(&mut &content[..])).unwrap();
            let layer = writer.finish().unwrap();
            let tar = unpacked(&layer);
            assert!(read(&tar) == [(file("a", size), content)]);
            diff_ids.push((size, layer.diff_id));
        }
    }
    diff_ids.sort_by_key(|(size, _)| *size);
    for same in diff_ids.chunks(3) {
        assert!(same.iter().all(|(_, id)| *id == same[0].1));
    }
}

#[test]
fn what_ustar_cannot_say_is_said_by_pax() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LayerWriter::create(dir.path().join("l"), LayerOptions::default()).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "e".repeat(90));
    let longer = format!("{}/{}", "d".repeat(200), "e".repeat(200));
    let odd = Path::new(OsStr::from_bytes(b"\xff\xfe")).to_owned();
    let mut metas = vec![file(&long, 0), file(&longer, 0), file("\u{fc}", 0), file("neg", 0), file("caps", 0)];
    metas[0].mtime.nanoseconds = 0;
    metas[3].mtime.seconds = -7;
    metas[3].uid = 3_000_000;
    metas[3].gid = 0x7fff_ffff;
    metas[4].xattrs.insert("security.capability".into(), b"\x01\x00=\n".to_vec());
    metas.push(EntryMeta { path: odd, ..file("x", 0) });
    metas.push(EntryMeta { path: format!("{}/f", "g".repeat(150)).into(), kind: EntryKind::Directory, ..file("x", 0) });
    metas.push(EntryMeta { kind: EntryKind::Symlink("t".repeat(101).into()), ..file("sym", 0) });
    metas.push(EntryMeta { kind: EntryKind::HardLink(long.clone().into()), ..file("hard", 0) });
    metas.push(EntryMeta { kind: EntryKind::CharDevice(1, 3), ..file("null", 0) });
    for meta in &metas {
        writer.append(meta, None).unwrap();
    }
    writer.whiteout(Path::new("a/b")).unwrap();
    writer.opaque(Path::new("a")).unwrap();
    let layer = writer.finish().unwrap();
    assert_eq!(layer.entries, 12);
    let tar = unpacked(&layer);
    metas.extend(["a/.wh.b", "a/.wh..wh..opq"].map(|path| EntryMeta { mode: 0, mtime: Time::default(), ..file(path, 0) }));
    let seen: Vec<_> = read(&tar).into_iter().map(|(meta, _)| meta).collect();
    assert_eq!(seen, metas);
    assert_eq!(tar[..512][156], b'0', "a long name that can be split needs no record");
    assert_eq!(tar[512..1024][156], b'x');
}

#[test]
fn a_file_that_grows_or_shrinks_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for content in [&b"ab"[..], b"abcd"] {
        let path = dir.path().join("l");
        let mut writer = LayerWriter::create(&path, LayerOptions::default()).unwrap();
        let error = writer.append(&file("the/file", 3), Some(&mut &content[..])).unwrap_err();
        assert!(error.to_string().contains("the/file"), "{error}");
        drop(writer);
        assert!(!path.exists());
    }
}

#[test]
fn times_are_cut_at_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let options = LayerOptions { latest_mtime: Some(1000), ..LayerOptions::default() };
    let mut writer = LayerWriter::create(dir.path().join("l"), options).unwrap();
    writer.append(&file("new", 0), None).unwrap();
    writer.append(&EntryMeta { mtime: Time { seconds: 7, nanoseconds: 9 }, ..file("old", 0) }, None).unwrap();
    writer.append(&EntryMeta { mtime: Time { seconds: 1000, nanoseconds: 1 }, ..file("a moment later", 0) }, None).unwrap();
    let tar = unpacked(&writer.finish().unwrap());
    let times: Vec<_> = read(&tar).iter().map(|(meta, _)| meta.mtime).collect();
    assert_eq!(times, [Time::from_seconds(1000), Time { seconds: 7, nanoseconds: 9 }, Time::from_seconds(1000)]);
}

/// A fraction costs two records; nothing else does.
#[test]
fn times_keep_their_nanoseconds() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LayerWriter::create(dir.path().join("l"), LayerOptions::default()).unwrap();
    let times = [(0, 0), (7, 0), (7, 1), (0, 999_999_999), (-1, 750_000_000), (-2, 1), (-3, 0), (1 << 40, 120_000_000)];
    let times = times.map(|(seconds, nanoseconds)| Time { seconds, nanoseconds });
    for mtime in times {
        writer.append(&EntryMeta { mtime, ..file("f", 0) }, None).unwrap();
    }
    let tar = unpacked(&writer.finish().unwrap());
    assert_eq!(read(&tar).iter().map(|(meta, _)| meta.mtime).collect::<Vec<_>>(), times);
    assert_eq!(tar[1024..1536][156], b'x', "the third");
    for text in
        [" mtime=-0.250000000\n", " mtime=-1.999999999\n", " mtime=-3\n", " mtime=1099511627776.120000000\n", " mtime=7.000000001\n"]
    {
        assert!(tar.windows(text.len()).any(|found| found == text.as_bytes()), "{text}");
    }
}

#[test]
fn what_nobody_could_unpack_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        LayerWriter::create(dir.path().join("l"), LayerOptions { compression: Compression::None, latest_mtime: None }).unwrap();

    let longest = format!("{}{}", format!("{}/", "d".repeat(255)).repeat(15), "f".repeat(255));
    for bad in [format!("{longest}/x"), "n".repeat(256), format!("{}/x", "n".repeat(256))] {
        let error = writer.append(&file(&bad, 0), None).unwrap_err();
        assert!(matches!(error, CreateError::Unfit { .. }), "{error}");
    }
    writer.append(&file(&longest, 0), None).unwrap();
    writer.whiteout(Path::new(&longest)).unwrap();
    writer.opaque(Path::new(&longest)).unwrap();
    assert_eq!(read(&unpacked(&writer.finish().unwrap())).len(), 3, "markers are longer than what they stand for, and are read");
}
