//! Names, kinds and changes that are rare, under every isolation: the same layers, entry by entry and byte by byte.

use std::fs;
use std::process::Command;

use crate::isolation_differential::{self as differential, compare, prepared};
use crate::support::{Image, Kind, TestEnv, run};

/// `OWNERS` stands for what changes owners, which a user with a single id cannot.
const ODD: &str = r#"
FROM base AS one
RUN <<'EOF'
set -e
mkdir /f && cd /f
# Names: every byte that a name may have, line ends, the longest; links to the like.
perl -e 'my $all = join "", map { chr } grep { $_ != 47 } 1..255; my $long = "n" x 255;
  for ($all, "line\nend", "\n", "tab\t\033[31m", "\\n", "=", "a=b\n9 path=x\n", "w.wh.", ".w", $long) { open my $file, ">", $_ or die "$_: $!"; print $file "of $_" }
  mkdir "dir\n\xff" or die; mkdir "dir\n\xff/$long" or die; open my $file, ">", "dir\n\xff/$long/$long" or die;
  symlink "to\n\xff\t" . "x" x 4000, "link\n" or die; link "line\nend", "hard\nlink" or die; link $long, "m" x 255 or die'
# A path as long as paths can be: 4,095 bytes.
perl -e 'my $left = 4095 - length "f/p"; mkdir "p" or die; chdir "p" or die;
  while ($left > 256) { my $n = $left > 400 ? 200 : $left - 201; mkdir "d" x $n or die "$n $!"; chdir "d" x $n or die; $left -= $n + 1 }
  open my $file, ">", "e" x ($left - 1) or die $!; print $file "deep"'
# Every kind, to become every other one.
mkdir types; cd types
for was in file dir full link fifo hard; do
  for is in file dir full link fifo hard none; do
    case $was in
      file) printf was >$was-$is ;; dir) mkdir $was-$is ;; full) mkdir -p $was-$is/a/b; printf was >$was-$is/a/f; printf was >$was-$is/f ;;
      link) ln -s full-link $was-$is ;; fifo) mkfifo $was-$is ;; hard) printf was >$was-$is; ln $was-$is $was-$is.other ;;
    esac
  done
done
cd ..
for n in mode owner xattr unxattr time nano content size atime same attr-dir xattr-dir unxattr-dir time-dir; do
  case $n in *-dir) mkdir only-$n; printf in >only-$n/in ;; *) printf "only $n" >only-$n ;; esac
