use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::OnceCell;
use tokio::task::{JoinSet, block_in_place};

use super::caches::Caches;
use super::epoch::{epoch, now};
use super::error::{BuildError, Failure};
use super::lowering::{Lowering, NotLowered, Step, Task};
use super::mask::Mask;
use super::mounts;
use super::needs;
use super::plan::{PlannedBase, Planner, StagePlan};
use super::settings::BuildSettings;
use super::source::{LiveLook, PlannedSource, SourceFiles, git_location};
use super::{Backend, Deps};
use super::{exec, unpacked};
use crate::dockerfile::{Instruction, Span};
use crate::fetch::NamedBy;
use crate::fs::Time;
use crate::graph::stage_label;
use crate::image::{Image, Layer, LayerContent};
use crate::layer::{Compression, LayerOptions, LayerWriter, NewLayer};
use crate::oci::{Descriptor, Digest, LayerCompression};
use crate::operation::Operation;
use crate::progress::Event;
use crate::rootfs::apply::{ApplyContext, apply, is_independent};
use crate::rootfs::disk::Disk;
use crate::rootfs::layered::Layered;
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::store::LayerSource;
use crate::rootfs::tree::ReadTree;
use crate::rootfs::unpacked::UnpackedRootFs;
use crate::sandbox::Cancel;

/// A stage that has been built.
pub struct StageOutcome {
    /// What it gives.
    pub image: Image,
    /// Its configuration and scope, for a stage that is based on it.
    pub state: Lowering,
    /// Its files.
    pub files: StageFiles,
}

/// A stage's files, by the backend that holds them.
pub enum StageFiles {
    /// Unpacked and mounted.
    Overlay(Mutex<OverlayRootFs>),
    /// In memory, contents where they came from.
    Layered(Layered),
    /// As above, and unpacked for the steps that run a process.
    Unpacked(Layered, Arc<Mutex<UnpackedRootFs>>),
}

impl StageFiles {
    /// The files in memory, where they are kept there.
    pub fn layered(&self) -> Option<&Layered> {
        match self {
            Self::Overlay(_) => None,
            Self::Layered(tree) | Self::Unpacked(tree, _) => Some(tree),
        }
    }
}

/// Everything that the stages of one build share.
pub struct Shared {
    /// Plans.
    pub planner: Arc<Planner>,
    /// What to build.
    pub settings: Arc<BuildSettings>,
    /// The seams.
    pub deps: Arc<Deps>,
    /// Ends every running command.
    pub cancel: Cancel,
    outcomes: Vec<OnceCell<Result<Arc<StageOutcome>, BuildError>>>,
    /// Blobs that are being fetched, or were.
    pub(super) blobs: Mutex<BTreeMap<Digest, Arc<OnceCell<()>>>>,
    /// Images that are only read.
    pub(super) images: Mutex<BTreeMap<String, Layered>>,
    /// Seconds since 1970 that stand for now, where the user or the Dockerfile says so.
    epoch: Option<i64>,
    now: String,
    /// What must not be shown.
    pub mask: Mask,
    /// Directories that outlive the build.
    pub caches: Caches,
}

