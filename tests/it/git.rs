//! ADD from git and contexts from git, against servers that are git's own.
//!
//! Scenario 73 (the checksum of an ADD from git changes no cache key) is about layers kept between builds; what it needs of git, the same
//! files from the same commit with and without a checksum, is shown here.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::support::git::{Daemon, Repository, TIME, serve};
use crate::support::web::{Reply, Web};
use crate::support::{Kind, TestEnv, run, write};

const LEAVE: [&str; 2] = ["--allow-private-host", "127.0.0.1"];

/// `main` with a tag before it, a branch beside it, and a commit that nothing but its id names.
struct Served {
    web: Web,
    repository: Repository,
    /// What the tags `v1` (annotated) and `light` are of.
    first: String,
    main: String,
    branch: String,
}

fn served(env: &TestEnv, format: &str) -> Served {
    let repository = Repository::new(env.path("git/r"), format);
    let first = repository.commit(&[("file", "first"), ("run.sh", "#!/bin/sh"), ("sub/dir/deep", "deep")]);
    repository.git(&["tag", "--annotate", "--message", "a tag", "v1"]);
    repository.git(&["tag", "light"]);
    repository.git(&["checkout", "--quiet", "-b", "feature/x"]);
    let branch = repository.commit(&[("file", "branch")]);
    repository.git(&["checkout", "--quiet", "main"]);
    fs::set_permissions(repository.path.join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("sub/dir/deep", repository.path.join("link")).unwrap();
    let dockerfile = "FROM scratch\nCOPY file run.sh link /from/\n";
    let main = repository.commit(&[
        ("file", "main"),
        ("Dockerfile", dockerfile),
        (".dockerignore", "file\n"),
        ("sub/Dockerfile", "FROM scratch\nCOPY dir /d\n"),
    ]);
    Served { web: serve(&env.path("git"), |_| None), repository, first, main, branch }
}

/// Scenario 72, with both kinds of object ids.
#[test]
fn add_brings_a_commit() {
    for format in ["sha1", "sha256"] {
        let env = TestEnv::new();
        let git = served(&env, format);
        let url = git.web.url("r.git");
        let dockerfile = format!(
            "FROM scratch\n\
             ADD {url} /main/\n\
             ADD {url}#v1 /tag/\n\
             ADD --keep-git-dir=true --chown=1000:1001 --checksum={first} {url}#v1 /kept/\n\
             ADD {url}#light:sub/dir /sub/\n\
             ADD {url}#feature/x /branch/\n\
             ADD {url}#{first} /commit/\n",
            first = git.first
        );
        let image = env.build(&dockerfile).args(LEAVE).succeed();
        let tree = image.tree_above(0);
        for (path, text) in [("main", "main"), ("tag", "first"), ("kept", "first"), ("branch", "branch"), ("commit", "first")] {
            assert_eq!(tree[&format!("{path}/file")].text(), text, "{format} {path}");
        }
        assert_eq!(tree["sub/deep"].text(), "deep");
        assert_eq!((tree["main/file"].rights().as_str(), tree["main/run.sh"].rights().as_str()), ("0644 0:0", "0755 0:0"));
        assert_eq!((tree["main/link"].kind, tree["main/link"].link.as_str()), (Kind::Symlink, "sub/dir/deep"));
        assert_eq!((tree["main/sub"].rights().as_str(), tree["main/file"].mtime), ("0755 0:0", TIME));
        let kept: Vec<_> = tree.keys().filter(|path| path.contains(".git")).filter(|path| !path.starts_with("kept/")).collect();
        assert!(kept.iter().all(|path| path.ends_with(".dockerignore")) || kept.is_empty(), "{kept:?}");
        assert_eq!(tree["kept/file"].rights(), "0644 1000:1001");
        // What is kept is a repository in which git finds nothing changed.
        let unpacked = env.path("unpacked");
        fs::create_dir(&unpacked).unwrap();
        for layer in image.manifest["layers"].as_array().unwrap() {
            let blob = image.layout.join("blobs").join(layer["digest"].as_str().unwrap().replace(':', "/"));
            run(Command::new("tar").arg("-xzf").arg(blob).arg("-C").arg(&unpacked));
        }
        let git_in = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "safe.directory=*"]).args(arguments).current_dir(unpacked.join("kept")).env("HOME", &unpacked);
            run(&mut command).trim().to_owned()
        };
        assert_eq!(git_in(&["status", "--porcelain"]), "", "{format}");
        assert_eq!(git_in(&["rev-parse", "HEAD"]), git.first);
        assert_eq!(git_in(&["log", "--format=%s"]), "a commit");
        assert_eq!(git_in(&["describe", "--tags", "--exact-match"]), "v1");
        assert!(!unpacked.join("kept/.git/hooks").exists());
        assert!(git.web.lines().iter().all(|line| line.contains("git-upload-pack")));
        drop(git.branch);
        assert!(fs::read_dir(env.path("store/tmp")).unwrap().next().is_none(), "something is left in the store");
    }
}

