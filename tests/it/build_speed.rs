//! Time, with bounds that a busy machine keeps too; finer figures are a matter of benchmarks.

use std::time::Duration;

use crate::support::{Registry, TestEnv};

#[test]
fn independent_stages_are_built_side_by_side() {
    let env = TestEnv::alone();
    env.build("FROM {registry}/base/busybox:latest\nRUN true\n").succeed();
    let stages: String = ["a", "b", "c", "d"]
        .map(|name| format!("FROM {{registry}}/base/busybox:latest AS {name}\nRUN sleep 3; mkdir /out; echo {name} > /out/{name}\n"))
        .concat();
    let copies: String = ["a", "b", "c", "d"].map(|name| format!("COPY --from={name} /out/ /out/\n")).concat();
    let destination = Registry::open().fresh();
    let finished = env.build(&format!("{stages}FROM {{registry}}/base/busybox:latest\n{copies}")).push_to(&destination).finish();
    let tree = finished.image().tree_above(1);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(tree[&format!("out/{name}")].text(), format!("{name}\n"));
    }
    assert!(finished.took >= Duration::from_secs(3), "nothing waited: {:?}", finished.took);
    assert!(finished.took < Duration::from_secs(5), "four stages of 3 s each took {:?}", finished.took);
}

#[test]
fn a_build_that_changes_no_file_is_quick() {
    let env = TestEnv::alone();
    let dockerfile = "FROM {registry}/base/busybox:latest\nENV A=1\nLABEL b=2\nEXPOSE 80\nCMD [\"sh\"]\n";
    let first = env.build(dockerfile).push_to(&Registry::open().fresh()).finish();
    assert_eq!(first.image().layers(), 1);
    assert!(first.took < Duration::from_secs(3), "it took {:?}", first.took);
}

#[test]
fn a_small_command_is_quick_on_a_large_base() {
    let env = TestEnv::alone();
    let dockerfile = |count: usize| {
        let commands: String = (0..count).map(|number| format!("RUN echo {number} > /opt/f{number}\n")).collect();
        format!("FROM {{registry}}/base/debian:latest\n{commands}")
    };
    env.build(&dockerfile(1)).succeed();
    let (few, many) = (env.build(&dockerfile(1)).finish(), env.build(&dockerfile(21)).finish());
    many.image();
    let each = many.took.saturating_sub(few.took) / 20;
    assert!(each < Duration::from_millis(300), "a command costs {each:?}");
}
