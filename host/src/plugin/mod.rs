//! Plugins: WebAssembly components behind the interfaces of `wit/`.
//!
//! The only module that names wasmtime. It implements the traits of `build` and `registry` on top of what components export, and gives the
//! components what they were granted and nothing else. It decides nothing about builds.

mod auth;
mod builtin;
mod compile_cache;
mod config;
mod convert;
mod engine;
mod engine_config;
mod error;
mod grant;
mod import;
mod instance;
mod instruction;
mod lazy;
mod limits;
mod load;
mod lock;
mod mirror;
mod precompiled;
mod shape;
mod state;
mod text;
mod v0_1;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

pub use builtin::{names as standard_names, registry_variables, usual_grants};
pub use config::{PluginOrigin, PluginSettings, PluginSource};
pub use error::PluginError;
pub use grant::{FileGrant, Grant, GrantError, HostGrant, HostVariable};
pub use instance::PluginInfo;
pub use limits::{Exceeded, Limits};
pub use lock::{LockError, Locked, PluginConfig, PluginLock};
pub use shape::{Import, ShapeError, World};

use auth::AuthPlugin;
use compile_cache::CompileCache;
use engine::Runtime;
use instance::{Call, Plugin};
use instruction::{InstructionPlugin, Said};
use lazy::LazyAuth;
use mirror::MirrorPlugin;
use state::{Ambient, Who};

use crate::build::handler::InstructionHandler;
use crate::progress::{Level, Reporter};
use crate::registry::auth::AuthProvider;
use crate::registry::mirror::MirrorResolver;

/// Keywords that shape the build itself, and so are the host's.
const RESERVED: &[&str] = &["FROM", "ARG"];

/// The plugins of a build, loaded and ready.
pub struct PluginSet {
    handlers: Vec<Arc<InstructionPlugin>>,
    providers: Vec<Arc<dyn AuthProvider>>,
    resolvers: Vec<Arc<MirrorPlugin>>,
    infos: Vec<PluginInfo>,
    names: BTreeSet<String>,
}

/// A plugin of one of the worlds.
enum Ready {
    Handler(Arc<InstructionPlugin>),
    Provider(AuthPlugin),
    Resolver(MirrorPlugin),
    /// A provider that comes with the program, which is loaded when it is asked first.
    Waiting(LazyAuth),
}

impl PluginSet {
    /// Loads the plugins, several at once, asks each what it is, and checks that they go together.
    ///
    /// # Errors
    /// The first plugin, in the order of the settings, that cannot be used; two that claim one keyword.
    pub fn load(settings: &PluginSettings, reporter: Arc<dyn Reporter>) -> Result<Self, PluginError> {
        let runtime = Runtime::new()?;
        let ambient = Arc::new(Ambient {
            environment: settings.environment.clone(),
            home: settings.home.clone(),
            search_path: settings.search_path.clone(),
            reporter: Arc::clone(&reporter),
            secrets: Arc::clone(&settings.secrets),
        });
        let from_files = settings.plugins.iter().filter(|source| !matches!(source.origin, PluginOrigin::Standard(_))).count();
        let cache = settings.cache_dir.as_deref().filter(|_| from_files > 0).and_then(|folder| {
            CompileCache::open(folder, runtime.engine())
                .inspect_err(|error| reporter.log(Level::Warning, &format!("compiled plugins are not kept: {error}")))
                .ok()
        });
        let one = |source: &PluginSource| match &source.origin {
            PluginOrigin::Standard(name) if settings.lazy && builtin::is_provider(name) => {
                Ok(Ready::Waiting(LazyAuth::new(name, source, &runtime, settings, &ambient)))
            }
            _ => Ready::new(source, &runtime, cache.as_ref(), settings, &ambient),
        };
        // What comes with the program loads in less time than a thread starts in.
        let ready: Vec<Result<Ready, PluginError>> = if from_files < 2 {
            settings.plugins.iter().map(one).collect()
        } else {
            thread::scope(|scope| {
                let started: Vec<_> = settings.plugins.iter().map(|source| scope.spawn(|| one(source))).collect();
                let ended = started.into_iter().zip(&settings.plugins).map(|(thread, source)| {
                    thread.join().unwrap_or_else(|_| {
                        Err(PluginError::Unusable { plugin: source.origin.to_string(), reason: "the compiler failed on it".to_owned() })
                    })
                });
                ended.collect()
            })
        };

        let mut set =
            Self { handlers: Vec::new(), providers: Vec::new(), resolvers: Vec::new(), infos: Vec::new(), names: BTreeSet::new() };
        for ready in ready {
            set.add(ready?)?;
        }
        set.check_keywords()?;
        Ok(set)
    }

    /// The handlers of Dockerfile instructions.
    pub fn handlers(&self) -> Vec<Arc<dyn InstructionHandler>> {
        self.handlers.iter().map(|handler| Arc::clone(handler) as Arc<dyn InstructionHandler>).collect()
    }

    /// The providers of credentials, in the order in which they are asked.
    pub fn auth_providers(&self) -> Vec<Arc<dyn AuthProvider>> {
        self.providers.clone()
    }

    /// The mirror resolvers, in the order in which they are asked.
    pub fn mirror_resolvers(&self) -> Vec<Arc<dyn MirrorResolver>> {
        self.resolvers.iter().map(|resolver| Arc::clone(resolver) as Arc<dyn MirrorResolver>).collect()
    }

