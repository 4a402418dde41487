use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::http::{Request, Response};
use layerwright_plugin::{Access, Error, ErrorCode, Property, fake};

use crate::{Google, jwt};

const REGISTRY: &str = "europe-docker.pkg.dev";
const NOW: u64 = 1_700_000_000;
const FORM: &str = "content-type: application/x-www-form-urlencoded";
const SCOPE: &str = "https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform";
const TOKEN: &str = r#"{"access_token":"ya29.token","expires_in":3599,"token_type":"Bearer"}"#;

fn ask(registry: &str) -> Result<Option<Answer>, Error> {
    Google::authenticate(&Target { registry: registry.to_owned(), repository: "p/r/app".to_owned(), access: Access::Push })
}

fn expected(seconds: u64) -> Option<Answer> {
    Some(Answer::new(Credential::basic("oauth2accesstoken", "ya29.token"), REGISTRY).expires(NOW + seconds))
}

fn response(status: u16, body: &str) -> Response {
    Response { status, headers: vec![Property::new("Metadata-Flavor", "Google")], body: body.as_bytes().to_vec() }
}

/// Answers by `METHOD URL`; whoever is not listed cannot be reached.
fn host(routes: &'static [(&'static str, u16, &'static str)]) -> fake::Host {
    fake::Host::new().now(NOW).http(move |request| {
        let asked = format!("{} {}", request.method, request.url);
        let found = routes.iter().find(|(route, ..)| *route == asked);
        found.map(|(_, status, body)| response(*status, body)).ok_or_else(|| Error::unavailable(format!("{asked}: no answer")))
    })
}

/// A host whose credentials file is `content`.
fn with_file(host: fake::Host, content: &str) -> fake::Host {
    host.env("GOOGLE_APPLICATION_CREDENTIALS", "/key.json").file("/key.json", content)
}

/// A request as lines: what it is, its headers, its body.
fn text(request: &Request) -> String {
    let headers: String = request.headers.iter().map(|header| format!("{}: {}\n", header.name, header.value)).collect();
    format!("{} {}\n{headers}\n{}", request.method, request.url, String::from_utf8_lossy(&request.body))
}

fn service_account(more: &str) -> String {
    let key = jwt::tests::rfc_pem().replace('\n', "\\n");
    format!(
        r#"{{"type":"service_account","client_email":"b@p.iam.gserviceaccount.com","private_key":"{key}","private_key_id":"k1"{more}}}"#
    )
}

#[test]
fn a_service_account_signs_for_itself() {
    let host = with_file(host(&[("POST https://oauth2.googleapis.com/token", 200, TOKEN)]), &service_account("")).install();
    assert_eq!(ask(REGISTRY), Ok(expected(3599)));
    let [request] = &host.requests()[..] else { panic!("one request") };
    let body = String::from_utf8(request.body.clone()).unwrap();
    let assertion = body.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=").unwrap();
    let header = r#"{"alg":"RS256","kid":"k1","typ":"JWT"}"#;
    let claims = r#"{"aud":"https://oauth2.googleapis.com/token","exp":1700003600,"iat":1700000000,"iss":"b@p.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/cloud-platform"}"#;
    assert_eq!(assertion, jwt::sign(header, claims, &jwt::tests::rfc_pem()).unwrap());
    let parts: Vec<String> =
        assertion.split('.').take(2).map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()).collect();
    assert_eq!(parts, [header, claims]);
    assert_eq!(request.headers, [Property::new("content-type", "application/x-www-form-urlencoded")]);
}

#[test]
fn a_login_of_gcloud_is_refreshed() {
    let file = r#"{"type":"authorized_user","client_id":"id","client_secret":"s3&","refresh_token":"1//r","quota_project_id":"p"}"#;
    for host in [
        with_file(host(&[("POST https://oauth2.googleapis.com/token", 200, TOKEN)]), file),
        host(&[("POST https://oauth2.googleapis.com/token", 200, TOKEN)])
            .file("~/.config/gcloud/application_default_credentials.json", file),
        host(&[("POST https://oauth2.googleapis.com/token", 200, TOKEN)])
            .env("CLOUDSDK_CONFIG", "/g/")
            .file("/g/application_default_credentials.json", file),
    ] {
        let host = host.install();
        assert_eq!(ask(REGISTRY), Ok(expected(3599)));
        let requests: Vec<String> = host.requests().iter().map(text).collect();
        let wanted = format!(
            "POST https://oauth2.googleapis.com/token\n{FORM}\n\nclient_id=id&client_secret=s3%26&refresh_token=1%2F%2Fr&grant_type=refresh_token"
        );
        assert_eq!(requests, [wanted]);
    }
}