/// Scenario 72, what does not fit, and the files of scenario 73.
#[test]
fn a_checksum_is_the_commit_or_its_beginning() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let url = git.web.url("r.git");
    let add = |flags: &str, source: &str| env.build(&format!("FROM scratch\nADD {flags} {source} /\n")).args(LEAVE);
    let plain = add("", &format!("{url}#v1")).succeed().tree_above(0);
    for checksum in [git.first.as_str(), &git.first[..10]] {
        let with = add(&format!("--checksum={checksum}"), &format!("{url}#v1")).succeed();
        assert_eq!(with.tree_above(0), plain);
    }
    for (checksum, said) in
        [(git.main.as_str(), "expected checksum to match"), ("wrong!", "invalid commit"), ("sha256:aa", "invalid commit")]
    {
        let error = add(&format!("--checksum={checksum}"), &format!("{url}#v1")).fail(1);
        assert!(error.contains(said), "{checksum}: {error}");
    }
    for (source, said) in [
        (format!("{url}#nowhere"), "the repository has no ref \"nowhere\""),
        (format!("{url}#v1:nowhere"), "the repository has no directory \"nowhere\""),
        (format!("{url}#v1:file"), "is no directory"),
        (format!("{url}#{}", "0".repeat(40)), "cannot fetch"),
        (git.web.url("none.git"), "404"),
        (format!("{url}#main:../.."), "leads out of the repository"),
        (format!("{url}#--upload-pack=x"), "looks like an option"),
        (format!("{url}?tag=v1&branch=v1"), "branch conflicts with tag"),
    ] {
        let error = add("", &source).fail(1);
        assert!(error.contains(said), "{source}: {error}");
    }
}

