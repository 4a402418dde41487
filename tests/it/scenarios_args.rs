//! Build arguments, variables and the configuration that they end up in, scenario by scenario, as BuildKit's own tests expect them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Image, TestEnv, digest_of};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the history says of each instruction after the base's `skip`, and whether it made a layer.
fn history(image: &Image, skip: usize) -> Vec<(&str, bool)> {
    let entries = image.config["history"].as_array().expect("a history").iter().skip(skip);
    entries.map(|entry| (entry["created_by"].as_str().expect("a text"), entry["empty_layer"] != true)).collect()
}

// scenario 13
#[test]
fn a_global_argument_is_what_the_command_line_says() {
    let env = TestEnv::new();
    let dockerfile = "ARG tag=nosuchtag\nFROM {registry}/base/busybox:${tag}\n";
    assert_eq!(env.build(dockerfile).args(["--build-arg", "tag=latest"]).succeed().layers(), 1);
    let error = env.build(dockerfile).fail(1);
    assert!(error.contains("base/busybox:nosuchtag"), "{error}");
}

// scenarios 14 and 15
#[test]
fn the_error_of_a_missing_argument_is_that_of_its_default_which_is_expanded_where_it_counts() {
    let env = TestEnv::new();
    let global = "ARG FOO=${FOO:?\"custom error\"}\nFROM scratch\nARG FOO\nENV GOT=$FOO\n";
    let error = env.build(global).fail(1);
    assert!(error.contains("FOO: custom error"), "{error}");
    assert_eq!(env.build(global).args(["--build-arg", "FOO=bar"]).succeed().variable("GOT"), Some("bar"));

    for stage in [true, false] {
        let args = "ARG FOO\nARG BAR=${FOO:?\"foo missing\"}\n";
        let dockerfile =
            if stage { format!("FROM scratch\n{args}ENV GOT=$BAR\n") } else { format!("{args}FROM scratch\nARG BAR\nENV GOT=$BAR\n") };
        let error = env.build(&dockerfile).fail(1);
        assert!(error.contains("FOO: foo missing"), "{error}");
        for argument in ["FOO=given", "BAR=given"] {
            let image = env.build(&dockerfile).args(["--build-arg", argument]).succeed();
            assert_eq!(image.variable("GOT"), Some("given"), "{argument}");
        }
    }
}

// scenario 16
#[test]
fn several_arguments_of_a_line_with_quotes_and_references() {
    let env = TestEnv::new();
    let dockerfile = r#"
ARG a1="foo bar" a2=box
ARG a3="$a2-foo"
FROM {registry}/base/busy$a2:latest AS build
ARG a3 a4="123 456" a1
RUN echo "$a1:$a3:$a4" > /out
FROM scratch
COPY --from=build /out .
"#;
    assert_eq!(env.build(dockerfile).succeed().tree_above(0)["out"].text(), "foo bar:box-foo:123 456\n");
}

