//! The Dockerfiles of examples/ build and do what their pages say.

use crate::support::container::podman;
use crate::support::{Registry, TestEnv, repository, run};

fn dockerfile(name: &str) -> String {
    std::fs::read_to_string(repository().join("examples").join(name).join("Dockerfile")).expect("an example has a Dockerfile")
}

#[test]
fn hello() {
    let env = TestEnv::new();
    let registry = Registry::open();
    let destination = registry.fresh();
    env.build(&dockerfile("hello"))
        .context(repository().join("examples/hello"))
        .args(["--build-arg", &format!("BASE={}", registry.reference("base/busybox:latest"))])
        .push_to(&destination)
        .succeed();
    assert!(podman(&env, &destination, &[]).starts_with("Hello from an image"));
}

#[test]
fn multi_stage() {
    let env = TestEnv::new();
    let context = env.path("site");
    run(std::process::Command::new("cp").arg("-r").arg(repository().join("examples/multi-stage")).arg(&context));
    run(std::process::Command::new(repository().join("examples/busybox-rootfs.sh")).arg(context.join("rootfs.tar")));
    let destination = Registry::open().fresh();
    let image = env
        .build(&dockerfile("multi-stage"))
        .context(&context)
        .args(["--build-arg", "BASE=rootfs", "--build-arg", "VERSION=9"])
        .push_to(&destination)
        .succeed();
    let tree = image.tree_above(1);
    assert!(tree["srv/www/index.html"].text().contains("<h1>A small site</h1>\n<p>"), "{}", tree["srv/www/index.html"].text());
    assert_eq!(tree["srv/www/style.css"].rights(), "0444 65534:65534");
    assert!(!tree.contains_key("work/index.txt"), "the sources stay behind");
    assert_eq!(podman(&env, &destination, &["--list"]), "the site, version 9:\nabout.html\nindex.html\nstyle.css\n");
}
