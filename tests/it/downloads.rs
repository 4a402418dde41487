//! ADD from the web: what lands, what is checked first, where credentials go, and what is refused.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::web::{Reply, Web};
use crate::support::{Kind, TestEnv, digest_of, run};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const DATE_SECONDS: u64 = 784_111_777;

const LEAVE: [&str; 2] = ["--allow-private-host", "127.0.0.1"];

/// Scenario 64.
#[test]
fn a_download_is_a_file_with_its_name_and_time_and_is_asked_for_again_by_its_validators() {
    let web = Web::serve(|seen| match (seen.path(), seen.header("if-none-match")) {
        ("/dir/a%20file.txt", Some("\"v1\"")) => Reply::status(304),
        ("/dir/a%20file.txt", _) => Reply::ok("content").header("ETag", "\"v1\"").header("Last-Modified", DATE),
        ("/dated", _) if seen.header("if-modified-since") == Some(DATE) => Reply::status(304),
        ("/dated", _) => Reply::ok("dated").header("Last-Modified", DATE),
        ("/", _) => Reply::ok("nameless"),
        _ => Reply::status(404),
    });
    let env = TestEnv::new();
    let dockerfile =
        format!("FROM scratch\nADD {} /d/\nADD {} /e\nADD {} /f/\n", web.url("dir/a%20file.txt?query=/x"), web.url("dated"), web.url(""));
    let tree = env.build(&dockerfile).args(LEAVE).succeed().tree_above(0);
    let file = &tree["d/a file.txt"];
    assert_eq!((file.text(), file.rights().as_str(), file.mtime), ("content", "0600 0:0", DATE_SECONDS));
    assert_eq!((tree["e"].text(), tree["e"].mtime), ("dated", DATE_SECONDS));
    let nameless = &tree["f/__unnamed__"];
    assert_eq!((nameless.text(), nameless.mtime), ("nameless", 0));
    let seen = web.seen();
    assert!(seen[0].header("user-agent").is_some_and(|agent| agent.starts_with("layerwright/")), "{seen:?}");
    assert!(web.lines().iter().all(|line| line.starts_with("GET ")), "{:?}", web.lines());

    let again = env.build(&dockerfile).args(LEAVE).succeed().tree_above(0);
    assert_eq!(again["d/a file.txt"], tree["d/a file.txt"]);
    assert_eq!(again["e"], tree["e"]);
    let second = &web.lines()[seen.len()..];
    assert_eq!(second.iter().filter(|line| line.starts_with("HEAD ")).count(), 2, "{second:?}");
    assert_eq!(second.iter().filter(|line| line.starts_with("GET ")).count(), 1, "{second:?}");
}

#[test]
fn a_changed_file_is_fetched_anew() {
    let version = std::sync::Arc::new(AtomicUsize::new(1));
    let now = std::sync::Arc::clone(&version);
    let web = Web::serve(move |_| {
        let version = now.load(Ordering::SeqCst);
        Reply::ok(format!("version {version}")).header("ETag", &format!("\"{version}\""))
    });
    let env = TestEnv::new();
    let dockerfile = format!("FROM scratch\nADD {} /\n", web.url("f"));
    assert_eq!(env.build(&dockerfile).args(LEAVE).succeed().tree_above(0)["f"].text(), "version 1");
    // The server answers HEAD with the same tag: nothing is fetched.
    assert_eq!(env.build(&dockerfile).args(LEAVE).succeed().tree_above(0)["f"].text(), "version 1");
    version.store(2, Ordering::SeqCst);
    assert_eq!(env.build(&dockerfile).args(LEAVE).succeed().tree_above(0)["f"].text(), "version 2");
    assert_eq!(web.lines(), ["GET /f", "HEAD /f", "HEAD /f", "GET /f"]);
}

#[test]
fn a_server_names_a_file_whose_url_does_not() {
    let web = Web::serve(|seen| {
        let header = if seen.path() == "/" { "attachment; filename=\"../named.txt\"" } else { "attachment; filename=other" };
        Reply::ok("x").header("Content-Disposition", header)
    });
    let env = TestEnv::new();
    let tree = env.build(&format!("FROM scratch\nADD {} {} /\n", web.url(""), web.url("own"))).args(LEAVE).succeed().tree_above(0);
    assert!(tree.contains_key("named.txt") && tree.contains_key("own"), "{:?}", tree.keys());
}

