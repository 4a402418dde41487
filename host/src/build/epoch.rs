use std::sync::Arc;

use super::checks::Checks;
use super::error::{BuildError, Failure};
use super::inputs::Inputs;
use super::lowering::Globals;
use super::plan::{Planner, Purpose, StagePlan};
use super::settings::{BuildSettings, NamedContext};
use super::source::git_location;
use crate::dockerfile::Dockerfile;
use crate::fetch::{Fetcher, NamedBy};
use crate::graph::{Base, BuildGraph};
use crate::operation::{Operation, Source};

/// The argument that says what stands for now.
const NAME: &str = "SOURCE_DATE_EPOCH";
/// The name that means the main build context.
const CONTEXT: &str = "context";

/// What the user gives, else the Dockerfile's default.
fn text(globals: &Globals) -> Option<&str> {
    globals.given.get(NAME).map(String::as_str).or_else(|| globals.scope.get(NAME))
}

/// The seconds since 1970 that `SOURCE_DATE_EPOCH` stands for. An empty one is none.
pub fn epoch(globals: &Globals) -> Option<i64> {
    text(globals)?.parse().ok()
}

/// Refuses a `SOURCE_DATE_EPOCH` that is neither a time nor the name of what has one.
///
/// # Errors
/// It is neither.
pub fn check(parsed: &Dockerfile, settings: &BuildSettings, globals: &Globals) -> Result<(), BuildError> {
    let Some(value) = text(globals) else { return Ok(()) };
    let has_time =
        |name: &str| name == CONTEXT || settings.named_context(name, &settings.platform).is_some() || stage(parsed, name).is_some();
    if value.is_empty() || value.parse::<i64>().is_ok() || has_time(value) {
        return Ok(());
    }
    Err(BuildError::Other {
        message: format!("invalid {NAME}: {value}"),
        hint: Some("give seconds since 1970, or the name of a stage or a build context".to_owned()),
        source: None,
    })
}

/// The first stage of a name.
fn stage(parsed: &Dockerfile, name: &str) -> Option<usize> {
    parsed.stages.iter().position(|stage| stage.from.alias.as_ref().is_some_and(|alias| alias.eq_ignore_ascii_case(name)))
}

/// Puts the time of a context or of a stage's only source in the place of its name; nothing where it has none.
///
/// # Errors
/// The source cannot be had, or the stage is more than one source.
pub async fn resolve(
    parsed: &Dockerfile,
    graph: &BuildGraph,
    mut globals: Globals,
    settings: &Arc<BuildSettings>,
    inputs: &Inputs,
    fetcher: &Fetcher,
) -> Result<Globals, BuildError> {
    let Some(name) = text(&globals).filter(|text| !text.is_empty() && text.parse::<i64>().is_err()).map(str::to_owned) else {
        return Ok(globals);
    };
    let modified = if name == CONTEXT {
        inputs.context.modified
    } else if let Some(context) = settings.named_context(&name, &settings.platform) {
        of_context(&name, context, fetcher).await?
    } else if let Some(index) = stage(parsed, &name) {
        // Planned by itself: what is planned with the others is built.
        let (graph, parsed, checks) = (graph.clone(), parsed.clone(), Arc::new(Checks::default()));
        let planner = Planner::new(graph, parsed, globals.clone(), Arc::clone(settings), inputs.clone(), checks, Purpose::Build);
        of_stage(&planner, index, inputs, fetcher).await?
    } else {
        None
    };
    let value = modified.map(|seconds| seconds.to_string()).unwrap_or_default();
    if let Some(given) = globals.given.get_mut(NAME) {
        given.clone_from(&value);
    }
    if globals.scope.declares(NAME) {
        globals.scope.declare(NAME, Some(value));
    }
    Ok(globals)
}

/// When the files of a named context were made; an image has no such time.
async fn of_context(name: &str, context: &NamedContext, fetcher: &Fetcher) -> Result<Option<i64>, BuildError> {
    let NamedContext::Files(location) = context else { return Ok(None) };
    let opened = fetcher.open(location, NamedBy::Operator).await;
    let opened = opened.map_err(|error| BuildError::Other {
        message: format!("cannot open the build context {name} for {NAME}"),
        hint: error.hint(),
        source: Some(Arc::new(error)),
    })?;
    Ok(opened.modified)
}

/// When the only source of a stage was made.
async fn of_stage(planner: &Planner, index: usize, inputs: &Inputs, fetcher: &Fetcher) -> Result<Option<i64>, BuildError> {
    let Some(stage) = planner.graph.stages.get(index) else { return Ok(None) };
    let from = &stage.source.from.instruction.span;
    if stage.base != Base::Scratch {
        return Err(refused("it is not FROM scratch").at(&inputs.dockerfile, from));
    }
    let plan = planner.plan(index).await?;
    if let Some(problem) = planner.problems().into_iter().next() {
        return Err(problem);
    }
    let unsupported = |keyword: &str| refused(&format!("unsupported {} instruction", keyword.to_ascii_uppercase()));
    if let Some(instruction) = plan.rest.first() {
        return Err(unsupported(&instruction.keyword).at(&inputs.dockerfile, &instruction.span));
    }
    for (step, instruction) in plan.steps.iter().zip(&stage.source.instructions) {
        let remote = |operation: &Operation| remote(operation).is_some();
        let declares = !step.declared.is_empty();
        if !declares && (step.tasks.is_empty() || !step.tasks.iter().all(|task| remote(&task.operation))) {
            return Err(unsupported(&instruction.keyword).at(&inputs.dockerfile, &step.span));
        }
    }
    let source = only_source(&plan).ok_or_else(|| refused("it has not exactly one remote source").at(&inputs.dockerfile, from))?;
    let failed = |error| Failure::fetch(error).at(&inputs.dockerfile, from);
    match source {
        Source::Download { url, checksum } => {
            let file = fetcher.download(url, checksum.as_deref(), NamedBy::Dockerfile).await.map_err(failed)?;
            Ok(file.modified)
        }
        source => match git_location(source) {
            Some(location) => Ok(fetcher.open(&location, NamedBy::Dockerfile).await.map_err(failed)?.modified),
            None => Ok(None),
        },
    }
}

fn refused(why: &str) -> Failure {
    let failure = Failure::new(format!("{NAME} stage does not meet source-only requirements: {why}"));
    failure.hint("a stage that has a time is FROM scratch with one ADD, of one URL or git repository, and nothing else but ARG")
}

/// What an operation brings from elsewhere.
fn remote(operation: &Operation) -> Option<&Source> {
    match operation {
        Operation::Copy(copy) => Some(&copy.from).filter(|from| matches!(from, Source::Download { .. } | Source::Git { .. })),
        _ => None,
    }
}

fn only_source(plan: &StagePlan) -> Option<&Source> {
    let mut sources = plan.steps.iter().flat_map(|step| &step.tasks).filter_map(|task| remote(&task.operation));
    let first = sources.next();
    if sources.next().is_none() { first } else { None }
}

/// Now, or what stands for it, as RFC 3339.
///
/// # Errors
/// It is a time that has no such form.
pub fn now(epoch: Option<i64>) -> Result<String, BuildError> {
    let time = match epoch {
        Some(seconds) => {
            time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| BuildError::because("SOURCE_DATE_EPOCH is out of range", e))?
        }
        None => time::OffsetDateTime::now_utc(),
    };
    time.format(&time::format_description::well_known::Rfc3339).map_err(|e| BuildError::because("the time cannot be written", e))
}
