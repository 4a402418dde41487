//! Builds by a user without any rights: whatever runs no command.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::support::{Kind, Registry, TestEnv};

const USER: u32 = 4242;

#[test]
fn a_build_without_commands_needs_no_rights() {
    let env = TestEnv::new();
    env.file("app/run", "#!/bin/sh\necho ran\n");
    let destination = Registry::open().fresh();
    let dockerfile = r"
FROM {registry}/base/busybox:latest AS parts
COPY app /parts
FROM {registry}/base/debian:latest
WORKDIR /srv/app
COPY --chown=daemon:daemon --chmod=755 app ./
COPY --from=parts /parts /parts
COPY --from=parts /etc/passwd /parts/
ADD --chown=12:34 app/run /root/
USER www-data
";
    let finished = env.build(dockerfile).by_user(USER).push_to(&destination).finish();
    let image = finished.image();
    let tree = image.tree_above(1);
    assert_eq!(tree["srv/app"].rights(), "0755 0:0");
    assert_eq!(tree["srv/app/run"].rights(), "0755 1:1", "names are looked up in the base");
    assert_eq!(tree["parts/run"].rights(), "0644 0:0", "the builder's own user is nowhere in the image");
    assert!(tree["parts/passwd"].text().contains("nobody:x:65534"));
    assert_eq!(tree["root/run"].rights(), "0644 12:34");
    assert!(
        !tree.get("root").is_some_and(|entry| entry.kind == Kind::Directory && entry.mode != 0o700),
        "a folder of the base keeps its mode"
    );
    let owner = fs::metadata(env.path("store")).expect("the store").uid();
    assert_eq!(owner, USER);

    // As root the same comes of it.
    let as_root = env.build(dockerfile).store(env.path("root-store")).succeed();
    assert_eq!(as_root.diff_ids(), image.diff_ids());
}

#[test]
fn a_command_without_rights_fails_with_a_hint() {
    let env = TestEnv::new();
    let error =
        env.build("FROM {registry}/base/busybox:latest\nENV A=1\nRUN echo hi\n").by_user(USER).args(["--isolation", "none"]).fail(1);
    assert!(error.contains("RUN echo hi"), "{error}");
    assert!(error.contains("hint: "), "{error}");
}
