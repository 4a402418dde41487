//! A stage on its way: its steps taken from the cache or carried out, its files opened when a step needs them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use futures_util::future::join_all;
use tokio::task::block_in_place;

use super::cached::{Chain, stage_sources};
use super::error::{BuildError, Failure};
use super::keys::{self, StepKeys};
use super::layers::indexed;
use super::looks::LiveLook;
use super::lowering::{Lowering, NotLowered, Step, Task};
use super::plan::StagePlan;
use super::source::{PlannedSource, SourceFiles};
use super::stage::{Shared, StageFiles, StageOutcome};
use super::{exec, mounts, needs, unpacked};
use crate::cache::{Hit, Record};
use crate::dockerfile::{Instruction, Span};
use crate::image::{Image, Layer, LayerContent};
use crate::layer::{Compression, LayerWriter, NewLayer};
use crate::oci::{Descriptor, History, LayerCompression};
use crate::operation::Operation;
use crate::progress::{Event, Level};
use crate::rootfs::apply::apply;
use crate::rootfs::disk::Disk;
use crate::rootfs::layered::Layered;
use crate::rootfs::store::LayerSource;

/// A stage that is being built.
pub struct Work<'a> {
    /// The build.
    pub shared: &'a Arc<Shared>,
    /// What it is made of.
    pub plan: &'a StagePlan,
    /// The stage that it is based on.
    pub parent: Option<&'a StageOutcome>,
    /// Its FROM: what lies below the steps fails there.
    pub from: &'a Span,
    /// Names it in messages.
    pub label: String,
    /// Its steps that do something.
    pub total: usize,
    /// Those of them that are done.
    pub done: usize,
    /// The step of the plan that is next; past the end for those that were not planned.
    pub at: usize,
    /// What has been made so far.
    pub image: Image,
    /// Its keys, where there is a cache.
    pub chain: Option<Chain>,
    /// Its files, as soon as a step has needed them.
    pub files: Option<StageFiles>,
    /// Layers of the image that `files` does not have yet.
    pub pending: Vec<Layer>,
}

