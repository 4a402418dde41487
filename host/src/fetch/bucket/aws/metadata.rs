//! Endpoints that give out the role of whatever the program runs in: containers of ECS and EKS, and instances of EC2.

use object_store::aws::AwsCredential;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION};

use super::super::super::credential::sensitive;
use super::super::super::exchange::Web;
use super::super::ask::{Answered, ask};
use super::super::{CloudVariables, METADATA};
use super::Answer;

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const ECS: &str = "http://169.254.170.2";
/// Hosts that a full address may name without TLS, beside this machine.
const PLAIN: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// The role of a container; none where the environment names no endpoint (AWS SDKs and Tools Reference, "Container credential provider").
pub(super) async fn of_container(web: &Web, variables: &CloudVariables) -> Result<Option<AwsCredential>, String> {
    let url = match (variables.get(RELATIVE), variables.get(FULL)) {
        (Some(path), _) if path.starts_with('/') => format!("{ECS}{path}"),
        (Some(_), _) => return Err(format!("{RELATIVE} does not begin with `/`")),
        (None, Some(url)) if may_be_asked(url) => url.to_owned(),
        (None, Some(_)) => {
            return Err(format!("{FULL} is neither a URL of https nor one of this machine or of the endpoints of ECS and EKS"));
        }
        (None, None) => return Ok(None),
    };
    let token = match variables.get(TOKEN_FILE) {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| format!("{TOKEN_FILE}: cannot read {file}: {error}"))?),
        None => variables.get(TOKEN).map(str::to_owned),
    };
    let token = token.map(|token| sensitive(token.trim()).ok_or_else(|| "the token of the container holds what cannot be sent".to_owned()));
    let token = token.transpose()?;
    let send = |client: &reqwest::Client, url| {
        let request = client.get(url).header(ACCEPT, "application/json");
        token.iter().fold(request, |request, token| request.header(AUTHORIZATION, token))
    };
    let who = "the container's credential endpoint";
    let answered = ask(web, &url, METADATA, web.settings.tries, &send).await.map_err(|why| format!("{who}: {why}"))?;
    if !answered.is_success() {
        return Err(format!("{who} answered {}", answered.status));
    }
    Answer::credential(&answered.body, who).map(Some)
}

/// A token goes along, so it goes to no host that a stranger could have put into the variable's place.
fn may_be_asked(url: &str) -> bool {
    let Some(url) = Url::parse(url).ok().filter(|url| url.username().is_empty() && url.password().is_none()) else { return false };
    let host = url.host_str().unwrap_or_default();
    let loopback = host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()) || host == "localhost" || host == "[::1]";
    match url.scheme() {
        "https" => true,
        "http" => loopback || PLAIN.contains(&host),
        _ => false,
    }
}

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// How long a token is good, in seconds.
const LIFETIME: &str = "21600";

/// The role of an instance, from the second version of the service alone (Amazon EC2 User Guide, "Use the Instance Metadata Service"); none
/// where there is no such service, or the instance has no role.
pub(super) async fn of_instance(web: &Web, variables: &CloudVariables) -> Result<Option<AwsCredential>, String> {
    if variables.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let named = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").or_else(|| variables.get("AWS_METADATA_ENDPOINT"));
    let six = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let base = named.map_or(if six { IPV6 } else { IPV4 }, |url| url.trim_end_matches('/'));
    let put = |client: &reqwest::Client, url| client.put(url).header("x-aws-ec2-metadata-token-ttl-seconds", LIFETIME);
    let Some(token) = there(ask(web, &format!("{base}/latest/api/token"), METADATA, 1, &put).await)? else { return Ok(None) };
    let token = sensitive(&token.text()).ok_or_else(|| "the metadata service gave a token that cannot be sent".to_owned())?;
    let get = |client: &reqwest::Client, url| client.get(url).header("x-aws-ec2-metadata-token", token.clone());
    let Some(roles) = there(ask(web, &format!("{base}{ROLES}"), METADATA, 1, &get).await)? else { return Ok(None) };
    let roles = roles.text();
    let Some(role) = roles.lines().next().map(str::trim).filter(|role| !role.is_empty()) else { return Ok(None) };
    if !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte)) {
        return Err("the metadata service names a role that cannot be one".to_owned());
    }
    let answered = ask(web, &format!("{base}{ROLES}{role}"), METADATA, web.settings.tries, &get).await;
    let answered = answered.map_err(|why| format!("the metadata service: {why}"))?;
    if !answered.is_success() {
        return Err(format!("the metadata service answered {} for the instance's role", answered.status));
    }
    Answer::credential(&answered.body, "the metadata service").map(Some)
}

/// None where nobody answers, or there is nothing.
fn there(answered: Result<Answered, String>) -> Result<Option<Answered>, String> {
    match answered {
        Ok(answered) if answered.is_success() => Ok(Some(answered)),
        Ok(answered) if (400..500).contains(&answered.status) => Ok(None),
        Ok(answered) => Err(format!("the metadata service answered {}", answered.status)),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_asked;

    #[test]
    fn without_tls_only_this_machine_and_the_endpoints_of_aws() {
        for url in [
            "https://credentials.example/x",
            "http://127.0.0.1:8080/x",
            "http://localhost:51678/v2",
            "http://[::1]:80/",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1",
        ] {
            assert!(may_be_asked(url), "{url}");
        }
        for url in [
            "http://example.com/",
            "http://169.254.169.254/",
            "http://127.0.0.1.evil.test/",
            "http://127.0.0.1@evil.test/",
            "ftp://127.0.0.1/",
            "",
        ] {
            assert!(!may_be_asked(url), "{url}");
        }
    }
}
