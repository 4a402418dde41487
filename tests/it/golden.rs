//! The cases whose results BuildKit recorded, compared by the script that comes with them.

use std::process::Command;

use crate::support::{Registry, conformance, output, program, run};

/// How many cases of a set agree at least: it goes up with each that is mended, and never down. Half a minute a set.
fn compare(set: &str, floor: u32) {
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
}

/// The two that differ hold the time of day.
#[test]
fn our_own_cases() {
    compare("own", 171);
}

/// Of the thirteen that differ most lost their symbolic links on the way here, or need a registry or a flag that the script does not give.
#[test]
fn the_cases_of_buildah() {
    compare("buildah", 244);
}
