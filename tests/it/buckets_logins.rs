//! Who may read a context in a bucket: roles, federated identities and the endpoints of containers and machines. What Amazon's kind of server
//! gives out is verified by it; the others are servers of the tests' own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::bucket::{Amazon, archive, from};
use crate::support::web::{Reply, Seen, Web};
use crate::support::{Build, TestEnv, write};

const OBJECT: &str = "s3://sources/context.tar.gz";

fn reads(build: Build<'_>) {
    assert_eq!(build.succeed().tree_above(0)["hello"].text(), "hello");
}

/// `~/.aws/config`.
fn config(env: &TestEnv, text: &str) {
    write(&env.path("home/.aws/config"), text);
}

#[test]
fn roles_that_a_profile_takes_on() {
    let env = TestEnv::new();
    let s3 = Amazon::serve(&archive(&env));
    let (id, secret) = (s3.text("deployer_id"), s3.text("deployer_secret"));
    env.conceal(secret);
    let (between, reading) = (s3.text("between"), s3.text("reading"));
    config(
        &env,
        &format!(
            "[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
             [profile one]\nrole_arn = {reading}\nsource_profile = default\nrole_session_name = a-build\nduration_seconds = 900\n\
             [profile two]\nrole_arn = {reading}\nsource_profile = between\n\
             [profile between]\nrole_arn = {between}\nsource_profile = default\nexternal_id = x+y/z&=\n\
             [profile itself]\nrole_arn = {reading}\nsource_profile = itself\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
             [profile variables]\nrole_arn = {reading}\ncredential_source = Environment\n\
             [profile around]\nrole_arn = {reading}\nsource_profile = round\n[profile round]\nrole_arn = {reading}\nsource_profile = around\n\
             [profile lost]\nrole_arn = {reading}\nsource_profile = nowhere\n[profile half]\nrole_arn = {reading}\n\
             [profile code]\nrole_arn = {reading}\nsource_profile = default\nmfa_serial = x\n"
        ),
    );
    let build = |profile: &str| {
        let build = s3.place(from(&env, OBJECT)).variable("AWS_ENDPOINT_URL_STS", s3.text("endpoint"));
        build.variable("AWS_PROFILE", profile)
    };
    for profile in ["one", "two", "itself"] {
        reads(build(profile));
    }
    // Whoever may do nothing but take on roles may not read.
    assert!(build("default").fail(1).contains("access is denied"));
    for (profile, said) in [
        ("variables", "its source has no credentials"),
        ("around", "takes on its role through too many others"),
        ("lost", "names the source profile nowhere, which is not there"),
        ("half", "needs one of source_profile, credential_source and web_identity_token_file"),
        ("code", "wants a code from a device"),
        ("nobody", "there is no AWS profile nobody"),
    ] {
        let error = build(profile).fail(1);
        assert!(error.contains(said), "{profile}: {error}");
    }
    // A role that the service does not give away.
    config(
        &env,
        &format!(
            "[default]\nrole_arn = {reading}\nsource_profile = reader\n[profile reader]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            s3.text("id"),
            s3.text("secret")
        ),
    );
    let error = build("default").fail(1);
    assert!(error.contains(&format!("AWS refuses the role {reading} (403): AccessDenied")) && error.contains("trust policy"), "{error}");
}

/// A server that gives out the role's keys in the forms of Amazon's services, to whoever brings what each of them wants.
fn services(s3: &Amazon) -> Web {
    let [id, secret, token] = ["assumed_id", "assumed_secret", "assumed_token"].map(|name| s3.text(name).to_owned());
    let role = s3.text("reading").to_owned();
    Web::serve(move |seen: &Seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let keys =
            json!({ "AccessKeyId": id, "SecretAccessKey": secret, "Token": token, "Expiration": "2099-01-01T00:00:00Z" }).to_string();
        match (seen.method.as_str(), seen.path()) {
            ("POST", "/") if body.contains("Action=AssumeRoleWithWebIdentity") && body.contains("WebIdentityToken=a.web%2Bidentity") => {
                assert!(body.contains(&format!("RoleArn={}", role.replace(':', "%3A").replace('/', "%2F"))), "{body}");
                assert_eq!(seen.header("authorization"), None);

                Reply::ok(format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
                     <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken></Credentials>\
                     </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                ))
            }
            ("GET", "/container") if seen.header("authorization") == Some("of-the-pod") => Reply::ok(keys),
            ("PUT", "/latest/api/token") if seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => Reply::ok("of-the-machine"),
            ("GET", path) if seen.header("x-aws-ec2-metadata-token") == Some("of-the-machine") => match path {
                "/latest/meta-data/iam/security-credentials/" => Reply::ok("a-role\n"),
                "/latest/meta-data/iam/security-credentials/a-role" => Reply::ok(keys),
                _ => Reply::status(404),
            },
            _ => Reply::status(403),
        }
    })
}

