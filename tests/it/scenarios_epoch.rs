//! `SOURCE_DATE_EPOCH` by the name of what has a time: the build context, a named one, a stage that is one source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::git::{Repository, TIME, serve};
use crate::support::web::{Reply, Web};
use crate::support::{Image, TestEnv, run, write};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LEAVE: [&str; 2] = ["--allow-private-host", "127.0.0.1"];

const OF_DATE: &str = "1994-11-06T08:49:37Z";
const OF_COMMIT: &str = "2017-07-14T02:40:00Z";
const OF_ARCHIVE: &str = "1970-01-01T00:16:40Z";

/// The one time that the configuration and all of the history have; none where it is the clock's.
fn time(image: &Image) -> Option<String> {
    let history = image.config["history"].as_array().unwrap().iter().map(|entry| &entry["created"]);
    let mut times: Vec<_> = history.chain([&image.config["created"]]).map(|time| time.as_str().unwrap().to_owned()).collect();
    times.dedup();
    assert_eq!(times.len(), 1, "{times:?}");
    times.pop().filter(|time| time.as_str() < "2020")
}

/// An archive whose entries are all of one time.
fn archive(env: &TestEnv) -> PathBuf {
    write(&env.path("in/foo"), "foo");
    let path = env.path("c.tar.gz");
    run(Command::new("tar").args(["--mtime=@1000", "-czf"]).arg(&path).arg("-C").arg(env.path("in")).arg("foo"));
    path
}

/// `/dated.tar.gz` and `/undated.tar.gz`, the archive, and `/dated` and `/undated`, which are none.
fn web(archive: &Path) -> Web {
    let archive = fs::read(archive).unwrap();
    Web::serve(move |seen| match seen.path() {
        "/dated.tar.gz" => Reply::ok(archive.clone()).header("Last-Modified", DATE),
        "/undated.tar.gz" => Reply::ok(archive.clone()),
        "/dated" => Reply::ok("text").header("Last-Modified", DATE),
        "/undated" => Reply::ok("text"),
        _ => Reply::status(404),
    })
}

fn git(env: &TestEnv) -> Web {
    Repository::new(env.path("git/r"), "sha1").commit(&[("foo", "foo")]);
    assert_eq!(TIME, 1_500_000_000);
    serve(&env.path("git"), |_| None)
}

// scenario 149
#[test]
fn the_time_of_the_context() {
    let env = TestEnv::new();
    env.file("foo", "foo");
    let archive = archive(&env);
    let (web, git) = (web(&archive), git(&env));
    let local = env.path("context").display().to_string();
    let tar = format!("tar://{}", archive.display());
    let dockerfile = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV seen=+$SOURCE_DATE_EPOCH\nWORKDIR /made\nCOPY foo /\n";
    let argument = ["--build-arg", "SOURCE_DATE_EPOCH=context"];
    for (context, expected, seen) in [
        (git.url("r.git"), Some(OF_COMMIT), "1500000000"),
        (web.url("dated.tar.gz"), Some(OF_DATE), "784111777"),
        (web.url("undated.tar.gz"), Some(OF_ARCHIVE), "1000"),
        (tar, Some(OF_ARCHIVE), "1000"),
        (local, None, ""),
    ] {
        let image = env.build(dockerfile).context(&context).args(argument).succeed();
        assert_eq!(time(&image).as_deref(), expected, "{context}");
        // What a command or another instruction sees is the time, not the name.
        assert_eq!(image.variable("seen"), Some(format!("+{seen}").as_str()), "{context}");
        if let Ok(seconds) = seen.parse::<u64>() {
            assert_eq!(image.tree_above(0)["made"].mtime, seconds, "{context}");
            assert_eq!(env.build(dockerfile).context(&context).args(argument).succeed().digest, image.digest, "{context}");
        }
        let by_variable = env.build(dockerfile).context(&context).variable("SOURCE_DATE_EPOCH", "context").succeed();
        assert_eq!(time(&by_variable).as_deref(), expected, "{context}");
    }
    let from_input = env.build(dockerfile).context("-").stdin(archive).args(argument).succeed();
    assert_eq!(time(&from_input).as_deref(), Some(OF_ARCHIVE));
    let by_default = format!("ARG SOURCE_DATE_EPOCH=context\n{dockerfile}");
    let image = env.build(&by_default).context(git.url("r.git")).succeed();
    assert_eq!((time(&image).as_deref(), image.variable("seen")), (Some(OF_COMMIT), Some("+1500000000")));
    let error = env.build(dockerfile).variable("SOURCE_DATE_EPOCH", "soon").fail(1);
    assert!(error.contains("invalid SOURCE_DATE_EPOCH: soon"), "{error}");
}

