//! One set of Dockerfiles under every isolation: the same layers, entry by entry and byte by byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::container::static_build;
use crate::support::{Finished, Image, TestEnv, Tree, run};

const USER: u32 = 4244;

/// Every kind of file and every kind of change. Each command sets the times of what it touched, so that the clock is in no layer.
const KINDS: &str = r#"
FROM base AS one
RUN <<EOF
set -e
mkdir -p /w/dir/deep/deeper /w/empty/within /w/gone/a/b /w/opaque/x /w/tofile /w/order
cd /w
printf one >first; ln first second; ln first dir/third
printf two >alone; printf three >tolink; printf four >todir; printf five >same; printf six >touched; printf seven >mode; printf cap >capable
ln -s ../up up; ln -s /absolute/nowhere nowhere; ln -s tolink samelink
mkfifo fifo fifo2; chmod 622 fifo2
printf x >suid; chown 12:34 suid; chmod 4755 suid
printf x >sgid; chown 0:65533 sgid; chmod 2711 sgid
mkdir sticky setgid; chmod 1777 sticky; chown 7:8 setgid; chmod 2775 setgid
chown -h 5:6 up; chown 9 fifo
truncate -s 3M sparse; printf end >>sparse; truncate -s 4M sparse
long=$(printf '%0200d' 7); mkdir -p "long/$long/$long"; printf deep >"long/$long/$long/$long"; ln -s "$long/$long/$long" longlink
bytes=$(printf 'n\377\001 x\\y'); printf raw >"$bytes"; printf 'umlaut' >'ü'; printf s >' lead'; printf d >-dash; printf w >wh.not
printf old >gone/a/b/file; printf old >opaque/old; printf old >opaque/x/old; printf f >tofile/f
for n in 3 1 2 10; do printf $n >order/$n; done
perl -e '$n="user.note"; for ("/w/alone", "/w/sticky") { syscall(188, my $p=$_, $n, my $v="two\tparts\0x", 11, 0) == 0 or die $! }'
perl -e 'for ("/w/mode", "/w/capable") { syscall(188, my $p=$_, my $n="security.capability", my $v="\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0) == 0 or die $! }'
find /w -exec touch -h -d @1000000000.123456789 {} +
touch -d @-5.5 alone; touch -d @4000000000 mode; touch -h -d @1.000000001 up
EOF
RUN <<EOF
set -e
cd /w
printf changed >second                       # one name of three
chown 3:4 dir/third
rm -r gone; rm -r opaque; mkdir -p opaque/x; printf new >opaque/x/new
rm -r tofile; printf now-a-file >tofile; rm todir; mkdir todir; printf in >todir/in
rm tolink; ln -s alone tolink; rm samelink; printf now >samelink; rm fifo2; mkdir fifo2
mv dir/deep renamed; mv order order2; mv alone dir/alone
cat same >same2; cat same2 >same; rm same2    # written, and the same as before
chmod 600 touched; chmod 644 touched          # as it was
chmod 2500 setgid; rmdir empty/within; mkdir empty/other
perl -e 'syscall(188, my $p="/w/sticky", my $n="user.note", my $v="other", 5, 0) == 0 or die $!'
perl -e 'syscall(197, my $p="/w/mode", my $n="security.capability") == 0 or die $!'
printf more >>sparse; ln sparse sparse2
touch -h -d @1000000000.123456789 same touched mode sticky
find . second sparse sparse2 dir renamed opaque tofile todir tolink samelink fifo2 order2 setgid empty -maxdepth 0 -exec touch -h -d @1100000000.5 {} +
find opaque todir empty -exec touch -h -d @1100000000.5 {} +
EOF
# The base's own files: one name of two, an empty directory, a removed tree, another owner all over a directory.
RUN <<EOF
set -e
for file in /usr/bin/perl5*; do printf '#' >>$file; touch -d @1200000000 $file; done
rm -rf /usr/share/perl5 /etc/skel; mkdir /etc/skel; chmod 755 /root; chown -R 1:2 /etc/security
cp -a /etc/passwd /etc/passwd.new; printf 'x:x:9:9::/:/bin/sh\n' >>/etc/passwd.new; mv /etc/passwd.new /etc/passwd
ln /etc/group /etc/group2
touch -d @1200000000 /usr/bin /usr/share /etc /etc/skel /etc/passwd /etc/group
EOF
RUN true
USER 33:33
RUN id -u | grep -qx 33
USER 0
RUN chmod 711 /w/renamed && chown 0:0 /w/first && touch -d @1300000000 /w/first && rm -r /w/long && touch -d @1300000000 /w
FROM one
COPY --from=one /w /copied
COPY --from=one --chown=44:45 /w/dir /w/setgid /owned/
RUN rm -r /copied/opaque && mv /copied/renamed /copied/again && touch -d @1400000000 /copied /copied/again && cp -a /owned /twice && rm /owned/alone && touch -d @1400000000 /owned /twice
"#;

