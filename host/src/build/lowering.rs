use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::checks::{Checks, ignored_sources, is_secret_name};
use super::configure::configure;
use super::error::Failure;
use super::handler::{HandlerArguments, HandlerError, HandlerHeredoc, HandlerInput, Inspect, InstructionHandler, Lowered, StageState};
use super::scope::Scope;
use crate::context::IgnoreFile;
use crate::dockerfile::lint::rules;
use crate::dockerfile::{Arguments, Expander, Instruction, Keywords, Span, expand_instruction, expand_word, suggest_exactly};
use crate::oci::{History, ImageConfig, Platform};
use crate::operation::{ConfigChange, Copy, Mount, MountSource, Operation, Source};
use crate::rootfs::tree::normalise;

/// The handlers by the keywords that they claim.
pub struct Handlers {
    by_keyword: BTreeMap<String, Arc<dyn InstructionHandler>>,
    keywords: Keywords,
    work: AtomicUsize,
}

/// How many bytes of variables and labels may be handed over in a build, each counted for every instruction that finds it. Ten times
/// what large Dockerfiles come to.
const MOST_WORK: usize = 24 << 20;

impl Handlers {
    /// Takes the claims of all handlers.
    ///
    /// # Errors
    /// Two handlers claim one keyword or one rule, or one claims a word that is none.
    pub fn new(handlers: Vec<Arc<dyn InstructionHandler>>) -> Result<Self, crate::dockerfile::KeywordError> {
        let mut keywords = Keywords::new();
        let mut by_keyword = BTreeMap::new();
        for handler in handlers {
            for keyword in handler.keywords() {
                keywords.claim(handler.name(), keyword.clone())?;
                by_keyword.insert(keyword.name.clone(), Arc::clone(&handler));
            }
            for rule in handler.rules() {
                keywords.claim_rule(handler.name(), rule.clone())?;
            }
        }
        Ok(Self { by_keyword, keywords, work: AtomicUsize::new(0) })
    }

    /// Takes note of work that grows with what an instruction finds, in variables and labels handed over.
    ///
    /// # Errors
    /// The Dockerfile asks for more than any needs; only the first time has words.
    fn charge(&self, amount: usize) -> Result<(), NotLowered> {
        let before = self.work.fetch_add(amount, Ordering::Relaxed);
        if before.saturating_add(amount) <= MOST_WORK {
            return Ok(());
        }
        let words = (before <= MOST_WORK).then(|| {
            Failure::new("there are too many variables and labels for so many instructions")
                .hint("set them in fewer instructions, or fewer of them: each instruction is handed all that are in force")
        });
        Err(NotLowered::GivenUp(words))
    }

    /// What the parser is told.
    pub fn keywords(&self) -> &Keywords {
        &self.keywords
    }
}

/// The build arguments that stages may declare, and those that the user gave.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    /// The scope before the first FROM.
    pub scope: Scope,
    /// From the command line.
    pub given: BTreeMap<String, String>,
}

/// One operation with the state that it finds.
#[derive(Clone, Debug)]
pub struct Task {
    /// What to do.
    pub operation: Operation,
    /// The environment of a process.
    pub env: Arc<Vec<(String, String)>>,
    /// As the image configuration has it.
    pub user: String,
    /// Absolute.
    pub working_dir: String,
}

/// One instruction, lowered.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands.
    pub span: Span,
    /// For the log.
    pub text: String,
    /// What to do, without changes of the configuration.
    pub tasks: Vec<Task>,
    /// What the image's history says, if anything; its time is not set.
    pub history: Option<History>,
    /// The build arguments that it declares, with the values that they have.
    pub declared: Vec<(String, Option<String>)>,
}

impl Step {
    /// Whether a process runs in it.
    pub fn runs(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task.operation, Operation::Exec(_)))
    }
}

/// A stage's configuration and scope between two instructions.
#[derive(Clone, Debug)]
pub struct Lowering {
    /// The image configuration so far.
    pub config: ImageConfig,
    /// The variables in force.
    pub scope: Scope,
    /// Whether this stage has set a command.
    pub command_set: bool,
    /// Whether an instruction has set the working directory, here or in a stage that this one is based on.
    pub working_dir_set: bool,
    /// Whether all variables are known: a base image that could not be had may have set others.
    pub complete: bool,
    /// The last instruction of each kind of which only the last counts.
    last: BTreeMap<String, Instruction>,
}

/// The fixed surroundings of a lowering.
pub struct Surroundings<'a> {
    /// Who lowers.
    pub handlers: &'a Handlers,
    /// The Dockerfile's escape character.
    pub escape: char,
    /// Arguments that may be declared.
    pub globals: &'a Globals,
    /// The platform that the build runs on.
    pub build: &'a Platform,
    /// The platform that the image is for.
    pub target: &'a Platform,
    /// Who hears of what is odd.
    pub checks: &'a Checks,
    /// What the main context leaves out.
    pub ignore: &'a IgnoreFile,
}

