use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::checks::Checks;
use super::error::{BuildError, Failure};
use super::handler::{FileInfo, Inspect, LookError, Place};
use super::inputs::Inputs;
use super::lowering::{Globals, Lowering, NotLowered, Step, Surroundings};
use super::settings::{BuildSettings, NamedContext, context_name};
use super::source::PlannedSource;
use crate::context::{BuildContext, Location};
use crate::dockerfile::lint::rules;
use crate::dockerfile::{Dockerfile, Instruction, Span, parse_trigger};
use crate::fetch::NamedBy;
use crate::graph::{Base, BuildGraph, Stage, stage_label};
use crate::image::{Image, Layout};
use crate::oci::{ContainerConfig, ImageConfig, Reference};
use crate::operation::Source;
use crate::progress::Level;

/// What a stage is made of, before anything is unpacked or run.
pub struct StagePlan {
    /// Its place among the stages.
    pub index: usize,
    /// What it starts from.
    pub base: PlannedBase,
    /// The instructions that could be lowered.
    pub steps: Vec<Step>,
    /// The instructions from the first that looks at files made by the build.
    pub rest: Vec<Instruction>,
    /// The configuration after `steps`; none where the base's is not known yet.
    pub state: Option<Lowering>,
    /// The other stages and images that the steps read.
    pub sources: BTreeMap<String, PlannedSource>,
}

/// What a stage starts from.
#[derive(Clone)]
pub enum PlannedBase {
    /// An image, or nothing.
    Image(Box<Image>),
    /// The end of another stage.
    Stage(usize),
}

impl StagePlan {
    /// The stages that must be built before this one can be.
    pub fn needs(&self) -> BTreeSet<usize> {
        let base = match self.base {
            PlannedBase::Stage(index) => Some(index),
            PlannedBase::Image(_) => None,
        };
        let read = self.sources.values().filter_map(|source| match source {
            PlannedSource::Stage(index) => Some(*index),
            _ => None,
        });
        read.chain(base).collect()
    }
}

/// A stage that reads a later one, or itself.
#[derive(Clone)]
struct Forward {
    from: usize,
    to: usize,
    /// What is said of it.
    message: String,
}

/// Whether a way leads along the edges.
fn leads(edges: &[(usize, usize)], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            todo.extend(edges.iter().filter(|(start, _)| *start == at).map(|(_, end)| *end));
        }
    }
    false
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be carried out: all that it needs must be there.
    Build,
    /// To be looked at, every stage where no target is named: what cannot be had is passed over, and what must wait is left out.
    Check,
    /// The same for the target alone.
    Outline,
}

/// Plans stages, each once, from the target down: a stage that nothing needs is never looked at.
pub struct Planner {
    /// The stages.
    pub graph: BuildGraph,
    /// The text.
    pub dockerfile: Dockerfile,
    /// Arguments that stages may declare.
    pub globals: Globals,
    settings: Arc<BuildSettings>,
    inputs: Inputs,
    checks: Arc<Checks>,
    purpose: Purpose,
    problems: std::sync::Mutex<Vec<BuildError>>,
    forward: std::sync::Mutex<Vec<Forward>>,
    /// The plans made so far, by stage.
    pub(super) plans: Vec<OnceCell<Arc<StagePlan>>>,
    images: std::sync::Mutex<BTreeMap<String, Arc<OnceCell<Image>>>>,
    contexts: std::sync::Mutex<BTreeMap<String, Arc<OnceCell<Arc<BuildContext>>>>>,
}

impl Planner {
    /// A planner that has planned nothing yet.
    pub fn new(
        graph: BuildGraph,
        dockerfile: Dockerfile,
        globals: Globals,
        settings: Arc<BuildSettings>,
        inputs: Inputs,
        checks: Arc<Checks>,
        purpose: Purpose,
    ) -> Self {
        let plans = graph.stages.iter().map(|_| OnceCell::new()).collect();
        let (problems, forward, images, contexts) = Default::default();
        Self { graph, dockerfile, globals, settings, inputs, checks, purpose, problems, forward, plans, images, contexts }
    }

    /// All that is wrong with the stages planned so far, by line.
    pub fn problems(&self) -> Vec<BuildError> {
        let mut problems = self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        problems.sort_by_key(BuildError::line);
        problems
    }

    fn problem(&self, error: BuildError) {
        self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(error);
    }

