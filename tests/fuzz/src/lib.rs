//! What the fuzz targets share. The parser is compiled here by its path: it names no other module of the host, and so needs none of its
//! dependencies, whose instrumented build would take most of an hour.

#[path = "../../../host/src/dockerfile/mod.rs"]
#[allow(dead_code, clippy::all)]
pub mod dockerfile;

use dockerfile::{ArgumentForm, Arguments, FlagSpec, Instruction, Keyword, Keywords};
use layerwright_plugin::Property;
use layerwright_plugin::instruction as sdk;

/// The keywords of the standard instructions.
pub fn keywords() -> Keywords {
    let mut keywords = Keywords::new();
    for declared in layerwright_plugin_dockerfile::keywords() {
        let form = match declared.arguments {
            sdk::ArgumentForm::Words => ArgumentForm::Words,
            sdk::ArgumentForm::Pairs => ArgumentForm::Pairs,
            sdk::ArgumentForm::ExecOrShell => ArgumentForm::ExecOrShell,
            sdk::ArgumentForm::ExecOrWords => ArgumentForm::ExecOrWords,
            sdk::ArgumentForm::Text => ArgumentForm::Text,
        };
        let flag =
            |flag: sdk::FlagSpec| FlagSpec { name: flag.name, is_switch: flag.is_switch, repeats: flag.repeats, expands: flag.expands };
        let flags = declared.flags.into_iter().map(flag).collect();
        let mut keyword = Keyword::new(&declared.name, form);
        (keyword.flags, keyword.heredocs, keyword.expands) = (flags, declared.heredocs, declared.expands);
        keywords.claim("layerwright/dockerfile", keyword).expect("the standard keywords are claimed once");
    }
    keywords
}

/// The instruction as its handler is given it.
pub fn handed_over(instruction: &Instruction) -> sdk::Instruction {
    let property = |(name, value): (&String, &String)| Property::new(name, value);
    let arguments = match &instruction.arguments {
        Arguments::Exec(words) => sdk::Arguments::Exec(words.clone()),
        Arguments::Words(words) => sdk::Arguments::Words(words.clone()),
        Arguments::Pairs(pairs) => sdk::Arguments::Pairs(pairs.iter().map(|pair| property((&pair.name, &pair.value))).collect()),
        Arguments::Text(text) => sdk::Arguments::Text(text.clone()),
    };
    let mut handed = sdk::Instruction::new(&instruction.name, arguments);
    for flag in &instruction.flags {
        handed = handed.with_flag(&flag.name, flag.value.as_deref().unwrap_or("true"));
    }
    for heredoc in &instruction.heredocs {
        handed = handed.with_heredoc(&heredoc.name, heredoc.body());
    }
    handed.text = instruction.original.trim().to_owned();
    handed
}