/// Why an instruction has not been lowered.
pub enum NotLowered {
    /// It looks at files that do not exist yet.
    Deferred,
    /// It is wrong.
    Failed(Failure),
    /// It and what follows are too much work; without words where that has been said.
    GivenUp(Option<Failure>),
}

impl<E: Into<Failure>> From<E> for NotLowered {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Lowering {
    /// The state at the start of a stage, from the configuration of its base.
    pub fn new(config: ImageConfig) -> Self {
        let scope = Scope::from_environment(&config.config.env);
        Self { config, scope, command_set: false, working_dir_set: false, complete: true, last: BTreeMap::new() }
    }

    /// The state at the start of a stage that is based on this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { command_set: false, last: BTreeMap::new(), ..self.clone() }
    }

    /// Lowers one instruction and takes its changes of configuration and scope.
    ///
    /// # Errors
    /// The instruction is wrong, or looks at files that do not exist yet; the state is unchanged then.
    pub fn lower(&mut self, instruction: &Instruction, around: &Surroundings<'_>, look: &mut dyn Inspect) -> Result<Step, NotLowered> {
        around.handlers.charge(self.weight())?;
        if instruction.name == "ARG" {
            return Ok(self.declare(instruction, around)?);
        }
        let handler = around.handlers.by_keyword.get(&instruction.name);
        let handler = handler.ok_or_else(|| Failure::new(format!("unknown instruction: {}", instruction.keyword)))?;
        let get = |name: &str| self.scope.get(name).map(str::to_owned);
        let expanded = expand_instruction(instruction, around.escape, around.handlers.keywords(), &get);
        let unset = match &expanded {
            Ok(expanded) => &expanded.unset,
            Err(error) => &error.unset,
        };
        // A deferred instruction is lowered again, and its findings are those of the last time.
        let report = || self.check_unset(unset, instruction, around);
        let input = match &expanded {
            Ok(expanded) => handler_input(&expanded.instruction),
            Err(error) => {
                report();
                return Err(NotLowered::Failed(error.clone().into()));
            }
        };
        let lowered = match handler.lower(&input, &self.state(around), look) {
            Err(HandlerError::Deferred) => return Err(NotLowered::Deferred),
            lowered => {
                report();
                lowered
            }
        };
        let lowered = lowered.map_err(|error| match error {
            HandlerError::Invalid { message, hint } => NotLowered::Failed(Failure { hint, ..Failure::new(message) }),
            other => NotLowered::Failed(other.into()),
        })?;
        self.check(instruction, &lowered, around);
        let shown = self.shown(&input.text, &lowered, around.escape);
        Ok(Step { text: shown, ..self.take(instruction, input.text, lowered) })
    }

    /// An instruction as the log shows it: with the values of variables, but for those that a secret is mounted as.
    fn shown(&self, text: &str, lowered: &Lowered, escape: char) -> String {
        let mounts = lowered.operations.iter().filter_map(|operation| match operation {
            Operation::Exec(exec) => Some(&exec.mounts),
            _ => None,
        });
        let secret = |mount: &&Mount| matches!(mount.source, MountSource::Secret { as_env: true, .. });
        let secrets: Vec<&str> = mounts.flatten().filter(secret).map(|mount| mount.target.as_str()).collect();
        let get = |name: &str| match secrets.contains(&name) {
            true => Some("****".to_owned()),
            false => self.scope.get(name).map(str::to_owned),
        };
        let expanded = Expander::new(escape, &get).keeping_quotes().keeping_unset().word(text);
        expanded.map_or_else(|_| text.to_owned(), |expanded| expanded.value)
    }

    /// How many bytes an instruction is handed beside itself, with what each variable and label costs apart from its text.
    fn weight(&self) -> usize {
        let pair = |(name, value): (&String, &String)| name.len() + value.len() + 32;
        let variables: usize = self.scope.variables().iter().map(|(name, value)| pair((name, value))).sum();
        variables + self.config.config.labels.iter().map(pair).sum::<usize>()
    }

    /// Reports variables that nothing sets. One that is declared and has no value is meant to be empty.
    fn check_unset(&self, unset: &[String], instruction: &Instruction, around: &Surroundings<'_>) {
        for name in unset.iter().filter(|name| self.complete && !self.scope.declares(name)) {
            let near = suggest_exactly(name, self.scope.variables().iter().map(|(name, _)| name.as_str()));
            let near = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            around.checks.report(&rules::UNDEFINED_VAR, format!("Usage of undefined variable '${name}'{near}"), instruction);
        }
    }