/// What a command is lent is in no layer, wherever it is put, and what it writes beside it is.
const MOUNTS: &str = r#"
FROM base AS tools
RUN mkdir -p /t/s && printf tool >/t/s/tool && touch -d @1000000000 /t /t/s /t/s/tool
FROM base
COPY app /app
RUN --mount=type=cache,target=/new/cache --mount=type=cache,target=/app/cache,id=two,mode=700 <<EOF
set -e
test -d /new/cache && printf c >/new/cache/c && printf d >/app/cache/d && printf out >/out1
touch -d @1000000000 /out1
EOF
RUN --mount=type=cache,target=/elsewhere,id=two,mode=700 test "$(cat /elsewhere/d)" = d
RUN --mount=type=bind,target=/src --mount=type=bind,from=tools,source=/t/s,target=/app/sub --mount=type=bind,from=tools,source=/t/s/tool,target=/usr/bin/tool <<EOF
set -e
test "$(cat /src/app/run)" = run && test "$(cat /app/sub/tool)" = tool && test "$(cat /usr/bin/tool)" = tool
printf beside >/app/beside; touch -d @1000000000 /app/beside /app
EOF
RUN --mount=type=secret,id=word --mount=type=secret,id=word,target=/etc/group,mode=444 --mount=type=secret,id=word,target=/s/w,env=WORD <<EOF
set -e
grep -q hidden /run/secrets/word && grep -q hidden /etc/group && test "$WORD" = hidden
EOF
RUN --mount=type=tmpfs,target=/tmp --mount=type=tmpfs,target=/a/b/c printf t >/tmp/t && printf t >/a/b/c/t && printf k >/a/kept && touch -d @1000000000 /a/kept /a
RUN test ! -e /run/secrets && test ! -e /src && test ! -e /elsewhere && test ! -e /new && test ! -e /app/cache && test -f /app/sub/file && test ! -e /a/b && test -e /a/kept
"#;

/// Nothing runs.
const COPIES: &str = r"
FROM base
WORKDIR /srv/new
COPY app ./app
COPY --chown=12:34 --chmod=4755 app/run ./suid
COPY --chown=daemon app/ /etc/skel/
ADD packed.tar /packed
USER 33
COPY app /by-user
USER 0
COPY --from=base /etc/passwd /usr/bin/perl /from/
COPY <<one <<two /texts/
1
one
2
two
";

/// Devices, where whoever runs the command may make them.
const DEVICES: &str = r"
FROM base
RUN mknod /null c 1 3 && mknod /disk b 8 300 && chmod 640 /disk && chown 1:6 /disk && touch -d @1000000000 /null /disk
RUN rm /null && mknod /null c 1 5 && chmod 600 /disk && touch -d @1100000000 /null /disk
";

pub fn prepared(env: &TestEnv) {
    env.file("app/run", "run");
    env.file("app/sub/file", "file");
    run(Command::new("tar").arg("-C").arg(env.path("context/app")).arg("-cf").arg(env.path("context/packed.tar")).arg("."));
    let touched =
        ["context/app/run", "context/app/sub/file", "context/app/sub", "context/app", "context/packed.tar"].map(|name| env.path(name));
    run(Command::new("touch").args(["-d", "@900000000"]).args(touched));
    fs::write(env.path("word"), "hidden").expect("a file can be written");
    let bases = std::env::var_os("LAYERWRIGHT_TEST_BASES").expect("run ./test, which makes the bases");
    run(Command::new("cp").arg("-r").arg(Path::new(&bases).join("debian")).arg(env.path("base")));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(env.path("base")).arg(env.path("word")));
}

/// In this place, by this program.
pub fn attempt(env: &TestEnv, dockerfile: &str, isolation: &str) -> Finished {
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let word = format!("id=word,src={}", env.path("word").display());
    let build = env.build(dockerfile).args(["--build-context", &base, "--secret", &word]);
    let (finished, wanted) = match isolation {
        "rootless" => {
            (build.by_user(USER).with_subordinate_ids().store(env.path("store")).finish(), "overlay, rootless with subordinate ids")
        }
        "single" => (build.by_user(USER).store(env.path("store")).finish(), "overlay, rootless with a single id"),
        isolation => (build.args(["--isolation", isolation]).store(env.path(format!("store-{isolation}"))).finish(), isolation),
    };
    assert!(finished.stderr.contains(&format!("isolation: {wanted}")), "{}", finished.stderr);
    finished
}

pub fn build(env: &TestEnv, dockerfile: &str, isolation: &str) -> Image {
    attempt(env, dockerfile, isolation).image()
}

pub const IN_PLACE: &[&str] = &["--isolation", "in-place"];

