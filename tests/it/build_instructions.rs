//! Every standard instruction, and what it leaves in the image; other runtimes run the result.

use serde_json::json;

use crate::support::container::{buildah, podman, runc};
use crate::support::{Image, Kind, Registry, TestEnv, run};

const COMMON: &str = r#"
FROM {registry}/base/busybox:latest
ARG VERSION=1.0
LABEL org.example.version=$VERSION org.example.note="two words"
ENV GREETING="hello world" PATH=/opt/bin:$PATH
WORKDIR /srv/app
COPY --chown=1:1 --chmod=640 conf/ ./conf/
ADD extra.tar.gz /opt/
RUN echo "$GREETING $VERSION" > out.txt && mkdir -p /opt/bin && printf '#!/bin/sh\necho tool\n' > /opt/bin/tool && chmod 755 /opt/bin/tool
USER daemon:daemon
RUN ["sh", "-c", "id -u > /tmp/uid; pwd >> /tmp/uid"]
EXPOSE 8080 53/udp
VOLUME /data
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --retries=3 CMD tool
SHELL ["/bin/sh", "-ec"]
MAINTAINER somebody
ENTRYPOINT ["sh", "-c"]
CMD ["cat /srv/app/out.txt; tool; id -u; pwd"]
ONBUILD RUN true
"#;

#[test]
fn the_common_instructions_on_busybox() {
    let env = TestEnv::new();
    env.file("conf/main.conf", "key = value\n");
    run(std::process::Command::new("sh")
        .current_dir(env.path("context"))
        .args(["-c", "mkdir -p t/lib && echo from-archive > t/lib/x && tar --owner=7 --group=8 -C t -czf extra.tar.gz lib && rm -r t"]));
    let destination = Registry::open().fresh();
    let image = env.build(COMMON).push_to(&destination).succeed();

    assert_eq!(
        image.setting("Env"),
        &json!(["PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GREETING=hello world"])
    );
    assert_eq!(image.setting("WorkingDir"), "/srv/app");
    assert_eq!(image.setting("User"), "daemon:daemon");
    assert_eq!(image.setting("ExposedPorts"), &json!({ "8080/tcp": {}, "53/udp": {} }));
    assert_eq!(image.setting("Volumes"), &json!({ "/data": {} }));
    assert_eq!(image.setting("StopSignal"), "SIGQUIT");
    assert_eq!(image.setting("Healthcheck"), &json!({ "Test": ["CMD-SHELL", "tool"], "Interval": 5_000_000_000_u64, "Retries": 3 }));
    assert_eq!(image.setting("Shell"), &json!(["/bin/sh", "-ec"]));
    assert_eq!(image.setting("Entrypoint"), &json!(["sh", "-c"]));
    assert_eq!(image.setting("Cmd"), &json!(["cat /srv/app/out.txt; tool; id -u; pwd"]));
    assert_eq!(image.setting("OnBuild"), &json!(["RUN true"]));
    assert_eq!(image.setting("Labels"), &json!({ "org.example.version": "1.0", "org.example.note": "two words" }));
    assert_eq!(image.config["author"], "somebody");
    assert_eq!(image.config["os"], "linux");

    let tree = image.tree_above(1);
    assert_eq!(tree["srv/app"].rights(), "0755 0:0");
    assert_eq!(tree["srv/app/conf/main.conf"].rights(), "0640 1:1");
    assert_eq!(tree["srv/app/conf/main.conf"].text(), "key = value\n");
    assert_eq!(tree["opt/lib/x"].rights(), "0644 7:8");
    assert_eq!(tree["srv/app/out.txt"].text(), "hello world 1.0\n");
    assert_eq!(tree["tmp/uid"].text(), "1\n/srv/app\n");
    assert_eq!(tree["tmp/uid"].rights(), "0644 1:1");

    let said = "hello world 1.0\ntool\n1\n/srv/app\n";
    assert_eq!(podman(&env, &destination, &[]), said);
    assert_eq!(runc(&env, &image, &[]), said);
    assert_eq!(Image::pull(&env, &destination).digest, image.digest, "what was pushed is what was written");
    assert_eq!(buildah(&env, &destination)["FromImageDigest"], json!(image.digest));
}

