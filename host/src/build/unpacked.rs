//! A step that runs a process where nothing can be mounted.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::Failure;
use super::layers::indexed;
use super::lowering::Task;
use super::source::SourceFiles;
use super::stage::Shared;
use super::{exec, mounts};
use crate::layer::NewLayer;
use crate::operation::Operation;
use crate::rootfs::apply::apply;
use crate::rootfs::disk::Disk;
use crate::rootfs::layered::Layered;
use crate::rootfs::store::LayerSource;
use crate::rootfs::unpacked::{Furniture, Lent, Loan, UnpackedRootFs};
use crate::sandbox::{self, Lending, MountKind};

/// What the machine is called in `/etc/hosts`, beside localhost.
const HOSTNAME: &str = "layerwright";

/// Carries a step out in the tree, which is made what `layers` are before, and makes a layer of what changed.
///
/// # Errors
/// Whatever went wrong; the tree is unpacked anew for whoever comes next.
pub fn carry_out(
    tree: &Arc<Mutex<UnpackedRootFs>>,
    layered: &mut Layered,
    layers: &[LayerSource],
    tasks: &[(&Task, Vec<SourceFiles>)],
    step: &str,
    shared: &Shared,
) -> Result<NewLayer, Failure> {
    let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
    let hosts = sandbox::hosts(&shared.settings.run.extra_hosts, exec::hostname(&shared.settings).unwrap_or(HOSTNAME));
    tree.bring(layers, &Furniture { resolv_conf: sandbox::resolv_conf()?, hosts: hosts.into_bytes() })?;
    let held = tree.begin();
    for (task, sources) in tasks {
        match &task.operation {
            Operation::Exec(exec) => {
                exec::make_working_dir(tree.root().try_clone()?, task, exec)?;
                let mut mounts = mounts::prepare(task, exec, sources, shared)?;
                let loans = std::mem::take(&mut mounts.list)
                    .into_iter()
                    .map(|mount| Ok((mount.target, loan(mount.kind)?)))
                    .collect::<Result<_, Failure>>()?;
                let lent = Lent::new(Disk::new(tree.root().try_clone()?), loans)?;
                mounts.lent = lent.all().map(|(path, inode, home)| Lending { path, inode, home }).collect();
                let ran = exec::run(task, exec, tree.path(), &mounts, step, shared);
                let returned = lent.take_back();
                ran?;
                returned?;
            }
            operation => {
                let source = sources.first().map(SourceFiles::copy_source).transpose()?;
                let mut disk = Disk::new(tree.root().try_clone()?);
                apply(&mut disk, operation, source.as_ref(), &shared.apply_context(task))?;
            }
        }
    }
    let layer = tree.commit(held, &shared.deps.store, shared.layer_options(), layered)?;
    layered.push_layer(indexed(LayerSource { diff_id: layer.diff_id, blob: layer.path.clone() }))?;
    Ok(layer)
}

fn loan(kind: MountKind) -> Result<Loan, Failure> {
    Ok(match kind {
        MountKind::SecretFile { content, uid, gid, mode } => Loan::File { content, owner: (uid, gid), mode },
        MountKind::Tmpfs { .. } => Loan::Directory,
        MountKind::Bind { source, .. } => Loan::Moved(source),
        MountKind::Device { .. } => return Err(Failure::new("a device cannot be mounted in this place")),
    })
}
