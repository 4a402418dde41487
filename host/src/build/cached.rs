//! What the cache knows of a build: keys as far as they can be known, asked for all at once before anything is pulled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{OnceCell, Semaphore};

use super::keys::{self, Around, SourceKey};
use super::lowering::Step;
use super::plan::PlannedBase;
use super::source::{PlannedSource, SourceFiles};
use super::stage::Shared;
use crate::cache::{Cache, CacheKey, Hit};
use crate::fs::Time;
use crate::operation::{Copy, Source};
use crate::rootfs::apply::{ApplyContext, ApplyError, CopySource, Selected, fingerprint, stamps};

/// Trees that are read at a time for their digest.
const READERS: usize = 4;

/// What is selected of a tree, read once; none where it cannot be had.
type Found = Arc<OnceCell<Option<Selected>>>;

/// The cache of one build.
pub struct Cached {
    /// Where records are.
    pub cache: Arc<Cache>,
    planned: OnceLock<Planned>,
    answers: Mutex<HashMap<CacheKey, Option<Hit>>>,
    selected: Mutex<BTreeMap<Vec<u8>, Found>>,
    readers: Semaphore,
}

/// What is known before the first step.
#[derive(Default)]
struct Planned {
    /// By stage and step.
    steps: Vec<Vec<Ahead>>,
    /// The state at the end of each stage.
    ends: Vec<Option<CacheKey>>,
}

/// What is known of a step before it.
#[derive(Clone, Copy, Default)]
struct Ahead {
    work: Option<CacheKey>,
    hit: bool,
}

/// The keys of what a stage is, at a step.
#[derive(Clone, Debug)]
pub struct Chain {
    /// By what is known ahead: the stages that were read from count by their own keys.
    pub fast: Option<CacheKey>,
    /// By content alone.
    pub content: Option<CacheKey>,
    /// What processes have made so far. A layer made upon one result of a command does not fit upon another.
    pub made: CacheKey,
    /// Whether something below was carried out because it had to be: what is kept under `fast` was made upon what it was before.
    pub renewed: bool,
}

impl Chain {
    /// At the start of a stage.
    pub fn start(base: CacheKey) -> Self {
        Self { fast: Some(base), content: Some(base), made: keys::nothing_made(), renewed: false }
    }
}

impl Cached {
    /// The cache of a build of so many stages.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache, planned: OnceLock::new(), answers: Mutex::default(), selected: Mutex::default(), readers: Semaphore::new(READERS) }
    }

    /// Whether the layer of a step is looked for and kept.
    pub fn keeps(&self, step: &Step) -> bool {
        let settings = &self.cache.settings;
        if keys::copies(step) { settings.copy_layers } else { settings.run_layers }
    }

    /// What is kept under a key; asked for once.
    pub async fn get(&self, key: CacheKey) -> Option<Hit> {
        let known = self.answers().get(&key).cloned();
        match known {
            Some(answer) => answer,
            None => {
                let answer = self.cache.get(&key).await;
                self.answers().insert(key, answer.clone());
                answer
            }
        }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<CacheKey, Option<Hit>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ahead(&self, stage: usize, step: usize) -> Ahead {
        let planned = self.planned.get().and_then(|planned| planned.steps.get(stage)?.get(step));
        planned.copied().unwrap_or_default()
    }

    /// Whether the cache has the layer of a step, as far as is known ahead.
    pub fn expects(&self, stage: usize, step: usize) -> bool {
        self.ahead(stage, step).hit
    }

    fn end(&self, stage: usize) -> Option<CacheKey> {
        self.planned.get()?.ends.get(stage).copied().flatten()
    }

    /// A step's work, where that was known ahead.
    pub fn work(&self, stage: usize, step: usize) -> Option<CacheKey> {
        self.ahead(stage, step).work
    }
}

