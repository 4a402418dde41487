//! Where RUN runs: the strongest isolation that this place allows, found by trying.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::place::NO_STORE;
use crate::build::Backend;
use crate::build::settings::Isolation;
use crate::fs::Guard;
use crate::progress::reasons;
use crate::rootfs::overlay::OverlayRootFs;
use crate::rootfs::store::Store;
use crate::rootfs::unpacked::UnpackedRootFs;
use crate::sandbox::{Chroot, Executor, Ids, InPlace, Mapped, Namespaces, enter_private_mount_namespace, enter_user_namespace, rehearse};

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
pub fn choose(wanted: Isolation, store: &Path, ground: &Ground) -> Result<Chosen, String> {
    let mut refused = Vec::new();
    if matches!(wanted, Isolation::Auto | Isolation::Overlay) {
        match overlay(store, &mut refused)? {
            Some(chosen) => return Ok(chosen),
            None if wanted == Isolation::Overlay => return Err(refused.join("; ")),
            None => {}
        }
    }
    if matches!(wanted, Isolation::Auto | Isolation::InPlace) {
        match in_place(store, ground, &refused)? {
            Ok(chosen) => return Ok(chosen),
            Err(why) if wanted == Isolation::InPlace => return Err(why),
            Err(why) => refused.push(format!("in-place: {why}")),
        }
    }
    if matches!(wanted, Isolation::Auto | Isolation::Chroot) {
        match chroot(store, &refused)? {
            Ok(chosen) => return Ok(chosen),
            Err(why) if wanted == Isolation::Chroot => return Err(why),
            Err(why) => refused.push(format!("chroot: {why}")),
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

/// What a build in place has to know.
#[derive(Debug, Default)]
pub struct Ground {
    /// Also where this does not look like a container.
    pub force: bool,
    /// What shows that it is one.
    pub evidence: Option<String>,
    /// What is left alone, beside mounts.
    pub keep: Vec<PathBuf>,
}

/// Said by kaniko, in its own name, and looked for by its users.
const NO_CONTAINER: &str =
    "layerwright should only be run inside of a container, run with the --force flag if you are sure you want to continue";

fn in_place(store: &Path, ground: &Ground, refused: &[String]) -> Result<Result<Chosen, String>, String> {
    if ground.evidence.is_none() && !ground.force {
        return Ok(Err(NO_CONTAINER.to_owned()));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Err("it needs user 0, to unpack files with their owners".to_owned()));
    }
    if let Err(error) = rustix::fs::access("/", rustix::fs::Access::WRITE_OK) {
        return Ok(Err(format!("the root filesystem cannot be written to: {error}")));
    }
    if uses_libraries() {
        return Ok(Err("this program needs libraries of the container, which would be removed under it; use the static build".to_owned()));
    }
    let store = open(store)?;
    let mut keep = ground.keep.clone();
    keep.push(store.path().to_owned());
    keep.extend(std::env::current_exe().ok());
    keep.extend(mount_points().map_err(|error| format!("/proc/self/mountinfo: {error}"))?);
    keep.extend(ALWAYS_KEPT.iter().map(PathBuf::from));
    let guard = Guard::new(keep);
    let kept = guard.paths().iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    let tree = match UnpackedRootFs::in_place(guard) {
        Ok(tree) => tree,
        Err(error) => return Ok(Err(reasons(&error))),
    };
    let how = match &ground.evidence {
        Some(evidence) => format!("a container, by {evidence}"),
        None => "no container, but forced".to_owned(),
    };
    let mut warnings =
        vec!["RUN is not isolated from the builder, and the files of this container are replaced by those of the image".to_owned()];
    if ground.evidence.is_none() {
        warnings.push(NO_CONTAINER.to_owned());
    }
    Ok(Ok(Chosen {
        store,
        executor: Ok(Arc::new(InPlace::default())),
        backend: Backend::InPlace(Arc::new(Mutex::new(tree))),
        summary: format!("isolation: in-place ({how}){}", not_stronger(refused)),
        warnings,
        notes: vec![format!("left alone: {kept}")],
    }))
}

/// Whether this process has loaded anything from a file beside its own program.
fn uses_libraries() -> bool {
    std::fs::read_to_string("/proc/self/maps").is_ok_and(|maps| maps.lines().any(|line| line.contains(".so")))
}

/// The container's own, whether they are mounted or not: names are resolved with them while the tree is the image's.
const ALWAYS_KEPT: &[&str] = &["/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];

/// Everything that is mounted, but for the root.
pub fn mount_points() -> std::io::Result<Vec<PathBuf>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    let point = |line: &[u8]| {
        let field = line.split(|&byte| byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescape(field))))
    };
    Ok(text.split(|&byte| byte == b'\n').filter_map(point).filter(|path| path.parent().is_some()).collect())
}

/// Blanks and the like are octal there.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal.filter(|_| byte == b'\\') {
            Some(value) => {
                out.push(value);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn chroot(store: &Path, refused: &[String]) -> Result<Result<Chosen, String>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Err("it needs user 0 with CAP_SYS_CHROOT".to_owned()));
    }
    if let Err(why) = Chroot::probe() {
        return Ok(Err(why));
    }
    Ok(Ok(Chosen {
        store: open(store)?,
        executor: Ok(Arc::new(Chroot::default())),
        backend: Backend::Chroot,
        summary: format!("isolation: chroot{}", not_stronger(refused)),
        warnings: vec!["RUN has its own root directory, but sees no /proc and shares processes and network with the builder".to_owned()],
        notes: Vec::new(),
    }))
}

/// Why it is not a stronger one.
fn not_stronger(refused: &[String]) -> String {
    if refused.is_empty() { String::new() } else { format!("; nothing stronger, because {}", refused.join("; ")) }
}

fn open(store: &Path) -> Result<Store, String> {
    Store::open(store).map_err(|error| format!("{NO_STORE}: {}", reasons(&error)))
}

/// Overlay mounts as root, else in a user namespace.
fn overlay(store: &Path, refused: &mut Vec<String>) -> Result<Option<Chosen>, String> {
    match enter_private_mount_namespace() {
        Ok(true) => match stacked(store) {
            Ok(stacked) => return Ok(Some(stacked.chosen("root", Vec::new()))),
            Err(why) => refused.push(format!("overlay: {why}")),
        },
        Ok(false) => refused.push("overlay as root: there is no CAP_SYS_ADMIN, or `unshare` is forbidden".to_owned()),
        Err(error) => refused.push(format!("overlay as root: {}", reasons(&error))),
    }
    if refused.first().is_some_and(|why| why.starts_with("overlay: ")) {
        return Ok(None);
    }
    let tried = rehearse(|| {
        enter_user_namespace().map_err(|error| reasons(&error))?;
        stacked(store).map(drop)
    });
    if let Err(why) = tried {
        refused.push(format!("overlay in a user namespace: {why}"));
        return Ok(None);
    }
    let Mapped { ids, why_no_more } = enter_user_namespace().map_err(|error| reasons(&error))?;
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
        .map_err(|error| format!("overlayfs does not work in the store {}: {}", store.display(), reasons(&error)))?;
    let sandbox = Namespaces::default();
    let notes = sandbox.probe().map_err(|error| format!("the sandbox does not work here: {}", reasons(&error)))?;
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

#[cfg(test)]
mod tests {
    #[test]
    fn mount_points_may_have_blanks() {
        assert_eq!(super::unescape(b"/a\\040b\\134"), b"/a b\\");
    }
}