/// Scenario 65, as far as it is about URLs.
#[test]
fn an_archive_from_the_web_is_unpacked_only_where_asked() {
    let env = TestEnv::new();
    env.file("in/hello", "hello");
    let context = env.path("context");
    run(Command::new("tar").args(["--owner=5", "--group=6", "-czf", "../t.tar.gz", "in"]).current_dir(&context));
    let archive = std::fs::read(env.path("t.tar.gz")).unwrap();
    let served = archive.clone();
    let web = Web::serve(move |_| Reply::ok(served.clone()));
    let url = web.url("t.tar.gz");
    let dockerfile = format!(
        "FROM scratch\nADD {url} /plain/\nADD {url} /named.bin\nADD --unpack=false {url} /no/\nADD --unpack=true {url} /yes/\nADD --unpack --chown=7:8 {url} /owned/\n"
    );
    let tree = env.build(&dockerfile).args(LEAVE).succeed().tree_above(0);
    for path in ["plain/t.tar.gz", "named.bin", "no/t.tar.gz"] {
        assert_eq!(tree[path].content, archive, "{path}");
    }
    assert_eq!(tree["yes/in/hello"].text(), "hello");
    assert_eq!(tree["yes/in/hello"].rights(), "0644 5:6");
    assert_eq!(tree["owned/in/hello"].rights(), "0644 7:8");
    assert_eq!(web.lines().len(), 1, "one build asks once: {:?}", web.lines());
}

/// Scenario 70.
#[test]
fn modes_and_owners_of_downloads() {
    let web = Web::serve(|_| Reply::ok("x"));
    let env = TestEnv::new();
    let dockerfile = format!(
        "FROM scratch\nARG mode=0755\nADD --chmod=644 {url} /a\nADD --chmod=0413 {url} /b\nADD --chmod=${{mode}} {url} /c\nADD --chown=1:2 {url} /d\nADD --chmod=u+x {url} /e\nADD {url} /f\n",
        url = web.url("x")
    );
    let tree = env.build(&dockerfile).args(LEAVE).succeed().tree_above(0);
    for (path, rights) in [("a", "0644 0:0"), ("b", "0413 0:0"), ("c", "0755 0:0"), ("d", "0600 1:2"), ("e", "0700 0:0"), ("f", "0600 0:0")]
    {
        assert_eq!(tree[path].rights(), rights, "{path}");
    }
}

/// Scenario 71.
#[test]
fn a_checksum_is_verified_before_anything_lands() {
    let web = Web::serve(|_| Reply::ok("content"));
    let env = TestEnv::new();
    let right = digest_of(b"content");
    let wrong = digest_of(b"other");
    let url = web.url("f");
    let add = |checksum: &str, source: &str| format!("FROM scratch\nENV SUM={right}\nADD --checksum={checksum} {source} /\n");
    assert_eq!(env.build(&add(&right, &url)).args(LEAVE).succeed().tree_above(0)["f"].text(), "content");
    let asked = web.lines().len();
    assert!(env.build(&add("${SUM}", &url)).args(LEAVE).succeed().tree_above(0).contains_key("f"));
    assert_eq!(web.lines().len(), asked, "bytes that are known by their digest are not asked for again");
    for (checksum, source, said) in [
        (wrong.as_str(), url.as_str(), "digest mismatch"),
        ("md5:7e55db001d319a94b0b713529a756623", &url, "unsupported digest algorithm"),
        ("unknown:abc", &url, "unsupported digest algorithm"),
        ("7e55db001d319a94b0b713529a756623", &url, "invalid checksum digest format"),
        (&right, "f", "checksum can't be specified for sources that are neither HTTP(S) nor git"),
    ] {
        env.file("f", "content");
        let error = env.build(&add(checksum, source)).args(LEAVE).fail(1);
        assert!(error.contains(said), "{checksum}: {error}");
    }
    let fresh = env.build(&add(&wrong, &url)).args(LEAVE).store(env.path("fresh")).fail(1);
    assert!(fresh.contains(&wrong) && fresh.contains(&right), "{fresh}");
    let blobs: Vec<_> = std::fs::read_dir(env.path("fresh/blobs/sha256")).unwrap().collect();
    assert!(blobs.is_empty(), "what is not wanted is not kept: {blobs:?}");
}