impl Shared {
    /// Finds the keys of all that is planned, and asks the cache for all of them.
    pub(super) async fn look_ahead(self: &Arc<Self>) {
        let Some(cached) = &self.cached else { return };
        let mut plans = self.planner.plans();
        plans.sort_unstable_by_key(|plan| plan.index);
        // Files are read side by side; what that gives is found again below.
        let read = plans.iter().flat_map(|plan| plan.steps.iter().map(|step| self.sources_ahead(step, &plan.sources, &[])));
        join_all(read).await;
        let stages = self.planner.graph.stages.len();
        let mut planned = Planned { steps: vec![Vec::new(); stages], ends: vec![None; stages] };
        let mut asked = Vec::new();
        for plan in &plans {
            let mut state = match &plan.base {
                PlannedBase::Image(image) => Some(keys::base(image)),
                PlannedBase::Stage(parent) => planned.ends.get(*parent).copied().flatten(),
            };
            state = state.filter(|_| !self.fresh.contains(&plan.index));
            let mut steps = Vec::new();
            for (at, step) in plan.steps.iter().enumerate() {
                if step.tasks.is_empty() {
                    steps.push(Ahead::default());
                    continue;
                }
                let sources = self.sources_ahead(step, &plan.sources, &planned.ends).await;
                let work = sources.map(|sources| keys::work(step, &sources, &self.around(plan.index)));
                steps.push(Ahead { work, hit: false });
                let found = state.zip(work).map(|(state, work)| keys::upon(state, work, keys::independent(step)));
                if let Some(keys) = found.filter(|_| cached.keeps(step)) {
                    asked.push((plan.index, at, keys::record(keys.layer, self.layer_options().compression)));
                }
                // What a command that is carried out every time makes is known by its result alone.
                state = found.filter(|_| !step.runs() || cached.keeps(step)).map(|keys| keys.after);
            }
            if let Some(of_stage) = planned.steps.get_mut(plan.index) {
                *of_stage = steps;
            }
            if let Some(end) = planned.ends.get_mut(plan.index).filter(|_| plan.rest.is_empty() && plan.state.is_some()) {
                *end = state;
            }
        }
        let answers = join_all(asked.iter().map(|(_, _, key)| cached.get(*key))).await;
        for ((stage, step, _), answer) in asked.iter().zip(answers) {
            if let Some(ahead) = planned.steps.get_mut(*stage).and_then(|steps| steps.get_mut(*step)) {
                ahead.hit = answer.is_some();
            }
        }
        // Nobody else gets here.
        let _ = cached.planned.set(planned);
    }

    /// Takes note that a stage must be built, and all that it cannot be built without.
    pub(super) fn need(&self, index: usize) {
        let mut needed = self.needed();
        let mut todo = vec![index];
        while let Some(index) = todo.pop() {
            if !needed.insert(index) {
                continue;
            }
            let Some(plan) = self.planner.planned(index) else { continue };
            if let PlannedBase::Stage(parent) = plan.base {
                todo.push(parent);
            }
            for (at, step) in plan.steps.iter().enumerate() {
                if self.cached.as_ref().is_some_and(|cached| cached.expects(index, at)) {
                    continue;
                }
                todo.extend(stage_sources(step, &plan.sources));
            }
        }
    }

    pub(super) fn needed(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds for all steps of a stage.
    pub(super) fn around(&self, stage: usize) -> Around<'_> {
        let platform = self.planner.graph.stages.get(stage).map_or(&self.settings.platform, |stage| &stage.platform);
        Around { settings: &self.settings, platform, epoch: self.epoch, options: self.layer_options() }
    }

    /// The work of a step by what is known without building a stage that it reads from.
    pub(super) async fn work_ahead(
        self: &Arc<Self>,
        stage: usize,
        at: Option<usize>,
        step: &Step,
        sources: &BTreeMap<String, PlannedSource>,
    ) -> Option<CacheKey> {
        let cached = self.cached.as_ref()?;
        if let Some(work) = at.and_then(|at| cached.work(stage, at)) {
            return Some(work);
        }
        let mut ends: Vec<_> = (0..self.planner.graph.stages.len()).map(|stage| cached.end(stage)).collect();
        for source in stage_sources(step, sources) {
            // A stage that was not planned to its end has one now.
            if let Some(end) = ends.get_mut(source).filter(|end| end.is_none()) {
                *end = self.outcome(source).await.ok()?.chain.as_ref()?.fast;
            }
        }
        let sources = self.sources_ahead(step, sources, &ends).await?;
        Some(keys::work(step, &sources, &self.around(stage)))
    }

    /// The work of a step by the content of all that it reads. `files` are its sources, ready to be read.
    pub(super) async fn work_by_content(
        self: &Arc<Self>,
        stage: usize,
        step: &Step,
        sources: &BTreeMap<String, PlannedSource>,
        files: &[&SourceFiles],
    ) -> Option<CacheKey> {
        let mut found = Vec::new();
        for ((source, selection), files) in selected(step).into_iter().zip(files) {
            let known = match named(source, sources) {
                Some(PlannedSource::Stage(_)) => None,
                _ => self.source_key(source, &selection, sources, &[], Some(files)).await,
            };
            found.push(match known {
                Some(key) => key,
                None => SourceKey::Files(self.selected(files, &selection).await?.digest),
            });
        }
        Some(keys::work(step, &found, &self.around(stage)))
    }

