use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::http::{Request, Response};
use layerwright_plugin::{Access, Error, ErrorCode, Want, fake};

use crate::Ecr;

const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const API: &str = "https://api.ecr.us-east-1.amazonaws.com/";
const STS: &str = "https://sts.us-east-1.amazonaws.com/";
const IMDS: &str = "http://169.254.169.254";
/// 2015-08-30T12:36:00Z, as in AWS's examples.
const NOW: u64 = 1_440_938_160;
/// `AWS:password`
const AUTHORIZATION: &str = r#"{"authorizationData":[{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":1.440981360123E9,
    "proxyEndpoint":"https://123456789012.dkr.ecr.us-east-1.amazonaws.com"}]}"#;
const FORM: &str = "content-type: application/x-www-form-urlencoded";

fn target(registry: &str, access: Access) -> Target {
    Target { registry: registry.to_owned(), repository: "team/app".to_owned(), access }
}

fn ask(registry: &str) -> Result<Option<Answer>, Error> {
    Ecr::authenticate(&target(registry, Access::Push))
}

fn expected(registry: &str) -> Option<Answer> {
    Some(Answer::new(Credential::basic("AWS", "password"), registry).expires(1_440_981_360))
}

fn answer(status: u16, body: &str) -> Response {
    Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

/// Answers by `METHOD URL`; whoever is not listed cannot be reached.
fn host(routes: &'static [(&'static str, u16, &'static str)]) -> fake::Host {
    fake::Host::new().now(NOW).http(move |request| {
        let asked = format!("{} {}", request.method, request.url);
        let found = routes.iter().find(|(route, ..)| *route == asked);
        found.map(|(_, status, body)| answer(*status, body)).ok_or_else(|| Error::unavailable(format!("{asked}: no answer")))
    })
}

fn with_keys(host: fake::Host) -> fake::Host {
    host.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

/// A request as lines: what it is, its headers, its body.
fn text(request: &Request) -> String {
    let headers: String = request.headers.iter().map(|header| format!("{}: {}\n", header.name, header.value)).collect();
    format!("{} {}\n{headers}\n{}", request.method, request.url, String::from_utf8_lossy(&request.body))
}

/// What a signed request for the password looks like; the signatures were computed with botocore's SigV4Auth.
fn password_request(url: &str, target: &str, token: Option<&str>, scope: &str, signature: &str) -> String {
    let (line, name) = match token {
        Some(token) => (format!("x-amz-security-token: {token}\n"), ";x-amz-security-token"),
        None => (String::new(), ""),
    };
    let key = if token.is_some() { "ASIAEXAMPLE" } else { "AKIDEXAMPLE" };
    format!(
        "POST {url}\ncontent-type: application/x-amz-json-1.1\nx-amz-target: {target}\nx-amz-date: 20150830T123600Z\n{line}\
         authorization: AWS4-HMAC-SHA256 Credential={key}/20150830/us-east-1/{scope}/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date{name};x-amz-target, Signature={signature}\n\n{{}}"
    )
}

const GET_TOKEN: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const PLAIN_SIGNATURE: &str = "527a2155e9afc2426cb4c659023df9c031e8103458f349819615ff25111f5de0";
const SESSION_SIGNATURE: &str = "220cd3ebcbc81c0c1b241ffa81099e9778bce13b6aee53901c1f8dc564a5540d";
const PUBLIC_SIGNATURE: &str = "7f4ca0d963a87df3d01f6c4ab2257843501fb7772d9351b0a56f5eca8095cd59";
const ROLE_SIGNATURE: &str = "7a4d6fc9fa0f96a53a99d4e7cc5e9c795e901c254878dfc9cf02f6b697950f71";

/// The one answer with which every way to a session ends.
fn session_request() -> String {
    password_request(API, GET_TOKEN, Some("session/token=="), "ecr", SESSION_SIGNATURE)
}

const STS_ANSWER: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><AssumedRoleUser><Arn>arn:x</Arn></AssumedRoleUser>\
    <Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>session+secret&amp;/</SecretAccessKey>\
    <SessionToken>session/token==</SessionToken><Expiration>2015-08-30T13:36:00Z</Expiration></Credentials>\
    </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
const METADATA_ANSWER: &str = r#"{"Code":"Success","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"session+secret&/",
    "Token":"session/token==","Expiration":"2015-08-30T18:36:00Z"}"#;

#[test]
fn keys_in_the_environment() {
    let host = with_keys(host(&[("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION)])).install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    assert_eq!(requests, [password_request(API, GET_TOKEN, None, "ecr", PLAIN_SIGNATURE)]);
}

#[test]
fn keys_of_a_session_in_the_environment() {
    let host = host(&[("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION)])
        .env("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "session+secret&/")
        .env("AWS_SESSION_TOKEN", "session/token==")
        .install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    assert_eq!(host.requests().iter().map(text).collect::<Vec<_>>(), [session_request()]);
}

#[test]
fn the_public_gallery_has_its_own_api() {
    const URL: &str = "https://api.ecr-public.us-east-1.amazonaws.com/";
    let one = r#"{"authorizationData":{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":1440981360}}"#;
    for registry in ["public.ecr.aws", "ecr-public.aws.com"] {
        let host = with_keys(fake::Host::new().now(NOW).http(move |_| Ok(answer(200, one)))).install();
        assert_eq!(ask(registry), Ok(expected(registry)));
        let requests: Vec<String> = host.requests().iter().map(text).collect();
        let wanted = password_request(URL, "SpencerFrontendService.GetAuthorizationToken", None, "ecr-public", PUBLIC_SIGNATURE);
        assert_eq!(requests, [wanted]);
    }
}

#[test]
fn a_web_identity() {
    let host = host(&[
        ("POST https://sts.us-east-1.amazonaws.com/", 200, STS_ANSWER),
        ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
    ]);
    let token = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
    let host = host
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/builds")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token)
        .env("AWS_ROLE_SESSION_NAME", "job 7")
        .file(token, "ey.J.x\n")
        .install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let wanted = format!(
        "POST {STS}\n{FORM}\n\nAction=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fbuilds\
         &RoleSessionName=job%207&Version=2011-06-15&WebIdentityToken=ey.J.x"
    );
    assert_eq!(requests, [wanted, session_request()]);
}

#[test]
fn the_token_service_of_the_builds_own_region() {
    for (region, wanted) in
        [("eu-west-1", "https://sts.eu-west-1.amazonaws.com/"), ("cn-north-1", STS), ("us-gov-west-1", STS), ("evil.test/", STS)]
    {
        let host = fake::Host::new().now(NOW).http(|_| Ok(answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")));
        let host = host.env("AWS_REGION", region).env("AWS_ROLE_ARN", "arn:r").env("AWS_WEB_IDENTITY_TOKEN_FILE", "/t").file("/t", "t");
        let host = host.install();
        let error = ask(REGISTRY).unwrap_err();
        assert_eq!(error.message, "AWS refuses the role arn:r (403): AccessDenied: no");
        assert_eq!(host.requests()[0].url, wanted, "{region}");
    }
}

#[test]
fn a_profile_and_the_role_that_it_may_take_on() {
    let files = |host: fake::Host| {
        host.file("~/.aws/config", "[profile ci]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\nexternal_id = x\n").file(
            "~/.aws/credentials",
            "[base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n",
        )
    };
    let plain = files(host(&[("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION)])).env("AWS_PROFILE", "base");
    {
        let host = plain.install();
        assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
        assert_eq!(text(&host.requests()[0]), password_request(API, GET_TOKEN, None, "ecr", PLAIN_SIGNATURE));
    }
    let role = host(&[
        ("POST https://sts.us-east-1.amazonaws.com/", 200, STS_ANSWER),
        ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
    ]);
    let host = files(role).env("AWS_PROFILE", "ci").install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let wanted = format!(
        "POST {STS}\n{FORM}\nx-amz-date: 20150830T123600Z\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sts/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature={ROLE_SIGNATURE}\n\n\
         Action=AssumeRole&ExternalId=x&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=layerwright&Version=2011-06-15"
    );
    assert_eq!(requests, [wanted, session_request()]);
}

#[test]
fn profiles_that_cannot_be_used_say_why() {
    for (profile, wanted) in [
        ("none", "AWS_PROFILE names the profile none, which no AWS configuration file has"),
        ("process", "the AWS profile process names a credential_process, and a plugin runs no processes"),
        ("sso", "the AWS profile sso signs in through a browser, which is not possible here"),
        ("half", "the AWS profile half has one of aws_access_key_id and aws_secret_access_key without the other"),
        ("loop", "the AWS profile loop2 takes on its role through too many others"),
        ("mfa", "the AWS profile mfa wants a code from a device, which nobody can enter in a build"),
        (
            "orphan",
            "the AWS profile orphan has a role and does not say whose right it is: one of source_profile and credential_source is needed",
        ),
    ] {
        let config = "[profile process]\ncredential_process = /bin/x\n[profile sso]\nsso_session = s\n[profile half]\naws_access_key_id = a\n\
            [profile loop]\nrole_arn = a\nsource_profile = loop2\n[profile loop2]\nrole_arn = a\nsource_profile = loop\n\
            [profile mfa]\nrole_arn = a\nmfa_serial = m\n[profile orphan]\nrole_arn = a\n";
        let host = host(&[]).env("AWS_PROFILE", profile).env("AWS_CONFIG_FILE", "/c").file("/c", config).install();
        assert_eq!(ask(REGISTRY).unwrap_err().message, wanted);
        assert!(host.requests().is_empty());
    }
}

#[test]
fn the_endpoint_of_a_task() {
    let host = host(&[
        ("GET http://169.254.170.2/v2/credentials/abc", 200, METADATA_ANSWER),
        ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
    ]);
    let host = host.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/abc").install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    assert_eq!(requests, ["GET http://169.254.170.2/v2/credentials/abc\naccept: application/json\n\n".to_owned(), session_request()]);
}

#[test]
fn the_endpoint_of_a_pod() {
    let file = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token";
    let host = host(&[
        ("GET http://169.254.170.23/v1/credentials", 200, METADATA_ANSWER),
        ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
    ]);
    let host = host
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not this")
        .file(file, "pod-token\n")
        .install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    assert_eq!(
        text(&host.requests()[0]),
        "GET http://169.254.170.23/v1/credentials\naccept: application/json\nauthorization: pod-token\n\n"
    );
    assert_eq!(text(&host.requests()[1]), session_request());
}

#[test]
fn the_endpoint_of_a_container_with_its_token_in_a_variable() {
    let host = host(&[
        ("GET http://127.0.0.1:51678/creds", 200, METADATA_ANSWER),
        ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
    ]);
    let host = host
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:51678/creds")
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic of-the-container")
        .install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let wanted = "GET http://127.0.0.1:51678/creds\naccept: application/json\nauthorization: Basic of-the-container\n\n".to_owned();
    assert_eq!(host.requests().iter().map(text).collect::<Vec<_>>(), [wanted, session_request()]);
}

/// The role of a profile, by the right of whatever the profile says.
#[test]
fn a_profile_may_take_on_its_role_by_the_right_of_the_place() {
    for (source, asked) in [
        ("EcsContainer", vec!["GET http://169.254.170.2/creds"]),
        (
            "Ec2InstanceMetadata",
            vec![
                "PUT http://169.254.169.254/latest/api/token",
                "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/",
                "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/builder",
            ],
        ),
    ] {
        let config = format!("[profile ci]\nrole_arn = arn:aws:iam::1:role/r\ncredential_source = {source}\n");
        let host = host(&[
            ("GET http://169.254.170.2/creds", 200, METADATA_ANSWER),
            ("PUT http://169.254.169.254/latest/api/token", 200, "imds-token"),
            ("GET http://169.254.169.254/latest/meta-data/iam/security-credentials/", 200, "builder\n"),
            ("GET http://169.254.169.254/latest/meta-data/iam/security-credentials/builder", 200, METADATA_ANSWER),
            ("POST https://sts.us-east-1.amazonaws.com/", 200, STS_ANSWER),
            ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
        ]);
        let host = host.env("AWS_PROFILE", "ci").env("AWS_CONFIG_FILE", "/c").file("/c", config.as_str());
        let host = if source == "EcsContainer" { host.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/creds") } else { host };
        let host = host.install();
        assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)), "{source}");
        let requests: Vec<Request> = host.requests();
        let lines: Vec<String> = requests.iter().map(|request| format!("{} {}", request.method, request.url)).collect();
        assert_eq!(lines[..lines.len() - 2], asked);
        let role = String::from_utf8_lossy(&requests[requests.len() - 2].body).into_owned();
        assert_eq!(role, "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=layerwright&Version=2011-06-15");
        assert_eq!(text(&requests[requests.len() - 1]), session_request());
    }
    let config = "[profile ci]\nrole_arn = arn:aws:iam::1:role/r\ncredential_source = Environment\n";
    let _host = host(&[]).env("AWS_PROFILE", "ci").env("AWS_CONFIG_FILE", "/c").file("/c", config).install();
    assert_eq!(ask(REGISTRY).unwrap_err().message, "the AWS profile ci has a role, and its source has no credentials");
}

#[test]
fn a_token_of_a_pod_goes_to_no_stranger() {
    for (url, token) in [("http://evil.test/", "t"), ("http://169.254.169.254/", "t"), ("http://127.0.0.1/", "t\r\nx: y")] {
        let host = host(&[]).env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url).env("AWS_CONTAINER_AUTHORIZATION_TOKEN", token).install();
        assert_eq!(ask(REGISTRY).unwrap_err().code, ErrorCode::Invalid, "{url}");
        assert!(host.requests().is_empty());
    }
}

#[test]
fn the_role_of_an_instance() {
    let host = host(&[
        ("PUT http://169.254.169.254/latest/api/token", 200, "imds-token"),
        ("GET http://169.254.169.254/latest/meta-data/iam/security-credentials/", 200, "builder\n"),
        ("GET http://169.254.169.254/latest/meta-data/iam/security-credentials/builder", 200, METADATA_ANSWER),
        ("POST https://api.ecr.us-east-1.amazonaws.com/", 200, AUTHORIZATION),
    ])
    .install();
    assert_eq!(ask(REGISTRY), Ok(expected(REGISTRY)));
    let requests: Vec<String> = host.requests().iter().map(text).collect();
    let wanted = [
        format!("PUT {IMDS}/latest/api/token\nx-aws-ec2-metadata-token-ttl-seconds: 21600\n\n"),
        format!("GET {IMDS}/latest/meta-data/iam/security-credentials/\nx-aws-ec2-metadata-token: imds-token\n\n"),
        format!("GET {IMDS}/latest/meta-data/iam/security-credentials/builder\nx-aws-ec2-metadata-token: imds-token\n\n"),
        session_request(),
    ];
    assert_eq!(requests, wanted);
}

#[test]
fn version_1_of_the_metadata_is_never_asked() {
    let host = host(&[
        ("PUT http://169.254.169.254/latest/api/token", 405, ""),
        ("GET http://169.254.169.254/latest/meta-data/iam/security-credentials/", 200, "builder"),
    ])
    .install();
    let error = ask(REGISTRY).unwrap_err();
    assert!(error.message.starts_with("no AWS credentials for"), "{}", error.message);
    assert_eq!(host.requests().len(), 1);
    let host = fake::Host::new().env("AWS_EC2_METADATA_DISABLED", "TRUE").install();
    assert_eq!(ask(REGISTRY).unwrap_err().code, ErrorCode::NotFound);
    assert!(host.requests().is_empty());
}

#[test]
fn what_is_public_is_read_without_credentials_where_there_are_none() {
    let _host = host(&[]).install();
    assert_eq!(Ecr::authenticate(&target("public.ecr.aws", Access::Pull)), Ok(None));
    let host =
        with_keys(fake::Host::new().http(|_| Ok(answer(400, r#"{"__type":"AccessDeniedException","Message":"not you"}"#)))).install();
    assert_eq!(Ecr::authenticate(&target("public.ecr.aws", Access::Pull)), Ok(None));
    assert_eq!(
        host.messages(),
        ["public.ecr.aws is read without credentials: AWS refuses a password for public.ecr.aws (400): AccessDeniedException: not you"]
    );
    let error = ask("public.ecr.aws").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("the identity needs the permission ecr-public:GetAuthorizationToken"));
}

#[test]
fn other_endpoints_come_from_the_environment() {
    let asked = |host: fake::Host| {
        let host = with_keys(host).env("AWS_ENDPOINT_URL", "http://127.0.0.1:4566").install();
        ask(REGISTRY).unwrap();
        host.requests()[0].url.clone()
    };
    let ok = || fake::Host::new().now(NOW).http(|_| Ok(answer(200, AUTHORIZATION)));
    assert_eq!(asked(ok()), "http://127.0.0.1:4566/");
    assert_eq!(asked(ok().env("AWS_ENDPOINT_URL_ECR", "https://vpce.example")), "https://vpce.example/");
    assert_eq!(asked(ok().env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")), API);
}

#[test]
fn answers_that_are_none() {
    for body in ["", "{}", r#"{"authorizationData":[]}"#, r#"{"authorizationData":[{"authorizationToken":"!"}]}"#] {
        let _host = with_keys(fake::Host::new().http(move |_| Ok(answer(200, body)))).install();
        assert!(ask(REGISTRY).is_err(), "{body}");
    }
    let _host = fake::Host::new().env("AWS_ACCESS_KEY_ID", "a").install();
    assert_eq!(ask(REGISTRY).unwrap_err().message, "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not");
}

#[test]
fn strangers_are_none_of_its_business() {
    let host = with_keys(fake::Host::new().http(|_| Ok(answer(200, AUTHORIZATION)))).install();
    for registry in [
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.test",
        "public.ecr.aws.evil.test",
        "x.azurecr.io.evil.test",
        "gcr.io.evil.test",
        "docker.io",
    ] {
        assert_eq!(ask(registry), Ok(None), "{registry}");
    }
    assert!(host.requests().is_empty());
}

#[test]
fn it_wants_what_it_reads() {
    let wants = Ecr::describe().wants;
    for want in ["https://api.ecr.*.amazonaws.com", "http://169.254.169.254", "$AWS_ENDPOINT_URL_ECR", "https://sts.*.amazonaws.com"] {
        assert!(wants.contains(&Want::Host(want.to_owned())), "{want}");
    }
}
