use layerwright_plugin::fake;
use layerwright_plugin::mirror::Version;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn host(text: &str) -> fake::Installed {
    fake::Host::new().env(FILE, "/r.conf").file("/r.conf", text).install()
}

fn ask(name: &str, access: Access) -> Result<Option<Route>, Error> {
    let (name, version) = match name.split_once('@') {
        Some((name, digest)) => (name, Version::Digest(digest.to_owned())),
        None => (name, Version::Tag("1".to_owned())),
    };
    let (registry, repository) = name.split_once('/').unwrap();
    RegistriesConf::resolve(&Reference { registry: registry.to_owned(), repository: repository.to_owned(), version }, access)
}

/// The endpoints as `root repository`, `!` after insecure ones, and `+` where the registry itself comes last.
fn way(name: &str) -> String {
    let Some(route) = ask(name, Access::Pull).unwrap() else { return "-".to_owned() };
    let mut ways: Vec<String> = route
        .endpoints
        .iter()
        .map(|e| format!("{} {}{}", e.root, e.repository, if e.tls.as_ref().is_some_and(|tls| tls.skip_verification) { " !" } else { "" }))
        .collect();
    ways.extend(route.fallback.then(|| "+".to_owned()));
    ways.join(", ")
}

#[test]
fn the_longest_prefix_wins_and_its_location_is_rewritten() {
    let _host = host(
        r#"
        [[registry]]
        prefix = "example.com"
        location = "short.io"
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.io/bar"
        [[registry]]
        prefix = "*.sub.io"
        location = "all.io/proxy"
        [[registry]]
        prefix = "*.deep.sub.io"
        "#,
    );
    assert_eq!(way("example.com/foo/x"), "https://internal.io/v2 bar/x");
    assert_eq!(way("example.com/foo"), "https://internal.io/v2 bar");
    assert_eq!(way("example.com/food/x"), "https://short.io/v2 food/x");
    // Another port is another registry.
    assert_eq!(way("example.com:5000/foo/x"), "-");
    assert_eq!(way("example.com.evil/foo/x"), "-");
    assert_eq!(way("a.sub.io/x"), "https://all.io/v2 proxy/x");
    assert_eq!(way("a.b.sub.io/x"), "https://all.io/v2 proxy/x");
    assert_eq!(way("sub.io/x"), "-");
    assert_eq!(way("asub.io/x"), "-");
    assert_eq!(way("other.io/a.sub.io/x"), "-");
    assert_eq!(way("a.deep.sub.io/x"), "-", "without a location the name stays as it is");
}

#[test]
fn mirrors_come_in_order_and_only_for_what_they_may_serve() {
    let _host = host(
        r#"
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "all.io/hub"
        [[registry.mirror]]
        location = "digests.io"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.io"
        insecure = true
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "quay.io"
        mirror-by-digest-only = true
        insecure = true
        [[registry.mirror]]
        location = "m.io"
        "#,
    );
    assert_eq!(way("docker.io/library/x"), "https://all.io/v2 hub/library/x, http://tags.io/v2 library/x !, +");
    let by_digest = format!("docker.io/library/x@{DIGEST}");
    assert_eq!(way(&by_digest), "https://all.io/v2 hub/library/x, https://digests.io/v2 library/x, +");
    assert_eq!(way("quay.io/x"), "http://quay.io/v2 x !");
    assert_eq!(way(&format!("quay.io/x@{DIGEST}")), "https://m.io/v2 x, http://quay.io/v2 x !");
    // Not applied to what is pushed.
    assert_eq!(ask("docker.io/library/x", Access::Push), Ok(None));
}

#[test]
fn what_is_blocked_is_neither_pulled_nor_pushed() {
    let _host = host("[[registry]]\nlocation = 'bad.io'\nblocked = true\n[[registry]]\nlocation = 'bad.io/good'\n");
    for access in [Access::Pull, Access::Push] {
        let error = ask("bad.io/x", access).unwrap_err();
        assert_eq!(error.code, ErrorCode::Denied);
        assert!(error.message.contains("/r.conf"), "{}", error.message);
    }
    assert_eq!(way("bad.io/good/x"), "-");
}

