//! A loaded plugin, and how a call of it is made: a store of its own, bounded, and gone afterwards.

use std::sync::Arc;

use wasmtime::{Store, Trap, UpdateDeadline};

use super::engine::Runtime;
use super::error::PluginError;
use super::grant::Grant;
use super::import::inspect::Looker;
use super::import::log::Log;
use super::limits::{Exceeded, Limits};
use super::shape::Import;
use super::state::{Ambient, State, Who};
use super::text::{one_line, redact};
use super::v0_1::UNLINKED;
use super::v0_1::wit::types::{Description, Want};
use crate::progress::Level;

/// What a plugin is, for whoever asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginInfo {
    /// `namespace/name`
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line.
    pub summary: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Where it came from.
    pub origin: String,
    /// The world that it is written for.
    pub world: &'static str,
    /// The interfaces that it imports: what it could ask.
    pub imports: Vec<String>,
    /// What it says that it wants, written as grants.
    pub wants: Vec<String>,
    /// What it was granted.
    pub grants: Vec<Grant>,
}

/// What the calls of a plugin have in common.
pub(super) struct Plugin {
    pub(super) runtime: Runtime,
    pub(super) limits: Limits,
    pub(super) who: Arc<Who>,
    pub(super) info: PluginInfo,
    pub(super) looks: bool,
}

/// What is left of a call, beside its result.
pub(super) struct Outcome {
    /// How to allow what was refused first.
    pub(super) denied: Option<String>,
    /// Whether an answer to a look was not known yet.
    pub(super) deferred: bool,
    /// Credentials that came by, for blanking out.
    pub(super) secrets: Vec<String>,
}

/// How a call is made.
pub(super) struct Call {
    pub(super) function: &'static str,
    /// While a plugin says what it is, nothing is granted.
    pub(super) describing: bool,
    pub(super) log: Log,
    pub(super) looker: Option<Looker>,
}

impl Call {
    /// Asks a plugin what it is.
    pub(super) fn describe() -> Self {
        Self { function: "describe", describing: true, log: Log::direct(), looker: None }
    }
}

/// Makes a call. `work` instantiates the plugin in the store and calls its function; it may leave secrets in the state.
pub(super) fn call<R>(
    runtime: &Runtime,
    limits: &Limits,
    who: &Arc<Who>,
    call: Call,
    work: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<(R, Outcome), PluginError> {
    let running = runtime.start()?;
    let function = call.function;
    let state = State::new(Arc::clone(who), limits, call.describing, call.log, call.looker);
    let mut store = Store::new(runtime.engine(), state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(limits.output);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        if state.out_of_time() { Err(Exceeded::Time(state.limits.time).into()) } else { Ok(UpdateDeadline::Continue(1)) }
    });

    let result = work(&mut store);
    drop(running);
    let mut state = store.into_data();
    state.log.flush(&who.name, &state.secrets, &*who.ambient.reporter);
    match result {
        Ok(value) => {
            let deferred = state.looker.is_some_and(|looker| looker.deferred());
            Ok((value, Outcome { denied: state.denied, deferred, secrets: state.secrets }))
        }
        Err(error) => Err(failure(&error, function, &state, limits)),
    }
}

/// Says what ended a call.
fn failure(error: &wasmtime::Error, call: &'static str, state: &State, limits: &Limits) -> PluginError {
    let plugin = state.who.name.clone();
    if let Some(limit) = error.downcast_ref::<Exceeded>() {
        return PluginError::Stopped { plugin, call, limit: *limit };
    }
    let cause = error.root_cause().to_string();
    if cause.contains("fuel allocated for hostcalls") {
        return PluginError::Stopped { plugin, call, limit: Exceeded::Output(limits.output) };
    }
    let trap = error.downcast_ref::<Trap>();
    let reason = match (trap, state.log.last()) {
        (Some(Trap::StackOverflow), _) => "it calls itself without end".to_owned(),
        (Some(Trap::MemoryOutOfBounds), _) => "it reached beyond its memory, as what calls itself without end does".to_owned(),
        // A panic leaves its message in the log, and ends in `unreachable`.
        (Some(Trap::UnreachableCodeReached), Some(last)) if last.contains("panicked") => redact(last, &state.secrets),
        (Some(Trap::UnreachableCodeReached), _) => "it gave up (`unreachable`)".to_owned(),
        _ => match cause.strip_prefix(UNLINKED.0).and_then(|rest| rest.strip_suffix(UNLINKED.1)) {
            Some(function) if function.starts_with("layerwright:plugin/") => ungranted(function, state),
            _ => redact(&cause, &state.secrets),
        },
    };
    let mut reason = one_line(&reason, 1024);
    if let Some(denied) = &state.denied {
        reason.push_str("; before that, ");
        reason.push_str(denied);
    }
    PluginError::Trap { plugin, call, reason }
}

