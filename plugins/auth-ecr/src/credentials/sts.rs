//! Roles, from the Security Token Service (AWS STS API Reference).

use layerwright_plugin::http::{self, Request, Response};
use layerwright_plugin::{Error, clock, env, files};

use super::{Credentials, Places};
use crate::endpoint::{self, Endpoint};
use crate::registry::is_region;
use crate::sigv4::{Signing, sign};

const VERSION: &str = "2011-06-15";
/// The name of a session that the operator did not name.
const SESSION: &str = "layerwright";

/// The role that a token stands for. The request is not signed: the token is the proof.
pub(crate) fn with_web_identity(places: &Places<'_>, role: &str, file: &str, session: Option<&str>) -> Result<Credentials, Error> {
    let content =
        files::read(file).map_err(|error| Error { message: format!("the web identity token of {role}: {}", error.message), ..error })?;
    let token = String::from_utf8(content).map_err(|_| Error::invalid(format!("{file} holds no token")))?;
    let (endpoint, _) = at(places)?;
    let fields = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", role),
        ("RoleSessionName", session.unwrap_or(SESSION)),
        ("Version", VERSION),
        ("WebIdentityToken", token.trim()),
    ];
    let request = Request::new("POST", &endpoint.url).form(fields);
    read(&http::send_again(&request)?, role)
}

/// The role that an identity may take on.
pub(crate) fn with_keys(
    places: &Places<'_>,
    role: &str,
    session: Option<&str>,
    external_id: Option<&str>,
    keys: &Credentials,
) -> Result<Credentials, Error> {
    let (endpoint, region) = at(places)?;
    let mut fields = vec![("Action", "AssumeRole")];
    fields.extend(external_id.map(|id| ("ExternalId", id)));
    fields.extend([("RoleArn", role), ("RoleSessionName", session.unwrap_or(SESSION)), ("Version", VERSION)]);
    let mut request = Request::new("POST", &endpoint.url).form(fields);
    let signing = Signing {
        method: "POST",
        host: &endpoint.host,
        path: &endpoint.path,
        query: "",
        region: &region,
        service: "sts",
        now: clock::now(),
    };
    let body = request.body.clone();
    sign(&signing, &mut request.headers, &body, keys);
    read(&http::send_again(&request)?, role)
}

/// The service nearest to the build: its own region's where that is known, else the registry's.
fn at(places: &Places<'_>) -> Result<(Endpoint, String), Error> {
    let own = match env::optional("AWS_REGION")? {
        Some(region) => Some(region),
        None => env::optional("AWS_DEFAULT_REGION")?,
    };
    let same = |region: &String| is_region(region) && partition(region) == partition(places.region);
    let region = own.filter(same).unwrap_or_else(|| places.region.to_owned());
    let endpoint = endpoint::of("AWS_ENDPOINT_URL_STS", &format!("sts.{region}.{}", places.services))?;
    Ok((endpoint, region))
}

/// Regions of one partition begin alike; a role is good within one alone.
fn partition(region: &str) -> &str {
    ["cn-", "us-gov-", "us-isob-", "us-isof-", "us-iso-", "eu-isoe-", "eusc-"]
        .into_iter()
        .find(|prefix| region.starts_with(prefix))
        .unwrap_or("")
}

fn read(response: &Response, role: &str) -> Result<Credentials, Error> {
    let body = String::from_utf8_lossy(&response.body);
    if !response.is_success() {
        let said = [element(&body, "Code"), element(&body, "Message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
        return Err(Error::failed(format!("AWS refuses the role {role} ({}): {said}", response.status))
            .hint("check the role's trust policy, and that the token is for the audience that it names"));
    }
    let unfit = || Error::failed(format!("AWS answered something else than credentials for the role {role}"));
    let part = |name| element(&body, name).filter(|value| !value.is_empty()).ok_or_else(unfit);
    Ok(Credentials { access_key: part("AccessKeyId")?, secret_key: part("SecretAccessKey")?, session_token: Some(part("SessionToken")?) })
}

/// The text of the first element of a name. What the service answers nests, and none of these names comes twice.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(text.trim().to_owned(), |text, (escape, letter)| text.replace(escape, letter)))
}