    /// Tells circles among the stages that read a later one from stages that are merely in the wrong order.
    pub async fn find_circles(&self) {
        let mut known = 0;
        // Planning a later stage may bring up more of them.
        loop {
            let next = self.forward().get(known).cloned();
            let Some(Forward { from, to, message }) = next else { return };
            known += 1;
            if from != to && self.plan(to).await.is_err() {
                continue;
            }
            let mut edges: Vec<(usize, usize)> = self.forward().iter().map(|forward| (forward.from, forward.to)).collect();
            edges.extend(self.plans().iter().flat_map(|plan| plan.needs().into_iter().map(|needed| (plan.index, needed))));
            if !leads(&edges, to, from) {
                continue;
            }
            let circle = format!("circular dependency detected on stage: {}", stage_label(&self.dockerfile, from));
            let mut problems = self.problems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for problem in problems.iter_mut() {
                if let BuildError::Step(step) = problem
                    && step.message == message
                {
                    *problem = Failure::new(circle.clone()).at(&step.source, &step.span);
                }
            }
        }
    }

    fn forward(&self) -> std::sync::MutexGuard<'_, Vec<Forward>> {
        self.forward.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The plans made so far.
    pub fn plans(&self) -> Vec<Arc<StagePlan>> {
        self.plans.iter().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// What lowering needs to know.
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            handlers: &self.inputs.handlers,
            escape: self.dockerfile.directives.escape,
            globals: &self.globals,
            build: &self.settings.build_platform,
            target: &self.settings.platform,
            checks: &self.checks,
            ignore: &self.inputs.context.ignore,
        }
    }

    /// Plans a stage alone; its base has been planned.
    pub(super) async fn make(&self, index: usize) -> Result<StagePlan, BuildError> {
        let stage = self.graph.stages.get(index).ok_or_else(|| BuildError::other(format!("stage {index} does not exist")))?;
        let (base, state) = self.base(stage).await?;
        let mut plan = StagePlan { index, base, steps: Vec::new(), rest: Vec::new(), state: None, sources: BTreeMap::new() };
        let Some(mut state) = state else {
            plan.rest = stage.source.instructions.clone();
            return Ok(plan);
        };
        let mut todo = match self.triggers(&mut state, &stage.source.from.instruction.span) {
            Ok(triggers) => triggers,
            Err(error) => {
                self.problem(error);
                Vec::new()
            }
        };
        todo.extend(stage.source.instructions.iter().cloned());
        // Files as a base are the first layer.
        if let Base::Named(name) = &stage.base
            && let Some(NamedContext::Files(_)) = self.settings.named_context(name, &stage.platform)
        {
            plan.steps.push(state.copy_all(&stage.source.from.instruction, name));
        }
        self.lower(todo, &mut state, &mut plan);
        plan.state = Some(state);
        for step in std::mem::take(&mut plan.steps) {
            if let Err(error) = self.add_sources(index, &step, &mut plan.sources).await {
                self.problem(error);
            }
            plan.steps.push(step);
        }
        Ok(plan)
    }

    /// Lowers instructions up to the first that looks at files of the build. One that is wrong is a problem, and the next is lowered.
    fn lower(&self, todo: Vec<Instruction>, state: &mut Lowering, plan: &mut StagePlan) {
        let around = self.surroundings();
        let mut look = PlanningLook { inputs: &self.inputs };
        let mut todo = todo.into_iter();
        while let Some(instruction) = todo.next() {
            match state.lower(&instruction, &around, &mut look) {
                Ok(step) => plan.steps.push(step),
                // What it would change is not known.
                Err(NotLowered::Deferred) if self.purpose != Purpose::Build => state.complete = false,
                Err(NotLowered::Deferred) => {
                    plan.rest.push(instruction);
                    plan.rest.extend(todo);
                    return;
                }
                Err(NotLowered::Failed(failure)) => self.problem(failure.at(&self.inputs.dockerfile, &instruction.span)),
                Err(NotLowered::GivenUp(failure)) => {
                    if let Some(failure) = failure {
                        self.problem(failure.at(&self.inputs.dockerfile, &instruction.span));
                    }
                    return;
                }
            }
        }
    }

    /// What a stage starts from, and the state there; none where earlier steps must be carried out first.
    async fn base(&self, stage: &Stage) -> Result<(PlannedBase, Option<Lowering>), BuildError> {
        let span = &stage.source.from.instruction.span;
        let image = match &stage.base {
            Base::Stage(parent) => {
                let plan = self.plans.get(*parent).and_then(OnceCell::get);
                let plan = plan.ok_or_else(|| BuildError::other(format!("stage {parent} has no plan")))?;
                let state = plan.state.as_ref().filter(|_| plan.rest.is_empty()).map(Lowering::child);
                return Ok((PlannedBase::Stage(*parent), state));
            }
            Base::Scratch => Ok(nothing(&stage.platform)),
            Base::Image(reference) => self.image(reference, &stage.platform).await,
            Base::Named(name) => match self.settings.named_context(name, &stage.platform) {
                Some(NamedContext::Files(_)) => Ok(nothing(&stage.platform)),
                _ => self.named_image(name, &stage.platform).await,
            },
        };
        let (image, known) = match image {
            Ok(image) => {
                if let Base::Image(reference) = &stage.base {
                    self.check_platform(reference, &image, stage);
                }
                (image, true)
            }
            Err(failure) if self.purpose != Purpose::Build => {
                let error = failure.at(&self.inputs.dockerfile, span);
                let note = format!("the base image on line {} is not looked at: {error}", span.start_line);
                self.inputs.reporter.log(Level::Warning, &note);
                (nothing(&stage.platform), false)
            }
            Err(failure) => {
                self.problem(failure.at(&self.inputs.dockerfile, span));
                return Ok((PlannedBase::Image(Box::new(nothing(&stage.platform))), None));
            }
        };
        let mut state = start(&image.config);
        state.complete = known;
        Ok((PlannedBase::Image(Box::new(image)), Some(state)))
    }

    fn check_platform(&self, reference: &Reference, image: &Image, stage: &Stage) {
        let (config, expected) = (&image.config, &stage.platform);
        if image.layers.is_empty() || (config.os == expected.os && config.architecture == expected.architecture) {
            return;
        }
        let actual =
            crate::oci::Platform { variant: config.variant.clone(), ..crate::oci::Platform::new(&config.os, &config.architecture) };
        let (actual, expected) = (actual.to_string(), expected.to_string());
        let message = format!("Base image {reference} was pulled with platform {actual:?}, expected {expected:?} for current build");
        self.checks.report(&rules::INVALID_BASE_IMAGE_PLATFORM, message, &stage.source.from.instruction);
    }

    /// The instructions that a base leaves to its children; they run once.
    pub fn triggers(&self, state: &mut Lowering, span: &Span) -> Result<Vec<Instruction>, BuildError> {
        let texts = std::mem::take(&mut state.config.config.on_build);
        let parse = |text: &String| {
            let parsed = parse_trigger(text, self.inputs.handlers.keywords());
            let failed = |error| {
                Failure::because(format!("the base image's trigger ONBUILD {text} does not parse"), error).at(&self.inputs.dockerfile, span)
            };
            parsed.map(|instruction| Instruction { span: span.clone(), ..instruction }).map_err(failed)
        };
        texts.iter().map(parse).collect()
    }

    /// Resolves the names that a step reads from.
    ///
    /// # Errors
    /// A name that is a later stage, or an image that cannot be had.
    pub async fn add_sources(&self, index: usize, step: &Step, into: &mut BTreeMap<String, PlannedSource>) -> Result<(), BuildError> {
        for source in step.tasks.iter().flat_map(|task| task.operation.sources()) {
            let name = match source {
                Source::Stage(name) => name,
                Source::Context(name) if !name.is_empty() => name,
                _ => continue,
            };
            if !into.contains_key(name) {
                let found = self.source(index, name).await.map_err(|failure| failure.at(&self.inputs.dockerfile, &step.span))?;
                into.insert(name.clone(), found);
            }
        }
        Ok(())
    }

    /// An earlier stage, else a named context, else an image.
    async fn source(&self, index: usize, name: &str) -> Result<PlannedSource, Failure> {
        let platform = self.graph.stages.get(index).map_or(&self.settings.platform, |stage| &stage.platform);
        match self.settings.named_context(name, platform) {
            Some(NamedContext::Files(location)) => return Ok(PlannedSource::Context(self.named_files(name, location).await?)),
            Some(NamedContext::Scratch) => return Ok(PlannedSource::Image(Box::new(nothing(platform)))),
            Some(_) => return Ok(PlannedSource::Image(Box::new(self.named_image(name, platform).await?))),
            None => {}
        }
        if let Some(earlier) = self.graph.earlier(name, index) {
            return Ok(PlannedSource::Stage(earlier));
        }
        if let Some(later) = self.graph.later(name, index) {
            let label = stage_label(&self.dockerfile, index);
            let message = format!("cannot copy from stage {name:?}, it needs to be defined before current stage {label:?}");
            self.forward().push(Forward { from: index, to: later, message: message.clone() });
            return Err(Failure::new(message));
        }
        if name.bytes().all(|b| b.is_ascii_digit()) {
            let count = self.graph.stages.len();
            return Err(Failure::new(format!("invalid stage index {name}: there are {count} stages, and only earlier ones can be read")));
        }
        if name.eq_ignore_ascii_case("scratch") {
            return Err(Failure::new("cannot copy from scratch: it holds no files"));
        }
        let reference: Reference = name.parse().map_err(|e| Failure::because(format!("{name:?} is neither a stage nor an image"), e))?;
        let names = self.graph.stages.iter().take(index).filter_map(|s| s.source.from.alias.as_deref());
        let suggestion = crate::dockerfile::suggest(&name.to_lowercase(), names);
        match (self.image(&reference, &self.settings.platform).await, suggestion) {
            (Ok(image), _) => Ok(PlannedSource::Image(Box::new(image))),
            // Nothing that is looked for depends on its files.
            (Err(failure), None) if self.purpose != Purpose::Build => {
                self.inputs.reporter.log(Level::Warning, &format!("the image {name} is not looked at: {}", failure.message));
                Ok(PlannedSource::Image(Box::new(nothing(&self.settings.platform))))
            }
            (Err(failure), Some(stage)) => Err(failure.hint(format!("did you mean the stage {stage}?"))),
            (Err(failure), None) if !name.contains(['/', ':']) => {
                Err(failure.hint(format!("no stage is called {name}, so it was taken for an image")))
            }
            (Err(failure), None) => Err(failure),
        }
    }

    async fn named_image(&self, name: &str, platform: &crate::oci::Platform) -> Result<Image, Failure> {
        match self.settings.named_context(name, platform) {
            Some(NamedContext::Image(reference)) => self.image(reference, platform).await,
            Some(NamedContext::Layout { path, name, digest }) => Ok(Layout::open(path)?.image_of(name.as_deref(), *digest, platform)?.0),
            Some(NamedContext::Scratch) => Ok(nothing(platform)),
            Some(NamedContext::Files(_)) => Err(Failure::new(format!("the build context {name} is no image"))),
            None => Err(Failure::new(format!("no build context is called {name}"))),
        }
    }

    /// A named context's files, fetched once, when something needs them.
    async fn named_files(&self, name: &str, location: &Location) -> Result<Arc<BuildContext>, Failure> {
        let cell = {
            let mut contexts = self.contexts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(contexts.entry(format!("{} {location:?}", context_name(name))).or_default())
        };
        let opened = cell.get_or_try_init(|| async {
            let Some(fetcher) = self.inputs.fetcher.as_ref().filter(|_| self.purpose == Purpose::Build) else {
                // Whoever only looks at a Dockerfile needs none of the files.
                return Ok(Arc::clone(&self.inputs.context));
            };
            let opened = fetcher.open(location, NamedBy::Operator).await.map_err(Failure::fetch)?;
            Ok::<_, Failure>(Arc::new(opened.context(None)?))
        });
        Ok(Arc::clone(opened.await?))
    }

    /// The files of a context by its name, the main one's being empty; none where it is an image or nobody has given it.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn context(&self, name: &str) -> Result<Option<Arc<BuildContext>>, Failure> {
        if name.is_empty() {
            return Ok(Some(Arc::clone(&self.inputs.context)));
        }
        match self.settings.named_context(name, &self.settings.platform) {
            Some(NamedContext::Files(location)) => Ok(Some(self.named_files(name, location).await?)),
            _ => Ok(None),
        }
    }

    /// An image's manifest and configuration, asked for once.
    async fn image(&self, reference: &Reference, platform: &crate::oci::Platform) -> Result<Image, Failure> {
        let key = format!("{reference} {platform}");
        let cell = {
            let mut images = self.images.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(images.entry(key).or_default())
        };
        let image = cell.get_or_try_init(|| self.inputs.images.image(reference, platform));
        image.await.cloned()
    }
}

