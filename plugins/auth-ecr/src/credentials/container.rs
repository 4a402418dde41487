//! The endpoint that ECS tasks and EKS pods get credentials from (AWS SDKs and Tools Reference, "Container credential provider").

use layerwright_plugin::http::{self, Request};
use layerwright_plugin::{Error, env, files};
use serde::Deserialize;

use super::Credentials;

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const ECS: &str = "http://169.254.170.2";

/// Hosts that a full address may name without TLS, beside loopback addresses.
const PLAIN: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// What metadata services answer with.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    token: Option<String>,
}

impl From<Answer> for Credentials {
    fn from(answer: Answer) -> Self {
        Self { access_key: answer.access_key_id, secret_key: answer.secret_access_key, session_token: answer.token }
    }
}

/// None where the environment names no such endpoint.
pub(crate) fn find() -> Result<Option<Credentials>, Error> {
    let url = match (env::optional(RELATIVE)?, env::optional(FULL)?) {
        (Some(path), _) if path.starts_with('/') => format!("{ECS}{path}"),
        (Some(_), _) => return Err(Error::invalid(format!("{RELATIVE} does not begin with `/`"))),
        (None, Some(url)) if may_be_asked(&url) => url,
        (None, Some(_)) => {
            return Err(Error::invalid(format!(
                "{FULL} is neither a URL of https nor one of this machine or of the endpoints of ECS and EKS"
            )));
        }
        (None, None) => return Ok(None),
    };
    let mut request = Request::new("GET", url).timeout_ms(5_000).header("accept", "application/json");
    let token = match env::optional(TOKEN_FILE)? {
        Some(file) => {
            let content = files::read(&file).map_err(|error| Error { message: format!("{TOKEN_FILE}: {}", error.message), ..error })?;
            Some((TOKEN_FILE, String::from_utf8(content).map_err(|_| Error::invalid(format!("{file} holds no token")))?.trim().to_owned()))
        }
        None => env::optional(TOKEN)?.map(|token| (TOKEN, token)),
    };
    if let Some((name, token)) = token {
        if token.chars().any(char::is_control) {
            return Err(Error::invalid(format!("the token of {name} holds line ends")));
        }
        request = request.header("authorization", token);
    }
    let response = http::send_again(&request)?;
    if !response.is_success() {
        return Err(Error::failed(format!("the container's credential endpoint answered {}", response.status)));
    }
    let answer: Answer = serde_json::from_slice(&response.body)
        .map_err(|_| Error::failed("the container's credential endpoint answered something else than credentials"))?;
    Ok(Some(answer.into()))
}

/// A token goes along, so it goes to no host that a stranger could have put into the variable's place.
fn may_be_asked(url: &str) -> bool {
    let host = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let end = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        authority[..end.unwrap_or(authority.len())].to_ascii_lowercase()
    };
    match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => !rest.is_empty(),
        (None, Some(rest)) => {
            let host = host(rest);
            let loopback = host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
            loopback || host == "localhost" || host == "[::1]" || PLAIN.contains(&host.as_str())
        }
        (None, None) => false,
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
            "http://127.9.9.9/",
            "http://localhost:51678/v2",
            "http://[::1]:80/",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(may_be_asked(url), "{url}");
        }
        for url in [
            "http://example.com/",
            "http://169.254.169.254/",
            "http://127.0.0.1.evil.test/",
            "http://localhost.evil.test/",
            "http://127.0.0.1@evil.test/",
            "ftp://127.0.0.1/",
            "",
        ] {
            assert!(!may_be_asked(url), "{url}");
        }
    }
}
