//! The images that take kaniko's place, built by the one command of host/images.

use std::process::Command;

use serde_json::json;

use crate::support::container::podman;
use crate::support::pipeline::{build_images, images};
use crate::support::registry::setting;
use crate::support::{Image, Kind, TestEnv, run, write};

#[test]
fn executor_has_kanikos_layout() {
    let env = TestEnv::new();
    let image = Image::pull(&env, &format!("{}/executor:v0", images()));
    assert_eq!(*image.setting("Entrypoint"), json!(["/kaniko/executor"]));
    assert_eq!(*image.setting("WorkingDir"), json!("/workspace"));
    assert_eq!(*image.setting("Cmd"), json!(null));
    assert_eq!(*image.setting("Volumes"), json!(null));
    assert!(image.setting("User").as_str().is_none_or(str::is_empty));
    for (name, value) in [
        ("HOME", "/root"),
        ("USER", "root"),
        ("PATH", "/usr/local/bin:/kaniko"),
        ("SSL_CERT_DIR", "/kaniko/ssl/certs"),
        ("DOCKER_CONFIG", "/kaniko/.docker/"),
        ("DOCKER_CREDENTIAL_GCR_CONFIG", "/kaniko/.config/gcloud/docker_credential_gcr_config.json"),
    ] {
        assert_eq!(image.variable(name), Some(value), "{name}");
    }
    let tree = image.tree_above(0);
    let mut names: Vec<_> = tree.keys().map(String::as_str).filter(|path| !path.is_empty()).collect();
    names.sort_unstable();
    let wanted = [
        "etc",
        "etc/nsswitch.conf",
        "kaniko",
        "kaniko/.docker",
        "kaniko/executor",
        "kaniko/ssl",
        "kaniko/ssl/certs",
        "kaniko/ssl/certs/ca-certificates.crt",
        "workspace",
    ];
    assert_eq!(names, wanted);
    assert_eq!(tree["kaniko"].rights(), "0777 0:0");
    assert_eq!(tree["kaniko/executor"].rights(), "0755 0:0");
    assert_eq!(tree["workspace"].rights(), "0755 0:0");
    assert_eq!(tree["etc/nsswitch.conf"].text(), "hosts: files dns\n");
    assert!(tree["kaniko/ssl/certs/ca-certificates.crt"].size > 10_000);
}

/// kaniko-asks 10, G661: there is a shell, and all that a script needs.
#[test]
fn debug_has_a_shell_and_warmer_beside_the_executor() {
    let env = TestEnv::new();
    let debug = Image::pull(&env, &format!("{}/executor:v0-debug", images()));
    let plain = Image::pull(&env, &format!("{}/executor:latest", images()));
    assert_eq!(debug.diff_ids()[..plain.layers()], plain.diff_ids()[..], "it is the executor and more");
    assert_eq!(*debug.setting("Entrypoint"), json!(["/kaniko/executor"]));
    assert_eq!(*debug.setting("WorkingDir"), json!("/workspace"));
    assert_eq!(*debug.setting("Volumes"), json!({ "/busybox": {} }));
    assert_eq!(debug.variable("PATH"), Some("/usr/local/bin:/kaniko:/busybox"));
    let tree = debug.tree_above(0);
    assert_eq!((tree["bin/sh"].kind, tree["bin/sh"].link.as_str()), (Kind::Symlink, "/busybox/sh"));
    assert_eq!((tree["kaniko/warmer"].kind, tree["kaniko/warmer"].link.as_str()), (Kind::Symlink, "executor"));
    assert_eq!(tree["kaniko"].rights(), "0777 0:0");
    for name in ["sh", "cp", "mkdir", "tar", "base64"] {
        assert!(tree.contains_key(&format!("busybox/{name}")), "{name}");
    }
    for shell in ["/bin/sh", "/busybox/sh", "sh"] {
        let entrypoint = format!("--entrypoint={shell}");
        let said = podman_with(&env, "executor:debug", &[&entrypoint], &["-c", "id -u; pwd; ls -d /kaniko/warmer; which executor"]);
        assert_eq!(said, "0\n/workspace\n/kaniko/warmer\n/kaniko/executor\n", "{shell}");
    }
}

#[test]
fn warmer_starts_as_warmer() {
    let env = TestEnv::new();
    let image = Image::pull(&env, &format!("{}/warmer:v0", images()));
    assert_eq!(*image.setting("Entrypoint"), json!(["/kaniko/warmer"]));
    assert_eq!(image.tree_above(0)["kaniko/warmer"].rights(), "0755 0:0");
    assert!(!image.tree_above(0).contains_key("kaniko/executor"));
    assert!(podman(&env, &format!("{}/warmer:latest", images()), &["--help"]).contains("Usage: warmer"));
}

/// Nothing of the container is needed but the program: it is static.
#[test]
fn the_program_starts_where_there_is_nothing_else() {
    let env = TestEnv::new();
    let said = podman(&env, &format!("{}/executor:latest", images()), &["--help"]);
    assert!(said.contains("Usage: executor") && said.contains("--destination"), "{said}");
}

#[test]
fn images_for_another_architecture_take_its_program_and_say_so() {
    let env = TestEnv::new();
    for name in ["program", "busybox"] {
        write(&env.path(name), format!("the {name} of another machine"));
    }
    let paths = ["program", "busybox", "out"].map(|name| env.path(name).to_str().expect("UTF-8").to_owned());
    let builder = setting("LAYERWRIGHT_TEST_STATIC");
    let mut command = build_images();
    command.args(["--output", &paths[2], "--arch", "riscv64", "--program", &paths[0], "--busybox", &paths[1], "--builder", &builder]);
    run(&mut command);
    for target in ["executor", "debug", "warmer"] {
        let image = Image::read(&env.path("out").join(target));
        assert_eq!(image.config["architecture"], "riscv64");
        let name = if target == "warmer" { "kaniko/warmer" } else { "kaniko/executor" };
        assert_eq!(image.tree_above(0)[name].text(), "the program of another machine");
    }
    assert_eq!(Image::read(&env.path("out/debug")).tree_above(0)["busybox/busybox"].text(), "the busybox of another machine");
}

fn podman_with(env: &TestEnv, image: &str, options: &[&str], arguments: &[&str]) -> String {
    crate::support::pipeline::Machine::new(env).succeed(&format!("{}/{image}", images()), options, "", arguments)
}

#[test]
fn the_command_says_what_it_is_not_told() {
    let said = |arguments: &[&str]| {
        let output = crate::support::output(build_images().args(arguments));
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said(&[]).contains("nowhere to put the images"));
    assert!(said(&["--frobnicate"]).contains("unknown option --frobnicate"));
    assert!(said(&["--output", "/nonexistent", "--arch", "s390x", "--program", "/etc/passwd"]).contains("--busybox"));
    let needy = crate::support::program().to_str().expect("UTF-8");
    assert!(said(&["--output", "/nonexistent", "--program", needy]).contains("needs libraries"));
    let help = run(Command::new(build_images().get_program()).arg("--help"));
    assert!(help.contains("usage: host/images/build"), "{help}");
}
