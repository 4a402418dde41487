//! kaniko's flags and variables: each has its effect, or is said to be needless. Called by kaniko's names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::web::{Reply, Web};
use crate::support::{Image, Registry, TestEnv, output, program, write};

const SMALL: &str = "FROM scratch\nCOPY file /\n";

/// The program by one of kaniko's names, in an environment that holds nothing else but HOME and PATH.
fn called(env: &TestEnv, name: &str) -> Command {
    let link = env.path(name);
    if !link.exists() {
        symlink(program(), &link).expect("a link");
    }
    let mut command = Command::new(link);
    command.env_clear().env("HOME", env.path("home")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(env.path("home"));
    command
}

/// An executor with a context and a Dockerfile.
fn executor(env: &TestEnv, dockerfile: &str) -> Command {
    env.file("file", "content");
    write(&env.path("Dockerfile"), dockerfile);
    let mut command = called(env, "executor");
    command.arg("--dockerfile").arg(env.path("Dockerfile")).arg("--context").arg(env.path("context")).arg("--store").arg(env.path("store"));
    command
}

fn layout(env: &TestEnv) -> PathBuf {
    env.path("layout")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Runs an executor that pushes nothing and has to succeed.
fn build(env: &TestEnv, dockerfile: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Image, String) {
    let _ = fs::remove_dir_all(layout(env));
    let mut command = executor(env, dockerfile);
    command.arg("--no-push").arg("--oci-layout-path").arg(layout(env)).args(arguments).envs(variables.iter().copied());
    let output = output(&mut command);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    (Image::read(&layout(env)), said(&output))
}

fn fails(command: &mut Command, code: i32) -> String {
    let output = output(command);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    said(&output)
}

#[test]
fn flags_that_are_needless_say_so() {
    let env = TestEnv::new();
    let (plain, _) = build(&env, SMALL, &["--reproducible"], &[]);
    for (arguments, word) in [
        (["--snapshot-mode=redo"].as_slice(), "--snapshot-mode is not needed"),
        (&["--snapshotMode", "time"], "--snapshotMode is a former spelling"),
        (&["--use-new-run"], "--use-new-run is not needed"),
        (&["--use-new-run=false"], "--use-new-run is not needed"),
        (&["--compressed-caching=false"], "--compressed-caching is not needed"),
        (&["--image-fs-extract-retry", "3"], "--image-fs-extract-retry is not needed"),
        (&["--ignore-var-run=false"], "--ignore-var-run is not needed"),
        (&["--whitelist-var-run"], "--whitelist-var-run is a former spelling"),
        (&["--force-build-metadata"], "--force-build-metadata is not needed"),
        (&["--skip-unused-stages"], "--skip-unused-stages is not needed"),
        (&["--preserve-context", "--isolation=none"], "--preserve-context is not needed"),
        (&["--cleanup", "--isolation=none"], "--cleanup is not needed"),
        (&["--pre-cleanup", "--isolation=none"], "--pre-cleanup is not needed"),
        (&["--materialize", "--isolation=none"], "--materialize is not needed"),
        (&["--ignore-path=/x", "--isolation=none"], "--ignore-path is not needed"),
        (&["--git", "depth=1"], "--git depth and single-branch is not needed"),
    ] {
        let (image, said) = build(&env, SMALL, &[&["--reproducible"], arguments].concat(), &[]);
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert_eq!(image.diff_ids(), plain.diff_ids(), "{arguments:?}");
    }
    let error = fails(executor(&env, SMALL).args(["--no-push", "--snapshot-mode=other"]), 1);
    assert!(error.contains("snapshot-mode"), "{error}");
}

#[test]
fn variables_that_steer_nothing_are_named() {
    let env = TestEnv::new();
    for name in [
        "FF_KANIKO_RUN_VIA_TINI",
        "SNAPSHOT_TIMEOUT_DURATION",
        "KANIKO_IGNORE_ASSERTIONS",
        "KANIKO_TELEMETRY_ENDPOINT",
        "KANIKO_TELEMETRY_OMIT_DOCKERFILE",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "STACKLOG_PATH",
    ] {
        let (_, said) = build(&env, SMALL, &[], &[(name, "1")]);
        assert!(said.contains(&format!("{name} in the environment without effect: ")), "{said}");
    }
    for name in ["KANIKO_PRESERVE_CONTEXT", "KANIKO_PRE_CLEANUP", "KANIKO_CLEANUP"] {
        let (_, said) = build(&env, SMALL, &["--isolation=none"], &[(name, "1")]);
        assert!(said.contains("is not needed: the files of this container are not touched"), "{name}: {said}");
        let flag = format!("--{}=false", name.trim_start_matches("KANIKO_").to_lowercase().replace('_', "-"));
        let (_, said) = build(&env, SMALL, &["--isolation=none", &flag], &[(name, "1")]);
        assert!(!said.contains("is not needed"), "the flag counts before {name}: {said}");
    }
}

#[test]
fn feature_flags_say_what_is_always_so() {
    let env = TestEnv::new();
    let (_, said) = build(&env, SMALL, &[], &[("FF_KANIKO_COPY_AS_ROOT", "0"), ("FF_KANIKO_NEW", "1"), ("FF_KANIKO_DISABLE_HTTP2", "1")]);
    assert!(said.contains("FF_KANIKO_COPY_AS_ROOT in the environment without effect: what COPY brings is owned by root"), "{said}");
    assert!(said.contains("FF_KANIKO_NEW in the environment without effect: no such flag"), "{said}");
    assert!(!said.contains("DISABLE_HTTP2"), "{said}");
}

#[test]
fn values_that_make_no_sense_are_told_before_anything_happens() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let folder = env.path("context").display().to_string();
    let file = env.file("file", "content").display().to_string();
    let slashes = format!("{folder}/");
    let before = env.path("store");
    for arguments in [
        ["--verbosity", "loud"],
        ["--log-format", "xml"],
        ["--context", "ftp://host/x"],
        ["--context", ""],
        ["--context", "s3://"],
        ["--destination", "a b"],
        ["--destination", "localhost:99999/x"],
        ["--snapshot-mode", ""],
        ["--custom-platform", "linux/amd64/v1/x"],
        ["--custom-platform", "linux/"],
        ["--image-fs-extract-retry", "-1"],
        ["--image-fs-extract-retry", "x"],
        ["--push-retry", "-1"],
        ["--push-retry", "4294967296"],
        ["--image-download-retry", "many"],
        ["--image-format", "OCI"],
        ["--compression", "xz"],
        ["--compression-level", "10"],
        ["--compression-level", "99999999999999999999"],
        ["--cache-ttl", "5"],
        ["--cache-ttl", "-1h"],
        ["--cache-ttl", "5y"],
        ["--cache-ttl", ""],
        ["--label", "novalue"],
        ["--annotation", "novalue"],
        ["--git", "depth=-1"],
        ["--git", "single-branch=maybe"],
        ["--git", "other=1"],
        ["--secret", "id="],
        ["--secret", "id=a,src=/no/such"],
        ["--registry-certificate", "novalue"],
        ["--registry-client-cert", "host=/only-one"],
        ["--digest-file", &folder],
        ["--digest-file", "http://host/x"],
        ["--image-name-with-digest-file", &slashes],
        ["--image-name-tag-with-digest-file", &folder],
        ["--tar-path", &folder],
        ["--oci-layout-path", &file],
    ] {
        let destination = registry.fresh();
        let mut command = executor(&env, SMALL);
        command.args(["--insecure", "--destination", &destination]).args(arguments);
        let error = fails(&mut command, 1);
        let first = error.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: ") && first.contains(arguments[0].trim_start_matches('-')), "{arguments:?}: {error}");
        assert!(!error.contains("Usage:"), "{arguments:?}: {error}");
        assert_eq!(registry.manifest(&destination), None, "{arguments:?}");
        assert!(!before.exists(), "{arguments:?}: something was begun");
    }
}

// A pipeline's variable that is empty gives nothing, as in kaniko.
#[test]
fn values_that_are_empty_are_as_good_as_none() {
    let env = TestEnv::new();
    let (plain, _) = build(&env, SMALL, &["--reproducible"], &[]);
    for flag in [
        "--context-sub-path",
        "--bucket",
        "--custom-platform",
        "--build-arg",
        "--kaniko-dir",
        "--tar-path",
        "--target",
        "--cache-repo",
        "--cache-dir",
        "--digest-file",
        "--image-name-with-digest-file",
        "--image-name-tag-with-digest-file",
        "--ignore-path",
        "--insecure-registry",
        "--skip-tls-verify-registry",
        "--registry-map",
        "--registry-mirror",
        "--credential-helpers",
    ] {
        for arguments in [[flag, ""].as_slice(), &[&format!("{flag}=")]] {
            let (image, _) = build(&env, SMALL, &[&["--reproducible"], arguments].concat(), &[]);
            assert_eq!(image.digest, plain.digest, "{arguments:?}");
        }
    }
}

#[test]
fn all_targets_are_built_and_the_first_is_the_image() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS one\nENV IS=one\nCOPY file /one\nFROM scratch AS two\nCOPY file /two\nFROM scratch AS three\nCOPY file /three\nFROM scratch\nENV IS=last\n";
    for arguments in [["--target=one,two"].as_slice(), &["--target", "ONE", "--target", "two"]] {
        let (image, said) = build(&env, dockerfile, arguments, &[]);
        assert_eq!(image.variable("IS"), Some("one"));
        assert!(said.contains("COPY file /two") && !said.contains("/three"), "{said}");
    }
    assert_eq!(build(&env, dockerfile, &["--target="], &[]).0.variable("IS"), Some("last"));
    let error = fails(executor(&env, dockerfile).args(["--no-push", "--target=one,tow"]), 1);
    assert!(error.contains("target stage \"tow\" could not be found (did you mean two?)"), "{error}");
}