done
ln -s nowhere only-link-time; ln -s nowhere only-link-owner; mkfifo only-fifo-mode
mkdir -p again/same/sub again/other/sub again/later/sub empty swap-a swap-b/in chain/x/y holder/sub; for d in again/*; do printf 1 >$d/f; printf 2 >$d/sub/f; done
printf a >swap-a/f; printf b >swap-b/in/f; printf y >chain/x/y/f; printf s >holder/f; printf s >holder/sub/f
printf one >shared; ln shared shared2; ln shared holder/shared3; printf lone >lone; printf two >pair; ln pair pair2
printf gone >for-socket; printf stays >beside-socket
perl -e 'open my $f, ">", "holes" or die; for (1048577, 4194304, 6000000) { seek $f, $_, 0; print $f "data at $_" } truncate $f, 8388609'
truncate -s 5000000 all-hole
perl -e 'sub set { my ($p, $n, $v) = @_; syscall(188, $p, $n, $v, length $v, 0) == 0 or die "$p $n $!" }
  set("only-unxattr", "user.note", "x"); set("only-unxattr-dir", "user.note", "x"); set("shared", "user.shared", "\0\n=\xff"); set("empty", "user.empty", "");
  set("lone", "user.large", "v" x 2000); set("lone", "user.$_", "v$_") for 1..20; set("pair", "security.capability", "\1\0\0\2\0\4" . "\0" x 14)'
find . -execdir touch -h -d @1000000000.123456789 {} +
EOF
RUN <<'EOF'
set -e
cd /f
perl -e 'my $all = join "", map { chr } grep { $_ != 47 } 1..255;
  rename "line\nend", "line\nmoved" or die; unlink "\n" or die; open my $file, ">>", $all or die; print $file "+"; rename "n" x 255, "o" x 255 or die'
cd types
for was in file dir full link fifo hard; do
  for is in file dir full link fifo hard none; do
    rm -r $was-$is
    case $is in
      file) printf is >$was-$is ;; dir) mkdir $was-$is ;; full) mkdir -p $was-$is/a; printf is >$was-$is/a/f ;;
      link) ln -s full-link $was-$is ;; fifo) mkfifo $was-$is ;; hard) printf is >$was-$is; ln $was-$is $was-$is.new ;;
    esac
  done
done
find . -execdir touch -h -d @1100000000.5 {} +
cd ..
chmod 4711 only-mode; chmod 622 only-fifo-mode; chmod 1777 only-attr-dir
touch -d @1100000000 only-time only-time-dir; touch -d @1000000000.123456788 only-nano; touch -h -d @5 only-link-time; touch -a -d @7 only-atime
cp -p only-content t; printf 'ONLY content' >only-content; touch -r t only-content
cp -p only-size t; printf more >>only-size; touch -r t only-size; cat only-same >t2; cat t2 >only-same; touch -r t only-same; rm t t2
perl -e 'sub set { my ($p, $n, $v) = @_; syscall(188, $p, $n, $v, length $v, 0) == 0 or die "$p $n $!" }
  set("only-xattr", "user.note", "new\n"); set("only-xattr-dir", "user.note", "new"); syscall(197, my $p = $_, my $n = "user.note") == 0 or die $! for "only-unxattr", "only-unxattr-dir"'
rm -r again/same; mkdir -p again/same/sub; printf 1 >again/same/f; printf 2 >again/same/sub/f
rm -r again/other; mkdir again/other; printf 3 >again/other/g; rm -r again/later
rmdir empty; mkdir empty
mv swap-a t; mv swap-b swap-a; mv t swap-b; mv chain/x/y z; mv chain z/chain; mv holder held; rm held/sub/f; ln held/shared3 held/sub/shared4
ln lone lone2; ln held/f next; mv pair2 pair3; printf x >>pair
rm for-socket
perl -e 'use IO::Socket::UNIX; for ("new-socket", "for-socket", "held/socket") { IO::Socket::UNIX->new(Local => $_, Listen => 1) or die "$_: $!" }'
perl -e 'open my $f, "+<", "holes" or die; seek $f, 2000000, 0; print $f "more"'
OWNERS
find again empty swap-a swap-b z held lone lone2 next pair pair3 shared shared2 holes types -execdir touch -h -d @1100000000.5 {} +
find . only-attr-dir only-xattr-dir only-unxattr-dir -maxdepth 0 -execdir touch -d @1100000000.5 {} +
perl -e 'my $all = join "", map { chr } grep { $_ != 47 } 1..255; utime 1100000000, 1100000000, $all, "line\nmoved", "o" x 255 or die'
EOF
# What the step before left is what the next one finds: no sockets, whichever way it is run. Only content changes, beside what was left out.
RUN <<'EOF'
set -e
cd /f
ls -A . held again types >listed; ls -A again >/f/only-same
printf more >>held/shared3; printf more >>beside-socket; mkdir -p again/later/sub; printf 4 >again/later/f
find listed held/shared3 held/sub/shared4 beside-socket again/later only-same -execdir touch -d @1200000000 {} +
find again . -maxdepth 0 -execdir touch -d @1200000000 {} +
EOF
RUN <<'EOF'
set -e
cd /f
cp -p beside-socket t; rm t; printf again >>beside-socket; printf again >>held/shared3; chmod 600 z/chain/x
find beside-socket held/shared3 -execdir touch -d @1300000000 {} +; touch -d @1300000000 .
EOF
FROM one
COPY --from=one /f /g
RUN <<'EOF'
set -e
cd /g
rm -r types/full-full types/dir-full again/same; mkdir again/same; mv held held2; printf c >>shared
perl -e 'chdir "p" or die; while (1) { my ($d) = glob "d*"; last unless $d; chdir $d or die } my ($f) = glob "e*"; unlink $f or die'
find . -execdir touch -h -d @1400000000 {} +
EOF
"#;

const OWNERS: &str = "chown 4:5 only-owner only-attr-dir; chown -h 6:7 only-link-owner";

/// What others than the superuser of the machine, and what layers in memory, can have: no backend lacks `user.*` or `security.capability`.
fn check(image: &Image, owners: bool) {
    let first = image.layer(1);
    let deepest = first.keys().map(String::len).max();
    assert_eq!(deepest, Some(4095), "the longest path");
    let every: String = String::from_utf8_lossy(&(1..=255).filter(|byte| *byte != b'/').collect::<Vec<u8>>()).into_owned();
    assert_eq!(first[&format!("f/{every}")].content.len(), 3 + 254);
    assert_eq!((first["f/hard\nlink"].text(), first["f/line\nend"].link.as_str()), ("of line\nend", "f/hard\nlink"));
    assert_eq!((first["f/lone"].xattrs.len(), first["f/lone"].xattrs["user.large"].len()), (21, 2000));
    assert_eq!(first["f/pair"].xattrs["security.capability"].len(), 20);
    assert_eq!(first["f/shared"].xattrs["user.shared"], b"\0\n=\xff");
    assert_eq!((first["f/holes"].size, first["f/all-hole"].size), (8_388_609, 5_000_000));
    assert_eq!(first["f/shared2"].kind, Kind::Hardlink);

    let second = image.layer(2);
    let only: Vec<&str> = second.keys().filter_map(|path| path.strip_prefix("f/only-")).collect();
    let mut wanted = vec![
        "attr-dir",
        "content",
        "fifo-mode",
        "link-time",
        "mode",
        "nano",
        "size",
        "time",
        "unxattr",
        "unxattr-dir",
        "xattr",
        "xattr-dir",
    ];
    if owners {
        wanted.extend(["link-owner", "owner"]);
        wanted.sort_unstable();
    }
    assert_eq!(only, wanted, "neither what was only read, nor what is as it was, nor what lies in a directory that changed");
    assert_eq!(second["f/only-content"].text(), "ONLY content");
    assert!(second["f/only-unxattr"].xattrs.is_empty() && second["f/only-xattr-dir"].xattrs["user.note"] == b"new");
    for path in
        ["f/.wh.for-socket", "f/.wh.holder", "f/.wh.line\nend", "f/again/.wh.later", "f/again/same/.wh..wh..opq", "f/empty/.wh..wh..opq"]
    {
        assert!(second.contains_key(path), "{path:?} is not there");
    }
    assert!(second.contains_key(&format!("f/.wh.{}", "n".repeat(255))));
    for kind in ["file", "dir", "full", "link", "fifo", "hard"] {
        assert!(second.contains_key(&format!("f/types/.wh.{kind}-none")));
        assert_eq!(second[&format!("f/types/{kind}-link")].kind, Kind::Symlink);
        assert_eq!(second[&format!("f/types/{kind}-dir")].kind, Kind::Directory);
    }
    assert!(!image.tree_above(1).keys().any(|path| path.ends_with("socket") && !path.ends_with("beside-socket")));
}

/// kaniko-asks 14 and 15, as far as commands can take them: names of any bytes and of the greatest length, every kind in the place of every
/// other one, directories made anew, renames, names shared with lower layers, and files of which one thing alone changed.
#[test]
fn what_is_rare_makes_the_same_layers_everywhere() {
    let env = TestEnv::new();
    prepared(&env);
    let text = ODD.replace("OWNERS", OWNERS);
    let wanted = differential::build(&env, &text, "overlay");
    check(&wanted, true);
    for isolation in ["chroot", "rootless"] {
        compare(isolation, &differential::build(&env, &text, isolation), &wanted);
    }
    compare("in-place", &differential::build_in_container(&env, &text, differential::IN_PLACE), &wanted);
    // The store is the container's own filesystem, so that layers are unpacked into memory.
    compare("in memory", &differential::build_in_container(&env, &text, &[]), &wanted);
    // Unpacked from those layers, it is what it was, wherever that is.
    fs::remove_dir_all(env.path("base")).expect("it can be removed");
    run(Command::new("cp").arg("-r").arg(&wanted.layout).arg(env.path("base")));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(env.path("base")));
    let look = "FROM base\nRUN cd / && { find f g ! -type d -printf '%p %y %m %U %G %T@ %s %l\\n'; find f g -type d -printf '%p %m %U %G %T@\\n'; } | sort | \
                sha256sum >/seen && { find f g -type f ! -name all-hole ! -path '*/ddd*' -print0 | sort -z | xargs -0 sha256sum | sha256sum; } >>/seen\n";
    let seen = |image: &Image| image.layer(-1)["seen"].text().to_owned();
    let first = seen(&differential::build(&env, look, "overlay"));
    for isolation in ["chroot", "rootless"] {
        assert_eq!(seen(&differential::build(&env, look, isolation)), first, "{isolation}");
    }
    assert_eq!(seen(&differential::build_in_container(&env, look, differential::IN_PLACE)), first, "in place");
}

