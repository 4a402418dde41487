use std::path::PathBuf;

use gix_hash::{ObjectId, oid};
use gix_object::{CommitRefIter, Kind, TagRefIter};
use gix_pack::Bundle;
use layerwright_git_reference::GitUrl;

use super::super::FetchError;
use crate::rootfs::store::TemporaryDirectory;

/// What a fetch has brought: one pack, whose objects are found by what they hold.
pub(super) struct Fetched {
    pub(super) bundle: Bundle,
    pub(super) kind: gix_hash::Kind,
    /// The commit itself, behind a tag where there is one.
    pub(super) commit: ObjectId,
    /// The name and the object that was asked for.
    pub(super) reference: Option<(String, ObjectId)>,
    /// Holds the pack, and the list of commits whose parents are missing.
    pub(super) directory: TemporaryDirectory,
    pub(super) url: String,
}

/// What a commit says of itself.
pub(super) struct Commit {
    pub(super) tree: ObjectId,
    /// When it was committed, in seconds since 1970.
    pub(super) seconds: i64,
}

impl Fetched {
    pub(super) fn failed(&self, why: impl Into<String>) -> FetchError {
        FetchError::Git { url: self.url.clone(), why: why.into() }
    }

    pub(super) fn pack_directory(directory: &TemporaryDirectory) -> PathBuf {
        directory.path().join("pack")
    }

    pub(super) fn shallow_file(directory: &TemporaryDirectory) -> PathBuf {
        directory.path().join("shallow")
    }

    /// An object of a kind.
    pub(super) fn object(&self, id: &oid, wanted: Kind) -> Result<Vec<u8>, FetchError> {
        match find(&self.bundle, id).map_err(|why| self.failed(why))? {
            Some((kind, data)) if kind == wanted => Ok(data),
            Some((kind, _)) => Err(self.failed(format!("{id} is a {kind}, not a {wanted}"))),
            None => Err(self.failed(format!("the server has not sent the {wanted} {id}"))),
        }
    }

    pub(super) fn commit_info(&self) -> Result<Commit, FetchError> {
        let data = self.object(&self.commit, Kind::Commit)?;
        let broken = |_| self.failed(format!("the commit {} cannot be read", self.commit));
        let tree = CommitRefIter::from_bytes(&data, self.kind).tree_id().map_err(broken)?;
        let committer = CommitRefIter::from_bytes(&data, self.kind).committer().map_err(broken)?;
        Ok(Commit { tree, seconds: committer.seconds() })
    }
}

/// The commit behind an object, which may be a tag of a tag; none where it is neither.
pub(super) fn peel(bundle: &Bundle, kind: gix_hash::Kind, id: ObjectId, url: &GitUrl) -> Result<ObjectId, FetchError> {
    let failed = |why: String| FetchError::Git { url: url.shown(), why };
    let mut id = id;
    for _ in 0..16 {
        match find(bundle, &id).map_err(failed)? {
            Some((Kind::Commit, _)) => return Ok(id),
            Some((Kind::Tag, data)) => {
                id = TagRefIter::from_bytes(&data, kind).target_id().map_err(|_| failed(format!("the tag {id} cannot be read")))?;
            }
            Some((other, _)) => return Err(failed(format!("{id} is a {other}, not a commit"))),
            None => return Err(failed(format!("the server has not sent {id}"))),
        }
    }
    Err(failed("a tag of a tag of a tag leads nowhere".to_owned()))
}

fn find(bundle: &Bundle, id: &oid) -> Result<Option<(Kind, Vec<u8>)>, String> {
    let mut data = Vec::new();
    let mut inflate = gix_zlib::Inflate::default();
    let found = bundle.find(id, &mut data, &mut inflate, &mut gix_pack::cache::Never).map_err(|error| error.to_string())?;
    let kind = found.map(|(object, _)| object.kind);
    Ok(kind.map(|kind| (kind, data)))
}

impl gix_object::Find for Fetched {
    fn try_find<'a>(&self, id: &oid, buffer: &'a mut Vec<u8>) -> gix_error::Result<Option<gix_object::Data<'a>>> {
        let mut inflate = gix_zlib::Inflate::default();
        Ok(self.bundle.find(id, buffer, &mut inflate, &mut gix_pack::cache::Never)?.map(|(object, _)| object))
    }
}
