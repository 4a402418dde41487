//! Devices of the machine, as files of the Container Device Interface describe them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Failure;
use super::needs;
use super::settings::RunSettings;
use crate::operation::Device;
use crate::sandbox::{MountKind, SandboxMount};

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 10 << 20;

/// What devices add to a process.
#[derive(Debug, Default)]
pub struct Injected {
    /// `NAME=value`.
    pub env: Vec<(String, String)>,
    /// Device nodes and files.
    pub mounts: Vec<SandboxMount>,
    /// Further groups.
    pub groups: Vec<u32>,
    /// What was left out, a sentence each.
    pub notes: Vec<String>,
}

/// Finds devices and what they add.
///
/// # Errors
/// A required device that is not there or not allowed, or a description that does not parse.
pub fn find(devices: &[Device], settings: &RunSettings) -> Result<Injected, Failure> {
    let mut injected = Injected::default();
    if devices.is_empty() {
        return Ok(injected);
    }
    let mut notes = Vec::new();
    let specs = specs(&settings.cdi_directories, &mut notes)?;
    let known: BTreeMap<String, (&Spec, &NamedDevice)> = specs
        .iter()
        .flat_map(|spec| spec.devices.iter().map(move |device| (format!("{}={}", spec.kind, device.name), (spec, device))))
        .collect();
    let mut used: Vec<&str> = Vec::new();
    for device in devices {
        if !needs::may_use(&device.name, settings) {
            notes.push(format!("the device {} is left out: allow it with --allow device={}", device.name, device.name));
            continue;
        }
        let (kind, name) = device.name.split_once('=').unwrap_or((&device.name, ""));
        let of_kind = known.keys().filter(|known| known.strip_prefix(kind).is_some_and(|rest| rest.starts_with('=')));
        let matching: Vec<&String> = match name {
            "" => of_kind.take(1).collect(),
            "*" => of_kind.collect(),
            _ => of_kind.filter(|known| **known == device.name).collect(),
        };
        if matching.is_empty() {
            let places: Vec<String> = settings.cdi_directories.iter().map(|path| path.display().to_string()).collect();
            let places = places.join(" and ");
            if device.required {
                return Err(Failure::new(format!("device {} is not on this machine", device.name))
                    .hint(format!("devices are described by files of the Container Device Interface in {places}")));
            }
            notes.push(format!("the device {} is left out: no file in {places} describes it", device.name));
        }
        used.extend(matching.into_iter().map(String::as_str).filter(|name| !used.contains(name)).collect::<Vec<_>>());
    }
    let mut general: Vec<&Spec> = Vec::new();
    for name in used {
        let Some((spec, device)) = known.get(name) else { continue };
        if !general.iter().any(|seen| std::ptr::eq(*seen, *spec)) {
            general.push(spec);
            injected.add(name, &spec.container_edits)?;
        }
        injected.add(name, &device.container_edits)?;
    }
    injected.notes.extend(notes);
    Ok(injected)
}

impl Injected {
    fn add(&mut self, name: &str, edits: &Edits) -> Result<(), Failure> {
        for pair in &edits.env {
            let (key, value) = pair.split_once('=').ok_or_else(|| Failure::new(format!("device {name}: {pair:?} is no variable")))?;
            self.env.push((key.to_owned(), value.to_owned()));
        }
        for node in &edits.device_nodes {
            let source = node.host_path.as_ref().unwrap_or(&node.path);
            self.mounts.push(SandboxMount { target: node.path.clone(), kind: MountKind::Device { source: plain(name, source)? } });
        }
        for mount in &edits.mounts {
            if mount.kind.as_deref().is_some_and(|kind| !matches!(kind, "bind" | "none" | "")) {
                return Err(Failure::new(format!(
                    "device {name}: a mount of the type {} is not possible",
                    mount.kind.as_deref().unwrap_or_default()
                )));
            }
            let readonly = !mount.options.iter().any(|option| option == "rw");
            let kind = MountKind::Bind { source: plain(name, &mount.host_path)?, readonly };
            self.mounts.push(SandboxMount { target: mount.container_path.clone(), kind });
        }
        self.groups.extend(&edits.additional_gids);
        if !edits.hooks.is_empty() {
            self.notes.push(format!("the device {name} asks for {} hooks, which are not run", edits.hooks.len()));
        }
        Ok(())
    }
}