#[test]
fn what_is_rare_needs_no_subordinate_ids() {
    let env = TestEnv::new();
    prepared(&env);
    let text = ODD.replace("OWNERS", "");
    let wanted = differential::build(&env, &text, "overlay");
    check(&wanted, false);
    compare("a single id", &differential::build(&env, &text, "single"), &wanted);
}

/// Row 18 of the adversarial list: a path beyond what a program can name is an error, and goes with the build.
#[test]
fn a_path_that_is_too_long_is_an_error_everywhere() {
    let env = TestEnv::new();
    prepared(&env);
    let text = "FROM base\nRUN perl -e 'for (1..25) { mkdir \"d\" x 200 or die; chdir \"d\" x 200 or die }'\n";
    for isolation in ["overlay", "chroot", "rootless"] {
        let finished = differential::attempt(&env, text, isolation);
        assert_eq!(finished.code, Some(1), "{isolation}: {}", finished.stderr);
        assert!(finished.stderr.contains("longer than 4095 bytes"), "{isolation}: {}", finished.stderr);
        let store = env.path(if isolation == "rootless" { "store".to_owned() } else { format!("store-{isolation}") });
        assert_eq!(fs::read_dir(store.join("tmp")).expect("the store is there").count(), 0, "{isolation}");
    }
}
