use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::cached::{Cached, Chain};
use super::caches::Caches;
use super::epoch::{epoch, now};
use super::error::{BuildError, Failure};
use super::keys;
use super::lowering::{Lowering, Task};
use super::mask::Mask;
use super::needs;
use super::plan::{PlannedBase, Planner};
use super::settings::BuildSettings;
use super::source::{PlannedSource, SourceFiles, git_location};
use super::work::Work;
use super::{Backend, Deps};
use crate::fetch::NamedBy;
use crate::fs::Time;
use crate::graph::stage_label;
use crate::image::Image;
use crate::layer::{Compression, LayerOptions};
use crate::oci::Digest;
use crate::progress::Event;
use crate::rootfs::apply::ApplyContext;
use crate::rootfs::disk::Disk;
use crate::rootfs::layered::Layered;
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::tree::ReadTree;
use crate::rootfs::unpacked::UnpackedRootFs;
use crate::sandbox::Cancel;

/// A stage that has been built.
pub struct StageOutcome {
    /// What it gives.
    pub image: Image,
    /// Its configuration and scope, for a stage that is based on it.
    pub state: Lowering,
    /// Its keys, for stages that read it.
    pub chain: Option<Chain>,
    /// Its files, as soon as somebody has wanted them.
    pub files: OnceLock<StageFiles>,
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
    pub(super) epoch: Option<i64>,
    /// As RFC 3339.
    pub(super) now: String,
    /// What must not be shown.
    pub mask: Mask,
    /// Directories that outlive the build.
    pub caches: Caches,
    /// What earlier builds made.
    pub(super) cached: Option<Cached>,
    /// The stages of which every step is carried out.
    pub(super) fresh: BTreeSet<usize>,
    /// The stages that must be built, as far as is known.
    pub(super) needed: Mutex<BTreeSet<usize>>,
}

/// Builds the target and all that it needs, side by side where nothing forbids it.
///
/// # Errors
/// The first failure, when every other stage has been stopped.
pub async fn run_all(
    planner: Arc<Planner>,
    target: usize,
    settings: Arc<BuildSettings>,
    deps: Arc<Deps>,
    mut permit: JoinSet<Result<(), BuildError>>,
) -> Result<Image, BuildError> {
    // Before anything is pulled or run: what is missing is missing at the end as well.
    for step in planner.plans().iter().flat_map(|plan| &plan.steps) {
        needs::check(step, &settings.run).map_err(|failure| failure.at(&deps.dockerfile, &step.span))?;
    }
    let fresh = planner.graph.targets(&settings.run.fresh_stages).map_err(|error| BuildError::other(error.to_string()))?;
    let cancel = Cancel::new().map_err(|e| BuildError::because("failed to start", e))?;
    let outcomes = planner.graph.stages.iter().map(|_| OnceCell::new()).collect();
    let epoch = epoch(&planner.globals).or(settings.reproducible.then_some(0));
    let now = now(epoch)?;
    let caches = Caches::new(!deps.backend.mounts());
    let mask = Mask::new(settings.run.secrets.iter().map(|secret| &*secret.value));
    let shared = Arc::new(Shared {
        planner,
        settings,
        deps: Arc::clone(&deps),
        cancel,
        outcomes,
        blobs: Mutex::default(),
        images: Mutex::default(),
        epoch,
        now,
        mask,
        caches,
        cached: deps.cache.clone().map(Cached::new),
        fresh: fresh.into_iter().collect(),
        needed: Mutex::default(),
    });
    shared.look_ahead().await;
    super::given(&mut permit).await?;
    let built = build_needed(&shared, target).await;
    // What was made is kept also where a later step fails: the next build goes on from there.
    if let Some(cached) = &shared.cached {
        if built.is_ok() {
            shared.keep_mounts().await;
        }
        cached.cache.settle().await;
    }
    built
}