/// A path without symbolic links.
fn plain(name: &str, path: &str) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|error| Failure::because(format!("device {name}: cannot use {path}"), error))
}

/// The descriptions of directories, those that count more last.
fn specs(directories: &[PathBuf], notes: &mut Vec<String>) -> Result<Vec<Spec>, Failure> {
    let mut specs = Vec::new();
    for directory in directories {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failure::because(format!("cannot read {}", directory.display()), error)),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "json" || end == "yaml"));
        paths.sort();
        for path in paths {
            match read(&path) {
                Ok(spec) => specs.push(spec),
                // Another device's file is no reason to stop.
                Err(failure) => notes.push(failure.message),
            }
        }
    }
    Ok(specs)
}

/// JSON is YAML as well.
fn read(path: &Path) -> Result<Spec, Failure> {
    let failed = |why: String| Failure::new(format!("{} is left out: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    file.take(LARGEST_FILE).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    serde_yaml_ng::from_str(&text).map_err(|error| failed(error.to_string()))
}

/// <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    kind: String,
    #[serde(default)]
    container_edits: Edits,
    #[serde(default)]
    devices: Vec<NamedDevice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedDevice {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<BindMount>,
    hooks: Vec<serde::de::IgnoredAny>,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindMount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::settings::Entitlements;
    use super::*;

    const FIRST: &str = r#"{"cdiVersion":"0.6.0","kind":"v.com/d","containerEdits":{"env":["ALL=1"]},
        "devices":[{"name":"a","containerEdits":{"env":["A=1"]}},{"name":"b","containerEdits":{"env":["B=x=y"],"hooks":[{"hookName":"h","path":"/h"}]}}]}"#;
    const SECOND: &str = "cdiVersion: 0.5.0\nkind: v.com/d\ndevices:\n- name: a\n  containerEdits:\n    deviceNodes:\n    - path: /dev/x\n      hostPath: /dev/null\n    additionalGids: [7]\n";

    fn found(first: &str, second: Option<&str>, names: &[(&str, bool)]) -> Result<Injected, Failure> {
        let place = tempfile::tempdir().unwrap();
        let settings = RunSettings {
            cdi_directories: ["one", "two", "none"].map(|name| place.path().join(name)).to_vec(),
            entitlements: Entitlements { devices: vec!["v.com/d".to_owned()], ..Entitlements::default() },
            ..RunSettings::default()
        };
        for (directory, name, text) in [("one", "a.json", Some(first)), ("two", "b.yaml", second)] {
            std::fs::create_dir(place.path().join(directory)).unwrap();
            if let Some(text) = text {
                std::fs::write(place.path().join(directory).join(name), text).unwrap();
            }
        }
        let devices: Vec<_> = names.iter().map(|(name, required)| Device { name: (*name).to_owned(), required: *required }).collect();
        find(&devices, &settings)
    }

    fn env(injected: &Injected) -> Vec<String> {
        injected.env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn devices_add_what_they_and_their_kind_say() {
        let all = found(FIRST, None, &[("v.com/d=*", true), ("v.com/d=a", true)]).unwrap();
        assert_eq!(env(&all), ["ALL=1", "A=1", "B=x=y"]);
        assert!(all.notes.iter().any(|note| note.contains("hooks")), "{:?}", all.notes);
        assert_eq!(env(&found(FIRST, None, &[("v.com/d", true)]).unwrap()), ["ALL=1", "A=1"]);
        assert!(env(&found(FIRST, None, &[]).unwrap()).is_empty());
    }

    #[test]
    fn the_later_directory_counts_more() {
        let found = found(FIRST, Some(SECOND), &[("v.com/d=a", true)]).unwrap();
        assert!(env(&found).is_empty());
        assert_eq!(found.mounts, [SandboxMount { target: "/dev/x".to_owned(), kind: MountKind::Device { source: "/dev/null".into() } }]);
        assert_eq!(found.groups, [7]);
    }

    #[test]
    fn what_is_not_there() {
        assert!(found(FIRST, None, &[("v.com/d=z", true)]).unwrap_err().message.contains("not on this machine"));
        let left_out = found(FIRST, Some("{]"), &[("v.com/d=z", false), ("other.com/d=a", false)]).unwrap();
        assert!(env(&left_out).is_empty());
        assert_eq!(left_out.notes.len(), 3, "{:?}", left_out.notes);
    }
}
