//! The keywords of the standard plugin, without going through wasm.

use layerwright::dockerfile::lint::RuleMessage;
use layerwright::dockerfile::{ArgumentForm, FlagSpec, Keyword, Keywords};
use layerwright_plugin::instruction::ArgumentForm as Form;

/// The keywords of the standard instructions, as the parser takes them.
pub fn standard_keywords() -> Keywords {
    let mut keywords = Keywords::new();
    for declared in layerwright_plugin_dockerfile::keywords() {
        let form = match declared.arguments {
            Form::Words => ArgumentForm::Words,
            Form::Pairs => ArgumentForm::Pairs,
            Form::ExecOrShell => ArgumentForm::ExecOrShell,
            Form::ExecOrWords => ArgumentForm::ExecOrWords,
            Form::Text => ArgumentForm::Text,
        };
        let flag = |flag: layerwright_plugin::instruction::FlagSpec| FlagSpec {
            name: flag.name,
            is_switch: flag.is_switch,
            repeats: flag.repeats,
            expands: flag.expands,
        };
        let flags = declared.flags.into_iter().map(flag).collect();
        let warning = declared.warning.map(|said| RuleMessage { rule: said.rule, message: said.message });
        let (heredocs, expands, last_counts, stage_only) = (declared.heredocs, declared.expands, declared.last_counts, declared.stage_only);
        let keyword = Keyword { name: declared.name, form, flags, heredocs, expands, last_counts, stage_only, warning };
        keywords.claim("layerwright/dockerfile", keyword).expect("the standard keywords are claimed once");
    }
    keywords
}
