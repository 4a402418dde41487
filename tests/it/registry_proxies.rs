//! Proxies of the environment: registries and the hosts of plugins are reached through them, this machine is not.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::support::daemon::Daemon;
use crate::support::registry::setting;
use crate::support::token::asked;
use crate::support::tunnel::Tunnel;
use crate::support::web::{Reply, Seen, Web};
use crate::support::{Registry, TestEnv, digest_of, unique};

const PROXY_PASSWORD: &str = "pr0xy-passw0rd";

#[test]
fn registries_of_tls_are_reached_through_the_proxy() {
    let env = TestEnv::new();
    env.conceal(PROXY_PASSWORD);
    env.file("file", "content");
    let registry = Registry::tls();
    let address = registry.address.clone();
    let tunnel = Tunnel::start(move |host| (host == "registry.test:443").then(|| address.clone()));
    let proxy = format!("http://robot:{PROXY_PASSWORD}@{}", tunnel.address);
    let trusted = format!("registry.test={}", setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"));
    let name = format!("test/{}:latest", unique());
    let build = || {
        let build = env.build("FROM registry.test/base/busybox:latest\nCOPY file /file\n").secure().store(env.path(unique()));
        build.push_to(&format!("registry.test/{name}")).args(["--registry-certificate", &trusted])
    };
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let before = tunnel.asked().len();
        let image = build().variable(variable, &proxy).succeed();
        let pushed = registry.raw_manifest(&registry.reference(&name)).expect("it was pushed");
        assert_eq!(digest_of(pushed.as_bytes()), image.digest);
        assert!(tunnel.asked().len() > before, "{variable}");
    }
    let expected = format!("Basic {}", STANDARD.encode(format!("robot:{PROXY_PASSWORD}")));
    for connection in tunnel.asked() {
        assert_eq!((connection.host.as_str(), connection.authorization.as_deref()), ("registry.test:443", Some(expected.as_str())));
    }

    let before = tunnel.asked().len();
    for except in ["registry.test", ".test", "*"] {
        let error = build().variable("HTTPS_PROXY", &proxy).variable("NO_PROXY", except).args(["--registry-timeout", "5"]).fail(1);
        assert!(error.contains("registry.test cannot be reached"), "{except}: {error}");
    }
    assert_eq!(tunnel.asked().len(), before, "those of NO_PROXY are not asked for");
    let error =
        build().variable("HTTPS_PROXY", format!("http://robot:{PROXY_PASSWORD}@127.0.0.1:1")).args(["--registry-timeout", "5"]).fail(1);
    assert!(error.contains("cannot pu") && error.contains("registry.test"), "{error}");
}

#[test]
fn registries_without_tls_are_reached_through_the_proxy() {
    let env = TestEnv::new();
    env.conceal(PROXY_PASSWORD);
    let config = r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        digest_of(config.as_bytes()),
        config.len()
    );
    let web = Web::serve(move |seen| match seen.path() {
        path if path.contains("/manifests/") => Reply::ok(manifest.clone())
            .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            .header("Docker-Content-Digest", &digest_of(manifest.as_bytes())),
        path if path.contains("/blobs/") => Reply::ok(config),
        _ => Reply::ok("{}"),
    });
    let build = || {
        let build = env.build("FROM registry.test:5000/a/b\nENV A=1\n").arg("--custom-platform=linux/amd64").store(env.path(unique()));
        build.variable("HTTP_PROXY", format!("http://robot:{PROXY_PASSWORD}@{}", web.address))
    };
    build().succeed();
    let seen = web.seen();
    assert!(seen.len() >= 3 && seen.iter().all(|seen| seen.target.starts_with("http://registry.test:5000/v2/")), "{:?}", web.lines());
    let expected = format!("Basic {}", STANDARD.encode(format!("robot:{PROXY_PASSWORD}")));
    assert!(seen.iter().all(|seen| seen.header("proxy-authorization") == Some(expected.as_str())), "{seen:?}");
    let error = build().variable("no_proxy", "registry.test").args(["--registry-timeout", "5"]).fail(1);
    assert!(error.contains("registry.test:5000"), "{error}");
    assert_eq!(web.seen().len(), seen.len());
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    let env = TestEnv::new();
    env.file("file", "content");
    let dead = "http://127.0.0.1:1";
    let build = env.build("FROM {registry}/base/busybox:latest\nCOPY file /file\n");
    build
        .variable("HTTP_PROXY", dead)
        .variable("HTTPS_PROXY", dead)
        .variable("ALL_PROXY", dead)
        .push_to(&Registry::open().fresh())
        .succeed();
}

