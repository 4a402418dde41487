//! ADD of local archives.

use std::process::Command;

use crate::support::{TestEnv, run};

/// An archive in the context, made by bsdtar of a folder of the context.
fn archive(env: &TestEnv, name: &str, folder: &str, how: &[&str]) {
    let path = env.path("context").join(name);
    run(Command::new("tar")
        .args(how)
        .arg("--owner=7")
        .arg("--group=8")
        .arg("-cf")
        .arg(path)
        .arg("-C")
        .arg(env.path("context").join(folder))
        .arg("."));
}

// scenario 65
#[test]
fn archives_are_known_by_their_content() {
    let env = TestEnv::new();
    env.file("t/in/f", "f");
    for (name, how) in [("plain", &[][..]), ("gz", &["-z"]), ("bz2", &["-j"]), ("xz", &["-J"]), ("zst", &["--zstd"])] {
        archive(&env, name, "t", how);
    }
    env.file("fake.tar", "no archive");
    let dockerfile = "FROM scratch\nADD plain /p/\nADD gz /g/\nADD bz2 /b/\nADD xz /x/\nADD zst /z/\nADD --unpack=false plain /no/\nCOPY plain /c/\nADD fake.tar /f/\n";
    let tree = env.build(dockerfile).succeed().tree_above(0);
    for path in ["p/in/f", "g/in/f", "b/in/f", "x/in/f", "z/in/f"] {
        assert_eq!(tree[path].rights(), "0644 7:8", "{path}");
    }
    for path in ["no/plain", "c/plain", "f/fake.tar"] {
        assert!(tree.contains_key(path), "{path}");
    }
}

// scenarios 66, 67, 68, 69
#[test]
fn entries_stay_below_the_destination() {
    let env = TestEnv::new();
    env.file("one/etc/dnf/x", "x");
    run(Command::new("tar").arg("-cf").arg(env.path("context/a1.tar")).arg("-C").arg(env.path("context/one")).args(["etc/dnf"]));
    env.file("two/var/run/act/pid", "1");
    std::fs::hard_link(env.path("context/two/var/run/act/pid"), env.path("context/two/var/run/act/again")).expect("a link");
    run(Command::new("tar").arg("-cf").arg(env.path("context/a2.tar")).arg("-C").arg(env.path("context/two")).args(["var/run/act"]));
    std::fs::create_dir_all(env.path("context/links/var")).expect("the folder can be made");
    std::os::unix::fs::symlink("/run", env.path("context/links/var/run")).expect("the link can be made");
    let tree = env.build("FROM scratch\nCOPY links /\nADD a*.tar /\nADD --chown=100:200 a1.tar /owned/\n").succeed().tree_above(0);
    assert_eq!([tree["etc/dnf/x"].text(), tree["run/act/pid"].text(), tree["run/act/again"].text()], ["x", "1", "1"]);
    assert_eq!([tree["owned"].rights(), tree["owned/etc/dnf/x"].rights()], ["0755 100:200", "0644 100:200"]);
}

/// Some programs begin an archive with an entry without a name: it says nothing, and the archive is one all the same.
#[test]
fn an_entry_without_a_name_is_passed_over() {
    let env = TestEnv::new();
    env.file("t/f", "f");
    run(Command::new("tar").args(["--format=ustar", "-cf"]).arg(env.path("rest.tar")).arg("-C").arg(env.path("context/t")).arg("f"));
    let mut header = [0_u8; 512];
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(b"00000000000");
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let rest = std::fs::read(env.path("rest.tar")).expect("it was made");
    env.file("nameless.tar", [header.as_slice(), &rest].concat());
    let tree = env.build("FROM scratch\nADD nameless.tar /d/\n").succeed().tree_above(0);
    assert_eq!(tree["d/f"].text(), "f");
    assert!(!tree.contains_key("d/nameless.tar"));
}

/// A name that stands for a removal in a layer: BuildKit copies it, and it removes files of the base.
#[test]
fn archives_cannot_remove_files_of_the_base() {
    let env = TestEnv::new();
    env.file("t/.wh.passwd", "");
    archive(&env, "a.tar", "t", &[]);
    let error = env.build("FROM {registry}/base/busybox:latest\nADD a.tar /etc/\n").fail(1);
    assert!(error.contains(".wh."), "{error}");
}
