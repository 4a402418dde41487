//! What goes over the wire, counted by a proxy before a registry: nothing that is there already, and nothing twice.

use std::time::Duration;

use crate::support::proxy::{Fault, Passed, Proxy};
use crate::support::{Image, Registry, TestEnv};

fn bytes(passed: &[Passed]) -> Vec<&Passed> {
    passed.iter().filter(|passed| passed.brings_blob()).collect()
}

#[test]
fn a_second_push_of_the_same_image_sends_no_blob() {
    let env = TestEnv::new();
    env.file("file", "content");
    let proxy = Proxy::counting(&Registry::open().address);
    let destination = format!("{}/test/{}:latest", proxy.address, crate::support::unique());
    let dockerfile = format!("FROM {}/base/busybox:latest\nCOPY file /file\nENV A=1\n", proxy.address);
    let build = || env.build(&dockerfile).variable("SOURCE_DATE_EPOCH", "0").push_to(&destination).succeed();
    let first = build();
    let sent = proxy.take();
    assert_eq!(bytes(&sent).len(), 2, "the new layer and the configuration: {sent:?}");
    let second = build();
    let sent = proxy.take();
    assert_eq!(first.digest, second.digest);
    assert!(bytes(&sent).is_empty(), "{sent:?}");
}

#[test]
fn a_base_in_the_same_registry_is_mounted() {
    let env = TestEnv::new();
    env.file("file", "content");
    let proxy = Proxy::counting(&Registry::open().address);
    let destination = format!("{}/test/{}:latest", proxy.address, crate::support::unique());
    let dockerfile = format!("FROM {}/base/busybox:latest\nCOPY file /file\n", proxy.address);
    let image = env.build(&dockerfile).push_to(&destination).succeed();
    let sent = proxy.take();
    let mounts: Vec<&Passed> =
        sent.iter().filter(|passed| passed.target.contains("mount=") && passed.target.contains("from=base")).collect();
    assert_eq!(mounts.len(), image.layers() - 1, "{sent:?}");
    assert!(mounts.iter().all(|mount| mount.status == 201), "{mounts:?}");
    assert_eq!(bytes(&sent).len(), 2, "{sent:?}");
}

#[test]
fn several_destinations_share_blobs_and_tags_change_last() {
    let env = TestEnv::new();
    env.file("one", "1");
    env.file("two", "2");
    let proxy = Proxy::counting(&Registry::open().address);
    let names: Vec<String> = (0..3).map(|_| format!("{}/test/{}", proxy.address, crate::support::unique())).collect();
    let destinations = [format!("{}:a", names[0]), format!("{}:b", names[0]), format!("{}:a", names[1]), format!("{}:a", names[2])];
    let build = env.build("FROM scratch\nCOPY one /\nCOPY two /\n");
    let image = destinations.iter().fold(build, |build, destination| build.push_to(destination)).succeed();
    let sent = proxy.take();
    assert_eq!(bytes(&sent).len(), 3, "two layers and the configuration, once for all: {sent:?}");
    let is_tag = |passed: &Passed| passed.method == "PUT" && passed.target.contains("/manifests/");
    let first_tag = sent.iter().position(is_tag).expect("tags are set");
    assert_eq!(sent.iter().filter(|passed| is_tag(passed)).count(), destinations.len());
    let late: Vec<&Passed> = sent[first_tag..].iter().filter(|passed| passed.target.contains("/blobs/")).collect();
    assert!(late.is_empty(), "a tag changed before everything else had arrived: {late:?}");
    for destination in &destinations {
        assert_eq!(Image::pull(&env, destination).digest, image.digest);
    }
}

#[test]
fn an_image_of_thirty_layers_moves_in_parallel_over_few_connections() {
    let env = TestEnv::new();
    let mut dockerfile = "FROM scratch\n".to_owned();
    for index in 0..30 {
        env.file(&format!("file{index}"), format!("{index}"));
        dockerfile.push_str(&format!("COPY file{index} /\n"));
    }
    let address = Registry::open().address;
    let slow = || Proxy::start(&address, Duration::from_millis(30), |_, _| Fault::None);
    let name = crate::support::unique();
    let up = slow();
    let image = env.build(&dockerfile).push_to(&format!("{}/test/{name}:latest", up.address)).succeed();
    assert_eq!(image.layers(), 30);
    assert!((2..=20).contains(&up.most_at_once()), "{} requests at once", up.most_at_once());

    let down = slow();
    env.file("more", "more");
    let built = env.build(&format!("FROM {}/test/{name}:latest\nCOPY more /\n", down.address)).store(env.path("other")).succeed();
    assert_eq!(built.layers(), 31);
    assert!((2..=8).contains(&down.most_at_once()), "{} downloads at once", down.most_at_once());
}
