use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::registry::RegistryArguments;
use super::settings::UsageError;
use super::{env, plugin_config};
use crate::plugin::{Grant, PluginOrigin, PluginSettings, PluginSource, registry_variables};

/// The flags for plugins.
#[derive(Debug, Default, Args)]
pub struct PluginArguments {
    /// Who is asked for credentials after docker's configuration, and in which order: env, google, ecr, acr, gitlab, github; empty: nobody
    #[arg(long = "credential-helpers", value_name = "NAME,…", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub credential_helpers: Option<Vec<String>>,
    /// Plugin to load: a WebAssembly component
    #[arg(long = "plugin", value_name = "FILE")]
    pub plugins: Vec<PathBuf>,
    /// Plugins and their grants, as approved in the lock beside it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Authority for a plugin, for instance `acme/login:env=ACME_TOKEN`
    #[arg(long = "grant", value_name = "PLUGIN:GRANT")]
    pub grants: Vec<String>,
}

/// The standard plugins and those that flags name, with what each may see. `warn` takes what does no harm and is likely a mistake.
///
/// # Errors
/// A grant that does not parse or belongs to no plugin.
pub fn plugin_settings(
    args: &PluginArguments,
    registry: &RegistryArguments,
    warn: &mut dyn FnMut(String),
) -> Result<PluginSettings, UsageError> {
    let mut settings = surroundings();
    super::mirrors::hand_out(registry, &mut settings)?;
    settings.lazy = true;
    let (docker_config, others): (Vec<_>, Vec<_>) = std::mem::take(&mut settings.plugins).into_iter().partition(is_docker_config);
    let (providers, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|plugin| helper_name(&plugin.origin).is_some());
    // Whoever names a plugin means it: it is asked before those that know their registries by themselves.
    settings.plugins = docker_config;
    if let Some(config) = args.config.clone().or_else(|| env::get(env::LAYERWRIGHT_CONFIG).map(PathBuf::from)) {
        settings.plugins.extend(plugin_config::approved(&config, settings.cache_dir.as_deref())?);
    }
    settings.plugins.extend(args.plugins.iter().map(PluginSource::file));
    settings.plugins.extend(chosen(args.credential_helpers.as_deref(), providers, warn));
    settings.plugins.extend(others);
    if let Some(mirrors) = settings.plugins.iter_mut().find(|p| p.origin == PluginOrigin::Standard("mirror-kaniko".to_owned())) {
        mirrors.environment.extend(mirror_environment(registry));
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

/// Providers as `--credential-helpers` calls them, in kaniko's order; `github` is our own.
const HELPERS: [(&str, &str); 6] = [
    ("env", "auth-env"),
    ("google", "auth-google"),
    ("ecr", "auth-ecr"),
    ("acr", "auth-azure"),
    ("gitlab", "auth-gitlab"),
    ("github", "auth-github"),
];

fn helper_name(origin: &PluginOrigin) -> Option<&'static str> {
    let PluginOrigin::Standard(name) = origin else { return None };
    HELPERS.iter().find(|(_, plugin)| plugin == name).map(|(helper, _)| *helper)
}

fn is_docker_config(plugin: &PluginSource) -> bool {
    matches!(&plugin.origin, PluginOrigin::Standard(name) if name == "auth-docker-config")
}

/// The providers that the flag names, in its order; all of them where it is not given, none where it is empty.
fn chosen(flag: Option<&[String]>, providers: Vec<PluginSource>, warn: &mut dyn FnMut(String)) -> Vec<PluginSource> {
    let Some(names) = flag else { return providers };
    let mut chosen: Vec<PluginSource> = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        match providers.iter().find(|plugin| helper_name(&plugin.origin) == Some(name)) {
            Some(plugin) if chosen.iter().all(|other| other.origin != plugin.origin) => chosen.push(plugin.clone()),
            Some(_) => {}
            None => {
                let known: Vec<&str> = HELPERS.iter().map(|(helper, _)| *helper).collect();
                warn(format!("--credential-helpers: {name:?} is unknown and passed over; known are {}", known.join(", ")));
            }
        }
    }
    chosen
}

