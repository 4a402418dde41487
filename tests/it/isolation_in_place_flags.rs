//! What is left of the container's files after a build in place, by kaniko's flags.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::container::{static_build_on, static_root};
use crate::support::{Image, TestEnv, run, write};

/// Builds in place in a container of its own, and returns the container's root as the build left it.
fn build(env: &TestEnv, dockerfile: &str, arguments: &[&str], options: &[&str]) -> PathBuf {
    let (root, output) = attempt(env, dockerfile, arguments, options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Image::read(&env.path("image"));
    fs::remove_dir_all(env.path("image")).expect("the image can be removed");
    root
}

fn attempt(env: &TestEnv, dockerfile: &str, arguments: &[&str], options: &[&str]) -> (PathBuf, Output) {
    let root = static_root(env);
    write(&root.join("srv/own"), "before");
    fs::set_permissions(root.join("srv/own"), fs::Permissions::from_mode(0o640)).expect("the file is ours");
    std::os::unix::fs::symlink("own", root.join("srv/link")).expect("a link");
    write(&env.path("Dockerfile"), dockerfile);
    let mut all =
        vec!["executor", "--no-push", "--context", "/test/context", "--dockerfile", "/test/Dockerfile", "--isolation", "in-place"];
    all.extend(["--build-context", "base=oci-layout:///test/base", "--oci-layout-path", "/test/image", "--store", "/test/store"]);
    all.extend(arguments);
    let output = static_build_on(env, root.to_str().expect("UTF-8"), options, &all);
    (root, output)
}

fn place() -> TestEnv {
    let env = TestEnv::new();
    env.file("file", "content");
    let bases = std::env::var_os("LAYERWRIGHT_TEST_BASES").expect("run ./test, which makes the bases");
    run(Command::new("cp").arg("-r").arg(Path::new(&bases).join("busybox")).arg(env.path("base")));
    env
}

const RUNS: &str = "FROM base\nRUN echo made > /made && rm -f /srv/own\nCOPY file /file\n";
const RUNS_NOTHING: &str = "FROM base\nCOPY file /file\n";

#[test]
fn the_container_is_left_as_flags_say() {
    let env = place();
    let own = |root: &Path| fs::read_to_string(root.join("srv/own")).ok();
    let left = build(&env, RUNS, &[], &[]);
    assert!(left.join("made").exists() && own(&left).is_none(), "the image's files");
    let clean = build(&env, RUNS, &["--cleanup"], &[]);
    assert!(!clean.join("made").exists() && !clean.join("bin").exists() && own(&clean).is_none(), "nothing");
    let clean = build(&env, RUNS, &[], &["--env", "KANIKO_CLEANUP=1"]);
    assert!(!clean.join("made").exists());
    for (flags, variables) in [(&["--preserve-context"][..], &[][..]), (&["--cleanup"], &["--env", "KANIKO_PRESERVE_CONTEXT=true"])] {
        let back = build(&env, RUNS, flags, variables);
        assert_eq!(own(&back).as_deref(), Some("before"), "{flags:?}");
        assert_eq!(fs::metadata(back.join("srv/own")).expect("it is there").permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_link(back.join("srv/link")).expect("it is there"), Path::new("own"));
        assert!(!back.join("made").exists() && !back.join("bin/busybox").exists(), "{flags:?}");
        assert!(back.join("layerwright").exists());
    }
    let (back, output) = attempt(&env, "FROM base\nRUN rm -rf /srv; exit 7\n", &["--preserve-context"], &[]);
    assert_eq!((output.status.code(), own(&back).as_deref()), (Some(7), Some("before")), "also after a failure");
}

#[test]
fn the_images_files_are_there_at_the_end_where_that_is_asked() {
    let env = place();
    let untouched = build(&env, RUNS_NOTHING, &[], &[]);
    assert!(untouched.join("srv/own").exists() && !untouched.join("file").exists(), "nothing had to be unpacked");
    let there = build(&env, RUNS_NOTHING, &["--materialize"], &[]);
    assert!(!there.join("srv/own").exists() && there.join("bin/busybox").exists());
    assert_eq!(fs::read_to_string(there.join("file")).expect("it is there"), "content");
    let there = build(&env, &format!("{RUNS}FROM base\nCOPY file /last\n"), &["--materialize"], &[]);
    assert!(there.join("last").exists() && !there.join("made").exists());
}
