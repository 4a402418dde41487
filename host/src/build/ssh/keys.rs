use num_bigint::BigUint;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};
use ssh_key::{Mpint, PrivateKey};

const IDENTITIES_ANSWER: u8 = 12;
const SIGN_RESPONSE: u8 = 14;
/// Ask for RSA with SHA-256, and with SHA-512.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Why a file is no key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not of OpenSSH's form, or damaged.
    #[error("it is no private key in OpenSSH's format")]
    Unreadable(#[source] ssh_key::Error),
    /// There is nobody to ask for the passphrase.
    #[error("the key has a passphrase")]
    Encrypted,
    /// Of a kind that is not known here, or broken.
    #[error("keys of the kind {0} cannot be used")]
    Unusable(String),
}

/// Private keys and the answers of an agent that holds them. No output shows them.
#[derive(Default)]
pub struct Keys(Vec<Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keys").field(&self.0.len()).finish()
    }
}

struct Key {
    /// The public key as the protocol writes it.
    public: Vec<u8>,
    comment: String,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    /// With the name of its algorithm.
    Ecdsa(&'static str, EcdsaKeyPair),
}

impl Keys {
    /// Adds the key of a file's content.
    ///
    /// # Errors
    /// The content is no key, or the key is of no use here.
    pub fn add(&mut self, content: &[u8]) -> Result<(), KeyError> {
        let key = PrivateKey::from_openssh(content).map_err(KeyError::Unreadable)?;
        if key.is_encrypted() {
            return Err(KeyError::Encrypted);
        }
        let unusable = || KeyError::Unusable(key.algorithm().to_string());
        let pair = match key.key_data() {
            KeypairData::Ed25519(pair) => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&pair.private.to_bytes(), &pair.public.0);
                pair.ok().map(Pair::Ed25519)
            }
            KeypairData::Rsa(pair) => rsa(pair).map(Pair::Rsa),
            KeypairData::Ecdsa(pair @ EcdsaKeypair::NistP256 { .. }) => {
                ecdsa(pair, "ecdsa-sha2-nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING)
            }
            KeypairData::Ecdsa(pair @ EcdsaKeypair::NistP384 { .. }) => {
                ecdsa(pair, "ecdsa-sha2-nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING)
            }
            _ => None,
        };
        let public = key.public_key().to_bytes().map_err(KeyError::Unreadable)?;
        self.0.push(Key { public, comment: key.comment().to_owned(), pair: pair.ok_or_else(unusable)? });
        Ok(())
    }

    /// The answer to who there is.
    pub fn list(&self) -> Vec<u8> {
        let mut reply = vec![IDENTITIES_ANSWER];
        reply.extend(u32::try_from(self.0.len()).unwrap_or_default().to_be_bytes());
        for key in &self.0 {
            put(&mut reply, &key.public);
            put(&mut reply, key.comment.as_bytes());
        }
        reply
    }

    /// The answer to a request for a signature, without its first byte; none where it is to be refused.
    pub fn sign(&self, request: &[u8]) -> Option<Vec<u8>> {
        let (public, rest) = take(request)?;
        let (data, rest) = take(rest)?;
        let flags = u32::from_be_bytes(rest.first_chunk().copied().unwrap_or_default());
        let key = self.0.iter().find(|key| key.public == public)?;
        let (algorithm, signature) = match &key.pair {
            Pair::Ed25519(pair) => ("ssh-ed25519", pair.sign(data).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                // What asks for neither wants SHA-1, which is forged.
                let (algorithm, padding) = match flags {
                    flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &SystemRandom::new(), data, &mut signature).ok()?;
                (algorithm, signature)
            }
            Pair::Ecdsa(algorithm, pair) => {
                let fixed = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = fixed.as_ref().split_at_checked(fixed.as_ref().len() / 2)?;
                let mut signature = Vec::new();
                for number in [r, s] {
                    put(&mut signature, Mpint::from_positive_bytes(number).ok()?.as_bytes());
                }
                (*algorithm, signature)
            }
        };
        let mut blob = Vec::new();
        put(&mut blob, algorithm.as_bytes());
        put(&mut blob, &signature);
        let mut reply = vec![SIGN_RESPONSE];
        put(&mut reply, &blob);
        Some(reply)
    }
}

fn ecdsa(pair: &EcdsaKeypair, name: &'static str, algorithm: &'static EcdsaSigningAlgorithm) -> Option<Pair> {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, pair.private_key_bytes(), pair.public_key_bytes(), &random);
    pair.ok().map(|pair| Pair::Ecdsa(name, pair))
}

fn rsa(pair: &RsaKeypair) -> Option<RsaKeyPair> {
    let number = |number: &Mpint| number.as_positive_bytes().map(<[u8]>::to_vec);
    let (p, q, d) = (number(&pair.private.p)?, number(&pair.private.q)?, number(&pair.private.d)?);
    // OpenSSH leaves out what follows from the rest.
    let reduced = |prime: &[u8]| {
        let one_less = BigUint::from_bytes_be(prime) - 1u8;
        (BigUint::from_bytes_be(&d) % one_less).to_bytes_be()
    };
    if p.iter().all(|byte| *byte == 0) || p == [1] || q.iter().all(|byte| *byte == 0) || q == [1] {
        return None;
    }
    RsaKeyPair::from_components(&ring::rsa::KeyPairComponents {
        public_key: ring::rsa::PublicKeyComponents { n: number(&pair.public.n)?, e: number(&pair.public.e)? },
        dP: reduced(&p),
        dQ: reduced(&q),
        qInv: number(&pair.private.iqmp)?,
        p,
        q,
        d,
    })
    .ok()
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
    to.extend_from_slice(bytes);
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(Keys::default().add(b"no key"), Err(KeyError::Unreadable(_))));
        assert!(matches!(
            Keys::default().add(b"-----BEGIN RSA PRIVATE KEY-----\nMII=\n-----END RSA PRIVATE KEY-----\n"),
            Err(KeyError::Unreadable(_))
        ));
    }

    #[test]
    fn an_agent_without_keys_has_none_and_signs_nothing() {
        let keys = Keys::default();
        assert_eq!(keys.list(), [12, 0, 0, 0, 0]);
        for request in [&b""[..], &[0, 0, 0, 9, 1], &[0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0], &[255; 12]] {
            assert_eq!(keys.sign(request), None);
        }
    }
}
