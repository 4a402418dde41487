use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::http::{Request, Response};
use layerwright_plugin::{Access, Error, ErrorCode, fake};

use crate::Azure;

const REGISTRY: &str = "team.azurecr.io";
const FORM: &str = "content-type: application/x-www-form-urlencoded";
const SCOPE: &str = "https%3A%2F%2Fcontainerregistry.azure.net%2F.default";
const RESOURCE: &str = "https%3A%2F%2Fcontainerregistry.azure.net";

fn ask(registry: &str) -> Result<Option<Answer>, Error> {
    Azure::authenticate(&Target { registry: registry.to_owned(), repository: "app".to_owned(), access: Access::Push })
}

/// A token that says these things of itself.
fn token(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn refresh() -> String {
    token(r#"{"exp":1700010800,"jti":"x"}"#)
}

fn expected(registry: &str) -> Option<Answer> {
    Some(Answer::new(Credential::IdentityToken(refresh()), registry).expires(1_700_010_800))
}

fn response(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response { status, headers: Vec::new(), body: body.into() }
}

/// Gives every identity a token, and every registry's exchange a refresh token; the link-local metadata service is there where `instance`.
fn host(instance: bool) -> fake::Host {
    fake::Host::new().http(move |request| {
        if request.url.ends_with("/oauth2/exchange") {
            return Ok(response(200, format!(r#"{{"refresh_token":"{}"}}"#, refresh())));
        }
        if request.url.starts_with("http://169.254.169.254/") && !instance {
            return Err(Error::unavailable("no answer"));
        }
        Ok(response(200, format!(r#"{{"access_token":"{}","expires_in":"3599"}}"#, token(r#"{"tid":"own-tenant"}"#))))
    })
}

fn principal(host: fake::Host) -> fake::Host {
    host.env("AZURE_CLIENT_ID", "app-id").env("AZURE_TENANT_ID", "tenant-id")
}

/// A request as lines: what it is, its headers, its body.
fn text(request: &Request) -> String {
    let headers: String = request.headers.iter().map(|header| format!("{}: {}\n", header.name, header.value)).collect();
    format!("{} {}\n{headers}\n{}", request.method, request.url, String::from_utf8_lossy(&request.body))
}

fn exchange(registry: &str, tenant: &str) -> String {
    let access = token(r#"{"tid":"own-tenant"}"#);
    format!(
        "POST https://{registry}/oauth2/exchange\n{FORM}\n\naccess_token={access}&grant_type=access_token&service={registry}&tenant={tenant}"
    )
}

#[test]
fn a_service_principal_with_its_secret() {
    let host = principal(host(false)).env("AZURE_CLIENT_SECRET", "s&cret~").install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let sign_in = format!(
        "POST https://login.microsoftonline.com/tenant-id/oauth2/v2.0/token\n{FORM}\n\n\
         client_secret=s%26cret~&client_id=app-id&grant_type=client_credentials&scope={SCOPE}"
    );
    assert_eq!(requests, [sign_in, exchange(REGISTRY, "tenant-id")]);
}

#[test]
fn a_federated_workload() {
    let file = "/var/run/secrets/azure/tokens/azure-identity-token";
    for host in [
        principal(host(false)).env("AZURE_FEDERATED_TOKEN_FILE", file).file(file, "ey.workload\n"),
        principal(host(false)).env("AZURE_FEDERATED_TOKEN", "ey.workload"),
    ] {
        let host = host.env("AZURE_AUTHORITY_HOST", "https://login.example/").install();
        assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
        let requests: Vec<String> = host.requests().iter().map(text).collect();
        let sign_in = format!(
            "POST https://login.example/tenant-id/oauth2/v2.0/token\n{FORM}\n\n\
             client_assertion=ey.workload&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_id=app-id&grant_type=client_credentials&scope={SCOPE}"
        );
        assert_eq!(requests, [sign_in, exchange(REGISTRY, "tenant-id")]);
    }
}

#[test]
fn the_identity_of_a_machine() {
    let host = host(true).install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let ours =
        format!("GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource={RESOURCE}\nmetadata: true\n\n");
    // The directory is the one that the token itself names.
    assert_eq!(requests, [ours, exchange(REGISTRY, "own-tenant")]);
}

#[test]
fn the_identity_of_a_machine_that_has_several() {
    let host = host(true).env("AZURE_CLIENT_ID", "user-assigned").install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let ours = format!(
        "GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource={RESOURCE}&client_id=user-assigned\n\
         metadata: true\n\n"
    );
    assert_eq!(requests, [ours, exchange(REGISTRY, "own-tenant")]);
}

#[test]
fn the_identity_of_an_app() {
    let host = host(false).env("IDENTITY_ENDPOINT", "http://127.0.0.1:41741/msi/token/").env("IDENTITY_HEADER", "h");
    let host = host.env("AZURE_CLIENT_ID", "user-assigned").install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let ours = format!(
        "GET http://127.0.0.1:41741/msi/token/?api-version=2019-08-01&resource={RESOURCE}&client_id=user-assigned\nx-identity-header: h\n\n"
    );
    assert_eq!(requests, [ours, exchange(REGISTRY, "own-tenant")]);
}

#[test]
fn each_cloud_has_its_sign_in() {
    for (registry, url) in [
        ("a.azurecr.cn", "https://login.partner.microsoftonline.cn/tenant-id/oauth2/v2.0/token"),
        ("a.b.azurecr.us", "https://login.microsoftonline.us/tenant-id/oauth2/v2.0/token"),
    ] {
        let host = principal(host(false)).env("AZURE_CLIENT_SECRET", "s").install();
        assert_eq!(ask(registry), Ok(expected(registry)));
        assert_eq!(host.requests()[0].url, url);
    }
}

#[test]
fn without_an_identity_it_knows_nothing() {
    let host = host(false).install();
    assert_eq!(ask(REGISTRY), Ok(None));
    assert_eq!(host.requests().len(), 1);
    // Another cloud's metadata service.
    let _host = fake::Host::new().http(|_| Ok(response(404, ""))).install();
    assert_eq!(ask(REGISTRY), Ok(None));
}

#[test]
fn what_is_half_set_or_refused_says_so() {
    for (name, wanted) in [
        ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_SECRET is set and AZURE_CLIENT_ID is not"),
        ("AZURE_FEDERATED_TOKEN", "AZURE_FEDERATED_TOKEN is set and AZURE_CLIENT_ID is not"),
        ("IDENTITY_ENDPOINT", "IDENTITY_ENDPOINT is set and IDENTITY_HEADER is not"),
    ] {
        let host = host(true).env(name, "http://x").install();
        let error = ask(REGISTRY).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Invalid, wanted));
        assert!(host.requests().is_empty());
    }
    let host = principal(host(true)).env("AZURE_CLIENT_SECRET", "s").env("AZURE_TENANT_ID", "../evil").install();
    assert_eq!(ask(REGISTRY).unwrap_err().code, ErrorCode::Invalid);
    assert!(host.requests().is_empty());

    let refusal = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}"#;
    let refusing = fake::Host::new().http(move |_| Ok(response(401, refusal)));
    let _host = principal(refusing).env("AZURE_CLIENT_SECRET", "wrong-s3cret").install();
    let message = ask(REGISTRY).unwrap_err().message;
    assert_eq!(
        message,
        "signing in at Microsoft Entra ID: refused with 401: invalid_client: AADSTS7000215: Invalid client secret provided."
    );
}

#[test]
fn strangers_are_none_of_its_business() {
    let host = principal(host(true)).env("AZURE_CLIENT_SECRET", "s").install();
    for registry in [
        "x.azurecr.io.evil.test",
        "x.azurecr.io.attacker.com",
        "azurecr.io",
        ".azurecr.io",
        "xazurecr.io",
        "evil-azurecr.io",
        "x.azurecr.io:443",
        "x.azurecr.iox",
        "x/.azurecr.io",
        "a@x.azurecr.io",
        "x..azurecr.io",
        "x.azurecr.de",
        "docker.io",
    ] {
        assert_eq!(ask(registry), Ok(None), "{registry}");
    }
    assert!(host.requests().is_empty());
}