async fn build_needed(shared: &Arc<Shared>, target: usize) -> Result<Image, BuildError> {
    let cancel = shared.cancel.clone();
    // A build that is given up must not leave a command running.
    let _guard = CancelOnDrop(cancel.clone());
    let mut stages = JoinSet::new();
    let also = shared.planner.graph.targets(&shared.settings.also).map_err(|error| BuildError::other(error.to_string()))?;
    also.into_iter().chain([target]).for_each(|wanted| shared.need(wanted));
    let plans: Vec<usize> = shared.needed().iter().copied().collect();
    // With one tree for all, stages side by side would only take it from each other.
    let groups = match &shared.deps.backend {
        Backend::InPlace(_) => vec![plans],
        Backend::Overlay | Backend::Chroot => plans.into_iter().map(|plan| vec![plan]).collect(),
    };
    for group in groups {
        let shared = Arc::clone(shared);
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
            self.need(index);
            let needed = self.needed().clone();
            for below in self.planner.below(index).intersection(&needed).copied() {
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
        let (image, parent) = match &plan.base {
            PlannedBase::Image(image) => (Image::clone(image), None),
            PlannedBase::Stage(parent) => {
                let outcome = self.outcome(*parent).await?;
                (outcome.image.clone(), Some(outcome))
            }
        };
        let mut chain = self.cached.as_ref().and_then(|_| match &parent {
            Some(parent) => parent.chain.clone(),
            None => Some(Chain::start(keys::base(&image))),
        });
        if let Some(chain) = &mut chain {
            chain.renewed |= self.fresh.contains(&index);
        }
        let from_image = usize::from(parent.is_none() && !image.layers.is_empty());
        let mut work = Work {
            shared: self,
            plan: &plan,
            parent: parent.as_deref(),
            from: &from,
            label: if self.planner.graph.stages.len() > 1 { stage_label(&self.planner.dockerfile, index) + " " } else { String::new() },
            total: from_image + plan.steps.iter().filter(|step| !step.tasks.is_empty()).count() + plan.rest.len(),
            done: from_image,
            at: 0,
            image,
            chain,
            files: None,
            pending: Vec::new(),
        };
        let base = self.settings.single_snapshot.then(|| work.image.clone());
        if from_image > 0 {
            let step = format!("[{}1/{}]", work.label, work.total);
            self.deps.reporter.event(Event::StepStarted { step, text: format!("FROM {}", stage.source.from.image) });
        }
        for step in &plan.steps {
            work.step(step, &plan.sources).await?;
            work.at += 1;
        }
        let state = match (&plan.state, &parent) {
            (Some(state), _) => work.rest(state.clone(), plan.rest.clone()).await?,
            (None, Some(parent)) => {
                let mut state = parent.state.child();
                let mut instructions = self.planner.triggers(&mut state, &from)?;
                instructions.extend(plan.rest.iter().cloned());
                work.rest(state, instructions).await?
            }
            (None, None) => return Err(BuildError::other("a stage has neither a base nor a state")),
        };
        let image = std::mem::take(&mut work.image);
        let image = match base {
            Some(base) => self.squash(&base, image).await.map_err(|failure| failure.at(&self.deps.dockerfile, &from))?,
            None => image,
        };
        let image = image.configure(|config| {
            let history = std::mem::take(&mut config.history);
            *config = crate::oci::ImageConfig { history, ..state.config.clone() };
            config.created = Some(self.now.clone());
        });
        let (chain, files) = (work.chain.take(), work.into_files());
        Ok(StageOutcome { image, state, chain, files: files.map_or_else(OnceLock::new, OnceLock::from) })
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

impl StageOutcome {
    /// The files, for reading. They must have been made ready.
    pub fn tree(&self) -> Result<Arc<dyn ReadTree>, Failure> {
        match self.files.get() {
            Some(StageFiles::Overlay(files)) => {
                let root = files.lock().unwrap_or_else(PoisonError::into_inner).read_root()?;
                Ok(Arc::new(Disk::new(root)))
            }
            Some(StageFiles::Layered(tree) | StageFiles::Unpacked(tree, _)) => Ok(Arc::new(tree.clone())),
            None => Err(Failure::new("the files of a stage are not ready")),
        }
    }
}
