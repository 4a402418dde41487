//! Takes in code that was compiled earlier: the one place where the plugin host trusts bytes.
//!
//! Compiled code runs with the host's own power, so only two sources count: what the build script put into the program, and the cache, after
//! its owner, its place and its checksum have been found right.
#![expect(unsafe_code, reason = "wasmtime marks taking compiled code in as unsafe, since it cannot check it")]

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::builtin::Embedded;

/// Begins every file of the cache.
const DOMAIN: &[u8] = b"layerwright compiled plugin 1\n";
const CHECKSUM: usize = 32;

/// Compiled code that may be trusted.
pub(super) struct Trusted<'a>(&'a [u8]);

impl<'a> Trusted<'a> {
    /// What the build script compiled.
    pub(super) fn embedded(embedded: &Embedded) -> Trusted<'static> {
        Trusted(embedded.compiled)
    }

    /// What [`seal`] wrote for the component of this digest; none where a byte differs. The caller has made sure that the bytes come from a
    /// file that nobody but the user of this process could write.
    pub(super) fn unseal(sealed: &'a [u8], component: &str) -> Option<Self> {
        let (checksum, compiled) = sealed.strip_prefix(DOMAIN)?.split_at_checked(CHECKSUM)?;
        (checksum == self::checksum(component, compiled)).then_some(Self(compiled))
    }

    /// Makes it callable.
    ///
    /// # Errors
    /// Where it was compiled by another version or configuration of the engine, or for another processor; wasmtime finds out.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what `Engine::precompile_component` or `Component::serialize` made, unchanged: `Trusted` is made in this
        // file only, from bytes of this program or from a file whose owner and checksum were found right.
        unsafe { Component::deserialize(engine, self.0) }
    }
}

/// The content of a cache file for the component of this digest.
pub(super) fn seal(component: &str, compiled: &[u8]) -> Vec<u8> {
    [DOMAIN, &checksum(component, compiled), compiled].concat()
}

fn checksum(component: &str, compiled: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(component.as_bytes());
    hash.update(b"\n");
    hash.update(compiled);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_not_unsealed() {
        let sealed = seal("aa", b"code");
        assert!(Trusted::unseal(&sealed, "aa").is_some());
        assert!(Trusted::unseal(&sealed, "bb").is_none());
        assert!(Trusted::unseal(&sealed[..sealed.len() - 1], "aa").is_none());
        assert!(Trusted::unseal(b"", "aa").is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Trusted::unseal(&changed, "aa").is_none(), "{at}");
        }
    }
}