#[test]
fn the_role_of_a_pod_a_task_or_a_machine() {
    let env = TestEnv::new();
    let s3 = Amazon::serve(&archive(&env));
    for secret in ["assumed_secret", "assumed_token"] {
        env.conceal(s3.text(secret));
    }
    let web = services(&s3);
    let base = web.url("").trim_end_matches('/').to_owned();
    let role = s3.text("reading").to_owned();
    let build = || s3.place(from(&env, OBJECT));
    write(&env.path("identity"), "a.web+identity\n");
    write(&env.path("other"), "another");
    write(&env.path("pod"), "of-the-pod\n");
    let identity = |file: &str| {
        let build = build().variable("AWS_ENDPOINT_URL_STS", &base).variable("AWS_ROLE_ARN", &role);
        build.variable("AWS_WEB_IDENTITY_TOKEN_FILE", env.path(file))
    };
    reads(identity("identity"));
    assert!(identity("other").fail(1).contains(&format!("AWS refuses the role {role} (403)")));
    assert!(identity("none").fail(1).contains("cannot read the web identity token"));
    let half = build().variable("AWS_WEB_IDENTITY_TOKEN_FILE", env.path("identity")).fail(1);
    assert!(half.contains("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not"), "{half}");
    // The same in a profile.
    config(&env, &format!("[profile pod]\nrole_arn = {role}\nweb_identity_token_file = {}\n", env.path("identity").display()));
    reads(build().variable("AWS_ENDPOINT_URL_STS", &base).variable("AWS_PROFILE", "pod"));
    // ECS and EKS name an endpoint and a token.
    let container = || build().variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{base}/container"));
    reads(container().variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-pod"));
    reads(container().variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", env.path("pod")));
    assert!(container().fail(1).contains("the container's credential endpoint answered 403"));
    let elsewhere = build().variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://credentials.example/x").fail(1);
    assert!(elsewhere.contains("is neither a URL of https nor one of this machine"), "{elsewhere}");
    // The metadata service of an instance comes last, and is one source that a profile may name.
    let machine = || build().variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", &base);
    reads(machine());
    config(&env, "[profile region-only]\nregion = eu-central-1\n");
    reads(machine().variable("AWS_PROFILE", "region-only"));
    let none = machine().variable("AWS_EC2_METADATA_DISABLED", "true").fail(1);
    assert!(none.contains("there are no credentials: none in the environment") && none.contains("hint: credentials come from"), "{none}");
    // Keys of the environment count before all of it.
    let seen = web.seen().len();
    reads(s3.login(from(&env, OBJECT)).variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", &base).variable("AWS_PROFILE", "pod"));
    assert_eq!(web.seen().len(), seen);
}

#[test]
fn a_program_that_knows_the_login_and_logins_that_need_a_browser() {
    let env = TestEnv::new();
    let s3 = Amazon::serve(&archive(&env));
    for secret in ["assumed_secret", "assumed_token"] {
        env.conceal(s3.text(secret));
    }
    let program = |name: &str, script: &str| {
        write(&env.path(name), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(env.path(name), fs::Permissions::from_mode(0o755)).expect("the file is ours");
        env.path(name).display().to_string()
    };
    let printed = json!({
        "Version": 1, "AccessKeyId": s3.text("assumed_id"), "SecretAccessKey": s3.text("assumed_secret"), "SessionToken": s3.text("assumed_token"),
    });
    // It sees its words as they are meant, and nothing that is secret.
    let good = program("with a blank", &format!("test \"$1\" = 'two words' && test -z \"$GIT_TOKEN\" || exit 1\necho '{printed}'"));
    let bad = program("bad", "echo so sorry; exit 1");
    let empty = program("empty", "echo '{}'");
    let loud = program("loud", "yes");
    config(
        &env,
        &format!(
            "[profile good]\ncredential_process = \"{good}\" 'two words'\n[profile bad]\ncredential_process = {bad}\n\
             [profile empty]\ncredential_process = {empty}\n[profile loud]\ncredential_process = {loud}\n\
             [profile gone]\ncredential_process = /no/such/program\n[profile quotes]\ncredential_process = \"/x\n\
             [profile sso]\nsso_session = mine\nsso_account_id = 1\nsso_role_name = x\n[sso-session mine]\nsso_start_url = https://x.example\n\
             [profile old-sso]\nsso_start_url = https://x.example\n"
        ),
    );
    let build = |profile: &str| s3.place(from(&env, OBJECT)).variable("AWS_PROFILE", profile).variable("GIT_TOKEN", "not-for-programs");
    reads(build("good"));
    for (profile, said) in [
        ("bad", "the credential_process of the AWS profile bad: it failed"),
        ("empty", "it answered something else than credentials"),
        ("loud", "it prints more than 64 KiB"),
        ("gone", "No such file or directory"),
        ("quotes", "its quotes do not match"),
        ("sso", "the AWS profile sso signs in through a browser, which is not supported"),
        ("old-sso", "the AWS profile old-sso signs in through a browser"),
    ] {
        let error = build(profile).fail(1);
        assert!(error.contains(said), "{profile}: {error}");
        assert_eq!(profile.contains("sso"), error.contains("hint: set the variables that `aws configure export-credentials"), "{error}");
    }
    // What cannot be a key is an error and no crash.
    for (name, value) in
        [("AWS_SESSION_TOKEN", "first-half-of-no-token\nsecond-half-of-no-token"), ("AWS_ACCESS_KEY_ID", "a b"), ("AWS_REGION", "x\ny")]
    {
        let error = s3.login(from(&env, OBJECT)).variable(name, value).fail(1);
        assert!(error.contains("hold blanks, line ends") || error.contains("is no region"), "{name}: {error}");
    }
}

/// Google's token services and its storage, which takes one token.
fn google(env: &TestEnv) -> Web {
    let bytes = fs::read(archive(env)).expect("tar wrote it");
    Web::serve(move |seen: &Seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let token = |name: &str| Reply::ok(json!({ "access_token": name, "expires_in": 3600, "token_type": "Bearer" }).to_string());
        match (seen.method.as_str(), seen.path()) {
            ("GET", "/sources/context%2Etar%2Egz")
                if matches!(seen.header("authorization"), Some("Bearer federated" | "Bearer user" | "Bearer account")) =>
            {
                Reply::ok(bytes.clone()).header("ETag", "\"1\"").header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            }
            ("POST", "/sts") if body.contains("subject_token=of%20the%20job") || body.contains("subject_token=of-the-job") => {
                token("federated")
            }
            ("POST", "/oauth") if body.contains("refresh_token=refreshing") => token("user"),
            ("POST", "/account:generateAccessToken")
                if matches!(seen.header("authorization"), Some("Bearer federated" | "Bearer user")) =>
            {
                Reply::ok(json!({ "accessToken": "account", "expireTime": "2099-01-01T00:00:00Z" }).to_string())
            }
            ("GET", "/subject") if seen.header("x-key") == Some("1") => Reply::ok(json!({ "value": "of-the-job" }).to_string()),
            _ => Reply { body: br#"{"error":"invalid_grant","error_description":"nobody knows it"}"#.to_vec(), ..Reply::status(400) },
        }
    })
}

#[test]
fn files_of_credentials_for_google() {
    let env = TestEnv::new();
    let web = google(&env);
    let at = |path: &str| web.url(path);
    write(&env.path("subject"), "of-the-job\n");
    let external = |source: Value| {
        json!({
            "type": "external_account", "audience": "//iam.example/pool", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": at("sts"), "credential_source": source,
        })
    };
    let user = json!({ "type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "refreshing", "token_uri": at("oauth") });
    let with = |value: &Value, name: &str, more: Value| {
        let mut value = value.clone();
        value[name] = more;
        value
    };
    let file = external(json!({ "file": env.path("subject") }));
    let impersonated = |source: &Value| {
        json!({
            "type": "impersonated_service_account", "service_account_impersonation_url": at("account:generateAccessToken"),
            "source_credentials": source,
        })
    };
    let build = |credentials: &Value| {
        write(&env.path("credentials.json"), credentials.to_string());
        let build = from(&env, "gs://sources/context.tar.gz").variable("GOOGLE_BASE_URL", web.url("").trim_end_matches('/'));
        build.variable("GOOGLE_APPLICATION_CREDENTIALS", env.path("credentials.json"))
    };
    reads(build(&file));
    let format = json!({ "type": "json", "subject_token_field_name": "value" });
    reads(build(&external(json!({ "url": at("subject"), "headers": { "x-key": "1" }, "format": format }))));
    reads(build(&user));
    reads(build(&with(&file, "service_account_impersonation_url", at("account:generateAccessToken").into())));
    reads(build(&impersonated(&user)));
    reads(build(&impersonated(&file)));
    // gcloud's own file, where none is named.
    write(&env.path("gcloud/application_default_credentials.json"), user.to_string());
    let own = from(&env, "gs://sources/context.tar.gz").variable("GOOGLE_BASE_URL", web.url("").trim_end_matches('/'));
    reads(own.variable("CLOUDSDK_CONFIG", env.path("gcloud")));
    for (credentials, said) in [
        (with(&user, "refresh_token", "other".into()), "gcloud's login is refused (400): nobody knows it"),
        (external(json!({ "file": env.path("none") })), "cannot read the subject token"),
        (external(json!({ "url": at("other") })), "the subject token is refused (400)"),
        (external(json!({ "executable": { "command": "/bin/true" } })), "made by a program, which is not supported"),
        (external(json!({ "environment_id": "aws1" })), "an identity of AWS's as its subject, which is not supported"),
        (impersonated(&impersonated(&user)), "stand for one that stands for another"),
        (json!({ "type": "gdch_service_account" }), "is of the type \"gdch_service_account\", which is not supported"),
        (json!({ "type": "authorized_user" }), "lacks a part"),
    ] {
        let error = build(&credentials).fail(1);
        assert!(error.contains(said) && error.contains("hint: credentials come from GOOGLE_APPLICATION_CREDENTIALS"), "{said}: {error}");
    }
}

/// Entra's token services and a container that takes one token.
#[test]
fn identities_at_azure() {
    let env = TestEnv::new();
    let bytes = fs::read(archive(&env)).expect("tar wrote it");
    let web = Web::serve(move |seen: &Seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let token = |name: &str| Reply::ok(json!({ "access_token": name, "expires_in": 3600, "expires_on": "4070908800" }).to_string());
        match (seen.method.as_str(), seen.path()) {
            ("GET", "/box/a.tar.gz")
                if matches!(seen.header("authorization"), Some("Bearer workload" | "Bearer machine" | "Bearer secret")) =>
            {
                let reply = Reply::ok(bytes.clone()).header("ETag", "\"1\"").header("x-ms-version", "2023-11-03");
                reply.header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            }
            ("GET", "/box/a.tar.gz") if seen.target.contains("sig=signed") => {
                Reply::ok(bytes.clone()).header("ETag", "\"1\"").header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            }
            ("POST", "/tenant/oauth2/v2.0/token") if body.contains("client_assertion=of-the-pod") => token("workload"),
            ("POST", "/tenant/oauth2/v2.0/token") if body.contains("client_secret=a-secret-of-the-app") => token("secret"),
            ("GET", "/identity") if seen.header("x-identity-header") == Some("mine") || seen.header("metadata") == Some("true") => {
                token("machine")
            }
            _ => Reply::status(403),
        }
    });
    let base = web.url("").trim_end_matches('/').to_owned();
    write(&env.path("token"), "of-the-pod");
    let build = || {
        let build = from(&env, "https://acme.blob.core.windows.net/box/a.tar.gz").variable("AZURE_STORAGE_ENDPOINT", &base);
        build.variable("AZURE_AUTHORITY_HOST", &base)
    };
    let app = || build().variable("AZURE_CLIENT_ID", "client").variable("AZURE_TENANT_ID", "tenant");
    reads(app().variable("AZURE_FEDERATED_TOKEN_FILE", env.path("token")));
    reads(app().variable("AZURE_CLIENT_SECRET", "a-secret-of-the-app"));
    reads(build().variable("IDENTITY_ENDPOINT", format!("{base}/identity")).variable("IDENTITY_HEADER", "mine"));
    reads(build().variable("AZURE_STORAGE_SAS_TOKEN", "sv=2023-11-03&sig=signed"));
    let refused = app().variable("AZURE_CLIENT_SECRET", "another-secret").fail(1);
    assert!(refused.contains("hint: credentials come from AZURE_STORAGE_ACCESS_KEY") && !refused.contains("another-secret"), "{refused}");
}
