//! The files in which the tools of AWS keep logins, by profile.

use std::path::PathBuf;

use configparser::ini::{Ini, IniDefault};

use super::super::CloudVariables;

/// A larger file is no list of profiles, in bytes.
const LARGEST: u64 = 1 << 20;

/// Both files, `credentials` before `config`.
pub(super) struct Profiles {
    credentials: Ini,
    config: Ini,
}

impl Profiles {
    /// Reads them; one that is not there is as good as an empty one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn read(variables: &CloudVariables) -> Result<Self, String> {
        let home = variables.get("HOME").unwrap_or("/root");
        let path = |variable: &str, name: &str| variables.get(variable).map_or_else(|| format!("{home}/.aws/{name}").into(), PathBuf::from);
        Ok(Self {
            credentials: read(path("AWS_SHARED_CREDENTIALS_FILE", "credentials"))?,
            config: read(path("AWS_CONFIG_FILE", "config"))?,
        })
    }

    /// A setting of a profile, where it has one.
    pub(super) fn get(&self, profile: &str, setting: &str) -> Option<&str> {
        let found = value(&self.credentials, profile, setting);
        found.or_else(|| value(&self.config, &in_config(profile), setting)).filter(|value| !value.is_empty())
    }

    pub(super) fn contains(&self, profile: &str) -> bool {
        self.credentials.get_map_ref().contains_key(profile) || self.config.get_map_ref().contains_key(&in_config(profile))
    }
}

fn in_config(profile: &str) -> String {
    if profile == "default" { profile.to_owned() } else { format!("profile {profile}") }
}

fn value<'a>(ini: &'a Ini, section: &str, key: &str) -> Option<&'a str> {
    ini.get_map_ref().get(section)?.get(key)?.as_deref()
}

fn read(path: PathBuf) -> Result<Ini, String> {
    let mut defaults = IniDefault::default();
    defaults.case_sensitive = true;
    defaults.delimiters = vec!['='];
    defaults.enable_inline_comments = false;
    let mut ini = Ini::new_from_defaults(defaults);
    let failed = |why: String| format!("cannot read {}: {why}", path.display());
    match std::fs::metadata(&path) {
        Ok(found) if found.len() > LARGEST => return Err(failed(format!("it is larger than {LARGEST} bytes"))),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ini),
        Err(error) => return Err(failed(error.to_string())),
    }
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    ini.read(text).map_err(|_| failed("it is no list of profiles".to_owned()))?;
    Ok(ini)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_profiles() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let credentials = "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key=a=b#c/+;d\n";
        let config = "# ours\n[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n[profile ci]\naws_access_key_id=CI\n\
            credential_process = \"/opt/a b\" --key=value\nrole_arn =\n";
        for (name, text) in [("credentials", credentials), ("config", config)] {
            std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        }
        let variables = CloudVariables::of([("HOME".to_owned(), home.path().to_str().unwrap().to_owned())]);
        let profiles = Profiles::read(&variables).unwrap();
        for (profile, setting, value) in [
            ("default", "aws_access_key_id", Some("AKIDEXAMPLE")),
            ("default", "aws_secret_access_key", Some("a=b#c/+;d")),
            ("default", "region", Some("eu-west-1")),
            ("ci", "aws_access_key_id", Some("CI")),
            ("ci", "credential_process", Some("\"/opt/a b\" --key=value")),
            ("ci", "role_arn", None),
            ("ci", "region", None),
            ("none", "region", None),
        ] {
            assert_eq!(profiles.get(profile, setting), value, "{profile} {setting}");
        }
        assert!(profiles.contains("ci") && profiles.contains("default") && !profiles.contains("none") && !profiles.contains("profile ci"));
        std::fs::write(home.path().join(".aws/config"), vec![b'#'; (LARGEST + 1) as usize]).unwrap();
        assert!(Profiles::read(&variables).err().unwrap().contains("is larger than"));
    }
}
