//! Contexts over TLS, from servers whose authority nobody knows.

use std::fs;

use crate::support::TestEnv;
use crate::support::bucket::{archive, from};
use crate::support::daemon::Daemon;
use crate::support::git::{Repository, serve};
use crate::support::registry::setting;
use crate::support::web::{Reply, Web};

const LEAVE: [&str; 2] = ["--allow-private-host", "127.0.0.1"];

#[test]
fn one_server_may_go_unverified_and_no_other() {
    let env = TestEnv::new();
    let inner = Repository::new(env.path("git/inner"), "sha1");
    inner.commit(&[("in", "inner")]);
    let repository = Repository::new(env.path("git/r"), "sha1");
    repository.commit(&[("file", "first")]);
    repository.git(&["tag", "v1"]);
    repository.commit(&[("file", "main")]);
    let web = serve(&env.path("git"), |_| None);
    let (front, other) = (Daemon::nginx(&env, &web.address, ""), Daemon::nginx(&env, &web.address, ""));
    repository.git(&["submodule", "--quiet", "add", &web.url("inner.git"), "module"]);
    let move_module = |url: &str| {
        repository.git(&["config", "--file", ".gitmodules", "submodule.module.url", url]);
        repository.commit(&[]);
    };
    move_module("../inner.git");
    let url = format!("https://{}/r.git", front.address);
    let context = |dockerfile: &str| env.build(dockerfile).context(&url).variable("GIT_TOKEN", "hush");
    let unverified = |dockerfile: &str| context(dockerfile).args(["--git", "insecure-skip-tls=true"]);
    let error = context("FROM scratch\nCOPY file /\n").fail(1);
    assert!(error.contains("certificate") && error.contains("--git insecure-skip-tls=true"), "{error}");
    let finished = unverified("FROM scratch\nCOPY file module/in /\n").finish();
    let tree = finished.image().tree_above(0);
    assert_eq!((tree["file"].text(), tree["in"].text()), ("main", "inner"), "a submodule on the same server is as good");
    assert_eq!(finished.stderr.matches("is not verified for git repositories").count(), 1, "{}", finished.stderr);
    // What the operator has given for the repository goes there, and nowhere else.
    assert!(front.requests().iter().any(|request| request.contains("Basic aHVzaDo=")), "{:?}", front.requests());
    // kaniko's form, whose method is https where nothing is said.
    let old = env.build("FROM scratch\nCOPY file /\n").context(format!("git://{}/r.git#v1", front.address));
    assert_eq!(old.args(["--git=insecure-skip-tls=true"]).succeed().tree_above(0)["file"].text(), "first");
    // Another port is another server, for a submodule, for ADD and for a named context; a Dockerfile's ADD is never the operator's.
    for dockerfile in [format!("FROM scratch\nADD https://{}/r.git /\n", other.address), format!("FROM scratch\nADD {url} /\n")] {
        assert!(unverified(&dockerfile).args(LEAVE).fail(1).contains("certificate"), "{dockerfile}");
    }
    let named = format!("--build-context=src=https://{}/r.git", other.address);
    assert!(unverified("FROM scratch\nCOPY --from=src file /\n").arg(named).fail(1).contains("certificate"));
    move_module(&format!("https://{}/inner.git", other.address));
    let error = unverified("FROM scratch\nCOPY file /\n").args(LEAVE).fail(1);
    assert!(error.contains("certificate") && error.contains(&other.address), "{error}");
    assert_eq!(other.requests(), [""; 0]);
    // Where it makes no difference, that is said.
    for context in [web.url("r.git?submodules=false"), env.path("git/r").display().to_string()] {
        let finished = env.build("FROM scratch\nCOPY file /\n").context(context).args(["--git", "insecure-skip-tls=true"]).finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stderr.contains("is not needed: the context is"), "{}", finished.stderr);
    }
    assert!(unverified("FROM scratch\n").args(["--git", "insecure-skip-tls=maybe"]).fail(1).contains("want true or false"));
}

/// As with kaniko, the flags that leave verification out are for registries, and the option for git is for git.
#[test]
fn an_archive_of_the_web_comes_from_whom_an_authority_vouches_for() {
    let env = TestEnv::new();
    let bytes = fs::read(archive(&env)).expect("tar wrote it");
    let web = Web::serve(move |_| Reply::ok(bytes.clone()));
    let front = Daemon::nginx(&env, &web.address, "");
    let url = format!("https://{}/context.tar.gz", front.address);
    for more in [&[][..], &["--skip-tls-verify"], &["--skip-tls-verify-pull"], &["--git", "insecure-skip-tls=true"]] {
        let error = from(&env, &url).args(more).fail(1);
        assert!(error.contains("invalid peer certificate") && error.contains("named with SSL_CERT_FILE"), "{more:?}: {error}");
    }
    assert_eq!(front.requests(), [""; 0]);
    let build = from(&env, &url).variable("SSL_CERT_FILE", setting("LAYERWRIGHT_TEST_TLS_AUTHORITY"));
    assert_eq!(build.succeed().tree_above(0)["hello"].text(), "hello");
}
