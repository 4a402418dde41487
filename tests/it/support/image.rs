//! An image read from an OCI layout, every digest of it checked.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{TestEnv, digest_of, output, run, unique};

/// An image on disk.
pub struct Image {
    /// The layout.
    pub layout: PathBuf,
    /// Of the manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The whole configuration, `config` and all.
    pub config: Value,
}

/// What a tar entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    Device,
}

/// An entry of a layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits, with set-user-id and its like.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Of a file of at most 64 KiB.
    pub content: Vec<u8>,
    /// What a link says.
    pub link: String,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Entries by path, without slashes at its ends.
pub type Tree = BTreeMap<String, Entry>;

impl Image {
    /// Reads a layout of one image.
    pub fn read(layout: &Path) -> Self {
        let index: Value = parse(&fs::read(layout.join("index.json")).expect("a layout has an index"));
        let marker: Value = parse(&fs::read(layout.join("oci-layout")).expect("a layout says that it is one"));
        assert_eq!(marker["imageLayoutVersion"], "1.0.0");
        let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str).expect("an index names a manifest").to_owned();
        let manifest: Value = parse(&blob(layout, &digest));
        let config = parse(&blob(layout, text(&manifest["config"]["digest"])));
        let image = Self { layout: layout.to_owned(), digest, manifest, config };
        assert_eq!(image.layers(), image.diff_ids().len(), "as many layers as diff-ids");
        let history = image.config["history"].as_array().expect("a history");
        let made = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(made, image.layers(), "the history names each layer");
        image
    }

    /// Copies an image from a registry that needs no credentials, as another client than ours sees it.
    pub fn pull(env: &TestEnv, reference: &str) -> Self {
        let layout = env.path(format!("pulled.{}", unique()));
        run(Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", &format!("docker://{reference}")])
            .arg(format!("oci:{}:latest", layout.display())));
        Self::read(&layout)
    }

    /// A part of `config`, by JSON pointer: null where it is absent.
    pub fn setting(&self, name: &str) -> &Value {
        self.config.pointer(&format!("/config/{name}")).unwrap_or(&Value::Null)
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let variables = self.setting("Env").as_array()?;
        variables.iter().filter_map(Value::as_str).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The number of layers.
    pub fn layers(&self) -> usize {
        self.manifest["layers"].as_array().expect("a manifest has layers").len()
    }

    /// The digests of the layers as tar archives.
    pub fn diff_ids(&self) -> Vec<&str> {
        self.config["rootfs"]["diff_ids"].as_array().map(|ids| ids.iter().map(text).collect()).unwrap_or_default()
    }

    /// The digest of a layer as it lies in the registry; a negative number counts from the end.
    pub fn layer_digest(&self, index: isize) -> &str {
        text(&self.manifest["layers"][self.index(index)]["digest"])
    }

    /// The entries of a layer, with the whiteouts; a negative number counts from the end.
    pub fn layer(&self, index: isize) -> Tree {
        let index = self.index(index);
        let descriptor = &self.manifest["layers"][index];
        let digest = text(&descriptor["digest"]);
        let path = blob_path(&self.layout, digest);
        let size = fs::metadata(&path).unwrap_or_else(|error| panic!("{digest} is not in the layout: {error}")).len();
        assert_eq!(descriptor["size"].as_u64(), Some(size), "the size of {digest}");
        assert_eq!(hash(fs::File::open(&path).expect("a blob opens")), digest, "a blob's digest");
        let open = || -> Box<dyn Read> {
            let file = fs::File::open(&path).expect("a blob opens");
            match text(&descriptor["mediaType"]) {
                "application/vnd.oci.image.layer.v1.tar+zstd" => {
                    let tar = output(Command::new("zstd").arg("-dcq").arg(&path)).stdout;
                    Box::new(std::io::Cursor::new(tar))
                }
                _ => Box::new(MultiGzDecoder::new(file)),
            }
        };
        assert_eq!(hash(open()), self.diff_ids()[index], "a layer's diff-id");
        let mut tree = Tree::new();
        // Extensions are read here: the library takes a line end in a value for the end of the value.
        let mut extensions = BTreeMap::new();
        for entry in tar::Archive::new(open()).entries().expect("a layer is a tar archive").raw(true) {
            let mut entry = entry.expect("a whole entry");
            let kind = entry.header().entry_type();
            if !matches!(kind, tar::EntryType::XHeader | tar::EntryType::GNULongName | tar::EntryType::GNULongLink) {
                let (path, entry) = read_entry(entry, &std::mem::take(&mut extensions));
                assert!(tree.insert(path.clone(), entry).is_none(), "{path} is twice in a layer");
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a whole extension");
            if kind == tar::EntryType::XHeader {
                extensions.extend(records(&bytes));
            } else {
                bytes.pop_if(|last| *last == 0);
                let key = if kind == tar::EntryType::GNULongName { "path" } else { "linkpath" };
                extensions.insert(key.to_owned(), bytes);
            }
        }
        tree
    }

    /// What the layers after the first `base` leave, whiteouts applied; hard links are what they link to.
    pub fn tree_above(&self, base: usize) -> Tree {
        let mut tree = Tree::new();
        for index in base..self.layers() {
            let entries = self.layer(isize::try_from(index).expect("few layers"));
            let (removals, additions): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(path, _)| file_name(path).starts_with(".wh."));
            for (path, _) in removals {
                let folder = path.strip_suffix(file_name(&path)).unwrap_or_default();
                match file_name(&path) {
                    ".wh..wh..opq" => tree.retain(|other, _| !other.starts_with(folder)),
                    name => remove(&mut tree, &format!("{folder}{}", &name[".wh.".len()..])),
                }
            }
            for (path, mut entry) in additions {
                if entry.kind != Kind::Directory {
                    remove(&mut tree, &path);
                }
                if entry.kind == Kind::Hardlink {
                    let target = clean(&entry.link);
                    entry = tree.get(&target).unwrap_or_else(|| panic!("{path} links to {target}, which is not there")).clone();
                }
                tree.insert(path, entry);
            }
        }
        tree
    }

    fn index(&self, index: isize) -> usize {
        if index < 0 { self.layers() - index.unsigned_abs() } else { index.unsigned_abs() }
    }
}

