//! Where calls go: AWS's own hosts, or those that the operator's environment names as AWS's tools let it.

use layerwright_plugin::{Error, env};

/// Variables that hold the URL of a service, or of all.
pub(crate) const VARIABLES: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Switches those variables off that hold the URL of a service.
pub(crate) const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

/// Where a service takes calls.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    /// As the request's `Host` has it.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// The endpoint of a service, which is at `host` unless `variable` or the one for all services says otherwise.
pub(crate) fn of(variable: &str, host: &str) -> Result<Endpoint, Error> {
    let ignored = env::optional(IGNORE)?.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !ignored {
        for name in [variable, "AWS_ENDPOINT_URL"] {
            if let Some(url) = env::optional(name)? {
                return parse(url.trim()).ok_or_else(|| Error::invalid(format!("{name} is not a URL")));
            }
        }
    }
    Ok(Endpoint { url: format!("https://{host}/"), host: host.to_owned(), path: "/".to_owned() })
}

fn parse(url: &str) -> Option<Endpoint> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || rest.contains(['?', '#', '@']) {
        return None;
    }
    let host = authority.strip_suffix(default).unwrap_or(authority).to_ascii_lowercase();
    let path = match path.trim_matches('/') {
        "" => "/".to_owned(),
        path => format!("/{path}/"),
    };
    Some(Endpoint { url: format!("{scheme}://{authority}{path}"), host, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, url, host, path) in [
            (
                "https://vpce-1.api.ecr.us-east-1.vpce.amazonaws.com",
                "https://vpce-1.api.ecr.us-east-1.vpce.amazonaws.com/",
                "vpce-1.api.ecr.us-east-1.vpce.amazonaws.com",
                "/",
            ),
            ("http://127.0.0.1:4566", "http://127.0.0.1:4566/", "127.0.0.1:4566", "/"),
            ("https://x:443/a/", "https://x:443/a/", "x", "/a/"),
            ("http://LOCALHOST:80/", "http://LOCALHOST:80/", "localhost", "/"),
        ] {
            assert_eq!(parse(text), Some(Endpoint { url: url.to_owned(), host: host.to_owned(), path: path.to_owned() }), "{text}");
        }
        for text in ["", "x", "ftp://x", "https://", "https://u@x", "https://x?y"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