/// Azure's way from a client's secret to an image, each request as Azure's own clients send it; the registry is spoken to over TLS, through
/// the proxy, by the plugin as well as by the client.
#[test]
fn azure_from_a_client_secret_to_the_image_through_the_proxy() {
    const ENTRA: &str = "entra-t0ken-of-an-hour";
    let env = TestEnv::new();
    env.conceal(ENTRA);
    let refresh = format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(r#"{"exp":4102444800}"#));
    env.conceal(&refresh);
    let config = r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        digest_of(config.as_bytes()),
        config.len()
    );
    let given = refresh.clone();
    let web = Web::serve(move |seen: &Seen| {
        let form = |wanted: &[(&str, &str)]| asked(seen).iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(wanted.iter().copied());
        let service = ("service", "acme.azurecr.io");
        let challenge = r#"Bearer realm="https://acme.azurecr.io/oauth2/token",service="acme.azurecr.io""#;
        match (seen.method.as_str(), seen.path(), seen.header("authorization")) {
            ("POST", "/tenant/oauth2/v2.0/token", None) => {
                Reply::ok(format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{ENTRA}"}}"#))
            }
            ("POST", "/oauth2/exchange", None) => {
                let fits = form(&[("access_token", ENTRA), ("grant_type", "access_token"), service, ("tenant", "tenant")]);
                if fits { Reply::ok(format!(r#"{{"refresh_token":"{given}"}}"#)) } else { Reply::status(400) }
            }
            ("POST", "/oauth2/token", None) => {
                let scope = ("scope", "repository:team/app:pull");
                let fits =
                    form(&[("grant_type", "refresh_token"), service, ("client_id", "layerwright"), scope, ("refresh_token", &given)]);
                if fits { Reply::ok(r#"{"access_token":"acr-access-t0ken"}"#) } else { Reply::status(400) }
            }
            (_, path, Some("Bearer acr-access-t0ken")) if path.contains("/manifests/") => Reply::ok(manifest.clone())
                .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .header("Docker-Content-Digest", &digest_of(manifest.as_bytes())),
            (_, path, Some("Bearer acr-access-t0ken")) if path.contains("/blobs/") => Reply::ok(config),
            _ => Reply::status(401).header("WWW-Authenticate", challenge),
        }
    });
    let front = Daemon::nginx(&env, &web.address, "");
    let address = front.address.clone();
    let tunnel = Tunnel::start(move |host| (host == "acme.azurecr.io:443").then(|| address.clone()));
    let build = env
        .build("FROM acme.azurecr.io/team/app:1\nENV A=1\n")
        .secure()
        .arg("--custom-platform=linux/amd64")
        .variable("SSL_CERT_FILE", setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"))
        .variable("HTTPS_PROXY", format!("http://{}", tunnel.address))
        .variable("AZURE_CLIENT_ID", "app")
        .variable("AZURE_TENANT_ID", "tenant")
        .variable("AZURE_CLIENT_SECRET", "client-s3cret-of-the-test")
        .variable("AZURE_AUTHORITY_HOST", web.url("/"));
    build.succeed();
    let mut paths: Vec<String> = web.seen().iter().filter(|seen| seen.method == "POST").map(|seen| seen.path().to_owned()).collect();
    paths.dedup();
    assert_eq!(paths, ["/tenant/oauth2/v2.0/token", "/oauth2/exchange", "/oauth2/token"]);
    assert!(tunnel.asked().len() >= 2 && tunnel.asked().iter().all(|asked| asked.host == "acme.azurecr.io:443"), "{:?}", tunnel.asked());
}
