use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::Deps;
use super::caches::{Held, Wanted};
use super::error::Failure;
use super::exec::join;
use super::lowering::Task;
use super::settings::BuildSettings;
use super::source::{SourceFiles, copy_path};
use super::ssh::Forwarded;
use super::stage::Shared;
use crate::fs::Root;
use crate::operation::{Exec, MountSource, Ownership, Sharing, Source};
use crate::rootfs::disk::Disk;
use crate::rootfs::list::FileList;
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::owner;
use crate::rootfs::store::TemporaryDirectory;
use crate::rootfs::tree::{Last, resolve};
use crate::sandbox::{Lending, MountKind, SandboxMount};

/// The build argument that sets the caches of some builds apart.
const CACHE_NAMESPACE_ARGUMENT: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// What a process sees that its layer does not, for as long as the value lives.
#[derive(Default)]
pub struct Mounts {
    /// For the sandbox.
    pub list: Vec<SandboxMount>,
    /// Variables with secrets in them.
    pub env: Vec<(String, String)>,
    /// What was put into the root filesystem and is taken back.
    pub lent: Vec<Lending>,
    // Dropped after the process has ended: what is mounted goes before what it is mounted on.
    agents: Vec<Forwarded>,
    overlays: Vec<OverlayRootFs>,
    directories: Vec<TemporaryDirectory>,
    caches: BTreeMap<String, Held>,
}

/// Prepares the mounts of a process. `sources` are the trees that bind and cache mounts read, in the order of the mounts that have one.
///
/// # Errors
/// A source that is not there, or a secret or an agent that cannot be given.
pub fn prepare(task: &Task, exec: &Exec, sources: &[SourceFiles], shared: &Shared) -> Result<Mounts, Failure> {
    let (settings, deps) = (&shared.settings, &*shared.deps);
    let mut mounts = Mounts::default();
    mounts.take_caches(exec, sources, shared)?;
    let mut sources = sources.iter();
    for mount in &exec.mounts {
        let target = join(&task.working_dir, &mount.target);
        let kind = match &mount.source {
            MountSource::Bind { path, writable, .. } => {
                let files = sources.next().ok_or_else(|| Failure::new("a bind mount has no source"))?;
                MountKind::Bind { source: mounts.beneath(files, path, *writable, deps)?, readonly: !writable }
            }
            MountSource::Cache { from, path, writable, .. } => {
                if from.is_some() {
                    sources.next();
                }
                let key = wanted(&mount.source, settings)?.map(|wanted| wanted.key());
                let held = key.and_then(|key| mounts.caches.get(&key)).ok_or_else(|| Failure::new("a cache mount has no directory"))?;
                // What a process left in the directory is not trusted to stay in it.
                let part = if from.is_some() { "/" } else { path };
                MountKind::Bind { source: inside(&held.directory, part)?, readonly: !writable }
            }
            MountSource::Tmpfs(size) => MountKind::Tmpfs { size: *size },
            MountSource::Secret { id, as_env, as_file, ownership, .. } => {
                let Some(secret) = settings.run.secrets.iter().find(|secret| secret.id == *id) else { continue };
                if *as_env {
                    let value = std::str::from_utf8(&secret.value);
                    let value = value.map_err(|_| Failure::new(format!("secret {id} cannot be a variable: it is not UTF-8")))?;
                    if value.contains('\0') {
                        return Err(Failure::new(format!("secret {id} cannot be a variable: it has a NUL in it")));
                    }
                    mounts.env.push((mount.target.clone(), value.to_owned()));
                }
                if !as_file {
                    continue;
                }
                let ((uid, gid), mode) = (owner_of(ownership)?.unwrap_or_default(), mode_of(ownership)?.unwrap_or(0o400));
                let target = if *as_env { format!("/run/secrets/{id}") } else { target };
                let kind = MountKind::SecretFile { content: secret.value.to_vec(), uid, gid, mode };
                mounts.list.push(SandboxMount { target, kind });
                continue;
            }
            MountSource::Ssh { id, ownership, .. } => {
                let Some(source) = settings.run.ssh.iter().find(|source| source.id == *id) else { continue };
                let (owner, mode) = (owner_of(ownership)?.unwrap_or_default(), mode_of(ownership)?.unwrap_or(0o600));
                let agent = Forwarded::new(&source.agent, owner, mode, &deps.store)?;
                let source = std::fs::canonicalize(&agent.path)?;
                mounts.agents.push(agent);
                MountKind::Bind { source, readonly: false }
            }
        };
        mounts.list.push(SandboxMount { target, kind });
    }
    Ok(mounts)
}