/// Scenario 74: the forms of a query, as a context and as ADD.
#[test]
fn query_strings() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let url = git.web.url("r.git");
    let (first, main) = (&git.first, &git.main);
    for (query, expected) in [
        ("".to_owned(), Some("main")),
        ("?ref=v1".to_owned(), Some("first")),
        ("?tag=v1".to_owned(), Some("first")),
        ("?branch=feature/x".to_owned(), Some("branch")),
        ("?branch=feature%2Fx".to_owned(), Some("branch")),
        ("?branch=v1".to_owned(), None),
        ("?tag=main".to_owned(), None),
        (format!("?ref={first}"), Some("first")),
        (format!("?ref=v1&checksum={first}"), Some("first")),
        (format!("?ref=v1&commit={}", &first[..8]), Some("first")),
        (format!("?ref=v1&checksum={main}"), None),
        (format!("?fetch-by-commit=true&checksum={first}"), Some("first")),
        (format!("?fetch-by-commit&checksum={first}#main"), Some("first")),
        (format!("?checksum={main}"), Some("main")),
        ("?ref=v1#v1".to_owned(), Some("first")),
        ("?ref=v1#main".to_owned(), None),
        ("?keep-git-dir=true".to_owned(), Some("main")),
        ("?submodules=false".to_owned(), Some("main")),
        ("?mtime=commit".to_owned(), Some("main")),
        ("?mtime=never".to_owned(), None),
        ("?unknown=1".to_owned(), None),
    ] {
        let source = format!("{url}{query}");
        let add = env.build(&format!("FROM scratch\nADD {source} /\n")).args(LEAVE).finish();
        let context = env.build("FROM scratch\nCOPY file /\n").context(&source).finish();
        for (how, finished) in [("ADD", add), ("context", context)] {
            match expected {
                Some(text) => {
                    let tree = finished.image().tree_above(0);
                    assert_eq!(tree["file"].text(), text, "{how} {query}");
                    let kept = query.contains("keep-git-dir") && how == "ADD";
                    assert_eq!(tree.contains_key(".git/HEAD"), kept, "{how} {query}");
                }
                None => assert_eq!(finished.code, Some(1), "{how} {query}: {}", finished.stderr),
            }
        }
    }
}

/// Scenario 120, and kaniko's form of it.
#[test]
fn a_context_from_git() {
    for format in ["sha1", "sha256"] {
        let env = TestEnv::new();
        let git = served(&env, format);
        let url = git.web.url("r.git");
        // Ignore files do not count in what others have put together.
        let tree = env.build("").context(&url).dockerfile("Dockerfile").succeed().tree_above(0);
        assert_eq!((tree["from/file"].text(), tree["from/run.sh"].rights().as_str()), ("main", "0755 0:0"));
        let external = |context: &str| env.build("FROM scratch\nCOPY file /\n").context(context);
        for (context, text) in [(format!("{url}#feature/x"), "branch"), (format!("{url}#refs/tags/v1"), "first"), (url.clone(), "main")] {
            assert_eq!(external(&context).succeed().tree_above(0)["file"].text(), text, "{context}");
        }
        let sub = env.build("").context(format!("{url}#:sub")).dockerfile("Dockerfile").succeed().tree_above(0);
        assert_eq!(sub["d/deep"].text(), "deep");
        let sub = env.build("").context(&url).args(["--context-sub-path", "sub"]).dockerfile("Dockerfile").succeed().tree_above(0);
        assert_eq!(sub["d/deep"].text(), "deep");
        let kaniko = format!("git://{}/r.git", git.web.address);
        let http = |context: String| external(&context).variable("GIT_PULL_METHOD", "http");
        assert_eq!(http(format!("{kaniko}#refs/heads/feature/x")).succeed().tree_above(0)["file"].text(), "branch");
        assert_eq!(http(format!("{kaniko}#refs/heads/main#{}", git.first)).succeed().tree_above(0)["file"].text(), "first");
        assert_eq!(http(kaniko.clone()).args(["--git", "branch=feature/x"]).succeed().tree_above(0)["file"].text(), "branch");
        let both = http(kaniko).args(["--git", "branch=v1", "--git", "branch=feature/x"]);
        assert_eq!(both.succeed().tree_above(0)["file"].text(), "branch", "the last counts");
        let twice = external(&format!("{url}#v1")).args(["--git", "branch=feature/x"]).finish();
        assert_eq!(twice.image().tree_above(0)["file"].text(), "first");
        assert!(twice.stderr.contains("--git branch is not needed: the URL of the context says what is built"), "{}", twice.stderr);
        let named = env.build("FROM scratch\nCOPY --from=src file /\n").arg(format!("--build-context=src={url}#v1")).succeed();
        assert_eq!(named.tree_above(0)["file"].text(), "first");
        assert!(fs::read_dir(env.path("store/tmp")).unwrap().next().is_none(), "something is left in the store");
    }
}

