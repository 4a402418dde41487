//! What goes wrong is said with its place and its cause, ends with the right exit code, and leaves nothing in the registry.

use std::fs;

use crate::support::{Registry, TestEnv, unique};

/// Whether an excerpt shows line `number` with `text` in it.
fn shows(stderr: &str, number: usize, text: &str) -> bool {
    stderr.lines().any(|line| {
        let line = line.trim_start_matches(|c: char| !c.is_ascii_digit());
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        line[..line.len() - rest.len()] == number.to_string() && rest.trim_start_matches([' ', '>']).starts_with('|') && rest.contains(text)
    })
}

struct Case {
    dockerfile: &'static str,
    /// The line and a part of it, where the fault has a place.
    line: Option<(usize, &'static str)>,
    /// What has to be said.
    words: &'static [&'static str],
    code: i32,
}

fn check(env: &TestEnv, case: &Case) {
    let registry = Registry::open();
    let destination = registry.fresh();
    let error = env.build(case.dockerfile).push_to(&destination).fail(case.code);
    for word in case.words {
        assert!(error.contains(word), "{word:?} is not said:\n{error}");
    }
    if let Some((number, text)) = case.line {
        assert!(shows(&error, number, text), "line {number} is not shown with {text:?}:\n{error}");
    }
    assert_eq!(registry.manifest(&destination), None, "a failed build pushed");
}

#[test]
fn an_unknown_instruction() {
    check(
        &TestEnv::new(),
        &Case {
            dockerfile: "FROM scratch\nENV a=b\nFNTRYPOINT [\"x\"]\n",
            line: Some((3, "FNTRYPOINT")),
            words: &["unknown instruction: FNTRYPOINT", "ENTRYPOINT?"],
            code: 1,
        },
    );
}

#[test]
fn an_unknown_flag() {
    check(
        &TestEnv::new(),
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\nRUN --mont=type=tmpfs,target=/x true\n",
            line: Some((2, "--mont")),
            words: &["mont", "mount"],
            code: 1,
        },
    );
}

#[test]
fn a_bad_value_of_a_flag() {
    check(
        &TestEnv::new(),
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\n\nRUN --mount=type=tmp,target=/x true\n",
            line: Some((3, "type=tmp")),
            words: &["tmpfs"],
            code: 1,
        },
    );
}

#[test]
fn a_missing_stage() {
    let env = TestEnv::new();
    check(&env, &Case { dockerfile: "FROM scratch AS build\nCOPY --from=7 /x /x\n", line: Some((2, "--from=7")), words: &["7"], code: 1 });
    let error = env.build("FROM scratch AS build\n").args(["--target", "bulid"]).fail(1);
    assert!(error.contains("bulid") && error.contains("build"), "{error}");
}

#[test]
fn no_stage_at_all() {
    check(&TestEnv::new(), &Case { dockerfile: "ARG a=b\n", line: None, words: &["stage"], code: 1 });
    check(&TestEnv::new(), &Case { dockerfile: "", line: None, words: &[], code: 1 });
}

#[test]
fn an_instruction_before_the_first_stage() {
    check(&TestEnv::new(), &Case { dockerfile: "ARG a=b\nENV c=d\nFROM scratch\n", line: Some((2, "ENV c=d")), words: &["FROM"], code: 1 });
}

#[test]
fn a_copy_of_a_file_that_is_not_there() {
    let env = TestEnv::new();
    env.file("there", "x");
    check(
        &env,
        &Case {
            dockerfile: "FROM scratch\nCOPY there /\nCOPY missing.txt /\n",
            line: Some((3, "missing.txt")),
            words: &["missing.txt"],
            code: 1,
        },
    );
    check(
        &env,
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest AS a\nRUN echo > /x\nFROM scratch\nCOPY --from=a /nowhere /\n",
            line: Some((4, "--from=a")),
            words: &["/nowhere"],
            code: 1,
        },
    );
}

#[test]
fn a_failing_command() {
    let env = TestEnv::new();
    check(
        &env,
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\nENV a=b\nRUN echo last words && \\\n  exit 17\nRUN echo unreached\n",
            line: Some((3, "echo last words")),
            words: &["last words\n", "17"],
            code: 17,
        },
    );
    check(
        &env,
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\nRUN no-such-program --flag\n",
            line: Some((2, "no-such-program")),
            words: &["127"],
            code: 127,
        },
    );
    check(
        &env,
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\nRUN [\"/no/such/program\"]\n",
            line: Some((2, "/no/such/program")),
            words: &["/no/such/program"],
            code: 127,
        },
    );
}

#[test]
fn a_command_ended_by_a_signal() {
    let env = TestEnv::new();
    check(
        &env,
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\nRUN sh -c 'kill -9 $$'\n",
            line: Some((2, "kill")),
            words: &[],
            code: 137,
        },
    );
}

#[test]
fn the_stage_that_fails_ends_the_others() {
    let env = TestEnv::new();
    let finished = env
        .build(
            "FROM {registry}/base/busybox:latest AS slow\nRUN sleep 60\nFROM {registry}/base/busybox:latest AS fails\nRUN sleep 1; exit 3\n\
             FROM scratch\nCOPY --from=slow / /\nCOPY --from=fails / /\n",
        )
        .finish();
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert!(finished.took.as_secs() < 30, "the failure waited for the other stage: {:?}", finished.took);
}

#[test]
fn a_user_that_the_image_does_not_know() {
    check(
        &TestEnv::new(),
        &Case {
            dockerfile: "FROM {registry}/base/busybox:latest\nUSER nobody-knows\nRUN id\n",
            line: Some((3, "RUN id")),
            words: &["nobody-knows"],
            code: 1,
        },
    );
}

