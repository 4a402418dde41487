//! Logins to Amazon, from where its own tools take them and in their order (AWS SDKs and Tools Reference, "Credential providers").

mod metadata;
mod process;
mod profile;
mod sts;

use object_store::aws::AwsCredential;

use super::super::exchange::Web;
use super::{CloudVariables, S3_LOGIN};
use profile::Profiles;

/// How many profiles may take on roles through each other.
const DEEPEST: usize = 8;
/// Where no region is named.
const USUAL_REGION: &str = "us-east-1";

/// What requests are signed with, and where they go.
pub(super) struct Login {
    /// None where nothing is signed.
    pub(super) credential: Option<AwsCredential>,
    pub(super) region: String,
}

/// Why there is no login, and what to do.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) hint: &'static str,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self { why, hint: S3_LOGIN }
    }
}

/// The login of whoever builds.
///
/// # Errors
/// There is none, or the first source that has something to say has something that is none.
pub(super) async fn login(web: &Web) -> Result<Login, Refused> {
    let variables = &web.settings.clouds;
    let profiles = Profiles::read(variables)?;
    let asked = variables.get("AWS_PROFILE").or_else(|| variables.get("AWS_DEFAULT_PROFILE"));
    let name = asked.unwrap_or("default");
    let own = variables.get("AWS_REGION").or_else(|| variables.get("AWS_DEFAULT_REGION"));
    let region = own.or_else(|| profiles.get(name, "region")).unwrap_or(USUAL_REGION).to_owned();
    if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("{region:?} is no region").into());
    }
    let sources = Sources { web, variables, profiles, region };
    if variables.get("AWS_SKIP_SIGNATURE").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1") {
        return Ok(Login { credential: None, region: sources.region });
    }
    let found = sources.find(name, asked.is_some()).await?;
    let none = "there are no credentials: none in the environment, no web identity, no profile that has some, no container's endpoint, and no \
        role of an instance that the metadata service tells of";
    let credential = found.ok_or_else(|| none.to_owned())?;
    Ok(Login { credential: Some(credential), region: sources.region })
}

/// Where credentials may come from.
struct Sources<'a> {
    web: &'a Web,
    variables: &'a CloudVariables,
    profiles: Profiles,
    region: String,
}

type Found = Result<Option<AwsCredential>, Refused>;

