//! Build contexts of every kind, named ones too: where they come from, what in them counts, and what they stand for.
//!
//! Of the scenarios 117 to 133 these are not here: 120 is in `git.rs`; 129 (`input:` and `target:` of bake files) is refused, as a test here
//! shows, since there are no bake files; 130 is about what is sent to a daemon, and here nothing is sent anywhere; 131 needs source
//! policies, which are a daemon's; of 133 only the names are left, since there are no sessions.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::web::{Reply, Web};
use crate::support::{Image, Registry, TestEnv, run, write};

/// A tar of a folder of the test's, compressed as the name says.
fn tar(env: &TestEnv, folder: &str, name: &str) -> PathBuf {
    let path = env.path(name);
    run(Command::new("tar").args(["--mtime=@1000", "--owner=7", "--group=7", "-caf"]).arg(&path).arg("-C").arg(env.path(folder)).arg("."));
    path
}

fn folder(env: &TestEnv, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = env.path(name);
    for (file, content) in files {
        write(&folder.join(file), content);
    }
    folder
}

/// Nothing of a context that was put together for a build is left.
fn nothing_is_left(env: &TestEnv) {
    assert!(fs::read_dir(env.path("store/tmp")).expect("the store is there").next().is_none(), "something is left in the store");
}

fn flag(name: &str, source: impl AsRef<Path>) -> String {
    format!("--build-context={name}={}", source.as_ref().display())
}

/// Scenario 117, with what BuildKit calls the exclusions of exclusions.
#[test]
fn an_ignore_file_excludes_and_takes_back() {
    let env = TestEnv::new();
    for name in ["foo", "bar", "baz", "bay", "Dockerfile"] {
        env.file(name, name);
    }
    env.file(".dockerignore", "ba*\nDockerfile\n!bay\n.dockerignore\n");
    let tree = env.build("FROM scratch\nCOPY . /\n").succeed().tree_above(0);
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["bay", "foo"]);
    // buildah's name for it counts where docker's is not there.
    fs::rename(env.path("context/.dockerignore"), env.path("context/.containerignore")).unwrap();
    let tree = env.build("FROM scratch\nCOPY . /\n").succeed().tree_above(0);
    assert_eq!(tree.keys().collect::<Vec<_>>(), [".containerignore", "bay", "foo"]);
}

/// Scenario 118.
#[test]
fn an_invalid_ignore_file_ends_the_build_at_once() {
    let env = TestEnv::new();
    env.file("foo", "foo");
    env.file(".dockerignore", "!\n");
    let finished = env.build("FROM scratch\nCOPY . /\n").finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("illegal exclusion pattern"), "{}", finished.stderr);
    assert!(finished.took < Duration::from_secs(5));
}

/// Scenario 119.
#[test]
fn the_ignore_file_of_a_dockerfile_replaces_the_one_of_the_context() {
    let env = TestEnv::new();
    for name in ["foo", "bar"] {
        env.file(name, name);
    }
    env.file(".dockerignore", "foo\n.dockerignore\n");
    write(&env.path("other/D"), "FROM scratch\nCOPY . /\n");
    write(&env.path("other/D.dockerignore"), "bar\n.dockerignore\n");
    let tree = env.build("").dockerfile(env.path("other/D")).succeed().tree_above(0);
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["foo"]);
}

/// Row 8.5: what is ignored is not seen through mounts either.
#[test]
fn an_ignore_file_counts_for_mounts() {
    let env = TestEnv::new();
    env.file("secret.txt", "secret");
    env.file("open.txt", "open");
    env.file(".dockerignore", "secret.txt\n");
    let other = folder(&env, "other", &[("a", "a"), ("b", "b"), (".dockerignore", "b\n")]);
    let dockerfile = "FROM {registry}/base/busybox:latest\n\
        RUN --mount=type=bind,target=/c --mount=type=bind,from=other,target=/o ls /c /o > /seen\n";
    let seen = env.build(dockerfile).arg(flag("other", &other)).succeed().layer(-1)["seen"].text().to_owned();
    assert!(seen.contains("open.txt") && !seen.contains("secret.txt"), "{seen}");
    assert!(seen.lines().any(|line| line == "a") && !seen.lines().any(|line| line == "b"), "{seen}");
}

