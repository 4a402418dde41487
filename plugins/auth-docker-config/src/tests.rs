use layerwright_plugin::auth::{Answer, AuthProvider, Credential, Target};
use layerwright_plugin::{Access, ErrorCode, Want, fake};

use crate::DockerConfig;

const DOCKER: &str = "~/.docker/config.json";

fn target(registry: &str, repository: &str) -> Target {
    Target { registry: registry.to_owned(), repository: repository.to_owned(), access: Access::Pull }
}

/// `u:p`, as `auth` has it.
fn auth(user: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:p"));
    format!(r#"{{"auth":"{encoded}"}}"#)
}

fn auths(entries: &[(&str, &str)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(key, user)| format!("\"{key}\":{}", auth(user))).collect();
    format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))
}

/// The user and how far the credential reaches.
fn ask(registry: &str, repository: &str) -> Option<(String, String)> {
    let answer = DockerConfig::authenticate(&target(registry, repository)).unwrap()?;
    match answer.credential {
        Credential::Basic(basic) => Some((basic.username, answer.valid_for)),
        other => panic!("{other:?}"),
    }
}

fn some(user: &str, valid_for: &str) -> Option<(String, String)> {
    Some((user.to_owned(), valid_for.to_owned()))
}

#[test]
fn without_configuration_nothing_is_known() {
    let _host = fake::Host::new().install();
    assert_eq!(ask("docker.io", "library/alpine"), None);
}

#[test]
fn sources_come_in_order() {
    let file = |user| auths(&[("h", user)]);
    let all = || {
        fake::Host::new()
            .env("XDG_RUNTIME_DIR", "/run/user/1")
            .file(DOCKER, file("docker"))
            .file("/kaniko/.docker/config.json", file("kaniko"))
            .file("/run/user/1/containers/auth.json", file("runtime"))
            .file("~/.config/containers/auth.json", file("podman"))
            .file("~/.dockercfg", format!("{{\"h\":{}}}", auth("old")))
    };
    for (host, expected) in [
        (all(), "docker"),
        (all().deny(DOCKER), "kaniko"),
        (all().deny(DOCKER).deny("/kaniko/.docker/config.json"), "runtime"),
        (all().deny(DOCKER).deny("/kaniko/.docker/config.json").deny("XDG_RUNTIME_DIR"), "podman"),
        (fake::Host::new().file("~/.dockercfg", format!("{{\"h\":{}}}", auth("old"))), "old"),
        (all().env("XDG_CONFIG_HOME", "/c/").file("/c/containers/auth.json", file("config")).deny(DOCKER), "kaniko"),
        (all().env("DOCKER_CONFIG", "/d/").file("/d/config.json", file("given")), "given"),
        (all().env("DOCKER_CONFIG", "/none"), "kaniko"),
        (all().env("REGISTRY_AUTH_FILE", "/r.json").file("/r.json", file("alone")), "alone"),
        (all().env("DOCKER_AUTH_CONFIG", file("inline")).env("REGISTRY_AUTH_FILE", "/none"), "inline"),
        (all().env("DOCKER_AUTH_CONFIG", auths(&[("other", "inline")])), "docker"),
        (all().env("DOCKER_AUTH_CONFIG", " "), "docker"),
    ] {
        let _host = host.install();
        assert_eq!(ask("h", "a"), some(expected, "h"), "{expected}");
    }
    let _host = all().env("REGISTRY_AUTH_FILE", "/none").install();
    assert_eq!(ask("h", "a"), None);
}

#[test]
fn mounted_pull_secrets_and_podmans_file_of_a_user() {
    let file = |user| auths(&[("h", user)]);
    let old = format!("{{\"h\":{}}}", auth("old"));
    for (host, expected) in [
        (fake::Host::new().file("/kaniko/.docker/.dockerconfigjson", file("mounted")), "mounted"),
        (fake::Host::new().env("DOCKER_CONFIG", "/s").file("/s/.dockerconfigjson", file("secret")), "secret"),
        (fake::Host::new().env("DOCKER_CONFIG", "/s").file("/s/.dockercfg", old), "old"),
        (fake::Host::new().env("UID", "1000").file("/run/containers/1000/auth.json", file("podman")), "podman"),
    ] {
        let _host = host.install();
        assert_eq!(ask("h", "a"), some(expected, "h"), "{expected}");
    }
    for host in [fake::Host::new().env("UID", "../1000"), fake::Host::new().env("UID", "1000").env("XDG_RUNTIME_DIR", "/run/user/1000")] {
        let _host = host.file("/run/containers/../1000/auth.json", file("x")).file("/run/containers/1000/auth.json", file("x")).install();
        assert_eq!(ask("h", "a"), None);
    }
}

