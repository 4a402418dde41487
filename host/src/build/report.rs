use std::sync::Arc;

use super::checks::Checks;
use super::epoch;
use super::error::{BuildError, DockerfileErrors};
use super::images::NoImages;
use super::inputs::Inputs;
use super::plan::{Planner, Purpose};
use super::settings::BuildSettings;
use super::stages::graph;
use crate::dockerfile::lint::{Finding, grammar};
use crate::dockerfile::{self, CheckOptions, Dockerfile, ParseErrors};
use crate::progress::{Level, Silent};

/// What is odd and what is wrong about a Dockerfile.
#[derive(Debug, Default)]
pub struct Report {
    /// What checks found, by line.
    pub findings: Vec<Finding>,
    /// What is wrong, by line.
    pub errors: Vec<BuildError>,
    /// Where no check may find anything and one did: which.
    pub violation: Option<String>,
}

/// The build argument that counts in place of the Dockerfile's own options for checks.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// The checks that count: by the build argument where there is one, else by the Dockerfile.
pub(super) fn checks(settings: &BuildSettings, inputs: &Inputs) -> Result<Checks, BuildError> {
    let given = settings.build_args.iter().rfind(|(name, _)| name == CHECK_ARGUMENT).map(|(_, value)| value);
    let options = match given {
        Some(value) => CheckOptions::parse(value).map_err(|option| {
            BuildError::other(format!("failed to parse check options: invalid check option {option:?} in --build-arg {CHECK_ARGUMENT}"))
        })?,
        None => dockerfile::parse_syntax(&inputs.dockerfile, inputs.handlers.keywords()).directives.check.unwrap_or_default(),
    };
    Ok(Checks::new(options))
}

/// Reads the Dockerfile and plans the stages that the purpose asks for.
///
/// # Errors
/// All that is wrong, by line.
pub(super) async fn planned(
    settings: &Arc<BuildSettings>,
    inputs: &Inputs,
    checks: &Arc<Checks>,
    purpose: Purpose,
) -> Result<Arc<Planner>, Vec<BuildError>> {
    let (parsed, errors) = dockerfile::parse_all(&inputs.dockerfile, inputs.handlers.keywords());
    check_grammar(&parsed, errors.as_ref(), inputs, checks);
    if let Some(errors) = errors {
        let mut all = vec![BuildError::Dockerfile(Arc::new(DockerfileErrors { text: (*inputs.dockerfile).clone(), errors }))];
        all.extend(wrong_besides(parsed, settings, inputs).await);
        return Err(all);
    }
    for warning in parsed.warnings.iter().filter(|warning| warning.rule.is_none()) {
        inputs.reporter.log(Level::Warning, &format!("{} (line {})", warning.message, warning.span.start_line));
    }
    let (graph, globals) = graph(&parsed, settings, inputs, checks)?;
    let globals = match &inputs.fetcher {
        Some(fetcher) if purpose == Purpose::Build => {
            epoch::resolve(&parsed, &graph, globals, settings, inputs, fetcher).await.map_err(|error| vec![error])?
        }
        _ => globals,
    };
    // Whoever only looks, and names no target, looks at everything.
    let wanted: Vec<usize> = match (purpose, &settings.target) {
        (Purpose::Check, None) => (0..graph.stages.len()).collect(),
        _ => {
            let also = graph.targets(&settings.also).map_err(|error| vec![BuildError::other(error.to_string())])?;
            [graph.target].into_iter().chain(also).collect()
        }
    };
    let planner = Arc::new(Planner::new(graph, parsed, globals, Arc::clone(settings), inputs.clone(), Arc::clone(checks), purpose));
    for stage in wanted {
        planner.plan(stage).await.map_err(|error| vec![error])?;
    }
    planner.find_circles().await;
    let problems = planner.problems();
    if problems.is_empty() { Ok(planner) } else { Err(problems) }
}

/// What is wrong with the instructions of a file that does not parse, as far as each can be read by itself. No image is asked for: the
/// build fails anyway.
async fn wrong_besides(parsed: Dockerfile, settings: &Arc<BuildSettings>, inputs: &Inputs) -> Vec<BuildError> {
    let inputs = Inputs { images: Arc::new(NoImages), fetcher: None, reporter: Arc::new(Silent), ..inputs.clone() };
    let checks = Arc::new(Checks::default());
    let stages = parsed.stages.len();
    let Ok((graph, globals)) = graph(&parsed, &BuildSettings { target: None, ..(**settings).clone() }, &inputs, &checks) else {
        return Vec::new();
    };
    let planner = Planner::new(graph, parsed, globals, Arc::clone(settings), inputs, checks, Purpose::Check);
    for stage in 0..stages {
        if planner.plan(stage).await.is_err() {
            return Vec::new();
        }
    }
    // A variable may be missing because the instruction that sets it cannot be read.
    let by_itself = |error: &BuildError| !matches!(error, BuildError::Step(step) if step.message.starts_with("failed to process"));
    planner.problems().into_iter().filter(by_itself).collect()
}

/// Applies the rules of grammar up to the first error: what follows it may be read wrongly.
fn check_grammar(parsed: &Dockerfile, errors: Option<&ParseErrors>, inputs: &Inputs, checks: &Checks) {
    let end = errors.and_then(|errors| errors.errors.first()).map_or(u32::MAX, |error| error.span.start_line);
    grammar(parsed, inputs.handlers.keywords(), &mut |rule, message, span, comments| {
        if span.start_line <= end {
            checks.report_at(rule, message, span, comments);
        }
    });
}

/// Checks a Dockerfile without building anything: the target and all that it needs, or every stage where no target is named. A base image
/// that cannot be had is said and passed over.
pub async fn check(settings: Arc<BuildSettings>, inputs: Inputs) -> Report {
    look(&settings, &inputs, Purpose::Check).await.0
}

/// Plans the target and all that it needs as a build would, and builds nothing. There is a plan where nothing is wrong.
pub async fn plan(settings: Arc<BuildSettings>, inputs: Inputs) -> (Report, Option<Arc<Planner>>) {
    look(&settings, &inputs, Purpose::Build).await
}

async fn look(settings: &Arc<BuildSettings>, inputs: &Inputs, purpose: Purpose) -> (Report, Option<Arc<Planner>>) {
    let checks = match checks(settings, inputs) {
        Ok(checks) => Arc::new(checks),
        Err(error) => return (Report { errors: vec![error], ..Report::default() }, None),
    };
    let planned = planned(settings, inputs, &checks, purpose).await;
    let (findings, violation) = (checks.take(), checks.violation());
    match planned {
        Ok(planner) => (Report { findings, errors: Vec::new(), violation }, Some(planner)),
        Err(errors) => (Report { findings, errors, violation }, None),
    }
}
