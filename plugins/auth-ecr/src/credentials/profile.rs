//! Profiles of `~/.aws/config` and `~/.aws/credentials`.

use layerwright_plugin::{Error, env, files};

use super::{Credentials, Places, container, environment, instance, sts};
use crate::ini::Profiles;

/// How many profiles may take on roles through each other.
const DEEPEST: usize = 8;

/// The credentials of the profile that `AWS_PROFILE` names, or of the default one.
pub(crate) fn find(places: &Places<'_>) -> Result<Option<Credentials>, Error> {
    let mut profiles = Profiles::default();
    for (variable, usual, prefixed) in
        [("AWS_CONFIG_FILE", "~/.aws/config", true), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", false)]
    {
        let path = env::optional(variable)?.unwrap_or_else(|| usual.to_owned());
        if let Some(content) = files::optional(&path)? {
            profiles.read(&content, prefixed);
        }
    }
    let named = match env::optional("AWS_PROFILE")? {
        Some(name) => Some(name),
        None => env::optional("AWS_DEFAULT_PROFILE")?,
    };
    match named {
        Some(name) if !profiles.contains(&name) => {
            Err(Error::invalid(format!("AWS_PROFILE names the profile {name}, which no AWS configuration file has")))
        }
        Some(name) => of(places, &profiles, &name, 0),
        None => of(places, &profiles, "default", 0),
    }
}

fn of(places: &Places<'_>, profiles: &Profiles, name: &str, depth: usize) -> Result<Option<Credentials>, Error> {
    let get = |setting| profiles.get(name, setting);
    let wrong = |why: &str| Error::invalid(format!("the AWS profile {name} {why}"));
    if depth > DEEPEST {
        return Err(wrong("takes on its role through too many others"));
    }
    if let Some(role) = get("role_arn") {
        let session = get("role_session_name");
        if let Some(file) = get("web_identity_token_file") {
            return sts::with_web_identity(places, role, file, session).map(Some);
        }
        if get("mfa_serial").is_some() {
            return Err(wrong("wants a code from a device, which nobody can enter in a build"));
        }
        let keys = match (get("source_profile"), get("credential_source")) {
            (Some(source), None) if source == name => fixed(profiles, name)?,
            (Some(source), None) if profiles.contains(source) => of(places, profiles, source, depth + 1)?,
            (Some(source), None) => return Err(wrong(&format!("names the source profile {source}, which is not there"))),
            (None, Some("Environment")) => environment()?,
            (None, Some("EcsContainer")) => container::find()?,
            (None, Some("Ec2InstanceMetadata")) => instance::find()?,
            _ => return Err(wrong("has a role and does not say whose right it is: one of source_profile and credential_source is needed")),
        };
        let keys = keys.ok_or_else(|| wrong("has a role, and its source has no credentials"))?;
        return sts::with_keys(places, role, session, get("external_id"), &keys).map(Some);
    }
    if let Some(credentials) = fixed(profiles, name)? {
        return Ok(Some(credentials));
    }
    if get("credential_process").is_some() {
        return Err(wrong("names a credential_process, and a plugin runs no processes")
            .hint("run it before the build and set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"));
    }
    if get("sso_session").is_some() || get("sso_start_url").is_some() {
        return Err(wrong("signs in through a browser, which is not possible here")
            .hint("set the variables that `aws configure export-credentials --format env` prints"));
    }
    Ok(None)
}

/// The keys that stand in a profile.
fn fixed(profiles: &Profiles, name: &str) -> Result<Option<Credentials>, Error> {
    let get = |setting| profiles.get(name, setting).map(str::to_owned);
    match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(access_key), Some(secret_key)) => Ok(Some(Credentials { access_key, secret_key, session_token: get("aws_session_token") })),
        (None, None) => Ok(None),
        _ => {
            Err(Error::invalid(format!("the AWS profile {name} has one of aws_access_key_id and aws_secret_access_key without the other")))
        }
    }
}
