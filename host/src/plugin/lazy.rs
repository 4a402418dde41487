//! Providers of credentials that are loaded when somebody asks: a build that no registry asks for a credential loads none of them.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use super::auth::AuthPlugin;
use super::config::{PluginSettings, PluginSource};
use super::engine::Runtime;
use super::state::Ambient;
use super::{PluginError, Ready};
use crate::registry::auth::{AuthAnswer, AuthError, AuthProvider, AuthTarget};

/// A standard provider, loaded at the first question.
pub(super) struct LazyAuth {
    name: String,
    loaded: OnceLock<Result<AuthPlugin, String>>,
    load: Box<dyn Fn() -> Result<AuthPlugin, String> + Send + Sync>,
}

impl LazyAuth {
    pub(super) fn new(standard: &str, source: &PluginSource, runtime: &Runtime, settings: &PluginSettings, ambient: &Arc<Ambient>) -> Self {
        let (source, runtime, settings, ambient) = (source.clone(), runtime.clone(), settings.clone(), Arc::clone(ambient));
        let load = move || match Ready::new(&source, &runtime, None, &settings, &ambient) {
            Ok(Ready::Provider(provider)) => Ok(provider),
            Ok(_) => Err("it provides no credentials".to_owned()),
            Err(error @ PluginError::Unusable { .. }) => Err(error.to_string()),
            Err(error) => Err(format!("it cannot be loaded: {error}")),
        };
        Self { name: format!("layerwright/{standard}"), loaded: OnceLock::new(), load: Box::new(load) }
    }

    /// `namespace/name`
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait]
impl AuthProvider for LazyAuth {
    async fn credential(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
        match self.loaded.get_or_init(|| (self.load)()) {
            Ok(provider) => provider.credential(target).await,
            Err(message) => Err(AuthError { provider: self.name.clone(), message: message.clone(), hint: None }),
        }
    }
}
