use serde::{Deserialize, Serialize};

use crate::dockerfile::Keyword;
use crate::dockerfile::lint::{Rule, RuleMessage};
use crate::oci::Platform;
use crate::operation::Operation;

/// Turns instructions into operations.
///
/// Pure: the same input and the same answers from `look` give the same operations, in the same order, however often
/// it is asked and from whatever thread. It carries nothing out.
pub trait InstructionHandler: Send + Sync {
    /// Who this is, for messages: `namespace/name`.
    fn name(&self) -> &str;

    /// The keywords that it claims and how the parser reads them.
    fn keywords(&self) -> &[Keyword];

    /// The rules that its warnings belong to.
    fn rules(&self) -> &[Rule];

    /// What one instruction stands for. It may be asked without anything being built.
    ///
    /// # Errors
    /// `Invalid` where the user's text is wrong, `Deferred` where `look` could not answer yet, `Plugin` where the
    /// handler itself misbehaved.
    fn lower(&self, call: &HandlerInput, stage: &StageState, look: &mut dyn Inspect) -> Result<Lowered, HandlerError>;
}

/// What an instruction stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// What is carried out, in order.
    pub operations: Vec<Operation>,
    /// What is odd about it, each by one of the handler's rules.
    pub warnings: Vec<RuleMessage>,
    /// The instruction in the image's history; none for the text as written, empty to leave it out where it only configures.
    pub history: Option<String>,
}

/// An instruction as a handler sees it: parsed, and expanded where its keyword says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerInput {
    /// The keyword, upper case.
    pub name: String,
    /// Flags in the order written, without dashes.
    pub flags: Vec<(String, String)>,
    /// What follows the flags.
    pub arguments: HandlerArguments,
    /// Heredocs in the order written.
    pub heredocs: Vec<HandlerHeredoc>,
    /// The instruction as it is written, continuations joined.
    pub text: String,
}

/// The arguments by the form that the keyword declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerArguments {
    /// A JSON array.
    Exec(Vec<String>),
    /// Words.
    Words(Vec<String>),
    /// Names and values.
    Pairs(Vec<(String, String)>),
    /// The line.
    Text(String),
}

/// A heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerHeredoc {
    /// The word after `<<`, unquoted.
    pub name: String,
    /// The body.
    pub content: String,
    /// 3 for `3<<EOF`; 0 where none is written.
    pub descriptor: u32,
}

/// The state that an instruction finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageState {
    /// The platform that the image is for.
    pub target: Platform,
    /// The platform that the build runs on.
    pub build: Platform,
    /// Build arguments in scope.
    pub build_args: Vec<(String, String)>,
    /// The image's environment.
    pub env: Vec<(String, String)>,
    /// The image's labels.
    pub labels: Vec<(String, String)>,
    /// As the image configuration has it; empty for root.
    pub user: String,
    /// Absolute.
    pub working_dir: String,
    /// Whether an instruction chose it, and not the base image.
    pub working_dir_set: bool,
    /// For shell forms.
    pub shell: Vec<String>,
    /// Whether an instruction or the base image chose it.
    pub shell_set: bool,
}

/// Where a handler looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A build context; empty for the main one.
    Context(String),
    /// The root filesystem as the instruction finds it.
    RootFs,
    /// The final root filesystem of an earlier stage.
    Stage(String),
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a regular file, in bytes.
    pub size: u64,
    /// Of a symbolic link.
    pub target: Option<String>,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a FIFO, a socket.
    Other,
}

/// Answers a handler's looks. A final symbolic link is not followed.
pub trait Inspect {
    /// What lies at a path; none where nothing does.
    ///
    /// # Errors
    /// `Deferred` where the place does not exist yet.
    fn stat(&mut self, place: &Place, path: &str) -> Result<Option<FileInfo>, LookError>;

    /// The content of a regular file of at most 1 MiB.
    ///
    /// # Errors
    /// As `stat`; `NotFound`, `TooLarge`.
    fn read(&mut self, place: &Place, path: &str) -> Result<Vec<u8>, LookError>;

    /// The names in a directory, sorted; at most 10 000.
    ///
    /// # Errors
    /// As `read`.
    fn entries(&mut self, place: &Place, path: &str) -> Result<Vec<String>, LookError>;
}

/// Why a look has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// Not known before earlier steps have been carried out.
    #[error("not known yet")]
    Deferred,
    /// Nothing there.
    #[error("not found")]
    NotFound,
    /// Over the limit.
    #[error("too large")]
    TooLarge,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Why an instruction was not lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// What the user wrote is wrong.
    #[error("{message}")]
    Invalid {
        /// One sentence without a full stop.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A look was not possible yet; ask again when the steps before are done.
    #[error("needs files that do not exist yet")]
    Deferred,
    /// The handler trapped, ran over a limit or answered nonsense.
    #[error("plugin {plugin}: {message}")]
    Plugin {
        /// Its name.
        plugin: String,
        /// What it did.
        message: String,
    },
}
