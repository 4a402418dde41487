use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Deps;
use super::error::Failure;
use super::exec::join;
use super::lowering::Task;
use super::settings::BuildSettings;
use super::source::{SourceFiles, copy_path};
use crate::fs::Root;
use crate::oci::Digest;
use crate::operation::{Exec, MountSource, Ownership, Sharing};
use crate::rootfs::list::FileList;
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::owner;
use crate::rootfs::store::TemporaryDirectory;
use crate::sandbox::{MountKind, SandboxMount};

/// What a process sees that its layer does not, for as long as the value lives.
#[derive(Default)]
pub struct Mounts {
    /// For the sandbox.
    pub list: Vec<SandboxMount>,
    /// Variables with secrets in them.
    pub env: Vec<(String, String)>,
    /// Values that must not be shown.
    pub secrets: Vec<Arc<[u8]>>,
    // Dropped after the process has ended: what is mounted goes before what it is mounted on.
    overlays: Vec<OverlayRootFs>,
    directories: Vec<TemporaryDirectory>,
    locks: Vec<std::fs::File>,
}

/// Prepares the mounts of a process. `sources` are the trees that bind and cache mounts read, in the order of the mounts that have one.
///
/// # Errors
/// A source that is not there, or a secret that is required and was not given.
pub fn prepare(task: &Task, exec: &Exec, sources: &[SourceFiles], settings: &BuildSettings, deps: &Deps) -> Result<Mounts, Failure> {
    let mut mounts = Mounts::default();
    let mut sources = sources.iter();
    for mount in &exec.mounts {
        let target = join(&task.working_dir, &mount.target);
        match &mount.source {
            MountSource::Bind { path, writable, .. } => {
                let files = sources.next().ok_or_else(|| Failure::new("a bind mount has no source"))?;
                let source = mounts.beneath(files, path, deps)?;
                mounts.list.push(SandboxMount { target, kind: MountKind::Bind { source, readonly: !writable } });
            }
            MountSource::Cache { id, from, path, sharing, writable, ownership } => {
                let files = match from {
                    Some(_) => Some(sources.next().ok_or_else(|| Failure::new("a cache mount has no source"))?),
                    None => None,
                };
                let source = mounts.cache(id, files, path, *sharing, ownership, deps)?;
                mounts.list.push(SandboxMount { target, kind: MountKind::Bind { source, readonly: !writable } });
            }
            MountSource::Tmpfs(size) => mounts.list.push(SandboxMount { target, kind: MountKind::Tmpfs { size: *size } }),
            MountSource::Secret { id, as_env, as_file, required, ownership } => {
                let Some(secret) = settings.secrets.iter().find(|secret| secret.id == *id) else {
                    if *required {
                        return Err(Failure::new(format!("secret {id}: not found"))
                            .hint(format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME")));
                    }
                    continue;
                };
                mounts.secrets.push(Arc::clone(&secret.value));
                if *as_env {
                    let value =
                        std::str::from_utf8(&secret.value).map_err(|e| Failure::because(format!("secret {id} cannot be a variable"), e))?;
                    mounts.env.push((mount.target.clone(), value.to_owned()));
                }
                if *as_file {
                    let (uid, gid) = owner_of(ownership)?;
                    let mode = mode_of(ownership, 0o400)?;
                    let target = if *as_env { format!("/run/secrets/{id}") } else { target };
                    mounts
                        .list
                        .push(SandboxMount { target, kind: MountKind::SecretFile { content: secret.value.to_vec(), uid, gid, mode } });
                }
            }
            MountSource::Ssh { id, required, .. } => {
                if *required {
                    return Err(Failure::new(format!("ssh {id}: no agent is forwarded to this build"))
                        .hint("leave `required` out, or fetch what needs the key before the build"));
                }
            }
        }
    }
    Ok(mounts)
}

impl Mounts {
    /// A path of a source as a file of this machine; writing to it changes nothing that lasts.
    fn beneath(&mut self, files: &SourceFiles, path: &str, deps: &Deps) -> Result<PathBuf, Failure> {
        if !deps.backend.mounts() {
            let copy = deps.store.temporary_directory()?;
            copy_path(&files.tree()?, path, copy.path())?;
            let content = copy.path().join("content");
            self.directories.push(copy);
            return Ok(content);
        }
        let mut overlay = OverlayRootFs::new(deps.store.clone(), files.directories(deps, &mut self.directories)?)?;
        let merged = overlay.merged()?.to_owned();
        self.overlays.push(overlay);
        inside(&merged, path)
            .map_err(|failure| failure.hint("the path is looked up in the build context, or in the stage or image that `from` names"))
    }

    /// The lasting directory of a cache mount.
    fn cache(
        &mut self,
        id: &str,
        files: Option<&SourceFiles>,
        path: &str,
        sharing: Sharing,
        ownership: &Ownership,
        deps: &Deps,
    ) -> Result<PathBuf, Failure> {
        let (uid, gid) = owner_of(ownership)?;
        let mode = mode_of(ownership, 0o755)?;
        // The parts cannot be mistaken for one another: each is as long as it says.
        let key = format!("{}:{id}{}:{path}{mode:o}:{uid}:{gid}:{}", id.len(), path.len(), files.is_some());
        let base = deps.store.path().join("caches").join(Digest::of(key.as_bytes()).hex());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&base)?;
        let lock = std::fs::File::create(base.join("lock"))?;
        let mut directory = base.join("files");
        match sharing {
            Sharing::Shared => {
                // Held only while the directory is made.
                lock.lock()?;
            }
            Sharing::Locked => lock.lock()?,
            Sharing::Private => {
                if lock.try_lock().is_err() {
                    let own = deps.store.temporary_directory()?;
                    directory = own.path().join("files");
                    self.directories.push(own);
                }
            }
        }
        if !directory.exists() {
            // In the store's own place for work: what a killed build leaves there is in nobody's way.
            let fresh = deps.store.temporary_path();
            std::fs::DirBuilder::new().mode(0o700).create(&fresh)?;
            if let Some(files) = files {
                let from = self.beneath(files, path, deps)?;
                super::source::copy_tree(&from, &fresh)?;
            }
            std::os::unix::fs::chown(&fresh, Some(uid), Some(gid))?;
            std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))?;
            std::fs::rename(&fresh, &directory)?;
        }
        if sharing != Sharing::Shared {
            self.locks.push(lock);
        }
        Ok(directory)
    }
}

/// A path below a directory, links followed without leaving it, as a path without links.
fn inside(directory: &Path, path: &str) -> Result<PathBuf, Failure> {
    let root = Root::open(directory)?;
    let found = crate::rootfs::tree::resolve(
        &crate::rootfs::disk::Disk::new(root),
        Path::new(""),
        Path::new(path),
        crate::rootfs::tree::Last::Follow,
    )?;
    match found.node {
        Some(_) => Ok(directory.join(found.path)),
        None => Err(Failure::new(format!("failed to mount {path:?}: not found"))),
    }
}

fn owner_of(ownership: &Ownership) -> Result<(u32, u32), Failure> {
    match &ownership.owner {
        // Mounts of a process are owned by numbers: there is no saying whose names would count.
        Some(text) => Ok(owner::resolve_owner(text, &FileList::default())?),
        None => Ok((0, 0)),
    }
}

fn mode_of(ownership: &Ownership, default: u32) -> Result<u32, Failure> {
    match &ownership.mode {
        Some(text) => u32::from_str_radix(text, 8).map_err(|_| Failure::new(format!("invalid mode {text:?}: want octal digits"))),
        None => Ok(default),
    }
}
