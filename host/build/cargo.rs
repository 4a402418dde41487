//! Builds plugin crates to WebAssembly with a cargo of its own; shared by the build script and the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The target that plugins are built for: it knows no operating system, so a plugin imports what our interfaces have and no more.
const TARGET: &str = "wasm32-unknown-unknown";

/// Variables of the outer cargo that would change, confuse or block the inner one.
const DROPPED: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_TARGET_TMPDIR",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_NAME",
    "CARGO_INCREMENTAL",
    "CLIPPY_ARGS",
    "TARGET",
    "HOST",
    "PROFILE",
    "OUT_DIR",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_BOOTSTRAP",
    "LD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "__CARGO_DEFAULT_LIB_METADATA",
];

/// The same, by how they begin.
const DROPPED_FAMILIES: &[&str] = &["CARGO_PROFILE_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "CARGO_BIN_EXE_", "DEP_"];

/// A compiler that has, or can make, the standard library for the target.
struct Toolchain {
    rustc: PathBuf,
    /// Builds the standard library along; holds the linker to use.
    build_std: Option<PathBuf>,
}

/// Runs `cargo build ARGUMENTS` for the plugins' target in `workspace`, with the target directory `target`, and returns the folder of what
/// it made.
pub fn build(workspace: &Path, target: &Path, arguments: &[&str]) -> Result<PathBuf, String> {
    let toolchain = Toolchain::find()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let target_setting = text.starts_with("CARGO_TARGET_") && !text.ends_with("_LINKER");
        if target_setting || DROPPED.contains(&&*text) || DROPPED_FAMILIES.iter().any(|family| text.starts_with(family)) {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(workspace)
        .env("RUSTC", &toolchain.rustc)
        // Set, so that flags meant for the host's code in someone's cargo configuration do not reach the plugins; and the folders of this
        // machine stay out of the components, whose digests would differ from machine to machine.
        .env("CARGO_ENCODED_RUSTFLAGS", remappings(workspace, &toolchain))
        .args(["build", "--profile", "plugin", "--target", TARGET, "--target-dir"])
        .arg(target)
        .args(arguments);
    if let Some(linker) = &toolchain.build_std {
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
            .args(["-Z", "build-std=std,panic_abort"]);
    }
    let output = command.output().map_err(|error| format!("failed to run {}: {error}", cargo.to_string_lossy()))?;
    if !output.status.success() {
        return Err(format!("building the plugins failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(target.join(TARGET).join("plugin"))
}

fn remappings(workspace: &Path, toolchain: &Toolchain) -> String {
    let mut flags = vec![format!("--remap-path-prefix={}=.", workspace.display())];
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    if let Some(cargo_home) = cargo_home {
        flags.push(format!("--remap-path-prefix={}=/cargo", cargo_home.display()));
    }
    if let Some(sysroot) = print(&toolchain.rustc, &["sysroot"]) {
        flags.push(format!("--remap-path-prefix={}/lib/rustlib/src/rust=/rust", sysroot.display()));
    }
    flags.join("\u{1f}")
}

impl Toolchain {
    /// The compiler at hand, where it has the target; else one with the sources of the standard library.
    fn find() -> Result<Self, String> {
        let own = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let mut candidates = vec![own];
        // Debian's `rustc-web` and `rustc` live here, while `rustc` on the path may be rustup's.
        let system = PathBuf::from("/usr/bin/rustc");
        if system.exists() {
            candidates.push(system);
        }
        for rustc in &candidates {
            if has_target(rustc) {
                return Ok(Self { rustc: rustc.clone(), build_std: None });
            }
        }
        let linker = candidates.iter().find_map(|rustc| bundled_linker(rustc)).or_else(|| on_path("wasm-ld"));
        for rustc in &candidates {
            if let (true, Some(linker)) = (has_sources(rustc), &linker) {
                return Ok(Self { rustc: rustc.clone(), build_std: Some(linker.clone()) });
            }
        }
        Err(format!(
            "no compiler here can build for {TARGET}: run `rustup target add {TARGET}`, or `apt-get install rustc-web rust-web-src lld` \
             where rustup cannot download"
        ))
    }
}

/// Whether the standard library for the target is installed.
fn has_target(rustc: &Path) -> bool {
    let Some(folder) = print(rustc, &["target-libdir", "--target", TARGET]) else { return false };
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Whether the sources of the standard library are installed.
fn has_sources(rustc: &Path) -> bool {
    print(rustc, &["sysroot"]).is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").exists())
}

fn bundled_linker(rustc: &Path) -> Option<PathBuf> {
    let libraries = print(rustc, &["target-libdir"])?;
    let linker = libraries.parent()?.join("bin/rust-lld");
    linker.exists().then_some(linker)
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|file| file.exists())
}

/// The answer to `rustc --print WHAT`.
fn print(rustc: &Path, what: &[&str]) -> Option<PathBuf> {
    let output = Command::new(rustc).arg("--print").args(what).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}
