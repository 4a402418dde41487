//! `layerwright check`, `outline` and `targets`: what is said of a Dockerfile that is not built.

use serde_json::{Value, json};

use crate::support::TestEnv;
use crate::support::build::{Build, Finished};

/// Asks in JSON, and gives what was answered with the exit code.
fn ask(build: Build<'_>, call: &str) -> (Value, Finished) {
    let finished = build.args(["--call", call, "--format", "json"]).finish();
    let answer = serde_json::from_str(&finished.stdout);
    (answer.unwrap_or_else(|error| panic!("{error}: {}\n{}", finished.stdout, finished.stderr)), finished)
}

/// The findings of a check as `rule line: detail`, by line.
fn findings(answer: &Value) -> Vec<String> {
    let line = |w: &Value| {
        let text = |key: &str| w[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", text("ruleName"), w["location"]["ranges"][0]["start"]["line"], text("detail"))
    };
    answer["warnings"].as_array().expect("a list").iter().map(line).collect()
}

/// A Dockerfile that breaks a rule, what is said of it, and one that does not.
struct Rule {
    bad: &'static str,
    said: &'static str,
    page: &'static str,
    good: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        bad: "FROM scratch AS Build\n",
        said: "StageNameCasing 1: Stage name 'Build' should be lowercase",
        page: "stage-name-casing",
        good: "FROM scratch AS build\n",
    },
    Rule {
        bad: "FROM scratch as build\n",
        said: "FromAsCasing 1: 'as' and 'FROM' keywords' casing do not match",
        page: "from-as-casing",
        good: "from scratch as build\n",
    },
    Rule {
        bad: "FROM scratch\nLABEL a=1 \\\n\n  b=2\n",
        said: "NoEmptyContinuation 4: Empty continuation line",
        page: "no-empty-continuation",
        good: "FROM scratch\nLABEL a=1 \\\n  # comment\n  b=2\n",
    },
    Rule {
        bad: "FROM scratch\nEnv a=1\nLABEL b=2\n",
        said: "ConsistentInstructionCasing 2: Command 'Env' should match the case of the command majority (uppercase)",
        page: "consistent-instruction-casing",
        good: "from scratch\nenv a=1\nlabel b=2\n",
    },
    Rule {
        bad: "FROM scratch AS a\nFROM scratch AS a\n",
        said: "DuplicateStageName 2: Duplicate stage name \"a\", stage names should be unique",
        page: "duplicate-stage-name",
        good: "FROM scratch AS a\nFROM scratch AS b\n",
    },
    Rule {
        bad: "FROM scratch AS context\n",
        said: "ReservedStageName 1: Stage name should not use the same name as reserved stage \"context\"",
        page: "reserved-stage-name",
        good: "FROM scratch AS contexts\n",
    },
    Rule {
        bad: "FROM scratch\nCMD run it\n",
        said: "JSONArgsRecommended 2: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        page: "json-args-recommended",
        good: "FROM scratch\nSHELL [\"/bin/sh\", \"-c\"]\nCMD run it\n",
    },
    Rule {
        bad: "FROM scratch AS unused\nMAINTAINER me\nFROM scratch\n",
        said: "MaintainerDeprecated 2: Maintainer instruction is deprecated in favor of using label",
        page: "maintainer-deprecated",
        good: "FROM scratch\nLABEL org.opencontainers.image.authors=me\n",
    },
    Rule {
        bad: "ARG VERSION=1\nFROM scratch${VERSOIN}\n",
        said: "UndefinedArgInFrom 2: FROM argument 'VERSOIN' is not declared (did you mean VERSION?)",
        page: "undefined-arg-in-from",
        good: "ARG VERSION=\nFROM scratch${VERSION}\n",
    },
    Rule {
        bad: "FROM scratch\nWORKDIR a\n",
        said: "WorkdirRelativePath 2: Relative workdir \"a\" can have unexpected results if the base image changes",
        page: "workdir-relative-path",
        good: "FROM scratch\nWORKDIR /a\nWORKDIR b\n",
    },
    Rule {
        bad: "FROM scratch\nENV GREETING=hello\nENV x=$GREETNIG\n",
        said: "UndefinedVar 3: Usage of undefined variable '$GREETNIG' (did you mean $GREETING?)",
        page: "undefined-var",
        good: "FROM scratch\nARG GREETING\nENV x=$GREETING\n",
    },
    Rule {
        bad: "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n",
        said: "MultipleInstructionsDisallowed 2: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        page: "multiple-instructions-disallowed",
        good: "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n",
    },
    Rule {
        bad: "FROM scratch\nENV name value\n",
        said: "LegacyKeyValueFormat 2: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        page: "legacy-key-value-format",
        good: "FROM scratch\nENV name=value\n",
    },
    Rule {
        bad: "FROM --platform=$TARGETPLATFORM scratch\n",
        said: "RedundantTargetPlatform 1: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        page: "redundant-target-platform",
        good: "FROM --platform=$BUILDPLATFORM scratch\n",
    },
    Rule {
        bad: "FROM scratch\nENV API_KEY=x\n",
        said: "SecretsUsedInArgOrEnv 2: Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\")",
        page: "secrets-used-in-arg-or-env",
        good: "FROM scratch\nENV PUBLIC_KEY=x\n",
    },
    Rule {
        bad: "ARG TAG\nFROM scratch:${TAG}\n",
        said: "InvalidDefaultArgInFrom 2: Default value for ARG scratch:${TAG} results in empty or invalid base image name",
        page: "invalid-default-arg-in-from",
        good: "ARG TAG=\nFROM scratch${TAG}\n",
    },
    Rule {
        bad: "FROM --platform=linux/amd64 scratch\n",
        said: "FromPlatformFlagConstDisallowed 1: FROM --platform flag should not use constant value \"linux/amd64\"",
        page: "from-platform-flag-const-disallowed",
        good: "FROM --platform=linux/amd64 scratch AS build_amd64\n",
    },
    Rule {
        bad: "FROM scratch\nEXPOSE 80/TCP\n",
        said: "ExposeProtoCasing 2: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        page: "expose-proto-casing",
        good: "FROM scratch\nEXPOSE 80/tcp\n",
    },
    Rule {
        bad: "FROM scratch\nEXPOSE 8080:80\n",
        said: "ExposeInvalidFormat 2: EXPOSE instruction should not define an IP address or host-port mapping, found '8080:80'",
        page: "expose-invalid-format",
        good: "FROM scratch\nEXPOSE 80-90\n",
    },
    Rule {
        bad: "# check=experimental=all\n# what it is\nFROM scratch AS build\n",
        said: "InvalidDefinitionDescription 3: Comment for FROM should follow the format: `# build <description>`",
        page: "invalid-definition-description",
        good: "# check=experimental=all\n# build is what it is\nFROM scratch AS build\n",
    },
    Rule {
        bad: "FROM scratch\nCOPY ./ignored /\n",
        said: "CopyIgnoredFile 2: Attempting to Copy file \"ignored\" that is excluded by .dockerignore",
        page: "copy-ignored-file",
        good: "FROM scratch\nCOPY kept /\n",
    },
];