impl Sources<'_> {
    /// Asks one source after the other.
    async fn find(&self, profile: &str, asked: bool) -> Found {
        if let Some(found) = self.environment()? {
            return Ok(Some(found));
        }
        if let Some(file) = self.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role = self.variables.get("AWS_ROLE_ARN");
            let role = role.ok_or_else(|| "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not".to_owned())?;
            return sts::with_web_identity(self, role, file, self.variables.get("AWS_ROLE_SESSION_NAME")).await.map(Some);
        }
        if asked && !self.profiles.contains(profile) {
            return Err(format!("there is no AWS profile {profile}").into());
        }
        match self.profile(profile).await? {
            Some(found) => Ok(Some(found)),
            None => self.machine().await,
        }
    }

    /// The container's endpoint, or the instance's.
    async fn machine(&self) -> Found {
        match metadata::of_container(self.web, self.variables).await? {
            Some(found) => Ok(Some(found)),
            None => Ok(metadata::of_instance(self.web, self.variables).await?),
        }
    }

    fn environment(&self) -> Found {
        let get = |name| self.variables.get(name);
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Ok(Some(credential(id, secret, get("AWS_SESSION_TOKEN"))?)),
            (None, None) => Ok(None),
            (Some(_), None) => Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not".to_owned().into()),
            (None, Some(_)) => Err("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not".to_owned().into()),
        }
    }

    /// What a profile has. Of a role whose right is another's, that one's is found first.
    async fn profile(&self, name: &str) -> Found {
        // From the profile that was asked for to the one that has something of its own.
        let mut roles = Vec::new();
        let mut at = name.to_owned();
        let mut found = loop {
            let get = |setting| self.profiles.get(&at, setting);
            let wrong = |why: &str| Refused::from(format!("the AWS profile {at} {why}"));
            if roles.len() > DEEPEST {
                return Err(wrong("takes on its role through too many others"));
            }
            if get("role_arn").is_none() {
                break self.own(&at).await?;
            }
            if get("mfa_serial").is_some() {
                return Err(wrong("wants a code from a device, which nobody can enter in a build"));
            }
            match (get("source_profile"), get("credential_source"), get("web_identity_token_file")) {
                (None, None, Some(_)) => break self.own(&at).await?,
                (Some(source), None, None) if source == at => {
                    roles.push(at.clone());
                    break self.keys(&at)?;
                }
                (Some(source), None, None) if self.profiles.contains(source) => {
                    let source = source.to_owned();
                    roles.push(std::mem::replace(&mut at, source));
                }
                (Some(source), None, None) => return Err(wrong(&format!("names the source profile {source}, which is not there"))),
                (None, Some(source), None) => {
                    let found = match source {
                        "Environment" => self.environment()?,
                        "EcsContainer" => metadata::of_container(self.web, self.variables).await?,
                        "Ec2InstanceMetadata" => metadata::of_instance(self.web, self.variables).await?,
                        other => return Err(wrong(&format!("has the credential_source {other}, which is not known"))),
                    };
                    roles.push(at.clone());
                    break found;
                }
                _ => return Err(wrong("has a role and needs one of source_profile, credential_source and web_identity_token_file")),
            }
        };
        for role in roles.iter().rev() {
            let keys =
                found.ok_or_else(|| Refused::from(format!("the AWS profile {role} has a role, and its source has no credentials")))?;
            found = Some(sts::with_keys(self, role, &keys).await?);
        }
        Ok(found)
    }

    /// What a profile has without anybody else's right.
    async fn own(&self, name: &str) -> Found {
        let get = |setting| self.profiles.get(name, setting);
        let refused = |why: &str, hint| Refused { why: format!("the AWS profile {name} {why}"), hint };
        if let Some(keys) = self.keys(name)? {
            return Ok(Some(keys));
        }
        if let Some(file) = get("web_identity_token_file") {
            let role = get("role_arn").ok_or_else(|| refused("has a web identity and no role_arn", S3_LOGIN))?;
            return sts::with_web_identity(self, role, file, get("role_session_name")).await.map(Some);
        }
        if ["sso_session", "sso_start_url", "sso_account_id", "login_session"].into_iter().any(|setting| get(setting).is_some()) {
            return Err(refused(
                "signs in through a browser, which is not supported",
                "set the variables that `aws configure export-credentials --format env` prints",
            ));
        }
        match get("credential_process") {
            Some(line) => process::run(name, line, &self.web.settings.secret_variables).await.map(Some),
            None => Ok(None),
        }
    }

    /// The keys that stand in a profile.
    fn keys(&self, name: &str) -> Found {
        let get = |setting| self.profiles.get(name, setting);
        match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Ok(Some(credential(id, secret, get("aws_session_token"))?)),
            (None, None) => Ok(None),
            _ => Err(format!("the AWS profile {name} has one of aws_access_key_id and aws_secret_access_key without the other").into()),
        }
    }
}

/// A credential that can be sent: what signs requests takes that for granted.
fn credential(id: &str, secret: &str, token: Option<&str>) -> Result<AwsCredential, String> {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if ![Some(id), Some(secret), token].into_iter().flatten().all(fits) {
        return Err("the AWS credentials hold blanks, line ends or letters that no key has".to_owned());
    }
    Ok(AwsCredential { key_id: id.to_owned(), secret_key: secret.to_owned(), token: token.map(str::to_owned) })
}

/// What metadata services and programs answer with.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default, alias = "SessionToken")]
    token: Option<String>,
}

impl Answer {
    /// `who` answered.
    fn credential(body: &[u8], who: &str) -> Result<AwsCredential, String> {
        let answer: Self = serde_json::from_slice(body).map_err(|_| format!("{who} answered something else than credentials"))?;
        credential(&answer.access_key_id, &answer.secret_access_key, answer.token.as_deref().filter(|token| !token.is_empty()))
    }
}
