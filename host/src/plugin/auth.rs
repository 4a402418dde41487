//! Providers of credentials: `registry::AuthProvider` over what a component exports.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;

use super::import::log::Log;
use super::instance::{Call, Plugin};
use super::state::State;
use super::text::{one_line, redact};
use super::v0_1::auth_provider::AuthProviderPre;
use super::v0_1::auth_provider::exports::layerwright::plugin::auth as guest;
use super::v0_1::wit::types;
use crate::registry::auth::{Access, AuthAnswer, AuthError, AuthProvider, AuthTarget, Credential, Secret};

/// What a name, password or token can be at most, in bytes: it has to fit into a header.
const LONGEST: usize = 64 << 10;

/// A component that provides credentials.
#[derive(Clone)]
pub(super) struct AuthPlugin(Arc<Parts>);

struct Parts {
    plugin: Plugin,
    guest: AuthProviderPre<State>,
}

impl AuthPlugin {
    pub(super) fn new(plugin: Plugin, guest: AuthProviderPre<State>) -> Self {
        Self(Arc::new(Parts { plugin, guest }))
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.0.plugin
    }
}

#[async_trait]
impl AuthProvider for AuthPlugin {
    async fn credential(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
        let (parts, target) = (Arc::clone(&self.0), target.clone());
        let name = self.0.plugin.info.name.clone();
        // It may wait for a helper or for the network, and computes in between.
        match tokio::task::spawn_blocking(move || parts.ask(&target)).await {
            Ok(answer) => answer,
            Err(_) => Err(AuthError { provider: name, message: "the host's side of the call failed".to_owned(), hint: None }),
        }
    }
}

impl Parts {
    fn ask(&self, target: &AuthTarget) -> Result<Option<AuthAnswer>, AuthError> {
        let asked =
            guest::Target { registry: target.registry.clone(), repository: target.repository.clone(), access: access(target.access) };
        let call = Call { function: "authenticate", describing: false, log: Log::held(), looker: None };
        let called = self.plugin.call(call, |store| {
            let instance = self.guest.instantiate(&mut *store)?;
            let answer = instance.layerwright_plugin_auth().call_authenticate(&mut *store, &asked)?;
            if let Ok(Some(answer)) = &answer {
                store.data_mut().hide(secrets(&answer.credential));
            }
            Ok(answer)
        });
        let (answer, outcome) = called.map_err(|error| self.failed(&error.to_string(), None))?;
        match answer {
            Ok(None) => Ok(None),
            Ok(Some(answer)) => self.accept(answer, target).map(Some),
            Err(types::Error { message, hint, .. }) => {
                let shown = |text: &str| one_line(&redact(text, &outcome.secrets), 4096);
                Err(self.failed(&shown(&message), hint.as_deref().map(shown).or(outcome.denied)))
            }
        }
    }

    fn accept(&self, answer: guest::Answer, target: &AuthTarget) -> Result<AuthAnswer, AuthError> {
        let answer = AuthAnswer {
            credential: credential(answer.credential).map_err(|what| self.failed(what, None))?,
            valid_for: answer.valid_for,
            expires: answer.expires,
        };
        if !answer.covers(target) {
            let shown = one_line(&answer.valid_for, 256);
            let message = format!("it offers a credential for `{shown}` when asked for {}/{}", target.registry, target.repository);
            return Err(self.failed(&message, None));
        }
        Ok(answer)
    }

    fn failed(&self, message: &str, hint: Option<String>) -> AuthError {
        AuthError { provider: self.plugin.info.name.clone(), message: message.to_owned(), hint }
    }
}

/// As the interface has it.
pub(super) fn access(access: Access) -> types::Access {
    match access {
        Access::Pull => types::Access::Pull,
        Access::Push => types::Access::Push,
    }
}

/// What of a credential must not be shown.
fn secrets(credential: &guest::Credential) -> Vec<String> {
    match credential {
        guest::Credential::Anonymous => Vec::new(),
        // The password, and both as they go over the wire.
        guest::Credential::Basic(basic) => {
            let pair = format!("{}:{}", basic.username, basic.password);
            vec![basic.password.clone(), base64::engine::general_purpose::STANDARD.encode(pair)]
        }
        guest::Credential::IdentityToken(token) | guest::Credential::RegistryToken(token) => vec![token.clone()],
    }
}

fn credential(credential: guest::Credential) -> Result<Credential, &'static str> {
    let secret = |text: String| {
        let fits = !text.is_empty() && text.len() <= LONGEST && !text.contains(['\r', '\n', '\0']);
        if fits { Ok(Secret::new(text)) } else { Err("it offers a secret that is empty, has line ends, or is larger than 64 KiB") }
    };
    Ok(match credential {
        guest::Credential::Anonymous => Credential::Anonymous,
        guest::Credential::Basic(guest::Basic { username, password }) => {
            if username.contains([':', '\r', '\n', '\0']) || username.len() > LONGEST {
                return Err("it offers a user name with a colon or a line end");
            }
            Credential::Basic { username, password: secret(password)? }
        }
        guest::Credential::IdentityToken(token) => Credential::IdentityToken(secret(token)?),
        guest::Credential::RegistryToken(token) => Credential::RegistryToken(secret(token)?),
    })
}