    /// What was loaded, in the order of the settings; without the providers that wait to be asked.
    pub fn infos(&self) -> &[PluginInfo] {
        &self.infos
    }

    fn add(&mut self, ready: Ready) -> Result<(), PluginError> {
        let name = ready.name();
        if !self.names.insert(name.clone()) {
            return Err(PluginError::NamedTwice(name));
        }
        match ready {
            Ready::Handler(handler) => {
                self.infos.push(handler.plugin().info.clone());
                self.handlers.push(handler);
            }
            Ready::Provider(provider) => {
                self.infos.push(provider.plugin().info.clone());
                self.providers.push(Arc::new(provider));
            }
            Ready::Resolver(resolver) => {
                self.infos.push(resolver.plugin().info.clone());
                self.resolvers.push(Arc::new(resolver));
            }
            Ready::Waiting(provider) => self.providers.push(Arc::new(provider)),
        }
        Ok(())
    }

    fn check_keywords(&self) -> Result<(), PluginError> {
        let mut claimed: BTreeMap<&str, &str> = RESERVED.iter().map(|keyword| (*keyword, "layerwright itself")).collect();
        for handler in &self.handlers {
            for keyword in handler.keywords() {
                if let Some(first) = claimed.insert(&keyword.name, handler.name()) {
                    return Err(PluginError::KeywordTwice {
                        keyword: keyword.name.clone(),
                        first: first.to_owned(),
                        second: handler.name().to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl Ready {
    fn new(
        source: &PluginSource,
        runtime: &Runtime,
        cache: Option<&CompileCache>,
        settings: &PluginSettings,
        ambient: &Arc<Ambient>,
    ) -> Result<Self, PluginError> {
        let limits = &settings.limits;
        let loaded = load::load(source, runtime.engine(), cache, limits.file, &*ambient.reporter)?;
        let unusable = |error: wasmtime::Error| PluginError::Unusable { plugin: loaded.origin.clone(), reason: format!("{error:#}") };
        // While it says what it is, every interface is there and refuses; afterwards those alone of which something is granted. What comes
        // with the program goes on without what is missing.
        let whole = v0_1::link(&loaded.component, &loaded.shape, |_| true).map_err(unusable)?;
        let standard = matches!(source.origin, PluginOrigin::Standard(_));
        let granted = |import: Import| standard || import.is_granted(&source.grants);
        let linked = match loaded.shape.imports.iter().all(|import| granted(*import)) {
            true => whole.clone(),
            false => v0_1::link(&loaded.component, &loaded.shape, granted).map_err(unusable)?,
        };
        let stranger = Arc::new(Who {
            name: loaded.origin.clone(),
            origin: loaded.origin.clone(),
            grants: Vec::new(),
            wants: Vec::new(),
            environment: BTreeMap::new(),
            ambient: Arc::clone(ambient),
        });
        let describing = |work: &mut dyn FnMut(&mut wasmtime::Store<state::State>) -> wasmtime::Result<v0_1::wit::types::Description>| {
            instance::call(runtime, limits, &stranger, Call::describe(), work).map(|(description, _)| description)
        };
        let introduce = |description| Plugin::introduce(&loaded, description, runtime.clone(), limits.clone(), source, Arc::clone(ambient));
        match loaded.shape.world {
            World::InstructionHandler => {
                let guest = v0_1::instruction_handler::InstructionHandlerPre::new(linked).map_err(unusable)?;
                let mut claims = Said::default();
                let about = describing(&mut |store| {
                    let said = guest.instantiate(&mut *store)?.layerwright_plugin_instruction().call_describe(&mut *store)?;
                    claims = Said { keywords: said.keywords, rules: said.rules };
                    Ok(said.about)
                })?;
                Ok(Self::Handler(Arc::new(InstructionPlugin::new(introduce(about)?, guest, claims)?)))
            }
            World::AuthProvider => {
                let guest = v0_1::auth_provider::AuthProviderPre::new(linked).map_err(unusable)?;
                let asked = v0_1::auth_provider::AuthProviderPre::new(whole).map_err(unusable)?;
                let about = describing(&mut |store| asked.instantiate(&mut *store)?.layerwright_plugin_auth().call_describe(&mut *store))?;
                Ok(Self::Provider(AuthPlugin::new(introduce(about)?, guest)))
            }
            World::MirrorResolver => {
                let guest = v0_1::mirror_resolver::MirrorResolverPre::new(linked).map_err(unusable)?;
                let asked = v0_1::mirror_resolver::MirrorResolverPre::new(whole).map_err(unusable)?;
                let about =
                    describing(&mut |store| asked.instantiate(&mut *store)?.layerwright_plugin_mirror().call_describe(&mut *store))?;
                Ok(Self::Resolver(MirrorPlugin::new(introduce(about)?, guest)))
            }
        }
    }

    /// `namespace/name`
    fn name(&self) -> String {
        match self {
            Self::Handler(handler) => handler.plugin().info.name.clone(),
            Self::Provider(provider) => provider.plugin().info.name.clone(),
            Self::Resolver(resolver) => resolver.plugin().info.name.clone(),
            Self::Waiting(provider) => provider.name().to_owned(),
        }
    }
}
