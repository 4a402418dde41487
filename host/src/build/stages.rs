use super::checks::Checks;
use super::epoch;
use super::error::{BuildError, Failure};
use super::inputs::Inputs;
use super::lowering::{Globals, global_scope};
use super::scope;
use super::settings::{BuildSettings, NamedContext};
use crate::dockerfile::lint::rules;
use crate::dockerfile::{Dockerfile, Expander, Expansion, FromInstruction, StageSource, expand_word, suggest, suggest_exactly};
use crate::graph::{Base, BuildGraph, Stage, find_stage};
use crate::oci::{Platform, Reference};

/// The stages with their bases, and the arguments that they may declare.
///
/// # Errors
/// Every FROM and every global argument that is wrong, and a target that is no stage.
pub fn graph(
    parsed: &Dockerfile,
    settings: &BuildSettings,
    inputs: &Inputs,
    checks: &Checks,
) -> Result<(BuildGraph, Globals), Vec<BuildError>> {
    let escape = parsed.directives.escape;
    let last = parsed.stages.last().and_then(|stage| stage.from.alias.as_deref());
    let platform = scope::platform_arguments(&settings.build_platform, &settings.platform, settings.target.as_deref().or(last));
    check_defaults(parsed, &platform, checks);
    let globals = global_scope(&platform, &settings.build_args, &parsed.global_args, escape)
        .map_err(|(instruction, failure)| vec![failure.at(&inputs.dockerfile, &instruction.span)])?;
    let mut stages: Vec<Stage> = Vec::new();
    let mut errors: Vec<BuildError> = epoch::check(parsed, settings, &globals).err().into_iter().collect();
    for (index, source) in parsed.stages.iter().enumerate() {
        check_from(&source.from, &globals, escape, checks);
        match resolve(index, source, &stages, &globals, escape, settings) {
            Ok(stage) => stages.push(stage),
            Err(failure) => {
                errors.push(failure.at(&inputs.dockerfile, &source.from.instruction.span));
                // It keeps its place and its name, so that those after it are read as they would be.
                stages.push(Stage { index, base: Base::Scratch, platform: settings.platform.clone(), source: source.clone() });
            }
        }
    }
    match BuildGraph::new(stages, settings.target.as_deref()) {
        Ok(graph) if errors.is_empty() => Ok((graph, globals)),
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push(BuildError::other(error.to_string()));
            Err(errors)
        }
    }
}

/// What a FROM means: a named context, an earlier stage, scratch, an image.
fn resolve(
    index: usize,
    source: &StageSource,
    earlier: &[Stage],
    globals: &Globals,
    escape: char,
    settings: &BuildSettings,
) -> Result<Stage, Failure> {
    let from = &source.from;
    let get = |name: &str| globals.scope.get(name).map(str::to_owned);
    let word = expand_word(&from.image, escape, &get)?;
    let platform = match &from.platform {
        Some(text) => {
            let Expansion { value, unset, .. } = Expander::new(escape, &get).word(text)?;
            let meant = || unset.iter().find_map(|name| suggest_exactly(name, globals.scope.names()));
            let meant = || meant().map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
            if value.is_empty() {
                return Err(Failure::new(format!("empty platform value from expression {text}{}", meant())));
            }
            let failed = |e| Failure::because(format!("failed to parse platform {text}{}", meant()), e);
            value.parse::<Platform>().map_err(failed)?
        }
        None => settings.platform.clone(),
    };
    if word.is_empty() {
        return Err(Failure::new(format!("base name ({}) should not be blank", from.image))
            .hint("declare the argument before the first FROM, or give it with --build-arg"));
    }
    let context = |name: &str| settings.named_context(name, &platform).is_some();
    let named = |name: String| match settings.named_context(&name, &platform) {
        Some(NamedContext::Scratch) => Base::Scratch,
        _ => Base::Named(name),
    };
    let made = |base, source: StageSource| Ok(Stage { index, base, platform: platform.clone(), source });
    if let Some(alias) = from.alias.as_deref().filter(|alias| context(alias)) {
        return made(named(alias.to_owned()), StageSource { instructions: Vec::new(), ..source.clone() });
    }
    let by_name = |stage: &Stage| stage.source.from.alias.is_some();
    if let Some(stage) =
        find_stage(earlier, &word, index).filter(|i| earlier.get(*i).is_some_and(by_name) && word.parse::<usize>().is_err())
    {
        return made(Base::Stage(stage), source.clone());
    }
    if context(&word) {
        return made(named(word), source.clone());
    }
    if word == "scratch" {
        return made(Base::Scratch, source.clone());
    }
    let reference: Reference = word.parse().map_err(|e| {
        let names = earlier.iter().filter_map(|stage| stage.source.from.alias.as_deref());
        let failure = Failure::because(format!("failed to parse stage name {word:?}"), e);
        match suggest(&word, names) {
            Some(stage) => failure.hint(format!("did you mean the stage {stage}?")),
            None => failure,
        }
    })?;
    made(Base::Image(reference), source.clone())
}

/// Reports what is odd about a FROM and its arguments.
fn check_from(from: &FromInstruction, globals: &Globals, escape: char, checks: &Checks) {
    let get = |name: &str| globals.scope.get(name).map(str::to_owned);
    let at = &from.instruction;
    let expand = |text: &str| {
        let expanded = Expander::new(escape, &get).word(text);
        let unset: Vec<String> = match &expanded {
            Ok(expanded) => expanded.unset.iter().cloned().collect(),
            Err(error) => error.unset.clone(),
        };
        for name in unset.iter().filter(|name| !globals.scope.declares(name)) {
            let near = suggest_exactly(name, globals.scope.names()).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            checks.report(&rules::UNDEFINED_ARG_IN_FROM, format!("FROM argument '{name}' is not declared{near}"), at);
        }
        expanded.ok()
    };
    expand(&from.image);
    let Some((text, expanded)) = from.platform.as_ref().and_then(|text| Some((text, expand(text)?))) else { return };
    let Expansion { value, used, unset } = expanded;
    if unset.is_empty() && used.iter().eq(["TARGETPLATFORM"]) && get("TARGETPLATFORM").as_ref() == Some(&value) {
        let message = format!("Setting platform to predefined {text} in FROM is redundant as this is the default behavior");
        checks.report(&rules::REDUNDANT_TARGET_PLATFORM, message, at);
    }
    if let (true, Ok(platform)) = (unset.is_empty() && used.is_empty(), value.parse::<Platform>()) {
        // A stage that says what it is for is meant to be for that.
        let named = |part: &str| from.alias.as_ref().is_some_and(|alias| alias.contains(part));
        if !named(&platform.os) && !named(&platform.architecture) {
            let message = format!("FROM --platform flag should not use constant value {value:?}");
            checks.report(&rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, at);
        }
    }
}

/// Reports base names that are none unless build arguments are given.
fn check_defaults(parsed: &Dockerfile, platform: &[(String, String)], checks: &Checks) {
    let escape = parsed.directives.escape;
    let Ok(defaults) = global_scope(platform, &[], &parsed.global_args, escape) else { return };
    let get = |name: &str| defaults.scope.get(name).map(str::to_owned);
    for stage in &parsed.stages {
        let from = &stage.from;
        let Ok(word) = expand_word(&from.image, escape, &get) else { return };
        if word.parse::<Reference>().is_err() {
            let message = format!("Default value for ARG {} results in empty or invalid base image name", from.image);
            checks.report(&rules::INVALID_DEFAULT_ARG_IN_FROM, message, &from.instruction);
        }
    }
}