// Where kaniko and docker differ, each name of the program does as its users expect.
#[test]
fn a_build_argument_without_a_value_takes_the_environments() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch\nARG K=default\nENV SEEN=+$K\n";
    let asked = ["--build-arg", "K"];
    assert_eq!(build(&env, dockerfile, &asked, &[("K", "set")]).0.variable("SEEN"), Some("+set"));
    assert_eq!(build(&env, dockerfile, &asked, &[]).0.variable("SEEN"), Some("+"));
    assert_eq!(env.build(dockerfile).args(asked).succeed().variable("SEEN"), Some("+default"));
    assert_eq!(env.build(dockerfile).args(asked).variable("K", "set").succeed().variable("SEEN"), Some("+set"));
}

#[test]
fn the_log_comes_in_the_form_that_is_asked_for() {
    let env = TestEnv::new();
    let (_, text) = build(&env, SMALL, &["--log-format=text"], &[]);
    assert!(!text.contains('\u{1b}') && text.contains("COPY file /"), "{text}");
    let (_, colours) = build(&env, SMALL, &["--log-format", "color"], &[]);
    assert!(colours.contains("\u{1b}[36m[1/1]"), "{colours}");
    let (_, dated) = build(&env, SMALL, &["--log-format=text", "--log-timestamp"], &[]);
    for line in dated.lines() {
        let (time, _) = line.split_once(' ').expect("a time comes first");
        assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{line}");
    }
    let (_, json) = build(&env, SMALL, &["--log-format=json"], &[]);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert!(lines.iter().all(|line| line["level"] == "info" && line["time"].is_string() && line["msg"].is_string()), "{json}");
    assert!(lines.iter().any(|line| line["msg"] == "COPY file /" && line["step"] == "[1/1]"), "{json}");
    let error = fails(executor(&env, "FROM scratch\nCOPY nothing /\n").args(["--no-push", "--log-format=json"]), 1);
    let last: serde_json::Value = serde_json::from_str(error.lines().last().expect("a line")).expect("an object");
    assert_eq!(last["level"], "fatal");
    assert!(last["msg"].as_str().expect("a message").starts_with("error building image: "), "{error}");
    for (arguments, word) in [(["--verbosity=loud"], "verbosity"), (["--log-format=xml"], "log-format")] {
        assert!(fails(executor(&env, SMALL).arg("--no-push").args(arguments), 1).contains(word));
    }
    assert_eq!(build(&env, SMALL, &["--verbosity=PANIC"], &[]).1, "");
}

