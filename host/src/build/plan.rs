use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use tokio::sync::OnceCell;

use super::Deps;
use super::error::{BuildError, Failure};
use super::handler::{FileInfo, Inspect, LookError, Place};
use super::lowering::{Globals, Lowering, NotLowered, Step, Surroundings};
use super::scope::Scope;
use super::settings::{BuildSettings, NamedContext, context_name};
use super::source::PlannedSource;
use crate::context::{BuildContext, Location};
use crate::dockerfile::{Dockerfile, Instruction, parse_trigger};
use crate::fetch::NamedBy;
use crate::graph::{Base, BuildGraph};
use crate::image::{Image, Layout};
use crate::oci::{ImageConfig, Reference};
use crate::operation::Source;

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
    /// Whether a process will run, as far as is known.
    pub fn runs(&self) -> bool {
        !self.rest.is_empty() || self.steps.iter().any(Step::runs)
    }

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

/// Plans stages, each once, from the target down: a stage that nothing needs is never looked at.
pub struct Planner {
    /// The stages.
    pub graph: BuildGraph,
    /// The text.
    pub dockerfile: Dockerfile,
    /// Arguments that stages may declare.
    pub globals: Globals,
    settings: Arc<BuildSettings>,
    deps: Arc<Deps>,
    plans: Vec<OnceCell<Arc<StagePlan>>>,
    images: std::sync::Mutex<BTreeMap<String, Arc<OnceCell<Image>>>>,
    contexts: std::sync::Mutex<BTreeMap<String, Arc<OnceCell<Arc<BuildContext>>>>>,
}

impl Planner {
    /// A planner that has planned nothing yet.
    pub fn new(graph: BuildGraph, dockerfile: Dockerfile, globals: Globals, settings: Arc<BuildSettings>, deps: Arc<Deps>) -> Self {
        let plans = graph.stages.iter().map(|_| OnceCell::new()).collect();
        Self {
            graph,
            dockerfile,
            globals,
            settings,
            deps,
            plans,
            images: std::sync::Mutex::default(),
            contexts: std::sync::Mutex::default(),
        }
    }

