//! What the operator approved of plugins from elsewhere: which bytes, and everything that they say they want.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::grant::Grant;

/// What plugins a file of the operator's names, and what it grants to each: `layerwright.toml`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginConfig {
    /// Source and grants, in the order in which plugins are asked.
    pub plugins: Vec<(String, Vec<Grant>)>,
}

/// What of these was approved: `layerwright.lock`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginLock(BTreeMap<String, Locked>);

/// What was approved of one plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Locked {
    /// SHA-256 of the file, hexadecimal.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// What it says that it wants, written as grants; none too many and none too few.
    pub wants: BTreeSet<String>,
}

/// Why a configuration or a lock cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LockError(String);

impl PluginConfig {
    /// Reads `[[plugin]]` tables with `source` and `grants`.
    ///
    /// # Errors
    /// A text of another form, a grant that is none, a source that is named twice.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            plugin: Vec<Entry>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Entry {
            source: String,
            #[serde(default)]
            grants: Vec<String>,
        }
        let file: File = toml::from_str(text).map_err(|error| LockError(malformed(&error)))?;
        let mut plugins: Vec<(String, Vec<Grant>)> = Vec::new();
        for Entry { source, grants } in file.plugin {
            if source.is_empty() || source.contains(char::is_control) || plugins.iter().any(|(known, _)| *known == source) {
                return Err(LockError(format!("the source {source:?} is empty, named twice, or holds a control character")));
            }
            let grants = grants.iter().map(|grant| grant.parse()).collect::<Result<_, _>>();
            plugins.push((source, grants.map_err(|error: super::GrantError| LockError(error.to_string()))?));
        }
        Ok(Self { plugins })
    }
}

impl PluginLock {
    /// A lock of these plugins, each by its source.
    pub fn new(plugins: impl IntoIterator<Item = (String, Locked)>) -> Self {
        Self(plugins.into_iter().collect())
    }

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// A text of another form.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            plugin: Vec<Entry>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Entry {
            source: String,
            digest: String,
            size: u64,
            #[serde(default)]
            wants: BTreeSet<String>,
        }
        let file: File = toml::from_str(text).map_err(|error| LockError(malformed(&error)))?;
        let mut plugins = BTreeMap::new();
        for Entry { source, digest, size, wants } in file.plugin {
            let hex =
                digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            let digest = hex.ok_or_else(|| LockError(format!("{source}: the digest is not sha256: and 64 digits")))?.to_owned();
            if plugins.insert(source.clone(), Locked { digest, size, wants }).is_some() {
                return Err(LockError(format!("{source} is there twice")));
            }
        }
        Ok(Self(plugins))
    }

    /// What was approved of each plugin of a configuration, in its order.
    ///
    /// # Errors
    /// The two do not name the same plugins.
    pub fn of(&self, config: &PluginConfig) -> Result<Vec<Locked>, LockError> {
        let named: BTreeSet<&str> = config.plugins.iter().map(|(source, _)| source.as_str()).collect();
        if let Some(gone) = self.0.keys().find(|source| !named.contains(source.as_str())) {
            return Err(LockError(format!("it names {gone}, which the configuration does not")));
        }
        let locked =
            |(source, _): &(String, Vec<Grant>)| self.0.get(source).cloned().ok_or_else(|| LockError(format!("{source} is not in it")));
        config.plugins.iter().map(locked).collect()
    }
}

impl fmt::Display for PluginLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Written by `layerwright plugin lock`: what was approved of the plugins in layerwright.toml.\n")?;
        for (source, Locked { digest, size, wants }) in &self.0 {
            let wants: Vec<String> = wants.iter().map(|want| quoted(want)).collect();
            let source = quoted(source);
            write!(f, "\n[[plugin]]\nsource = {source}\ndigest = \"sha256:{digest}\"\nsize = {size}\nwants = [{}]\n", wants.join(", "))?;
        }
        Ok(())
    }
}

/// A TOML string. What escapes JSON knows, TOML knows as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where a text is malformed, without its content.
fn malformed(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(wants: &[&str]) -> Locked {
        Locked { digest: "ab".repeat(32), size: 7, wants: wants.iter().map(|want| (*want).to_owned()).collect() }
    }

    #[test]
    fn a_lock_reads_what_it_writes() {
        for lock in [
            PluginLock::default(),
            PluginLock::new([("a.wasm".to_owned(), locked(&[])), ("r.io/a:1".to_owned(), locked(&["env=A", "file=$B/\"x\"\\y"]))]),
        ] {
            assert_eq!(PluginLock::parse(&lock.to_string()), Ok(lock));
        }
        for bad in [
            "x = 1",
            "[[plugin]]\nsource = 'a'",
            "[[plugin]]\nsource = 'a'\nsize = 1\ndigest = 'sha256:../../x'",
            "[[plugin]]\nsource = 'a'\nsize = -1\ndigest = 'sha256:aa'",
            "[[plugin]",
        ] {
            assert!(PluginLock::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_names_each_source_once() {
        let config = PluginConfig::parse("[[plugin]]\nsource = 'a.wasm'\ngrants = ['env=A']\n[[plugin]]\nsource = 'r.io/b:1'\n").unwrap();
        assert_eq!(config.plugins, [("a.wasm".to_owned(), vec!["env=A".parse().unwrap()]), ("r.io/b:1".to_owned(), vec![])]);
        for bad in [
            "[[plugin]]\nsource = 'a'\n[[plugin]]\nsource = 'a'",
            "[[plugin]]\nsource = ''",
            "[[plugin]]\nsource = 'a'\ngrants = ['everything']",
            "[[plugin]]\nsource = 'a'\ngrant = ['env=A']",
            "plugin = 1",
        ] {
            assert!(PluginConfig::parse(bad).is_err(), "{bad}");
        }
    }

    /// Row 66 of the adversarial list: as a whole, not one by one.
    #[test]
    fn a_lock_is_for_exactly_the_plugins_of_a_configuration() {
        let config = PluginConfig::parse("[[plugin]]\nsource = 'a'\n[[plugin]]\nsource = 'b'\n").unwrap();
        let lock = |names: &[&str]| PluginLock::new(names.iter().map(|name| ((*name).to_owned(), locked(&[]))));
        assert_eq!(lock(&["a", "b"]).of(&config).map(|all| all.len()), Ok(2));
        assert_eq!(lock(&["a"]).of(&config).unwrap_err().to_string(), "b is not in it");
        assert_eq!(lock(&["a", "b", "c"]).of(&config).unwrap_err().to_string(), "it names c, which the configuration does not");
    }
}