/// Row 48 of the adversarial list.
#[test]
fn a_dockerfile_does_not_reach_this_machine_or_its_network() {
    let web = Web::serve(|seen| match seen.path() {
        "/to-metadata" => Reply::to(302, "http://169.254.169.254/latest/meta-data/"),
        "/to-mapped" => Reply::to(302, "http://[::ffff:169.254.169.254]/"),
        "/to-decimal" => Reply::to(302, "http://2852039166/"),
        "/to-private" => Reply::to(302, "http://10.255.255.1/x"),
        _ => Reply::ok("secret"),
    });
    let env = TestEnv::new();
    let port = web.address.rsplit(':').next().unwrap();
    for url in [
        web.url("x"),
        format!("http://localhost:{port}/x"),
        format!("http://0x7f.1:{port}/x"),
        format!("http://[::1]:{port}/x"),
        "http://10.255.255.1/x".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "http://0.0.0.0/".to_owned(),
    ] {
        let finished = env.build(&format!("FROM scratch\nADD {url} /\n")).finish();
        assert_eq!(finished.code, Some(1), "{url}");
        assert!(finished.stderr.contains("lies on this machine or in a private network"), "{url}: {}", finished.stderr);
        assert!(finished.stderr.contains("hint: if that is meant, allow it with --allow-private-host "), "{}", finished.stderr);
        assert!(finished.took < Duration::from_secs(10), "{url} was tried");
    }
    assert!(web.lines().is_empty(), "nothing is sent: {:?}", web.lines());
    for path in ["to-metadata", "to-mapped", "to-decimal", "to-private"] {
        let finished = env.build(&format!("FROM scratch\nADD {} /\n", web.url(path))).args(LEAVE).finish();
        assert_eq!(finished.code, Some(1), "{path}");
        assert!(finished.stderr.contains("lies on this machine or in a private network"), "{path}: {}", finished.stderr);
        assert!(finished.took < Duration::from_secs(10), "{path} was tried");
    }
    for (name, value) in [("LAYERWRIGHT_ALLOW_PRIVATE_HOSTS", "a.example, 127.0.0.1"), ("LAYERWRIGHT_ALLOW_PRIVATE_HOSTS", &web.address)] {
        env.build(&format!("FROM scratch\nADD {} /\n", web.url("x"))).variable(name, value).succeed();
    }
}

#[test]
fn redirects_are_followed_so_far_and_no_further() {
    let web = Web::serve(|seen| match seen.path() {
        "/a" => Reply::to(302, "/deep/b"),
        "/deep/b" => Reply::to(307, "c"),
        "/deep/c" => Reply::ok("found"),
        "/loop" => Reply::to(301, "/loop"),
        "/file" => Reply::to(302, "file:///etc/passwd"),
        "/user" => Reply::to(302, "http://a:b@127.0.0.1/x"),
        "/none" => Reply::status(302),
        _ => Reply::status(404),
    });
    let env = TestEnv::new();
    let add = |path: &str| format!("FROM scratch\nADD {} /\n", web.url(path));
    assert_eq!(env.build(&add("a")).args(LEAVE).succeed().tree_above(0)["a"].text(), "found");
    for (path, said) in [
        ("loop", "there are more than 10 redirects"),
        ("file", "it is neither http nor https"),
        ("user", "it holds user information"),
        ("none", "a redirect that leads nowhere"),
        ("gone", "404"),
    ] {
        let error = env.build(&add(path)).args(LEAVE).fail(1);
        assert!(error.contains(said), "{path}: {error}");
        assert!(!error.contains("a:b@"), "{error}");
    }
}