// scenario 163
#[test]
fn every_rule_warns_where_it_is_broken_and_nowhere_else() {
    let env = TestEnv::new();
    env.file(".dockerignore", "ignored\n");
    for Rule { bad, said, page, good } in RULES {
        let (answer, finished) = ask(env.build(bad), "check");
        assert!(findings(&answer).iter().any(|finding| finding == said), "{said} is not found:\n{answer:#}");
        let url = format!("https://docs.docker.com/go/dockerfile/rule/{page}/");
        let list = answer["warnings"].as_array().unwrap();
        let rule = list.iter().find(|w| said.starts_with(w["ruleName"].as_str().unwrap())).unwrap();
        assert_eq!(rule["url"], json!(url));
        assert!(rule["description"].as_str().is_some_and(|text| !text.is_empty()));
        // A name that only build arguments make right is wrong without them.
        let wrong = answer["buildError"].is_object();
        assert_eq!(finished.code, Some(i32::from(wrong)), "{bad}\n{answer:#}");
        let (answer, finished) = ask(env.build(good), "check");
        assert_eq!((findings(&answer), finished.code), (Vec::new(), Some(0)), "{good}\n{answer:#}");
    }
}

// scenario 163
#[test]
fn a_base_for_another_platform_is_warned_of() {
    let env = TestEnv::new();
    let build = env.build("FROM {registry}/base/busybox:latest\n").args(["--platform", "linux/s390x"]);
    let (answer, finished) = ask(build, "check");
    let found = findings(&answer).join("\n") + &finished.stderr;
    assert!(found.contains("s390x"), "{found}");
}

