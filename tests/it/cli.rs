//! The command line: its names, its flags, and what it says of itself.

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use crate::support::{Registry, TestEnv, output, program, repository};

fn layerwright(arguments: &[&str]) -> Output {
    output(Command::new(program()).args(arguments))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output in UTF-8")
}

#[test]
fn the_name_executor_builds() {
    let env = TestEnv::new();
    env.file("file", "content");
    let executor = env.path("executor");
    symlink(program(), &executor).expect("a link");
    let destination = Registry::open().fresh();
    let image = env.build("FROM {registry}/base/busybox:latest\nRUN echo x > /x\n").called(executor).push_to(&destination).succeed();
    assert_eq!(image.tree_above(1)["x"].text(), "x\n");
    assert!(Registry::open().manifest(&destination).is_some());
}

#[test]
fn version_and_help() {
    let version = layerwright(&["version"]);
    assert!(version.status.success());
    assert!(text(&version.stdout).contains(env!("CARGO_PKG_VERSION")), "{}", text(&version.stdout));
    for arguments in [["--help"].as_slice(), &["build", "--help"]] {
        let help = layerwright(arguments);
        assert!(help.status.success(), "{arguments:?}");
        assert!(text(&help.stdout).contains("build"), "{arguments:?}");
    }
    assert!(text(&layerwright(&["build", "--help"]).stdout).contains("--destination"));
}

#[test]
fn the_standard_plugins_can_be_looked_at() {
    let shown = layerwright(&["plugin", "inspect"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    for word in ["dockerfile", "RUN", "COPY", "HEALTHCHECK", "docker-config", "mirror"] {
        assert!(shown.contains(word), "{word} is not in:\n{shown}");
    }
}

#[test]
fn flags_that_make_no_sense() {
    let hello = repository().join("examples/hello");
    let hello = hello.to_str().expect("a path in UTF-8");
    let build = ["build", "--context", hello, "--dockerfile", "Dockerfile"];
    for (arguments, word) in [
        (["--destination", "UPPER/case"].as_slice(), "UPPER/case"),
        (&["--no-push", "--custom-platform", "lin ux/amd64"], "custom-platform"),
        (&["--no-push", "--label", "novalue"], "label"),
        (&["--no-push", "--no-such-flag"], "no-such-flag"),
        (&["--no-push", "--grant", "nobody:env=HOME"], "nobody"),
        (&[], "destination"),
    ] {
        let failed = layerwright(&[&build, arguments].concat());
        assert_eq!(failed.status.code(), Some(1), "{arguments:?}");
        assert!(text(&failed.stderr).contains(word), "{arguments:?}: {}", text(&failed.stderr));
    }
    let failed = layerwright(&["bulid"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("build"), "{}", text(&failed.stderr));
}

#[test]
fn of_a_flag_given_twice_the_last_counts() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS one\nENV STAGE=one\nFROM scratch\nENV STAGE=two\n";
    let image = env.build(dockerfile).args(["--no-push=false", "--compression", "gzip", "--no-push", "--compression", "zstd"]).succeed();
    assert_eq!(image.variable("STAGE"), Some("two"));
}

#[test]
fn a_context_or_dockerfile_that_is_not_there() {
    let env = TestEnv::new();
    let error = env.build("FROM scratch\n").context(env.path("no/such")).fail(1);
    assert!(error.contains("no/such"), "{error}");
    let context = env.path("context");
    let failed = layerwright(&["build", "--no-push", "--context", context.to_str().expect("UTF-8"), "--dockerfile", "No.such"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("No.such"), "{}", text(&failed.stderr));
}

#[test]
fn steps_and_their_output_are_shown_unless_they_are_not_wanted() {
    let env = TestEnv::new();
    let dockerfile = "FROM {registry}/base/busybox:latest\nRUN echo some output; echo more >&2\n";
    let shown = env.build(dockerfile).finish().stderr;
    for word in ["RUN echo some output", "some output\n", "more\n"] {
        assert!(shown.contains(word), "{word:?} is not in:\n{shown}");
    }
    let quiet = env.build(dockerfile).args(["--verbosity", "error"]).finish();
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_context_given_as_an_address_of_a_folder() {
    let env = TestEnv::new();
    env.file("file", "content");
    let image = env.build("FROM scratch\nCOPY file /\n").context(format!("dir://{}", env.path("context").display())).succeed();
    assert_eq!(image.tree_above(0)["file"].text(), "content");
}

#[test]
fn a_dockerfile_in_the_context_under_its_usual_name() {
    let env = TestEnv::new();
    env.file("Dockerfile", "FROM scratch\nENV USUAL=1\n");
    let layout = env.path("layout");
    let context = env.path("context");
    let done = output(
        Command::new(program())
            .args(["build", "--no-push", "--context"])
            .arg(&context)
            .arg("--oci-layout-path")
            .arg(&layout)
            .arg("--store")
            .arg(env.path("store"))
            .current_dir(env.path("home")),
    );
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(crate::support::Image::read(&layout).variable("USUAL"), Some("1"));
}
