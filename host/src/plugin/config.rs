//! Which plugins a build uses and what each is allowed: plain data, made by whoever reads settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::builtin;
use super::grant::Grant;
use super::limits::Limits;
use super::lock::Locked;
use crate::progress::Secrets;

/// All that plugins get to know of the world.
#[derive(Clone, Default)]
pub struct PluginSettings {
    /// The plugins, in the order in which they are asked.
    pub plugins: Vec<PluginSource>,
    /// The environment; a plugin sees the variables that it is granted.
    pub environment: BTreeMap<String, String>,
    /// What `~/` stands for.
    pub home: Option<PathBuf>,
    /// The folders in which credential helpers are looked for.
    pub search_path: Vec<PathBuf>,
    /// Where compiled plugins are kept; none: compiled anew every time.
    pub cache_dir: Option<PathBuf>,
    /// For every call.
    pub limits: Limits,
    /// Where secrets go that providers come by, so that nothing shows them.
    pub secrets: Arc<Secrets>,
    /// Whether a provider of credentials that comes with the program is loaded only when it is asked; [`super::PluginSet::infos`] lacks it.
    pub lazy: bool,
}

/// One plugin.
#[derive(Clone)]
pub struct PluginSource {
    /// Where it comes from.
    pub origin: PluginOrigin,
    /// What it is allowed.
    pub grants: Vec<Grant>,
    /// Variables that this plugin sees with these values instead of the environment's, where it is granted them.
    pub environment: BTreeMap<String, String>,
    /// What the operator approved of it, where that is to be checked.
    pub approved: Option<Locked>,
}

/// Where a plugin comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PluginOrigin {
    /// It comes with the program, under this name.
    Standard(String),
    /// A file: a component, or a core module built with the plugin bindings.
    File(PathBuf),
    /// The same from a registry, which is in a file by now.
    Registry {
        /// As an image is named.
        name: String,
        /// Where it is kept.
        file: PathBuf,
    },
}

impl PluginSettings {
    /// Every standard plugin with its usual grants, and nothing else.
    pub fn standard() -> Self {
        Self { plugins: builtin::names().map(PluginSource::standard).collect(), ..Self::default() }
    }
}

impl PluginSource {
    /// A plugin that comes with the program, with its usual grants.
    pub fn standard(name: &str) -> Self {
        Self { grants: builtin::usual_grants(name), ..Self::from_elsewhere(PluginOrigin::Standard(name.to_owned())) }
    }

    /// A plugin from a file, which is allowed nothing.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::from_elsewhere(PluginOrigin::File(path.into()))
    }

    /// A plugin that is allowed nothing.
    pub fn from_elsewhere(origin: PluginOrigin) -> Self {
        Self { origin, grants: Vec::new(), environment: BTreeMap::new(), approved: None }
    }
}

impl fmt::Display for PluginOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Registry { name, .. } => f.write_str(name),
        }
    }
}

// By hand: values of variables are secrets as often as not.
impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSettings")
            .field("plugins", &self.plugins)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .field("home", &self.home)
            .field("search_path", &self.search_path)
            .field("cache_dir", &self.cache_dir)
            .field("limits", &self.limits)
            .field("lazy", &self.lazy)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PluginSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSource")
            .field("origin", &self.origin)
            .field("grants", &self.grants)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .finish()
    }
}
