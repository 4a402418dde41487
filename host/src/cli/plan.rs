//! What a build would do, printed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use crate::build::error::BuildError;
use crate::build::settings::BuildSettings;
use crate::build::{Deps, PlannedBase, Planner, plan};
use crate::dockerfile::Source;
use crate::export::Outputs;
use crate::progress::Secrets;

/// Plans a build and prints the plan to standard output: the stages that the target needs, in the order in which they must be built, with
/// their instructions, and where the image goes. What a process or a look at the files decides is marked as open.
///
/// # Errors
/// What is wrong with the Dockerfile, or a base image that cannot be had.
pub async fn print(settings: Arc<BuildSettings>, deps: &Deps, outputs: &Outputs) -> Result<(), BuildError> {
    let secrets = Secrets::default();
    secrets.add(settings.run.secrets.iter().filter_map(|secret| String::from_utf8(secret.value.to_vec()).ok()));
    let inputs = deps.inputs();
    let dockerfile = Arc::clone(&inputs.dockerfile);
    let (report, planner) = plan(settings, inputs).await;
    let Some(planner) = planner else { return Err(BuildError::from(report.errors)) };
    let text = secrets.redact(&text(&planner, &dockerfile, outputs));
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| BuildError::because("failed to write to standard output", e))
}

fn text(planner: &Planner, dockerfile: &Source, outputs: &Outputs) -> String {
    let mut out = String::new();
    for plan in planner.plans() {
        let Some(stage) = planner.graph.stages.get(plan.index) else { continue };
        let name = stage.source.from.alias.as_ref().map(|alias| format!(" AS {alias}")).unwrap_or_default();
        let based = match &plan.base {
            PlannedBase::Stage(index) => format!(" (stage {index})"),
            PlannedBase::Image(image) => format!(" ({} layers, {})", image.layers.len(), image.config.platform()),
        };
        let _ = writeln!(out, "stage {}: FROM {}{name}{based}", plan.index, stage.source.from.image);
        for step in &plan.steps {
            let mark = if step.runs() {
                "run  "
            } else if step.tasks.is_empty() {
                "set  "
            } else {
                "layer"
            };
            let _ = writeln!(out, "  {mark} {}", first_line(&step.text));
        }
        for instruction in &plan.rest {
            let line = dockerfile.text.lines().nth(usize::try_from(instruction.span.start_line).unwrap_or(usize::MAX).saturating_sub(1));
            let _ = writeln!(out, "  open  {}", line.unwrap_or(&instruction.keyword));
        }
    }
    let _ = writeln!(out, "image: stage {}", planner.graph.target);
    for destination in &outputs.destinations {
        let _ = writeln!(out, "  {} {destination}", if outputs.no_push { "named" } else { "push " });
    }
    for (what, path) in [("layout", &outputs.oci_layout_path), ("archive", &outputs.tar_path)] {
        if let Some(path) = path {
            let _ = writeln!(out, "  {what} {}", path.display());
        }
    }
    out
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
