use std::time::Instant;

use super::super::keyword::FlagSpec;
use super::*;

fn keywords() -> Keywords {
    let mut keywords = Keywords::new();
    for (name, form, heredocs) in [
        ("RUN", ArgumentForm::ExecOrShell, true),
        ("COPY", ArgumentForm::ExecOrWords, true),
        ("ENV", ArgumentForm::Pairs, false),
        ("USER", ArgumentForm::Text, false),
        ("ENTRYPOINT", ArgumentForm::ExecOrShell, false),
        ("ONBUILD", ArgumentForm::Text, true),
    ] {
        let flag = |name: &str, is_switch, repeats| FlagSpec { name: name.to_owned(), is_switch, repeats, expands: false };
        let flags = match name {
            "COPY" => vec![flag("from", false, false), flag("link", true, false), flag("exclude", false, true)],
            _ => Vec::new(),
        };
        keywords
            .claim("test", Keyword { flags, heredocs, expands: true, stage_only: name == "ONBUILD", ..Keyword::new(name, form) })
            .unwrap();
    }
    keywords
}

fn file(text: &str) -> Dockerfile {
    parse(&Source::new("D", text), &keywords()).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    parse(&Source::new("D", text), &keywords())
        .unwrap_err()
        .errors
        .iter()
        .map(|error| format!("{}: {}", error.span.start_line, error.kind))
        .collect()
}

#[test]
fn stages_hold_what_follows_them() {
    let file = file("# escape=`\nARG A=1\nFROM --platform=$P a:$A as Base\nRUN x `\n y\nFROM base\nENV a=b\n");
    assert_eq!((file.global_args.len(), file.stages.len(), file.directives.escape), (1, 2, '`'));
    let from = &file.stages[0].from;
    assert_eq!((from.image.as_str(), from.platform.as_deref(), from.alias.as_deref()), ("a:$A", Some("$P"), Some("base")));
    assert_eq!(file.stages[0].instructions[0].arguments, Arguments::Text("x  y".to_owned()));
    assert_eq!(file.instructions().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["ARG", "FROM", "RUN", "FROM", "ENV"]);
}

