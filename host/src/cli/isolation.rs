//! Where RUN runs: the strongest isolation that this place allows, found by trying.

use std::path::Path;
use std::sync::Arc;

use crate::build::Backend;
use crate::build::settings::Isolation;
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::store::Store;
use crate::sandbox::{Executor, Ids, Mapped, Namespaces, enter_private_mount_namespace, enter_user_namespace, rehearse};

/// What was found.
pub struct Chosen {
    /// The store, as the backend needs it.
    pub store: Store,
    /// Who runs commands and where; none where nobody can, with the reason.
    pub executor: Result<Arc<dyn Executor>, String>,
    /// Where stages with commands have their files.
    pub backend: Backend,
    /// In one line.
    pub summary: String,
    /// What is weaker here than it could be, a sentence each.
    pub warnings: Vec<String>,
    /// For whoever looks for faults.
    pub notes: Vec<String>,
}

/// Finds the strongest isolation, or the one that is asked for. The process has one thread.
///
/// # Errors
/// Why the isolation that is asked for cannot be had, or that the store cannot be opened.
pub fn choose(wanted: Isolation, store: &Path) -> Result<Chosen, String> {
    let mut refused = Vec::new();
    if matches!(wanted, Isolation::Auto | Isolation::Overlay) {
        match overlay(store, &mut refused)? {
            Some(chosen) => return Ok(chosen),
            None if wanted == Isolation::Overlay => return Err(refused.join("; ")),
            None => {}
        }
    }
    let why = match wanted {
        Isolation::None => "--isolation none runs no command".to_owned(),
        _ => refused.join("; "),
    };
    Ok(Chosen {
        store: open(store)?,
        summary: format!("isolation: none, RUN is not possible: {why}"),
        executor: Err(why),
        backend: Backend::Overlay,
        warnings: Vec::new(),
        notes: Vec::new(),
    })
}

fn open(store: &Path) -> Result<Store, String> {
    Store::open(store).map_err(|error| format!("failed to open the store: {}", chain(&error)))
}

/// Overlay mounts as root, else in a user namespace.
fn overlay(store: &Path, refused: &mut Vec<String>) -> Result<Option<Chosen>, String> {
    match enter_private_mount_namespace() {
        Ok(true) => match stacked(store) {
            Ok(stacked) => return Ok(Some(stacked.chosen("root", Vec::new()))),
            Err(why) => refused.push(format!("overlay: {why}")),
        },
        Ok(false) => refused.push("overlay as root: there is no CAP_SYS_ADMIN, or `unshare` is forbidden".to_owned()),
        Err(error) => refused.push(format!("overlay as root: {}", chain(&error))),
    }
    if refused.first().is_some_and(|why| why.starts_with("overlay: ")) {
        return Ok(None);
    }
    let tried = rehearse(|| {
        enter_user_namespace().map_err(|error| chain(&error))?;
        stacked(store).map(drop)
    });
    if let Err(why) = tried {
        refused.push(format!("overlay in a user namespace: {why}"));
        return Ok(None);
    }
    let Mapped { ids, why_no_more } = enter_user_namespace().map_err(|error| chain(&error))?;
    let mut warnings = Vec::new();
    if ids == Ids::Single {
        warnings.push(format!(
            "there are no subordinate ids ({why_no_more}), so RUN has root alone: it cannot change owners or users, and what it makes is \
             root's; an administrator can add the user to /etc/subuid and /etc/subgid"
        ));
    }
    let word = match ids {
        Ids::All => "rootless with every id",
        Ids::Subordinate => "rootless with subordinate ids",
        Ids::Single => "rootless with a single id",
    };
    Ok(Some(stacked(store)?.chosen(word, warnings)))
}

/// A store that overlays and a sandbox work with.
struct Stacked {
    store: Store,
    in_memory: bool,
    sandbox: Namespaces,
    notes: Vec<String>,
}

fn stacked(store: &Path) -> Result<Stacked, String> {
    let (store, in_memory) = OverlayRootFs::fit(&open(store)?)
        .map_err(|error| format!("overlayfs does not work in the store {}: {}", store.display(), chain(&error)))?;
    let sandbox = Namespaces::default();
    let notes = sandbox.probe().map_err(|error| format!("the sandbox does not work here: {}", chain(&error)))?;
    Ok(Stacked { store, in_memory, sandbox, notes })
}

impl Stacked {
    fn chosen(self, word: &str, mut warnings: Vec<String>) -> Chosen {
        if self.in_memory {
            warnings.push(format!(
                "the store {} lies on a filesystem that overlays cannot be stacked in: layers are unpacked into memory; give --store a volume",
                self.store.path().display()
            ));
        }
        let executor: Arc<dyn Executor> = Arc::new(self.sandbox);
        Chosen {
            summary: format!("isolation: overlay, {word}, {}", executor.name()),
            store: self.store,
            executor: Ok(executor),
            backend: Backend::Overlay,
            warnings,
            notes: self.notes,
        }
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