#[test]
fn a_commit_that_only_its_id_names() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let url = git.web.url("r.git");
    git.repository.git(&["update-ref", "refs/hidden/x", &git.branch]);
    git.repository.git(&["branch", "-D", "feature/x"]);
    let add =
        |source: &str| env.build(&format!("FROM scratch\nADD {source} /\n")).args(LEAVE).succeed().tree_above(0)["file"].text().to_owned();
    assert_eq!(add(&format!("{url}#{}", git.branch)), "branch");
    assert_eq!(add(&format!("{url}#refs/hidden/x")), "branch");
}

/// A program called ssh that says what it was told and which keys its agent has, and does it here; gives the `PATH` in which it is found.
fn fake_ssh(env: &TestEnv) -> String {
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{said}\necho \"agent $SSH_AUTH_SOCK\" >>{said}\nssh-add -L >>{said} 2>&1\nfor last; do :; done\nexec sh -c \"$last\"\n",
        said = env.path("said").display()
    );
    write(&env.path("bin/ssh"), script);
    fs::set_permissions(env.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    write(&env.path("home/.gitconfig"), "[safe]\n\tdirectory = *\n");
    format!("{}:/usr/local/bin:/usr/bin:/bin", env.path("bin").display())
}

#[test]
fn the_protocol_of_the_daemon_and_ssh() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let daemon = Daemon::start(&env.path("git"));
    let url = format!("git://127.0.0.1:{}/r/.git#v1", daemon.port);
    let build = |source: &str| env.build(&format!("FROM scratch\nADD {source} /\n"));
    assert_eq!(build(&url).args(LEAVE).succeed().tree_above(0)["file"].text(), "first");
    assert!(build(&url).fail(1).contains("lies on this machine or in a private network"));
    let path = fake_ssh(&env);
    let place = env.path("git/r/.git");
    let over_ssh = |context: String| {
        let build = env.build("FROM scratch\nCOPY file /\n").context(context).variable("PATH", &path).variable("GIT_TOKEN", "t0p");
        build.succeed().tree_above(0)["file"].text().to_owned()
    };
    assert_eq!(over_ssh(format!("git@127.0.0.1:{}#v1", place.display())), "first");
    assert_eq!(over_ssh(format!("ssh://me@127.0.0.1:2222{}#feature/x", place.display())), "branch");
    let said = fs::read_to_string(env.path("said")).unwrap();
    assert!(said.contains(&format!("-- git@127.0.0.1 git-upload-pack '{}'", place.display())), "{said}");
    assert!(said.contains("-p 2222 -- me@127.0.0.1") && said.contains("BatchMode=yes"), "{said}");
    // A Dockerfile does not use anybody's keys unasked.
    let error = build(&format!("git@127.0.0.1:{}", place.display())).args(LEAVE).variable("PATH", &path).fail(1);
    assert!(error.contains("does not use the keys of whoever builds unasked"), "{error}");
    drop(git.main);
}