#[test]
fn a_plan_is_printed_before_the_build_or_in_its_place() {
    let env = TestEnv::new();
    let destination = Registry::open().fresh();
    let dockerfile = format!(
        "FROM scratch AS unused\nCOPY none /\nFROM {}/base/busybox:latest AS base\nRUN echo 1\nFROM base\nCOPY file /\nENV A=b\n",
        Registry::open().address
    );
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = executor(&env, &dockerfile);
        command.args(["--insecure", "--insecure-pull", "--destination", &destination]).args(arguments).envs(variables.iter().copied());
        let output = output(&mut command);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let plan = run(&["--dryrun"], &[]);
    let at = |word: &str| plan.find(word).unwrap_or_else(|| panic!("{word} is not in\n{plan}"));
    assert!(at("stage 1: FROM") < at("run   RUN echo 1") && at("RUN echo 1") < at("stage 2: FROM base (stage 1)"), "{plan}");
    assert!(at("layer COPY file /") < at("set   ENV A=b") && plan.contains(&format!("push  {destination}")), "{plan}");
    assert!(!plan.contains("unused"), "{plan}");
    assert_eq!(Registry::open().manifest(&destination), None);
    assert_eq!(run(&[], &[("KANIKO_PRINT_PLAN", "1")]), plan);
    assert!(Registry::open().manifest(&destination).is_some());
}