    /// The plan of a stage and of all that it needs.
    ///
    /// # Errors
    /// An instruction that is wrong, or a base image that cannot be had.
    pub fn plan(&self, index: usize) -> BoxFuture<'_, Result<Arc<StagePlan>, BuildError>> {
        async move {
            let cell = self.plans.get(index).ok_or_else(|| BuildError::other(format!("stage {index} does not exist")))?;
            let plan = cell.get_or_try_init(|| async { self.make(index).await.map(Arc::new) }).await?;
            try_join_all(plan.needs().into_iter().map(|needed| self.plan(needed))).await?;
            Ok(Arc::clone(plan))
        }
        .boxed()
    }

    /// The plans made so far.
    pub fn plans(&self) -> Vec<Arc<StagePlan>> {
        self.plans.iter().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// What lowering needs to know.
    pub fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            handlers: &self.deps.handlers,
            escape: self.dockerfile.directives.escape,
            globals: &self.globals,
            build: &self.settings.build_platform,
            target: &self.settings.platform,
        }
    }

    async fn make(&self, index: usize) -> Result<StagePlan, BuildError> {
        let stage = self.graph.stages.get(index).ok_or_else(|| BuildError::other(format!("stage {index} does not exist")))?;
        let span = stage.source.from.instruction.span.clone();
        let at = |failure: Failure| failure.at(&self.deps.dockerfile, &span);
        let (base, mut state) = match &stage.base {
            Base::Stage(parent) => {
                let parent_plan = self.plan(*parent).await?;
                let complete = parent_plan.rest.is_empty();
                (PlannedBase::Stage(*parent), parent_plan.state.clone().filter(|_| complete))
            }
            Base::Scratch => {
                let image = Image::scratch(blank(&stage.platform));
                let state = Some(start(&image.config));
                (PlannedBase::Image(Box::new(image)), state)
            }
            Base::Image(reference) => {
                let image = self.image(reference, &stage.platform).await.map_err(at)?;
                let state = Some(start(&image.config));
                (PlannedBase::Image(Box::new(image)), state)
            }
            Base::Named(name) => {
                let image = match self.settings.named_context(name, &stage.platform) {
                    Some(NamedContext::Files(_)) => Image::scratch(blank(&stage.platform)),
                    _ => self.named_image(name, &stage.platform).await.map_err(at)?,
                };
                let state = Some(start(&image.config));
                (PlannedBase::Image(Box::new(image)), state)
            }
        };
        let mut todo: Vec<Instruction> = Vec::new();
        if let Some(state) = &mut state {
            state.command_set = false;
            todo.extend(self.triggers(state, &span)?);
        }
        todo.extend(stage.source.instructions.iter().cloned());
        let mut steps = Vec::new();
        let mut rest = Vec::new();
        // Files as a base are the first layer.
        if let (Base::Named(name), Some(state)) = (&stage.base, &state)
            && let Some(NamedContext::Files(_)) = self.settings.named_context(name, &stage.platform)
        {
            steps.push(state.copy_all(&stage.source.from.instruction, name));
        }
        match &mut state {
            None => rest = todo,
            Some(state) => {
                let around = self.surroundings();
                let mut look = PlanningLook { deps: &self.deps };
                let mut todo = todo.into_iter();
                while let Some(instruction) = todo.next() {
                    match state.lower(&instruction, &around, &mut look) {
                        Ok(step) => steps.push(step),
                        Err(NotLowered::Deferred) => {
                            rest.push(instruction);
                            rest.extend(todo);
                            break;
                        }
                        Err(NotLowered::Failed(failure)) => return Err(failure.at(&self.deps.dockerfile, &instruction.span)),
                    }
                }
            }
        }
        let mut sources = BTreeMap::new();
        for step in &steps {
            self.add_sources(index, step, &mut sources).await?;
        }
        Ok(StagePlan { index, base, steps, rest, state, sources })
    }

    /// The instructions that a base leaves to its children; they run once.
    pub fn triggers(&self, state: &mut Lowering, span: &crate::dockerfile::Span) -> Result<Vec<Instruction>, BuildError> {
        let texts = std::mem::take(&mut state.config.config.on_build);
        let parse = |text: &String| {
            let parsed = parse_trigger(text, self.deps.handlers.keywords());
            let failed = |error| {
                Failure::because(format!("the base image's trigger ONBUILD {text} does not parse"), error).at(&self.deps.dockerfile, span)
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
                let found = self.source(index, name).await.map_err(|failure| failure.at(&self.deps.dockerfile, &step.span))?;
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
            Some(NamedContext::Scratch) => return Ok(PlannedSource::Image(Box::new(Image::scratch(blank(platform))))),
            Some(_) => return Ok(PlannedSource::Image(Box::new(self.named_image(name, platform).await?))),
            None => {}
        }
        if let Some(earlier) = self.graph.earlier(name, index) {
            return Ok(PlannedSource::Stage(earlier));
        }
        if let Some(later) = self.graph.later(name, index) {
            let what = if later == index { "is this stage itself" } else { "comes later" };
            return Err(Failure::new(format!(
                "cannot copy from stage {name:?}: it {what}, and needs to be defined before the current stage"
            )));
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
        let image = self.image(&reference, &self.settings.platform).await.map_err(|failure| match suggestion {
            Some(stage) => failure.hint(format!("did you mean the stage {stage}?")),
            None if !name.contains(['/', ':']) => failure.hint(format!("no stage is called {name}, so it was taken for an image")),
            None => failure,
        })?;
        Ok(PlannedSource::Image(Box::new(image)))
    }

    async fn named_image(&self, name: &str, platform: &crate::oci::Platform) -> Result<Image, Failure> {
        match self.settings.named_context(name, platform) {
            Some(NamedContext::Image(reference)) => self.image(reference, platform).await,
            Some(NamedContext::Layout { path, name, digest }) => Ok(Layout::open(path)?.image_of(name.as_deref(), *digest, platform)?.0),
            Some(NamedContext::Scratch) => Ok(Image::scratch(blank(platform))),
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
            let opened = self.deps.fetcher.open(location, NamedBy::Operator).await.map_err(Failure::fetch)?;
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
            return Ok(Some(Arc::clone(&self.deps.context)));
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
        let image = cell.get_or_try_init(|| async {
            let remote = self.deps.client.pull_image(reference, platform).await.map_err(Failure::registry)?;
            Ok::<_, Failure>(remote.image()?)
        });
        image.await.cloned()
    }
}

/// The configuration of an image of nothing.
fn blank(platform: &crate::oci::Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}

/// The state at the start of a stage that is based on an image.
pub fn start(config: &ImageConfig) -> Lowering {
    let mut config = config.clone();
    if config.config.env_value("PATH").is_none() {
        config.config.set_env("PATH", DEFAULT_PATH);
    }
    if config.config.working_dir.is_empty() {
        config.config.working_dir = "/".to_owned();
    }
    let scope = Scope::from_environment(&config.config.env);
    Lowering { config, scope, command_set: false }
}

/// Where programs are found in an image that does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Sees the build context; everything else does not exist yet.
struct PlanningLook<'a> {
    deps: &'a Deps,
}

impl PlanningLook<'_> {
    fn context(&self, place: &Place) -> Result<super::source::TreeLook, LookError> {
        match place {
            Place::Context(name) if name.is_empty() => super::source::TreeLook::context(&self.deps.context),
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