/// The standard plugins and what the environment holds for plugins that are granted it.
pub fn surroundings() -> PluginSettings {
    let home = env::get(env::HOME).map(PathBuf::from);
    let mut environment: BTreeMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let mut settings = PluginSettings::standard();
    // Grants of files are absolute.
    for name in settings.plugins.iter().flat_map(|plugin| &plugin.grants).filter_map(Grant::path_variable) {
        if let Some(path) = environment.get_mut(name).filter(|path| !path.trim().is_empty())
            && let Ok(Ok(absolute)) = std::path::absolute(&path).map(|path| path.into_os_string().into_string())
        {
            *path = absolute;
        }
    }
    if let Some(docker) = settings.plugins.iter_mut().find(|plugin| is_docker_config(plugin)) {
        docker.environment.insert("UID".to_owned(), rustix::process::geteuid().as_raw().to_string());
    }
    if let Some(variables) = settings.plugins.iter_mut().find(|plugin| helper_name(&plugin.origin) == Some("env")) {
        variables.grants.extend(registry_variables(environment.keys()));
    }
    PluginSettings {
        environment,
        search_path: env::get(env::PATH).map(|path| std::env::split_paths(&path).filter(|p| p.is_absolute()).collect()).unwrap_or_default(),
        cache_dir: env::get(env::XDG_CACHE_HOME)
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|h| h.join(".cache")))
            .map(|d| d.join("layerwright/plugins")),
        home,
        ..settings
    }
}

/// A plugin is called by its standard name, its file or its file's stem.
fn is_called(origin: &PluginOrigin, name: &str) -> bool {
    match origin {
        PluginOrigin::Standard(standard) => standard == name,
        PluginOrigin::File(path) => path == Path::new(name) || path.file_stem().is_some_and(|stem| stem == name),
        PluginOrigin::Registry { name: reference, .. } => reference == name,
    }
}

/// What the flags for mirrors say, as the variables that the mirror resolver reads.
fn mirror_environment(args: &RegistryArguments) -> BTreeMap<String, String> {
    let joined = |flags: &[String], variable: &str| {
        let all: Vec<String> = flags.iter().cloned().chain(env::get(variable)).collect();
        (!all.is_empty()).then(|| (variable.to_owned(), all.join(";")))
    };
    let fallback = args.skip_default_registry_fallback.then(|| (env::KANIKO_SKIP_DEFAULT_REGISTRY_FALLBACK.to_owned(), "true".to_owned()));
    let mirrors = joined(&args.registry_mirrors, env::KANIKO_REGISTRY_MIRROR);
    let maps = joined(&args.registry_maps, env::KANIKO_REGISTRY_MAP);
    [mirrors, maps, fallback].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helpers(flag: Option<&[&str]>) -> (Vec<&'static str>, Vec<String>) {
        let flag: Option<Vec<String>> = flag.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let providers = PluginSettings::standard().plugins.into_iter().filter(|plugin| helper_name(&plugin.origin).is_some()).collect();
        let mut warnings = Vec::new();
        let chosen = chosen(flag.as_deref(), providers, &mut |warning| warnings.push(warning));
        (chosen.iter().filter_map(|plugin| helper_name(&plugin.origin)).collect(), warnings)
    }

    #[test]
    fn credential_helpers_are_chosen_and_ordered_as_in_kaniko() {
        assert_eq!(helpers(None).0, ["env", "google", "ecr", "acr", "gitlab", "github"]);
        assert_eq!(helpers(Some(&["gitlab", "env", "gitlab"])), (vec!["gitlab", "env"], vec![]));
        assert_eq!(helpers(Some(&[""])), (vec![], vec![]));
        let (chosen, warnings) = helpers(Some(&["aws", " ecr"]));
        assert_eq!(chosen, ["ecr"]);
        assert!(warnings[0].contains("\"aws\" is unknown"), "{warnings:?}");
    }
}
