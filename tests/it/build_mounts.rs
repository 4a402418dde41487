//! `RUN --mount` of files, caches and memory.

use std::fs;

use crate::support::{Build, Kind, TestEnv};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

fn build<'a>(env: &'a TestEnv, commands: &str) -> Build<'a> {
    env.build(&format!("{BUSYBOX}{commands}"))
}

/// What the commands wrote to `/out`.
fn out(env: &TestEnv, commands: &str, arguments: &[&str]) -> String {
    build(env, commands).args(arguments).succeed().tree_above(1)["out"].text().to_owned()
}

// scenario 75
#[test]
fn files_of_the_context_are_seen_and_leave_no_trace() {
    let env = TestEnv::new();
    env.file("dir/file", "content\n");
    env.file("ignored", "x");
    env.file(".dockerignore", "ignored\n");
    let image = build(
        &env,
        "WORKDIR /work\nRUN --mount=target=. cat dir/file > /out; ls -A >> /out\nRUN --mount=type=bind,src=dir/file,dst=/new/place/file cat /new/place/file >> /out; (echo x > /new/place/file) 2> /dev/null || echo refused >> /out\n",
    )
    .succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "content\n.dockerignore\ndir\ncontent\nrefused\n");
    assert!(!tree.contains_key("new"), "the place for it and what was made for that is gone: {:?}", tree.keys());
    let error = build(&env, "RUN --mount=src=missing,target=/m true\n").fail(1);
    assert!(error.contains("failed to mount \"/missing\": not found"), "{error}");
    let error = build(&env, "RUN --mount=src=ignored,target=/m true\n").fail(1);
    assert!(error.contains("not found"), "what is ignored is not there: {error}");
    let error = build(&env, "RUN --mount=target=/ true\n").fail(1);
    assert!(error.contains("invalid mount target \"/\""), "{error}");
}

// scenario 78; with a cache of layers in cache_keys
#[test]
fn what_is_written_to_a_bind_mount_is_thrown_away() {
    let env = TestEnv::new();
    env.file("file", "as it was\n");
    let commands = "RUN --mount=target=/m,rw echo changed > /m/file && rm -f /m/Dockerfile; touch /m/new; cat /m/file > /out\nRUN --mount=target=/m,readwrite=true cat /m/file >> /out; ls /m >> /out\n";
    assert_eq!(out(&env, commands, &[]), "changed\nas it was\nfile\n");
    assert_eq!(fs::read_to_string(env.path("context/file")).unwrap(), "as it was\n");
    assert!(!env.path("context/new").exists());
    let stages = "RUN echo base > /f\nFROM {registry}/base/busybox:latest\nRUN --mount=from=0,target=/m,rw echo x > /m/f; cat /m/f > /out\nRUN --mount=from=0,source=f,target=/m cat /m >> /out\n";
    assert_eq!(out(&env, stages, &[]), "x\nbase\n");
}

#[test]
fn a_link_in_a_source_does_not_lead_out_of_it() {
    let env = TestEnv::new();
    env.file("dir/file", "x");
    std::os::unix::fs::symlink("/etc", env.path("context/etc-link")).unwrap();
    std::os::unix::fs::symlink("../../../../../etc/hostname", env.path("context/dir/up")).unwrap();
    for source in ["etc-link", "dir/up", "etc-link/passwd"] {
        let error = build(&env, &format!("RUN --mount=source={source},target=/m cat /m\n")).fail(1);
        assert!(error.contains("not found"), "{source}: {error}");
    }
}

// scenarios 76 and 77
#[test]
fn memory_is_limited_and_not_in_the_layer() {
    let env = TestEnv::new();
    let image = build(&env, "RUN --mount=type=tmpfs,target=/mem,size=128m df -k /mem | awk 'NR == 2 { print $2 }' > /out; echo x > /mem/file\nRUN --mount=type=tmpfs,target=/tmp test -z \"$(ls -A /tmp)\"\n").succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "131072\n");
    assert!(!tree.contains_key("mem"));
}