/// Row 8.8: BuildKit trusts size and time.
#[test]
fn a_file_of_the_same_size_and_time_is_another_file() {
    let env = TestEnv::new();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let build = |text: &str| {
        let file = env.file("f", text);
        fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
        env.build("FROM scratch\nCOPY f /\n").succeed().tree_above(0)["f"].text().to_owned()
    };
    assert_eq!(build("one"), "one");
    assert_eq!(build("two"), "two");
}

/// Scenario 122, in every compression, from a file and from standard input.
#[test]
fn a_tar_is_a_context() {
    let env = TestEnv::new();
    folder(
        &env,
        "in",
        &[("Dockerfile", "FROM scratch\nCOPY . /\n"), (".dockerignore", "ignored\n.dockerignore\nDockerfile\n"), ("ignored", "x")],
    );
    write(&env.path("in/dir/f"), "content");
    fs::set_permissions(env.path("in/dir/f"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("dir/f", env.path("in/link")).unwrap();
    for name in ["c.tar", "c.tar.gz", "c.tar.bz2", "c.tar.xz", "c.tar.zst"] {
        let archive = tar(&env, "in", name);
        let tree = env.build("").context(format!("tar://{}", archive.display())).dockerfile("Dockerfile").succeed().tree_above(0);
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["dir", "dir/f", "link"], "{name}");
        assert_eq!((tree["dir/f"].text(), tree["dir/f"].rights().as_str(), tree["dir/f"].mtime), ("content", "0750 0:0", 1000));
        for context in ["-", "tar://stdin"] {
            let from_input = env.build("").context(context).stdin(archive.clone()).dockerfile("Dockerfile").succeed();
            assert_eq!(from_input.tree_above(0), tree, "{name} {context}");
        }
    }
    // An external Dockerfile, and one by another name in the archive.
    let archive = tar(&env, "in", "e.tar");
    let external = env.build("FROM scratch\nCOPY dir/f /external\n").context("-").stdin(archive.clone()).succeed();
    assert!(external.tree_above(0).contains_key("external"));
    let missing = env.build("").context("-").stdin(archive).dockerfile("Other").fail(1);
    assert!(missing.contains("failed to find the Dockerfile Other"), "{missing}");
    nothing_is_left(&env);
}

#[test]
fn a_dockerfile_alone_is_a_context() {
    let env = TestEnv::new();
    let alone = env.path("alone");
    write(&alone, "FROM scratch\nCOPY <<E /made\nby hand\nE\n");
    assert_eq!(
        env.build("").context("-").stdin(alone.clone()).dockerfile("Dockerfile").succeed().tree_above(0)["made"].text(),
        "by hand\n"
    );
    // As the Dockerfile, it goes with a context; the two together do not.
    env.file("f", "from the context");
    write(&env.path("with"), "FROM scratch\nCOPY f /\n");
    assert!(env.build("").stdin(env.path("with")).dockerfile("-").succeed().tree_above(0).contains_key("f"));
    let error = env.build("").context("-").stdin(alone).dockerfile("-").fail(1);
    assert!(error.contains("standard input cannot be both"), "{error}");
    write(&env.path("empty"), "");
    assert!(env.build("").context("-").stdin(env.path("empty")).fail(1).contains("it is empty"));
}

/// Scenario 121; the second half of it is a Dockerfile alone.
#[test]
fn a_context_from_the_web() {
    let env = TestEnv::new();
    folder(&env, "in", &[("myDockerfile", "FROM scratch\nCOPY foo /\n"), ("sub/Dockerfile", "FROM scratch\nCOPY bar /\n"), ("foo", "foo")]);
    write(&env.path("in/sub/bar"), "bar");
    write(&env.path("in/.dockerignore"), "foo\n");
    let archive = fs::read(tar(&env, "in", "c.tar.gz")).unwrap();
    let web = Web::serve(move |seen| match seen.path() {
        "/c.tar.gz" => Reply::ok(archive.clone()),
        "/Dockerfile" => Reply::ok("FROM scratch\nCOPY <<E /made\nfrom the web\nE\n"),
        "/moved" => Reply::to(302, "/c.tar.gz"),
        _ => Reply::status(404),
    });
    // The operator named the host: no leave is needed. Ignore files in what others have put together do not count (row 8.5).
    for path in ["c.tar.gz", "moved"] {
        let tree = env.build("").context(web.url(path)).dockerfile("myDockerfile").succeed().tree_above(0);
        assert_eq!(tree["foo"].text(), "foo", "{path}");
    }
    let tree =
        env.build("").context(web.url("c.tar.gz")).args(["--context-sub-path", "sub"]).dockerfile("Dockerfile").succeed().tree_above(0);
    assert_eq!(tree["bar"].text(), "bar");
    for path in ["../..", "/", "nowhere", "foo"] {
        let build = env.build("").context(web.url("c.tar.gz")).args(["--context-sub-path", path]).dockerfile("Dockerfile");
        assert_ne!(build.finish().code, Some(0), "{path}");
    }
    let alone = env.build("").context(web.url("Dockerfile")).dockerfile("Dockerfile").succeed().tree_above(0);
    assert_eq!(alone["made"].text(), "from the web\n");
    env.file("local", "x");
    let with_context = env.build("").dockerfile(web.url("Dockerfile")).succeed().tree_above(0);
    assert_eq!(with_context["made"].text(), "from the web\n");
    assert!(env.build("").context(web.url("none")).fail(1).contains("404"));
    nothing_is_left(&env);
}

/// Rows 47 and 49 of the adversarial list.
#[test]
fn a_hostile_context_reads_and_writes_nothing_outside() {
    let env = TestEnv::new();
    write(&env.path("victim"), "safe");
    let context = folder(&env, "in", &[("f", "f")]);
    symlink(env.path("victim"), context.join("out")).unwrap();
    symlink("/etc/passwd", context.join("passwd")).unwrap();
    symlink("../victim", context.join("Dockerfile")).unwrap();
    write(&context.join(".dockerignore"), "*\n!out\n!passwd\n!../victim\n");
    let archive = tar(&env, "in", "c.tar");
    for context in [context.display().to_string(), format!("tar://{}", archive.display())] {
        for source in ["out", "passwd", "../victim"] {
            let error = env.build(&format!("FROM scratch\nCOPY {source} /x\n")).context(&context).fail(1);
            assert!(error.contains("not found"), "{context} {source}: {error}");
            assert!(!error.contains("safe"));
        }
        let error = env.build("").context(&context).dockerfile("Dockerfile").fail(1);
        assert!(!error.contains("safe"), "{error}");
    }
    let script = "import tarfile, io\n\
        t = tarfile.open('evil.tar', 'w')\n\
        def add(name, kind=tarfile.REGTYPE, link='', data=b'evil'):\n\
        \x20i = tarfile.TarInfo(name); i.type = kind; i.linkname = link; i.size = len(data) if kind == tarfile.REGTYPE else 0\n\
        \x20t.addfile(i, io.BytesIO(data))\n\
        add('Dockerfile', data=b'FROM scratch\\n')\n\
        add('up', tarfile.SYMTYPE, '..'); add('up/up2', tarfile.SYMTYPE, '../../..'); add('up/victim')\n\
        add('abs', tarfile.SYMTYPE, '/'); add('abs/victim'); add('victim')\n\
        t.close()\n";
    run(Command::new("python3").args(["-c", script]).current_dir(env.path("")));
    let _ = env.build("").context(format!("tar://{}", env.path("evil.tar").display())).dockerfile("Dockerfile").finish();
    assert_eq!(fs::read_to_string(env.path("victim")).unwrap(), "safe");
    assert!(!env.path("store/tmp/victim").exists() && !Path::new("/victim").exists());
}

#[test]
fn contexts_that_are_none() {
    let env = TestEnv::new();
    write(&env.path("text"), "no archive");
    for (context, said) in [
        (format!("tar://{}", env.path("text").display()), "it is no tar archive"),
        (format!("tar://{}", env.path("none").display()), "No such file"),
        (format!("tar://{}", env.path("").display()), "not a regular file"),
        ("file:///etc".to_owned(), "file:// is not supported"),
        ("ftp://h/x".to_owned(), "ftp:// is not supported"),
    ] {
        let error = env.build("FROM scratch\n").context(&context).fail(1);
        assert!(error.contains(said), "{context}: {error}");
    }
}

/// Scenario 127.
#[test]
fn a_named_directory_has_an_ignore_file_of_its_own() {
    let env = TestEnv::new();
    let named = folder(&env, "named", &[("foo", "named"), ("bar", "hidden"), (".dockerignore", "bar\n")]);
    env.file("foo", "main");
    let build = |dockerfile: &str| env.build(dockerfile).arg(flag("Other", &named));
    let tree = build("FROM scratch\nCOPY --from=other foo /a\nCOPY foo /b\n").succeed().tree_above(0);
    assert_eq!((tree["a"].text(), tree["b"].text()), ("named", "main"));
    assert!(build("FROM scratch\nCOPY --from=other bar /\n").fail(1).contains("bar"));
    // As a base, it is all of it, in one layer.
    let image = build("FROM other\nCOPY foo /main\n").succeed();
    assert_eq!((image.layers(), image.tree_above(0)["foo"].text(), image.tree_above(0)["main"].text()), (2, "named", "main"));
    assert!(!image.tree_above(0).contains_key("bar"));
    // Scenario 133: odd names.
    let odd = env.build("FROM scratch\nCOPY --from=a.b_c-d/e foo /\n").arg(flag("a.b_c-d/e", &named)).succeed();
    assert_eq!(odd.tree_above(0)["foo"].text(), "named");
}

#[test]
fn named_archives_and_files_from_the_web() {
    let env = TestEnv::new();
    folder(&env, "in", &[("foo", "foo")]);
    let archive = tar(&env, "in", "c.tar.xz");
    let served = fs::read(&archive).unwrap();
    let web = Web::serve(move |seen| match seen.path() {
        "/c.tar.xz" => Reply::ok(served.clone()),
        "/single.txt" => Reply::ok("single").header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        _ => Reply::status(404),
    });
    let dockerfile = "FROM scratch\nCOPY --from=web foo /a\nCOPY --from=tar foo /b\nCOPY --from=one single.txt /c\n";
    let build = env.build(dockerfile).arg(format!("--build-context=web={}", web.url("c.tar.xz")));
    let build = build.arg(format!("--build-context=tar=tar://{}", archive.display()));
    let tree = build.arg(format!("--build-context=one={}", web.url("single.txt"))).succeed().tree_above(0);
    assert_eq!((tree["a"].text(), tree["b"].text(), tree["c"].text()), ("foo", "foo", "single"));
    assert_eq!((tree["a"].mtime, tree["c"].mtime), (1000, 784_111_777));
    nothing_is_left(&env);
}

/// Scenarios 123 and 125: another image takes the place of a base or of a stage, with its environment and without its times.
#[test]
fn an_image_takes_the_place_of_another_and_of_a_stage() {
    let env = TestEnv::new();
    let address = &Registry::open().address;
    let other = format!("{address}/contexts/other:1");
    env.build("FROM scratch\nENV foo=bar\nCOPY <<E /own\nother\nE\n").push_to(&other).variable("SOURCE_DATE_EPOCH", "1000000").succeed();
    let flag = |name: &str| format!("--build-context={name}=docker-image://{other}");
    for name in ["busybox", "docker.io/library/busybox", "busybox:latest", "BusyBox"] {
        let image = env.build("FROM busybox AS base\nCOPY <<E /mine\n${foo}\nE\n").arg(flag(name)).succeed();
        let tree = image.tree_above(0);
        assert_eq!((tree["own"].text(), tree["mine"].text(), image.variable("foo")), ("other\n", "bar\n", Some("bar")), "{name}");
        assert!(!image.config["created"].as_str().unwrap().starts_with("1970-01-12"), "{}", image.config["created"]);
    }
    // The middle stage is replaced as a whole: what its text does, and what it is based on, is never looked at.
    let dockerfile = "FROM nosuch.invalid/base AS base\nRUN false\nFROM scratch\nCOPY --from=base /own /o\nFROM base\nCOPY <<E /x\nE\n";
    let image = env.build(dockerfile).arg(flag("base")).succeed();
    assert!(image.tree_above(0).contains_key("own"));
    // `COPY --from` of an image reference, and of a stage.
    for from in ["busybox", "docker.io/library/busybox:latest"] {
        let image = env.build(&format!("FROM scratch\nCOPY --from={from} /own /\n")).arg(flag("busybox")).succeed();
        assert_eq!(image.tree_above(0)["own"].text(), "other\n");
    }
}

/// Scenario 126.
#[test]
fn scratch_takes_the_place_of_an_image() {
    let env = TestEnv::new();
    let image = env.build("FROM busybox\nCOPY <<E /x\nE\n").arg("--build-context=busybox=docker-image://scratch").succeed();
    assert_eq!((image.layers(), image.tree_above(0).len()), (1, 1));
}

fn layout(env: &TestEnv, dockerfile: &str) -> Image {
    env.build(dockerfile).succeed()
}

/// Scenarios 115 and 128: an image of a layout on disk, with its configuration and its triggers.
#[test]
fn an_image_of_a_layout() {
    let env = TestEnv::new();
    let made = layout(&env, "FROM scratch\nENV foo=bar\nWORKDIR /w\nCOPY <<E /own\nlayout\nE\nONBUILD COPY --from=side s /triggered\n");
    let side = folder(&env, "side", &[("s", "by trigger")]);
    let at = made.layout.display();
    for source in [format!("{at}"), format!("{at}@{}", made.digest)] {
        let build = env.build("FROM base\nCOPY --from=base /own copy\nCOPY <<E /mine\n$foo\nE\n");
        let image = build.arg(format!("--build-context=base=oci-layout://{source}")).arg(flag("side", &side)).succeed();
        let tree = image.tree_above(0);
        assert_eq!((tree["mine"].text(), tree["w/copy"].text(), tree["triggered"].text()), ("bar\n", "layout\n", "by trigger"), "{source}");
        assert_eq!((image.setting("WorkingDir"), image.setting("OnBuild")), (&"/w".into(), &serde_json::Value::Null));
    }
    let named = env.path("named-layout");
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci:{at}"))
        .arg(format!("oci:{}:v1", named.display())));
    let from =
        |source: String| env.build("FROM base\n").arg(format!("--build-context=base=oci-layout://{source}")).arg(flag("side", &side));
    assert!(from(format!("{}:v1", named.display())).succeed().tree_above(0).contains_key("own"));
    assert!(from(format!("{}:v2", named.display())).fail(1).contains("no image is called \"v2\""));
    assert!(from(format!("{}@sha256:{}", named.display(), "0".repeat(64))).fail(1).contains("its index lists no sha256:000"));
}

