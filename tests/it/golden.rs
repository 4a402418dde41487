//! The cases whose results BuildKit recorded, compared by the script that comes with them.

use std::process::Command;

use crate::support::{Registry, conformance, output, program, run};

/// How many cases of a set agree at least, which goes up with each that is mended and never down, and which may differ, each with the
/// reason. Half a minute a set and more.
fn compare(set: &str, floor: u32, may_differ: &[(&str, &str)]) {
    let place = tempfile::tempdir().expect("a temporary folder");
    // With the modes of a fresh checkout, which the expectations hold; the data at hand may be read-only.
    let data = place.path().join("conformance");
    run(Command::new("cp").arg("-r").arg(conformance::directory()).arg(&data));
    run(Command::new("chmod").args(["-R", "ug+w"]).arg(&data));
    let builder = format!("{} build --store {}", program().display(), place.path().join("store").display());
    let done = output(
        Command::new("python3")
            .arg(data.join("golden.py"))
            .args(["--builder", &builder, "--registry", &Registry::open().address, "--set", set])
            .arg("--data")
            .arg(&data)
            .env("TMPDIR", place.path())
            .env("HOME", place.path()),
    );
    let report = String::from_utf8_lossy(&done.stdout);
    println!("{report}");
    let totals = report.lines().last().unwrap_or_default();
    let agree: u32 = totals.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| {
        panic!("golden.py gave no totals: {}", String::from_utf8_lossy(&done.stderr));
    });
    assert!(agree >= floor, "{totals}; at least {floor} agreed before");
    let differ = report.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let state = words.next().filter(|state| ["ACCEPTED", "REFUSED", "DIFFERS", "TIMEOUT"].contains(state))?;
        Some((state, words.next()?))
    });
    let unexpected: Vec<_> = differ.filter(|(_, name)| !may_differ.iter().any(|(known, _)| format!("{set}/{known}") == *name)).collect();
    assert!(unexpected.is_empty(), "differences that nobody has explained: {unexpected:?}\n{report}");
}

const CLOCK: &str = "the expected file is the output of `ls -l` on something made during the build: it holds the minute of the recording";
const NO_LINKS: &str = "the context holds a text file where the original has a symbolic link";
const ELSEWHERE: &str = "the base's name has a variable, so that the script cannot point it to the local registry";

#[test]
fn our_own_cases() {
    compare("own", 171, &[("mount-stub-secret", CLOCK), ("workdir-exists", CLOCK)]);
}

/// docs/dockerfile.md tells of the same ones.
#[test]
fn the_cases_of_buildah() {
    let may_differ = [
        ("bud/build-arg/Dockerfile2", ELSEWHERE),
        ("bud/leading-args/Dockerfile", ELSEWHERE),
        (
            "bud/copy-parents/Containerfile-hardlinks",
            "a path that ends in its pivot, `./x/./`, is looked for below itself by BuildKit and not found",
        ),
        ("bud/dockerignore4/Dockerfile.test", "the script does not put the Dockerfile's own ignore file beside it"),
        ("bud/symlink/Containerfile.add-tar-with-link", NO_LINKS),
        ("bud/symlink/Dockerfile.replace-symlink", NO_LINKS),
        ("conformance/testdata/replace/symlink-with-directory/Dockerfile.2", NO_LINKS),
        ("conformance/testdata/replace/symlink-with-directory/Dockerfile.3", NO_LINKS),
        ("conformance/testdata/replace/symlink-with-directory/Dockerfile.4", NO_LINKS),
    ];
    compare("buildah", 248, &may_differ);
}
