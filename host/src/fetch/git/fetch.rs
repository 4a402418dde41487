use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gix_hash::ObjectId;
use gix_protocol::fetch::negotiate::{Action, Round, one_round};
use gix_protocol::fetch::{Arguments, Context, Negotiate, Options, Response, Shallow, Tags};
use gix_protocol::handshake::Ref;
use gix_protocol::ls_refs::RefPrefixes;
use gix_protocol::transport::Service;
use gix_protocol::{Handshake, LsRefsCommand};
use gix_utils::progress::Discard;

use super::super::FetchError;
use super::connect::{Connection, connect};
use super::objects::{Fetched, peel};
use super::refs::{Chosen, choose, names};
use super::{Wanted, Work};
use crate::progress::Level;
use crate::rootfs::store::TemporaryDirectory;

/// The largest object, in bytes: it is held in memory while it is written.
const LARGEST_OBJECT: usize = 1 << 30;

impl Work {
    /// Brings what a revision is made of here.
    pub(super) fn fetch(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Fetched, FetchError> {
        let commit = wanted.revision.filter(|revision| layerwright_git_reference::is_commit(revision));
        let fetched = match commit {
            Some(commit) => self.fetch_commit(wanted, commit)?,
            None => self.fetch_ref(wanted)?,
        };
        let found = fetched.commit.to_string();
        let tag = fetched.reference.as_ref().map(|(_, id)| id.to_string());
        let is = |checksum: &str| found.starts_with(checksum) || tag.as_deref().is_some_and(|tag| tag.starts_with(checksum));
        match wanted.checksum.map(str::to_ascii_lowercase) {
            Some(checksum) if !is(&checksum) => Err(fetched.failed(format!("expected checksum to match {checksum}, got {found}"))),
            _ => {
                self.reporter.log(Level::Info, &format!("{}: commit {found}", fetched.url));
                Ok(fetched)
            }
        }
    }

    fn fetch_ref(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Fetched, FetchError> {
        let mut session = self.session(wanted)?;
        let refs = session.refs(Some(names(wanted.revision)))?;
        let Some(chosen) = choose(&refs, wanted.revision) else {
            let why = match wanted.revision {
                Some(revision) => format!("the repository has no ref {revision:?}"),
                None => "the repository has no default branch: it is empty, perhaps".to_owned(),
            };
            return Err(FetchError::Git { url: wanted.url.shown(), why });
        };
        let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
        self.receive(session, wanted, &[chosen.id], &shallow, |_| Ok(chosen.id), Some(&chosen))
    }

    /// A commit by its id alone; where the server does not serve it so, among all that its branches and tags lead to.
    fn fetch_commit(self: &Arc<Self>, wanted: &Wanted<'_>, commit: &str) -> Result<Fetched, FetchError> {
        let id = ObjectId::from_hex(commit.as_bytes());
        let id = id.map_err(|_| FetchError::Git { url: wanted.url.shown(), why: format!("invalid commit {commit:?}") })?;
        let session = self.session(wanted)?;
        if session.kind()? != id.kind() {
            return Err(FetchError::Git {
                url: wanted.url.shown(),
                why: format!("{commit} is no commit of a repository with {}", session.kind()?),
            });
        }
        let shallow = Shallow::DepthAtRemote(NonZeroU32::MIN);
        let first = match self.receive(session, wanted, &[id], &shallow, |_| Ok(id), None) {
            Err(error @ FetchError::Git { .. }) => error,
            done => return done,
        };
        let mut session = self.session(wanted)?;
        let refs = session.refs(Some(vec!["refs/heads/".to_owned(), "refs/tags/".to_owned()]))?;
        let mut all: Vec<ObjectId> = refs.iter().filter_map(tip).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Err(first);
        }
        self.receive(
            session,
            wanted,
            &all,
            &Shallow::NoChange,
            |fetched| match fetched.index.lookup(id) {
                Some(_) => Ok(id),
                None => Err(format!("no branch and no tag of the repository leads to the commit {id}")),
            },
            None,
        )
    }

    fn session(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Session, FetchError> {
        let mut connection = connect(self, wanted.url, wanted.by)?;
        let refuse = |_| Ok(None);
        let shaken = gix_protocol::handshake(&mut connection.transport, Service::UploadPack, refuse, Vec::new(), &mut Discard);
        let handshake = shaken.map_err(|error| connection.failed(&error))?;
        Ok(Session { connection, handshake })
    }

    fn receive(
        &self,
        mut session: Session,
        wanted: &Wanted<'_>,
        ids: &[ObjectId],
        shallow: &Shallow,
        commit: impl FnOnce(&gix_pack::Bundle) -> Result<ObjectId, String>,
        chosen: Option<&Chosen>,
    ) -> Result<Fetched, FetchError> {
        let kind = session.kind()?;
        let directory = self.store.temporary_directory().map_err(|error| self.kept(&error))?;
        let packs = Fetched::pack_directory(&directory);
        std::fs::create_dir(&packs).map_err(|error| self.kept(&error))?;
        let mut index = None;
        let consume = |pack: &mut dyn std::io::BufRead,
                       progress: &mut dyn gix_utils::progress::DynNestedProgress,
                       stop: &std::sync::atomic::AtomicBool| {
            let options =
                gix_pack::bundle::write::Options { thread_limit: Some(2), alloc_limit_bytes: Some(LARGEST_OBJECT), ..Default::default() };
            let written =
                gix_pack::Bundle::write_to_directory(pack, Some(&packs), progress, stop, None::<gix_object::find::Never>, kind, options)?;
            index = written.index_path;
            Ok(true)
        };
        let context = Context {
            handshake: &mut session.handshake,
            transport: &mut session.connection.transport,
            user_agent: agent(),
            trace_packetlines: false,
        };
        let options = Options { shallow_file: Fetched::shallow_file(&directory), shallow, tags: Tags::None, reject_shallow_remote: false };
        let mut all = All(ids);
        let done = gix_protocol::fetch(&mut all, consume, Discard, &self.interrupt, context, options);
        done.map_err(|error| session.connection.failed(&error))?;
        self.finish(wanted, kind, directory, index, commit, chosen)
    }

    fn finish(
        &self,
        wanted: &Wanted<'_>,
        kind: gix_hash::Kind,
        directory: TemporaryDirectory,
        index: Option<std::path::PathBuf>,
        commit: impl FnOnce(&gix_pack::Bundle) -> Result<ObjectId, String>,
        chosen: Option<&Chosen>,
    ) -> Result<Fetched, FetchError> {
        let failed = |why: String| FetchError::Git { url: wanted.url.shown(), why };
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(failed("it was given up".to_owned()));
        }
        let index = index.ok_or_else(|| failed("the server has sent nothing".to_owned()))?;
        let bundle = gix_pack::Bundle::at(index, kind).map_err(|error| failed(error.to_string()))?;
        let id = commit(&bundle).map_err(failed)?;
        let commit = peel(&bundle, kind, id, wanted.url)?;
        let reference = chosen.map(|chosen| (chosen.name.clone(), chosen.id));
        Ok(Fetched { bundle, kind, commit, reference, directory, url: wanted.url.shown() })
    }
}

/// A server that has said what it can do.
struct Session {
    connection: Connection,
    handshake: Handshake,
}

impl Session {
    /// What objects are called by.
    fn kind(&self) -> Result<gix_hash::Kind, FetchError> {
        let said = self.handshake.capabilities.capability("object-format");
        let value = said.and_then(|said| said.value().map(ToString::to_string));
        match value.as_deref() {
            None | Some("sha1") => Ok(gix_hash::Kind::Sha1),
            Some("sha256") => Ok(gix_hash::Kind::Sha256),
            Some(other) => Err(self.connection.says(format!("its objects are called by {other:?}, which is not known"))),
        }
    }