#[test]
fn a_helper_whose_work_a_provider_does_need_not_be_installed() {
    let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let config = format!(r#"{{"credHelpers":{{"{ecr}":"ecr-login","gcr.io":"gcr","x.azurecr.io":"acr-env","h.example":"ecr-login"}}}}"#);
    let host = fake::Host::new().file(DOCKER, config).install();
    for registry in [ecr, "gcr.io", "x.azurecr.io"] {
        assert_eq!(ask(registry, "a"), None, "{registry}");
    }
    assert!(host.messages()[0].contains("docker-credential-ecr-login"), "{:?}", host.messages());
    assert_eq!(DockerConfig::authenticate(&target("h.example", "a")).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn docker_hub_goes_by_several_names() {
    for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io/v2/", "https://docker.io"] {
        let _host = fake::Host::new().file(DOCKER, auths(&[(key, "u")])).install();
        assert_eq!(ask("docker.io", "library/alpine"), some("u", "docker.io"), "{key}");
        assert_eq!(ask("quay.io", "library/alpine"), None);
    }
}

#[test]
fn the_closest_login_wins_and_the_others_are_asked_for_again() {
    let config = auths(&[("h", "all"), ("h/ns", "ns"), ("h/ns/repo", "repo"), ("*.example", "star"), ("a.example", "exact")]);
    let _host = fake::Host::new().file(DOCKER, config).install();
    assert_eq!(ask("h", "x"), some("all", "h/x"));
    assert_eq!(ask("h", "ns/x"), some("ns", "h/ns/x"));
    assert_eq!(ask("h", "ns/repo"), some("repo", "h/ns/repo"));
    assert_eq!(ask("h", "nsx/repo"), some("all", "h/nsx/repo"));
    assert_eq!(ask("a.example", "x"), some("exact", "a.example"));
    assert_eq!(ask("b.example", "x"), some("star", "b.example"));
    assert_eq!(ask("h.example:5000", "x"), None);
}

#[test]
fn a_narrow_login_does_not_hide_a_later_source() {
    let _host =
        fake::Host::new().file(DOCKER, auths(&[("h/ns", "ns")])).file("/kaniko/.docker/config.json", auths(&[("h", "all")])).install();
    assert_eq!(ask("h", "x"), some("all", "h/x"));
    assert_eq!(ask("h", "ns/x"), some("ns", "h/ns/x"));
}

#[test]
fn helpers_come_before_logins() {
    let config = r#"{"credsStore":"all","credHelpers":{"own.example":"own","index.docker.io":"hub"},
        "auths":{"own.example":{},"file.example":{"auth":"ZmlsZTpw"}}}"#;
    let host = || {
        fake::Host::new()
            .file(DOCKER, config)
            .helper("own", "own.example", "owner", "s")
            .helper("hub", "https://index.docker.io/v1/", "hubber", "s")
            .helper("all", "all.example", "anyone", "s")
            .helper("all", "token.example", "<token>", "t")
    };
    let _host = host().install();
    assert_eq!(ask("own.example", "x"), some("owner", "own.example"));
    assert_eq!(ask("docker.io", "x"), some("hubber", "docker.io"));
    assert_eq!(ask("all.example", "x"), some("anyone", "all.example"));
    assert_eq!(ask("file.example", "x"), some("file", "file.example"));
    assert_eq!(ask("none.example", "x"), None);
    let token = DockerConfig::authenticate(&target("token.example", "x")).unwrap();
    assert_eq!(token, Some(Answer::new(Credential::IdentityToken("t".to_owned()), "token.example")));
}

#[test]
fn a_registrys_own_helper_has_to_work_but_not_the_store() {
    let config = r#"{"credsStore":"desktop","credHelpers":{"own.example":"own"},"auths":{"file.example":{"auth":"ZmlsZTpw"}}}"#;
    for (host, code) in [(fake::Host::new(), ErrorCode::NotFound), (fake::Host::new().deny("own").deny("desktop"), ErrorCode::Denied)] {
        let _host = host.file(DOCKER, config).install();
        assert_eq!(DockerConfig::authenticate(&target("own.example", "x")).unwrap_err().code, code);
        assert_eq!(ask("file.example", "x"), some("file", "file.example"));
    }
}

#[test]
fn faults_are_errors_and_say_nothing_of_the_content() {
    let secret = "czNjcmV0";
    for (host, name) in [
        (fake::Host::new().file(DOCKER, format!("{{\"auths\":{{\"h\":\"{secret}\"}}}}")), DOCKER),
        (fake::Host::new().file(DOCKER, format!("{{\"auths\":{{\"h\":{{\"auth\":\"{secret}\"}}}}}}")), DOCKER),
        (fake::Host::new().file(DOCKER, secret), DOCKER),
        (fake::Host::new().env("DOCKER_AUTH_CONFIG", secret), "DOCKER_AUTH_CONFIG"),
    ] {
        let host = host.install();
        let error = DockerConfig::authenticate(&target("h", "x")).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.message.contains(name), "{}", error.message);
        for text in host.messages().iter().chain([&error.message]) {
            assert!(!text.contains(secret) && !text.contains("s3cret"), "{text}");
        }
    }
}

#[test]
fn it_wants_what_it_reads_and_no_helper() {
    let wants = DockerConfig::describe().wants;
    assert!(wants.contains(&Want::Env("DOCKER_CONFIG".to_owned())));
    assert!(wants.contains(&Want::File("$DOCKER_CONFIG/config.json".to_owned())));
    assert!(!wants.iter().any(|want| matches!(want, Want::CredentialHelper(_) | Want::Host(_))));
}