// scenario 17
#[test]
fn defaults_and_trimmed_values_in_from_and_env() {
    let env = TestEnv::new();
    let dockerfile = r#"
ARG image=idlebusybox
FROM {registry}/base/${image#idle}:latest
ARG my_arg
ENV my_arg "my_arg=${my_arg:-def_val}"
ENV my_trimmed_arg "${my_arg%%e*}"
ENV short="${my_arg%v*}" replaced=${my_arg/arg/word} long=${my_arg##*=}
"#;
    for (given, value, trimmed, short) in [
        (None, "def_val", "my_arg=d", "my_arg=def_"),
        (Some(""), "def_val", "my_arg=d", "my_arg=def_"),
        (Some("override"), "override", "my_arg=ov", "my_arg=o"),
    ] {
        let arguments = given.map(|given| format!("--build-arg=my_arg={given}"));
        let image = env.build(dockerfile).args(arguments).succeed();
        assert_eq!(image.variable("my_arg"), Some(&*format!("my_arg={value}")), "{given:?}");
        assert_eq!(image.variable("my_trimmed_arg"), Some(trimmed), "{given:?}");
        assert_eq!(image.variable("short"), Some(short), "{given:?}");
        assert_eq!(image.variable("replaced"), Some(&*format!("my_word={value}")), "{given:?}");
        assert_eq!(image.variable("long"), Some(value), "{given:?}");
    }
}

// scenarios 18 and 19
#[test]
fn an_empty_argument_is_there_and_one_without_a_value_is_not() {
    let env = TestEnv::new();
    let dockerfile = r"
FROM {registry}/base/busybox:latest
ARG FOO
ARG BAR=
ARG GIVEN=default
ENV myenv foo%sbar
ENV other=100%d%% all=%v
RUN env > /env
";
    let image = env.build(dockerfile).args(["--build-arg", "GIVEN="]).succeed();
    let tree = image.tree_above(1);
    let lines: Vec<_> = tree["env"].text().lines().collect();
    for line in ["BAR=", "GIVEN=", "myenv=foo%sbar", "other=100%d%%", "all=%v"] {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("FOO")), "{lines:?}");
    assert_eq!((image.variable("myenv"), image.variable("BAR")), (Some("foo%sbar"), None));
}

// scenario 20
#[test]
fn the_target_stage_is_an_argument() {
    let env = TestEnv::new();
    let stage = "ENV BEFORE=[$TARGETSTAGE]\nARG TARGETSTAGE\nENV AFTER=$TARGETSTAGE\n";
    for (last, target, wanted) in
        [("", None, "default"), ("", Some("foo"), "foo"), (" AS last", None, "last"), (" AS last", Some("foo"), "foo")]
    {
        let dockerfile = format!("FROM scratch AS foo\n{stage}FROM scratch{last}\n{stage}");
        let image = env.build(&dockerfile).args(target.map(|target| format!("--target={target}"))).succeed();
        assert_eq!(image.variable("BEFORE"), Some("[]"), "{last} {target:?}");
        assert_eq!(image.variable("AFTER"), Some(wanted), "{last} {target:?}");
    }
}

// scenario 21
// With a cache: cache_keys, a_proxy_takes_the_layer_that_another_proxy_made.
#[test]
fn a_proxy_is_there_without_a_declaration_and_makes_no_other_image() {
    let env = TestEnv::new();
    let dockerfile = r#"
FROM {registry}/base/busybox:latest
RUN test "$http_proxy" = "$no_proxy" && test "${HTTPS_PROXY-unset}" = unset && test "${FOO-unset}" = unset
"#;
    let build = |dockerfile: &str, value: &str| {
        let arguments = ["http_proxy", "no_proxy", "FOO"].map(|name| format!("--build-arg={name}={value}"));
        env.build(dockerfile).repeatable().args(arguments).succeed()
    };
    let [first, second] = ["one.example", "two.example"].map(|value| build(dockerfile, value));
    assert_eq!(first.digest, second.digest, "the proxy is neither in the history nor in the configuration");
    assert_eq!(first.setting("Env"), &json!([PATH]));
    let declared = dockerfile.replace("RUN test", "ARG http_proxy\nRUN test \"$http_proxy\" = three.example && test");
    let image = build(&declared, "three.example");
    let told = history(&image, 1);
    assert!(told[1].0.starts_with("RUN |1 http_proxy=three.example /bin/sh -c "), "one that is declared is an ordinary argument: {told:?}");
}

// scenario 22
#[test]
fn a_platform_argument_selects_a_stage() {
    let env = TestEnv::new();
    env.files(&["foo", "foo2"]);
    let dockerfile = "FROM scratch AS build-linux\nCOPY foo bar\nFROM scratch AS build-windows\nCOPY foo other\nFROM build-${TARGETOS}\nCOPY foo2 bar2\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["bar", "bar2"]);
}

// scenario 23
// The commands run in a stage for the platform of the build: none can run for darwin here.
#[test]
fn a_stage_of_the_builds_platform_makes_what_an_image_of_another_holds() {
    let env = TestEnv::new();
    let dockerfile = r"
FROM --platform=$BUILDPLATFORM {registry}/base/busybox:latest AS build
ARG TARGETPLATFORM
ARG TARGETOS TARGETARCH BUILDOS
RUN mkdir /out && echo -n $TARGETPLATFORM > /out/platform && echo -n $TARGETOS $TARGETARCH $BUILDOS > /out/os
FROM scratch
COPY --from=build /out .
";
    let image = env.build(dockerfile).args(["--custom-platform", "darwin/ppc64le", "--build-arg", "TARGETOS=freebsd"]).succeed();
    let tree = image.tree_above(0);
    assert_eq!((tree["platform"].text(), tree["os"].text()), ("darwin/ppc64le", "freebsd ppc64le linux"));
    assert_eq!((&image.config["os"], &image.config["architecture"]), (&json!("darwin"), &json!("ppc64le")));
}

/// Changes the configuration of an image in its layout.
fn reconfigure(image: &Image, change: impl FnOnce(&mut Value)) -> PathBuf {
    let put = |value: &Value| {
        let bytes = serde_json::to_vec(value).expect("JSON");
        let digest = digest_of(&bytes);
        fs::write(image.layout.join("blobs").join(digest.replace(':', "/")), &bytes).expect("the layout can be written to");
        (json!(digest), json!(bytes.len()))
    };
    let (mut config, mut manifest) = (image.config.clone(), image.manifest.clone());
    change(&mut config);
    (manifest["config"]["digest"], manifest["config"]["size"]) = put(&config);
    let index = image.layout.join("index.json");
    let mut list: Value = serde_json::from_slice(&fs::read(&index).expect("an index")).expect("JSON");
    let entry = &mut list["manifests"][0];
    (entry["digest"], entry["size"]) = put(&manifest);
    fs::write(index, list.to_string()).expect("the layout can be written to");
    image.layout.clone()
}

// scenario 24
// A version in the platform that is asked for is not tested: it is not part of a platform here, as no base for another system can be run.
#[test]
fn the_version_of_the_bases_system_is_kept() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let layout = reconfigure(&env.build("FROM scratch\nCOPY foo /\n").succeed(), |config| {
        config["os.version"] = json!("10.0.17763");
        config["os.features"] = json!(["win32k"]);
    });
    let base = format!("--build-context=base=oci-layout://{}", layout.display());
    let image = env.build("FROM base\nCOPY foo /bar\n").arg(base).succeed();
    assert_eq!(image.config["os.version"], "10.0.17763");
    assert_eq!(image.config["os.features"], json!(["win32k"]));
}