#[test]
fn nothing_arg_and_stray_are_four_errors() {
    assert_eq!(errors(""), ["1: the Dockerfile cannot be empty"]);
    assert_eq!(errors("# x\n\n"), ["1: file with no instructions"]);
    assert_eq!(errors("ARG a"), ["1: dockerfile contains no stages to build"]);
    assert_eq!(errors("ARG a\nRUN x\nRUN y\nFROM a"), ["2: no build stage in current context: RUN stands before the first FROM"]);
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = "FROM a AS 1x\nFNTRYPOINT x\nCOPY --form=x --link=yes --from a b\nENV a=b c\nRUN [1]\nRUN ok\nARG =1\nFROM a b\n";
    let expected = [
        "1: invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
        "2: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)",
        "3: unknown flag: --form (did you mean from?)",
        "3: expecting boolean value for flag --link, not: yes",
        "3: missing a value on flag: --from",
        "4: syntax error - can't find = in \"c\". Must be of the form: name=value",
        "5: when using JSON array syntax, arrays must be comprised of strings only",
        "7: ARG names can not be blank",
        "8: FROM requires either one or three arguments",
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn flags_end_at_the_first_other_word() {
    let file = file("FROM a\nCOPY --from=\"a b\" --exclude=x --exclude='y' --link \\\n --  --a /b\nRUN x --mount=y\n");
    let copy = &file.stages[0].instructions[0];
    let flags: Vec<_> = copy.flags.iter().map(|flag| (flag.name.as_str(), flag.value.as_deref().unwrap())).collect();
    assert_eq!(flags, [("from", "a b"), ("exclude", "x"), ("exclude", "y"), ("link", "true")]);
    assert_eq!(copy.arguments, Arguments::Words(vec!["--a".to_owned(), "/b".to_owned()]));
    assert_eq!(errors("FROM a\nCOPY --from=a --from=b x y"), ["2: duplicate flag specified: --from"]);
}

#[test]
fn spans_point_at_the_flag() {
    let source = Source::new("D", "FROM a\n  COPY \\\n   --form=x a b\n");
    let error = parse(&source, &keywords()).unwrap_err().errors.remove(0);
    assert_eq!(error.span, Span { start_line: 3, end_line: 3, columns: Some(3..11) });
    let source = Source::new("D", "FROM a\n  KOPY a\n");
    assert_eq!(parse(&source, &keywords()).unwrap_err().errors[0].span.columns, Some(2..6));
}

#[test]
fn heredocs_belong_to_those_who_take_them() {
    let file = file("FROM a\nCOPY <<A <<-B /\nx\r\nA\n\tB \n\tB\nENV a=<<EOF\nONBUILD RUN <<E\ny\nE\nONBUILD ENV a=<<E\nRUN [\"<<E\"]\n");
    let found: Vec<_> = file.stages[0].instructions.iter().map(|i| i.heredocs.len()).collect();
    assert_eq!(found, [2, 0, 1, 0, 0]);
    let copy = &file.stages[0].instructions[0];
    assert_eq!((copy.heredocs[0].content.as_str(), &*copy.heredocs[1].body()), ("x\r\n", "B \n"));
    assert_eq!((copy.span.start_line, copy.span.end_line), (2, 6));
    assert_eq!(errors("FROM a\nRUN <<EOF\nx\n"), ["2: unterminated heredoc: no line says EOF"]);
}

#[test]
fn triggers_are_one_instruction() {
    let trigger = |text| parse_trigger(text, &keywords());
    assert_eq!(trigger("RUN <<E\na\nE\n").unwrap().heredocs[0].content, "a\n");
    for text in ["", "RUN a\nRUN b", "FROM a", "ONBUILD RUN a", "FOO a", "COPY --x a b"] {
        assert!(trigger(text).is_err(), "{text}");
    }
}

#[test]
fn declarations_keep_their_quotes() {
    let file = file("FROM a\nARG a b=\"x y\" c=\n");
    let found: Vec<_> = file.stages[0].instructions[0].declarations().into_iter().map(|d| (d.name, d.default)).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(found, [("a".to_owned(), None), ("b".to_owned(), some("\"x y\"")), ("c".to_owned(), some(""))]);
}

#[test]
fn hostile_text_is_read_or_refused_quickly() {
    let mib = 1 << 20;
    for (name, text) in [
        ("continuations", "RUN \\\n".repeat(mib / 6)),
        ("blank continuations", format!("FROM a\nRUN x \\\n{}", "\n".repeat(mib))),
        ("unknown instructions", "ab\n".repeat(mib / 3)),
        ("long keyword", "abcdefgh\\\n".repeat(mib / 10)),
        ("words", format!("FROM a\nCOPY {}", "a \\\n".repeat(mib / 4))),
        ("flags", format!("FROM a\nCOPY {}", "--exclude=a \\\n".repeat(mib / 14))),
        ("bad flags", format!("FROM a\nCOPY {}", "--a \\\n".repeat(mib / 6))),
        ("pairs", format!("FROM a\nENV {}", "a=b \\\n".repeat(mib / 6))),
        ("quotes", format!("FROM a\nENV a={}", "\"\\\n".repeat(mib / 3))),
        ("heredocs", format!("FROM a\nRUN {}", "<<a \\\n".repeat(mib / 6))),
        ("nested heredocs", format!("FROM a\nRUN {}", "<<${a:-\\\n".repeat(mib / 9))),
        ("json", format!("FROM a\nRUN [{}", "[[[[\\\n".repeat(mib / 6))),
        ("comments", "#a\n".repeat(mib / 3)),
        ("directives", "# syntax=a\n".repeat(mib / 11)),
        ("stages", "FROM a\n".repeat(mib / 7)),
        ("instructions", format!("FROM a\n{}", "ENV a=b\n".repeat(mib / 9))),
        ("one line", "a".repeat(mib)),
        ("nul", "\0\n".repeat(mib / 2)),
    ] {
        let start = Instant::now();
        let _ = parse(&Source::new("D", &text), &keywords());
        // Unoptimised code on a busy machine.
        assert!(start.elapsed().as_secs() < 10, "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn messages_hold_no_control_characters() {
    for text in [
        "# escape=`\u{1b}\nFROM a\n",
        "FROM a\nRUN <<e\u{8}E\n",
        "FROM a\nK\u{7}EYWORD x\n",
        "FROM a AS \u{1b}[2J\n",
        "FROM a\nCOPY --\u{1b}x=1 a b\n",
        "FROM a\nENV \u{1}\n",
    ] {
        let errors = parse(&Source::new("D", text), &keywords()).unwrap_err();
        assert!(!errors.to_string().chars().any(char::is_control), "{errors:?}");
    }
}

#[test]
fn the_number_of_instructions_is_bounded() {
    let text = |count: usize| format!("FROM a\n{}", "ENV a=b\n".repeat(count - 1));
    assert_eq!(file(&text(5_000)).stages[0].instructions.len(), 4_999);
    assert_eq!(errors(&text(5_001)), ["5001: the file has more than 5000 instructions"]);
}
