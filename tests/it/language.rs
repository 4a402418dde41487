//! How a Dockerfile is found and read, and how its errors are shown.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use layerwright::build::error::BuildError;
use layerwright::dockerfile::Source;

use crate::support::plan::Case;
use crate::support::{Registry, TestEnv, output, program};

// scenario 1
#[test]
fn keywords_in_any_case() {
    let env = TestEnv::new();
    env.file("file", "content");
    let image = env.build("from scratch as X\nenv A=b\nCoPy file /file\n").succeed();
    assert_eq!(image.variable("A"), Some("b"));
    assert_eq!(image.tree_above(0)["file"].text(), "content");
}

// scenario 2, scenario 3, scenario 4
#[test]
fn what_is_almost_right_is_suggested() {
    let env = TestEnv::new();
    for (line, said) in [
        ("FNTRYPOINT [\"a\"]", "unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)"),
        ("RUN --mont=target=/x true", "unknown flag: --mont (did you mean mount?)"),
        ("RUN --mount=typ=tmpfs true", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
        ("RUN --mount=type=tmp,target=/x true", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
    ] {
        let error = env.build(&format!("FROM scratch AS a\nFROM scratch\n{line}\n")).fail(1);
        assert!(error.contains(said) && error.contains(&format!("3 | {line}\n")), "{said} is not said:\n{error}");
    }
}

// scenario 5
#[test]
fn a_target_that_is_almost_right_is_suggested() {
    let env = TestEnv::new();
    let error = env.build("FROM scratch AS build\n").args(["--target", "bulid"]).fail(1);
    assert!(error.contains("target stage \"bulid\" could not be found (did you mean build?)"), "{error}");
}

// scenario 6
#[test]
fn arguments_alone_are_no_build() {
    let error = TestEnv::new().build("ARG foo=bar\n").fail(1);
    assert!(error.contains("dockerfile contains no stages to build"), "{error}");
}

// scenario 7
#[test]
fn every_error_shows_its_file_and_all_its_lines() {
    let env = TestEnv::new();
    for (dockerfile, wanted) in [
        ("FROM {registry}/base/busybox:latest\nENV\n", "2 | ENV\n  | ^^^"),
        ("FROM {registry}/base/busybox:latest\n\nRUN false\n", "3 | RUN false\n  | ^^^^^^^^^"),
        ("FROM scratch\nCOPY missing /\n", "2 | COPY missing /\n  | ^^^^^^^^^^^^^^"),
        ("FROM scratch\nCOPY --foo=bar a b\n", "2 | COPY --foo=bar a b\n  |      ^^^^^^^^^"),
        ("FROM scratch\nCOPY --from={registry}/base/none a b\n", "2 | COPY --from="),
        (
            "FROM {registry}/base/busybox:latest\nRUN true && \\\n  false\n",
            "2 | RUN true && \\\n  | ^^^^^^^^^^^^\n3 |   false\n  |   ^^^^^",
        ),
    ] {
        let error = env.build(dockerfile).fail(1);
        assert!(error.contains(wanted), "{wanted:?} is not shown:\n{error}");
        assert!(error.contains(" --> ") && error.contains("Dockerfile."), "the file is not named:\n{error}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS a\nSTOPSIGNAL x\nEXPOSE 99999\nFROM scratch AS b\nUSER\nFROM a\nCOPY --from=b / /\nVOLUME\n";
    let error = env.build(dockerfile).fail(1);
    for said in
        ["invalid signal: x", "invalid containerPort: 99999", "USER requires exactly one argument", "VOLUME requires at least one argument"]
    {
        assert!(error.contains(said), "{said:?} is not said:\n{error}");
    }
    let error = env.build("FROM scratch\nENV a\nLABEL =b\nCOPY --link=yes a b\n").fail(1);
    assert_eq!(error.matches("dockerfile parse error on line").count(), 3, "{error}");
    let error = env.build("FROM 127.0.0.1:1/never/asked\nSTOPSIGNAL x\nENV a\nFROM scratch\nEXPOSE 99999\n").fail(1);
    for said in ["ENV must have two arguments", "invalid signal: x", "invalid containerPort: 99999"] {
        assert!(error.contains(said) && !error.contains("127.0.0.1:1/never/asked is not"), "{said:?} is not said:\n{error}");
    }
}

// scenario 8
#[test]
fn what_is_almost_a_json_array_is_a_line_for_the_shell() {
    let env = TestEnv::new();
    let error = env.build("FROM {registry}/base/busybox:latest\nRUN [\"echo\",\"hello\"]this is invalid\n").fail(127);
    assert!(error.contains("[\\\"echo\\\",\\\"hello\\\"]this is invalid"), "{error}");
    let image = env.build("FROM scratch\nENTRYPOINT []random string\n").succeed();
    assert_eq!(image.config["config"]["Entrypoint"], serde_json::json!(["/bin/sh", "-c", "[]random string"]));
}

// scenario 9
#[test]
fn a_failing_command_is_named_with_its_last_words() {
    let error = TestEnv::new().build("FROM {registry}/base/busybox:latest\nRUN echo last words; invalidcmd\n").fail(127);
    assert!(error.contains("/bin/sh -c echo last words; invalidcmd"), "{error}");
    assert!(error.contains("did not complete successfully: exit code: 127"), "{error}");
    let end = error.split("error: ").last().unwrap();
    assert!(end.contains("last words\n") && end.contains("not found"), "the output is not repeated:\n{error}");
}

// scenario 10
#[test]
fn steps_are_counted_and_show_the_values_of_variables() {
    let env = TestEnv::new();
    let dockerfile = "FROM {registry}/base/busybox:latest AS base\nENV WORD=base\nWORKDIR /w\nRUN echo \"$WORD\" > $WORD\n\
        FROM scratch\nCOPY --from=base --chmod=0644 /w/$WORD /out\n";
    let said = env.build(&dockerfile.replace("/w/$WORD", "/w/base")).finish().stderr;
    for wanted in ["[base 1/3] FROM ", "[base 2/3] WORKDIR /w\n", "[base 3/3] RUN echo \"base\" > base\n"] {
        assert!(said.contains(wanted), "{wanted:?} is not said:\n{said}");
    }
    assert!(said.contains("[stage-1 1/1] COPY --from=base --chmod=0644 /w/base /out\n"), "{said}");
    let secret = "FROM {registry}/base/busybox:latest\nENV KEY=of-the-image\nRUN --mount=type=secret,id=k,env=KEY echo $KEY\n";
    let said = env.build(secret).args(["--secret", "id=k,env=HIDDEN"]).variable("HIDDEN", "hunter22").finish().stderr;
    assert!(said.contains("echo ****") && !said.contains("hunter22") && !said.contains("echo of-the-image"), "{said}");
}

/// A build in the context's folder, with these arguments alone.
fn bare(env: &TestEnv, arguments: &[&str], from: &std::path::Path) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command.args(["build", "--no-push", "--store"]).arg(env.path("store")).args(arguments).current_dir(from);
    let done = output(&mut command);
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

// scenario 11
#[test]
fn a_dockerfile_in_lower_case_or_behind_a_link() {
    let env = TestEnv::new();
    env.file("dockerfile", "FROM scratch\n");
    let context = env.path("context");
    assert_eq!(bare(&env, &["--context", "."], &context).0, Some(0));
    fs::remove_file(context.join("dockerfile")).unwrap();
    env.file("other/real", "FROM scratch\n");
    symlink("other/real", context.join("Dockerfile")).unwrap();
    assert_eq!(bare(&env, &["--context", "."], &context).0, Some(0));
}

// scenario 12
#[test]
fn a_dockerfile_and_a_context_in_different_folders() {
    let env = TestEnv::new();
    env.file("a/b/data", "x");
    env.file("files/Dockerfile.x", "FROM scratch\nCOPY data /\n");
    let context = env.path("context");
    let (code, said) = bare(&env, &["--context", "a/b", "--dockerfile", "files/Dockerfile.x"], &context);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = bare(&env, &["--context", "b", "--dockerfile", "../files/Dockerfile.x"], &context.join("a"));
    assert_eq!(code, Some(0), "{said}");
}

// scenario 166
#[test]
fn a_failure_keeps_its_kind_and_its_place() {
    let source = Source::new("Dockerfile", "FROM scratch\nENV a=b\nEXPOSE \\\n  99999\n");
    let (report, image) = Case::new(source).plan();
    assert!(image.is_none());
    let [BuildError::Step(step)] = report.errors.as_slice() else { panic!("{:?}", report.errors) };
    assert_eq!((step.span.start_line, step.span.end_line, step.exit_code), (3, 4, None));
    let env = TestEnv::new();
    let finished = env.build("FROM {registry}/base/busybox:latest\nRUN exit 42\n").push_to(&Registry::open().fresh()).finish();
    assert_eq!(finished.code, Some(42));
    assert!(finished.stderr.contains("2 | RUN exit 42\n"), "{}", finished.stderr);
}
