//! Docker's `config.json`: what `login` and `logout` change in it, and what they leave alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize as _;
use serde_json::{Map, Value};

use crate::registry::Secret;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Docker Hub's names, and the key that its login has.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A configuration, whole: fields that mean nothing here stay as they are.
pub struct DockerConfig {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl DockerConfig {
    /// Reads the file; one that is not there is an empty one.
    ///
    /// # Errors
    /// The file cannot be read or is no configuration. Nothing of its content is said.
    pub fn open(path: &Path) -> Result<Self> {
        // What a link leads to is changed, and the link stays.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut content = Vec::new();
        match fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut content)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => content = b"{}".to_vec(),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
        let fields = match serde_json::from_slice::<Value>(&content) {
            Ok(Value::Object(fields)) if fields.get("auths").is_none_or(|auths| auths.is_object() || auths.is_null()) => fields,
            Ok(_) => bail!("{} is not a docker configuration", path.display()),
            Err(error) => bail!("{} is not valid JSON (line {}, column {})", path.display(), error.line(), error.column()),
        };
        Ok(Self { path, fields })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credential helper that keeps a registry's login: its own, or the one of all.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.fields.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(key, helper)| same(key, registry) && helper.as_str().is_some_and(|helper| !helper.is_empty()))
        });
        let helper = own.map(|(_, helper)| helper).or_else(|| self.fields.get("credsStore"));
        helper.and_then(Value::as_str).filter(|helper| !helper.is_empty())
    }

    /// Sets a registry's login. Without one it only says that a helper has it, as docker does.
    pub fn set(&mut self, registry: &str, login: Option<(&str, &Secret)>) {
        self.remove(registry);
        let mut entry = Map::new();
        if let Some((username, password)) = login {
            entry.insert("auth".to_owned(), Value::String(STANDARD.encode(format!("{username}:{}", password.expose()))));
        }
        let auths = self.fields.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if auths.is_null() {
            *auths = Value::Object(Map::new());
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key(registry).to_owned(), Value::Object(entry));
        }
    }

    /// Takes a registry's login away, under each of its names; whether there was one. Those of single repositories stay.
    pub fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.fields.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|name, _| !same(name, registry));
        auths.len() < before
    }

    /// Writes the file, readable by its owner alone: at once or not at all.
    ///
    /// # Errors
    /// The disk is full or not writable; the old file is as it was.
    pub fn save(&self) -> Result<()> {
        let failed = || format!("failed to write {}", self.path.display());
        let folder = self.path.parent().with_context(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
        let mut content = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut content, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
        self.fields.serialize(&mut serializer).with_context(failed)?;
        let new = folder.join(format!(".config.json.{}", std::process::id()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(&content)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        });
        written.inspect_err(|_| drop(fs::remove_file(&new))).with_context(failed)
    }
}

/// The key of a registry's login, which is also what helpers are asked with.
pub fn key(registry: &str) -> &str {
    if HUB.contains(&registry) { HUB_KEY } else { registry }
}

/// A registry as people write it: a host and perhaps a port, a URL, or one of Docker Hub's names.
///
/// # Errors
/// It is none of these.
pub fn registry_name(text: &str) -> Result<String> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if HUB.contains(&host.as_str()) {
        return Ok("docker.io".to_owned());
    }
    match format!("{host}/repository").parse::<crate::oci::Reference>() {
        Ok(reference) if reference.registry() == host => Ok(host),
        _ => bail!("{text:?} is not a registry: name its host, and its port where it has one of its own"),
    }
}

/// Whether a key is about a whole registry, however it is written.
fn same(key: &str, registry: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
    let whole = bare.is_some() || matches!(path.trim_matches('/'), "" | "v1" | "v2");
    whole && (host == registry || (HUB.contains(&host) && HUB.contains(&registry)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_login_is_added_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker/config.json");
        let mut config = DockerConfig::open(&path).unwrap();
        config.set("r.example:5000", Some(("user", &Secret::new("pass:word"))));
        config.save().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\n\t\"auths\": {\n\t\t\"r.example:5000\": {\n\t\t\t\"auth\": \"dXNlcjpwYXNzOndvcmQ=\"\n\t\t}\n\t}\n}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);

        let old = r#"{"psFormat":"x","auths":{"docker.io":{"auth":"b2xkOm9sZA=="},"docker.io/team":{"auth":"dGVhbTp0"},"other":{"email":"e"}},"plugins":{"a":[1]}}"#;
        fs::write(&path, old).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut config = DockerConfig::open(&path).unwrap();
        config.set("docker.io", Some(("user", &Secret::new("p"))));
        config.save().unwrap();
        let found: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let wanted = r#"{"psFormat":"x","auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpw"},"docker.io/team":{"auth":"dGVhbTp0"},
            "other":{"email":"e"}},"plugins":{"a":[1]}}"#;
        assert_eq!(found, serde_json::from_str::<Value>(wanted).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        assert!(config.remove("docker.io") && !config.remove("docker.io"));
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("config.json"));
        fs::write(&real, "{}").unwrap();
        symlink("real.json", &link).unwrap();
        let mut config = DockerConfig::open(&link).unwrap();
        config.set("r.example", None);
        config.save().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("r.example"));
    }

    #[test]
    fn what_is_no_configuration_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for content in ["s3cret", "[]", r#"{"auths":"s3cret"}"#] {
            fs::write(&path, content).unwrap();
            let error = format!("{:#}", DockerConfig::open(&path).err().unwrap());
            assert!(error.contains("config.json") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn helpers_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(
            &path,
            r#"{"credsStore":"all","credHelpers":{"own.example":"own","https://index.docker.io/v1/":"hub","off.example":""}}"#,
        )
        .unwrap();
        let config = DockerConfig::open(&path).unwrap();
        for (registry, helper) in [("own.example", "own"), ("docker.io", "hub"), ("x.example", "all"), ("off.example", "all")] {
            assert_eq!(config.helper(registry), Some(helper), "{registry}");
        }
        for (text, name) in [
            ("R.example:5000", "r.example:5000"),
            ("https://r.example/v2/", "r.example"),
            ("index.docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(registry_name(text).unwrap(), name, "{text}");
        }
        for text in ["", "r example", "user@r.example", "name", "-"] {
            assert!(registry_name(text).is_err(), "{text}");
        }
    }
}
