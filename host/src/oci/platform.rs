use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An operating system and a processor (image-spec, image-index.md, "platform").
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Platform {
    /// Processor, as Go names it: `amd64`, `arm64`, `arm`.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, as Go names it.
    #[serde(default)]
    pub os: String,
    /// Of the processor: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Fields that this program does not know, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Too many parts, or none.
    #[error("{0:?} is no platform: want os/architecture or os/architecture/variant, for instance linux/arm64")]
    Form(String),
    /// One word that is neither.
    #[error("{0:?}: unknown operating system or architecture")]
    Unknown(String),
    /// A part with other characters than a platform has.
    #[error("{part:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\"")]
    Component {
        /// The part.
        part: String,
        /// The whole.
        text: String,
    },
}

/// Operating systems that Go knows, by which a platform of one word is told from a processor.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
/// Processors that Go knows.
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// A platform without a variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: None, other: Map::new() }
    }

    /// The platform that this program runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self::new("linux", architecture)
    }

    /// How well an image for `self` serves a build for `wanted`: 0 is best, none means not at all. A lower variant
    /// of the same processor serves; another processor never does.
    pub fn serves(&self, wanted: &Self) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        let level = |platform: &Self| -> Option<u32> {
            match (platform.architecture.as_str(), platform.variant.as_deref()) {
                ("arm64", None) => Some(8),
                ("arm", None) => Some(7),
                ("amd64", None) => Some(1),
                (_, None) => Some(0),
                (_, Some(text)) => text.strip_prefix('v').and_then(|v| v.split('.').next()).and_then(|v| v.parse().ok()),
            }
        };
        match (level(self), level(wanted)) {
            (Some(have), Some(want)) => want.checked_sub(have),
            _ => (self.variant == wanted.variant).then_some(0),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if let Some(part) = parts.iter().find(|part| !word(part)) {
            return Err(PlatformError::Component { part: (*part).to_owned(), text: text.to_owned() });
        }
        let architecture = |raw: &str| match raw.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            "armhf" | "armel" => "arm".to_owned(),
            "i386" => "386".to_owned(),
            other => other.to_owned(),
        };
        let system = |raw: &str| match raw.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let mut platform = match parts.as_slice() {
            [one] if SYSTEMS.contains(&system(one).as_str()) => Self { os: system(one), ..Self::host() },
            [one] if ARCHITECTURES.contains(&architecture(one).as_str()) => Self::new("linux", &architecture(one)),
            [one] => return Err(PlatformError::Unknown((*one).to_owned())),
            [os, arch] => Self::new(&system(os), &architecture(arch)),
            [os, arch, variant] => Self { variant: Some(variant.to_ascii_lowercase()), ..Self::new(&system(os), &architecture(arch)) },
            _ => return Err(PlatformError::Form(text.to_owned())),
        };
        if platform.architecture == "arm64" && platform.variant.as_deref() == Some("v8") {
            platform.variant = None;
        }
        if platform.architecture == "amd64" && platform.variant.as_deref() == Some("v1") {
            platform.variant = None;
        }
        Ok(platform)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_served_from_below_and_processors_never_cross() {
        let at = |text: &str| text.parse::<Platform>().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(at("linux/arm64/v8").serves(&at("linux/arm64")), Some(0));
        assert_eq!(at("linux/arm/v6").serves(&at("linux/arm/v7")), Some(1));
        assert_eq!(at("linux/arm/v7").serves(&at("linux/arm/v6")), None);
        assert_eq!(at("linux/386").serves(&at("linux/amd64")), None);
        assert_eq!(at("linux/amd64").serves(&at("linux/amd64/v3")), Some(2));
        assert!("".parse::<Platform>().is_err());
        assert!("a/b/c/d".parse::<Platform>().is_err());
        assert_eq!(at("x86_64").to_string(), "linux/amd64");
    }
}
