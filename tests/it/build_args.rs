//! Arguments, variables and the clock, as the images show them.

use crate::support::{Registry, TestEnv, run};
use std::process::Command;

/// What the history says of the instructions, without the base's.
fn history(image: &crate::support::Image, base: usize) -> Vec<String> {
    let entries = image.config["history"].as_array().expect("a history");
    entries.iter().skip(base).map(|entry| entry["created_by"].as_str().expect("a text").to_owned()).collect()
}

// scenario 13
#[test]
fn a_global_argument_chooses_the_base() {
    let env = TestEnv::new();
    let dockerfile = "ARG tag=nosuchtag\nFROM {registry}/base/busybox:${tag}\n";
    env.build(dockerfile).args(["--build-arg", "tag=latest"]).succeed();
    env.build(dockerfile).fail(1);
}

// scenarios 14, 15
#[test]
fn what_is_required_is_asked_for_only_where_it_is_used() {
    let env = TestEnv::new();
    let global = "ARG FOO=${FOO:?\"custom error\"}\nFROM scratch\nENV x=1\n";
    assert!(env.build(global).fail(1).contains("FOO: custom error"));
    env.build(global).args(["--build-arg", "FOO=bar"]).succeed();
    let default = "FROM scratch\nARG FOO\nARG BAR=${FOO:?\"foo missing\"}\n";
    assert!(env.build(default).fail(1).contains("FOO: foo missing"));
    env.build(default).args(["--build-arg", "FOO=a"]).succeed();
    env.build(default).args(["--build-arg", "BAR=b"]).succeed();
}

// scenarios 16, 17, 18, 19
#[test]
fn values_follow_the_rules_of_the_shell() {
    let env = TestEnv::new();
    let image = env
        .build(
            "ARG a1=\"foo bar\" a2=ox\nARG a3=\"$a2-foo\"\nFROM scr${a2#ox}atch\nARG a3 a4=\"123 456\" a1\nENV all=\"$a1:$a3:$a4\"\n\
             ARG my_arg\nENV my \"my=${my_arg:-def_val}\"\nENV cut=${my%%e*} per=foo%sbar\nARG none\nARG empty=\n\
             ENV unset=${none-unset} empty=${empty-unset}\n",
        )
        .succeed();
    for (name, value) in
        [("all", "foo bar:ox-foo:123 456"), ("my", "my=def_val"), ("cut", "my=d"), ("per", "foo%sbar"), ("unset", "unset"), ("empty", "")]
    {
        assert_eq!(image.variable(name), Some(value), "{name}");
    }
}

// scenario 20
#[test]
fn a_stage_can_ask_what_is_built() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS foo\nENV before=$TARGETSTAGE\nARG TARGETSTAGE\nENV after=$TARGETSTAGE\nFROM foo";
    let named = |last: &str, target: &[&str]| {
        let image = env.build(&format!("{dockerfile}{last}\nARG TARGETSTAGE\nENV after=$TARGETSTAGE\n")).args(target).succeed();
        (image.variable("before").map(str::to_owned), image.variable("after").map(str::to_owned))
    };
    let seen = |after: &str| (Some(String::new()), Some(after.to_owned()));
    assert_eq!(named("", &[]), seen("default"));
    assert_eq!(named(" AS last", &[]), seen("last"));
    assert_eq!(named("", &["--target", "foo"]), seen("foo"));
}

// scenarios 21, 25; that a changed proxy keeps a cached layer is shown in cache_keys
#[test]
fn proxies_are_seen_and_not_recorded() {
    let env = TestEnv::new();
    let dockerfile =
        "FROM {registry}/base/busybox:latest\nENV later=env\nARG later\nARG mine=1\nRUN echo $http_proxy $later $mine > /seen\n";
    let image = env.build(dockerfile).args(["--build-arg", "http_proxy=http://p:1", "--build-arg", "later=arg"]).succeed();
    assert_eq!(image.tree_above(1)["seen"].text(), "http://p:1 arg 1\n");
    assert_eq!(
        history(&image, 1).last().map(String::as_str),
        Some("RUN |2 later=arg mine=1 /bin/sh -c echo $http_proxy $later $mine > /seen # buildkit")
    );
    assert!(!image.config.to_string().contains("http://p:1"));
    assert_eq!(image.variable("later"), Some("env"));
}

