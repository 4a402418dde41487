//! Instruction handlers: `build::InstructionHandler` over what a component exports.

use std::sync::mpsc;
use std::thread;

use super::convert;
use super::error::PluginError;
use super::import::inspect::{Answer as Found, Looker, Question};
use super::import::log::Log;
use super::instance::{Call, Outcome, Plugin};
use super::state::State;
use super::text::one_line;
use super::v0_1::instruction_handler::InstructionHandlerPre;
use super::v0_1::instruction_handler::exports::layerwright::plugin::instruction as guest;
use super::v0_1::wit::types::Error as GuestError;
use crate::build::handler::{HandlerError, HandlerInput, Inspect, InstructionHandler, Lowered, StageState};
use crate::dockerfile::Keyword;
use crate::dockerfile::lint::Rule;

/// Of the thread that a call runs on when it may look at files.
const STACK: usize = 2 << 20;

type Answer = Result<guest::Lowered, GuestError>;

/// What a component says that it handles.
#[derive(Default)]
pub(super) struct Said {
    pub(super) keywords: Vec<guest::Keyword>,
    pub(super) rules: Vec<guest::Rule>,
}

/// A component that handles instructions.
pub(super) struct InstructionPlugin {
    plugin: Plugin,
    guest: InstructionHandlerPre<State>,
    keywords: Vec<Keyword>,
    rules: Vec<Rule>,
}

impl InstructionPlugin {
    pub(super) fn new(plugin: Plugin, guest: InstructionHandlerPre<State>, said: Said) -> Result<Self, PluginError> {
        let unusable = |reason| PluginError::Unusable { plugin: plugin.info.name.clone(), reason };
        let rules = convert::rules(said.rules).map_err(unusable)?;
        let keywords = convert::keywords(said.keywords, &rules).map_err(unusable)?;
        Ok(Self { plugin, guest, keywords, rules })
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    fn call(&self, input: &HandlerInput, stage: &StageState, looker: Option<Looker>) -> Result<(Answer, Outcome), PluginError> {
        let (instruction, stage) = (convert::instruction(input), convert::stage(stage));
        let call = Call { function: "lower", describing: false, log: Log::direct(), looker };
        self.plugin.call(call, |store| {
            let instance = self.guest.instantiate(&mut *store)?;
            instance.layerwright_plugin_instruction().call_lower(&mut *store, &instruction, &stage)
        })
    }

    /// Makes the call on a thread of its own, while this one answers its looks: what answers them stays where it is.
    fn call_with_looks(&self, input: &HandlerInput, stage: &StageState, look: &mut dyn Inspect) -> Result<(Answer, Outcome), PluginError> {
        let (ask, questions) = mpsc::sync_channel(0);
        let (reply, answers) = mpsc::sync_channel(0);
        let looker = Looker::new(ask, answers);
        let failed = |reason: &str| PluginError::Trap { plugin: self.plugin.info.name.clone(), call: "lower", reason: reason.to_owned() };
        thread::scope(|scope| {
            let guest = thread::Builder::new()
                .name("plugin".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, move || self.call(input, stage, Some(looker)))
                .map_err(|error| failed(&format!("no thread to run it on: {error}")))?;
            // Ends when the call does: the looker goes with its store.
            for question in questions {
                let answer = match question {
                    Question::Stat(place, path) => Found::Stat(look.stat(&place, &path)),
                    Question::Read(place, path) => Found::Read(look.read(&place, &path)),
                    Question::Entries(place, path) => Found::Entries(look.entries(&place, &path)),
                };
                if reply.send(answer).is_err() {
                    break;
                }
            }
            guest.join().unwrap_or_else(|_| Err(failed("the host's side of the call failed")))
        })
    }
}

impl InstructionHandler for InstructionPlugin {
    fn name(&self) -> &str {
        &self.plugin.info.name
    }

    fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn lower(&self, call: &HandlerInput, stage: &StageState, look: &mut dyn Inspect) -> Result<Lowered, HandlerError> {
        let called = if self.plugin.looks { self.call_with_looks(call, stage, look) } else { self.call(call, stage, None) };
        let misbehaved = |message: String| HandlerError::Plugin { plugin: self.plugin.info.name.clone(), message };
        let (lowered, outcome) = called.map_err(|error| misbehaved(reason(error)))?;
        if outcome.deferred {
            return Err(HandlerError::Deferred);
        }
        match lowered {
            Ok(lowered) => convert::lowered(lowered, &self.rules).map_err(misbehaved),
            Err(GuestError { message, hint, .. }) => {
                Err(HandlerError::Invalid { message: one_line(&message, 4096), hint: hint.map(|hint| one_line(&hint, 4096)) })
            }
        }
    }
}

/// What happened, without the name that the caller says anyway.
fn reason(error: PluginError) -> String {
    match error {
        PluginError::Trap { call, reason, .. } => format!("it failed in `{call}`: {reason}"),
        PluginError::Stopped { call, limit, .. } => format!("it was stopped in `{call}`: {limit}"),
        other => other.to_string(),
    }
}