/// Builds the target and all that it needs, side by side where nothing forbids it.
///
/// # Errors
/// The first failure, when every other stage has been stopped.
pub async fn run_all(planner: Arc<Planner>, target: usize, settings: Arc<BuildSettings>, deps: Arc<Deps>) -> Result<Image, BuildError> {
    // Before anything is pulled or run: what is missing is missing at the end as well.
    for step in planner.plans().iter().flat_map(|plan| &plan.steps) {
        needs::check(step, &settings.run).map_err(|failure| failure.at(&deps.dockerfile, &step.span))?;
    }
    let cancel = Cancel::new().map_err(|e| BuildError::because("failed to start", e))?;
    let outcomes = planner.graph.stages.iter().map(|_| OnceCell::new()).collect();
    let epoch = epoch(&planner.globals).or(settings.reproducible.then_some(0));
    let now = now(epoch)?;
    let cancelled = cancel.clone();
    let mask = Mask::new(settings.run.secrets.iter().map(|secret| &*secret.value));
    let shared = Arc::new(Shared {
        planner,
        settings,
        deps,
        cancel: cancelled,
        outcomes,
        blobs: Mutex::default(),
        images: Mutex::default(),
        epoch,
        now,
        mask,
        caches: Caches::default(),
    });
    // A build that is given up must not leave a command running.
    let _guard = CancelOnDrop(cancel.clone());
    let mut stages = JoinSet::new();
    let mut plans: Vec<usize> = shared.planner.plans().iter().map(|plan| plan.index).collect();
    plans.sort_unstable();
    // With one tree for all, stages side by side would only take it from each other.
    let groups = match &shared.deps.backend {
        Backend::InPlace(_) => vec![plans],
        Backend::Overlay | Backend::Chroot => plans.into_iter().map(|plan| vec![plan]).collect(),
    };
    for group in groups {
        let shared = Arc::clone(&shared);
        stages.spawn(async move {
            for index in group {
                shared.outcome(index).await?;
            }
            Ok(())
        });
    }
    let mut first = None;
    while let Some(done) = stages.join_next().await {
        let failed = match done {
            Ok(Ok(())) | Ok(Err(BuildError::Cancelled)) => continue,
            Ok(Err(error)) => error,
            Err(stopped) if stopped.is_cancelled() => continue,
            Err(panicked) => BuildError::because("a stage stopped unexpectedly", panicked),
        };
        if first.is_none() {
            first = Some(failed);
            cancel.cancel();
            stages.abort_all();
        }
    }
    if let Some(error) = first {
        return Err(error);
    }
    let outcome = shared.outcome(target).await?;
    Ok(shared.finish(outcome.image.clone()))
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Shared {
    /// The outcome of a stage, built once.
    pub fn outcome(self: &Arc<Self>, index: usize) -> BoxFuture<'_, Result<Arc<StageOutcome>, BuildError>> {
        async move {
            // From the lowest up, so that none is built from within another. What fails is told by whoever needs it.
            for below in self.planner.below(index) {
                let _ = self.own_outcome(below).await;
            }
            self.own_outcome(index).await
        }
        .boxed()
    }

    async fn own_outcome(self: &Arc<Self>, index: usize) -> Result<Arc<StageOutcome>, BuildError> {
        let cell = self.outcomes.get(index).ok_or_else(|| BuildError::other(format!("stage {index} does not exist")))?;
        cell.get_or_init(|| async { self.run(index).await.map(Arc::new) }).await.clone()
    }

    async fn run(self: &Arc<Self>, index: usize) -> Result<StageOutcome, BuildError> {
        let plan = match self.planner.planned(index) {
            Some(plan) => plan,
            None => self.planner.plan(index).await?,
        };
        let stage = self.planner.graph.stages.get(index).ok_or_else(|| BuildError::other(format!("stage {index} does not exist")))?;
        let from = stage.source.from.instruction.span.clone();
        let at = |failure: Failure| failure.at(&self.deps.dockerfile, &from);
        let (image, parent) = match &plan.base {
            PlannedBase::Image(image) => (Image::clone(image), None),
            PlannedBase::Stage(parent) => {
                let outcome = self.outcome(*parent).await?;
                (outcome.image.clone(), Some(outcome))
            }
        };
        let from_image = usize::from(parent.is_none() && !image.layers.is_empty());
        let mut work = Work {
            shared: self,
            index,
            label: if self.planner.graph.stages.len() > 1 { stage_label(&self.planner.dockerfile, index) + " " } else { String::new() },
            total: from_image + plan.steps.iter().filter(|step| !step.tasks.is_empty()).count() + plan.rest.len(),
            done: from_image,
            files: self.open_files(&plan, &image, parent.as_deref()).await.map_err(at)?,
            image,
        };
        let base = self.settings.single_snapshot.then(|| work.image.clone());
        if from_image > 0 {
            let step = format!("[{}1/{}]", work.label, work.total);
            self.deps.reporter.event(Event::StepStarted { step, text: format!("FROM {}", stage.source.from.image) });
        }
        for step in &plan.steps {
            work.step(step, &plan.sources).await?;
        }
        let state = match (&plan.state, parent) {
            (Some(state), _) => work.rest(&plan, state.clone(), plan.rest.clone()).await?,
            (None, Some(parent)) => {
                let mut state = parent.state.child();
                let mut instructions = self.planner.triggers(&mut state, &from)?;
                instructions.extend(plan.rest.iter().cloned());
                work.rest(&plan, state, instructions).await?
            }
            (None, None) => return Err(BuildError::other("a stage has neither a base nor a state")),
        };
        let image = match base {
            Some(base) => self.squash(&base, work.image).await.map_err(at)?,
            None => work.image,
        };
        let image = image.configure(|config| {
            let history = std::mem::take(&mut config.history);
            *config = crate::oci::ImageConfig { history, ..state.config.clone() };
            config.created = Some(self.now.clone());
        });
        Ok(StageOutcome { image, state, files: work.files })
    }

    /// What a step reads, ready to be read.
    pub async fn ready(
        self: &Arc<Self>,
        source: &crate::operation::Source,
        planned: &BTreeMap<String, PlannedSource>,
    ) -> Result<SourceFiles, Result<BuildError, Failure>> {
        use crate::operation::Source;
        match source {
            Source::Context(name) if name.is_empty() => Ok(SourceFiles::context(&self.deps.context)),
            Source::Context(name) | Source::Stage(name) => match planned.get(name) {
                Some(PlannedSource::Stage(index)) => Ok(SourceFiles::Stage(self.outcome(*index).await.map_err(Ok)?, Arc::clone(self))),
                Some(PlannedSource::Image(image)) => Ok(SourceFiles::Image(image.clone(), Arc::clone(self))),
                Some(PlannedSource::Context(context)) => Ok(SourceFiles::context(context)),
                None => Err(Err(Failure::new(format!("no build context is called {name:?}")))),
            },
            Source::Inline(files) => Ok(SourceFiles::inline(files, self.epoch)),
            Source::Download { url, checksum } => {
                let downloaded = self.deps.fetcher.download(url, checksum.as_deref(), NamedBy::Dockerfile).await;
                downloaded.map(|file| SourceFiles::download(&file)).map_err(|error| Err(Failure::fetch(error)))
            }
            Source::Git { .. } => {
                let location = git_location(source).ok_or_else(|| Err(Failure::new("the source is no repository")))?;
                let opened = self.deps.fetcher.open(&location, NamedBy::Dockerfile).await;
                let opened = opened.map_err(|error| Err(Failure::fetch(error)))?;
                Ok(SourceFiles::Context(Arc::new(opened.context(None).map_err(|error| Err(error.into()))?)))
            }
        }
    }

    /// How new layers are written.
    pub fn layer_options(&self) -> LayerOptions {
        // Those that are joined in the end are compressed then.
        let compression = if self.settings.single_snapshot { Compression::None } else { self.settings.compression };
        LayerOptions { compression, ..self.final_layer_options() }
    }

    /// How the layers of the image are written.
    pub fn final_layer_options(&self) -> LayerOptions {
        let latest_mtime = self.settings.reproducible.then(|| self.epoch.unwrap_or(0));
        LayerOptions { compression: self.settings.compression, latest_mtime }
    }

    /// A layer must not depend on the clock, so what a build makes by itself is as old as can be where nobody says otherwise.
    pub fn apply_context(&self, task: &Task) -> ApplyContext {
        ApplyContext { working_dir: task.working_dir.clone().into(), created: Time { seconds: self.epoch.unwrap_or(0), nanoseconds: 0 } }
    }

    /// The labels of the command line, and the time.
    fn finish(&self, image: Image) -> Image {
        // Docker's media types have no name for Zstandard that its own registry takes.
        let zstd = matches!(self.settings.compression, Compression::Zstd(_));
        let image = if zstd { image.with_format(false) } else { image };
        image.configure(|config| {
            config.created = Some(self.now.clone());
            for (name, value) in &self.settings.labels {
                config.config.labels.insert(name.clone(), value.clone());
            }
        })
    }
}