/// What a call of an interface says of which nothing is granted: the lines that would grant what the plugin says that it wants of it.
fn ungranted(function: &str, state: &State) -> String {
    let interface = function.trim_start_matches("layerwright:plugin/").split(['@', '#']).next().unwrap_or_default();
    let (kind, example) = match interface {
        "env" => ("env=", "env=NAME"),
        "files" => ("file=", "file=PATH"),
        "http" => ("host=", "host=https://HOST"),
        _ => ("credential-helper=", "credential-helper=NAME"),
    };
    let mut wanted: Vec<&str> = state.who.wants.iter().map(String::as_str).filter(|want| want.starts_with(kind)).take(8).collect();
    if wanted.is_empty() {
        wanted.push(example);
    }
    let lines = wanted.iter().map(|want| format!("`--grant {}`", state.who.line(want))).collect::<Vec<_>>().join(", ");
    format!("it calls `{interface}`, and nothing of that interface is granted; to allow it, add {lines}")
}

impl Plugin {
    /// Makes a call for a build.
    pub(super) fn call<R>(
        &self,
        call: Call,
        work: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<(R, Outcome), PluginError> {
        self::call(&self.runtime, &self.limits, &self.who, call, work)
    }

    /// Checks what a plugin says of itself, and gives it its name and its grants.
    pub(super) fn introduce(
        loaded: &super::load::Loaded,
        description: Description,
        runtime: Runtime,
        limits: Limits,
        source: &super::config::PluginSource,
        ambient: Arc<Ambient>,
    ) -> Result<Self, PluginError> {
        let unusable = |reason: &str| PluginError::Unusable { plugin: loaded.origin.clone(), reason: reason.to_owned() };
        if !is_name(&description.name) {
            return Err(unusable("it has no name of the form `namespace/name`"));
        }
        let Description { name, version, summary, wants } = description;
        let wanted: Vec<String> = wants.iter().take(1000).map(|want| one_line(&written(want), 512)).collect();
        if let Some(approved) = &source.approved
            && wanted.iter().collect::<std::collections::BTreeSet<_>>() != approved.wants.iter().collect()
        {
            let [now, then] = [wanted.join(", "), approved.wants.iter().cloned().collect::<Vec<_>>().join(", ")];
            let reason = format!("it wants [{now}], and [{then}] is what was approved");
            return Err(PluginError::NotApproved { plugin: loaded.origin.clone(), reason });
        }
        let unwanted = source.grants.iter().filter(|grant| !matches!(grant, Grant::SkipVerification(_)));
        for grant in unwanted.filter(|grant| !wanted.contains(&grant.to_string())) {
            ambient.reporter.log(Level::Debug, &format!("plugin {name} is granted `{grant}` and does not say that it wants it"));
        }
        let imports = loaded.shape.imports.iter().map(|import| import.name().to_owned()).chain(loaded.shape.wasi.iter().cloned()).collect();
        let info = PluginInfo {
            name: name.clone(),
            version: one_line(&version, 64),
            summary: one_line(&summary, 256),
            digest: loaded.digest.clone(),
            origin: loaded.origin.clone(),
            world: loaded.shape.world.name(),
            imports,
            wants: wanted,
            grants: source.grants.clone(),
        };
        let variable = |name: &str| source.environment.get(name).or_else(|| ambient.environment.get(name)).cloned();
        let named = source.grants.iter().filter_map(|grant| match grant {
            Grant::HostIn(host) => host.resolve(variable).map(Grant::Host),
            other => Some(other.clone()),
        });
        let who = Arc::new(Who {
            name,
            origin: source.origin.to_string(),
            grants: named.collect(),
            wants: info.wants.clone(),
            environment: source.environment.clone(),
            ambient: Arc::clone(&ambient),
        });
        Ok(Self { runtime, limits, who, info, looks: loaded.shape.imports.contains(&Import::Inspect) })
    }
}

/// A want, written as the grant that fulfils it.
fn written(want: &Want) -> String {
    match want {
        Want::Env(name) => format!("env={name}"),
        Want::File(path) => format!("file={path}"),
        Want::Host(host) => format!("host={host}"),
        Want::CredentialHelper(name) => format!("credential-helper={name}"),
    }
}

/// `namespace/name` of lower-case letters, digits, `.`, `_` and `-`.
fn is_name(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    text.len() <= 128 && text.split_once('/').is_some_and(|(namespace, name)| word(namespace) && word(name))
}
