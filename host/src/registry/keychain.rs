//! Credentials that providers gave, kept until they expire or are refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::auth::{Access, AuthAnswer, AuthError, AuthProvider, AuthTarget, Chain, Credential};

/// Asks again this many seconds before an answer expires.
const EARLY: u64 = 60;

type Known = Arc<tokio::sync::Mutex<Vec<(Access, AuthAnswer)>>>;

/// The providers and what they answered, by registry.
pub(super) struct Keychain {
    chain: Chain,
    known: Mutex<HashMap<String, Known>>,
}

impl Keychain {
    pub(super) fn new(providers: Vec<Arc<dyn AuthProvider>>) -> Self {
        Self { chain: Chain::new(providers), known: Mutex::default() }
    }

    /// The credential for a target; anonymous where no provider knows the registry. Providers are asked once, however
    /// many ask for one registry at a time.
    pub(super) async fn credential(&self, target: &AuthTarget) -> Result<Credential, AuthError> {
        let known = self.of(&target.registry);
        let mut known = known.lock().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        known.retain(|(_, answer)| answer.expires.is_none_or(|expires| expires > now.saturating_add(EARLY)));
        // An answer for writing is good for reading as well; the longest path is the closest.
        let fits =
            |(access, answer): &&(Access, AuthAnswer)| (*access == target.access || *access == Access::Push) && answer.covers(target);
        if let Some((_, answer)) = known.iter().filter(fits).max_by_key(|(_, answer)| answer.valid_for.len()) {
            return Ok(answer.credential.clone());
        }
        let answer = self.chain.credential(target).await?.unwrap_or_else(|| AuthAnswer {
            credential: Credential::Anonymous,
            valid_for: format!("{}/{}", target.registry, target.repository),
            expires: None,
        });
        let credential = answer.credential.clone();
        known.push((target.access, answer));
        Ok(credential)
    }

    /// Drops what was answered for a target, because the registry refused it.
    pub(super) async fn forget(&self, target: &AuthTarget) {
        self.of(&target.registry).lock().await.retain(|(_, answer)| !answer.covers(target));
    }

    fn of(&self, registry: &str) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(registry.to_owned()).or_default().clone()
    }
}
