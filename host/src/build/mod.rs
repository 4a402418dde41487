//! The conductor: plans the stages that the target needs, carries their steps out, and gives the image.
//!
//! Knows no plugin, no flag and no registry protocol: it is handed a [`Deps`] of seams.

mod bases;
mod cache_mounts;
mod cached;
mod caches;
mod checks;
mod configure;
mod device;
mod distrust;
mod epoch;
/// Why builds fail, and where.
pub mod error;
mod exec;
/// The seam to whoever knows instructions.
pub mod handler;
/// The seam to whoever has base images.
pub mod images;
mod inputs;
mod keys;
mod layers;
mod looks;
mod lowering;
mod mask;
mod mounts;
mod needs;
mod order;
mod outline;
mod plan;
mod report;
mod scope;
/// What to build.
pub mod settings;
mod source;
mod squash;
/// SSH agents for processes.
pub mod ssh;
mod stage;
mod stages;
mod unpacked;
mod work;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

pub use bases::{WarmedImages, bases};
pub use distrust::distrust;
pub use inputs::Inputs;
pub use lowering::{Handlers, Step};
pub use outline::{Argument, Outline, Target, Wanted, outline, targets};
pub use plan::{PlannedBase, Planner, StagePlan};
pub use report::{Report, check, plan};

use crate::cache::Cache;
use crate::context::BuildContext;
use crate::dockerfile::Source;
use crate::fetch::Fetcher;
use crate::image::{Image, LayerContent};
use crate::progress::{Level, Reporter};
use crate::registry::Client;
use crate::rootfs::store::{LayerSource, Store};
use crate::rootfs::unpacked::{Furniture, UnpackedRootFs};
use crate::sandbox::Executor;
use checks::Checks;
use error::BuildError;
use plan::Purpose;
use settings::BuildSettings;

/// The seams that a build works through.
pub struct Deps {
    /// Who lowers instructions.
    pub handlers: Arc<Handlers>,
    /// Where images come from and go.
    pub client: Client,
    /// Where base images come from: the client, or what is here already before it.
    pub images: Arc<dyn images::Images>,
    /// Who reads files from the web and git repositories.
    pub fetcher: Arc<Fetcher>,
    /// Where layers are kept.
    pub store: Store,
    /// What earlier builds made; none where every step is to be carried out and nothing is to be kept.
    pub cache: Option<Arc<Cache>>,
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
#[derive(Clone, Debug)]
pub enum Backend {
    /// Stacked with overlayfs.
    Overlay,
    /// Unpacked into a directory for each stage.
    Chroot,
    /// Unpacked over the tree that the builder lives in, for one stage at a time.
    InPlace(Arc<Mutex<UnpackedRootFs>>),
}

impl Backend {
    /// Whether a process can be shown something by mounting it.
    pub fn mounts(&self) -> bool {
        matches!(self, Self::Overlay)
    }
}

impl Deps {
    /// What a plan is made from.
    pub fn inputs(&self) -> Inputs {
        Inputs {
            handlers: Arc::clone(&self.handlers),
            images: Arc::clone(&self.images),
            fetcher: Some(Arc::clone(&self.fetcher)),
            reporter: Arc::clone(&self.reporter),
            context: Arc::clone(&self.context),
            dockerfile: Arc::clone(&self.dockerfile),
        }
    }
}

/// Builds the target stage. What checks find is said as it is found, also where the build fails. Nothing is carried out before `permit` is
/// given, which is awaited beside the planning.
///
/// # Errors
/// All that is wrong with the Dockerfile, else the first failure; every other stage is stopped then. Nothing has been pushed.
pub async fn build(
    settings: Arc<BuildSettings>,
    deps: Arc<Deps>,
    permit: impl Future<Output = Result<(), BuildError>> + Send + 'static,
) -> Result<Image, BuildError> {
    let mut beside = JoinSet::new();
    beside.spawn(permit);
    let inputs = deps.inputs();
    let checks = Arc::new(report::checks(&settings, &inputs)?);
    let planned = report::planned(&settings, &inputs, &checks, Purpose::Build).await;
    say(&checks, deps.reporter.as_ref());
    let planner = match planned {
        Ok(planner) => planner,
        Err(errors) => {
            // Whoever may not have the result need not hear what else is wrong.
            given(&mut beside).await?;
            return Err(errors.into());
        }
    };
    refuse(&checks)?;
    let target = planner.graph.target;
    let outcome = loop {
        let outcome = stage::run_all(Arc::clone(&planner), target, Arc::clone(&settings), Arc::clone(&deps), beside).await;
        match &outcome {
            Err(error) if distrust(&deps, error).await => beside = JoinSet::new(),
            _ => break outcome,
        }
    };
    // Those that could only be found while the stages were built.
    say(&checks, deps.reporter.as_ref());
    let image = outcome?;
    refuse(&checks)?;
    let image = image.annotate(settings.annotations.clone());
    Ok(match settings.docker {
        Some(docker) => image.with_format(docker),
        None => image,
    })
}

/// Leaves the files of an image on the tree that the builder lives in, where it builds in place.
///
/// # Errors
/// A layer cannot be had or unpacked.
pub async fn materialize(image: &Image, deps: &Deps) -> Result<(), BuildError> {
    let Backend::InPlace(tree) = &deps.backend else { return Ok(()) };
    let mut layers = Vec::new();
    for layer in &image.layers {
        let blob = match &layer.content {
            LayerContent::File(path) => path.clone(),
            LayerContent::Remote(source) => {
                let path = deps.store.blob_path(&layer.descriptor.digest);
                let fetched = deps.client.fetch_blob(source, &layer.descriptor, &path).await;
                fetched.map_err(|error| BuildError::because("failed to fetch the image's files", error))?;
                path
            }
        };
        layers.push(LayerSource { diff_id: layer.diff_id, blob });
    }
    let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
    let brought = tokio::task::block_in_place(|| tree.bring(&layers, &Furniture::default()));
    brought.map_err(|error| BuildError::because("failed to unpack the image", error))
}

/// Waits for what was asked beside the planning.
async fn given(beside: &mut JoinSet<Result<(), BuildError>>) -> Result<(), BuildError> {
    while let Some(given) = beside.join_next().await {
        given.map_err(|e| BuildError::because("a check stopped unexpectedly", e))??;
    }
    Ok(())
}

fn say(checks: &Checks, reporter: &dyn Reporter) {
    for finding in checks.take() {
        reporter.log(Level::Warning, &finding.to_string());
    }
}

/// Fails where the Dockerfile says that checks may find nothing, and they found something.
fn refuse(checks: &Checks) -> Result<(), BuildError> {
    checks.violation().map_or(Ok(()), |message| Err(BuildError::other(message)))
}
