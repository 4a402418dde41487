//! More than one stage: what is built, what is not, and what passes from one to another.

use serde_json::{Value, json};

use crate::support::container::runc;
use crate::support::{Registry, TestEnv};

#[test]
fn files_from_a_stage_by_name_by_number_and_from_an_image() {
    let env = TestEnv::new();
    let image = env
        .build(
            r#"
FROM {registry}/base/busybox:latest AS First
RUN mkdir -p /made/deep && echo first > /made/deep/file && chown -R 5:6 /made && ln -s deep/file /made/link
FROM {registry}/base/busybox:latest
RUN echo second > /second && chmod 600 /second
FROM scratch
COPY --from=first /made /from-name
COPY --from=1 /second /from-number
COPY --from={registry}/base/debian:latest /etc/debian_version /from-image
COPY --from=first --chown=9:9 /made/deep/ /owned/
"#,
        )
        .succeed();
    let tree = image.tree_above(0);
    assert_eq!(tree["from-name/deep/file"].text(), "first\n");
    assert_eq!(tree["from-name/deep/file"].rights(), "0644 5:6");
    assert_eq!(tree["from-name/link"].link, "deep/file");
    assert_eq!(tree["from-number"].rights(), "0600 0:0");
    assert!(tree["from-image"].text().starts_with("12"));
    assert_eq!(tree["owned/file"].rights(), "0644 9:9");
    assert!(!tree.keys().any(|path| path.starts_with("bin")), "nothing of the other stages' bases");
    assert_eq!(image.layers(), 4);
}

#[test]
fn a_stage_on_a_stage_goes_on_where_it_ended() {
    let env = TestEnv::new();
    let image = env
        .build(
            r#"
FROM {registry}/base/busybox:latest AS base
ENV A=1
WORKDIR /w
USER daemon
RUN echo base > /tmp/base
FROM base AS next
RUN echo "$A $(pwd) $(id -u) $(cat /tmp/base)" > /tmp/next
FROM next
CMD ["cat", "/tmp/next"]
"#,
        )
        .succeed();
    assert_eq!(image.setting("User"), "daemon");
    assert_eq!(runc(&env, &image, &[]), "1 /w 1 base\n");
}

#[test]
fn the_same_layer_twice_below_a_command() {
    let env = TestEnv::new();
    let base = Registry::open().fresh();
    let empty = "RUN true\n".repeat(3);
    // Layers without a change are all the same layer.
    let image = env
        .build(&format!("FROM {{registry}}/base/busybox:latest AS base\n{empty}RUN echo x > /x\n{empty}FROM base\nRUN cp /x /y\n"))
        .push_to(&base)
        .succeed();
    assert_eq!(image.tree_above(1)["y"].text(), "x\n");
    let image = env.build(&format!("FROM {base}\nRUN cp /y /z\n")).store(env.path("other-store")).succeed();
    assert_eq!(image.tree_above(1)["z"].text(), "x\n");
}

#[test]
fn stages_that_the_target_does_not_need_cost_nothing() {
    let env = TestEnv::new();
    let dockerfile = r"
FROM 127.0.0.1:1/no/such:image AS unreachable
RUN exit 1
FROM {registry}/base/busybox:latest AS fails
RUN exit 1
FROM {registry}/base/busybox:latest AS wanted
RUN echo wanted > /wanted
FROM wanted AS last
COPY --from=unreachable /x /x
";
    let finished = env.build(dockerfile).args(["--target", "wanted"]).finish();
    assert_eq!(finished.image().tree_above(1)["wanted"].text(), "wanted\n");
    assert!(!finished.stderr.contains("127.0.0.1:1"), "an unneeded base was asked for:\n{}", finished.stderr);
}

#[test]
fn a_target_in_any_case_and_never_by_number() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS One\nENV STAGE=one\nFROM scratch\nENV STAGE=two\n";
    for (target, stage) in [("ONE", "one"), ("one", "one")] {
        assert_eq!(env.build(dockerfile).args(["--target", target]).succeed().variable("STAGE"), Some(stage), "{target}");
    }
    assert_eq!(env.build(dockerfile).succeed().variable("STAGE"), Some("two"));
    let error = env.build(dockerfile).args(["--target", "0"]).fail(1);
    assert!(error.contains("target stage \"0\" could not be found"), "{error}");
}

#[test]
fn triggers_fire_in_the_child_and_not_in_the_grandchild() {
    let env = TestEnv::new();
    env.file("app.txt", "the child's\n");
    let (base, child) = (Registry::open().fresh(), Registry::open().fresh());
    let image = env
        .build("FROM {registry}/base/busybox:latest\nONBUILD COPY app.txt /app/\nONBUILD RUN wc -c < /app/app.txt > /app/size\nONBUILD ENV TRIGGERED=yes\n")
        .push_to(&base)
        .succeed();
    assert_eq!(image.layers(), 1, "triggers do nothing yet");
    assert_eq!(image.setting("OnBuild").as_array().map(Vec::len), Some(3));

    let image = env.build(&format!("FROM {base}\nRUN cp /app/size /app/copy\n")).push_to(&child).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["app/app.txt"].text(), "the child's\n");
    assert_eq!(tree["app/copy"].text(), "12\n", "triggers come before the child's own instructions");
    assert_eq!(image.variable("TRIGGERED"), Some("yes"));
    assert!(matches!(image.setting("OnBuild"), Value::Null) || image.setting("OnBuild") == &json!([]));

    let image = env.build(&format!("FROM {child}\nENV GRAND=child\n")).succeed();
    assert_eq!(image.layers(), 4, "and not once more");
}

#[test]
fn a_trigger_of_a_stage_fires_in_the_stage_on_it() {
    let env = TestEnv::new();
    let image = env
        .build("FROM {registry}/base/busybox:latest AS base\nONBUILD RUN echo fired >> /fired\nFROM base\nRUN cat /fired > /seen\n")
        .succeed();
    assert_eq!(image.tree_above(1)["seen"].text(), "fired\n");
}

/// They start together, so their directories are made at the same moment.
#[test]
fn private_cache_mounts_of_stages_side_by_side_do_not_meet() {
    let env = TestEnv::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut dockerfile = String::new();
    for name in names {
        dockerfile.push_str(&format!(
            "FROM {{registry}}/base/busybox:latest AS {name}\n\
             RUN --mount=type=cache,target=/cache,id=one,sharing=private echo {name} >> /cache/seen; sleep 0.5; cp /cache/seen /seen\n"
        ));
    }
    dockerfile.push_str("FROM scratch\n");
    for name in names {
        dockerfile.push_str(&format!("COPY --from={name} /seen /{name}\n"));
    }
    let tree = env.build(&dockerfile).succeed().tree_above(0);
    for name in names {
        let seen = tree[name].text();
        // A stage that starts when another has ended may be given the directory that the other leaves.
        assert_eq!(seen.lines().last(), Some(name), "{seen}");
    }
}