// scenario 163
#[test]
fn checks_are_left_out_or_made_errors() {
    let env = TestEnv::new();
    let cmd = "CMD run it\n";
    let check = |text: String, arguments: &[&str]| {
        let (answer, finished) = ask(env.build(&text).args(arguments), "check");
        (findings(&answer).len(), finished.code, answer["buildError"]["message"].as_str().map(str::to_owned))
    };
    let plain = format!("FROM scratch\n{cmd}");
    assert_eq!(check(plain.clone(), &[]), (1, Some(0), None));
    assert_eq!(check(format!("# check=skip=JSONArgsRecommended\n{plain}"), &[]), (0, Some(0), None));
    assert_eq!(check(format!("# check=skip=all\n{plain}"), &[]), (0, Some(0), None));
    assert_eq!(check(format!("FROM scratch\n# check=skip=JSONArgsRecommended\n{cmd}"), &[]), (0, Some(0), None));
    assert_eq!(check(format!("FROM scratch\n# check=skip=JSONArgsRecommended\nENV a=b\n{cmd}"), &[]).0, 1);
    let violation = Some("lint violation found for rules: JSONArgsRecommended".to_owned());
    assert_eq!(check(format!("# check=error=true\n{plain}"), &[]), (1, Some(1), violation.clone()));
    let argument = |value: &str| ["--build-arg".to_owned(), format!("BUILDKIT_DOCKERFILE_CHECK={value}")];
    let with = |text: &str, value: &str| check(text.to_owned(), &argument(value).each_ref().map(String::as_str));
    assert_eq!(with(&plain, "error=true"), (1, Some(1), violation));
    assert_eq!(with(&plain, "skip=all"), (0, Some(0), None));
    assert_eq!(with(&format!("# check=skip=all\n{plain}"), ""), (1, Some(0), None));
    let wrong = format!("# check=skipall\n{plain}");
    assert!(check(wrong, &[]).2.is_some_and(|message| message.contains("invalid check option \"skipall\"")));
}

// scenario 163
#[test]
fn every_stage_is_checked_unless_a_target_is_named() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch AS a\nENV A_TOKEN=x\nFROM scratch AS b\nENV B_TOKEN=x\n";
    assert_eq!(findings(&ask(env.build(dockerfile), "check").0).len(), 2);
    assert_eq!(findings(&ask(env.build(dockerfile).args(["--target", "a"]), "check").0).len(), 1);
}

// scenario 163
#[test]
fn warnings_are_said_in_a_build_that_fails_later() {
    let env = TestEnv::new();
    let error = env.build("FROM scratch\nENV a b\nCOPY missing /\n").fail(1);
    let said = error.find("LegacyKeyValueFormat: \"ENV key=value\" should be used").expect("the warning is said");
    assert!(error.contains("(line 2)") && said < error.find("error: ").expect("the error is said"), "{error}");
    let error = env.build("# check=error=true\nFROM scratch\nENV a b\n").fail(1);
    assert!(error.contains("lint violation found for rules: LegacyKeyValueFormat"), "{error}");
}

#[test]
fn a_check_needs_neither_privileges_nor_the_base() {
    let env = TestEnv::new();
    let finished = env.build("FROM 127.0.0.1:1/none\nRUN true\nENV a $b\n").arg("--check").by_user(12_345).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("the base image on line 1 is not looked at"), "{}", finished.stderr);
    // What the base sets is not known, so nothing is said of variables.
    assert!(finished.stdout.starts_with("Check complete, 1 warning has been found!\n"), "{}", finished.stdout);
    let wanted = "\nWARNING: LegacyKeyValueFormat - https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/\n\"ENV key=value\"";
    assert!(finished.stdout.contains(wanted) && finished.stdout.contains("3 | ENV a $b\n"), "{}", finished.stdout);
}

