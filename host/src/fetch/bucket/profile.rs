//! The files in which the tools of AWS keep logins, by profile.

use std::path::PathBuf;

use configparser::ini::{Ini, IniDefault};
use object_store::aws::AmazonS3Builder;

use super::CloudVariables;

/// A larger file is no list of profiles, in bytes.
const LARGEST: u64 = 1 << 20;

/// Adds the login and the region of the chosen profile, where the environment says nothing that counts before them.
///
/// # Errors
/// A file that cannot be read, a profile that was asked for and is not there, or one with half a login.
pub(super) fn add(mut builder: AmazonS3Builder, variables: &CloudVariables) -> Result<AmazonS3Builder, String> {
    let home = variables.get("HOME").unwrap_or("/root");
    let path = |variable: &str, name: &str| variables.get(variable).map_or_else(|| format!("{home}/.aws/{name}").into(), PathBuf::from);
    let credentials = read(path("AWS_SHARED_CREDENTIALS_FILE", "credentials"))?;
    let config = read(path("AWS_CONFIG_FILE", "config"))?;
    let asked = variables.get("AWS_PROFILE").or_else(|| variables.get("AWS_DEFAULT_PROFILE"));
    let name = asked.unwrap_or("default");
    let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
    let get = |key: &str| credentials.get(name, key).or_else(|| config.get(&in_config, key)).filter(|value| !value.is_empty());

    if !["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|variable| variables.get(variable).is_some())
        && let Some(region) = get("region")
    {
        builder = builder.with_region(region);
    }
    let before = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"];
    if before.iter().any(|variable| variables.get(variable).is_some()) {
        return Ok(builder);
    }
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            Ok(match get("aws_session_token") {
                Some(token) => builder.with_token(token),
                None => builder,
            })
        }
        (None, None) if asked.is_some() => Err(format!("the AWS profile {name} has no access key")),
        (None, None) => Ok(builder),
        _ => Err(format!("the AWS profile {name} has one of aws_access_key_id and aws_secret_access_key without the other")),
    }
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
    use object_store::aws::AmazonS3ConfigKey;

    use super::*;

    fn with(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<AmazonS3Builder, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in files {
            std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        }
        let own = [("HOME", home.path().to_str().unwrap())];
        let all = own.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        add(AmazonS3Builder::new(), &CloudVariables::of(all))
    }

    #[test]
    fn profiles() {
        let credentials = "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key=a=b#c/+;d\n[half]\naws_access_key_id=x\n";
        let config = "# ours\n[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n[profile ci]\naws_access_key_id=CI\n\
            aws_secret_access_key=s\naws_session_token=t\nregion=us-west-2\n";
        let files = [("credentials", credentials), ("config", config)];
        let get = |builder: &AmazonS3Builder, key| builder.get_config_value(&key);
        let default = with(&files, &[]).unwrap();
        assert_eq!(get(&default, AmazonS3ConfigKey::AccessKeyId).unwrap(), "AKIDEXAMPLE");
        assert_eq!(get(&default, AmazonS3ConfigKey::SecretAccessKey).unwrap(), "a=b#c/+;d");
        assert_eq!(get(&default, AmazonS3ConfigKey::Region).unwrap(), "eu-west-1");
        let ci = with(&files, &[("AWS_PROFILE", "ci")]).unwrap();
        assert_eq!(get(&ci, AmazonS3ConfigKey::AccessKeyId).unwrap(), "CI");
        assert_eq!(get(&ci, AmazonS3ConfigKey::Token).unwrap(), "t");
        assert_eq!(get(&ci, AmazonS3ConfigKey::Region).unwrap(), "us-west-2");
        let own = with(&files, &[("AWS_ACCESS_KEY_ID", "OWN"), ("AWS_REGION", "here")]).unwrap();
        assert_eq!(get(&own, AmazonS3ConfigKey::AccessKeyId), None, "the environment's own is added by whoever calls");
        assert_eq!(with(&files, &[("AWS_PROFILE", "none")]).unwrap_err(), "the AWS profile none has no access key");
        assert!(with(&files, &[("AWS_PROFILE", "half")]).unwrap_err().contains("without the other"));
        assert!(with(&[], &[]).is_ok());
    }
}