// scenario 79
#[test]
fn a_cache_is_named_by_its_target() {
    let env = TestEnv::new();
    let commands =
        "RUN --mount=type=cache,target=/c/./x echo one > /c/x/file\nRUN --mount=type=cache,id=/c/x,target=/other cat /other/file > /out\n";
    assert_eq!(out(&env, commands, &[]), "one\n");
    assert_eq!(out(&env, "RUN --mount=type=cache,target=/c/x cat /c/x/file > /out\n", &[]), "one\n", "it outlives the build");
    let apart = ["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=other"];
    assert_eq!(out(&env, "RUN --mount=type=cache,target=/c/x ls /c/x | wc -l > /out\n", &apart), "0\n");
    let readonly = "RUN --mount=type=cache,target=/c/x,ro (echo x > /c/x/new) 2> /dev/null || cat /c/x/file > /out\n";
    assert_eq!(out(&env, readonly, &[]), "one\n");
}

// scenario 80
#[test]
fn a_cache_has_the_owner_and_mode_that_are_asked() {
    let env = TestEnv::new();
    let commands = "RUN touch /out && chmod 666 /out\nUSER 1001:1002\nRUN --mount=type=cache,target=/c,mode=0751,uid=1001,gid=1002 stat -c '%a %u %g' /c >> /out && touch /c/mine\nUSER 0\nRUN --mount=type=cache,target=/c stat -c '%a %u %g' /c >> /out; ls /c >> /out\n";
    assert_eq!(out(&env, commands, &[]), "751 1001 1002\n755 0 0\n");
}

// scenario 81
#[test]
fn options_are_expanded() {
    let env = TestEnv::new();
    env.file("a/file", "file\n");
    let commands = "ARG KIND=bind\nENV DIR=/m/n SRC=a\nRUN --mount=type=$KIND,source=${SRC}/file,target=${DIR}/file cat /m/n/file > /out\nRUN --mount=type=${NONE:-cache},id=$SRC,target=$DIR echo cached > $DIR/x\nRUN --mount=type=cache,id=a,target=/c cat /c/x >> /out\n";
    assert_eq!(out(&env, commands, &[]), "file\ncached\n");
    let error = build(&env, "ARG S=a\nRUN --mount=from=$S,target=/m true\n").fail(1);
    assert!(error.contains("'from' doesn't support variable expansion"), "{error}");
}

// scenario 82
#[test]
fn mounts_within_mounts() {
    let env = TestEnv::new();
    env.file("one/sub/file", "one\n");
    env.file("two/file", "two\n");
    let commands = "RUN --mount=source=two,target=/m/sub --mount=source=one,target=/m cat /m/sub/file > /out\n";
    assert_eq!(out(&env, commands, &[]), "two\n");
    env.file("two/file", "changed\n");
    assert_eq!(out(&env, commands, &[]), "changed\n", "a context that has changed is seen");
}

// scenario 83
#[test]
fn twenty_stages_use_nested_caches_at_once() {
    let env = TestEnv::new();
    let mut dockerfile = String::new();
    for number in 0..20 {
        dockerfile.push_str(&format!(
            "FROM {{registry}}/base/busybox:latest AS s{number}\nRUN --mount=type=cache,target=/c --mount=type=cache,target=/c/d,sharing=locked touch /c/{number} /c/d/{number} && echo {number} > /done\n"
        ));
    }
    dockerfile.push_str(BUSYBOX);
    for number in 0..20 {
        dockerfile.push_str(&format!("COPY --from=s{number} /done /done/{number}\n"));
    }
    dockerfile.push_str(
        "RUN --mount=type=cache,target=/c --mount=type=cache,target=/c/d ls /c/d | wc -l > /out; ls -p /c | grep -v / | wc -l >> /out\n",
    );
    let image = env.build(&dockerfile).succeed();
    assert_eq!(image.tree_above(1)["out"].text(), "20\n20\n");
}

