//! `GetAuthorizationToken` (Amazon ECR API Reference; Amazon ECR Public API Reference).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerwright_plugin::auth::{Answer, Credential, Target};
use layerwright_plugin::http::{self, Request, Response};
use layerwright_plugin::{Error, Property, clock};
use serde::Deserialize;

use crate::credentials::{self, Credentials, Places};
use crate::endpoint;
use crate::registry::{PUBLIC_API, Registry};
use crate::sigv4::{Signing, sign};

const JSON: &str = "application/x-amz-json-1.1";

/// How one of the two APIs is called.
struct Api<'a> {
    host: &'a str,
    variable: &'a str,
    service: &'a str,
    target: &'a str,
}

/// What one authorization is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: String,
    /// Seconds since 1970, with a fraction.
    #[serde(default)]
    expires_at: Option<f64>,
}

/// The private API answers with a list, the public one with one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Many(Vec<Authorization>),
    One(Authorization),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    authorization_data: Data,
}

/// The registry's password; none where there are no AWS credentials and none are needed.
pub(crate) fn answer(registry: &Registry, target: &Target) -> Result<Option<Answer>, Error> {
    let api = match registry {
        Registry::Private { api, .. } => Api {
            host: api,
            variable: "AWS_ENDPOINT_URL_ECR",
            service: "ecr",
            target: "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        },
        Registry::Public => Api {
            host: PUBLIC_API,
            variable: "AWS_ENDPOINT_URL_ECR_PUBLIC",
            service: "ecr-public",
            target: "SpencerFrontendService.GetAuthorizationToken",
        },
    };
    let places = Places { region: registry.region(), services: registry.services() };
    let Some(credentials) = credentials::find(&places)? else {
        return match registry {
            Registry::Public => Ok(None),
            Registry::Private { .. } => Err(credentials::none(&target.registry)),
        };
    };
    let response = call(&api, registry.region(), &credentials)?;
    if !response.is_success() {
        return Err(refused(&api, &response, &target.registry));
    }
    let unfit = || Error::failed(format!("the API of {} answered something else than an authorization", target.registry));
    let answered: Answered = serde_json::from_slice(&response.body).map_err(|_| unfit())?;
    let authorization = match answered.authorization_data {
        Data::Many(list) => list.into_iter().next().ok_or_else(unfit)?,
        Data::One(one) => one,
    };
    let decoded = STANDARD.decode(authorization.authorization_token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = decoded.as_deref().and_then(|text| text.split_once(':')).ok_or_else(unfit)?;
    let answer = Answer::new(Credential::basic(user, password), &target.registry);
    Ok(Some(match authorization.expires_at {
        // What is no time at all becomes 0, and the host asks again.
        Some(seconds) => answer.expires(seconds as u64),
        None => answer,
    }))
}

fn call(api: &Api<'_>, region: &str, credentials: &Credentials) -> Result<Response, Error> {
    let endpoint = endpoint::of(api.variable, api.host)?;
    let body = b"{}";
    let signing =
        Signing { method: "POST", host: &endpoint.host, path: &endpoint.path, query: "", region, service: api.service, now: clock::now() };
    let mut request = Request::new("POST", endpoint.url).body(body.as_slice());
    request.headers = vec![Property::new("content-type", JSON), Property::new("x-amz-target", api.target)];
    sign(&signing, &mut request.headers, body, credentials);
    http::send_again(&request)
}

fn refused(api: &Api<'_>, response: &Response, registry: &str) -> Error {
    #[derive(Default, Deserialize)]
    struct Refusal {
        #[serde(rename = "__type", default)]
        kind: String,
        #[serde(alias = "Message", default)]
        message: String,
    }
    let refusal: Refusal = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = refusal.kind.rsplit('#').next().unwrap_or_default();
    let said = [kind, refusal.message.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
    let error = Error::failed(format!("AWS refuses a password for {registry} ({}): {said}", response.status));
    match kind {
        "AccessDeniedException" => error.hint(format!("the identity needs the permission {}:GetAuthorizationToken", api.service)),
        "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
            error.hint("check that the AWS credentials are current, that they belong to this partition, and that the clock is right")
        }
        _ => error,
    }
}
