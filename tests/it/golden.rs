//! The cases whose results BuildKit recorded, compared by the script that comes with them.

use std::process::Command;

use crate::support::{Registry, conformance, output, program};

/// How many of the cases at hand agree at least. It goes up with each that is mended, and never down.
const FLOOR: u32 = 150;

/// Some 240 builds: two to four minutes.
#[test]
fn our_images_are_those_of_buildkit() {
    let data = conformance::directory();
    let place = tempfile::tempdir().expect("a temporary folder");
    let builder = format!("{} build --store {}", program().display(), place.path().join("store").display());
    let done = output(
        Command::new("python3")
            .arg(data.join("golden.py"))
            .args(["--builder", &builder, "--registry", &Registry::open().address, "--set", "own"])
            .arg("--data")
            .arg(&data)
            .env("TMPDIR", place.path())
            .env("HOME", place.path()),
    );
    let report = String::from_utf8_lossy(&done.stdout);
    let totals = report.lines().last().unwrap_or_default();
    let agree: u32 = totals.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| {
        panic!("golden.py gave no totals:\n{report}{}", String::from_utf8_lossy(&done.stderr));
    });
    println!("{report}");
    assert!(agree >= FLOOR, "{totals}; at least {FLOOR} agreed before:\n{report}");
}