#[test]
fn a_locked_cache_has_one_user_at_a_time() {
    let env = TestEnv::new();
    let stage = |name: &str| {
        format!(
            "FROM {{registry}}/base/busybox:latest AS {name}\nRUN --mount=type=cache,target=/c,sharing=locked test ! -e /c/used && touch /c/used && sleep 1 && rm /c/used && echo ok > /ok\n"
        )
    };
    let dockerfile = format!("{}{}{BUSYBOX}COPY --from=a /ok /a\nCOPY --from=b /ok /b\n", stage("a"), stage("b"));
    env.build(&dockerfile).succeed();
}

// scenario 84
#[test]
fn a_link_in_a_cache_does_not_lead_out_of_it() {
    let env = TestEnv::new();
    build(&env, "RUN --mount=type=cache,id=evil,target=/c ln -s /etc /c/absolute; ln -s ../../../../../../../../etc /c/up; mkdir /c/in; echo in > /c/in/file\n").succeed();
    for link in ["absolute", "up"] {
        let error = build(&env, &format!("RUN --mount=type=cache,id=evil,source={link},target=/m ls /m\n")).fail(1);
        assert!(error.contains("not found"), "{link}: {error}");
    }
    assert_eq!(out(&env, "RUN --mount=type=cache,id=evil,source=in,target=/m cat /m/file > /out\n", &[]), "in\n");
}

// scenario 85
#[test]
fn a_cache_that_is_set_up_starts_anew_without_the_cache() {
    let env = TestEnv::new();
    let commands = |file: &str| {
        format!(
            "RUN --mount=type=cache,target=/set,mode=0773 --mount=type=cache,target=/plain touch /set/{file} /plain/{file}; ls /set > /out; ls /plain >> /out\n"
        )
    };
    assert_eq!(out(&env, &commands("a"), &[]), "a\na\n");
    assert_eq!(out(&env, &commands("b"), &["--no-cache"]), "b\na\nb\n", "what is as it comes is kept");
    assert_eq!(out(&env, &commands("c"), &[]), "b\nc\na\nb\nc\n");
}

#[test]
fn a_cache_starts_with_what_it_is_from() {
    let env = TestEnv::new();
    let commands = "RUN mkdir -p /seed/sub && echo seed > /seed/sub/file && chmod 700 /seed && chown 3:4 /seed\nFROM {registry}/base/busybox:latest\nRUN --mount=type=cache,from=0,source=/seed,target=/c stat -c '%a %u %g' /c > /out; cat /c/sub/file >> /out; echo more > /c/sub/file\nRUN --mount=type=cache,from=0,source=/seed,target=/c cat /c/sub/file >> /out\nRUN --mount=type=cache,target=/c ls /c >> /out\n";
    assert_eq!(out(&env, commands, &[]), "700 3 4\nseed\nmore\n");
}

#[test]
fn nothing_of_a_mount_stays_but_what_a_command_put_beside_it() {
    let env = TestEnv::new();
    env.file("file", "x");
    let commands =
        "RUN --mount=source=file,target=/a/b/file --mount=type=cache,target=/c/d --mount=type=tmpfs,target=/e/f touch /c/kept; true\n";
    let image = build(&env, commands).succeed();
    let tree = image.tree_above(1);
    let paths: Vec<_> = tree.keys().filter(|path| !path.is_empty()).map(String::as_str).collect();
    assert_eq!(paths, ["c", "c/kept"]);
    assert_eq!(tree["c"].kind, Kind::Directory);
}

#[test]
fn what_is_wrong_with_a_mount_is_said() {
    let env = TestEnv::new();
    for (flag, words) in [
        ("typ=tmpfs,target=/m", "unexpected key 'typ' in 'typ=tmpfs' (did you mean type?)"),
        ("type=tmp,target=/m", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
        ("required,type=secret,id=x", "unexpected key 'required' for mount type 'bind'"),
        ("type=bind,target=/m,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,target=/m,mode=0700", "mode not allowed"),
        ("type=bind,target=/m,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=cache,target=/m,sharing=lock", "unsupported sharing value \"lock\""),
        ("type=bind,target", "must be a key=value pair"),
        ("'\"type=bind,target=/m'", "failed to parse csv mounts"),
    ] {
        let error = build(&env, &format!("RUN --mount={flag} true\n")).fail(1);
        assert!(error.contains(words), "{flag}: {error}");
    }
}