    /// Reports what is odd about an instruction that has been lowered.
    fn check(&mut self, instruction: &Instruction, lowered: &Lowered, around: &Surroundings<'_>) {
        let (checks, keywords) = (around.checks, around.handlers.keywords());
        if let Arguments::Pairs(pairs) = &instruction.arguments {
            let word = &instruction.keyword;
            for _ in pairs.iter().filter(|pair| pair.legacy) {
                let message = format!("\"{word} key=value\" should be used instead of legacy \"{word} key value\" format");
                checks.report(&rules::LEGACY_KEY_VALUE_FORMAT, message, instruction);
            }
        }
        if keywords.get(&instruction.name).is_some_and(|keyword| keyword.last_counts)
            && let Some(earlier) = self.last.insert(instruction.name.clone(), instruction.clone())
        {
            let word = &instruction.keyword;
            let why = "should not be used in the same stage because only the last one will be used";
            let comments = [earlier.comments.as_slice(), instruction.comments.as_slice()].concat();
            checks.report_at(
                &rules::MULTIPLE_INSTRUCTIONS_DISALLOWED,
                format!("Multiple {word} instructions {why}"),
                &earlier.span,
                &comments,
            );
        }
        for warning in &lowered.warnings {
            if let Some(rule) = keywords.rule(&warning.rule) {
                checks.report(rule, warning.message.clone(), instruction);
            }
        }
        for operation in &lowered.operations {
            match operation {
                Operation::Configure(ConfigChange::Env(name, _)) => check_secret(name, instruction, checks),
                Operation::Copy(copy) => {
                    for path in ignored_sources(copy, around.ignore) {
                        let name = instruction.name.to_lowercase();
                        let (first, rest) = name.split_at_checked(1).unwrap_or(("", &name));
                        let verb = format!("{}{rest}", first.to_uppercase());
                        let message = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
                        checks.report(&rules::COPY_IGNORED_FILE, message, instruction);
                    }
                }
                _ => {}
            }
        }
    }

    fn state(&self, around: &Surroundings<'_>) -> StageState {
        let container = &self.config.config;
        let split =
            |pair: &String| pair.split_once('=').map_or_else(|| (pair.clone(), String::new()), |(n, v)| (n.to_owned(), v.to_owned()));
        StageState {
            target: around.target.clone(),
            build: around.build.clone(),
            build_args: self.scope.arguments(),
            env: container.env.iter().map(split).collect(),
            labels: container.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            user: container.user.clone(),
            working_dir: if container.working_dir.is_empty() { "/".to_owned() } else { container.working_dir.clone() },
            working_dir_set: self.working_dir_set,
            shell: container.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]),
            shell_set: container.shell.as_ref().is_some_and(|shell| !shell.is_empty()),
        }
    }

    fn take(&mut self, instruction: &Instruction, text: String, lowered: Lowered) -> Step {
        let mut tasks = Vec::new();
        let mut command = None;
        for operation in lowered.operations {
            match operation {
                Operation::Configure(change) => {
                    configure(&mut self.config, &change, &mut self.command_set);
                    match &change {
                        ConfigChange::Env(name, value) => self.scope.set(name, value),
                        ConfigChange::WorkingDir(_) => self.working_dir_set = true,
                        _ => {}
                    }
                }
                operation => {
                    if let Operation::Exec(exec) = &operation {
                        command = Some(run_text(&instruction.name, &self.scope.recorded(), &exec.arguments));
                    }
                    tasks.push(Task {
                        operation,
                        env: Arc::new(self.scope.variables().to_vec()),
                        user: self.config.config.user.clone(),
                        working_dir: absolute(&self.config.config.working_dir),
                    });
                }
            }
        }
        // A layer without a line of its own would make the lines of all others wrong.
        let told = lowered.history.filter(|told| !told.is_empty() || tasks.is_empty());
        let created_by = told.unwrap_or_else(|| {
            let work = if tasks.is_empty() { "" } else { " # buildkit" };
            format!("{}{work}", command.unwrap_or_else(|| text.clone()))
        });
        let history = (!created_by.is_empty()).then(|| History { empty_layer: tasks.is_empty(), ..recorded(created_by) });
        Step { span: instruction.span.clone(), text, tasks, history, declared: Vec::new() }
    }

    /// The step that makes files of a named context the first layer of a stage.
    pub fn copy_all(&self, from: &Instruction, name: &str) -> Step {
        let copy = Copy::all(Source::Context(name.to_owned()));
        let text = format!("COPY --from={name} . /");
        let task = Task { operation: Operation::Copy(copy), env: Arc::new(Vec::new()), user: String::new(), working_dir: "/".to_owned() };
        let history = Some(recorded(format!("{text} # buildkit")));
        Step { span: from.span.clone(), text, tasks: vec![task], history, declared: Vec::new() }
    }

    /// ARG: the command line's value, else the default, else the global scope's.
    fn declare(&mut self, instruction: &Instruction, around: &Surroundings<'_>) -> Result<Step, Failure> {
        let mut shown = Vec::new();
        let mut declared = Vec::new();
        for declaration in instruction.declarations() {
            check_secret(&declaration.name, instruction, around.checks);
            let value = match (around.globals.given.get(&declaration.name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let get = |name: &str| self.scope.get(name).map(str::to_owned);
                    let expanded = Expander::new(around.escape, &get).word(default);
                    let unset = match &expanded {
                        Ok(expanded) => expanded.unset.iter().cloned().collect(),
                        Err(error) => error.unset.clone(),
                    };
                    self.check_unset(&unset, instruction, around);
                    Some(expanded?.value)
                }
                (None, None) => around.globals.scope.get(&declaration.name).map(str::to_owned),
            };
            shown.push(match &value {
                Some(value) => format!("{}={value}", declaration.name),
                None => declaration.name.clone(),
            });
            declared.push((declaration.name.clone(), value.clone()));
            self.scope.declare(&declaration.name, value);
        }
        let text = format!("ARG {}", shown.join(" "));
        let history = Some(History { empty_layer: true, ..recorded(text.clone()) });
        Ok(Step { span: instruction.span.clone(), text, tasks: Vec::new(), history, declared })
    }
}

