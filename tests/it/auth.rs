//! Credentials from the cloud and CI providers, through the built program: the registry is one that an HTTP proxy of the test plays, the
//! clouds' services are where the clouds' own tools let the environment put them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::registry::{PASSWORD, USER};
use crate::support::web::{Reply, Seen, Web};
use crate::support::{Build, Registry, TestEnv, digest_of, write};

const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const ECR_PASSWORD: &str = "ecr-p4ssword-of-twelve-hours";
const TOKEN: &str = "ya29.t0ken-of-an-hour";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Plays every registry there is: whoever shows `authorization` may pull one small image, everybody else is refused and told what he showed.
fn registry(authorization: String) -> Web {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["FROM_REGISTRY=yes"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        digest_of(config.as_bytes()),
        config.len()
    );
    Web::serve(move |seen| {
        let shown = seen.header("authorization").unwrap_or("nothing");
        if shown != authorization {
            let body = format!(r#"{{"errors":[{{"code":"UNAUTHORIZED","message":"you showed {shown}"}}]}}"#);
            return Reply { body: body.into_bytes(), ..Reply::status(401) }.header("WWW-Authenticate", "Basic realm=\"test\"");
        }
        match seen.path() {
            path if path.contains("/manifests/") => Reply::ok(manifest.clone())
                .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .header("Docker-Content-Digest", &digest_of(manifest.as_bytes())),
            path if path.contains("/blobs/") => Reply::ok(config),
            _ => Reply::ok("{}"),
        }
    })
}

/// A build from an image of a registry that the proxy plays. What the clouds of the tests give out is in none of its output.
fn build<'a>(env: &'a TestEnv, proxy: &Web, host: &str) -> Build<'a> {
    for secret in [ECR_PASSWORD, TOKEN, "entra-t0ken-of-an-hour", "s3cret-of-a-session", "t0ken-of-a-session", "s3cret-of-gcloud"] {
        env.conceal(secret);
    }
    env.build(&format!("FROM {host}/team/app:1\nENV A=1\n"))
        .variable("http_proxy", proxy.url("/"))
        .arg("--custom-platform=linux/amd64")
        .arg("--isolation=none")
}

fn authorizations(web: &Web) -> Vec<String> {
    web.seen().iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect()
}

