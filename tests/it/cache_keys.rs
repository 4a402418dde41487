//! What a step is known again by: what counts, what does not, and that nothing is ever taken for something else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::cache::{CACHED, hits};
use crate::support::image::files;
use crate::support::{Build, TestEnv, write};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

/// Six steps that do something, each with another reason to be done again.
const STEPS: &str = "COPY one /one
RUN cat /one > /two
ARG ARGUMENT
RUN echo $ARGUMENT > /three
ENV VARIABLE=first
RUN echo $VARIABLE > /four
COPY two /five
RUN --mount=type=secret,id=name,target=/secret test -s /secret
";

fn place() -> TestEnv {
    let env = TestEnv::new();
    env.files(&["one", "two"]);
    env.file(".dockerignore", "ignored\n");
    write(&env.path("secret"), "value");
    env
}

fn build<'a>(env: &'a TestEnv, dockerfile: &str) -> Build<'a> {
    let secret = format!("--secret=id=name,src={}", env.path("secret").display());
    env.build(dockerfile).repeatable().args(CACHED).args(["--cache-repo=local:", "--build-arg=ARGUMENT=a"]).arg(secret)
}

/// Every line: what was changed, and which steps are taken from the cache then.
#[test]
fn what_changed_is_done_again_and_what_depends_on_it() {
    let env = place();
    let plain = format!("{BUSYBOX}{STEPS}");
    let first = build(&env, &plain).finish();
    assert_eq!(hits(&first), "......", "{}", first.stderr);
    let check = |what: &str, wanted: &str, change: &dyn Fn(), dockerfile: &str, arguments: &[&str]| {
        change();
        let finished = build(&env, dockerfile).args(arguments).finish();
        let image = finished.image();
        assert_eq!(hits(&finished), wanted, "{what}\n{}", finished.stderr);
        // As it was.
        for name in ["one", "two"] {
            env.file(name, name);
            fs::set_permissions(env.path("context").join(name), fs::Permissions::from_mode(0o644)).expect("it is ours");
        }
        write(&env.path("secret"), "value");
        image
    };
    let none = || ();
    let same = check("nothing", "hhhhhh", &none, &plain, &[]);
    assert_eq!(same.digest, first.image().digest, "with everything from the cache the image is the same one");
    check("the content of a file", "......", &|| drop(env.file("one", "other")), &plain, &[]);
    check("the content of a file that comes late", "hhhh..", &|| drop(env.file("two", "other")), &plain, &[]);
    let mode = || fs::set_permissions(env.path("context/two"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    check("the mode of a file", "hhhh..", &mode, &plain, &[]);
    let owner = || std::os::unix::fs::chown(env.path("context/two"), Some(12), Some(34)).expect("root may");
    check("the owner of a file, which no copy keeps", "hhhhhh", &owner, &plain, &[]);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let time =
        || fs::File::options().append(true).open(env.path("context/one")).and_then(|file| file.set_modified(old)).expect("it is ours");
    check("the time of a file", "hhhhhh", &time, &plain, &[]);
    check("a file that nothing copies", "hhhhhh", &|| drop(env.file("three", "new")), &plain, &[]);
    check("an argument that is declared", "hh....", &none, &plain, &["--build-arg=ARGUMENT=b"]);
    check("an argument that is not declared", "hhhhhh", &none, &plain, &["--build-arg=OTHER=b"]);
    check("a proxy", "hhhhhh", &none, &plain, &["--build-arg=http_proxy=http://p:1"]);
    check("a variable", "hhh...", &none, &plain.replace("=first", "=second"), &[]);
    check("a comment", "hhhhhh", &none, &plain.replace("RUN cat", "# why\nRUN cat"), &[]);
    check("the way of writing", "hhhhhh", &none, &plain.replace("COPY one /one", "copy  one \\\n  /one"), &[]);
    check("the value of a secret", "hhhhhh", &|| write(&env.path("secret"), "other"), &plain, &[]);
    check("a base", "......", &none, &plain.replace("busybox", "debian"), &[]);
    check("a working directory", ".......", &none, &plain.replace("COPY one", "WORKDIR /new\nCOPY one"), &[]);
    check("the platform", "......", &none, &plain, &["--custom-platform=linux/amd64/v3"]);
    check("the time that stands for now", "......", &none, &plain, &["--build-arg=SOURCE_DATE_EPOCH=1"]);
    check("the compression", "......", &none, &plain, &["--compression-level=9"]);
    check("nothing at all", "hhhhhh", &none, &plain, &[]);
}

/// Adversarial 58: what only configures is never taken for something else, and its change is in the image.
#[test]
fn what_only_configures_costs_no_step_and_is_never_the_old_one() {
    let env = place();
    let steps = format!("{BUSYBOX}TOP\n{STEPS}END\n");
    let with = |top: &str, end: &str| build(&env, &steps.replace("TOP", top).replace("END", end)).finish();
    with("LABEL a=1", "LABEL b=1").image();
    for (instruction, setting, wanted) in [
        ("HEALTHCHECK CMD true", "Healthcheck/Test/1", "true"),
        ("HEALTHCHECK CMD false", "Healthcheck/Test/1", "false"),
        ("HEALTHCHECK NONE", "Healthcheck/Test/0", "NONE"),
        ("ONBUILD RUN one", "OnBuild/0", "RUN one"),
        ("ONBUILD RUN two", "OnBuild/0", "RUN two"),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("STOPSIGNAL SIGQUIT", "StopSignal", "SIGQUIT"),
        ("CMD [\"a\"]", "Cmd/0", "a"),
        ("ENTRYPOINT [\"b\"]", "Entrypoint/0", "b"),
        ("LABEL a=2", "Labels/a", "2"),
        ("EXPOSE 80", "ExposedPorts", ""),
        ("VOLUME /v", "Volumes", ""),
    ] {
        for finished in [with(instruction, "LABEL b=1"), with("LABEL a=1", instruction)] {
            let image = finished.image();
            assert_eq!(hits(&finished), "hhhhhh", "{instruction}");
            assert_eq!(image.setting(setting).as_str().unwrap_or_default(), wanted, "{instruction}");
        }
    }
    // Below it, a command is another one.
    let shell = with("SHELL [\"/bin/sh\", \"-ec\"]", "LABEL b=1");
    assert_eq!(hits(&shell), "h.....");
    assert_eq!(shell.image().setting("Shell/1"), "-ec");
    assert_eq!(hits(&with("LABEL a=1", "SHELL [\"/bin/sh\", \"-ec\"]")), "hhhhhh");
    assert_eq!(hits(&with("USER 0:0", "LABEL b=1")), "h.....", "so is one of another user");
}

/// Adversarial 58, from nothing: no stage is taken for another one.
#[test]
fn stages_from_nothing_are_not_mixed_up() {
    let env = place();
    env.file("three", "three");
    let of = |dockerfile: &str| {
        let finished = env.build(dockerfile).repeatable().args(CACHED).arg("--cache-repo=local:").finish();
        (hits(&finished), files(&finished.image().tree_above(0)).join(" "))
    };
    let answer = |hits: &str, files: &str| (hits.to_owned(), files.to_owned());
    assert_eq!(of("FROM scratch\nCOPY one /\n"), answer(".", "one"));
    assert_eq!(of("FROM scratch\nCOPY two /\n"), answer(".", "two"));
    assert_eq!(of("FROM scratch\nCOPY two /one\n"), answer(".", "one"));
    assert_eq!(of("FROM scratch\nCOPY one /\nCOPY two /\n"), answer("h.", "one two"));
    assert_eq!(of("FROM scratch\nCOPY two /\nCOPY one /\n"), answer("h.", "one two"));
    assert_eq!(of("FROM scratch AS a\nCOPY one /\nFROM a\nCOPY two /\n"), answer("hh", "one two"), "a stage of its own is the same work");
    assert_eq!(of("FROM scratch AS a\nFROM scratch\nCOPY one /\n"), answer("h", "one"));
    // With a name that may be a directory's, the names of the sources count.
    assert_eq!(of("FROM scratch\nCOPY one /d/\nCOPY two /d\n"), answer("..", "d/one d/two"));
    fs::copy(env.path("context/two"), env.path("context/three")).expect("a file");
    assert_eq!(of("FROM scratch\nCOPY one /d/\nCOPY three /d\n"), answer("h.", "d/one d/three"));
    assert_eq!(of("FROM scratch\nCOPY --chmod=600 one /\n"), answer(".", "one"));
    assert_eq!(of("FROM scratch\nCOPY --chown=1:1 one /\n"), answer(".", "one"));
}

// scenarios 38, 39 and 61, with a cache
#[test]
fn a_pattern_is_known_by_the_files_that_it_means() {
    let env = TestEnv::new();
    env.files(&["foo1", "foo2", "bar"]);
    let of = |dockerfile: &str| {
        let finished = env.build(dockerfile).args(CACHED).arg("--cache-repo=local:").finish();
        (hits(&finished), finished.image().tree_above(0))
    };
    let foo = "FROM scratch\nCOPY foo* /files/\n";
    of(foo);
    env.file("bar", "changed");
    env.file("another", "new");
    assert_eq!(of(foo).0, "h", "another file has changed");
    env.file("foo2", "changed");
    assert_eq!(of(foo).0, ".", "one of the files has changed");
    fs::rename(env.path("context/foo2"), env.path("context/foo3")).expect("a new name");
    let renamed = of(foo);
    assert_eq!((renamed.0.as_str(), files(&renamed.1)), (".", vec!["files/foo1", "files/foo3"]), "one of the files has another name");

    let all = "FROM scratch\nCOPY . /\n";
    of(all);
    fs::remove_file(env.path("context/bar")).expect("a file");
    env.file("bar/inside", "x");
    let (hit, tree) = of(all);
    assert_eq!((hit.as_str(), tree["bar/inside"].text()), (".", "x"), "a file is a directory now");
    let time = fs::metadata(env.path("context/foo1")).and_then(|found| found.modified()).expect("a time");
    let file = fs::File::create(env.file("foo1", "FOO1")).expect("a file");
    std::io::Write::write_all(&mut &file, b"fOO1").expect("a file");
    file.set_modified(time).expect("a time");
    let (hit, tree) = of(all);
    assert_eq!((hit.as_str(), tree["foo1"].text()), (".", "fOO1"), "neither size nor time tell them apart");
}

// scenario 78, with a cache
#[test]
fn a_bind_mount_is_known_by_its_content() {
    let env = TestEnv::new();
    env.file("in/file", "one");
    env.file("other", "x");
    let dockerfile = format!("{BUSYBOX}RUN --mount=source=in,target=/m,rw cat /m/file > /out; echo x > /m/new\n");
    let of = || {
        let finished = env.build(&dockerfile).args(CACHED).arg("--cache-repo=local:").finish();
        (hits(&finished), finished.image().tree_above(1)["out"].text().to_owned())
    };
    let answer = |hits: &str, out: &str| (hits.to_owned(), out.to_owned());
    assert_eq!(of(), answer(".", "one"));
    env.file("other", "y");
    env.file("in/file", "one");
    assert_eq!(of(), answer("h", "one"));
    env.file("in/file", "two");
    assert_eq!(of(), answer(".", "two"));
    env.file("in/file", "one");
    env.file("in/more", "");
    assert_eq!(of(), answer(".", "one"));
}

// scenario 21, with a cache
#[test]
fn a_proxy_takes_the_layer_that_another_proxy_made() {
    let env = TestEnv::new();
    let of = |value: &str, foo: &str| {
        let dockerfile = format!("{BUSYBOX}ARG FOO\nRUN echo $http_proxy $FOO > /out\n");
        let arguments = [format!("--build-arg=http_proxy={value}"), format!("--build-arg=FOO={foo}")];
        let finished = env.build(&dockerfile).args(CACHED).arg("--cache-repo=local:").args(arguments).finish();
        (hits(&finished), finished.image().tree_above(1)["out"].text().to_owned())
    };
    let answer = |hits: &str, out: &str| (hits.to_owned(), out.to_owned());
    assert_eq!(of("one", "a"), answer(".", "one a\n"));
    assert_eq!(of("two", "a"), answer("h", "one a\n"));
    assert_eq!(of("two", "b"), answer(".", "two b\n"));
}

/// kaniko-asks 4: a copy from a stage follows what is copied, and nothing else; what comes after a miss is looked for as well.
#[test]
fn a_copy_from_a_stage_follows_what_it_copies() {
    let env = TestEnv::new();
    let dockerfile = format!(
        "{BASE} AS source\nARG VERSION\nRUN echo $VERSION > /version; echo same > /same\n\
         {BASE} AS never\nRUN exit 7\n\
         {BASE}\nCOPY --from=source /same /\nRUN cat /same > /after\nCOPY --from=source /version /\nRUN cat /version > /last\n",
        BASE = BUSYBOX.trim()
    );
    let of = |version: &str, more: &[&str]| {
        let build = env.build(&dockerfile).repeatable().args(CACHED).arg("--cache-repo=local:").args(more);
        let finished = build.arg(format!("--build-arg=VERSION={version}")).finish();
        let tree = finished.image().tree_above(1);
        assert_eq!([tree["same"].text(), tree["version"].text()], ["same\n", &format!("{version}\n")], "{}", finished.stderr);
        assert_eq!(tree["last"].text(), format!("{version}\n"));
        let mut stages = BTreeMap::new();
        for line in finished.stderr.lines().filter(|line| line.contains("CACHED") || line.contains("] done in")) {
            let stage = if line.starts_with("[source ") { "source" } else { "last" };
            let taken = if line.ends_with("CACHED") { 'h' } else { '.' };
            stages.entry(stage).or_insert_with(String::new).push(taken);
        }
        (stages.get("source").cloned(), stages["last"].clone())
    };
    let source = |text: &str| Some(text.to_owned());
    assert_eq!(of("1", &[]), (source("."), "....".to_owned()));
    assert_eq!(of("1", &[]), (None, "hhhh".to_owned()), "the source is not even looked at");
    assert_eq!(of("2", &[]), (source("."), "hh..".to_owned()), "the source was built again, and the first copy is what it was");
    assert_eq!(of("2", &[]), (None, "hhhh".to_owned()), "and is known by the new source from now on");
    assert_eq!(of("1", &[]), (None, "hhhh".to_owned()));
    // Without the layers of commands their result decides.
    let fresh = ["--cache-run-layers=false"];
    // Within one second a command makes the same file with the same time.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(of("2", &fresh), (source("."), "h...".to_owned()));
}

#[test]
fn what_a_command_made_in_another_build_is_not_mixed_in() {
    let env = TestEnv::new();
    let dockerfile = format!("{BUSYBOX}RUN cat /proc/sys/kernel/random/uuid > /random\nRUN cp /random /copy\nRUN echo end > /end\n");
    let of = || {
        let finished = env.build(&dockerfile).args(CACHED).arg("--cache-repo=local:").finish();
        let tree = finished.image().tree_above(1);
        assert_eq!(tree["random"].text(), tree["copy"].text(), "{}", finished.stderr);
        (hits(&finished), finished.image().layer_digest(-3).to_owned())
    };
    let (none, layer) = of();
    assert_eq!(none, "...");
    assert_eq!(of(), ("hhh".to_owned(), layer.clone()));
    // The first record is gone, and with it what the others were made upon.
    let records = fs::read_dir(env.path("store/cache")).expect("records").flatten().map(|entry| entry.path());
    let of_first = records.filter(|path| fs::read_to_string(path).expect("a record").contains(&layer)).collect::<Vec<_>>();
    assert_eq!(of_first.len(), 1);
    fs::remove_file(&of_first[0]).expect("a record");
    let (again, other) = of();
    assert_eq!(again, "...");
    assert_ne!(other, layer);
    assert_eq!(of(), ("hhh".to_owned(), other));
}

// scenarios 137 and 138: stages that come from one and meet in one
#[test]
fn stages_that_part_and_meet_are_known_again() {
    let env = TestEnv::new();
    let busybox = BUSYBOX.trim();
    let dockerfile = format!(
        "{busybox} AS top\nRUN echo top > /top\nFROM top AS left\nRUN cp /top /left\nFROM top AS right\nRUN cp /top /right\n\
         FROM scratch\nCOPY --from=left /left /\nCOPY --from=right /right /\n"
    );
    let of = |store: &str| {
        let cache = format!("--cache-repo=oci:{}", env.path("cache").display());
        let finished = env.build(&dockerfile).repeatable().args(CACHED).arg(cache).store(env.path(store)).finish();
        (hits(&finished), finished.image().digest)
    };
    let (none, first) = of("a");
    assert_eq!(none, ".....");
    assert_eq!(of("b"), ("hh".to_owned(), first), "the stages that were copied from are not even looked at");
}

/// Adversarial 61: the bytes that are copied may be others than those that the key was made of.
#[test]
fn a_file_that_changes_while_it_is_read_is_never_taken_for_another() {
    let env = TestEnv::new();
    let content = |number: usize| format!("{number:08}").repeat(1 << 11);
    let place = |number: usize| {
        write(&env.path("next"), content(number));
        fs::rename(env.path("next"), env.path("context/big")).expect("the file is put in its place");
    };
    let build = || env.build("FROM scratch\nCOPY big /\n").repeatable().args(CACHED).arg("--cache-repo=local:").finish();
    place(0);
    let last = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let warned = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                place(last.fetch_add(1, Ordering::Relaxed) + 1);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let warned = (0..40).any(|_| build().stderr.contains("files changed while they were copied: nothing that follows is kept"));
        done.store(true, Ordering::Relaxed);
        warned
    });
    assert!(warned, "no build has met a change");
    // Each content that there was, once more: what is kept under it is its own layer.
    let last = last.into_inner();
    for number in last.saturating_sub(60)..=last {
        place(number);
        let finished = build();
        let tree = finished.image().tree_above(0);
        let found = tree["big"].text();
        assert!(found == content(number), "{number} of {last}: the file of another time was taken, {}\n{}", &found[..8], finished.stderr);
    }
}