    /// The refs of the repository, or those of them that begin so.
    fn refs(&mut self, prefixes: Option<Vec<String>>) -> Result<Vec<Ref>, FetchError> {
        if let Some(refs) = self.handshake.refs.take() {
            return Ok(refs);
        }
        let prefixes = prefixes.map(|all| {
            let mut prefixes = RefPrefixes::new();
            prefixes.extend(all.into_iter().map(Into::into));
            prefixes
        });
        let command = LsRefsCommand::new(prefixes, &self.handshake.capabilities, agent());
        let refs = command.invoke_blocking(&mut self.connection.transport, &mut Discard, false);
        refs.map_err(|error| self.connection.failed(&error))
    }
}

fn tip(found: &Ref) -> Option<ObjectId> {
    match found {
        Ref::Direct { object, .. } => Some(*object),
        Ref::Peeled { tag, .. } => Some(*tag),
        Ref::Symbolic { tag, object, .. } => Some(tag.unwrap_or(*object)),
        Ref::Unborn { .. } => None,
    }
}

fn agent() -> gix_protocol::command::Feature {
    ("agent", Some(gix_protocol::agent(concat!("layerwright-", env!("CARGO_PKG_VERSION")))))
}

/// Wants everything and has nothing.
struct All<'a>(&'a [ObjectId]);

impl Negotiate for All<'_> {
    fn mark_complete_and_common_ref(&mut self) -> gix_error::Result<Action> {
        Ok(Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _: &[bool]) -> bool {
        for id in self.0 {
            arguments.want(id);
        }
        !self.0.is_empty()
    }

    fn one_round(&mut self, _: &mut one_round::State, _: &mut Arguments, _: Option<&Response>) -> gix_error::Result<(Round, bool)> {
        let round = Round { haves_sent: 0, in_vain: 0, haves_to_send: 0, previous_response_had_at_least_one_in_common: false };
        Ok((round, true))
    }
}