// scenario 25
#[test]
fn the_last_of_arg_and_env_counts() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let base = env.build("FROM scratch\nENV C=image D=image\nARG PAST=image\nCOPY foo /\n").succeed();
    let dockerfile = r"
FROM base AS parent
ARG A=arg
ENV A=env
ENV B=env
ARG B=arg
ARG C
ARG D
ARG H=parent
FROM parent
ENV SEEN=$A,$B,$C,$D,$H,[$PAST]
ARG C=late
ENV LATE=$C
";
    for (given, seen, late) in [(false, "env,arg,image,image,parent,[]", "late"), (true, "env,given,given,image,given,[]", "given")] {
        let arguments = ["A", "B", "C", "H"].into_iter().filter(|_| given).map(|name| format!("--build-arg={name}=given"));
        let context = format!("--build-context=base=oci-layout://{}", base.layout.display());
        let image = env.build(dockerfile).args(arguments).arg(context).succeed();
        assert_eq!(image.variable("SEEN"), Some(seen), "{given}");
        assert_eq!(image.variable("LATE"), Some(late), "{given}");
        assert_eq!((image.variable("A"), image.variable("B"), image.variable("C")), (Some("env"), Some("env"), Some("image")), "{given}");
    }
}

// scenario 26
#[test]
fn a_variable_may_hold_several_ports() {
    let env = TestEnv::new();
    let image = env.build("FROM scratch\nARG PORTS=\"3000 4000/udp\"\nEXPOSE $PORTS\nEXPOSE 5000\n").succeed();
    assert_eq!(image.setting("ExposedPorts"), &json!({ "3000/tcp": {}, "4000/udp": {}, "5000/tcp": {} }));
}

