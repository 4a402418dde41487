//! What steps are made of, as the keys that their layers are kept under.
//!
//! A step's work is its operations and the files that they read. Its key is that of the work and of the state that it finds, which is the
//! key of the step before. What changes the configuration alone is no work: it counts where a later process sees it.

use crate::cache::{CacheKey, KeyWriter};
use crate::image::Image;
use crate::layer::{Compression, LayerOptions};
use crate::oci::{DiffId, Digest, Platform};
use crate::operation::{Copy, Exec, MountSource, Network, Operation, Ownership, Source};
use crate::rootfs::apply::is_independent;

use super::exec::{hostname, join};
use super::lowering::{Step, Task};
use super::settings::BuildSettings;

/// The files that an operation reads, as a part of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceKey {
    /// By their content.
    Files(Digest),
    /// Whatever is the end of a stage: known before that is built.
    Stage(CacheKey),
    /// An image, by its layers.
    Image(Vec<DiffId>),
    /// A file from the web that is told by its digest, so that it need not be fetched.
    Pinned {
        /// Names the file.
        url: String,
        /// Of its content.
        checksum: String,
    },
    /// Said by the operation itself.
    Inline,
}

/// The keys of a step upon a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepKeys {
    /// Of the layer.
    pub layer: CacheKey,
    /// Of the state after the step.
    pub after: CacheKey,
}

/// What holds for all steps of a stage.
pub struct Around<'a> {
    /// The build.
    pub settings: &'a BuildSettings,
    /// The stage's.
    pub platform: &'a Platform,
    /// Seconds since 1970 that stand for now.
    pub epoch: Option<i64>,
    /// How layers are written.
    pub options: LayerOptions,
}

/// The state at the start of a stage that is based on an image. What its configuration says counts where a process sees it.
pub fn base(image: &Image) -> CacheKey {
    let mut key = KeyWriter::new("base");
    key.list(image.layers.iter().map(|layer| layer.diff_id.0.as_bytes().to_vec()));
    key.finish()
}

/// A step's work; `sources` are those of its operations, in order.
pub fn work(step: &Step, sources: &[SourceKey], around: &Around<'_>) -> CacheKey {
    let mut key = KeyWriter::new("work");
    key.part(around.platform.to_string());
    key.option(around.options.latest_mtime.map(i64::to_le_bytes));
    for task in &step.tasks {
        operation(&mut key, task, around);
    }
    key.part("sources");
    for source in sources {
        match source {
            SourceKey::Files(digest) => key.part("files").part(digest.as_bytes()),
            SourceKey::Stage(end) => key.part("stage").part(end.as_bytes()),
            SourceKey::Image(layers) => key.part("image").list(layers.iter().map(|layer| layer.0.as_bytes().to_vec())),
            SourceKey::Pinned { url, checksum } => key.part("pinned").part(url).part(checksum),
            SourceKey::Inline => key.part("inline"),
        };
    }
    key.finish()
}

/// The keys of a step by its work and the state that it finds.
pub fn upon(state: CacheKey, work: CacheKey, independent: bool) -> StepKeys {
    let mut key = KeyWriter::new(if independent { "independent" } else { "step" });
    if !independent {
        key.part(state.as_bytes());
    }
    key.part(work.as_bytes());
    let layer = key.finish();
    StepKeys { layer, after: after(state, layer, independent) }
}

/// The state after a step by the key of its layer.
pub fn after(state: CacheKey, layer: CacheKey, independent: bool) -> CacheKey {
    if !independent {
        return layer;
    }
    let mut key = KeyWriter::new("upon");
    key.part(state.as_bytes()).part(layer.as_bytes());
    key.finish()
}

/// What a layer is kept under: one that is compressed in another way is another layer.
pub fn record(layer: CacheKey, compression: Compression) -> CacheKey {
    let mut key = KeyWriter::new("record");
    key.part(layer.as_bytes());
    match compression {
        Compression::None => key.part("none"),
        Compression::Gzip(level) => key.part("gzip").part(level.to_le_bytes()),
        Compression::Zstd(level) => key.part("zstd").part(level.to_le_bytes()),
    };
    key.finish()
}

