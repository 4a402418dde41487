//! The integration tests: they drive the built program against real registries. `./test` starts those and runs all of this.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod adversarial;
mod adversarial_run;
mod architecture;
mod auth;
mod buckets;
mod buckets_logins;
mod build_add;
mod build_args;
mod build_bases;
mod build_copy;
mod build_examples;
mod build_files;
mod build_heredocs;
mod build_instructions;
mod build_mounts;
mod build_onbuild;
mod build_outputs;
mod build_run;
mod build_secrets;
mod build_speed;
mod build_stages;
mod build_unprivileged;
mod cache_changes;
mod cache_faults;
mod cache_keys;
mod cache_places;
mod cache_registry;
mod cache_requests;
mod check;
mod check_conformance;
mod chmod_conformance;
mod cli;
mod contexts;
mod contexts_tls;
mod downloads;
mod errors;
mod git;
mod git_reference_conformance;
mod golden;
mod ignore_conformance;
mod image_conformance;
mod images;
mod isolation_backends;
mod isolation_containers;
mod isolation_differential;
mod isolation_in_place;
mod isolation_in_place_flags;
mod isolation_kill;
mod isolation_lent;
mod isolation_oddities;
mod isolation_reproducible;
mod isolation_rootless;
mod kaniko_flags;
mod kaniko_outputs;
mod kaniko_warmer;
mod language;
mod login;
mod memory;
mod mirrors;
mod parser_conformance;
mod pipelines;
mod pipelines_gitlab;
mod plugin_example;
mod plugin_faults;
mod plugin_lock;
mod prune;
mod push;
mod registry_faults;
mod registry_front;
mod registry_proxies;
mod registry_requests;
mod registry_tokens;
mod sandbox;
mod scenarios;
mod scenarios_add;
mod scenarios_args;
mod scenarios_cache;
mod scenarios_copy;
mod scenarios_copy_sources;
mod scenarios_epoch;
mod shell_conformance;
mod table_conformance;

/// A file that no module names would be tested by nobody.
#[test]
fn no_file_is_forgotten() {
    let folder = support::repository().join("tests/it");
    let text = std::fs::read_to_string(folder.join("main.rs")).expect("main.rs is readable");
    let named = |name: &str| text.lines().any(|line| line == format!("mod {name};"));
    for entry in std::fs::read_dir(&folder).expect("the folder is readable") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        assert!(module == "main" || named(module), "tests/it/{name} is not a module of main.rs");
    }
}
