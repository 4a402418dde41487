use layerwright_plugin::mirror::{Endpoint, Version};
use layerwright_plugin::{Property, fake};

use super::*;

fn reference(registry: &str) -> Reference {
    Reference { registry: registry.to_owned(), repository: "a/b".to_owned(), version: Version::Tag("1".to_owned()) }
}

fn host(files: &[(&str, &str)]) -> fake::Installed {
    let with = |host: fake::Host, (path, content): &(&str, &str)| host.file(format!("/h/{path}"), *content);
    files.iter().fold(fake::Host::new().env(FOLDER, "/h"), with).install()
}

fn endpoints(registry: &str, access: Access) -> Vec<Endpoint> {
    Containerd::resolve(&reference(registry), access).unwrap().map(|route| route.endpoints).unwrap_or_default()
}

fn roots(registry: &str, access: Access) -> Vec<String> {
    endpoints(registry, access).into_iter().map(|endpoint| endpoint.root).collect()
}

#[test]
fn the_closest_directory_is_the_registrys() {
    let _host = host(&[
        ("r.io_5000_/hosts.toml", "server = 'https://port'"),
        ("r.io:5000/hosts.toml", "server = 'https://colon'"),
        ("r.io:6000/hosts.toml", "server = 'https://other'"),
        ("_default/hosts.toml", "[host.'https://default']"),
    ]);
    assert_eq!(roots("r.io:5000", Access::Pull), ["https://port/v2"]);
    assert_eq!(roots("r.io:6000", Access::Pull), ["https://other/v2"]);
    assert_eq!(roots("x.io", Access::Pull), ["https://default/v2", "https://x.io/v2"]);
    assert_eq!(roots("docker.io", Access::Pull), ["https://default/v2", "https://registry-1.docker.io/v2"]);
    let _none = host(&[("r.io/hosts.toml", "")]);
    assert_eq!(Containerd::resolve(&reference("x.io"), Access::Pull), Ok(None));
}

#[test]
fn hosts_come_in_order_and_capabilities_are_trust() {
    let text = r#"
        server = "https://registry-1.docker.io"
        [host."https://z.example"]
          capabilities = ["pull"]
        [host."https://a.example/some/path"]
          capabilities = ["pull", "resolve", "push"]
        [host."m.example:5000/v2/"]
          capabilities = ["resolve"]
        [host."https://o.example/harbor/v2/hub"]
          override_path = true
    "#;
    let _host = host(&[("docker.io/hosts.toml", text)]);
    let expected =
        ["https://z.example/v2", "https://a.example/some/path/v2", "https://o.example/harbor/v2/hub", "https://registry-1.docker.io/v2"];
    assert_eq!(roots("docker.io", Access::Pull), expected);
    assert_eq!(roots("docker.io", Access::Push), &expected[1..]);
    let found = endpoints("docker.io", Access::Pull);
    assert_eq!(found[0].trust, Trust::PULL);
    assert_eq!(found[1].trust, Trust::PULL | Trust::RESOLVE | Trust::PUSH);
    assert_eq!(found.iter().map(|endpoint| endpoint.namespace).collect::<Vec<_>>(), [true, true, true, false]);
    assert!(!Containerd::resolve(&reference("docker.io"), Access::Pull).unwrap().unwrap().fallback);
}

#[test]
fn a_host_has_certificates_headers_and_a_time_limit_of_its_own() {
    let text = r#"
        [host."https://m.example"]
          ca = ["ca.pem", "/etc/other.pem"]
          client = [["c.pem", "c.key"]]
          skip_verify = true
          dial_timeout = "200ms"
          [host."https://m.example".header]
            x-one = "1"
            x-two = ["2", "3"]
        [host."https://n.example"]
          ca = "ca.pem"
          client = "both.pem"
    "#;
    let _host = host(&[("r.io/hosts.toml", text)]);
    let found = endpoints("r.io", Access::Pull);
    let tls = found[0].tls.clone().unwrap();
    assert_eq!(tls.roots, ["/h/r.io/ca.pem", "/etc/other.pem"]);
    assert_eq!(tls.client, Some(("/h/r.io/c.pem".to_owned(), "/h/r.io/c.key".to_owned())));
    assert!(tls.skip_verification);
    assert_eq!(found[0].connect_timeout_ms, Some(200));
    assert_eq!(found[0].headers, [("x-one", "1"), ("x-two", "2"), ("x-two", "3")].map(|(name, value)| Property::new(name, value)));
    assert_eq!(found[1].tls.clone().unwrap().client, Some(("/h/r.io/both.pem".to_owned(), "/h/r.io/both.pem".to_owned())));
    assert_eq!((found[2].tls.is_none(), found[2].headers.len()), (true, 0));
}

#[test]
fn certificates_without_a_file_are_for_the_registry_itself() {
    let _host = host(&[("r.io/ca.crt", ""), ("r.io/client.cert", ""), ("r.io/client.key", ""), ("r.io/alone.cert", "")]);
    let found = endpoints("r.io", Access::Push);
    assert_eq!(found[0].root, "https://r.io/v2");
    let tls = found[0].tls.clone().unwrap();
    assert_eq!(tls.roots, ["/h/r.io/ca.crt"]);
    assert_eq!(tls.client, Some(("/h/r.io/client.cert".to_owned(), "/h/r.io/client.key".to_owned())));
}

#[test]
fn without_any_host_that_may_the_image_is_blocked() {
    let _host = host(&[("r.io/hosts.toml", "server = 'https://r.io'\ncapabilities = ['pull', 'resolve']")]);
    assert_eq!(roots("r.io", Access::Pull), ["https://r.io/v2"]);
    assert_eq!(Containerd::resolve(&reference("r.io"), Access::Push).unwrap_err().code, ErrorCode::Denied);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for text in [
        "server",
        "server = 'ftp://x'",
        "server = 'https://u@x'",
        "server = 'https://x/../y'",
        "[host.'https://x']\ncapabilities = ['fly']",
        "[host.'https://x']\nca = 1",
        "[host.'https://x']\nclient = []",
        "[host.'https://x']\ndial_timeout = 'soon'",
        "[host.'https://x']\ndial_timeout = '5'",
        "[host]\nx = 1",
    ] {
        let _host = host(&[("r.io/hosts.toml", text)]);
        let error = Containerd::resolve(&reference("r.io"), Access::Pull).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid, "{text}");
        assert!(error.message.starts_with("/h/r.io/hosts.toml: "), "{}", error.message);
    }
}