fn check_secret(name: &str, instruction: &Instruction, checks: &Checks) {
    if is_secret_name(name) {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({} {name:?})", instruction.name);
        checks.report(&rules::SECRETS_USED_IN_ARG_OR_ENV, message, instruction);
    }
}

/// A line of the history. Scanners tell what is an instruction and what a command of a shell by the comment.
fn recorded(created_by: String) -> History {
    History { created_by: Some(created_by), comment: Some("buildkit.dockerfile.v0".to_owned()), ..History::default() }
}

/// A working directory without what is taken back in it.
fn absolute(path: &str) -> String {
    format!("/{}", normalise(OsStr::new(path)).display())
}

/// `RUN |1 A=1 /bin/sh -c true`, with the build arguments in scope.
fn run_text(keyword: &str, arguments: &[(String, String)], command: &[String]) -> String {
    let mut words = vec![keyword.to_owned()];
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
        words.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend(command.iter().cloned());
    words.join(" ")
}

fn handler_input(instruction: &Instruction) -> HandlerInput {
    let flags = instruction.flags.iter().map(|flag| (flag.name.clone(), flag.value.clone().unwrap_or_else(|| "true".to_owned())));
    let arguments = match &instruction.arguments {
        Arguments::Exec(words) => HandlerArguments::Exec(words.clone()),
        Arguments::Words(words) => HandlerArguments::Words(words.clone()),
        Arguments::Pairs(pairs) => HandlerArguments::Pairs(pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()),
        Arguments::Text(text) => HandlerArguments::Text(text.clone()),
    };
    let heredoc = |heredoc: &crate::dockerfile::Heredoc| HandlerHeredoc {
        name: heredoc.name.clone(),
        content: heredoc.body().into_owned(),
        descriptor: heredoc.descriptor,
    };
    HandlerInput {
        name: instruction.name.clone(),
        flags: flags.collect(),
        arguments,
        heredocs: instruction.heredocs.iter().map(heredoc).collect(),
        text: instruction.original.trim().to_owned(),
    }
}

/// Reads the arguments before the first FROM into the global scope.
///
/// # Errors
/// A default that does not expand, with the instruction that has it.
pub fn global_scope<'a>(
    platform_arguments: &[(String, String)],
    given: &[(String, String)],
    instructions: &'a [Instruction],
    escape: char,
) -> Result<Globals, (&'a Instruction, Failure)> {
    let mut globals = Globals { scope: Scope::default(), given: given.iter().cloned().collect() };
    let mut spent = 0;
    for (name, value) in platform_arguments {
        let value = globals.given.get(name).unwrap_or(value).clone();
        globals.scope.declare(name, Some(value));
    }
    for instruction in instructions {
        for declaration in instruction.declarations() {
            let value = match (globals.given.get(&declaration.name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let get = |name: &str| globals.scope.get(name).map(str::to_owned);
                    Some(expand_word(default, escape, &get).map_err(|e| (instruction, e.into()))?)
                }
                (None, None) => None,
            };
            spent += value.as_ref().map_or(0, String::len);
            if spent > MOST_WORK {
                return Err((instruction, Failure::new("the arguments before the first FROM have too long values together")));
            }
            globals.scope.declare(&declaration.name, value);
        }
    }
    Ok(globals)
}
