//! Memory does not grow with the image.

use std::fs;
use std::process::Command;

use crate::support::{Registry, TestEnv, run};

/// For one process of a build, in KiB.
const LIMIT: u64 = 150 * 1024;

#[test]
fn a_gigabyte_is_copied_in_little_memory() {
    let env = TestEnv::alone();
    // A quarter that does not compress, so that the compressed layer does not fit into the limit either.
    let file = env.file("big", "");
    run(Command::new("sh").args(["-c", "head -c 268435456 /dev/urandom > \"$0\""]).arg(&file));
    fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
    let destination = Registry::open().fresh();
    let finished = env.build("FROM scratch\nCOPY big /big\n").args(["--compression-level", "1"]).push_to(&destination).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.peak_kib < LIMIT, "copying took {} KiB", finished.peak_kib);
    assert_eq!(finished.image().layer(0)["big"].size, 1 << 30);
    drop(fs::remove_file(&file));

    // And back: pulled, unpacked, used.
    let store = env.path("another-store");
    let finished = env
        .build(&format!(
            "FROM {destination} AS big\nFROM {{registry}}/base/busybox:latest\nRUN --mount=from=big,target=/mnt wc -c < /mnt/big > /size\n"
        ))
        .store(store)
        .finish();
    assert_eq!(finished.image().tree_above(1)["size"].text(), "1073741824\n");
    assert!(finished.peak_kib < LIMIT, "pulling and unpacking took {} KiB", finished.peak_kib);
}

#[test]
fn a_large_output_of_a_command_is_taken_in_little_memory() {
    let env = TestEnv::alone();
    let destination = Registry::open().fresh();
    let finished = env
        .build("FROM {registry}/base/busybox:latest\nRUN head -c 268435456 /dev/urandom > /big; i=0; while [ $i -lt 5000 ]; do echo $i > /tmp/$i; i=$((i+1)); done\n")
        .args(["--compression-level", "1"])
        .push_to(&destination)
        .finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.peak_kib < LIMIT, "it took {} KiB", finished.peak_kib);
}
