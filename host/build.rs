//! Builds the standard plugins, compiles them ahead of time, and writes the table that `plugin/builtin.rs` includes.
#![expect(clippy::expect_used, reason = "a build script reports by failing")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest as _, Sha256};

#[path = "build/cargo.rs"]
mod cargo;
#[path = "src/plugin/engine_config.rs"]
mod engine_config;
#[path = "src/plugin/shape.rs"]
mod shape;

/// What every standard plugin's package is called, before its own name.
const PREFIX: &str = "layerwright-plugin-";

fn main() {
    if let Err(message) = run() {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let workspace = host.parent().ok_or("the host package lies in no workspace")?.to_owned();
    let packages = packages(&workspace.join("plugins"))?;

    for name in ["Cargo.toml", "Cargo.lock", "wit", "plugins"] {
        println!("cargo::rerun-if-changed={}", workspace.join(name).display());
    }
    for name in ["RUSTC", "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER"] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    // Not below the folder of the outer build's profile: one set of plugins serves them all.
    let target = target_directory(&out).unwrap_or_else(|| workspace.join("target")).join("plugins");
    let mut arguments = vec!["--lib"];
    for package in &packages {
        arguments.extend(["-p", package.as_str()]);
    }
    let made = cargo::build(&workspace, &target, &arguments)?;

    let engine = engine()?;
    let mut table = String::from("&[\n");
    for package in &packages {
        let name = package.trim_start_matches(PREFIX);
        let file = made.join(format!("{}.wasm", package.replace('-', "_")));
        let module = fs::read(&file).map_err(|error| format!("failed to read {}: {error}", file.display()))?;
        let component = match shape::is_module(&module) {
            Ok(true) => shape::componentize(&module),
            Ok(false) => Ok(module),
            Err(error) => Err(error),
        };
        let component = component.map_err(|error| format!("{package}: {error}"))?;
        let shape = shape::read(&component).map_err(|error| format!("{package}: {error}"))?;
        if let Some(import) = shape.wasi.first() {
            return Err(format!("{package}: it imports `{import}`; a standard plugin imports layerwright:plugin alone"));
        }
        let compiled = engine.precompile_component(&component).map_err(|error| format!("{package}: {error:?}"))?;
        let path = out.join(format!("{name}.cwasm"));
        fs::write(&path, compiled).map_err(|error| format!("failed to write {}: {error}", path.display()))?;
        let digest: String = Sha256::digest(&component).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        });
        writeln!(
            table,
            "    Embedded {{ name: {name:?}, digest: {digest:?}, world: World::{:?}, imports: &[{}], compiled: include_bytes!({:?}) }},",
            shape.world,
            shape.imports.iter().map(|import| format!("Import::{import:?}")).collect::<Vec<_>>().join(", "),
            path.display().to_string(),
        )
        .expect("a String takes all");
    }
    table.push(']');
    fs::write(out.join("embedded.rs"), table).map_err(|error| format!("failed to write the table of plugins: {error}"))
}

/// The engine that the program will have, but for the processor: what is embedded runs on every one of its kind, not only on those that
/// have what the building machine's has.
fn engine() -> Result<wasmtime::Engine, String> {
    let mut config = engine_config::engine_config();
    let target = env::var("TARGET").expect("cargo sets TARGET");
    config.target(&target).map_err(|error| format!("no code for {target}: {error}"))?;
    wasmtime::Engine::new(&config).map_err(|error| format!("failed to set up the compiler: {error}"))
}

/// The names of the standard plugins' packages: every folder of `plugins/` but the SDK.
fn packages(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("failed to list {}: {error}", folder.display()))?;
    let mut packages = Vec::new();
    for entry in entries.flatten() {
        let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        let name = manifest.lines().find_map(|line| {
            let value = line.trim().strip_prefix("name")?.trim_start().strip_prefix('=')?;
            Some(value.trim().trim_matches('"').to_owned())
        });
        match name {
            Some(name) if name.starts_with(PREFIX) => packages.push(name),
            Some(_) => {}
            None => return Err(format!("{} names no package", entry.path().display())),
        }
    }
    packages.sort();
    if packages.is_empty() {
        return Err(format!("no package of {} is called {PREFIX}*", folder.display()));
    }
    Ok(packages)
}

/// The outer build's target directory: the parent of the profile's folder, which holds `build/<package>/out`.
fn target_directory(out: &Path) -> Option<PathBuf> {
    let build = out.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "build"))?;
    let root = build.parent()?.parent()?;
    // With `--target`, the triple's folder comes between.
    let triple = env::var("TARGET").ok()?;
    if root.file_name().is_some_and(|name| *name == *triple) { root.parent().map(Path::to_owned) } else { Some(root.to_owned()) }
}
