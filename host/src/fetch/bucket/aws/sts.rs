//! Roles, from the Security Token Service (AWS STS API Reference).

use std::time::Duration;

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::header::CONTENT_TYPE;

use super::super::ask::{Answered, FORM, ask, form};
use super::super::shortened;
use super::{Refused, Sources, credential};

const VERSION: &str = "2011-06-15";
/// The name of a session that the operator did not name.
const SESSION: &str = "layerwright";
/// How long the service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A larger file is no token, in bytes.
const LARGEST_TOKEN: u64 = 64 << 10;
const HINT: &str = "check the role's trust policy, and that the token is for the audience that it names";

/// The role that a token stands for. The request is not signed: the token is the proof.
pub(super) async fn with_web_identity(
    sources: &Sources<'_>,
    role: &str,
    file: &str,
    session: Option<&str>,
) -> Result<AwsCredential, Refused> {
    let token = read_token(file).map_err(|why| format!("cannot read the web identity token {file}: {why}"))?;
    let fields = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", role),
        ("RoleSessionName", session.unwrap_or(SESSION)),
        ("Version", VERSION),
        ("WebIdentityToken", token.trim()),
    ];
    let body = form(&fields);
    let send = |client: &reqwest::Client, url| client.post(url).header(CONTENT_TYPE, FORM).body(body.clone());
    let answered = ask(sources.web, &endpoint(sources), PATIENCE, sources.web.settings.tries, &send).await;
    read(&answered.map_err(|why| format!("cannot take on the role {role}: {why}"))?, role)
}

/// The role of a profile, which an identity may take on.
pub(super) async fn with_keys(sources: &Sources<'_>, profile: &str, keys: &AwsCredential) -> Result<AwsCredential, Refused> {
    let get = |setting| sources.profiles.get(profile, setting);
    let role = get("role_arn").unwrap_or_default();
    let mut fields = vec![
        ("Action", "AssumeRole"),
        ("RoleArn", role),
        ("RoleSessionName", get("role_session_name").unwrap_or(SESSION)),
        ("Version", VERSION),
    ];
    fields.extend(get("external_id").map(|id| ("ExternalId", id)));
    fields.extend(get("duration_seconds").map(|seconds| ("DurationSeconds", seconds)));
    let body = form(&fields);
    let endpoint = endpoint(sources);
    let refused = |why: String| Refused::from(format!("cannot take on the role {role}: {why}"));
    let mut request = post(&endpoint, &body).map_err(refused)?;
    let authorizer = AwsAuthorizer::new(keys, "sts", &sources.region);
    authorizer.try_authorize(&mut request, None).map_err(|error| refused(error.to_string()))?;
    let headers = request.headers().clone();
    let send = |client: &reqwest::Client, url| client.post(url).headers(headers.clone()).body(body.clone());
    let answered = ask(sources.web, &endpoint, PATIENCE, sources.web.settings.tries, &send).await.map_err(refused)?;
    read(&answered, role)
}

/// A request that can be signed.
fn post(url: &str, body: &str) -> Result<HttpRequest, String> {
    reqwest::Url::parse(url).map_err(|error| format!("{url:?}: {error}"))?;
    let request = http::Request::post(url).header(CONTENT_TYPE, FORM).body(HttpRequestBody::from(body.to_owned()));
    request.map_err(|error| error.to_string())
}

fn read_token(file: &str) -> std::io::Result<String> {
    let too_large = std::fs::metadata(file)?.len() > LARGEST_TOKEN;
    if too_large { Err(std::io::Error::other("it is larger than 64 KiB")) } else { std::fs::read_to_string(file) }
}

/// Where the service is, unless the environment names another.
fn endpoint(sources: &Sources<'_>) -> String {
    let ignored = sources.variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let named = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].into_iter().find_map(|name| sources.variables.get(name));
    match named.filter(|_| !ignored) {
        Some(url) => format!("{}/", url.trim().trim_end_matches('/')),
        None => {
            let region = &sources.region;
            format!("https://sts.{region}.amazonaws.com{}/", if region.starts_with("cn-") { ".cn" } else { "" })
        }
    }
}

fn read(answered: &Answered, role: &str) -> Result<AwsCredential, Refused> {
    let text = answered.text();
    if !answered.is_success() {
        let said = [element(&text, "Code"), element(&text, "Message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
        return Err(Refused { why: format!("AWS refuses the role {role} ({}): {}", answered.status, shortened(&said)), hint: HINT });
    }
    let unfit = || format!("AWS answered something else than credentials for the role {role}");
    let part = |name| element(&text, name).filter(|value| !value.is_empty()).ok_or_else(unfit);
    Ok(credential(&part("AccessKeyId")?, &part("SecretAccessKey")?, Some(&part("SessionToken")?))?)
}

/// The text of the first element of a name. What the service answers nests, and none of these names comes twice.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(text.trim().to_owned(), |text, (escape, letter)| text.replace(escape, letter)))
}
