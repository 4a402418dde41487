//! The instance's role, from EC2's metadata service, version 2 alone (Amazon EC2 User Guide, "Use the Instance Metadata Service").

use layerwright_plugin::http::{self, Request, Response};
use layerwright_plugin::{Error, ErrorCode, env, log};

use super::Credentials;
use super::container::Answer;

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// How long a token is good, in seconds.
const LIFETIME: &str = "21600";
/// The service is a hop away, or not there at all.
const PATIENCE: u32 = 1_000;

/// None where there is no such service, or the instance has no role.
pub(crate) fn find() -> Result<Option<Credentials>, Error> {
    if env::optional("AWS_EC2_METADATA_DISABLED")?.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let base = match env::optional("AWS_EC2_METADATA_SERVICE_ENDPOINT")? {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => match env::optional("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")? {
            Some(mode) if mode.eq_ignore_ascii_case("ipv6") => IPV6.to_owned(),
            _ => IPV4.to_owned(),
        },
    };
    let put = Request::new("PUT", format!("{base}/latest/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", LIFETIME);
    let Some(token) = ask(put)? else { return Ok(None) };
    let token = text(&token)?;
    let get = |path: &str| Request::new("GET", format!("{base}{path}")).header("x-aws-ec2-metadata-token", &token);
    let Some(roles) = ask(get(ROLES))? else { return Ok(None) };
    let roles = text(&roles)?;
    let Some(role) = roles.lines().next().map(str::trim).filter(|role| !role.is_empty()) else { return Ok(None) };
    if !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte)) {
        return Err(Error::failed("the metadata service names a role that cannot be one"));
    }
    let answer =
        ask(get(&format!("{ROLES}{role}")))?.ok_or_else(|| Error::failed("the metadata service does not know the instance's role"))?;
    let answer: Answer =
        serde_json::from_slice(&answer.body).map_err(|_| Error::failed("the metadata service answered something else than credentials"))?;
    Ok(Some(answer.into()))
}

/// None where nobody answers, or there is nothing.
fn ask(request: Request) -> Result<Option<Response>, Error> {
    match http::send(&request.timeout_ms(PATIENCE)) {
        Ok(response) if response.is_success() => Ok(Some(response)),
        // No such service, no role, or a service that is switched off.
        Ok(response) if (400..500).contains(&response.status) => Ok(None),
        Ok(response) => Err(Error::unavailable(format!("the instance's metadata service answered {}", response.status))),
        Err(error) if matches!(error.code, ErrorCode::Unavailable | ErrorCode::Denied) => {
            log::debug(format!("no instance metadata: {}", error.message));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn text(response: &Response) -> Result<String, Error> {
    let text = String::from_utf8(response.body.clone()).map_err(|_| Error::failed("the metadata service answered no text"))?;
    Ok(text.trim().to_owned())
}