#[test]
fn short_names_follow_aliases_and_search_registries() {
    let aliases = "[aliases]\nfedora = 'registry.fedoraproject.org/fedora'\n'a/b' = 'quay.io/c'\nhub = 'docker.io/hub'\nbad = 'x'\n";
    let _host = host(&format!("{aliases}\n[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm.io/q'\n"));
    assert_eq!(way("docker.io/library/fedora"), "https://registry.fedoraproject.org/v2 fedora");
    assert_eq!(way("docker.io/a/b"), "https://m.io/v2 q/c, https://quay.io/v2 c");
    assert_eq!(way("docker.io/library/other"), "-");
    assert_eq!(way("docker.io/library/hub"), "-");
    assert_eq!(way("ghcr.io/fedora"), "-");
    assert!(ask("docker.io/library/bad", Access::Pull).is_err());

    let several = "unqualified-search-registries = ['a.io', 'docker.io']\n";
    for (mode, expected) in [("", true), ("short-name-mode = 'permissive'", true), ("short-name-mode = 'disabled'", true)] {
        let _host = host(&format!("{several}{mode}"));
        assert_eq!(way("docker.io/library/x") == "https://a.io/v2 x, https://registry-1.docker.io/v2 library/x", expected, "{mode}");
    }
    let _host = host(&format!("{several}short-name-mode = 'enforcing'\n[aliases]\nx = 'docker.io/library/x'"));
    let error = ask("docker.io/library/y", Access::Pull).unwrap_err();
    assert!(error.message.contains("a.io, docker.io") && error.hint.is_some(), "{}", error.message);
    assert_eq!(way("docker.io/library/x"), "-", "an alias decides");
    let _host = host("unqualified-search-registries = ['a.io']\nshort-name-mode = 'enforcing'");
    assert_eq!(way("docker.io/library/x"), "https://a.io/v2 x");
}

#[test]
fn later_files_override_earlier_ones() {
    let _host = fake::Host::new()
        .env(FILE, "/r.conf")
        .env(FOLDER, "/r.conf.d")
        .file("/r.conf", "[[registry]]\nlocation = 'a.io'\nblocked = true\n[aliases]\nx = 'one.io/x'\ny = 'one.io/y'\n")
        .file("/r.conf.d/10.conf", "[[registry]]\nprefix = 'a.io'\nlocation = 'ten.io'\n")
        .file("/r.conf.d/20.conf", "[[registry]]\nprefix = 'a.io'\nlocation = 'twenty.io'\n[aliases]\nx = 'two.io/x'\n")
        .file("/r.conf.d/30.txt", "no TOML")
        .install();
    assert_eq!(way("a.io/x"), "https://twenty.io/v2 x");
    assert_eq!(way("docker.io/library/x"), "https://two.io/v2 x");
    assert_eq!(way("docker.io/library/y"), "https://one.io/v2 y");
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for text in [
        "[[registry]",
        "[registries.search]\nregistries = ['a.io']",
        "short-name-mode = 'maybe'",
        "[[registry]]\nblocked = true",
        "[[registry]]\nprefix = 'a.io'",
        "[[registry]]\nlocation = 'https://a.io'",
        "[[registry]]\nprefix = '*.'",
        "[[registry]]\nprefix = 'a.*.io'\nlocation = 'b.io'",
        "[[registry]]\nlocation = 'a.io'\npull-from-mirror = 'all'",
        "[[registry]]\nlocation = 'a.io'\n[[registry.mirror]]\nlocation = ''",
        "[[registry]]\nlocation = 'a.io'\n[[registry.mirror]]\nlocation = 'b.io'\npull-from-mirror = 'some'",
        "[[registry]]\nlocation = 'a.io'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'b.io'\npull-from-mirror = 'all'",
    ] {
        let _host = host(text);
        let error = ask("a.io/x", Access::Pull).unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid, "{text}");
        assert!(error.message.starts_with("/r.conf: "), "{}", error.message);
    }
    let _none = fake::Host::new().install();
    assert_eq!(ask("a.io/x", Access::Pull), Ok(None));
}
