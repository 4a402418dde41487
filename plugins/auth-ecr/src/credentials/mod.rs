//! AWS credentials, from where AWS's own tools take them and in their order (AWS SDKs and Tools Reference, "Credential providers").

mod container;
mod instance;
mod profile;
mod sts;

use layerwright_plugin::{Error, env};

/// Keys that requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) session_token: Option<String>,
}

// By hand: keys are secrets.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Where AWS's services are.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// The registry's region.
    pub(crate) region: &'a str,
    /// What the names of services end in.
    pub(crate) services: &'a str,
}

pub(crate) const VARIABLES: [&str; 17] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_DEFAULT_PROFILE",
];

pub(crate) const FILES: [&str; 8] = [
    "$AWS_WEB_IDENTITY_TOKEN_FILE",
    "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "$AWS_CONFIG_FILE",
    "$AWS_SHARED_CREDENTIALS_FILE",
    "~/.aws/config",
    "~/.aws/credentials",
    "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
    "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
];

/// Metadata services on addresses of the machine's link.
pub(crate) const HOSTS: [&str; 5] =
    ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://169.254.170.2", "http://169.254.170.23", "http://[fd00:ec2::23]"];

/// Asks one source after the other; none where no source has anything.
pub(crate) fn find(places: &Places<'_>) -> Result<Option<Credentials>, Error> {
    if let Some(credentials) = environment()? {
        return Ok(Some(credentials));
    }
    if let (Some(role), Some(file)) = (env::optional("AWS_ROLE_ARN")?, env::optional("AWS_WEB_IDENTITY_TOKEN_FILE")?) {
        return sts::with_web_identity(places, &role, &file, session()?.as_deref()).map(Some);
    }
    if let Some(credentials) = profile::find(places)? {
        return Ok(Some(credentials));
    }
    if let Some(credentials) = container::find()? {
        return Ok(Some(credentials));
    }
    instance::find()
}

/// That none of them has anything.
pub(crate) fn none(registry: &str) -> Error {
    Error::not_found(format!(
        "no AWS credentials for {registry}: none in the environment, no web identity, no profile, no container endpoint, and no instance \
         role that the metadata service tells of"
    ))
    .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod, task or instance a role (metadata from a pod needs a hop limit of 2)")
}

/// The keys in the environment.
fn environment() -> Result<Option<Credentials>, Error> {
    let (access, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    match (env::optional(access)?, env::optional(secret)?) {
        (Some(access_key), Some(secret_key)) => {
            Ok(Some(Credentials { access_key, secret_key, session_token: env::optional("AWS_SESSION_TOKEN")? }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::invalid(format!("{access} is set and {secret} is not"))),
        (None, Some(_)) => Err(Error::invalid(format!("{secret} is set and {access} is not"))),
    }
}

fn session() -> Result<Option<String>, Error> {
    env::optional("AWS_ROLE_SESSION_NAME")
}
