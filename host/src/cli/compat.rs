//! What kaniko's command line and environment have and a build here does not need: it is taken, and said to be needless.

use std::path::PathBuf;

use clap::Args;

use super::args::{BuildArguments, path, switch};
use super::{contexts, env, features};
use crate::context::Location;

/// Flags of kaniko's that ask for what is always so here, and former spellings of flags.
#[derive(Debug, Default, Args)]
pub struct CompatArguments {
    /// How kaniko finds changes
    #[arg(long, hide = true, value_parser = ["full", "redo", "time"], value_name = "MODE")]
    pub snapshot_mode: Option<String>,
    /// Former spelling
    #[arg(long = "snapshotMode", hide = true, value_parser = ["full", "redo", "time"], value_name = "MODE")]
    pub old_snapshot_mode: Option<String>,
    /// Former spelling
    #[arg(long = "customPlatform", hide = true, value_name = "OS/ARCH[/VARIANT]")]
    pub old_custom_platform: Option<String>,
    /// Former spelling
    #[arg(long = "tarPath", hide = true, value_parser = path(), value_name = "FILE")]
    pub old_tar_path: Option<PathBuf>,
    /// Another way in which kaniko finds changes
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub use_new_run: Option<bool>,
    /// Whether kaniko holds compressed layers in memory
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub compressed_caching: Option<bool>,
    /// How often kaniko tries to unpack an image again
    #[arg(long, hide = true, allow_negative_numbers = true, value_name = "N")]
    pub image_fs_extract_retry: Option<u32>,
    /// Whether kaniko leaves /var/run out of layers
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub ignore_var_run: Option<bool>,
    /// Former spelling
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub whitelist_var_run: Option<bool>,
    /// Of former versions of kaniko
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub force_build_metadata: Option<bool>,
    /// Of former versions of kaniko
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub skip_unused_stages: Option<bool>,
}

/// What was asked for and is needless, and why: a sentence each.
pub fn notes(args: &BuildArguments, backend_in_place: bool) -> Vec<String> {
    let compat = &args.compat;
    let mut notes = Vec::new();
    let mut needless = |asked: bool, what: &str, why: &str| {
        if asked {
            notes.push(format!("{what} is not needed: {why}"));
        }
    };
    needless(
        compat.snapshot_mode.is_some() || compat.old_snapshot_mode.is_some(),
        "--snapshot-mode",
        "changes are found by what the kernel keeps of each file, always all of them, and no content is read for it",
    );
    needless(compat.use_new_run.is_some(), "--use-new-run", "finding out what a RUN has changed costs the size of the change");
    needless(compat.compressed_caching.is_some(), "--compressed-caching", "layers are never held in memory");
    needless(
        compat.image_fs_extract_retry.is_some(),
        "--image-fs-extract-retry",
        "layers are unpacked from files that are here and whole; downloads are tried again by themselves, and --image-download-retry adds tries",
    );
    needless(
        compat.ignore_var_run.is_some() || compat.whitelist_var_run.is_some(),
        "--ignore-var-run",
        "what an image has in /var/run is its own, and what is mounted there in this container is left alone",
    );
    needless(compat.force_build_metadata.is_some(), "--force-build-metadata", "the configuration is always written");
    needless(compat.skip_unused_stages.is_some(), "--skip-unused-stages", "stages that the target does not need are always skipped");
    let not_here = "the files of this container are not touched with this isolation";
    needless(args.place.preserves_context() && !backend_in_place, "--preserve-context", not_here);
    needless(args.place.cleans_up() && !backend_in_place, "--cleanup", not_here);
    needless(args.place.materialize && !backend_in_place, "--materialize", not_here);
    needless(!args.place.ignore_paths.is_empty() && !backend_in_place, "--ignore-path", not_here);
    needless(
        args.place.cleans_up_before(),
        "--pre-cleanup",
        if backend_in_place { "a build in place always begins with an empty tree" } else { not_here },
    );
    needless(
        args.context.git.iter().any(|option| option.starts_with("depth=") || option.starts_with("single-branch=")),
        "--git depth and single-branch",
        "only the commit that is built is fetched",
    );
    if let Ok(location) = contexts::main_context(args) {
        let given = |name: &str| args.context.git.iter().any(|option| option.split_once('=').is_some_and(|(known, _)| known == name));
        let mut needless = |asked: bool, what: &str, why: &str| {
            if asked {
                notes.push(format!("{what} is not needed: {why}"));
            }
        };
        match &location {
            Location::Git(reference) => {
                let branch = args.context.git.iter().filter_map(|option| option.strip_prefix("branch=")).next_back();
                let other = branch.is_some_and(|branch| !branch.is_empty() && reference.revision.as_deref() != Some(branch));
                needless(other, "--git branch", "the URL of the context says what is built");
                let unverified = args.context.git.iter().any(|option| option == "insecure-skip-tls=true");
                let verified = contexts::unverified_git(args, &location).is_none();
                needless(unverified && verified, "--git insecure-skip-tls", "the context is not fetched over https");
            }
            _ => needless(
                ["branch", "recurse-submodules", "insecure-skip-tls"].map(given).contains(&true),
                "--git",
                "the context is no git repository",
            ),
        }
    }
    notes.extend(variables(&env::names()));
    notes
}

/// Former spellings that were used.
pub fn former_spellings(args: &BuildArguments) -> Vec<String> {
    let compat = &args.compat;
    let former = |used: bool, old: &str, new: &str| used.then(|| format!("--{old} is a former spelling; use --{new}"));
    [
        former(compat.old_snapshot_mode.is_some(), "snapshotMode", "snapshot-mode"),
        former(compat.old_custom_platform.is_some(), "customPlatform", "custom-platform"),
        former(compat.old_tar_path.is_some(), "tarPath", "tar-path"),
        former(compat.whitelist_var_run.is_some(), "whitelist-var-run", "ignore-var-run"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Variables by which kaniko is steered and that steer nothing here.
const VARIABLES: [(&str, &str); 5] = [
    ("SNAPSHOT_TIMEOUT_DURATION", "finding changes costs their size, and has no time limit"),
    ("KANIKO_IGNORE_ASSERTIONS", "there are no assertions to pass over"),
    ("KANIKO_TELEMETRY_", "nothing is reported to anybody"),
    ("OTEL_", "nothing is reported to anybody"),
    ("STACKLOG_PATH", "there is no log of stacks"),
];

fn variables(set: &[String]) -> Vec<String> {
    let said = |(prefix, why): &(&str, &str)| {
        let found: Vec<&str> = set.iter().map(String::as_str).filter(|name| name.starts_with(prefix)).collect();
        (!found.is_empty()).then(|| format!("{} in the environment without effect: {why}", found.join(", ")))
    };
    VARIABLES.iter().filter_map(said).chain(features::notes(set)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_without_effect_are_named() {
        let set = ["HOME", "FF_KANIKO_A", "OTEL_X", "FF_KANIKO_B"].map(str::to_owned);
        let notes = variables(&set);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].starts_with("OTEL_X in the environment without effect"), "{notes:?}");
    }
}
