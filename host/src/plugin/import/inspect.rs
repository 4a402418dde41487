use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use crate::build::handler::{FileInfo, FileKind, LookError, Place};
use crate::plugin::state::{State, error};
use crate::plugin::v0_1::wit::inspect;
use crate::plugin::v0_1::wit::types::{Error, ErrorCode};

/// Of a file that a handler reads, in bytes.
const LARGEST_FILE: usize = 1 << 20;
/// Of a directory that a handler lists.
const MOST_ENTRIES: usize = 10_000;
const LONGEST_PATH: usize = 4096;
/// Of one call.
const MOST_LOOKS: u32 = 50_000;

/// Carries a handler's looks to the thread that made the call, which holds what answers them.
pub(in crate::plugin) struct Looker {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
    left: u32,
    deferred: bool,
}

impl Looker {
    pub(in crate::plugin) fn new(questions: SyncSender<Question>, answers: Receiver<Answer>) -> Self {
        Self { questions, answers, left: MOST_LOOKS, deferred: false }
    }

    /// Whether an answer was not known yet: whatever the handler made of that is not to be used.
    pub(in crate::plugin) fn deferred(&self) -> bool {
        self.deferred
    }
}

/// A look.
pub(in crate::plugin) enum Question {
    Stat(Place, String),
    Read(Place, String),
    Entries(Place, String),
}

/// The answer to a look of the same name.
pub(in crate::plugin) enum Answer {
    Stat(Result<Option<FileInfo>, LookError>),
    Read(Result<Vec<u8>, LookError>),
    Entries(Result<Vec<String>, LookError>),
}

impl State {
    fn look(&mut self, question: impl FnOnce(String) -> Question, path: String) -> Result<Answer, Error> {
        if path.len() > LONGEST_PATH || path.contains('\0') {
            return Err(error(ErrorCode::Invalid, "that is no path"));
        }
        let question = question(path);
        self.waiting(Duration::MAX, |state, _| {
            let looker = state.looker.as_mut().ok_or_else(|| error(ErrorCode::Denied, "there is nothing to look at here"))?;
            looker.left = looker.left.checked_sub(1).ok_or_else(|| error(ErrorCode::Failed, "it has looked too often"))?;
            let gone = || error(ErrorCode::Failed, "nobody answers");
            looker.questions.send(question).map_err(|_| gone())?;
            looker.answers.recv().map_err(|_| gone())
        })?
    }

    fn refuse(&mut self, why: LookError) -> Error {
        match why {
            LookError::Deferred => {
                if let Some(looker) = &mut self.looker {
                    looker.deferred = true;
                }
                error(ErrorCode::Unavailable, "not known before earlier steps have been carried out")
            }
            LookError::NotFound => error(ErrorCode::NotFound, "not found"),
            LookError::TooLarge => error(ErrorCode::TooLarge, "too large to look at"),
            LookError::Failed(message) => error(ErrorCode::Failed, message),
        }
    }
}

impl inspect::Host for State {
    fn stat(&mut self, place: inspect::Place, path: String) -> Result<Option<inspect::FileInfo>, Error> {
        match self.look(|path| Question::Stat(host_place(place), path), path)? {
            Answer::Stat(Ok(found)) => Ok(found.map(guest_info)),
            Answer::Stat(Err(why)) => Err(self.refuse(why)),
            _ => Err(error(ErrorCode::Failed, "the answer is to another question")),
        }
    }

    fn read(&mut self, place: inspect::Place, path: String) -> Result<Vec<u8>, Error> {
        match self.look(|path| Question::Read(host_place(place), path), path)? {
            Answer::Read(Ok(content)) if content.len() <= LARGEST_FILE => Ok(content),
            Answer::Read(Ok(_)) => Err(self.refuse(LookError::TooLarge)),
            Answer::Read(Err(why)) => Err(self.refuse(why)),
            _ => Err(error(ErrorCode::Failed, "the answer is to another question")),
        }
    }

    fn entries(&mut self, place: inspect::Place, path: String) -> Result<Vec<String>, Error> {
        match self.look(|path| Question::Entries(host_place(place), path), path)? {
            Answer::Entries(Ok(names)) if names.len() <= MOST_ENTRIES => Ok(names),
            Answer::Entries(Ok(_)) => Err(self.refuse(LookError::TooLarge)),
            Answer::Entries(Err(why)) => Err(self.refuse(why)),
            _ => Err(error(ErrorCode::Failed, "the answer is to another question")),
        }
    }
}

fn host_place(place: inspect::Place) -> Place {
    match place {
        inspect::Place::Context(name) => Place::Context(name),
        inspect::Place::Rootfs => Place::RootFs,
        inspect::Place::Stage(name) => Place::Stage(name),
    }
}

fn guest_info(info: FileInfo) -> inspect::FileInfo {
    inspect::FileInfo {
        kind: match info.kind {
            FileKind::Regular => inspect::FileKind::Regular,
            FileKind::Directory => inspect::FileKind::Directory,
            FileKind::Symlink => inspect::FileKind::Symlink,
            FileKind::Other => inspect::FileKind::Other,
        },
        mode: info.mode,
        uid: info.uid,
        gid: info.gid,
        size: info.size,
        target: info.target,
    }
}
