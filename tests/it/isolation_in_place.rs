//! Builds in place: in a tree that is the builder's own, one after the other.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use crate::support::place::Place;
use crate::support::{Image, TestEnv, write};

/// Names in the root directory of the place, but for what the test keeps there.
fn left(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(&place.folder).expect("the folder is there").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !matches!(name.as_str(), "proc" | "dev" | "test"));
    names.sort_unstable();
    names
}

/// kaniko-asks 8 and 10: several builds in one container, which has files of its own before the first.
#[test]
fn builds_follow_each_other_and_see_nothing_of_each_other() {
    let env = TestEnv::new();
    let place = Place::new(&env, "in-place");
    write(&place.folder.join("etc/mine"), "the container's");
    write(&place.folder.join("opt/tool/bin"), "the container's");
    write(&place.folder.join("keep/data"), "kept");
    let keep = ["--ignore-path", "/keep"];
    let first = "FROM base\nRUN test ! -e /etc/mine && test ! -e /opt && test -e /keep/data && echo w >/keep/written && echo 1 >/first\n";
    let image = place.image(first, &keep);
    let tree = image.tree_above(1);
    assert_eq!(tree["first"].text(), "1\n");
    assert_eq!(tree.keys().filter(|path| path.as_str() != "first").count(), 0, "{:?}", tree.keys());
    assert_eq!(fs::read_to_string(place.folder.join("keep/data")).expect("it is there"), "kept");
    // What the first one left is not the second one's, and what is not the image's is in no layer.
    let second = place.image("FROM base\nRUN test ! -e /first && echo 2 >/second\nCOPY app /app\nRUN cat /app\n", &keep);
    assert_eq!(second.tree_above(1).keys().map(String::as_str).collect::<Vec<_>>(), ["app", "second"]);
    assert!(left(&place).contains(&"second".to_owned()), "without --cleanup it stays for whoever wants to look");
    // A build that fails cleans up as well.
    let failed = place.output("FROM base\nRUN echo 3 >/third\nRUN false\n", &["--cleanup", "--ignore-path", "/keep"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(left(&place), ["keep"], "{}", String::from_utf8_lossy(&failed.stderr));
    place.image(first, &["--cleanup", "--ignore-path", "/keep"]);
    assert_eq!(left(&place), ["keep"]);
    let again = place.image("FROM base\nRUN test ! -e /first && echo 2 >/second\nCOPY app /app\nRUN cat /app\n", &["--cleanup"]);
    assert_eq!(again.layers(), second.layers());
    assert_eq!(left(&place), [""; 0], "nothing is to be kept any more");
}

/// kaniko-asks 10: in a container that is to keep its files, a root directory for each command leaves them alone.
#[test]
fn a_container_keeps_its_files_where_that_is_asked_for() {
    let env = TestEnv::new();
    let place = Place::new(&env, "in-place").with_isolation("chroot");
    write(&place.folder.join("etc/mine"), "the container's");
    let image = place.image("FROM base\nRUN test ! -e /etc/mine && test ! -e /test && echo 1 >/first\n", &[]);
    assert_eq!(image.tree_above(1)["first"].text(), "1\n");
    assert_eq!(left(&place), ["etc"]);
}

#[test]
fn two_at_once_in_one_container_are_refused() {
    let env = TestEnv::new();
    let place = Place::new(&env, "in-place");
    let mut first = place.builder("FROM base\nRUN sleep 60\n");
    let mut first = first.stderr(Stdio::null()).spawn().expect("the program starts");
    let started = std::time::Instant::now();
    while !place.folder.join("bin/busybox").exists() {
        assert!(started.elapsed().as_secs() < 30, "the first one does not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let second = place.output("FROM base\nRUN true\n", &[]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    first.kill().expect("it can be killed");
    first.wait().expect("it ends");
    assert!(!second.status.success() && said.contains("another build is under way in this container"), "{said}");
    place.image("FROM base\nRUN true\n", &[]);
}

/// A stage of five steps of which three are hits, stages that take from it, and nothing unpacked before the first step that is none: what is
/// built upon hits is what is built in mounts without a cache.
#[test]
fn a_build_that_goes_on_after_hits_makes_the_same_image() {
    let env = TestEnv::new();
    let dockerfile = |fourth: &str| {
        format!(
            "FROM base AS one
RUN mkdir -p /d/old && echo 1 >/d/old/f && ln /d/old/f /d/g && echo gone >/d/gone && mkfifo /d/fifo
COPY app /d/app
RUN rm /d/gone /bin/vi && chmod 700 /d/old && ln -s ../app /d/link
RUN test ! -e /d/gone && echo {fourth} >/d/four && cat /d/app >>/d/four && rm -r /d/old
RUN cat /d/four >/five && ls /d >>/five
FROM base AS two
RUN test ! -e /d && echo two >/two
COPY --from=one /d /from-one
RUN --mount=type=bind,from=one,target=/m ls /from-one /m/d >/list
FROM one
COPY --from=two /list /list
RUN test ! -e /two && cat /list /five >/all
"
        )
    };
    let plain = Place::new(&env, "overlay");
    let expected = ["a", "b"].map(|fourth| plain.image(&dockerfile(fourth), &["--reproducible"]));
    assert_ne!(expected[0].digest, expected[1].digest);
    for isolation in ["in-place", "chroot"] {
        let place = Place::new(&env, isolation);
        let cache = format!("--cache-repo=oci:{}", place.root().join("cache").display());
        let build = |fourth: &str| {
            drop(fs::remove_dir_all(place.folder.join("test/store")));
            let built = place.output(&dockerfile(fourth), &["--reproducible", "--cache", "--cache-copy-layers", &cache]);
            let said = String::from_utf8_lossy(&built.stderr).into_owned();
            assert!(built.status.success(), "{isolation}: {said}");
            (said.matches("] CACHED").count(), Image::read(&place.folder.join("test/image")).digest)
        };
        assert_eq!(build("a"), (0, expected[0].digest.clone()), "{isolation}");
        // Three of the first stage, and the first of the second.
        assert_eq!(build("b"), (4, expected[1].digest.clone()), "{isolation}");
        for (fourth, expected) in ["b", "a"].into_iter().zip([&expected[1], &expected[0]]) {
            let (hits, digest) = build(fourth);
            assert!(hits >= 7 && digest == expected.digest, "{isolation}: {hits} hits, {digest}");
        }
    }
}

/// What RUN can be given and told works where nothing can be mounted, or is refused in one sentence.
#[test]
fn every_option_of_a_command_works_or_is_refused() {
    let env = TestEnv::new();
    for isolation in ["chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        fs::write(place.folder.join("test/word"), "hidden").expect("a file can be written");
        let agent = place.folder.join("test/agent");
        let _agent = UnixListener::bind(&agent).expect("a socket");
        let root = place.root();
        let (secret, socket) =
            (format!("id=w,src={}", root.join("word").display()), format!("default={},raw=true", root.join("agent").display()));
        let given = ["--secret", &secret, "--ssh", &socket, "--ulimit", "nofile=123:456", "--build-arg", "http_proxy=http://p:1"];
        let text = r#"FROM base AS tools
RUN mkdir -p /t && echo tool >/t/tool
FROM base
ENV A=1
WORKDIR /srv/w
RUN ulimit -n >/out; ulimit -H -n >>/out; pwd >>/out; echo $A $http_proxy >>/out; umask >>/out
RUN --mount=type=bind,target=/ctx --mount=type=bind,from=tools,source=/t,target=/tools,rw cat /ctx/app /tools/tool >>/out && echo x >/tools/written
RUN --mount=type=bind,from=tools,source=/t,target=/tools test ! -e /tools/written
RUN --mount=type=cache,id=c,target=/c --mount=type=cache,id=c,target=/again echo kept >/c/f && test -e /again/f
RUN --mount=type=cache,id=c,target=/other,sharing=private test "$(cat /other/f)" = kept
RUN --mount=type=tmpfs,target=/tmp/t,size=1m echo x >/tmp/t/x
RUN --mount=type=secret,id=w,mode=440,gid=7 stat -c '%a %g' /run/secrets/w >>/out
RUN --mount=type=secret,id=w,env=W test "$W" = hidden
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"
RUN <<EOF
echo here >>/out
EOF
USER 1000:1000
RUN id -u >/tmp/id
"#;
        let tree = place.image(text, &given).tree_above(1);
        assert_eq!(tree["out"].text(), "123\n456\n/srv/w\n1 http://p:1\n0022\napptool\n440 7\nhere\n", "{isolation}");
        assert_eq!((tree["tmp/id"].text(), tree["tmp/id"].uid), ("1000\n", 1000), "{isolation}");
        let beside: Vec<&String> =
            tree.keys().filter(|path| !matches!(path.as_str(), "out" | "tmp" | "tmp/id" | "srv" | "srv/w")).collect();
        assert!(beside.is_empty(), "{isolation}: {beside:?}");
        for (flags, option, words) in [
            (&[][..], "--network=none", "a RUN without a network needs the isolation `overlay`"),
            (&["--allow", "security.insecure"], "--security=insecure", "a privileged RUN needs the isolation `overlay`"),
            (&["--network", "none"], "", "a RUN without a network needs the isolation `overlay`"),
        ] {
            let refused = place.output(&format!("FROM base\nRUN {option} true\n"), flags);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && said.contains(words), "{isolation}: {option}: {said}");
        }
        let hosts = place.output("FROM base\nRUN grep -q added /etc/hosts\n", &["--add-host", "added:10.1.2.3"]);
        let said = String::from_utf8_lossy(&hosts.stderr);
        match isolation {
            "chroot" => assert!(hosts.status.success(), "{said}"),
            _ => assert!(said.contains("--add-host needs the isolation `overlay` or `chroot`"), "{said}"),
        }
        let limited = place.output("FROM base\nRUN true\n", &["--pids-limit", "50"]);
        let said = String::from_utf8_lossy(&limited.stderr);
        assert!(limited.status.success() || said.contains("the limits asked for cannot be set"), "{said}");
    }
}

/// kaniko-asks 9: where a root directory is all the separation there is, the builder's files are out of sight.
#[test]
fn a_root_directory_hides_the_builder_s_files() {
    let env = TestEnv::new();
    let place = Place::new(&env, "chroot");
    write(&place.folder.join("test/home/.docker/config.json"), "{}");
    let look =
        format!("FROM base\nRUN ls {0} {0}/home/.docker /root/.docker /proc/1 >/out 2>&1; true\n", place.folder.join("test").display());
    let tree = place.image(&look, &[]).tree_above(1);
    assert!(
        !tree["out"].text().contains("config.json") && tree["out"].text().matches("No such file").count() == 4,
        "{}",
        tree["out"].text()
    );
}