impl Mounts {
    /// A path of a source as a file of this machine; writing to it changes nothing that lasts.
    fn beneath(&mut self, files: &SourceFiles, path: &str, writable: bool, deps: &Deps) -> Result<PathBuf, Failure> {
        if !deps.backend.mounts() {
            let copy = deps.store.temporary_directory()?;
            copy_path(&files.tree()?, path, copy.path())?;
            let content = copy.path().join("content");
            self.directories.push(copy);
            return Ok(content);
        }
        let directories = files.directories(deps, &mut self.directories)?;
        let found = match (directories.as_slice(), files) {
            ([only], SourceFiles::Context(_) | SourceFiles::Inline(_)) if !writable => inside(only, path),
            _ => {
                let mut overlay = OverlayRootFs::new(deps.store.clone(), directories)?;
                let merged = overlay.merged()?.to_owned();
                self.overlays.push(overlay);
                inside(&merged, path)
            }
        };
        found.map_err(|failure| failure.hint("the path is looked up in the build context, or in the stage or image that `from` names"))
    }

    /// Takes the lasting directories, each once and in an order that all builds keep to, so that no two wait for each other.
    fn take_caches(&mut self, exec: &Exec, sources: &[SourceFiles], shared: &Shared) -> Result<(), Failure> {
        let mut sources = sources.iter();
        let mut all = BTreeMap::new();
        for mount in &exec.mounts {
            let files = match &mount.source {
                MountSource::Bind { .. } | MountSource::Cache { from: Some(_), .. } => sources.next(),
                _ => None,
            };
            if let (Some(wanted), MountSource::Cache { sharing, .. }) = (wanted(&mount.source, &shared.settings)?, &mount.source) {
                let (_, _, strictest) = all.entry(wanted.key()).or_insert((wanted, files, *sharing));
                if *sharing == Sharing::Locked {
                    *strictest = Sharing::Locked;
                }
            }
        }
        for (key, (wanted, files, sharing)) in all {
            let mut fill = |fresh: &Path| match files {
                _ if shared.restore_mount(&key, fresh)? => Ok(()),
                None => Ok(()),
                Some(files) => {
                    let from = self.beneath(files, wanted.path, false, &shared.deps)?;
                    let found = std::fs::metadata(&from)?;
                    if !found.is_dir() {
                        return Err(Failure::new(format!(
                            "failed to mount {:?}: a cache starts with a directory, not with a file",
                            wanted.path
                        )));
                    }
                    super::source::copy_tree(&from, fresh)?;
                    std::os::unix::fs::chown(fresh, Some(found.uid()), Some(found.gid()))?;
                    Ok(std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(found.mode() & 0o7777))?)
                }
            };
            let (no_cache, store) = (shared.settings.run.no_cache, &shared.deps.store);
            let held = shared.caches.take(&wanted, sharing, no_cache, store, &shared.cancel, &mut fill)?;
            shared.caches.used.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
            self.caches.insert(key, held);
        }
        Ok(())
    }
}

/// The directory that a cache mount means; none for another mount.
fn wanted<'a>(source: &'a MountSource, settings: &BuildSettings) -> Result<Option<Wanted<'a>>, Failure> {
    let MountSource::Cache { id, from, path, ownership, .. } = source else { return Ok(None) };
    let namespace = settings.build_args.iter().find(|(name, value)| name == CACHE_NAMESPACE_ARGUMENT && !value.is_empty());
    let id = namespace.map_or_else(|| id.clone(), |(_, namespace)| format!("{namespace}/{id}"));
    let from: Option<&Source> = from.as_ref();
    Ok(Some(Wanted { id, from, path, owner: owner_of(ownership)?, mode: mode_of(ownership)? }))
}

/// A path below a directory, links followed without leaving it, as a path without links.
fn inside(directory: &Path, path: &str) -> Result<PathBuf, Failure> {
    let directory = std::fs::canonicalize(directory)?;
    let disk = Disk::new(Root::open(&directory)?);
    let found = resolve(&disk, Path::new(""), Path::new(path), Last::Follow)?;
    match found.node {
        Some(_) => Ok(directory.join(found.path)),
        None => Err(Failure::new(format!("failed to mount {path:?}: not found"))),
    }
}

fn owner_of(ownership: &Ownership) -> Result<Option<(u32, u32)>, Failure> {
    // Mounts of a process are owned by numbers: there is no saying whose names would count.
    ownership.owner.as_ref().map(|text| Ok(owner::resolve_owner(text, &FileList::default())?)).transpose()
}

fn mode_of(ownership: &Ownership) -> Result<Option<u32>, Failure> {
    let octal = |text: &String| u32::from_str_radix(text, 8).map_err(|_| Failure::new(format!("invalid mode {text:?}: want octal digits")));
    ownership.mode.as_ref().map(octal).transpose()
}
