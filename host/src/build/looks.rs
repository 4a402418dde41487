//! A handler's looks at a stage while it is built.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::handler::{FileInfo, Inspect, LookError, Place};
use super::keys;
use super::source::{SourceFiles, TreeLook};
use super::stage::StageFiles;
use super::work::Work;
use crate::cache::{CacheKey, KeyWriter, Note};
use crate::dockerfile::Instruction;
use crate::fs::Root;
use crate::image::Image;
use crate::rootfs::disk::Disk;

/// Looks at a stage while it is built. What was seen in the same layers before is not looked at again, so that they need not be here.
pub struct LiveLook<'a, 'b> {
    work: &'a mut Work<'b>,
    /// Of the instruction that looks, in the layers below it.
    key: CacheKey,
    /// What is known; none where nobody has asked yet.
    known: Option<BTreeMap<String, Answer>>,
    /// Whether more is known than was.
    learnt: bool,
}

/// What a look has seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {
    Stat(Option<FileInfo>),
    Content(Vec<u8>),
    Names(Vec<String>),
    NotFound,
    TooLarge,
}

impl<'a, 'b> LiveLook<'a, 'b> {
    /// Looks for an instruction.
    pub fn new(work: &'a mut Work<'b>, instruction: &Instruction) -> Self {
        let mut key = KeyWriter::new("looks");
        key.part(layers(&work.image)).part(&instruction.original);
        Self { work, key: key.finish(), known: None, learnt: false }
    }

    /// Keeps what was seen for other builds.
    pub fn keep(self) {
        let (Some(cached), Some(known), true) = (&self.work.shared.cached, &self.known, self.learnt) else { return };
        if let Ok(text) = serde_json::to_string(known) {
            let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            cached.cache.put_note(&Note { key: self.key, text, created });
        }
    }

    /// What was seen before, else what `look` sees now.
    fn ask(
        &mut self,
        kind: &str,
        place: &Place,
        path: &str,
        look: impl FnOnce(&TreeLook) -> Result<Answer, LookError>,
    ) -> Result<Answer, LookError> {
        let shared = self.work.shared;
        let (Some(cached), Some(files)) = (&shared.cached, self.files(place)?) else { return look(&self.tree(place)?) };
        let question = format!("{kind} {files} {path}");
        if self.known.is_none() {
            let note = Handle::current().block_on(cached.cache.note(&self.key));
            self.known = Some(note.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default());
        }
        if let Some(answer) = self.known.as_ref().and_then(|known| known.get(&question)) {
            return Ok(answer.clone());
        }
        let answer = match look(&self.tree(place)?) {
            Err(LookError::NotFound) => Answer::NotFound,
            Err(LookError::TooLarge) => Answer::TooLarge,
            seen => seen?,
        };
        self.learnt = true;
        self.known.get_or_insert_default().insert(question, answer.clone());
        Ok(answer)
    }

    /// The files of a place by what they are; none where they are at hand anyway.
    fn files(&self, place: &Place) -> Result<Option<String>, LookError> {
        match place {
            Place::Context(_) => Ok(None),
            Place::RootFs => Ok(Some(String::new())),
            Place::Stage(name) => {
                let shared = self.work.shared;
                let earlier = shared.planner.graph.earlier(name, self.work.plan.index).ok_or(LookError::NotFound)?;
                let outcome = Handle::current().block_on(shared.outcome(earlier)).map_err(|e| LookError::Failed(e.to_string()))?;
                Ok(Some(layers(&outcome.image)))
            }
        }
    }

    fn tree(&mut self, place: &Place) -> Result<TreeLook, LookError> {
        let shared = self.work.shared;
        match place {
            Place::Context(name) if name.is_empty() => TreeLook::context(&shared.deps.context),
            Place::Context(name) => {
                let context = Handle::current().block_on(shared.planner.context(name));
                match context.map_err(|failure| LookError::Failed(failure.message))? {
                    Some(context) => TreeLook::context(&context),
                    None => Err(LookError::NotFound),
                }
            }
            Place::RootFs => {
                let opened = Handle::current().block_on(self.work.open(false));
                opened.map_err(|failure| LookError::Failed(failure.message))?;
                match &mut self.work.files {
                    Some(StageFiles::Overlay(files)) => {
                        let merged = files.get_mut().unwrap_or_else(PoisonError::into_inner).merged().map(Path::to_owned);
                        let root = merged
                            .map_err(|e| LookError::Failed(e.to_string()))
                            .and_then(|path| Root::open(&path).map_err(|e| LookError::Failed(e.to_string())));
                        Ok(TreeLook(Arc::new(Disk::new(root?))))
                    }
                    Some(StageFiles::Layered(tree) | StageFiles::Unpacked(tree, _)) => Ok(TreeLook(Arc::new(tree.clone()))),
                    None => Err(LookError::Deferred),
                }
            }
            Place::Stage(name) => {
                let earlier = shared.planner.graph.earlier(name, self.work.plan.index).ok_or(LookError::NotFound)?;
                let look = async {
                    let outcome = shared.outcome(earlier).await.map_err(|e| LookError::Failed(e.to_string()))?;
                    let files = SourceFiles::Stage(outcome, Arc::clone(shared));
                    files.fetch().await.map_err(|e| LookError::Failed(e.message))?;
                    files.tree().map_err(|e| LookError::Failed(e.message))
                };
                Handle::current().block_on(look).map(TreeLook)
            }
        }
    }
}

impl Inspect for LiveLook<'_, '_> {
    fn stat(&mut self, place: &Place, path: &str) -> Result<Option<FileInfo>, LookError> {
        match self.ask("stat", place, path, |tree| tree.stat(path).map(Answer::Stat))? {
            Answer::Stat(info) => Ok(info),
            other => Err(other.refusal()),
        }
    }

    fn read(&mut self, place: &Place, path: &str) -> Result<Vec<u8>, LookError> {
        match self.ask("read", place, path, |tree| tree.read(path).map(Answer::Content))? {
            Answer::Content(bytes) => Ok(bytes),
            other => Err(other.refusal()),
        }
    }

    fn entries(&mut self, place: &Place, path: &str) -> Result<Vec<String>, LookError> {
        match self.ask("entries", place, path, |tree| tree.entries(path).map(Answer::Names))? {
            Answer::Names(names) => Ok(names),
            other => Err(other.refusal()),
        }
    }
}

impl Answer {
    /// Of an answer that is none.
    fn refusal(self) -> LookError {
        match self {
            Self::NotFound => LookError::NotFound,
            Self::TooLarge => LookError::TooLarge,
            _ => LookError::Failed("the cache has an answer of another kind".to_owned()),
        }
    }
}

/// The layers of an image, as a text.
fn layers(image: &Image) -> String {
    keys::base(image).hex()
}
