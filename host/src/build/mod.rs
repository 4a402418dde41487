//! The conductor: plans the stages that the target needs, carries their steps out, and gives the image.
//!
//! Knows no plugin, no flag and no registry protocol: it is handed a [`Deps`] of seams.

mod configure;
/// Why builds fail, and where.
pub mod error;
mod exec;
/// The seam to whoever knows instructions.
pub mod handler;
mod lowering;
mod mounts;
mod plan;
mod scope;
/// What to build.
pub mod settings;
mod source;
mod stage;

use std::sync::Arc;

pub use lowering::Handlers;

use crate::context::BuildContext;
use crate::dockerfile::{self, Dockerfile, Source, StageSource, expand_word};
use crate::fetch::Fetcher;
use crate::graph::{Base, BuildGraph, Stage, find_stage};
use crate::image::Image;
use crate::oci::{Platform, Reference};
use crate::progress::{Level, Reporter};
use crate::registry::Client;
use crate::rootfs::store::Store;
use crate::sandbox::Executor;
use error::{BuildError, DockerfileErrors, Failure};
use lowering::{Globals, global_scope};
use plan::Planner;
use settings::{BuildSettings, NamedContext};

/// The seams that a build works through.
pub struct Deps {
    /// Who lowers instructions.
    pub handlers: Handlers,
    /// Where images come from and go.
    pub client: Client,
    /// Who reads files from the web and git repositories.
    pub fetcher: Fetcher,
    /// Where layers are kept.
    pub store: Store,
    /// Who runs commands; none where the place allows no sandbox, with the reason.
    pub executor: Result<Arc<dyn Executor>, String>,
    /// Where stages with commands have their files.
    pub backend: Backend,
    /// Who hears of it.
    pub reporter: Arc<dyn Reporter>,
    /// The main build context.
    pub context: Arc<BuildContext>,
    /// The Dockerfile.
    pub dockerfile: Arc<Source>,
}

/// Where the files of a stage are while commands run in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Stacked with overlayfs.
    Overlay,
}

/// Builds the target stage.
///
/// # Errors
/// The first failure; every other stage is stopped then. Nothing has been pushed.
pub async fn build(settings: Arc<BuildSettings>, deps: Arc<Deps>) -> Result<Image, BuildError> {
    let parsed = dockerfile::parse(&deps.dockerfile, deps.handlers.keywords())
        .map_err(|errors| BuildError::Dockerfile(Arc::new(DockerfileErrors { text: Source::clone(&deps.dockerfile), errors })))?;
    for warning in &parsed.warnings {
        deps.reporter.log(Level::Warning, &format!("{} (line {})", warning.message, warning.span.start_line));
    }
    let graph = graph(&parsed, &settings, &deps)?;
    let target = graph.0.target;
    let planner = Arc::new(Planner::new(graph.0, parsed, graph.1, Arc::clone(&settings), Arc::clone(&deps)));
    planner.plan(target).await?;
    let outcome = stage::run_all(planner, target, settings, deps).await?;
    Ok(outcome)
}

/// The stages with their bases, and the arguments that they may declare.
fn graph(parsed: &Dockerfile, settings: &BuildSettings, deps: &Deps) -> Result<(BuildGraph, Globals), BuildError> {
    let escape = parsed.directives.escape;
    let platform = scope::platform_arguments(&settings.build_platform, &settings.platform, settings.target.as_deref());
    let globals = global_scope(&platform, &settings.build_args, &parsed.global_args, escape)
        .map_err(|(instruction, failure)| failure.at(&deps.dockerfile, &instruction.span))?;
    let mut stages: Vec<Stage> = Vec::new();
    for (index, source) in parsed.stages.iter().enumerate() {
        let stage = resolve(index, source, &stages, &globals, escape, settings);
        stages.push(stage.map_err(|failure| failure.at(&deps.dockerfile, &source.from.instruction.span))?);
    }
    let graph = BuildGraph::new(stages, settings.target.as_deref()).map_err(|e| BuildError::because("cannot choose the target", e))?;
    Ok((graph, globals))
}

/// What a FROM means: a named context, an earlier stage, scratch, an image.
fn resolve(
    index: usize,
    source: &StageSource,
    earlier: &[Stage],
    globals: &Globals,
    escape: char,
    settings: &BuildSettings,
) -> Result<Stage, Failure> {
    let from = &source.from;
    let get = |name: &str| globals.scope.get(name).map(str::to_owned);
    let word = expand_word(&from.image, escape, &get)?;
    let platform = match &from.platform {
        Some(text) => {
            let text = expand_word(text, escape, &get)?;
            text.parse::<Platform>().map_err(|e| Failure::because("cannot read --platform", e))?
        }
        None => settings.platform.clone(),
    };
    if word.is_empty() {
        return Err(Failure::new(format!("base name ({}) should not be blank", from.image))
            .hint("declare the argument before the first FROM, or give it with --build-arg"));
    }
    let context = |name: &str| settings.named_context(name, &platform).is_some();
    let named = |name: String| match settings.named_context(&name, &platform) {
        Some(NamedContext::Scratch) => Base::Scratch,
        _ => Base::Named(name),
    };
    let made = |base, source: StageSource| Ok(Stage { index, base, platform: platform.clone(), source });
    if let Some(alias) = from.alias.as_deref().filter(|alias| context(alias)) {
        return made(named(alias.to_owned()), StageSource { instructions: Vec::new(), ..source.clone() });
    }
    let by_name = |stage: &Stage| stage.source.from.alias.is_some();
    if let Some(stage) =
        find_stage(earlier, &word, index).filter(|i| earlier.get(*i).is_some_and(by_name) && word.parse::<usize>().is_err())
    {
        return made(Base::Stage(stage), source.clone());
    }
    if context(&word) {
        return made(named(word), source.clone());
    }
    if word == "scratch" {
        return made(Base::Scratch, source.clone());
    }
    let reference: Reference = word.parse()?;
    made(Base::Image(reference), source.clone())
}
