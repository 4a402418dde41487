//! The format of `~/.aws/config` and `~/.aws/credentials` (AWS SDKs and Tools Reference, "Shared config and credentials files").

use std::collections::BTreeMap;

/// Settings by profile.
#[derive(Default, Debug)]
pub(crate) struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

impl Profiles {
    /// Takes a file in. `prefixed` is set for `config`, in which profiles but the default one are `[profile NAME]`. What a file taken in
    /// later says of a setting counts.
    pub(crate) fn read(&mut self, content: &[u8], prefixed: bool) {
        let text = String::from_utf8_lossy(content);
        let mut current: Option<String> = None;
        for line in text.lines() {
            if line.trim().is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.trim().strip_prefix('[') {
                current = rest.split_once(']').and_then(|(name, _)| profile(name.trim(), prefixed)).map(str::to_owned);
                continue;
            }
            // Indented lines belong to a nested section, of which none is about credentials.
            if line.starts_with([' ', '\t']) {
                continue;
            }
            if let (Some(current), Some((name, value))) = (&current, line.split_once('=')) {
                let value = [" #", " ;", "\t#", "\t;"].iter().fold(value, |value, mark| value.split(mark).next().unwrap_or_default());
                let settings = self.0.entry(current.clone()).or_default();
                settings.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }

    pub(crate) fn contains(&self, profile: &str) -> bool {
        self.0.contains_key(profile)
    }

    /// A setting that is not empty.
    pub(crate) fn get(&self, profile: &str, name: &str) -> Option<&str> {
        self.0.get(profile)?.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn profile(section: &str, prefixed: bool) -> Option<&str> {
    if !prefixed || section == "default" {
        return Some(section);
    }
    let rest = section.strip_prefix("profile")?;
    rest.starts_with([' ', '\t']).then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_awss_tools_read_them() {
        let mut profiles = Profiles::default();
        let config = b"# comment\n[default]\nregion = eu-west-1 # near\ns3 =\n  addressing_style = path\n[profile  ci]\nrole_arn=arn:x\n\
            aws_secret_access_key = file\n[other]\na = b\n[sso-session x]\nsso_region = y\n";
        profiles.read(config, true);
        profiles.read(b"[ci]\nAWS_Secret_Access_Key = a=b#c\n[plain]\naws_access_key_id=k\n", false);
        assert_eq!(profiles.get("default", "region"), Some("eu-west-1"));
        assert_eq!(profiles.get("default", "addressing_style"), None);
        assert_eq!(profiles.get("ci", "role_arn"), Some("arn:x"));
        assert_eq!(profiles.get("ci", "aws_secret_access_key"), Some("a=b#c"));
        assert_eq!(profiles.get("plain", "aws_access_key_id"), Some("k"));
        assert!(!profiles.contains("other") && !profiles.contains("x"));
    }
}