    /// The keys of a step's sources, by what is known without building a stage.
    async fn sources_ahead(
        self: &Arc<Self>,
        step: &Step,
        sources: &BTreeMap<String, PlannedSource>,
        ends: &[Option<CacheKey>],
    ) -> Option<Vec<SourceKey>> {
        let all = selected(step);
        let found = all.iter().map(|(source, selection)| self.source_key(source, selection, sources, ends, None));
        join_all(found).await.into_iter().collect()
    }

    async fn source_key(
        self: &Arc<Self>,
        source: &Source,
        selection: &Copy,
        sources: &BTreeMap<String, PlannedSource>,
        ends: &[Option<CacheKey>],
        files: Option<&SourceFiles>,
    ) -> Option<SourceKey> {
        match (source, named(source, sources)) {
            (Source::Inline(_), _) => return Some(SourceKey::Inline),
            (Source::Download { url, checksum: Some(checksum) }, _) => {
                return Some(SourceKey::Pinned { url: url.clone(), checksum: checksum.clone() });
            }
            (_, Some(PlannedSource::Stage(index))) => return Some(SourceKey::Stage(ends.get(*index).copied().flatten()?)),
            (_, Some(PlannedSource::Image(image))) => {
                return Some(SourceKey::Image(image.layers.iter().map(|layer| layer.diff_id).collect()));
            }
            _ => {}
        }
        let read = async {
            match files {
                Some(files) => self.selected(files, selection).await,
                None => self.selected(&self.ready(source, sources).await.ok()?, selection).await,
            }
        };
        let cell = self.found(source, selection, sources)?;
        let selected = cell.get_or_init(|| read).await;
        selected.map(|selected| SourceKey::Files(selected.digest))
    }

    /// Where is kept what is known of a selection.
    fn found(&self, source: &Source, selection: &Copy, sources: &BTreeMap<String, PlannedSource>) -> Option<Found> {
        let root = match named(source, sources) {
            Some(PlannedSource::Context(context)) => context.root.display().to_string(),
            _ => String::new(),
        };
        let name = serde_json::to_vec(&(root, selection)).ok()?;
        let mut selected = self.cached.as_ref()?.selected.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(selected.entry(name).or_default()))
    }

    /// Whether the files of contexts that a step has read are what they were when its keys were made, and were so all the time. Whatever
    /// else a step reads is this build's own.
    pub(super) async fn unchanged(&self, step: &Step, sources: &BTreeMap<String, PlannedSource>, files: &[&SourceFiles]) -> bool {
        for ((source, selection), files) in selected(step).into_iter().zip(files) {
            if !matches!((source, files), (Source::Context(_), SourceFiles::Context(_))) {
                continue;
            }
            let found = self.found(source, &selection, sources).and_then(|found| found.get().copied().flatten());
            let Some(then) = found.and_then(|selected| selected.stamps) else { return false };
            if self.reading(files, &selection, stamps).await != Some(then) {
                return false;
            }
        }
        true
    }

    /// What is selected; none where that cannot be read, which whoever carries the step out will say.
    async fn selected(&self, files: &SourceFiles, selection: &Copy) -> Option<Selected> {
        self.reading(files, selection, fingerprint).await
    }

    async fn reading<T: Send + 'static>(
        &self,
        files: &SourceFiles,
        selection: &Copy,
        read: fn(&Copy, &CopySource, &ApplyContext) -> Result<T, ApplyError>,
    ) -> Option<T> {
        let source = files.copy_source().ok()?;
        let _one = self.cached.as_ref()?.readers.acquire().await.ok()?;
        let selection = selection.clone();
        let read = move || {
            let context = ApplyContext { working_dir: Path::new("/").to_owned(), created: Time::default() };
            read(&selection, &source, &context)
        };
        tokio::task::spawn_blocking(read).await.ok()?.ok()
    }
}

/// The sources of a step and what it selects of each.
fn selected(step: &Step) -> Vec<(&Source, Copy)> {
    let of = |task: &'_ super::lowering::Task| keys::selections(&task.operation);
    step.tasks.iter().flat_map(|task| task.operation.sources().into_iter().zip(of(task))).collect()
}

fn named<'a>(source: &Source, sources: &'a BTreeMap<String, PlannedSource>) -> Option<&'a PlannedSource> {
    match source {
        Source::Context(name) | Source::Stage(name) if !name.is_empty() => sources.get(name),
        _ => None,
    }
}

/// The stages that a step reads from.
pub fn stage_sources(step: &Step, sources: &BTreeMap<String, PlannedSource>) -> Vec<usize> {
    let all = step.tasks.iter().flat_map(|task| task.operation.sources());
    let stage = |source| match named(source, sources) {
        Some(PlannedSource::Stage(index)) => Some(*index),
        _ => None,
    };
    all.filter_map(stage).collect()
}
