use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::{BuildError, DockerfileErrors};
use super::inputs::Inputs;
use super::plan::{Planner, Purpose, StagePlan};
use super::report;
use super::settings::BuildSettings;
use crate::dockerfile::{self, Expander, Instruction, Span};
use crate::operation::{MountSource, Operation};

/// What a user can give to a build of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name; none where it has none.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Build arguments that matter for the target, by line.
    pub arguments: Vec<Argument>,
    /// Secrets, by line.
    pub secrets: Vec<Wanted>,
    /// SSH agents, by line.
    pub agents: Vec<Wanted>,
    /// Cache directories, by line.
    pub caches: Vec<Wanted>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// The value that it has, given or by default; none where it has none.
    pub value: Option<String>,
    /// What the Dockerfile says where nothing is given, as it is written.
    pub default: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Where it is declared.
    pub span: Span,
}

/// Something that a RUN mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub id: String,
    /// Whether its absence fails the build.
    pub required: bool,
    /// Where it is first mounted.
    pub span: Span,
}

/// A stage that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name; none where it has none.
    pub name: Option<String>,
    /// What it is based on, as written.
    pub base: String,
    /// Its platform, as written.
    pub platform: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Whether it is built where no target is named.
    pub default: bool,
    /// Its FROM.
    pub span: Span,
}

/// The stages of a Dockerfile. Nothing is looked up.
///
/// # Errors
/// The Dockerfile does not parse.
pub fn targets(inputs: &Inputs) -> Result<Vec<Target>, BuildError> {
    let parsed = dockerfile::parse(&inputs.dockerfile, inputs.handlers.keywords())
        .map_err(|errors| BuildError::Dockerfile(Arc::new(DockerfileErrors { text: (*inputs.dockerfile).clone(), errors })))?;
    let last = parsed.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &dockerfile::StageSource)| Target {
        name: stage.from.alias.clone(),
        base: stage.from.image.clone(),
        platform: stage.from.platform.clone(),
        description: stage.from.alias.as_ref().and_then(|name| description(&stage.from.instruction, name)),
        default: index == last,
        span: stage.from.instruction.span.clone(),
    };
    Ok(parsed.stages.iter().enumerate().map(target).collect())
}

/// What can be given to a build of the target. A base image that cannot be had is said and passed over.
///
/// # Errors
/// All that is wrong with the Dockerfile.
pub async fn outline(settings: Arc<BuildSettings>, inputs: Inputs) -> Result<Outline, Vec<BuildError>> {
    let checks = Arc::new(report::checks(&settings, &inputs).map_err(|error| vec![error])?);
    let planner = report::planned(&settings, &inputs, &checks, Purpose::Outline).await?;
    let Some(stage) = planner.graph.stages.get(planner.graph.target) else { return Ok(Outline::default()) };
    let from = &stage.source.from;
    let mut outline = Outline { name: from.alias.clone(), ..Outline::default() };
    outline.description = from.alias.as_ref().and_then(|name| description(&from.instruction, name));
    let globals = global_arguments(&planner);
    let mut arguments: BTreeMap<String, Argument> = BTreeMap::new();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for plan in planner.plans() {
        mounts(&plan, &mut outline);
        let Some(stage) = planner.graph.stages.get(plan.index) else { continue };
        used.extend(used_in_from(&planner, &stage.source.from));
        for step in &plan.steps {
            let declaration = stage.source.instructions.iter().find(|i| i.name == "ARG" && i.span == step.span);
            let Some(instruction) = declaration else { continue };
            for (declared, (_, value)) in instruction.declarations().into_iter().zip(&step.declared) {
                let given = planner.globals.given.contains_key(&declared.name);
                if declared.default.is_none() && !given && globals.contains_key(&declared.name) {
                    used.insert(declared.name);
                    continue;
                }
                let about = description(instruction, &declared.name);
                let (name, span) = (declared.name.clone(), instruction.span.clone());
                let argument = Argument { name, value: value.clone(), default: declared.default, description: about, span };
                arguments.entry(declared.name).or_insert(argument);
            }
        }
    }
    mark(&globals, used, &mut arguments);
    outline.arguments = arguments.into_values().collect();
    outline.arguments.sort_by_key(|argument| argument.span.start_line);
    for list in [&mut outline.secrets, &mut outline.agents, &mut outline.caches] {
        list.sort_by_key(|wanted| wanted.span.start_line);
    }
    Ok(outline)
}