/// A stage that is being built.
struct Work<'a> {
    shared: &'a Arc<Shared>,
    index: usize,
    label: String,
    total: usize,
    done: usize,
    image: Image,
    files: StageFiles,
}

impl Work<'_> {
    /// Lowers and carries out what could not be lowered before.
    async fn rest(&mut self, plan: &StagePlan, mut state: Lowering, instructions: Vec<Instruction>) -> Result<Lowering, BuildError> {
        let shared = self.shared;
        let mut sources = plan.sources.clone();
        for instruction in &instructions {
            self.look_ready().await.map_err(|failure| self.at(failure, &instruction.span))?;
            let lowered = block_in_place(|| {
                let mut look = LiveLook { files: &mut self.files, shared, index: self.index };
                state.lower(instruction, &shared.planner.surroundings(), &mut look)
            });
            let step = match lowered {
                Ok(step) => step,
                Err(NotLowered::Failed(failure)) => return Err(self.at(failure, &instruction.span)),
                Err(NotLowered::GivenUp(failure)) => return Err(self.at(failure.unwrap_or_default(), &instruction.span)),
                Err(NotLowered::Deferred) => {
                    return Err(self.at(Failure::new("the instruction looks at files that are never there"), &instruction.span));
                }
            };
            needs::check(&step, &shared.settings.run).map_err(|failure| self.at(failure, &step.span))?;
            shared.planner.add_sources(self.index, &step, &mut sources).await?;
            self.step(&step, &sources).await?;
        }
        Ok(state)
    }

    async fn look_ready(&self) -> Result<(), Failure> {
        match &self.files {
            StageFiles::Layered(_) | StageFiles::Unpacked(..) => self.shared.fetch_blobs(&self.image).await,
            StageFiles::Overlay(_) => Ok(()),
        }
    }

    fn at(&self, failure: Failure, span: &Span) -> BuildError {
        if self.shared.cancel.is_cancelled() { BuildError::Cancelled } else { failure.at(&self.shared.deps.dockerfile, span) }
    }

    async fn step(&mut self, step: &Step, sources: &BTreeMap<String, PlannedSource>) -> Result<(), BuildError> {
        let created = || Some(self.shared.now.clone());
        let history = step.history.as_ref().map(|history| crate::oci::History { created: created(), ..history.clone() });
        if step.tasks.is_empty() {
            if let Some(history) = history {
                self.image = std::mem::take(&mut self.image).remember(history);
            }
            return Ok(());
        }
        self.done += 1;
        let name = format!("[{}{}/{}]", self.label, self.done, self.total);
        let reporter = &self.shared.deps.reporter;
        reporter
            .event(Event::StepStarted { step: name.clone(), text: self.shared.mask.text(step.text.lines().next().unwrap_or_default()) });
        let started = Instant::now();
        let mut tasks = Vec::new();
        for task in &step.tasks {
            let mut ready = Vec::new();
            for source in task.operation.sources() {
                let files = self.shared.ready(source, sources).await;
                ready.push(files.map_err(|error| error.unwrap_or_else(|failure| self.at(failure, &step.span)))?);
            }
            for files in &ready {
                files.fetch().await.map_err(|failure| self.at(failure, &step.span))?;
            }
            tasks.push((task, ready));
        }
        let made = match tasks.iter().all(|(task, _)| matches!(&task.operation, Operation::Copy(copy) if is_independent(copy))) {
            true => block_in_place(|| self.independent(&tasks)),
            false => self.carry_out_all(&tasks, &name).await,
        };
        let layer = made.map_err(|failure| self.at(failure, &step.span))?;
        let layer = image_layer(&self.image, layer);
        self.image = std::mem::take(&mut self.image).append(layer, history.unwrap_or_default());
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        reporter.event(Event::StepFinished { step: name, milliseconds });
        Ok(())
    }

    async fn carry_out_all(&mut self, tasks: &[(&Task, Vec<SourceFiles>)], name: &str) -> Result<NewLayer, Failure> {
        self.look_ready().await?;
        let runs = tasks.iter().any(|(task, _)| matches!(task.operation, Operation::Exec(_)));
        block_in_place(|| match &mut self.files {
            StageFiles::Unpacked(layered, tree) if runs => {
                let layers = self.shared.sources(&self.image);
                unpacked::carry_out(tree, layered, &layers, tasks, name, self.shared)
            }
            _ => {
                tasks.iter().try_for_each(|(task, sources)| self.carry_out(task, sources, name))?;
                self.commit()
            }
        })
    }

    fn carry_out(&mut self, task: &Task, sources: &[SourceFiles], name: &str) -> Result<(), Failure> {
        let shared = self.shared;
        if let Operation::Exec(exec) = &task.operation {
            let StageFiles::Overlay(files) = &mut self.files else {
                let why = shared.deps.executor.as_ref().err().cloned().unwrap_or_default();
                return Err(Failure::new(format!("a command cannot be run here: {why}")).hint(exec::WHERE_COMMANDS_RUN));
            };
            let mounts = mounts::prepare(task, exec, sources, shared)?;
            let files = files.get_mut().unwrap_or_else(PoisonError::into_inner);
            let root = files.merged()?.to_owned();
            exec::make_working_dir(crate::fs::Root::open(&root)?, task, exec)?;
            return exec::run(task, exec, &root, &mounts, name, shared);
        }
        let source = sources.first().map(SourceFiles::copy_source).transpose()?;
        let context = shared.apply_context(task);
        match &mut self.files {
            StageFiles::Overlay(files) => {
                let files = files.get_mut().unwrap_or_else(PoisonError::into_inner);
                let mut disk = Disk::new(crate::fs::Root::open(files.merged()?)?);
                apply(&mut disk, &task.operation, source.as_ref(), &context)?;
            }
            StageFiles::Layered(layered) | StageFiles::Unpacked(layered, _) => apply(layered, &task.operation, source.as_ref(), &context)?,
        }
        Ok(())
    }

    /// Copies that look at nothing below them: their layer is made on an empty tree and put on top.
    fn independent(&mut self, tasks: &[(&Task, Vec<SourceFiles>)]) -> Result<NewLayer, Failure> {
        let store = &self.shared.deps.store;
        let mut upper = Layered::scratch(store.temporary_files());
        for (task, sources) in tasks {
            let source = sources.first().map(SourceFiles::copy_source).transpose()?;
            apply(&mut upper, &task.operation, source.as_ref(), &self.shared.apply_context(task))?;
        }
        let mut writer = LayerWriter::create(store.temporary_path(), self.shared.layer_options())?;
        upper.write_changes(&mut writer)?;
        let new = store.keep_blob(writer.finish()?)?;
        match &mut self.files {
            StageFiles::Layered(layered) | StageFiles::Unpacked(layered, _) => {
                layered.stack(&Arc::new(upper))?;
                layered.begin();
            }
            StageFiles::Overlay(files) => {
                let unpacked = store.unpack(&[LayerSource { diff_id: new.diff_id, blob: new.path.clone() }])?;
                let files = files.get_mut().unwrap_or_else(PoisonError::into_inner);
                for layer in unpacked {
                    files.push(layer)?;
                }
            }
        }
        Ok(new)
    }

    fn commit(&mut self) -> Result<NewLayer, Failure> {
        let options = self.shared.layer_options();
        match &mut self.files {
            StageFiles::Overlay(files) => Ok(files.get_mut().unwrap_or_else(PoisonError::into_inner).commit_step(options)?),
            StageFiles::Layered(layered) | StageFiles::Unpacked(layered, _) => {
                let store = &self.shared.deps.store;
                let mut writer = LayerWriter::create(store.temporary_path(), options)?;
                layered.write_changes(&mut writer)?;
                let new = store.keep_blob(writer.finish()?)?;
                layered.begin();
                Ok(new)
            }
        }
    }
}

/// A layer that was made, as a part of an image.
pub(super) fn image_layer(image: &Image, layer: NewLayer) -> Layer {
    let compression = match layer.compression {
        Compression::None => LayerCompression::None,
        Compression::Gzip(_) => LayerCompression::Gzip,
        Compression::Zstd(_) => LayerCompression::Zstd,
    };
    let descriptor = Descriptor::new(image.layer_type(compression), layer.digest, layer.size);
    Layer { descriptor, diff_id: layer.diff_id, content: LayerContent::File(layer.path) }
}

impl StageOutcome {
    /// The files, for reading.
    pub fn tree(&self) -> Result<Arc<dyn ReadTree>, Failure> {
        match &self.files {
            StageFiles::Overlay(files) => {
                let root = files.lock().unwrap_or_else(PoisonError::into_inner).read_root()?;
                Ok(Arc::new(Disk::new(root)))
            }
            StageFiles::Layered(tree) | StageFiles::Unpacked(tree, _) => Ok(Arc::new(tree.clone())),
        }
    }
}
