//! Any bytes as a Dockerfile: read or refused, expanded, and handed to the handlers of the standard instructions. Nothing panics or hangs,
//! and what is said of a place lies in the text.
#![no_main]

use std::sync::LazyLock;

use layerwright_fuzz::dockerfile::{Keywords, Source, Span, expand_instruction, parse, parse_trigger};
use layerwright_fuzz::{handed_over, keywords};
use layerwright_plugin::instruction::Stage;
use libfuzzer_sys::fuzz_target;

static KEYWORDS: LazyLock<Keywords> = LazyLock::new(keywords);

fn environment(name: &str) -> Option<String> {
    // Some set, some empty, some not, and one that holds what means something elsewhere.
    match name.len() % 4 {
        0 => Some("a b,c".to_owned()),
        1 => Some(String::new()),
        2 => Some("\"$x'${\\".to_owned()),
        _ => None,
    }
}

fn placed(source: &Source, span: &Span) {
    assert!(span.start_line >= 1 && span.start_line <= span.end_line, "{span:?}");
    let lines = source.text.split('\n').count();
    assert!(span.end_line as usize <= lines, "{span:?} of {lines} lines");
    assert!(!source.excerpt(span).is_empty());
}

fuzz_target!(|bytes: &[u8]| {
    let source = Source::from_bytes("Dockerfile", bytes);
    let file = match parse(&source, &KEYWORDS) {
        Ok(file) => file,
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                placed(&source, &error.span);
                assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{error}");
            }
            return;
        }
    };
    assert!(!file.stages.is_empty());
    for instruction in file.instructions() {
        placed(&source, &instruction.span);
        if let Ok(expanded) = expand_instruction(instruction, file.directives.escape, &KEYWORDS, &environment) {
            if !matches!(instruction.name.as_str(), "FROM" | "ARG") {
                let _ = layerwright_plugin_dockerfile::lower(&handed_over(&expanded.instruction), &Stage::default());
            }
        }
        if instruction.name == "ONBUILD" {
            let _ = parse_trigger(instruction.original.trim_start_matches(|c: char| !c.is_whitespace()).trim(), &KEYWORDS);
        }
    }
});
