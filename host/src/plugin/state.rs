//! What belongs to one call of a plugin: its grants, its budgets, and what it has done so far.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::grant::{Ask, Grant};
use super::import::inspect::Looker;
use super::import::log::Log;
use super::limits::{Limits, Meter};
use super::text::one_line;
use super::v0_1::wit::types::{Error, ErrorCode};
use crate::progress::{Event, Level, Reporter, Secrets};

/// What the host knows of the world around it; a plugin sees of it what its grants name.
pub(super) struct Ambient {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) home: Option<PathBuf>,
    pub(super) search_path: Vec<PathBuf>,
    pub(super) reporter: Arc<dyn Reporter>,
    /// What came by in any call, for whoever prints.
    pub(super) secrets: Arc<Secrets>,
}

/// A plugin as its calls know it.
pub(super) struct Who {
    /// `namespace/name`, or where it came from while that is not known.
    pub(super) name: String,
    /// A standard plugin's name or a file: what a grant is written for.
    pub(super) origin: String,
    pub(super) grants: Vec<Grant>,
    /// What it says that it wants, written as grants.
    pub(super) wants: Vec<String>,
    /// Values of variables for this plugin alone.
    pub(super) environment: BTreeMap<String, String>,
    pub(super) ambient: Arc<Ambient>,
}

impl Who {
    /// A grant as the command line takes it.
    pub(super) fn line(&self, grant: &str) -> String {
        format!("{}:{}", self.origin, one_line(grant, 512))
    }
}

/// The state of a store; lives as long as one call.
pub(super) struct State {
    pub(super) who: Arc<Who>,
    pub(super) limits: Limits,
    pub(super) meter: Meter,
    /// While a plugin says what it is, nothing is granted.
    pub(super) describing: bool,
    pub(super) log: Log,
    /// Where a handler's looks go.
    pub(super) looker: Option<Looker>,
    /// What must not be shown: credentials that came by.
    pub(super) secrets: Vec<String>,
    /// How to allow what was refused first.
    pub(super) denied: Option<String>,
    started: Instant,
    waited: Duration,
}

/// A request that no grant covers.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} may not {call}; to allow it, add `--grant {grant}`")]
pub(super) struct Denied {
    plugin: String,
    call: String,
    /// The line to add.
    grant: String,
}

impl State {
    pub(super) fn new(who: Arc<Who>, limits: &Limits, describing: bool, log: Log, looker: Option<Looker>) -> Self {
        Self {
            who,
            meter: Meter::new(limits),
            limits: limits.clone(),
            describing,
            log,
            looker,
            secrets: Vec::new(),
            denied: None,
            started: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// Whether the call has computed for longer than it may.
    pub(super) fn out_of_time(&self) -> bool {
        self.started.elapsed().saturating_sub(self.waited) > self.limits.time
    }

    /// Does something that takes time of the world's rather than of the plugin's; `give_up` is how long it may take.
    pub(super) fn waiting<R>(&mut self, give_up: Duration, work: impl FnOnce(&mut Self, Duration) -> R) -> Result<R, Error> {
        let left = self.limits.waiting.saturating_sub(self.waited).min(give_up);
        if left.is_zero() {
            return Err(error(ErrorCode::Unavailable, format!("it has waited for {} s in all", self.limits.waiting.as_secs())));
        }
        let begun = Instant::now();
        let result = work(self, left);
        self.waited = self.waited.saturating_add(begun.elapsed());
        Ok(result)
    }

    /// The grant that covers what is asked, or the refusal that says which one would.
    pub(super) fn granted(&mut self, ask: Ask<'_>, call: &str, line: impl FnOnce() -> String) -> Result<Grant, Error> {
        let who = Arc::clone(&self.who);
        let found = who.grants.iter().find(|grant| !self.describing && grant.allows(ask));
        found.cloned().ok_or_else(|| self.deny(call, line()))
    }

    /// Refuses a call.
    pub(super) fn deny(&mut self, call: &str, grant: String) -> Error {
        let (call, grant) = (one_line(call, 512), self.who.line(&grant));
        let denied = Denied { plugin: self.who.name.clone(), call: call.clone(), grant: grant.clone() };
        if !self.describing {
            // For whoever looks for it: a plugin may well ask for something and go on without it.
            let message = denied.to_string();
            self.who.ambient.reporter.event(Event::Log { level: Level::Debug, source: self.who.name.clone(), message: message.clone() });
            self.denied.get_or_insert(message);
        }
        Error { code: ErrorCode::Denied, message: format!("not allowed to {call}"), hint: Some(format!("add `--grant {grant}`")) }
    }

    /// Keeps a text from being shown, by the plugin and by everyone.
    pub(super) fn hide(&mut self, secrets: impl IntoIterator<Item = String>) {
        let secrets: Vec<String> = secrets.into_iter().collect();
        self.who.ambient.secrets.add(secrets.iter().cloned());
        self.secrets.extend(secrets);
    }

    /// A variable's value as this plugin sees it, whether or not it may.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.who.environment.get(name).or_else(|| self.who.ambient.environment.get(name)).cloned()
    }
}

/// An answer to a guest.
pub(super) fn error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error { code, message: message.into(), hint: None }
}