#[test]
fn a_check_of_a_wrong_file_shows_all_that_is_wrong() {
    let env = TestEnv::new();
    let finished = env.build("FROM scratch AS a\nSTOPSIGNAL x\nEXPOSE 99999\nFROM scratch\nUSER\n").args(["--call", "check"]).finish();
    assert_eq!(finished.code, Some(1));
    for said in ["invalid signal: x", "invalid containerPort: 99999", "USER requires exactly one argument"] {
        assert!(finished.stderr.contains(said), "{said:?} is not said:\n{}", finished.stderr);
    }
}

// scenario 164
#[test]
fn an_outline_has_what_matters_for_the_target() {
    let env = TestEnv::new();
    let dockerfile = "ARG inherited=base-$other\nARG other=o\nARG unused=x\n# tag is which one\nARG tag=\nARG inherited=$tag-y\n\
        FROM scratch${tag} AS deps\n# level of detail\nARG level=1\nRUN --mount=type=secret,id=key,required=true \
        --mount=type=cache,target=/c --mount=type=ssh true\n\
        FROM scratch AS elsewhere\nARG nowhere=1\nRUN --mount=type=secret,id=never true\n\
        # image is what ships\nFROM deps AS image\nARG inherited\nARG level=2\nARG bare\nRUN --mount=type=secret,id=opt true\n";
    let build = env.build(dockerfile).args(["--target", "image", "--build-arg", "level=7"]);
    let (answer, finished) = ask(build, "outline");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!((&answer["name"], &answer["description"]), (&json!("image"), &json!("is what ships")));
    let args: Vec<_> =
        answer["args"].as_array().unwrap().iter().map(|a| (a["name"].as_str().unwrap(), &a["value"], &a["default"])).collect();
    let (seven, none, dash) = (json!("7"), Value::Null, json!("-y"));
    let defaults = [json!(""), json!("$tag-y"), json!("1")];
    assert_eq!(
        args,
        [("tag", &none, &defaults[0]), ("inherited", &dash, &defaults[1]), ("level", &seven, &defaults[2]), ("bare", &none, &none)]
    );
    assert_eq!(answer["args"][0]["description"], json!("is which one"));
    assert_eq!(answer["args"][0]["location"]["ranges"][0]["start"]["line"], json!(5));
    let named = |key: &str| answer[key].as_array().unwrap().iter().map(|s| (s["name"].clone(), s["required"].clone())).collect::<Vec<_>>();
    assert_eq!(named("secrets"), [(json!("key"), json!(true)), (json!("opt"), Value::Null)]);
    assert_eq!(named("ssh").len(), 1);
    assert_eq!(answer["cache"][0]["ID"], json!("/c"));
    let text = env.build(dockerfile).arg("--call=outline").finish().stdout;
    assert!(text.contains("TARGET:      image\nDESCRIPTION: is what ships\n"), "{text}");
    assert!(text.contains("BUILD ARG") && text.contains("SECRET") && text.contains("true"), "{text}");
}

// scenario 165
#[test]
fn targets_are_listed_with_their_lines() {
    let env = TestEnv::new();
    let dockerfile =
        "ARG base=scratch\n# first builds\nFROM --platform=$BUILDPLATFORM ${base} AS first\n\nFROM first\n\nFROM scratch AS last\n";
    let (answer, finished) = ask(env.build(dockerfile), "targets");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let line = |line: u32| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
    assert_eq!(
        answer["targets"],
        json!([
            { "name": "first", "description": "builds", "base": "${base}", "platform": "$BUILDPLATFORM", "location": line(3) },
            { "base": "first", "location": line(5) },
            { "name": "last", "default": true, "base": "scratch", "location": line(7) },
        ])
    );
    let text = env.build(dockerfile).arg("--call=targets").finish().stdout;
    assert!(text.starts_with("TARGET") && text.contains("last (default)"), "{text}");
}

#[test]
fn the_subcommands_do_what_the_calls_do() {
    let env = TestEnv::new();
    for (subcommand, said) in [("check", "Check complete, no warnings found.\n"), ("targets", "(default)"), ("outline", "")] {
        let finished = env.build("FROM scratch\n").subcommand(subcommand).finish();
        assert_eq!(finished.code, Some(0), "{subcommand}: {}", finished.stderr);
        assert!(finished.stdout.contains(said), "{subcommand}: {}", finished.stdout);
    }
}