#[test]
fn a_command_leaves_only_its_own_changes() {
    let env = TestEnv::new();
    let image = env.build("FROM {registry}/base/busybox:latest\nRUN echo x > /etc/new && ls /proc /sys /dev > /dev/null && hostname && cat /etc/resolv.conf /etc/hosts > /dev/null\n").succeed();
    let layer = image.layer(-1);
    let others: Vec<_> =
        layer.iter().filter(|(path, entry)| *path != "etc/new" && !(entry.kind == Kind::Directory && *path == "etc")).collect();
    assert!(others.is_empty(), "more than the command's change: {others:?}");
    assert_eq!(layer["etc/new"].text(), "x\n");
}

#[test]
fn a_command_without_changes_makes_no_files() {
    let env = TestEnv::new();
    let image = env.build("FROM {registry}/base/busybox:latest\nRUN true\nCMD [\"x\"]\n").succeed();
    assert!(image.tree_above(1).is_empty(), "{:?}", image.tree_above(1));
    assert_eq!(runc(&env, &image, &["echo", "ran"]), "ran\n");
}

#[test]
fn ten_commands_on_debian_make_ten_small_layers() {
    let env = TestEnv::new();
    let commands: String = (0..10).map(|number| format!("RUN echo {number} > /opt/f{number}\n")).collect();
    let destination = Registry::open().fresh();
    let image = env.build(&format!("FROM {{registry}}/base/debian:bookworm\n{commands}")).push_to(&destination).succeed();
    assert_eq!(image.layers(), 11);
    for number in 0..10 {
        let layer = image.layer(number + 1);
        assert_eq!(layer[&format!("opt/f{number}")].text(), format!("{number}\n"));
        assert!(layer.len() <= 2, "layer {number} has more than the file and its folder: {:?}", layer.keys());
    }
    assert_eq!(podman(&env, &destination, &["sh", "-c", "cat /opt/f*"]), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

#[test]
fn debian_tools_work_in_a_command() {
    let env = TestEnv::new();
    let image = env
        .build(
            r#"
FROM {registry}/base/debian:latest
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN useradd --create-home --uid 1234 app && dpkg -s apt > /dev/null && test "$(id -u)" = 0
RUN [[ $(apt-get --version) == apt* ]] && perl -e 'print "perl\n"' && test -c /dev/null && grep -q ' / ' /proc/mounts
USER app
WORKDIR /home/app
RUN echo "$HOME $(whoami)" > who; [[ -O who ]]; ! touch /etc/forbidden 2> /dev/null
"#,
        )
        .succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["home/app/who"].text(), "/home/app app\n");
    assert_eq!(tree["home/app/who"].rights(), "0644 1234:1234");
    assert!(tree["etc/passwd"].text().contains("app:x:1234:1234:"));
    assert!(!tree.contains_key("etc/forbidden"));
    assert_eq!(runc(&env, &image, &["bash", "-c", "whoami; cat ~/who"]), "app\n/home/app app\n");
}

#[test]
fn heredocs() {
    let env = TestEnv::new();
    let image = env
        .build(
            r#"
FROM {registry}/base/busybox:latest
ENV NAME=world
RUN <<EOF
set -e
word=hello
echo "$word $NAME" > /shell
EOF
RUN <<-"EOT"
	#!/bin/awk -f
	BEGIN { print "by awk" > "/awk" }
EOT
COPY <<ONE <<"TWO" /files/
one: $NAME \$NAME
ONE
two: $NAME
TWO
COPY --chmod=0755 <<-RUNME /bin/runme
	#!/bin/sh
	echo ran
RUNME
RUN cat <<A >> /shell && runme >> /shell
from stdin: $NAME
A
"#,
        )
        .succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["awk"].text(), "by awk\n", "the first line names the interpreter");
    assert_eq!(tree["shell"].text(), "hello world\nfrom stdin: world\nran\n");
    assert_eq!(tree["files/ONE"].text(), "one: world $NAME\n");
    assert_eq!(tree["files/TWO"].text(), "two: $NAME\n");
    assert_eq!(tree["bin/runme"].rights(), "0755 0:0");
}

