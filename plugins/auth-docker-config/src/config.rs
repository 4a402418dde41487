//! The format of docker's `config.json`, which podman's `auth.json` and Kubernetes' pull secrets share.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use layerwright_plugin::auth::Credential;
use serde::Deserialize;

/// What of a configuration is about credentials. The maps are sorted, so that two keys that mean the same give the same answer each time.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

/// One login.
#[derive(Default, Deserialize)]
pub(crate) struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

/// Reads a configuration. The error is the place of the fault, and nothing of what stands there.
pub(crate) fn parse(content: &[u8]) -> Result<Config, String> {
    serde_json::from_slice(content).map_err(|error| place(&error))
}

/// Reads docker's old format, the `auths` alone.
pub(crate) fn parse_old(content: &[u8]) -> Result<Config, String> {
    let auths = serde_json::from_slice(content).map_err(|error| place(&error))?;
    Ok(Config { auths: Some(auths), ..Config::default() })
}

fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

impl Config {
    /// The logins by their keys, sorted.
    pub(crate) fn auths(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.auths.iter().flatten().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The helpers of single registries by their keys, sorted.
    pub(crate) fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cred_helpers.iter().flatten().map(|(key, helper)| (key.as_str(), helper.as_str())).filter(|(_, helper)| !helper.is_empty())
    }

    /// The helper of all other registries.
    pub(crate) fn store(&self) -> Option<&str> {
        self.creds_store.as_deref().filter(|store| !store.is_empty())
    }
}

/// A login holds something that cannot be one.
#[derive(Debug)]
pub(crate) struct Malformed;

impl Entry {
    /// The credential; none where the entry only marks that a helper has one.
    pub(crate) fn credential(&self) -> Result<Option<Credential>, Malformed> {
        let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = text(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = text(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(auth) = text(&self.auth) {
            return decode(&auth).map(Some);
        }
        Ok(text(&self.username).map(|username| Credential::basic(username, self.password.clone().unwrap_or_default())))
    }
}

/// Padding is often lost when people write such files by hand.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// `base64(user:password)`.
fn decode(auth: &str) -> Result<Credential, Malformed> {
    let bytes = BASE64.decode(auth.trim()).map_err(|_| Malformed)?;
    let text = String::from_utf8(bytes).map_err(|_| Malformed)?;
    let (username, password) = text.split_once(':').ok_or(Malformed)?;
    if username.is_empty() {
        return Err(Malformed);
    }
    Ok(Credential::basic(username, password.trim_end_matches('\0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(entry: &str) -> Result<Option<Credential>, Malformed> {
        serde_json::from_str::<Entry>(entry).unwrap().credential()
    }

    #[test]
    fn logins() {
        for (entry, expected) in [
            (r#"{"auth":"dTpwOnc="}"#, Some(Credential::basic("u", "p:w"))),
            (r#"{"auth":"dTpwOnc"}"#, Some(Credential::basic("u", "p:w"))),
            (r#"{"auth":"dTpwAAA="}"#, Some(Credential::basic("u", "p"))),
            (r#"{"username":"u","password":"p","email":"x"}"#, Some(Credential::basic("u", "p"))),
            (r#"{"auth":"dTpw","identitytoken":"t"}"#, Some(Credential::IdentityToken("t".to_owned()))),
            (r#"{"auth":"dTpw","registrytoken":"t"}"#, Some(Credential::RegistryToken("t".to_owned()))),
            (r#"{"auth":"","username":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(credential(entry).unwrap(), expected, "{entry}");
        }
        for entry in [r#"{"auth":"!"}"#, r#"{"auth":"dXA="}"#, r#"{"auth":"OnA="}"#, r#"{"auth":"/////w=="}"#] {
            assert!(credential(entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_fault_is_named_by_its_place() {
        assert_eq!(parse(b"{\n  \"auths\": \"s3cret\"}").err().unwrap(), "line 2, column 19");
        assert!(parse(br#"{"auths":null,"credHelpers":null,"psFormat":"x"}"#).is_ok());
        assert_eq!(parse_old(br#"{"h":{"auth":"dTpw"}}"#).unwrap().auths().count(), 1);
    }
}
