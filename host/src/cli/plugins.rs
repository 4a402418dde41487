use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::BuildArguments;
use super::env;
use super::settings::UsageError;
use crate::plugin::{Grant, PluginOrigin, PluginSettings, PluginSource};

/// The standard plugins and those that flags name, with what each may see.
///
/// # Errors
/// A grant that does not parse or belongs to no plugin.
pub fn plugin_settings(args: &BuildArguments) -> Result<PluginSettings, UsageError> {
    let mut settings = surroundings();
    settings.plugins.extend(args.plugins.iter().map(PluginSource::file));
    if let Some(mirrors) = settings.plugins.iter_mut().find(|p| p.origin == PluginOrigin::Standard("mirror-kaniko".to_owned())) {
        mirrors.environment.extend(mirror_environment(args));
    }
    for text in &args.grants {
        let bad = |why: String| UsageError { flag: "grant", why };
        let (name, grant) = text.split_once(':').ok_or_else(|| bad(format!("{text:?} is not PLUGIN:GRANT")))?;
        let grant: Grant = grant.parse().map_err(|e| bad(format!("{text:?}: {e}")))?;
        let plugin = settings.plugins.iter_mut().find(|plugin| is_called(&plugin.origin, name));
        plugin.ok_or_else(|| bad(format!("no plugin is called {name:?}")))?.grants.push(grant);
    }
    Ok(settings)
}

/// The standard plugins and what the environment holds for plugins that are granted it.
pub fn surroundings() -> PluginSettings {
    let home = env::get(env::HOME).map(PathBuf::from);
    let mut environment: BTreeMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    // Grants of files are absolute.
    if let Some(directory) = environment.get_mut(env::DOCKER_CONFIG)
        && let Ok(Ok(absolute)) = std::path::absolute(&directory).map(|path| path.into_os_string().into_string())
    {
        *directory = absolute;
    }
    PluginSettings {
        environment,
        search_path: env::get(env::PATH).map(|path| std::env::split_paths(&path).filter(|p| p.is_absolute()).collect()).unwrap_or_default(),
        cache_dir: env::get(env::XDG_CACHE_HOME)
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|h| h.join(".cache")))
            .map(|d| d.join("layerwright/plugins")),
        home,
        ..PluginSettings::standard()
    }
}

/// A plugin is called by its standard name, its file or its file's stem.
fn is_called(origin: &PluginOrigin, name: &str) -> bool {
    match origin {
        PluginOrigin::Standard(standard) => standard == name,
        PluginOrigin::File(path) => path == Path::new(name) || path.file_stem().is_some_and(|stem| stem == name),
    }
}

/// What the flags for mirrors say, as the variables that the mirror resolver reads.
fn mirror_environment(args: &BuildArguments) -> BTreeMap<String, String> {
    let joined = |flags: &[String], variable: &str| {
        let all: Vec<String> = flags.iter().cloned().chain(env::get(variable)).collect();
        (!all.is_empty()).then(|| (variable.to_owned(), all.join(";")))
    };
    let fallback = args.skip_default_registry_fallback.then(|| (env::KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK.to_owned(), "true".to_owned()));
    let mirrors = joined(&args.registry_mirrors, env::KANIKO_REGISTRY_MIRROR);
    let maps = joined(&args.registry_maps, env::KANIKO_REGISTRY_MAP);
    [mirrors, maps, fallback].into_iter().flatten().collect()
}