#[test]
fn an_argument_that_must_be_given() {
    check(
        &TestEnv::new(),
        &Case {
            dockerfile: "ARG TAG=${TAG:?name a tag}\nFROM {registry}/base/busybox:${TAG}\n",
            line: Some((1, "name a tag")),
            words: &["TAG", "name a tag"],
            code: 1,
        },
    );
}

#[test]
fn an_unreachable_registry() {
    check(
        &TestEnv::new(),
        &Case { dockerfile: "FROM 127.0.0.1:1/no/image:here\nRUN x\n", line: Some((1, "127.0.0.1:1")), words: &["127.0.0.1:1"], code: 1 },
    );
    let env = TestEnv::new();
    let error = env.build("FROM scratch\nENV a=b\n").push_to("127.0.0.1:1/x:y").fail(1);
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn an_image_that_is_not_there() {
    check(
        &TestEnv::new(),
        &Case {
            dockerfile: "FROM {registry}/base/no-such-image:latest\nRUN x\n",
            line: Some((1, "no-such-image")),
            words: &["no-such-image"],
            code: 1,
        },
    );
}

#[test]
fn credentials_are_wanted_for_the_base() {
    let env = TestEnv::new();
    let guarded = Registry::guarded();
    let error = env.build(&format!("FROM {}\nRUN true\n", guarded.reference("base/busybox:latest"))).fail(1);
    assert!(shows(&error, 1, "base/busybox"), "{error}");
    assert!(error.contains(&guarded.address), "{error}");
}

#[test]
fn a_layer_that_is_not_what_its_digest_says() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let (base, destination) = (registry.fresh(), registry.fresh());
    // A layer of its own: a blob is shared by all images that have it.
    env.file("file", unique().repeat(2000));
    let image = env.build("FROM {registry}/base/busybox:latest\nCOPY file /file\n").push_to(&base).succeed();
    let blob = Registry::blob_file(image.layer_digest(1));
    let mut bytes = fs::read(&blob).expect("the registry keeps the layer there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&blob, bytes).expect("its storage can be written");
    let error = env.build(&format!("FROM {base}\nRUN cat /file > /copy\n")).store(env.path("other-store")).push_to(&destination).fail(1);
    assert!(error.contains(image.layer_digest(1)), "the layer is named:\n{error}");
    assert!(shows(&error, 1, &base), "{error}");
    assert_eq!(registry.manifest(&destination), None);
}

#[test]
fn a_plugin_that_is_none() {
    let env = TestEnv::new();
    let registry = Registry::open();
    for (name, content) in [("garbage.wasm", b"not a component".as_slice()), ("empty.wasm", b""), ("cut.wasm", b"\0asm\x0d\0\x01\0\x07")] {
        let plugin = env.path(name);
        fs::write(&plugin, content).expect("a file");
        let destination = registry.fresh();
        let error = env.build("FROM scratch\nENV a=b\n").arg("--plugin").arg(&plugin).push_to(&destination).fail(1);
        assert!(error.contains(name), "{error}");
        assert_eq!(registry.manifest(&destination), None);
    }
    let error = env.build("FROM scratch\n").args(["--plugin", "/no/such/plugin.wasm"]).fail(1);
    assert!(error.contains("/no/such/plugin.wasm"), "{error}");
}

/// A second with the optimised program; this one is not, and shares the machine.
#[test]
fn what_nobody_would_write_is_built_or_refused_in_time() {
    let env = TestEnv::new();
    let mib = 1 << 20;
    let lines = |line: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for number in 0.. {
            let line = line(number);
            if text.len() + line.len() > mib {
                break;
            }
            text.push_str(&line);
        }
        text
    };
    let few = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    for (name, text) in [
        ("variables", format!("FROM scratch\n{}", few(4_900, &|n| format!("ENV variable{n}=b\n")))),
        ("variables at once", format!("FROM scratch\nENV a=b{}", lines(&|n| format!(" \\\n a{n}=b")))),
        ("arguments", format!("{}FROM scratch\n{}", few(2_000, &|n| format!("ARG a{n}=b\n")), few(2_500, &|n| format!("ARG a{n}\n")))),
        ("labels", format!("FROM scratch\n{}", few(4_900, &|n| format!("LABEL a{n}=b\n")))),
        ("stages", few(500, &|n| format!("FROM scratch AS s{n}\n"))),
        ("too many stages", few(4_900, &|n| format!("FROM scratch AS s{n}\n"))),
        ("a chain of stages", format!("FROM scratch AS s0\n{}", few(499, &|n| format!("FROM s{n} AS s{}\nENV a={n}\n", n + 1)))),
        ("doubling", format!("FROM scratch\nENV a=aaaaaaaa\n{}", few(4_900, &|_| "ENV a=$a$a\n".to_owned()))),
        ("ports", format!("FROM scratch\n{}", few(4_900, &|n| format!("EXPOSE {}\n", n + 1)))),
        ("triggers", format!("FROM scratch\n{}FROM 0\n", few(4_900, &|n| format!("ONBUILD RUN {n}\n")))),
        ("too many", lines(&|_| "USER a\n".to_owned())),
    ] {
        let finished = env.build(&text).finish();
        assert!(finished.code.is_some_and(|code| code == 0 || code == 1), "{name}: {:?}\n{}", finished.code, finished.stderr);
        assert!(!finished.stderr.contains("panicked"), "{name}: {}", finished.stderr);
        assert!(finished.took.as_secs() < 20, "{name}: {:?}", finished.took);
        println!("{name}: {:?}, exit code {:?}", finished.took, finished.code);
    }
}