#[test]
fn variables_that_stand_for_flags() {
    let env = TestEnv::new();
    let destination = Registry::open().fresh();
    let mut command = executor(&env, SMALL);
    command.args(["--insecure", "--destination", &destination]).env("KANIKO_NO_PUSH", "true");
    assert!(output(&mut command).status.success());
    assert_eq!(Registry::open().manifest(&destination), None);
    // The store goes to kaniko's directory, by flag before variable.
    for (flag, variable) in [(Some("by-flag"), None), (None, Some("by-variable")), (Some("by-both"), Some("unused"))] {
        let mut command = called(&env, "executor");
        command.arg("-f").arg(env.path("Dockerfile")).arg("-c").arg(env.path("context")).arg("--no-push");
        if let Some(name) = flag {
            command.arg("--kaniko-dir").arg(env.path(name));
        }
        if let Some(name) = variable {
            command.env("KANIKO_DIR", env.path(name));
        }
        let output = output(&mut command);
        assert!(output.status.success(), "{}", said(&output));
        let used = flag.or(variable).expect("one is given");
        assert!(env.path(used).join("store/blobs").is_dir(), "{used}");
        assert!(!env.path("unused").exists());
    }
}

#[test]
fn former_ways_to_name_things() {
    let env = TestEnv::new();
    let context = format!("dir://{}", env.path("context").display());
    // A bucket counts where the context has a scheme.
    env.file("file", "content");
    write(&env.path("Dockerfile"), SMALL);
    let bucket = |context: &str, bucket: &str| {
        let mut command = called(&env, "executor");
        command
            .arg("-f")
            .arg(env.path("Dockerfile"))
            .args(["--no-push", "-c", context, "-b", bucket])
            .arg("--store")
            .arg(env.path("store"));
        command.arg("--isolation=none");
        output(&mut command)
    };
    assert!(bucket("dir:///no/such", &context).status.success());
    assert!(bucket(env.path("context").to_str().expect("UTF-8"), "dir:///no/such").status.success());
    let (image, said) = build(&env, SMALL, &["--customPlatform=linux/arm64"], &[]);
    assert_eq!(image.config["architecture"], "arm64");
    assert!(said.contains("--customPlatform is a former spelling"), "{said}");
    let tar = env.path("old.tar");
    let (_, said) = build(&env, SMALL, &["--tarPath", tar.to_str().expect("UTF-8"), "--destination=a/b"], &[]);
    assert!(tar.is_file() && said.contains("--tarPath is a former spelling"), "{said}");
}