/// What processes have made so far: nothing.
pub fn nothing_made() -> CacheKey {
    KeyWriter::new("made").finish()
}

/// What processes have made so far, after one more.
pub fn made(before: CacheKey, layer: DiffId) -> CacheKey {
    let mut key = KeyWriter::new("made");
    key.part(before.as_bytes()).part(layer.0.as_bytes());
    key.finish()
}

/// Whether a step looks at nothing below it.
pub fn independent(step: &Step) -> bool {
    step.tasks.iter().all(|task| matches!(&task.operation, Operation::Copy(copy) if is_independent(copy)))
}

/// Whether a step does nothing but copy.
pub fn copies(step: &Step) -> bool {
    step.tasks.iter().all(|task| matches!(&task.operation, Operation::Copy(_)))
}

/// The selections that an operation makes of its sources, in order: copies whose destination tells nothing, but the names of what is copied.
pub fn selections(operation: &Operation) -> Vec<Copy> {
    let of = |from: &Source, path: &str| Copy {
        from: from.clone(),
        paths: vec![path.to_owned()],
        exclude: Vec::new(),
        destination: "/selected/".to_owned(),
        ownership: Ownership::default(),
        unpack: false,
        parents: false,
        independent: false,
    };
    match operation {
        Operation::Copy(copy) => vec![Copy {
            destination: "/selected/".to_owned(),
            ownership: Ownership::default(),
            unpack: false,
            independent: false,
            ..copy.clone()
        }],
        Operation::Exec(exec) => exec
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Bind { from, path, .. } | MountSource::Cache { from: Some(from), path, .. } => Some(of(from, path)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// An operation and what it finds, without where its files come from.
fn operation(key: &mut KeyWriter, task: &Task, around: &Around<'_>) {
    match &task.operation {
        Operation::Exec(exec) => process(key, task, exec, around),
        operation => {
            let path = match operation {
                Operation::Copy(copy) => &copy.destination,
                Operation::MakeDirectory(made) => &made.path,
                Operation::WriteFile(written) => &written.path,
                Operation::Symlink(link) => &link.path,
                Operation::Remove(path) => path,
                Operation::Configure(_) | Operation::Exec(_) => "",
            };
            key.part("files");
            // Where the path is relative.
            key.option((!path.starts_with('/')).then_some(&task.working_dir));
            key.part(around.epoch.unwrap_or(0).to_le_bytes());
            key.part(canonical(operation.clone()));
        }
    }
}

/// A process and what it sees. Of secrets and agents only the ids count; proxies do not, nor how much of the machine it may take.
fn process(key: &mut KeyWriter, task: &Task, exec: &Exec, around: &Around<'_>) {
    let settings = around.settings;
    let network = match (exec.network, settings.run.network) {
        (Network::Default, network) => network,
        (network, _) => network,
    };
    key.part("process");
    key.list(task.env.iter().chain(&exec.env).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().into_iter());
    key.part(exec.user.as_ref().unwrap_or(&task.user));
    key.part(exec.working_dir.as_ref().map_or_else(|| task.working_dir.clone(), |path| join(&task.working_dir, path)));
    key.part(format!("{network:?}"));
    key.option(hostname(settings));
    key.list(settings.run.extra_hosts.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().into_iter());
    // What has been said already is left out, so that two ways to say it are one.
    let rest = Exec { env: Vec::new(), user: None, working_dir: None, network: Network::Default, ..exec.clone() };
    key.part(canonical(Operation::Exec(rest)));
}

/// An operation in bytes that say all of it but where its files come from, which their own keys say.
fn canonical(mut operation: Operation) -> Vec<u8> {
    let forget = |source: &mut Source| {
        if !matches!(source, Source::Inline(_)) {
            *source = Source::Context(String::new());
        }
    };
    match &mut operation {
        Operation::Copy(copy) => forget(&mut copy.from),
        Operation::Exec(exec) => {
            for mount in &mut exec.mounts {
                match &mut mount.source {
                    MountSource::Bind { from, .. } | MountSource::Cache { from: Some(from), .. } => forget(from),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    // Structures alone, no maps: the order is that of the source text, and nothing in them cannot be written.
    serde_json::to_vec(&operation).unwrap_or_else(|error| error.to_string().into_bytes())
}