// scenarios 22, 23
#[test]
fn the_platform_chooses_stages_and_can_be_overridden() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS build-linux\nENV is=linux\nFROM scratch AS build-plan9\nENV is=plan9\nFROM build-${TARGETOS}\n\
                      ARG TARGETOS TARGETARCH\nENV os=$TARGETOS arch=$TARGETARCH\n";
    let image = env.build(dockerfile).args(["--custom-platform", "linux/ppc64le"]).succeed();
    assert_eq!([image.variable("is"), image.variable("os"), image.variable("arch")], [Some("linux"), Some("linux"), Some("ppc64le")]);
    let image = env.build(dockerfile).args(["--build-arg", "TARGETOS=plan9"]).succeed();
    assert_eq!([image.variable("is"), image.variable("os")], [Some("plan9"), Some("plan9")]);
}

// scenarios 26, 27, 31
#[test]
fn an_image_of_nothing_has_a_path_and_a_working_directory() {
    let env = TestEnv::new();
    let image = env.build("FROM scratch\nARG PORTS=\"3000 4000/udp\"\nEXPOSE $PORTS\nEXPOSE 5000\n").succeed();
    let ports: Vec<_> = image.setting("ExposedPorts").as_object().expect("ports").keys().cloned().collect();
    assert_eq!(ports, ["3000/tcp", "4000/udp", "5000/tcp"]);
    assert_eq!(image.variable("PATH"), Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    assert_eq!(image.setting("WorkingDir"), "/");
    assert_eq!((image.layers(), image.config["rootfs"]["type"].as_str()), (0, Some("layers")));
}

// scenarios 28, 29, 30
#[test]
fn commands_of_a_base_are_reset_and_labels_of_the_user_win() {
    let env = TestEnv::new();
    let dockerfile = "FROM {registry}/base/busybox:latest AS base\nCMD [\"test\"]\nENTRYPOINT [\"/nowhere\"]\nCMD [\"test\"]\n\
                      FROM base\nRUN touch /ran\nSHELL [\"ls\"]\nENTRYPOINT my entrypoint\nLABEL a=1 b=1\n";
    let image = env.build(dockerfile).args(["--label", "b=2"]).succeed();
    assert!(image.setting("Cmd").is_null());
    assert_eq!(*image.setting("Entrypoint"), serde_json::json!(["ls", "my entrypoint"]));
    assert_eq!(*image.setting("Labels"), serde_json::json!({"a": "1", "b": "2"}));
    assert!(image.tree_above(1).contains_key("ran"));
}

// scenarios 32, 33
#[test]
fn the_history_reads_as_buildkit_writes_it() {
    let env = TestEnv::new();
    env.file("a", "a");
    let image = env
        .build(
            "FROM scratch AS other\nENV hidden=1\nFROM {registry}/base/busybox:latest\nARG foo=bar\nARG bar=123\nARG foo=bar2\n\
             RUN true\nCOPY --link --chown=1:2 a /x/\nEXPOSE 5000 80\nWORKDIR /\nWORKDIR /w\nCMD [\"a b\", \"c\"]\n",
        )
        .succeed();
    assert_eq!(
        history(&image, 1),
        [
            "ARG foo=bar",
            "ARG bar=123",
            "ARG foo=bar2",
            "RUN |2 foo=bar2 bar=123 /bin/sh -c true # buildkit",
            "COPY --chown=1:2 a /x/ # buildkit",
            "EXPOSE [5000/tcp 80/tcp]",
            "WORKDIR /",
            "WORKDIR /w",
            "CMD [\"a b\" \"c\"]",
        ]
    );
    let entries = image.config["history"].as_array().expect("a history");
    let layers: Vec<bool> = entries.iter().skip(1).map(|entry| entry["empty_layer"] != true).collect();
    assert_eq!(layers, [false, false, false, true, true, false, false, true, false]);
    assert!(entries.iter().skip(1).all(|entry| entry["comment"] == "buildkit.dockerfile.v0"));
}

// scenarios 147, 148, 152: the times of base layers are not touched.
#[test]
fn the_clock_can_be_set() {
    let env = TestEnv::new();
    env.file("a", "a");
    let dockerfile = "ARG SOURCE_DATE_EPOCH=5\nFROM {registry}/base/busybox:latest\nWORKDIR /w/x\nCOPY a /b/\n";
    let times = |image: &crate::support::Image| {
        let history = image.config["history"].as_array().expect("a history").iter().skip(1);
        let mut times: Vec<_> = history.map(|entry| entry["created"].as_str().expect("a time").to_owned()).collect();
        times.push(image.config["created"].as_str().expect("a time").to_owned());
        times.dedup();
        times
    };
    let image = env.build(dockerfile).succeed();
    assert_eq!(times(&image), ["1970-01-01T00:00:05Z"]);
    assert_eq!(image.tree_above(1)["w/x"].mtime, 5);
    let given = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    let image = env.build(dockerfile).args(given).succeed();
    assert_eq!(times(&image), ["2023-11-14T22:13:20Z"]);
    assert_eq!(image.tree_above(1)["w"].mtime, 1_700_000_000);
    assert_eq!(env.build(dockerfile).args(given).succeed().digest, image.digest);
    let image = env.build(dockerfile).variable("SOURCE_DATE_EPOCH", "1700000000").succeed();
    assert_eq!(times(&image), ["2023-11-14T22:13:20Z"]);
    let image = env.build(dockerfile).args(["--build-arg", "SOURCE_DATE_EPOCH="]).succeed();
    assert!(times(&image).iter().all(|time| time.as_str() > "2025"));
    let error = env.build(dockerfile).args(["--build-arg", "SOURCE_DATE_EPOCH=soon"]).fail(1);
    assert!(error.contains("invalid SOURCE_DATE_EPOCH"), "{error}");
}

// scenario 95
#[test]
fn a_working_directory_is_the_same_whenever_and_wherever_it_is_made() {
    let env = TestEnv::new();
    let dockerfile = "FROM {registry}/base/busybox:latest\nWORKDIR /w/x\nUSER 1000\nWORKDIR y\n";
    let digest =
        |store: &str| env.build(dockerfile).store(env.path(store)).args(["--build-arg", "SOURCE_DATE_EPOCH=1700000000"]).succeed().digest;
    assert_eq!(digest("first"), digest("second"));
}

// scenarios 54, 55, 56
#[test]
fn stages_are_found_by_name_before_images() {
    let env = TestEnv::new();
    env.file("a", "a");
    let image = env
        .build("FROM scratch AS GoLang\nCOPY a /a\nFROM scratch\nCOPY --from=golang /a /b\nCOPY --from={registry}/base/busybox /etc/passwd /p\n")
        .succeed();
    assert_eq!(image.tree_above(0)["b"].text(), "a");
    assert!(image.tree_above(0)["p"].text().contains("root"));
    let late = env.build("FROM scratch\nCOPY --from=late /a /\nFROM scratch AS late\nCOPY a /\nFROM scratch\nCOPY --from=0 / /\n").fail(1);
    assert!(late.contains("needs to be defined before current stage"), "{late}");
    let circle = env.build("FROM scratch AS first\nCOPY --from=late /a /\nFROM first AS late\n").fail(1);
    assert!(circle.contains("circular dependency"), "{circle}");
    let zero = env.build("FROM scratch AS a\nFROM 0\n").fail(1);
    assert!(zero.contains("library/0"), "{zero}");
    // The registry is there: what fails is the name.
    run(Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}/base/busybox", Registry::open().address)));
}