#[test]
fn a_dockerfile_may_use_the_agent_that_is_forwarded() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let path = fake_ssh(&env);
    let place = env.path("git/r/.git").display().to_string();
    let dockerfile = format!("FROM scratch\nADD git@127.0.0.1:{place}#v1 /\n");
    let build = || env.build(&dockerfile).args(LEAVE).variable("PATH", &path);
    let said = || {
        let said = fs::read_to_string(env.path("said")).unwrap_or_default();
        let _ = fs::remove_file(env.path("said"));
        said
    };
    let socket = env.path("agent.sock");
    let listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (key, named) = (env.path("key"), format!("default={}", socket.display()));
    // Nobody answers there: ssh-add says so, or would wait.
    drop(listening);
    assert_eq!(build().args(["--ssh", "default"]).variable("SSH_AUTH_SOCK", &socket).succeed().tree_above(0)["file"].text(), "first");
    assert!(said().contains(&format!("agent {}\n", socket.display())));
    assert_eq!(build().args(["--ssh", &named]).variable("SSH_AUTH_SOCK", "/elsewhere").succeed().tree_above(0)["file"].text(), "first");
    assert!(said().contains(&format!("agent {}\n", socket.display())));
    // The leave of one agent is not that of another.
    let error = build().arg("--ssh").arg(format!("other={}", socket.display())).fail(1);
    assert!(error.contains("does not use the keys of whoever builds unasked") && error.contains("--ssh default"), "{error}");
    assert_eq!(said(), "");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "key-of-a-test", "-f"]).arg(&key));
    let keys = format!("default={}", key.display());
    assert_eq!(build().args(["--ssh", &keys]).succeed().tree_above(0)["file"].text(), "first");
    let public = fs::read_to_string(env.path("key.pub")).unwrap();
    assert!(said().contains(&public), "ssh finds the key with its agent");
    // The operator's own repositories use it as well.
    let context = format!("git@127.0.0.1:{place}#v1");
    let build = env.build("FROM scratch\nCOPY file /\n").context(&context).variable("PATH", &path).args(["--ssh", &keys]);
    assert_eq!(build.succeed().tree_above(0)["file"].text(), "first");
    assert!(said().contains(&public));
    assert!(fs::read_dir(env.path("store/tmp")).unwrap().next().is_none(), "something is left in the store");
    let deep = env.path("d".repeat(110));
    let error = env.build(&dockerfile).args(LEAVE).variable("PATH", &path).args(["--ssh", &keys]).store(deep).fail(1);
    assert!(error.contains("give the socket of an agent that holds them, default=SOCKET"), "{error}");
    assert_eq!(said(), "");
    drop(git.web);
}

#[test]
fn the_build_argument_keeps_the_git_directory_of_contexts() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let url = git.web.url("r.git#v1");
    let argument = |value: &str| format!("BUILDKIT_CONTEXT_KEEP_GIT_DIR={value}");
    let kept = |url: &str, values: &[&str]| {
        let main = env.build("FROM scratch\nCOPY . /\n").context(url);
        let named = env.build("FROM scratch\nCOPY --from=src . /\n").arg(format!("--build-context=src={url}"));
        [main, named].map(|build| {
            let build = build.args(values.iter().flat_map(|value| ["--build-arg".to_owned(), argument(value)]));
            let tree = build.succeed().tree_above(0);
            assert_eq!(tree["file"].text(), "first");
            tree.get(".git/HEAD").map(|head| head.text().trim().to_owned())
        })
    };
    let head = Some(git.first.clone());
    for (values, expected) in [(&["1"][..], &head), (&["true"], &head), (&["0"], &None), (&["1", "false"], &None), (&[], &None)] {
        assert_eq!(kept(&url, values), [expected.clone(), expected.clone()], "{values:?}");
    }
    // The URL itself comes first.
    let without = git.web.url("r.git?keep-git-dir=false#v1");
    assert_eq!(kept(&without, &["1"]), [None, None]);
    let dockerfile = format!("FROM scratch\nADD {url} /\n");
    let added = env.build(&dockerfile).args(LEAVE).args(["--build-arg", &argument("1")]).succeed().tree_above(0);
    assert!(!added.contains_key(".git/HEAD"), "the argument is for contexts");
}