impl Work<'_> {
    /// Lowers and carries out what could not be lowered before.
    pub async fn rest(&mut self, mut state: Lowering, instructions: Vec<Instruction>) -> Result<Lowering, BuildError> {
        let shared = self.shared;
        let index = self.plan.index;
        let mut sources = self.plan.sources.clone();
        for instruction in &instructions {
            let lowered = block_in_place(|| {
                let mut look = LiveLook::new(self, instruction);
                let lowered = state.lower(instruction, &shared.planner.surroundings(), &mut look);
                look.keep();
                lowered
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
            shared.planner.add_sources(index, &step, &mut sources).await?;
            self.step(&step, &sources).await?;
        }
        Ok(state)
    }

    /// The files of a stage that is done; none where nobody has needed them so far.
    pub fn into_files(self) -> Option<StageFiles> {
        self.files.filter(|_| self.pending.is_empty())
    }

    fn at(&self, failure: Failure, span: &Span) -> BuildError {
        if self.shared.cancel.is_cancelled() { BuildError::Cancelled } else { failure.at(&self.shared.deps.dockerfile, span) }
    }

    /// Takes a step from the cache or carries it out.
    pub async fn step(&mut self, step: &Step, sources: &BTreeMap<String, PlannedSource>) -> Result<(), BuildError> {
        let shared = self.shared;
        let created = || Some(shared.now.clone());
        let history = step.history.as_ref().map(|history| History { created: created(), ..history.clone() });
        if step.tasks.is_empty() {
            if let Some(history) = history {
                self.image = std::mem::take(&mut self.image).remember(history);
            }
            return Ok(());
        }
        let history = history.unwrap_or_default();
        self.done += 1;
        let name = format!("[{}{}/{}]", self.label, self.done, self.total);
        let reporter = &shared.deps.reporter;
        reporter.event(Event::StepStarted { step: name.clone(), text: shared.mask.text(step.text.lines().next().unwrap_or_default()) });
        let planned = (self.at < self.plan.steps.len()).then_some(self.at);
        let ahead = shared.work_ahead(self.plan.index, planned, step, sources).await;
        let upon = |state, work| keys::upon(state, work, keys::independent(step));
        let fast = self.chain.as_ref().and_then(|chain| chain.fast).zip(ahead).map(|(state, work)| upon(state, work));
        let renewed = self.renewed(step, sources);
        if let Some(hit) = self.hit(step, fast.filter(|_| !renewed)).await {
            self.take(step, &hit, fast, history);
            reporter.event(Event::StepCached { step: name });
            return Ok(());
        }

        let started = Instant::now();
        let mut tasks = Vec::new();
        for task in &step.tasks {
            let mut ready = Vec::new();
            for source in task.operation.sources() {
                let files = shared.ready(source, sources).await;
                ready.push(files.map_err(|error| error.unwrap_or_else(|failure| self.at(failure, &step.span)))?);
            }
            for files in &ready {
                files.fetch().await.map_err(|failure| self.at(failure, &step.span))?;
            }
            tasks.push((task, ready));
        }
        let files: Vec<&SourceFiles> = tasks.iter().flat_map(|(_, ready)| ready).collect();
        let index = self.plan.index;
        let work = match &self.chain {
            Some(chain) if chain.content.is_some() => shared.work_by_content(index, step, sources, &files).await,
            _ => None,
        };
        let content = self.chain.as_ref().and_then(|chain| chain.content).zip(work).map(|(state, work)| upon(state, work));
        if (content != fast || renewed)
            && let Some(hit) = self.hit(step, content).await
        {
            self.take(step, &hit, fast, history);
            self.keep(step, [fast, None], hit.record.content, hit.record.diff_id);
            self.ask_ahead().await;
            reporter.event(Event::StepCached { step: name });
            return Ok(());
        }

        // Copies that look at nothing below them need nothing of it here.
        if !keys::independent(step) || self.files.is_some() {
            self.open(step.runs()).await.map_err(|failure| self.at(failure, self.from))?;
        }
        let made = block_in_place(|| match keys::independent(step) {
            true => self.independent(&tasks),
            false => self.carry_out_all(&tasks, &name),
        });
        let layer = made.map_err(|failure| self.at(failure, &step.span))?;
        let layer = image_layer(&self.image, layer);
        self.image = std::mem::take(&mut self.image).append(layer.clone(), history);
        if self.chain.is_some() {
            let same = (fast.is_none() && content.is_none()) || shared.unchanged(step, sources, &files).await;
            if !same {
                reporter.log(Level::Warning, &format!("{name} files changed while they were copied: nothing that follows is kept"));
            }
            self.made(step, fast.filter(|_| same), content.filter(|_| same), layer);
        }
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        reporter.event(Event::StepFinished { step: name, milliseconds });
        Ok(())
    }

    /// Whether something that a step is upon or reads was carried out because it had to be. That holds for what follows as well.
    fn renewed(&mut self, step: &Step, sources: &BTreeMap<String, PlannedSource>) -> bool {
        let Some(chain) = &mut self.chain else { return false };
        let Shared { fresh, planner, .. } = &**self.shared;
        let is_fresh = |stage: &usize| fresh.contains(stage) || planner.below(*stage).iter().any(|below| fresh.contains(below));
        chain.renewed |= !fresh.is_empty() && stage_sources(step, sources).iter().any(is_fresh);
        chain.renewed
    }

    /// What the cache has under the keys of a step, if it fits upon what there is.
    async fn hit(&self, step: &Step, keys: Option<StepKeys>) -> Option<Hit> {
        let (cached, chain, keys) = (self.shared.cached.as_ref()?, self.chain.as_ref()?, keys?);
        if !cached.keeps(step) || self.shared.fresh.contains(&self.plan.index) {
            return None;
        }
        let hit = cached.get(keys::record(keys.layer, self.shared.layer_options().compression)).await?;
        let below = if keys::independent(step) { keys::nothing_made() } else { chain.made };
        (hit.record.below == below).then_some(hit)
    }

    /// Puts a layer of the cache on top.
    fn take(&mut self, step: &Step, hit: &Hit, fast: Option<StepKeys>, history: History) {
        let Hit { record, content } = hit;
        let compression = record.layer.media_type.layer_compression().unwrap_or(LayerCompression::Gzip);
        let descriptor = Descriptor { media_type: self.image.layer_type(compression), ..record.layer.clone() };
        let layer = Layer { descriptor, diff_id: record.diff_id, content: content.clone() };
        self.image = std::mem::take(&mut self.image).append(layer.clone(), history);
        if self.files.is_some() {
            self.pending.push(layer);
        }
        if let Some(chain) = &mut self.chain {
            chain.fast = fast.map(|keys| keys.after);
            chain.content = match keys::independent(step) {
                true => chain.content.map(|state| keys::after(state, record.content, true)),
                false => Some(record.content),
            };
            if step.runs() {
                chain.made = keys::made(chain.made, record.diff_id);
            }
        }
    }

    /// Takes note of a layer that was made, and keeps it where it is to be kept.
    fn made(&mut self, step: &Step, fast: Option<StepKeys>, content: Option<StepKeys>, layer: Layer) {
        let diff_id = layer.diff_id;
        if let Some(content) = content {
            self.keep(step, [fast, Some(content)], content.layer, diff_id);
        }
        let keeps = self.shared.cached.as_ref().is_some_and(|cached| cached.keeps(step));
        if let Some(chain) = &mut self.chain {
            // What a command that is carried out every time makes is known by its result alone.
            chain.fast = fast.filter(|_| !step.runs() || keeps).map(|keys| keys.after);
            chain.content = content.map(|keys| keys.after);
            if step.runs() {
                chain.made = keys::made(chain.made, diff_id);
            }
        }
    }

    /// Keeps the topmost layer under keys of a step. To be called before the chain goes on.
    fn keep(&self, step: &Step, keys: [Option<StepKeys>; 2], content: crate::cache::CacheKey, diff_id: crate::oci::DiffId) {
        let (Some(cached), Some(chain), Some(layer)) = (&self.shared.cached, &self.chain, self.image.layers.last()) else { return };
        if !cached.keeps(step) {
            return;
        }
        let mut names: Vec<_> =
            keys.into_iter().flatten().map(|keys| keys::record(keys.layer, self.shared.layer_options().compression)).collect();
        names.dedup();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let below = if keys::independent(step) { keys::nothing_made() } else { chain.made };
        let record = |key| Record { key, layer: layer.descriptor.clone(), diff_id, below, content, created: now };
        cached.cache.put(&names.into_iter().map(record).collect::<Vec<_>>(), layer);
    }

    /// Asks for all that follows and is known by content now, at once.
    async fn ask_ahead(&self) {
        let (Some(cached), Some(chain)) = (&self.shared.cached, &self.chain) else { return };
        let mut state = chain.content;
        let mut asked = Vec::new();
        for (at, step) in self.plan.steps.iter().enumerate().skip(self.at + 1).filter(|(_, step)| !step.tasks.is_empty()) {
            let work = cached.work(self.plan.index, at).filter(|_| stage_sources(step, &self.plan.sources).is_empty());
            let Some(keys) = state.zip(work).map(|(state, work)| keys::upon(state, work, keys::independent(step))) else { break };
            if cached.keeps(step) {
                asked.push(cached.get(keys::record(keys.layer, self.shared.layer_options().compression)));
            }
            state = Some(keys.after);
        }
        join_all(asked).await;
    }

    /// Makes the files what the next step finds; `process` where one runs in it.
    pub async fn open(&mut self, process: bool) -> Result<(), Failure> {
        let shared = self.shared;
        let reopen = match &self.files {
            Some(StageFiles::Overlay(_)) => !self.pending.is_empty(),
            Some(StageFiles::Layered(_)) => process && shared.deps.executor.is_ok(),
            Some(StageFiles::Unpacked(..)) => false,
            None => true,
        };
        if reopen {
            self.files = None;
            self.pending.clear();
            let parent = self.parent.filter(|parent| parent.image.layers.len() == self.image.layers.len());
            self.files = Some(shared.open_files(process || self.will_run(), &self.image, parent).await?);
        }
        if let Some(StageFiles::Layered(tree) | StageFiles::Unpacked(tree, _)) = &mut self.files {
            shared.fetch_blobs(&self.image).await?;
            for layer in std::mem::take(&mut self.pending) {
                let source = LayerSource { diff_id: layer.diff_id, blob: shared.blob(&layer) };
                block_in_place(|| tree.push_layer(indexed(source)))?;
            }
        }
        Ok(())
    }

    /// Whether a process will run, as far as is known.
    fn will_run(&self) -> bool {
        let expected = |at| self.shared.cached.as_ref().is_some_and(|cached| cached.expects(self.plan.index, at));
        let mut steps = self.plan.steps.iter().enumerate().skip(self.at);
        !self.plan.rest.is_empty() || steps.any(|(at, step)| step.runs() && !expected(at))
    }

    fn carry_out_all(&mut self, tasks: &[(&Task, Vec<SourceFiles>)], name: &str) -> Result<NewLayer, Failure> {
        let runs = tasks.iter().any(|(task, _)| matches!(task.operation, Operation::Exec(_)));
        match &mut self.files {
            Some(StageFiles::Unpacked(layered, tree)) if runs => {
                let layers = self.shared.sources(&self.image);
                unpacked::carry_out(tree, layered, &layers, tasks, name, self.shared)
            }
            _ => {
                tasks.iter().try_for_each(|(task, sources)| self.carry_out(task, sources, name))?;
                self.commit()
            }
        }
    }

    fn carry_out(&mut self, task: &Task, sources: &[SourceFiles], name: &str) -> Result<(), Failure> {
        let shared = self.shared;
        if let Operation::Exec(exec) = &task.operation {
            let Some(StageFiles::Overlay(files)) = &mut self.files else {
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
            Some(StageFiles::Overlay(files)) => {
                let files = files.get_mut().unwrap_or_else(PoisonError::into_inner);
                let mut disk = Disk::new(crate::fs::Root::open(files.merged()?)?);
                apply(&mut disk, &task.operation, source.as_ref(), &context)?;
            }
            Some(StageFiles::Layered(layered) | StageFiles::Unpacked(layered, _)) => {
                apply(layered, &task.operation, source.as_ref(), &context)?;
            }
            None => return Err(not_open()),
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
            Some(StageFiles::Layered(layered) | StageFiles::Unpacked(layered, _)) => {
                layered.stack(&Arc::new(upper))?;
                layered.begin();
            }
            Some(StageFiles::Overlay(files)) => {
                let unpacked = store.unpack(&[LayerSource { diff_id: new.diff_id, blob: new.path.clone() }])?;
                let files = files.get_mut().unwrap_or_else(PoisonError::into_inner);
                for layer in unpacked {
                    files.push(layer)?;
                }
            }
            None => {}
        }
        Ok(new)
    }

    fn commit(&mut self) -> Result<NewLayer, Failure> {
        let options = self.shared.layer_options();
        match &mut self.files {
            Some(StageFiles::Overlay(files)) => Ok(files.get_mut().unwrap_or_else(PoisonError::into_inner).commit_step(options)?),
            Some(StageFiles::Layered(layered) | StageFiles::Unpacked(layered, _)) => {
                let store = &self.shared.deps.store;
                let mut writer = LayerWriter::create(store.temporary_path(), options)?;
                layered.write_changes(&mut writer)?;
                let new = store.keep_blob(writer.finish()?)?;
                layered.begin();
                Ok(new)
            }
            None => Err(not_open()),
        }
    }
}

/// A layer that was made, as a part of an image.
pub fn image_layer(image: &Image, layer: NewLayer) -> Layer {
    let compression = match layer.compression {
        Compression::None => LayerCompression::None,
        Compression::Gzip(_) => LayerCompression::Gzip,
        Compression::Zstd(_) => LayerCompression::Zstd,
    };
    let descriptor = Descriptor::new(image.layer_type(compression), layer.digest, layer.size);
    Layer { descriptor, diff_id: layer.diff_id, content: LayerContent::File(layer.path) }
}

/// Of a caller that forgot to.
fn not_open() -> Failure {
    Failure::new("the files of the stage are not open")
}