// scenarios 27 and 28
// Windows, which has no PATH and another shell, is not tested: no image is built for it.
#[test]
fn the_default_path_and_shell_and_the_command_of_a_base() {
    let env = TestEnv::new();
    let image = env.build("FROM scratch\nENTRYPOINT foo bar\nCMD baz qux\n").succeed();
    assert_eq!(image.setting("Env"), &json!([PATH]));
    assert_eq!(image.setting("Entrypoint"), &json!(["/bin/sh", "-c", "foo bar"]));
    assert_eq!(image.setting("Cmd"), &json!(["/bin/sh", "-c", "baz qux"]));

    let base = "FROM scratch\nCMD [\"test\"]\n";
    let child = "SHELL [\"ls\"]\nENTRYPOINT my entrypoint\n";
    let context = format!("--build-context=base=oci-layout://{}", env.build(base).succeed().layout.display());
    let of_image = env.build(&format!("FROM base\n{child}")).arg(context).succeed();
    let of_stage = env.build(&format!("{}FROM base\n{child}", base.replace("scratch", "scratch AS base"))).succeed();
    for image in [of_image, of_stage] {
        assert_eq!(image.setting("Cmd"), &Value::Null);
        assert_eq!(image.setting("Entrypoint"), &json!(["ls", "my entrypoint"]));
    }
    let same = env.build(&format!("{base}{child}")).succeed();
    assert_eq!(same.setting("Cmd"), &json!(["test"]), "the stage's own command stays");
}

// scenario 29
#[test]
fn a_command_runs_without_the_entrypoint_of_the_image() {
    let env = TestEnv::new();
    let dockerfile =
        "FROM {registry}/base/busybox:latest AS base\nENTRYPOINT [\"/nosuch\"]\nFROM base\nRUN echo a > /x\nRUN [\"cp\", \"/x\", \"/y\"]\n";
    let image = env.build(dockerfile).succeed();
    assert_eq!(image.tree_above(1)["y"].text(), "a\n");
    assert_eq!(image.setting("Entrypoint"), &json!(["/nosuch"]));
}

// scenario 30
#[test]
fn labels_of_the_file_and_of_the_command_line() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch\nLABEL foo=bar both=file\nLABEL \"with space\"=\"a b\"\n";
    let image = env.build(dockerfile).args(["--label", "bar=baz", "--label", "both=flag", "--label", "eq=a=b"]).succeed();
    assert_eq!(image.setting("Labels"), &json!({ "foo": "bar", "both": "flag", "bar": "baz", "with space": "a b", "eq": "a=b" }));
}

// scenario 31
#[test]
fn the_configuration_of_an_image_of_nothing() {
    let env = TestEnv::new();
    let image = env.build("FROM scratch\nENV foo=bar\n").succeed();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    assert_eq!((&image.config["os"], &image.config["architecture"]), (&json!("linux"), &json!(architecture)));
    assert_eq!(image.config["rootfs"]["type"], "layers");
    assert!(image.diff_ids().is_empty());
    assert_eq!(image.setting("WorkingDir"), "/");
    assert_eq!(image.setting("Env"), &json!([PATH, "foo=bar"]));
    assert_eq!(history(&image, 0), [("ENV foo=bar", false)]);
}

// scenarios 32 and 33
#[test]
fn the_history_is_that_of_the_last_stage_and_says_what_was_done() {
    let env = TestEnv::new();
    env.files(&["foo"]);
    let dockerfile = r#"
FROM scratch AS other
COPY foo /other
ENV other=1
FROM {registry}/base/busybox:latest
ENV foo=bar
COPY foo /foo2
EXPOSE 9000 8080/tcp 53/udp
WORKDIR /
WORKDIR made
RUN echo bar > foo4
RUN ["ls"]
ARG foo=bar
ARG bar=123
ARG foo=bar2
RUN ls /etc/ > /dev/null
USER nobody
CMD ["a", "b"]
"#;
    let image = env.build(dockerfile).succeed();
    let wanted = [
        ("ENV foo=bar", false),
        ("COPY foo /foo2 # buildkit", true),
        ("EXPOSE [53/udp 8080/tcp 9000/tcp]", false),
        ("WORKDIR /", false),
        ("WORKDIR /made", true),
        ("RUN /bin/sh -c echo bar > foo4 # buildkit", true),
        ("RUN ls # buildkit", true),
        ("ARG foo=bar", false),
        ("ARG bar=123", false),
        ("ARG foo=bar2", false),
        ("RUN |2 foo=bar2 bar=123 /bin/sh -c ls /etc/ > /dev/null # buildkit", true),
        ("USER nobody", false),
        ("CMD [\"a\" \"b\"]", false),
    ];
    assert_eq!(history(&image, 1), wanted);
    assert_eq!(image.variable("other"), None);
}
