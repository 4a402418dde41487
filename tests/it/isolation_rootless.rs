//! Commands run by an ordinary user, who is root in a user namespace of the builder's.

use crate::support::{Build, TestEnv};

const USER: u32 = 4243;

/// Makes, links, replaces and removes; sets every time that it leaves, so that the same layers come of it wherever it runs.
const DOCKERFILE: &str = r"
FROM {registry}/base/busybox:latest
WORKDIR /srv/app
COPY --chown=12:34 app ./
RUN mkdir -p /opt/d/old && echo one >/opt/d/old/one && chmod 1777 /opt/d && ln /srv/app/run /srv/app/again && mkfifo /opt/fifo && ln -s ../etc /opt/link && touch -h -d @1000000000 /srv/app/* /srv/app /opt/* /opt/d/old/one /opt/d/old /opt/d /opt
RUN rm -r /opt/d && mkdir /opt/d && echo two >/opt/d/two && rm /bin/wget && chmod 700 /srv/app/run && touch -h -d @1000000000 /opt/d/two /opt/d /opt /bin /srv/app/run
";

fn files(env: &TestEnv) {
    env.file("app/run", "#!/bin/sh\necho ran\n");
    std::fs::File::options()
        .write(true)
        .open(env.path("context/app/run"))
        .expect("the file was made")
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("the owner may set times");
}

fn as_root(env: &TestEnv, dockerfile: &str) -> Vec<String> {
    env.build(dockerfile)
        .store(env.path("root-store"))
        .args(["--isolation", "overlay"])
        .succeed()
        .diff_ids()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn rootless<'a>(env: &'a TestEnv, dockerfile: &str) -> Build<'a> {
    env.build(dockerfile).by_user(USER)
}

#[test]
fn subordinate_ids_give_the_layers_that_root_makes() {
    let env = TestEnv::new();
    files(&env);
    let dockerfile = format!(
        "{DOCKERFILE}RUN echo x >/opt/owned && chown 5:6 /opt/owned && touch -d @1000000000 /opt/owned /opt\nUSER 7:8\nRUN id -u | grep 7\n"
    );
    let finished = rootless(&env, &dockerfile).with_subordinate_ids().finish();
    assert!(finished.stderr.contains("isolation: overlay, rootless with subordinate ids"), "{}", finished.stderr);
    let image = finished.image();
    assert_eq!(image.tree_above(0)["opt/owned"].rights(), "0644 5:6");
    assert_eq!(image.diff_ids(), as_root(&env, &dockerfile));
}

#[test]
fn a_single_id_gives_the_layers_that_root_makes_and_keeps_the_owners_of_copies() {
    let env = TestEnv::new();
    files(&env);
    let finished = rootless(&env, DOCKERFILE).finish();
    assert!(finished.stderr.contains("isolation: overlay, rootless with a single id"), "{}", finished.stderr);
    assert!(finished.stderr.contains("/etc/subuid"), "what is missing is said: {}", finished.stderr);
    let image = finished.image();
    assert_eq!(image.tree_above(0)["srv/app/run"].rights(), "0700 12:34");
    assert_eq!(image.diff_ids(), as_root(&env, DOCKERFILE));
}

#[test]
fn another_user_than_root_needs_subordinate_ids() {
    let env = TestEnv::new();
    let error = rootless(&env, "FROM {registry}/base/busybox:latest\nUSER 1000\nRUN id\n").fail(1);
    assert!(error.contains("user 1000:0 does not exist in the builder's user namespace"), "{error}");
    assert!(error.contains("/etc/subuid"), "{error}");
}