#[test]
fn a_secret_goes_to_its_host_and_is_never_shown() {
    let other = Web::serve(|_| Reply::ok("elsewhere"));
    let elsewhere = other.url("x");
    let web = Web::serve(move |seen| match (seen.path(), seen.header("authorization")) {
        ("/away", Some(_)) => Reply::to(302, &elsewhere),
        ("/basic", Some("Basic bWU6aHVzaA==")) => Reply::ok("basic"),
        ("/token", Some("Bearer t0p-secret")) => Reply::ok("token"),
        (_, None) => Reply::status(401),
        _ => Reply::status(403),
    });
    let env = TestEnv::new();
    let secret = format!("id=HTTP_AUTH_TOKEN_{},env=THE_TOKEN", web.address);
    let build = |path: &str| {
        let build = env.build(&format!("FROM scratch\nADD {} /\n", web.url(path)));
        build.args(LEAVE).args(["--secret", &secret, "--verbosity", "debug"]).variable("THE_TOKEN", "t0p-secret")
    };
    let finished = build("token").finish();
    assert_eq!(finished.image().tree_above(0)["token"].text(), "token");
    assert!(!finished.stderr.contains("t0p-secret") && !finished.stdout.contains("t0p-secret"));
    assert_eq!(build("away").succeed().tree_above(0)["away"].text(), "elsewhere");
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_none()), "{:?}", other.seen());
    // Without the secret, the error says how one is given.
    let error = env.build(&format!("FROM scratch\nADD {} /\n", web.url("token"))).args(LEAVE).store(env.path("fresh")).fail(1);
    assert!(error.contains("401") && error.contains("--secret id=HTTP_AUTH_TOKEN_127.0.0.1"), "{error}");
    // User information in the URL is for its host, too, and is not shown when it is refused.
    let url = |user: &str| web.url("basic").replace("http://", &format!("http://{user}@"));
    assert!(env.build(&format!("FROM scratch\nADD {} /\n", url("me:hush"))).args(LEAVE).succeed().tree_above(0).contains_key("basic"));
    let error = env.build(&format!("FROM scratch\nADD {} /b\n", url("me:hushhush"))).args(LEAVE).fail(1);
    assert!(error.lines().filter(|line| line.starts_with("error:")).all(|line| !line.contains("hushhush")), "{error}");
}

#[test]
fn limits_hold_whatever_a_server_announces() {
    let tries = AtomicUsize::new(0);
    let web = Web::serve(move |seen| match seen.path() {
        "/announced" => Reply { zeros: 4096, ..Reply::ok("") },
        "/endless" => Reply { zeros: 1 << 40, unannounced: true, ..Reply::ok("") },
        "/cut" => Reply { cut: Some(3), ..Reply::ok("abcdef") },
        "/second" if tries.fetch_add(1, Ordering::SeqCst) == 0 => Reply { cut: Some(3), ..Reply::ok("abcdef") },
        "/second" => Reply::ok("abcdef"),
        _ => Reply::status(503),
    });
    let env = TestEnv::new();
    let build = |path: &str| env.build(&format!("FROM scratch\nADD {} /\n", web.url(path))).args(LEAVE);
    for path in ["announced", "endless"] {
        let error = build(path).args(["--max-download-size", "1k"]).fail(1);
        assert!(error.contains("is larger than 1024 bytes") && error.contains("--max-download-size"), "{path}: {error}");
    }
    assert!(build("cut").fail(1).contains("broke off"), "a file that is not whole is none");
    assert_eq!(build("second").succeed().tree_above(0)["second"].text(), "abcdef");
    assert!(build("busy").fail(1).contains("503"));
    assert_eq!(web.lines().iter().filter(|line| *line == "GET /busy").count(), 3);
    assert!(std::fs::read_dir(env.path("store/tmp")).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn a_large_download_is_never_held_in_memory() {
    let web = Web::serve(|_| Reply { zeros: 600 << 20, ..Reply::ok("") });
    let env = TestEnv::alone();
    let finished = env.build(&format!("FROM scratch\nADD {} /big\n", web.url("big"))).args(LEAVE).finish();
    assert_eq!(finished.image().tree_above(0)["big"].size, 600 << 20);
    assert!(finished.peak_kib < 100 << 10, "{} KiB", finished.peak_kib);
}

#[test]
fn proxies_of_the_environment_are_used() {
    let proxy = Web::serve(|seen| match seen.target.as_str() {
        "http://files.example.test/f" => Reply::ok("by proxy"),
        _ => Reply::status(502),
    });
    let env = TestEnv::new();
    let build = |url: &str| env.build(&format!("FROM scratch\nADD {url} /\n")).variable("http_proxy", format!("http://{}", proxy.address));
    let tree = build("http://files.example.test/f").succeed().tree_above(0);
    assert_eq!((tree["f"].kind, tree["f"].text()), (Kind::File, "by proxy"));
    for url in ["http://169.254.169.254/x", "http://localhost/x"] {
        assert!(build(url).fail(1).contains("lies on this machine or in a private network"), "{url}");
    }
    assert_eq!(proxy.lines(), ["GET http://files.example.test/f"]);
}