impl Entry {
    /// The content as text.
    pub fn text(&self) -> &str {
        assert_eq!(self.kind, Kind::File);
        std::str::from_utf8(&self.content).expect("content in UTF-8")
    }

    /// `mode uid:gid`, to compare in one go.
    pub fn rights(&self) -> String {
        format!("{:04o} {}:{}", self.mode, self.uid, self.gid)
    }
}

/// The paths of all but directories.
pub fn files(tree: &Tree) -> Vec<&str> {
    tree.iter().filter(|(_, entry)| entry.kind != Kind::Directory).map(|(path, _)| path.as_str()).collect()
}

/// The same below a directory, seen from there.
pub fn files_below<'a>(tree: &'a Tree, directory: &str) -> Vec<&'a str> {
    files(tree).into_iter().filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/')).collect()
}

/// The records of an extended header: `LENGTH KEY=VALUE` and a line end, where the length counts itself.
fn records(mut bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').expect("a length");
        let length: usize = std::str::from_utf8(&bytes[..blank]).ok().and_then(|text| text.parse().ok()).expect("a length");
        let record = bytes[blank + 1..length].strip_suffix(b"\n").expect("a line end");
        let equals = record.iter().position(|byte| *byte == b'=').expect("a key");
        let key = String::from_utf8(record[..equals].to_vec()).expect("a key in UTF-8");
        found.insert(key, record[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    found
}

fn read_entry(mut entry: tar::Entry<'_, Box<dyn Read>>, extensions: &BTreeMap<String, Vec<u8>>) -> (String, Entry) {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let path = clean(&extensions.get("path").map_or_else(|| lossy(&entry.path_bytes()), |path| lossy(path)));
    let link = extensions.get("linkpath").cloned().or_else(|| entry.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default();
    let number = |key: &str| extensions.get(key).map(|text| lossy(text).parse().expect("a number"));
    let of_xattr = |(key, value): (&String, &Vec<u8>)| Some((key.strip_prefix("SCHILY.xattr.")?.to_owned(), value.clone()));
    let xattrs = extensions.iter().filter_map(of_xattr).collect();
    let header = entry.header().clone();
    let kind = match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File,
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::Symlink => Kind::Symlink,
        tar::EntryType::Link => Kind::Hardlink,
        tar::EntryType::Fifo => Kind::Fifo,
        tar::EntryType::Char | tar::EntryType::Block => Kind::Device,
        other => panic!("{path} is of type {other:?}"),
    };
    let mut content = Vec::new();
    if entry.size() <= 64 * 1024 {
        entry.read_to_end(&mut content).expect("whole content");
    }
    let entry = Entry {
        kind,
        mode: header.mode().expect("a mode") & 0o7777,
        uid: number("uid").unwrap_or_else(|| header.uid().expect("a user")),
        gid: number("gid").unwrap_or_else(|| header.gid().expect("a group")),
        size: entry.size(),
        mtime: header.mtime().expect("a time"),
        content,
        link: lossy(&link),
        xattrs,
    };
    (path, entry)
}

fn remove(tree: &mut Tree, path: &str) {
    let below = format!("{path}/");
    tree.retain(|other, _| other != path && !other.starts_with(&below));
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn clean(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn blob(layout: &Path, digest: &str) -> Vec<u8> {
    let bytes = fs::read(blob_path(layout, digest)).unwrap_or_else(|error| panic!("{digest} is not in the layout: {error}"));
    assert_eq!(digest_of(&bytes), digest, "a blob's digest");
    bytes
}

fn hash(mut reader: impl Read) -> String {
    let mut state = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).expect("a readable blob") {
            0 => return format!("sha256:{}", hex::encode(state.finalize())),
            length => state.update(&buffer[..length]),
        }
    }
}
