//! Commands run by an ordinary user, who is root in a user namespace of the builder's.

use std::process::Command;

use crate::support::{Build, Entry, Kind, TestEnv, run};

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

/// Rows 13 and 14 of the adversarial list, where few owners can be set and no device be made: what a base has is in the image as it was, and
/// what a command makes of it is as much the same as there are places to keep an owner in.
#[test]
fn owners_that_cannot_be_set_are_kept_beside_the_files() {
    let env = TestEnv::new();
    let base = env
        .build(
            "FROM {registry}/base/busybox:latest\nRUN mkdir -p /o/dir /o/moved && cd /o && for f in file mode same a gone dir/in moved/in; do echo $f >$f; done && \
             ln a b && ln -s file link && ln -s file link2 && mkfifo fifo && mknod null c 1 3 && chown 12:34 file && chmod 640 file && chown 2147483646:3 mode && \
             chown -h 5:6 link link2 && chown 7:8 fifo null && chown 9:10 dir && chown 11:12 dir/in && chown 13:14 a && chown 15:16 moved moved/in same gone\n",
        )
        .args(["--isolation", "overlay"])
        .store(env.path("root-store"))
        .succeed();
    std::fs::rename(&base.layout, env.path("base")).expect("it can be moved");
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(env.path("base")));
    let context = format!("base=oci-layout://{}", env.path("base").display());
    let text = "FROM base\nRUN cd /o && test ! -e null && echo more >>file && chmod 600 mode && chmod 711 dir && mv dir/in dir/out && touch b && \
                mv moved there && rm gone && touch same && mv link renamed && touch -h -d @5 fifo && echo new >new && cp -a file copy\n\
                COPY --from=base /o/null /o/mode /copied/\n";
    let finished = rootless(&env, text).args(["--build-context", &context]).finish();
    assert!(finished.stderr.contains("isolation: overlay, rootless with a single id"), "{}", finished.stderr);
    let image = finished.image();
    assert_eq!(image.diff_ids()[..2], base.diff_ids()[..2], "what is the base's stays the base's");
    let layer = image.layer(2);
    for (path, rights) in [
        ("o/file", "0640 12:34"),
        ("o/mode", "0600 2147483646:3"),
        ("o/dir", "0711 9:10"),
        ("o/dir/out", "0644 11:12"),
        ("o/b", "0644 13:14"),
        // A directory of a layer below is not renamed but copied, by a program that does what it can.
        ("o/there", "0755 0:0"),
        ("o/there/in", "0644 0:0"),
        ("o/same", "0644 15:16"),
        ("o/new", "0644 0:0"),
        ("o/copy", "0640 0:0"),
        // These have nowhere to keep it.
        ("o/renamed", "0777 0:0"),
        ("o/fifo", "0644 0:0"),
    ] {
        assert_eq!(layer.get(path).map(Entry::rights).as_deref(), Some(rights), "{path}");
    }
    assert!(layer.contains_key("o/.wh.gone") && layer.contains_key("o/.wh.link") && layer.contains_key("o/.wh.moved"));
    assert!(!layer.contains_key("o/link2") && !layer.contains_key("o/null") && !layer.contains_key("o/.wh.null"), "what nobody touched");
    assert!(layer.values().all(|entry| entry.xattrs.is_empty()), "how owners are kept is in no layer");
    let copied = image.layer(3);
    assert_eq!((copied["copied/null"].kind, copied["copied/null"].rights().as_str()), (Kind::Device, "0644 7:8"), "recorded, not made");
    assert_eq!(copied["copied/mode"].rights(), "0644 2147483646:3");
}

#[test]
fn another_user_than_root_needs_subordinate_ids() {
    let env = TestEnv::new();
    let error = rootless(&env, "FROM {registry}/base/busybox:latest\nUSER 1000\nRUN id\n").fail(1);
    assert!(error.contains("user 1000:0 does not exist in the builder's user namespace"), "{error}");
    assert!(error.contains("/etc/subuid"), "{error}");
}