/// Row 46 of the adversarial list, and what submodules are for.
#[test]
fn submodules() {
    let env = TestEnv::new();
    let inner = Repository::new(env.path("git/inner"), "sha1");
    inner.commit(&[("in", "inner")]);
    let middle = Repository::new(env.path("git/middle"), "sha1");
    middle.commit(&[("mid", "middle")]);
    let web = serve(&env.path("git"), |_| None);
    middle.git(&["submodule", "--quiet", "add", &web.url("inner.git"), "nested"]);
    middle.commit(&[]);
    let outer = Repository::new(env.path("git/outer"), "sha1");
    outer.commit(&[("out", "outer")]);
    outer.git(&["submodule", "--quiet", "add", &web.url("middle.git"), "a/module"]);
    // A URL that starts at the repository itself.
    outer.git(&["config", "--file", ".gitmodules", "submodule.a/module.url", "../middle.git"]);
    outer.commit(&[]);
    let url = web.url("outer.git");
    let add = |flags: &str, source: &str| env.build(&format!("FROM scratch\nADD {flags} {source} /\n")).args(LEAVE);
    let tree = add("", &url).succeed().tree_above(0);
    assert_eq!((tree["out"].text(), tree["a/module/mid"].text(), tree["a/module/nested/in"].text()), ("outer", "middle", "inner"));
    let tree = add("", &format!("{url}?submodules=false")).succeed().tree_above(0);
    assert!(tree["a/module"].kind == Kind::Directory && !tree.contains_key("a/module/mid"));
    assert_eq!(add("", &format!("{url}#:a")).succeed().tree_above(0)["module/mid"].text(), "middle");
    for bad in [
        "file:///etc",
        "/etc",
        &env.path("git/middle").display().to_string(),
        "ext::sh -c touch%20/tmp/x",
        "ssh://-oProxyCommand=x/y",
        "../../../../../x",
    ] {
        outer.git(&["config", "--file", ".gitmodules", "submodule.a/module.url", bad]);
        outer.commit(&[]);
        let error = add("", &url).fail(1);
        assert!(error.contains("which is not fetched: want http, https, ssh or git"), "{bad}: {error}");
    }
}

/// Row 46 of the adversarial list.
#[test]
fn nothing_of_a_repository_runs_or_leads_out() {
    let env = TestEnv::new();
    write(&env.path("victim"), "safe");
    let evil = Repository::new(env.path("git/evil"), "sha1");
    symlink("/", evil.path.join("root")).unwrap();
    symlink("../../../../../../victim", evil.path.join("up")).unwrap();
    let attributes = "* filter=evil\n*.txt ident eol=crlf\n";
    evil.commit(&[(".gitattributes", attributes), ("a.txt", "$Id$\nline\n"), (".githooks/post-checkout", "#!/bin/sh\ntouch /tmp/evil\n")]);
    let web = serve(&env.path("git"), |_| None);
    let url = web.url("evil.git");
    let config = format!(
        "[filter \"evil\"]\n\tsmudge = touch {0}\n[core]\n\thooksPath = .githooks\n[url \"file:///\"]\n\tinsteadOf = http://\n",
        env.path("ran").display()
    );
    write(&env.path("home/.gitconfig"), config);
    let tree = env.build(&format!("FROM scratch\nADD {url} /x/\n")).args(LEAVE).succeed().tree_above(0);
    assert_eq!((tree["x/a.txt"].text(), tree["x/root"].kind), ("$Id$\nline\n", Kind::Symlink));
    assert!(!env.path("ran").exists());
    for source in ["up", "root/etc/passwd", "root"] {
        let error = env.build(&format!("FROM scratch\nCOPY {source} /x\n")).context(&url).finish();
        assert!(error.code == Some(1) || !error.image().tree_above(0).keys().any(|path| path.contains("passwd")), "{source}");
    }
    assert_eq!(fs::read_to_string(env.path("victim")).unwrap(), "safe");
}