#[test]
fn what_registries_and_users_are_told() {
    let env = TestEnv::new();
    let web = Web::serve(|_| Reply::status(404));
    let destination = format!("{}/team/app:1", web.address);
    let mut command = executor(&env, SMALL);
    command.args(["--insecure", "--destination", &destination]).env("UPSTREAM_CLIENT_TYPE", "ci-of-mine");
    let error = fails(&mut command, 1);
    assert!(error.lines().any(|line| line.starts_with("error checking push permissions: ")), "{error}");
    let agents: Vec<String> = web.seen().iter().filter_map(|seen| seen.header("user-agent").map(str::to_owned)).collect();
    assert!(
        !agents.is_empty() && agents.iter().all(|agent| agent.starts_with("layerwright/") && agent.ends_with(",ci-of-mine")),
        "{agents:?}"
    );
    let files = ["digest", "name", "tag", "metadata"].map(|name| env.path(name));
    let mut command = executor(&env, SMALL);
    command.args(["--insecure", "--destination", &destination, "--skip-push-permission-check"]);
    for (flag, file) in
        ["--digest-file", "--image-name-with-digest-file", "--image-name-tag-with-digest-file", "--metadata-file"].iter().zip(&files)
    {
        command.arg(flag).arg(file);
    }
    let error = fails(command.env("BUILDER_OUTPUT", env.path("builder")), 1);
    assert!(error.lines().any(|line| line.starts_with("error pushing image: ")), "{error}");
    // Nothing is said of an image that was not pushed.
    assert!(files.iter().all(|file| !file.exists()) && !env.path("builder").exists());
}

#[test]
fn exit_codes_are_kanikos() {
    let env = TestEnv::new();
    let base = format!("FROM {}/base/busybox:latest\n", Registry::open().address);
    for (run, code) in [("RUN exit 7", 7), ("RUN kill -KILL $$", 255), ("RUN exit 0\nCOPY nothing /", 1)] {
        let error = fails(executor(&env, &format!("{base}{run}\n")).args(["--no-push", "--insecure-pull"]), code);
        assert!(error.lines().any(|line| line.starts_with("error building image: ")), "{error}");
    }
    assert!(fails(called(&env, "executor").arg("--no-push=maybe"), 1).contains("--no-push"));
    for arguments in [["--no-such-flag"], ["nonsense"]] {
        assert!(fails(called(&env, "executor").args(arguments), 1).contains("Usage:"), "{arguments:?}");
        assert!(fails(called(&env, "warmer").args(arguments), 1).contains("Usage:"), "{arguments:?}");
    }
    fails(executor(&env, SMALL).arg("--no-push").arg("--dockerfile=/no/such"), 1);
    fails(executor(&env, SMALL).args(["--no-push", "--label", "novalue"]), 1);
    fails(&mut executor(&env, SMALL), 1);
}

#[test]
fn the_names_and_their_subcommands() {
    let env = TestEnv::new();
    let stdout = |command: &mut Command| {
        let output = output(command);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for arguments in [["version"].as_slice(), &["executor", "version"]] {
        let mut command = if arguments.len() == 1 { called(&env, "executor") } else { Command::new(program()) };
        assert_eq!(stdout(command.args(arguments)), format!("Layerwright version :  v{}\n", env!("CARGO_PKG_VERSION")));
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = stdout(called(&env, "executor").args(["completion", shell]));
        assert!(script.contains("executor") && script.contains("digest-file"), "{shell}");
        write(&env.path(format!("completion.{shell}")), script);
    }
    let complete = "source \"$1\"; COMP_WORDS=(executor --tar-) COMP_CWORD=1; _executor executor --tar- executor; echo \"${COMPREPLY[@]}\"";
    let completed = stdout(Command::new("bash").args(["--norc", "-c", complete, "bash"]).arg(env.path("completion.bash")));
    assert_eq!(completed, "--tar-path\n");
    assert!(stdout(called(&env, "executor").arg("help")).contains("push"));
    assert!(stdout(Command::new(program()).args(["warmer", "--help"])).contains("--customPlatform"));
    env.file("file", "content");
    write(&env.path("Dockerfile"), SMALL);
    let mut command = Command::new(program());
    command.arg("executor").arg("-f").arg(env.path("Dockerfile")).arg("-c").arg(env.path("context")).arg("--no-push");
    command.args(["--build-arg", "UNSET_HERE", "--digest-file=/dev/stdout"]).arg("--store").arg(env.path("store"));
    let digest = stdout(&mut command);
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest:?}");
}