/// An argument before the first FROM, and those that its default asks for.
struct Global {
    argument: Argument,
    needs: BTreeSet<String>,
}

fn global_arguments(planner: &Planner) -> BTreeMap<String, Global> {
    let mut all: BTreeMap<String, Global> = BTreeMap::new();
    let get = |name: &str| planner.globals.scope.get(name).map(str::to_owned);
    for instruction in &planner.dockerfile.global_args {
        for declared in instruction.declarations() {
            let given = planner.globals.given.contains_key(&declared.name);
            let default = declared.default.as_deref().filter(|_| !given).unwrap_or_default();
            let expanded = Expander::new(planner.dockerfile.directives.escape, &get).word(default);
            let mut needs = expanded.map(|expanded| expanded.used).unwrap_or_default();
            // A name declared twice needs what both ask for.
            if needs.remove(&declared.name)
                && let Some(earlier) = all.get(&declared.name)
            {
                needs.extend(earlier.needs.iter().cloned());
            }
            let argument = Argument {
                name: declared.name.clone(),
                value: get(&declared.name),
                default: declared.default.clone(),
                description: description(instruction, &declared.name),
                span: instruction.span.clone(),
            };
            all.insert(declared.name, Global { argument, needs });
        }
    }
    all
}

/// The global arguments that a FROM asks for.
fn used_in_from(planner: &Planner, from: &dockerfile::FromInstruction) -> BTreeSet<String> {
    let get = |name: &str| planner.globals.scope.get(name).map(str::to_owned);
    let words = std::iter::once(&from.image).chain(&from.platform);
    let used = words.filter_map(|word| Expander::new(planner.dockerfile.directives.escape, &get).word(word).ok());
    used.flat_map(|expanded| expanded.used).collect()
}

/// Adds the global arguments of these names, and those that they need.
fn mark(globals: &BTreeMap<String, Global>, used: BTreeSet<String>, into: &mut BTreeMap<String, Argument>) {
    let mut todo: Vec<String> = used.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if let Some(global) = globals.get(&name).filter(|_| seen.insert(name.clone())) {
            todo.extend(global.needs.iter().cloned());
            into.entry(name).or_insert_with(|| global.argument.clone());
        }
    }
}

fn mounts(plan: &StagePlan, outline: &mut Outline) {
    for step in &plan.steps {
        for task in &step.tasks {
            let Operation::Exec(exec) = &task.operation else { continue };
            for mount in &exec.mounts {
                let (list, id, required) = match &mount.source {
                    MountSource::Secret { id, required, .. } => (&mut outline.secrets, id, *required),
                    MountSource::Ssh { id, required, .. } => (&mut outline.agents, id, *required),
                    MountSource::Cache { id, .. } => (&mut outline.caches, id, false),
                    MountSource::Bind { .. } | MountSource::Tmpfs(_) => continue,
                };
                match list.iter_mut().find(|wanted| wanted.id == *id) {
                    Some(known) => {
                        known.required |= required;
                        if step.span.start_line < known.span.start_line {
                            known.span = step.span.clone();
                        }
                    }
                    None => list.push(Wanted { id: id.clone(), required, span: step.span.clone() }),
                }
            }
        }
    }
}

/// What the comment above a definition says of a name: `# NAME text`.
fn description(instruction: &Instruction, name: &str) -> Option<String> {
    let after = |line: &String| Some(line.strip_prefix(name)?.strip_prefix(' ')?.trim().to_owned());
    instruction.comments.iter().find_map(after).filter(|text| !text.is_empty())
}