#[test]
fn build_arguments_and_labels() {
    let env = TestEnv::new();
    let dockerfile = r#"
ARG BASE=nonsense
FROM {registry}/base/${BASE}:latest
ARG WORD=default
ARG SECOND=${WORD}-and-more
ARG UNSET
LABEL word=$WORD from=file
RUN echo "$WORD $SECOND [${UNSET-none}]" > /words; echo "${BASE-out of scope}" >> /words
ENV WORD=env
RUN echo "$WORD" >> /words
"#;
    let image = env
        .build(dockerfile)
        .args(["--build-arg", "BASE=busybox", "--build-arg", "WORD=given", "--label", "from=flag", "--label", "new=1"])
        .succeed();
    assert_eq!(image.tree_above(1)["words"].text(), "given given-and-more [none]\nout of scope\nenv\n");
    assert_eq!(image.setting("Labels"), &json!({ "word": "given", "from": "flag", "new": "1" }));
    assert_eq!(image.variable("SECOND"), None, "a build argument is no variable of the image");
    assert_eq!(image.variable("WORD"), Some("env"));
}

#[test]
fn platform_arguments() {
    let env = TestEnv::new();
    let image = env
        .build("FROM --platform=$BUILDPLATFORM {registry}/base/busybox:latest\nARG TARGETOS TARGETARCH TARGETPLATFORM\nENV P=$TARGETOS/$TARGETARCH=$TARGETPLATFORM\n")
        .args(["--custom-platform", "linux/amd64"])
        .succeed();
    assert_eq!(image.variable("P"), Some("linux/amd64=linux/amd64"));
}

#[test]
fn the_history_tells_how_the_image_was_made() {
    let env = TestEnv::new();
    env.file("a", "a");
    let image = env.build("FROM {registry}/base/busybox:latest\nENV A=1\nRUN echo hi > /hi\nCOPY a /a\nCMD [\"x\"]\n").succeed();
    let history = image.config["history"].as_array().expect("a history");
    let told: Vec<_> =
        history.iter().skip(1).map(|entry| (entry["created_by"].as_str().expect("text"), entry["empty_layer"] == true)).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    for ((text, empty), (word, expected)) in
        told.iter().zip([("ENV A=1", true), ("echo hi > /hi", false), ("COPY a /a", false), ("CMD [\"x\"]", true)])
    {
        assert!(text.contains(word), "{text:?} does not tell of {word:?}");
        assert_eq!(*empty, expected, "{text}");
    }
}

#[test]
fn mounts_of_a_command() {
    let env = TestEnv::new();
    env.file("input", "from the context\n");
    env.file("token", "not for the image\n");
    let secret = env.path("context/token");
    let dockerfile = r"
FROM {registry}/base/busybox:latest AS tools
RUN echo tool > /tool
FROM {registry}/base/busybox:latest
RUN --mount=type=bind,target=/ctx --mount=type=bind,from=tools,source=/tool,target=/mnt/tool cat /ctx/input /mnt/tool > /out
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
RUN --mount=type=cache,target=/cache echo cached > /cache/file
RUN --mount=type=cache,target=/cache cat /cache/file >> /out
RUN --mount=type=secret,id=token test -s /run/secrets/token && wc -c < /run/secrets/token >> /out
";
    let image = env.build(dockerfile).arg("--secret").arg(format!("id=token,src={}", secret.display())).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "from the context\ntool\ncached\n18\n");
    let files: Vec<_> = tree.iter().filter(|(_, entry)| entry.kind != Kind::Directory).map(|(path, _)| path.as_str()).collect();
    assert_eq!(files, ["out"], "nothing of what was mounted stays");
}