// scenario 150
#[test]
fn the_time_of_a_stage_that_is_one_source() {
    let env = TestEnv::new();
    env.file("foo", "foo");
    let archive = archive(&env);
    let (web, git) = (web(&archive), git(&env));
    let build = |stage: &str| {
        let dockerfile = format!("ARG SOURCE_DATE_EPOCH=mysource\n{stage}\nFROM scratch\nCOPY foo /\n");
        env.build(&dockerfile).args(LEAVE)
    };
    for (add, expected) in [
        (format!("ADD {} /", web.url("dated")), Some(OF_DATE)),
        (format!("ADD {} /", web.url("dated.tar.gz")), Some(OF_DATE)),
        (format!("ADD {} /", web.url("undated")), None),
        (format!("ARG name=undated\nARG name=dated\nADD {} /", web.url("$name")), Some(OF_DATE)),
        (format!("ADD {} /", git.url("r.git#main")), Some(OF_COMMIT)),
        (format!("ADD --keep-git-dir=true --chown=1:1 {} /x/", git.url("r.git")), Some(OF_COMMIT)),
    ] {
        let image = build(&format!("FROM scratch AS MySource\n{add}")).succeed();
        assert_eq!(time(&image).as_deref(), expected, "{add}");
        assert_eq!(image.tree_above(0).keys().collect::<Vec<_>>(), ["foo"], "the stage itself is in no image");
    }
    let dated = web.url("dated");
    for (stage, said) in [
        ("FROM scratch AS mysource\nCOPY foo /".to_owned(), "unsupported COPY instruction"),
        ("FROM scratch AS mysource\nADD foo /".to_owned(), "unsupported ADD instruction"),
        (format!("FROM scratch AS mysource\nADD {dated} /\nENV a=b"), "unsupported ENV instruction"),
        (format!("FROM scratch AS mysource\nADD {dated} /\nRUN true"), "unsupported RUN instruction"),
        (format!("FROM scratch AS mysource\nADD {dated} foo /x/"), "unsupported ADD instruction"),
        (format!("FROM scratch AS mysource\nADD {dated} /a\nADD {dated} /b"), "not exactly one remote source"),
        (format!("FROM scratch AS mysource\nADD {dated} {} /x/", web.url("undated")), "not exactly one remote source"),
        ("FROM scratch AS mysource\nARG a=b".to_owned(), "not exactly one remote source"),
        (format!("FROM {{registry}}/base/busybox:latest AS mysource\nADD {dated} /"), "not FROM scratch"),
    ] {
        let error = build(&stage).fail(1);
        assert!(error.contains("does not meet source-only requirements") && error.contains(said), "{stage}: {error}");
    }
    let error = build(&format!("FROM scratch AS mysource\nADD {} /", web.url("nowhere"))).fail(1);
    assert!(error.contains("404"), "{error}");
    // What is given on the command line counts before the Dockerfile's name.
    let given = build("FROM scratch AS mysource\nCOPY foo /").args(["--build-arg", "SOURCE_DATE_EPOCH=1000"]).succeed();
    assert_eq!(time(&given).as_deref(), Some(OF_ARCHIVE));
}

// scenario 151
#[test]
fn the_time_of_a_named_context() {
    let env = TestEnv::new();
    env.file("foo", "foo");
    let archive = archive(&env);
    let (web, git) = (web(&archive), git(&env));
    let dockerfile = "ARG SOURCE_DATE_EPOCH=mysource\nFROM scratch AS mysource\nCOPY foo /\nFROM scratch\nCOPY foo /\n";
    for (source, expected) in [
        (git.url("r.git"), Some(OF_COMMIT)),
        (web.url("dated.tar.gz"), Some(OF_DATE)),
        (web.url("undated.tar.gz"), Some(OF_ARCHIVE)),
        (web.url("dated"), Some(OF_DATE)),
        (format!("tar://{}", archive.display()), Some(OF_ARCHIVE)),
        (env.path("in").display().to_string(), None),
        ("docker-image://scratch".to_owned(), None),
    ] {
        // It counts before the stage of that name, which has no time.
        let image = env.build(dockerfile).arg(format!("--build-context=MySource={source}")).succeed();
        assert_eq!(time(&image).as_deref(), expected, "{source}");
    }
    let error = env.build(dockerfile).arg(format!("--build-context=mysource={}", web.url("nowhere.tar"))).fail(1);
    assert!(error.contains("cannot open the build context mysource for SOURCE_DATE_EPOCH") && error.contains("404"), "{error}");
    assert!(fs::read_dir(env.path("store/tmp")).unwrap().next().is_none(), "something is left in the store");
}