/// Scenario 124, and sources for one platform alone.
#[test]
fn a_source_may_be_for_one_platform() {
    let env = TestEnv::new();
    let amd = folder(&env, "amd", &[("f", "amd64")]);
    let arm = folder(&env, "arm", &[("f", "arm64")]);
    let any = folder(&env, "any", &[("f", "any")]);
    let build = |platform: &str| {
        let build = env.build(&format!("FROM --platform={platform} scratch\nCOPY --from=src f /\n"));
        let build = build.arg(flag("src::linux/amd64", &amd)).arg(flag("src::linux/arm64", &arm)).arg(flag("src", &any));
        build.succeed().tree_above(0)["f"].text().to_owned()
    };
    assert_eq!([build("linux/amd64"), build("linux/arm64"), build("linux/s390x")], ["amd64", "arm64", "any"]);
    let base = env.build("FROM --platform=linux/arm64 src\n").arg(flag("src::linux/arm64", &arm)).succeed();
    assert_eq!((base.tree_above(0)["f"].text(), base.config["architecture"].as_str()), ("arm64", Some("arm64")));
}

/// Scenario 132.
#[test]
fn a_context_that_nothing_uses_is_never_opened() {
    let env = TestEnv::new();
    let web = Web::serve(|_| Reply::status(500));
    let dockerfile = "FROM unused AS not\nRUN false\nFROM scratch\nCOPY <<E /x\nE\n";
    let build = env.build(dockerfile);
    build
        .arg("--build-context=unused=docker-image://nosuch.invalid/x")
        .arg(format!("--build-context=also={}", web.url("x.tar")))
        .arg("--build-context=none=/no/such/directory")
        .arg("--build-context=lay=oci-layout:///no/such/layout")
        .succeed();
    assert!(web.lines().is_empty());
    let error = env.build("FROM scratch\nCOPY --from=none x /\n").arg("--build-context=none=/no/such/directory").fail(1);
    assert!(error.contains("/no/such/directory"), "{error}");
}

/// Scenario 129.
#[test]
fn targets_of_bake_files_are_refused() {
    let env = TestEnv::new();
    let error = env.build("FROM base\n").arg("--build-context=base=target:other").fail(1);
    assert!(error.contains("invalid value for --build-context") && error.contains("bake file"), "{error}");
}