#[test]
fn tokens_go_to_their_host_and_are_never_shown() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    drop(git.web);
    let right = ["Basic eC1hY2Nlc3MtdG9rZW46aHVzaA==", "Basic bWU6aHVzaA==", "Basic aHVzaDo="];
    let web = serve(&env.path("git"), move |seen| match seen.header("authorization") {
        Some(value) if right.contains(&value) => None,
        Some(_) => Some(Reply::status(403)),
        None => Some(Reply::status(401).header("WWW-Authenticate", "Basic realm=\"git\"")),
    });
    let other = Web::serve(|_| Reply::status(404));
    let url = web.url("r.git");
    let add = |source: &str| env.build(&format!("FROM scratch\nADD {source} /\n")).args(LEAVE).args(["--verbosity", "debug"]);
    let secret = |id: &str| format!("--secret=id={id},env=THE_TOKEN");
    let host = format!("GIT_AUTH_TOKEN.{}", web.address);
    let finished = add(&url).arg(secret(&host)).variable("THE_TOKEN", "hush").finish();
    assert_eq!(finished.image().tree_above(0)["file"].text(), "main");
    assert!(!finished.stderr.contains("hush"), "{}", finished.stderr);
    // Without a host it is for what the operator names, and for nothing that a Dockerfile does.
    let error = add(&url).arg(secret("GIT_AUTH_TOKEN")).variable("THE_TOKEN", "hush").fail(1);
    assert!(error.contains("401") && error.contains("--secret id=GIT_AUTH_TOKEN.127.0.0.1"), "{error}");
    let context = || env.build("FROM scratch\nCOPY file /\n").context(&url);
    assert!(context().arg(secret("GIT_AUTH_TOKEN")).variable("THE_TOKEN", "hush").succeed().tree_above(0).contains_key("file"));
    assert!(context().variable("GIT_TOKEN", "hush").succeed().tree_above(0).contains_key("file"));
    assert!(context().variable("GIT_USERNAME", "me").variable("GIT_PASSWORD", "hush").succeed().tree_above(0).contains_key("file"));
    let with_user = url.replace("http://", "http://me:hush@");
    assert!(env.build("FROM scratch\nCOPY file /\n").context(&with_user).succeed().tree_above(0).contains_key("file"));
    let kept = env.build("FROM scratch\nCOPY . /\n").context(format!("{with_user}?keep-git-dir=1")).succeed().tree_above(0);
    assert!(!kept[".git/config"].text().contains("hush"), "{}", kept[".git/config"].text());
    let wrong = env.build("FROM scratch\nCOPY file /\n").context(url.replace("http://", "http://me:s3cret@")).fail(1);
    assert!(wrong.contains("403") && !wrong.contains("s3cret"), "{wrong}");
    let elsewhere = add(&other.url("r.git")).arg(secret(&host)).arg(secret("GIT_AUTH_TOKEN")).variable("THE_TOKEN", "hush").fail(1);
    assert!(elsewhere.contains("404"), "{elsewhere}");
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_none()), "{:?}", other.seen());
}

#[test]
fn servers_that_do_not_behave() {
    let env = TestEnv::new();
    let git = served(&env, "sha1");
    let there = git.web.url("r.git/info/refs?service=git-upload-pack");
    let web = Web::serve(move |seen| match seen.path() {
        "/moved.git/info/refs" => Reply::to(301, &there),
        "/away.git/info/refs" => Reply::to(302, "http://169.254.169.254/r.git/info/refs?service=git-upload-pack"),
        "/dumb.git/info/refs" => Reply::ok("0000 refs/heads/main\n").header("Content-Type", "text/plain"),
        "/nonsense.git/info/refs" => Reply::ok("zzzz").header("Content-Type", "application/x-git-upload-pack-advertisement"),
        _ => Reply::status(500),
    });
    let add = |name: &str| env.build(&format!("FROM scratch\nADD {} /\n", web.url(name))).args(LEAVE);
    assert_eq!(add("moved.git").succeed().tree_above(0)["file"].text(), "main");
    for (name, said) in [
        ("away.git", "lies on this machine or in a private network"),
        ("dumb.git", "'dumb' protocol is not supported"),
        ("nonsense.git", "cannot fetch"),
        ("broken.git", "500"),
    ] {
        let error = add(name).fail(1);
        assert!(error.contains(said), "{name}: {error}");
    }
    let limited = env.build(&format!("FROM scratch\nADD {} /\n", git.web.url("r.git"))).args(LEAVE).args(["--max-download-size", "1k"]);
    assert!(limited.fail(1).contains("is larger than 1024 bytes"));
}