#[test]
fn somebody_elses_token_is_exchanged() {
    const EXCHANGE: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
        &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
    let file = r#"{"type":"external_account","audience":"//iam.googleapis.com/x","subject_token_type":"urn:ietf:params:oauth:token-type:jwt",
        "token_url":"https://sts.googleapis.com/v1/token","credential_source":{"file":"/token"},
        "service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/b:generateAccessToken"}"#;
    let routes = host(&[
        ("POST https://sts.googleapis.com/v1/token", 200, r#"{"access_token":"federated","expires_in":3600}"#),
        (
            "POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/b:generateAccessToken",
            200,
            r#"{"accessToken":"ya29.token","expireTime":"2023-11-14T23:13:19Z"}"#,
        ),
    ]);
    let host = with_file(routes, file).file("/token", "ey.subject\n").install();
    assert_eq!(ask(REGISTRY), Ok(expected(3599)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let exchange = format!(
        "POST https://sts.googleapis.com/v1/token\n{FORM}\n\naudience=%2F%2Fiam.googleapis.com%2Fx&{EXCHANGE}&scope={SCOPE}\
         &subject_token=ey.subject&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
    );
    let impersonation = "POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/b:generateAccessToken\n\
        authorization: Bearer federated\ncontent-type: application/json\n\n\
        {\"lifetime\":\"3600s\",\"scope\":[\"https://www.googleapis.com/auth/cloud-platform\"]}";
    assert_eq!(requests, [exchange, impersonation.to_owned()]);
}

#[test]
fn a_subject_token_may_be_at_a_url() {
    let file = r#"{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"https://sts.googleapis.com/v1/token",
        "credential_source":{"url":"https://vstoken.actions.githubusercontent.com/x?audience=a","headers":{"Authorization":"Bearer job"},
        "format":{"type":"json","subject_token_field_name":"value"}}}"#;
    let routes = host(&[
        ("GET https://vstoken.actions.githubusercontent.com/x?audience=a", 200, r#"{"value":"ey.job"}"#),
        ("POST https://sts.googleapis.com/v1/token", 200, TOKEN),
    ]);
    let host = with_file(routes, file).install();
    assert_eq!(ask(REGISTRY), Ok(expected(3599)));
    assert_eq!(text(&host.requests()[0]), "GET https://vstoken.actions.githubusercontent.com/x?audience=a\nAuthorization: Bearer job\n\n");
    assert!(text(&host.requests()[1]).contains("&subject_token=ey.job&"));
}

#[test]
fn one_account_may_stand_for_another() {
    let source = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}"#;
    let impersonate = |source: &str| {
        format!(
            r#"{{"type":"impersonated_service_account","service_account_impersonation_url":"https://iamcredentials.googleapis.com/g",
            "source_credentials":{source},"delegates":["d"]}}"#
        )
    };
    let routes = || {
        host(&[
            ("POST https://oauth2.googleapis.com/token", 200, r#"{"access_token":"own"}"#),
            (
                "POST https://iamcredentials.googleapis.com/g",
                200,
                r#"{"accessToken":"ya29.token","expireTime":"2023-11-14T22:14:20.5+00:00"}"#,
            ),
        ])
    };
    let installed = with_file(routes(), &impersonate(source)).install();
    assert_eq!(ask(REGISTRY), Ok(expected(60)));
    let request = text(&installed.requests()[1]);
    assert!(request.contains("authorization: Bearer own\n") && request.contains(r#""delegates":["d"]"#), "{request}");
    let _host = with_file(routes(), &impersonate(&impersonate(source))).install();
    assert_eq!(ask(REGISTRY).unwrap_err().code, ErrorCode::Invalid);
}

#[test]
fn the_metadata_service() {
    const URL: &str = "GET http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
    {
        let host = host(&[(URL, 200, TOKEN)]).install();
        assert_eq!(ask(REGISTRY), Ok(expected(3599)));
        let requests: Vec<String> = host.requests().iter().map(text).collect();
        assert_eq!(requests, [format!("{URL}\nmetadata-flavor: Google\n\n")]);
    }
    {
        let host = host(&[]).env("GCE_METADATA_HOST", "127.0.0.1:8080").install();
        assert_eq!(ask("gcr.io"), Ok(None), "nobody answers: what is public is read without credentials");
        assert!(host.requests()[0].url.starts_with("http://127.0.0.1:8080/computeMetadata/"));
    }
    let portal = Response { status: 200, headers: Vec::new(), body: TOKEN.as_bytes().to_vec() };
    let _host = fake::Host::new().http(move |_| Ok(portal.clone())).install();
    assert_eq!(ask(REGISTRY), Ok(None), "not every server is Google's");
    let host = host(&[(URL, 200, TOKEN)]).env("NO_GCE_CHECK", "true").install();
    assert_eq!(ask(REGISTRY), Ok(None));
    assert!(host.requests().is_empty());
}

#[test]
fn files_that_cannot_be_used_say_why_and_nothing_of_their_content() {
    let external = |source: &str| {
        format!(
            r#"{{"type":"external_account","audience":"a","subject_token_type":"t","token_url":"https://x/","credential_source":{source}}}"#
        )
    };
    for (content, wanted) in [
        ("s3cret".to_owned(), "/key.json is not a credentials file of Google's (line 1, column 1)"),
        (
            r#"{"type":"gdch_service_account","key":"s3cret"}"#.to_owned(),
            "/key.json is of the type gdch_service_account, which is not supported",
        ),
        (
            r#"{"type":"authorized_user","client_secret":"s3cret"}"#.to_owned(),
            "/key.json lacks a part that a file of the type authorized_user has",
        ),
        (
            r#"{"type":"service_account","client_email":"e","private_key":"s3cret"}"#.to_owned(),
            "the private key in /key.json is not an RSA key in PEM",
        ),
        (external(r#"{"executable":{"command":"s3cret"}}"#), "/key.json has its subject token made by a program, and a plugin runs none"),
        (external(r#"{"environment_id":"aws1"}"#), "/key.json wants an identity of AWS's as its subject, which is not supported"),
        (external("{}"), "/key.json does not say where the subject token is"),
        (external(r#"{"file":"/none"}"#), "the subject token: /none: no such file"),
    ] {
        let host = with_file(host(&[]), &content).install();
        let error = ask(REGISTRY).unwrap_err();
        assert_eq!(error.message, wanted);
        assert!(!format!("{error:?}{:?}", host.messages()).contains("s3cret"));
    }
    let _host = fake::Host::new().env("GOOGLE_APPLICATION_CREDENTIALS", "/none").install();
    assert_eq!(ask(REGISTRY).unwrap_err().message, "GOOGLE_APPLICATION_CREDENTIALS: /none: no such file");
}

#[test]
fn the_grant_that_is_missing_is_named() {
    let file = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r","token_uri":"http://127.0.0.1/"}"#;
    let host = fake::Host::new().http(|_| Err(Error::denied("not allowed to send requests").hint("add `--grant x`")));
    let _host = with_file(host, file).install();
    assert_eq!(ask(REGISTRY).unwrap_err().hint.as_deref(), Some("add `--grant x`"));
}

#[test]
fn refusals_are_passed_on() {
    let refused = r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#;
    let host = fake::Host::new().now(NOW).http(move |_| Ok(response(400, refused)));
    let _host = with_file(host, &service_account("")).install();
    assert_eq!(
        ask(REGISTRY).unwrap_err().message,
        "the service account b@p.iam.gserviceaccount.com: refused with 400: invalid_grant: Invalid JWT Signature."
    );
}

#[test]
fn strangers_are_none_of_its_business() {
    let host = with_file(fake::Host::new().http(|_| Ok(response(200, TOKEN))), &service_account("")).install();
    for registry in [
        "gcr.io.evil.test",
        "evil-pkg.dev",
        "evil-gcr.io",
        "pkg.dev",
        "x.pkg.dev.evil.test",
        "gcr.io:443",
        ".gcr.io",
        "x..pkg.dev",
        "a@x.pkg.dev",
        "registry.google.com",
        "docker.io",
    ] {
        assert_eq!(ask(registry), Ok(None), "{registry}");
    }
    assert!(host.requests().is_empty());
    for registry in ["gcr.io", "eu.gcr.io", "GCR.io", "us-east1-docker.pkg.dev"] {
        assert!(ask(registry).unwrap().is_some(), "{registry}");
    }
}