/// The state at the start of a stage that is based on an image.
pub fn start(config: &ImageConfig) -> Lowering {
    let mut config = config.clone();
    if config.config.env_value("PATH").is_none() {
        config.config.set_env("PATH", DEFAULT_PATH);
    }
    Lowering::new(config)
}

/// An image without files.
fn nothing(platform: &crate::oci::Platform) -> Image {
    Image::scratch(ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        config: ContainerConfig { working_dir: "/".to_owned(), ..ContainerConfig::default() },
        ..ImageConfig::default()
    })
}

/// Where programs are found in an image that does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Sees the build context; everything else does not exist yet.
struct PlanningLook<'a> {
    inputs: &'a Inputs,
}

impl PlanningLook<'_> {
    fn context(&self, place: &Place) -> Result<super::source::TreeLook, LookError> {
        match place {
            Place::Context(name) if name.is_empty() => super::source::TreeLook::context(&self.inputs.context),
            _ => Err(LookError::Deferred),
        }
    }
}

impl Inspect for PlanningLook<'_> {
    fn stat(&mut self, place: &Place, path: &str) -> Result<Option<FileInfo>, LookError> {
        self.context(place)?.stat(path)
    }

    fn read(&mut self, place: &Place, path: &str) -> Result<Vec<u8>, LookError> {
        self.context(place)?.read(path)
    }

    fn entries(&mut self, place: &Place, path: &str) -> Result<Vec<String>, LookError> {
        self.context(place)?.entries(path)
    }
}
