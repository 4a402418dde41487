//! Instructions that wait for a child.

use serde_json::Value;

use crate::support::{Registry, TestEnv};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

// scenario 111
#[test]
fn triggers_run_in_the_child_and_not_in_the_grandchild() {
    let env = TestEnv::new();
    let (parent, child) = (Registry::open().fresh(), Registry::open().fresh());
    env.build(&format!("{BUSYBOX}ONBUILD RUN echo ran >> /out\nONBUILD ENV FROM_PARENT=1\n")).push_to(&parent).succeed();
    let image = env.build(&format!("FROM {parent}\nRUN echo child >> /out\n")).push_to(&child).succeed();
    assert_eq!(image.tree_above(1)["out"].text(), "ran\nchild\n");
    assert_eq!(image.setting("OnBuild"), &Value::Null);
    assert_eq!(image.variable("FROM_PARENT"), Some("1"));
    let grandchild = env.build(&format!("FROM {child}\nRUN echo grandchild >> /out\n")).succeed();
    assert_eq!(grandchild.tree_above(1)["out"].text(), "ran\nchild\ngrandchild\n");
}

// scenario 112
#[test]
fn triggers_do_not_run_again_for_a_child_stage() {
    let env = TestEnv::new();
    let parent = Registry::open().fresh();
    env.build(&format!("{BUSYBOX}ONBUILD RUN echo ran >> /out\n")).push_to(&parent).succeed();
    let image = env.build(&format!("FROM {parent} AS base\nRUN echo base >> /out\nFROM base\nRUN echo child >> /out\n")).succeed();
    assert_eq!(image.tree_above(1)["out"].text(), "ran\nbase\nchild\n");
}

// scenario 113
#[test]
fn a_stage_leaves_triggers_to_stages() {
    let env = TestEnv::new();
    let dockerfile = "FROM {registry}/base/busybox:latest AS first\nONBUILD RUN echo ran >> /out\nFROM first AS second\nFROM second\nRUN echo third >> /out\n";
    let image = env.build(dockerfile).succeed();
    assert_eq!(image.tree_above(1)["out"].text(), "ran\nthird\n");
    assert_eq!(image.setting("OnBuild"), &Value::Null);
}

// scenario 114
#[test]
fn triggers_read_stages_of_the_child() {
    let env = TestEnv::new();
    let parent = Registry::open().fresh();
    let triggers = "ONBUILD COPY --from=tools /tool /copied\nONBUILD RUN --mount=from=tools,source=/tool,target=/m cat /m > /mounted\n";
    env.build(&format!("{BUSYBOX}{triggers}")).push_to(&parent).succeed();
    let tools = "FROM {registry}/base/busybox:latest AS tools\nRUN echo tool > /tool\n";
    let image = env.build(&format!("{tools}FROM {parent}\n")).succeed();
    let tree = image.tree_above(1);
    assert_eq!((tree["copied"].text(), tree["mounted"].text()), ("tool\n", "tool\n"));
    let image = env
        .build(&format!("{tools}FROM {parent} AS middle\nFROM {{registry}}/base/busybox:latest\nCOPY --from=middle /copied /mounted /\n"))
        .succeed();
    assert_eq!(image.tree_above(1)["copied"].text(), "tool\n", "what a trigger needs is built");
}

// scenario 115
#[test]
fn triggers_of_a_named_context() {
    let env = TestEnv::new();
    let parent = env.build(&format!("{BUSYBOX}ONBUILD RUN echo ran > /out\n")).succeed();
    let context = format!("base=oci-layout://{}", parent.layout.display());
    let image = env.build("FROM base\n").args(["--build-context", &context]).succeed();
    assert_eq!(image.tree_above(1)["out"].text(), "ran\n");
}

// scenario 116
#[test]
fn triggers_with_a_cache() {
    let env = TestEnv::new();
    let parent = Registry::open().fresh();
    env.build(&format!("{BUSYBOX}ONBUILD RUN --mount=type=cache,target=/c echo ran >> /c/log && cp /c/log /out\n"))
        .push_to(&parent)
        .succeed();
    for expected in ["ran\n", "ran\nran\n"] {
        assert_eq!(env.build(&format!("FROM {parent}\n")).succeed().tree_above(1)["out"].text(), expected);
    }
}

#[test]
fn what_cannot_wait_is_refused() {
    let env = TestEnv::new();
    for (trigger, words) in [
        ("ONBUILD RUN true", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
    ] {
        let error = env.build(&format!("{BUSYBOX}ONBUILD {trigger}\n")).fail(1);
        assert!(error.contains(words), "{error}");
    }
}