/// In a container, whose files are used up.
pub fn build_in_container(env: &TestEnv, dockerfile: &str, isolation: &[&str]) -> Image {
    fs::write(env.path("Dockerfile"), dockerfile).expect("a file can be written");
    let name = format!("in-container-{}", crate::support::unique());
    let layout = format!("/test/{name}");
    let arguments = ["build", "--no-push", "--context", "/test/context", "--dockerfile", "/test/Dockerfile"];
    let more = ["--build-context", "base=oci-layout:///test/base", "--secret", "id=word,src=/test/word", "--store", "/store"];
    let all: Vec<&str> = arguments.iter().chain(&more).chain(isolation).copied().chain(["--oci-layout-path", &layout]).collect();
    let output = static_build(env, &["--cap-add", "MKNOD,NET_RAW,AUDIT_WRITE,SETFCAP"], &all);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let wanted = if isolation.is_empty() { "isolation: overlay, rootless with every id" } else { "isolation: in-place" };
    assert!(said.contains(wanted), "{said}");
    Image::read(&env.path(name))
}

fn build_in_place(env: &TestEnv, dockerfile: &str) -> Image {
    build_in_container(env, dockerfile, IN_PLACE)
}

/// Says where two images differ, before it is said that they do.
pub fn compare(what: &str, found: &Image, wanted: &Image) {
    let layers = |image: &Image| (0..image.layers()).map(|n| image.layer(isize::try_from(n).expect("few"))).collect::<Vec<Tree>>();
    for (n, (found, wanted)) in layers(found).iter().zip(&layers(wanted)).enumerate().skip(1) {
        let mut differences = Vec::new();
        for path in found.keys().chain(wanted.keys()).collect::<BTreeSet<_>>() {
            if found.get(path) != wanted.get(path) {
                differences.push(format!("{path:?}\n  is     {:?}\n  wanted {:?}", found.get(path), wanted.get(path)));
            }
        }
        assert!(differences.is_empty(), "{what}, layer {n}:\n{}", differences.join("\n"));
    }
    assert_eq!(found.diff_ids(), wanted.diff_ids(), "{what}: the entries are the same, the bytes are not");
}

/// kaniko-asks 13, 14 and 15: owners, modes, links, removals and attributes are Docker's, wherever the commands run.
#[test]
fn every_kind_of_change_makes_the_same_layers_everywhere() {
    let env = TestEnv::new();
    prepared(&env);
    let wanted = build(&env, KINDS, "overlay");
    let tree = wanted.tree_above(1);
    assert_eq!(tree["copied/suid"].rights(), "4755 12:34");
    assert_eq!(tree["copied/dir/alone"].xattrs["user.note"], b"two\tparts\0x");
    assert_eq!(tree["copied/capable"].xattrs["security.capability"].len(), 20, "also where a directory was copied");
    assert_eq!((tree["copied/up"].rights().as_str(), tree["copied/up"].link.as_str()), ("0777 5:6", "../up"));
    for isolation in ["chroot", "rootless"] {
        compare(isolation, &build(&env, KINDS, isolation), &wanted);
    }
    compare("in-place", &build_in_place(&env, KINDS), &wanted);
}

#[test]
fn what_is_mounted_is_in_no_layer_anywhere() {
    let env = TestEnv::new();
    prepared(&env);
    let wanted = build(&env, MOUNTS, "overlay");
    let tree = wanted.tree_above(1);
    let paths: Vec<&str> = tree.keys().map(String::as_str).collect();
    assert!(!paths.iter().any(|path| path.contains("secrets") || path.contains("cache") || path.contains("src")), "{paths:?}");
    for isolation in ["chroot", "rootless"] {
        compare(isolation, &build(&env, MOUNTS, isolation), &wanted);
    }
    compare("in-place", &build_in_place(&env, MOUNTS), &wanted);
}

/// kaniko-asks 13: a copy is root's, whoever the user is, and has the mode of its source.
#[test]
fn copies_make_the_same_layers_everywhere() {
    let env = TestEnv::new();
    prepared(&env);
    let wanted = build(&env, COPIES, "none");
    assert_eq!(wanted.tree_above(1)["by-user/run"].rights(), "0644 0:0", "a copy is root's, whatever USER says");
    for isolation in ["overlay", "chroot", "rootless"] {
        compare(isolation, &build(&env, COPIES, isolation), &wanted);
    }
    compare("in-place", &build_in_place(&env, COPIES), &wanted);
    // A command before them has them made on a mounted tree.
    let running = COPIES.replacen("FROM base\n", "FROM base\nRUN true\n", 1);
    let wanted = build(&env, &running, "overlay");
    for isolation in ["chroot", "rootless"] {
        compare(isolation, &build(&env, &running, isolation), &wanted);
    }
}

/// kaniko-asks 15: devices are kept, in what a command makes and in what it finds.
#[test]
fn devices_make_the_same_layers_where_they_may_be_made() {
    let env = TestEnv::new();
    prepared(&env);
    let wanted = build(&env, DEVICES, "overlay");
    compare("chroot", &build(&env, DEVICES, "chroot"), &wanted);
    compare("in-place", &build_in_place(&env, DEVICES), &wanted);
}
