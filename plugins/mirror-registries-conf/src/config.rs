//! The format of `registries.conf` and what of it makes sense.

use std::collections::BTreeMap;

use layerwright_plugin::Error;
use serde::Deserialize;

/// The files together.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) registries: Vec<Registry>,
    pub(crate) search: Option<Vec<String>>,
    pub(crate) short_names: Option<ShortNames>,
    pub(crate) aliases: BTreeMap<String, String>,
}

/// What a short name with several meanings does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShortNames {
    /// It is an error, for nobody can be asked.
    Enforcing,
    /// All are tried.
    Permissive,
    /// All are tried.
    Disabled,
}

/// One `[[registry]]`.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) prefix: String,
    /// Empty: as written.
    pub(crate) location: String,
    pub(crate) insecure: bool,
    pub(crate) blocked: bool,
    pub(crate) mirrors: Vec<Mirror>,
    /// Where it stands.
    pub(crate) file: String,
}

/// One `[[registry.mirror]]`.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) location: String,
    pub(crate) insecure: bool,
    pub(crate) pulls: Pulls,
}

/// For what a mirror is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pulls {
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registry: Vec<RawRegistry>,
    /// Version 1 of the format.
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRegistry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    pull_from_mirror: Option<String>,
    #[serde(default)]
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<Pulls>,
}

impl Config {
    /// Reads one file.
    pub(crate) fn parse(path: &str, content: &[u8]) -> Result<Self, Error> {
        let bad = |why: String| Error::invalid(format!("{path}: {why}"));
        let text = std::str::from_utf8(content).map_err(|_| bad("not UTF-8".to_owned()))?;
        let raw: Raw = toml::from_str(text).map_err(|error| bad(error.to_string().trim().replace('\n', " ")))?;
        if raw.registries.is_some() {
            return Err(bad("it is of version 1 of the format".to_owned())
                .hint("write `[[registry]]` tables, as containers-registries.conf(5) has them"));
        }
        let short_names = match raw.short_name_mode.as_deref() {
            None | Some("") => None,
            Some("enforcing") => Some(ShortNames::Enforcing),
            Some("permissive") => Some(ShortNames::Permissive),
            Some("disabled") => Some(ShortNames::Disabled),
            Some(other) => return Err(bad(format!("short-name-mode {other:?} is not enforcing, permissive or disabled"))),
        };
        let registries = raw.registry.into_iter().map(|registry| registry.check(path)).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        let search = raw.unqualified_search_registries;
        let search = search.map(|all| all.iter().map(|one| location(one)).collect::<Result<Vec<_>, _>>()).transpose().map_err(bad)?;
        Ok(Self { registries, search, short_names, aliases: raw.aliases })
    }

    /// Puts a later file over this one: what it says of a prefix, of short names and of an alias is what counts.
    pub(crate) fn extend(&mut self, later: Self) {
        self.registries.retain(|known| later.registries.iter().all(|new| new.prefix != known.prefix));
        self.registries.extend(later.registries);
        self.search = later.search.or(self.search.take());
        self.short_names = later.short_names.or(self.short_names);
        self.aliases.extend(later.aliases);
    }
}

impl RawRegistry {
    fn check(self, file: &str) -> Result<Registry, String> {
        if self.location.is_empty() && !self.prefix.starts_with("*.") {
            return Err(match self.prefix.as_str() {
                "" => "a registry has neither a location nor a prefix".to_owned(),
                prefix => format!("the registry of the prefix {prefix:?} has no location"),
            });
        }
        let location = if self.location.is_empty() { String::new() } else { location(&self.location)? };
        let prefix = if self.prefix.is_empty() { location.clone() } else { prefix(&self.prefix)? };
        if self.pull_from_mirror.is_some() {
            return Err(format!("pull-from-mirror stands at the registry {prefix:?}, and belongs to its mirrors"));
        }
        let mut mirrors = Vec::new();
        for mirror in self.mirror {
            if self.mirror_by_digest_only && mirror.pull_from_mirror.is_some() {
                return Err(format!("the registry {prefix:?} has mirror-by-digest-only, and a mirror of it pull-from-mirror"));
            }
            let usual = if self.mirror_by_digest_only { Pulls::DigestOnly } else { Pulls::All };
            let pulls = mirror.pull_from_mirror.unwrap_or(usual);
            mirrors.push(Mirror { location: self::location(&mirror.location)?, insecure: mirror.insecure, pulls });
        }
        Ok(Registry { prefix, location, insecure: self.insecure, blocked: self.blocked, mirrors, file: file.to_owned() })
    }
}

/// `host[:port][/path]`
fn location(text: &str) -> Result<String, String> {
    let location = text.trim_end_matches('/');
    if location.contains("://") {
        return Err(format!("the location {text:?} has a scheme, and is only `host[:port][/path]`"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '@' | '*');
    if location.is_empty() || location.starts_with('/') || location.contains("//") || location.contains("..") || location.contains(odd) {
        return Err(format!("the location {text:?} is not `host[:port][/path]`"));
    }
    Ok(location.to_owned())
}

/// A location, or `*.` and a host.
fn prefix(text: &str) -> Result<String, String> {
    let Some(host) = text.strip_prefix("*.") else { return location(text) };
    if host.is_empty() || host.contains(['/', '*', '@']) {
        return Err(format!("the prefix {text:?} is not of the form `*.example.com`"));
    }
    Ok(text.to_owned())
}