/// Gives out the password to requests that are signed with the key.
fn ecr(key: &'static str) -> Web {
    Web::serve(move |seen| {
        let signed = seen.header("authorization").unwrap_or_default();
        let fits = seen.method == "POST"
            && seen.body == b"{}"
            && seen.header("x-amz-target") == Some("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
            && seen.header("content-type") == Some("application/x-amz-json-1.1")
            && signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={key}/"))
            && signed.contains("/us-east-1/ecr/aws4_request, SignedHeaders=content-type;host;x-amz-date;");
        if !fits {
            return Reply { body: br#"{"__type":"InvalidSignatureException","message":"not so"}"#.to_vec(), ..Reply::status(400) };
        }
        let token = STANDARD.encode(format!("AWS:{ECR_PASSWORD}"));
        Reply::ok(format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":4102444800.5}}]}}"#))
    })
}

const METADATA: &str =
    r#"{"Code":"Success","AccessKeyId":"ASIASESSION","SecretAccessKey":"s3cret-of-a-session","Token":"t0ken-of-a-session"}"#;

fn pulls(build: Build<'_>) {
    let image = build.succeed();
    assert_eq!(image.variable("FROM_REGISTRY"), Some("yes"));
}

#[test]
fn ecr_with_keys_in_the_environment() {
    let env = TestEnv::new();
    let (proxy, api) = (registry(basic("AWS", ECR_PASSWORD)), ecr("AKIDTEST"));
    let ready = || {
        build(&env, &proxy, ECR)
            .variable("AWS_ACCESS_KEY_ID", "AKIDTEST")
            .variable("AWS_SECRET_ACCESS_KEY", "s3cret-key-of-the-test")
            .variable("AWS_ENDPOINT_URL_ECR", api.url("/"))
    };
    pulls(ready());
    assert_eq!(api.lines(), ["POST /"], "one question for one build");

    let error = ready().variable("AWS_ACCESS_KEY_ID", "AKIDOTHER").store(env.path("other")).fail(1);
    assert!(error.contains("AWS refuses a password for") && error.contains("InvalidSignatureException"), "{error}");
    assert!(!error.contains("s3cret-key"), "{error}");
}

#[test]
fn ecr_with_a_web_identity() {
    let env = TestEnv::new();
    let (proxy, api) = (registry(basic("AWS", ECR_PASSWORD)), ecr("ASIASESSION"));
    let sts = Web::serve(|_| {
        Reply::ok(
            "<R><Credentials><AccessKeyId>ASIASESSION</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken></Credentials></R>",
        )
    });
    write(&env.path("token"), "ey.web.identity\n");
    let ready = build(&env, &proxy, ECR)
        .variable("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
        .variable("AWS_WEB_IDENTITY_TOKEN_FILE", env.path("token"))
        .variable("AWS_ENDPOINT_URL_STS", sts.url("/"))
        .variable("AWS_ENDPOINT_URL_ECR", api.url("/"));
    pulls(ready);
    let body = "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fr&RoleSessionName=layerwright\
        &Version=2011-06-15&WebIdentityToken=ey.web.identity";
    assert_eq!(String::from_utf8_lossy(&sts.seen()[0].body), body);
    assert_eq!(sts.seen()[0].header("authorization"), None);
}

#[test]
fn ecr_in_a_container_and_on_an_instance() {
    let env = TestEnv::new();
    let (proxy, api) = (registry(basic("AWS", ECR_PASSWORD)), ecr("ASIASESSION"));
    let metadata = Web::serve(|seen: &Seen| match (seen.method.as_str(), seen.path()) {
        ("GET", "/container") if seen.header("authorization") == Some("pod-token") => Reply::ok(METADATA),
        ("PUT", "/latest/api/token") if seen.header("x-aws-ec2-metadata-token-ttl-seconds") == Some("21600") => Reply::ok("imds"),
        ("GET", _) if seen.header("x-aws-ec2-metadata-token") != Some("imds") => Reply::status(401),
        ("GET", "/latest/meta-data/iam/security-credentials/") => Reply::ok("builder"),
        ("GET", "/latest/meta-data/iam/security-credentials/builder") => Reply::ok(METADATA),
        _ => Reply::status(404),
    });
    write(&env.path("pod"), "pod-token\n");
    let container = build(&env, &proxy, ECR)
        .variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.url("/container"))
        .variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", env.path("pod"))
        .variable("AWS_ENDPOINT_URL_ECR", api.url("/"));
    pulls(container);
    let instance = build(&env, &proxy, ECR)
        .store(env.path("other"))
        .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url("/"))
        .variable("AWS_ENDPOINT_URL_ECR", api.url("/"));
    pulls(instance);
    assert_eq!(
        metadata.lines(),
        [
            "GET /container",
            "PUT /latest/api/token",
            "GET /latest/meta-data/iam/security-credentials/",
            "GET /latest/meta-data/iam/security-credentials/builder"
        ]
    );
}

#[test]
fn google_on_a_machine_and_with_a_file() {
    let env = TestEnv::new();
    let proxy = registry(basic("oauth2accesstoken", TOKEN));
    let answer = format!(r#"{{"access_token":"{TOKEN}","expires_in":3599}}"#);
    let google = Web::serve(move |seen| match seen.path() {
        "/computeMetadata/v1/instance/service-accounts/default/token" if seen.header("metadata-flavor") == Some("Google") => {
            Reply::ok(answer.clone()).header("Metadata-Flavor", "Google")
        }
        "/token" => Reply::ok(answer.clone()),
        _ => Reply::status(404),
    });
    pulls(build(&env, &proxy, "europe-docker.pkg.dev").variable("GCE_METADATA_HOST", &google.address));

    // A file names the server that it is shown to; it opens no way there by itself.
    let file = format!(
        r#"{{"type":"authorized_user","client_id":"i","client_secret":"s3cret-of-gcloud","refresh_token":"r","token_uri":"{}"}}"#,
        google.url("/token")
    );
    write(&env.path("key.json"), file);
    let ready = || {
        let ready = build(&env, &proxy, "gcr.io").variable("GOOGLE_APPLICATION_CREDENTIALS", env.path("key.json"));
        ready.store(env.path(crate::support::unique()))
    };
    let line = format!("auth-google:host=http://{}", google.address);
    let error = ready().fail(1);
    assert!(error.contains(&format!("--grant {line}")) && !error.contains("s3cret-of-gcloud"), "{error}");
    pulls(ready().args(["--grant", &line]));
    let last = google.seen().last().cloned().expect("a request");
    assert_eq!(String::from_utf8_lossy(&last.body), "client_id=i&client_secret=s3cret-of-gcloud&refresh_token=r&grant_type=refresh_token");
    assert_eq!(google.seen().len(), 2, "nothing was sent without the grant");
}

#[test]
fn azure_signs_in_and_then_asks_the_registry_itself() {
    let env = TestEnv::new();
    let proxy = registry("nobody".to_owned());
    let entra = Web::serve(|_| Reply::ok(r#"{"access_token":"entra-t0ken-of-an-hour"}"#));
    let ready = build(&env, &proxy, "layerwright-tests-nowhere.azurecr.io")
        .variable("AZURE_CLIENT_ID", "app")
        .variable("AZURE_TENANT_ID", "tenant")
        .variable("AZURE_CLIENT_SECRET", "client-s3cret")
        .variable("AZURE_AUTHORITY_HOST", entra.url("/"));
    // The registry's own exchange is spoken to over TLS alone, and nobody is there.
    let error = ready.fail(1);
    assert!(error.contains("trading the token at layerwright-tests-nowhere.azurecr.io"), "{error}");
    assert!(!error.contains("entra-t0ken") && !error.contains("client-s3cret"), "{error}");
    assert_eq!(entra.lines(), ["POST /tenant/oauth2/v2.0/token"]);
    let body = "client_secret=client-s3cret&client_id=app&grant_type=client_credentials&scope=https%3A%2F%2Fcontainerregistry.azure.net%2F.default";
    assert_eq!(String::from_utf8_lossy(&entra.seen()[0].body), body);
    assert!(authorizations(&proxy).is_empty());
}

/// Row 43 of the adversarial list, names that only look like a provider's: no provider is moved, and nobody is asked for anything.
#[test]
fn hostile_names_get_nothing() {
    let env = TestEnv::new();
    let proxy = registry("nobody".to_owned());
    let cloud = Web::serve(|_| Reply::ok(METADATA));
    for host in [
        "x.azurecr.io.evil.test",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.test",
        "gcr.io.evil.test",
        "evil-pkg.dev",
        "registry.gitlab.example:5051",
        "ghcr.io.evil.test",
    ] {
        let ready = build(&env, &proxy, host)
            .variable("AWS_ACCESS_KEY_ID", "AKIDTEST")
            .variable("AWS_SECRET_ACCESS_KEY", "s3cret-key-of-the-test")
            .variable("AWS_ENDPOINT_URL", cloud.url("/"))
            .variable("GCE_METADATA_HOST", &cloud.address)
            .variable("AZURE_CLIENT_ID", "app")
            .variable("AZURE_TENANT_ID", "tenant")
            .variable("AZURE_CLIENT_SECRET", "client-s3cret")
            .variable("AZURE_AUTHORITY_HOST", cloud.url("/"))
            .variable("CI_REGISTRY", "registry.gitlab.example:5050")
            .variable("CI_REGISTRY_USER", "gitlab-ci-token")
            .variable("CI_REGISTRY_PASSWORD", "gitlab-s3cret")
            .variable("GITHUB_ACTIONS", "true")
            .variable("GITHUB_TOKEN", "github-s3cret");
        let error = ready.fail(1);
        assert!(error.contains("no credential was found"), "{host}: {error}");
    }
    assert_eq!(cloud.lines(), Vec::<String>::new());
    assert_eq!(authorizations(&proxy), Vec::<String>::new());
    assert!(!proxy.seen().is_empty());
}

/// Row 35 of the adversarial list: a registry that challenges in another's name gets no credential of the other's.
#[test]
fn one_registrys_credential_is_not_anothers() {
    let env = TestEnv::new();
    let proxy = Web::serve(|seen| {
        let realm = format!("{}token", seen.target.split_once("/v2/").map_or(seen.target.as_str(), |(origin, _)| origin).to_owned() + "/");
        match seen.path().ends_with("/token") {
            true => Reply::status(401),
            false => Reply::status(401).header("WWW-Authenticate", &format!("Bearer realm=\"{realm}\",service=\"a.example\"")),
        }
    });
    write(&env.path("home/.docker/config.json"), r#"{"auths":{"a.example":{"auth":"dXNlcjpzM2NyZXQ="}}}"#);
    build(&env, &proxy, "b.example").fail(1);
    assert_eq!(authorizations(&proxy), Vec::<String>::new());
    assert!(proxy.seen().iter().any(|seen| seen.path().ends_with("/token")), "{:?}", proxy.lines());
}

#[test]
fn a_job_of_github_pulls_from_its_own_registry() {
    let env = TestEnv::new();
    let proxy = registry(basic("octocat", "ghs_t0ken"));
    let ready = |host| {
        build(&env, &proxy, host)
            .variable("GITHUB_ACTIONS", "true")
            .variable("GITHUB_TOKEN", "ghs_t0ken")
            .variable("GITHUB_ACTOR", "octocat")
    };
    pulls(ready("ghcr.io"));
    let error = ready("ghcr.io").variable("GITHUB_SERVER_URL", "https://ghe.example").store(env.path("other")).fail(1);
    assert!(error.contains("no credential was found"), "{error}");
    pulls(ready("containers.ghe.example").variable("GITHUB_SERVER_URL", "https://ghe.example").store(env.path("third")));
}

#[test]
fn a_job_of_gitlab_and_variables_push_with_a_password() {
    let env = TestEnv::new();
    let registry = Registry::guarded();
    let job = |build: Build<'_>| {
        let build = build.variable("CI_REGISTRY", &registry.address).variable("CI_REGISTRY_USER", USER);
        let destination = registry.fresh();
        build.variable("CI_REGISTRY_PASSWORD", PASSWORD).push_to(&destination).succeed();
        assert!(registry.manifest(&destination).is_some());
    };
    job(env.build("FROM scratch\nENV A=1\n"));
    let error = env
        .build("FROM scratch\nENV A=1\n")
        .push_to(&registry.fresh())
        .variable("CI_REGISTRY", &registry.address)
        .variable("CI_REGISTRY_USER", USER)
        .fail(1);
    assert!(error.contains("CI_REGISTRY_USER is set and CI_REGISTRY_PASSWORD is not"), "{error}");

    for name in [registry.address.replace('.', "_"), registry.address.replace(['.', ':'], "_")] {
        let ready = |flags: &[&str]| {
            let build = env.build("FROM scratch\nENV A=1\n").push_to(&registry.fresh()).args(flags);
            build.variable(&format!("KANIKO_{name}_USER"), USER).variable(&format!("KANIKO_{name}_PASSWORD"), PASSWORD)
        };
        ready(&[]).succeed();
        ready(&["--credential-helpers=gitlab", "--credential-helpers=env,ecr"]).succeed();
        for flag in ["--credential-helpers=", "--credential-helpers=google,ecr"] {
            let error = ready(&[flag]).fail(1);
            assert!(error.contains("no credential was found"), "{flag}: {error}");
        }
        let finished = ready(&["--credential-helpers=env,aws"]).finish();
        assert_eq!(finished.code, Some(0));
        assert!(finished.stderr.contains("\"aws\" is unknown"), "{}", finished.stderr);
    }
}

/// Row 41 of the adversarial list: a registry may tell what it was shown; nobody reads it here.
#[test]
fn what_providers_answer_is_in_no_output() {
    let env = TestEnv::new();
    let proxy = registry("something else".to_owned());
    let ready = |flags: &[&str]| {
        let build = build(&env, &proxy, "r.example").args(flags).store(env.path(crate::support::unique()));
        build.variable("KANIKO_R_EXAMPLE_USER", "robot").variable("KANIKO_R_EXAMPLE_PASSWORD", "correct-horse-battery")
    };
    for flags in [[].as_slice(), &["--verbosity=debug"], &["--verbosity=trace"]] {
        let error = ready(flags).fail(1);
        assert!(error.contains("refused the credential"), "{error}");
        for secret in ["correct-horse-battery", &STANDARD.encode("robot:correct-horse-battery")] {
            assert!(!error.contains(secret), "{error}");
        }
    }
    // Commands that only ask pull as well.
    for command in ["check", "outline", "targets"] {
        for format in ["text", "json"] {
            let said = ready(&["--format", format]).subcommand(command).finish();
            for secret in ["correct-horse-battery", &STANDARD.encode("robot:correct-horse-battery")] {
                assert!(!said.stdout.contains(secret) && !said.stderr.contains(secret), "{command}: {}{}", said.stdout, said.stderr);
            }
        }
    }
    assert!(authorizations(&proxy).contains(&basic("robot", "correct-horse-battery")));
}
