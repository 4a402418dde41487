//! Commands and layers that mean harm. Rows of the adversarial list that a whole build shows; those that an archive shows are tests of
//! the extraction, those of a mount are tests of the sandbox. Beside each build lies a canary that has to be what it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::container::static_build;
use crate::support::place::Place;
use crate::support::{Finished, Image, TestEnv, output, repository, run, write};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

/// A tree outside of every root, and what the machine's own settings are.
struct Canary {
    path: PathBuf,
    before: String,
}

impl Canary {
    fn new(env: &TestEnv) -> Self {
        let path = env.path("outside");
        write(&path.join("deep/canary"), "canary");
        write(&path.join("passwd"), "not yours");
        std::os::unix::fs::symlink("deep", path.join("link")).expect("a link");
        let before = hash(&path);
        Self { path, before }
    }

    fn sings(&self) {
        assert_eq!(hash(&self.path), self.before, "something outside of the root has changed");
    }
}

/// Of all names, kinds, modes, owners, times and contents below a path, and of the machine's accounts.
fn hash(path: &Path) -> String {
    let script = "{ find \"$1\" /etc/passwd /etc/shadow /etc/group /etc/hosts -printf '%p %y %m %U %G %T@ %C@ %n %l\\n' | sort
                   find \"$1\" /etc/passwd /etc/shadow /etc/group /etc/hosts -type f -exec sha256sum {} + | sort; } | sha256sum";
    run(Command::new("sh").args(["-c", script, "sh"]).arg(path))
}

/// Rows 23 and 24 of the adversarial list: layers, COPY, ADD and ONBUILD that name the builder's program, its store and its configuration, where all lie in the
/// very tree that is built.
#[test]
fn the_builder_in_the_tree_is_out_of_reach() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    env.file("evil", "evil");
    env.file("down/program", "evil");
    let bases = std::env::var_os("LAYERWRIGHT_TEST_BASES").expect("run ./test, which makes the bases");
    run(Command::new("cp").arg("-r").arg(Path::new(&bases).join("busybox")).arg(env.path("base")));
    // An image whose layers write to where the builder is, made where that is nothing special.
    let base = format!("base=oci-layout://{}", env.path("base").display());
    let text = "FROM base\nCOPY evil /layerwright\nCOPY evil /store/blobs/sha256/evil\nCOPY evil /store/tmp/evil\nCOPY evil /root/.docker/config.json\nONBUILD COPY down/ /store/\nONBUILD RUN head -c 4 /layerwright | grep -q ELF\n";
    let evil = env.build(text).args(["--build-context", &base]).succeed();
    fs::rename(&evil.layout, env.path("evil-image")).expect("it can be moved");
    fs::write(env.path("Dockerfile"), "FROM evil\nRUN test ! -e /store/tmp/evil && test ! -e /store/program && echo on >/went\nCOPY evil /layerwright\nRUN head -c 4 /layerwright | grep -q ELF\n")
        .expect("a file can be written");
    write(&env.path("context/home/.docker/config.json"), "{}");
    let arguments = ["build", "--no-push", "--isolation", "in-place", "--context", "/test/context", "--dockerfile", "/test/Dockerfile"];
    let more = ["--store", "/store", "--build-context", "evil=oci-layout:///test/evil-image", "--oci-layout-path", "/test/image"];
    let output = static_build(&env, &[], &arguments.into_iter().chain(more).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let tree = Image::read(&env.path("image")).tree_above(1);
    assert_eq!((tree["went"].text(), tree["layerwright"].text()), ("on\n", "evil"), "the image has what it was told to have");
    canary.sings();
}

/// Row 12 of the adversarial list: a name that would remove another file when the layer is unpacked.
#[test]
fn a_file_that_looks_like_a_deletion_is_refused() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let names = [".wh.x", "deep/.wh..wh..opq", ".wh.", ".wh..wh.plnk/x"];
    let refused = |what: &str, said: &str| assert!(said.contains("a name that means a deletion in a layer"), "{what}: {said}");
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        for name in names {
            let output = place.output(&format!("FROM base\nRUN mkdir -p $(dirname /{name}) && echo x >/{name}\n"), &[]);
            refused(&format!("{isolation}: {name}"), &String::from_utf8_lossy(&output.stderr));
            assert!(output.status.code() == Some(1) && !place.folder.join("test/image/index.json").exists(), "{isolation}: {name}");
        }
        let next = place.image("FROM base\nRUN echo y >/y\n", &[]);
        assert_eq!(next.tree_above(1).keys().collect::<Vec<_>>(), ["y"], "{isolation}: nothing is left of them");
    }
    for name in names {
        let build = env.build(&format!("{BUSYBOX}RUN mkdir -p $(dirname /{name}) && echo x >/{name}\n"));
        refused(&format!("rootless: {name}"), &build.by_user(4246).with_subordinate_ids().fail(1));
    }
    canary.sings();
}

/// Row 19 of the adversarial list: what says or means to become larger than anything is refused before it is.
#[test]
fn an_archive_that_would_fill_the_disk_is_refused() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let script = "import tarfile, gzip, sys, os
def head(size, **more):
    info = tarfile.TarInfo('f'); info.size = size; info.pax_headers = more
    return info.tobuf(tarfile.PAX_FORMAT)
os.chdir(sys.argv[1])
# 10 TiB of zeros as its header says, and as much of them as a few KiB hold.
with gzip.open('zeros.tar.gz', 'wb') as out:
    out.write(head(10 << 40)); out.write(bytes(32 << 20))
with open('holes.tar', 'wb') as out:
    out.write(head(1, **{'GNU.sparse.size': str(10 << 40), 'GNU.sparse.map': '0,1'})); out.write(bytes(512 + 1024))
with open('deep.tar', 'wb') as out:
    out.write(head(0, path='d/' * 1500 + 'f')); out.write(bytes(1024))
";
    run(Command::new("python3").args(["-c", script]).arg(env.path("context")));
    for name in ["zeros.tar.gz", "holes.tar", "deep.tar"] {
        for (text, isolation) in [("", "none"), ("RUN true\n", "overlay"), ("RUN true\n", "chroot")] {
            let store = env.path(format!("store-{name}-{isolation}"));
            let build = env.build(&format!("{BUSYBOX}{text}ADD {name} /d/\n")).args(["--isolation", isolation]).store(store.clone());
            let finished = build.finish();
            assert_eq!(finished.code, Some(1), "{name}, {isolation}: {}", finished.stderr);
            assert!(finished.stderr.contains("limit"), "{name}, {isolation}: {}", finished.stderr);
            assert!(finished.peak_kib < 150 << 10, "{name}, {isolation}: {} KiB", finished.peak_kib);
            assert_eq!(fs::read_dir(store.join("tmp")).expect("the store is there").count(), 0, "{name}, {isolation}: something is left");
        }
    }
    canary.sings();
}

/// Row 50 of the adversarial list: a cache's directory that a step swaps for a link to somewhere else, again and again, while another one mounts it.
#[test]
fn a_swapped_cache_leads_nowhere() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let outside = canary.path.display();
    let swap = format!(
        "RUN --mount=type=cache,id=c,target=/c for n in $(seq 1 400); do rm -rf /c/d; ln -s {outside} /c/d; rm /c/d; mkdir -p /c/d; done\n"
    );
    let look = "RUN --mount=type=cache,id=c,source=d,target=/m ls -R /m >/out; touch /m/written\n";
    let hidden = |what: &str, finished: &Finished| {
        // It was a link, or nothing, at that moment.
        if finished.code != Some(0) {
            return;
        }
        let tree = finished.image().tree_above(1);
        let text = tree["out"].text();
        assert!(!text.contains("canary") && !text.contains("passwd"), "{what}: {text}");
    };
    for isolation in ["overlay", "chroot"] {
        let build = |text: &str| env.build(&format!("{BUSYBOX}{text}")).args(["--isolation", isolation]).finish();
        build("RUN --mount=type=cache,id=c,target=/c mkdir -p /c/d\n").image();
        std::thread::scope(|scope| {
            let swapping = scope.spawn(|| (0..3).for_each(|_| drop(build(&swap))));
            let mut looked = 0;
            while !swapping.is_finished() || looked < 3 {
                hidden(isolation, &build(look));
                looked += 1;
            }
        });
        for path in ["../../../outside", "/../../outside", "d/../../.."] {
            hidden(isolation, &build(&format!("RUN --mount=type=cache,id=c,source={path},target=/m ls /m >/out\n")));
        }
    }
    canary.sings();
}

/// Row 50 of the adversarial list: a cache that holds a link to somewhere else, for whoever mounts what it leads to.
#[test]
fn a_link_in_a_cache_leads_nowhere() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        // In place, what has to stay out of reach is what the builder keeps in the tree.
        let outside = if isolation == "in-place" { PathBuf::from("/test") } else { canary.path.clone() };
        for target in [outside.display().to_string(), format!("../../../../../../../../..{}", outside.display())] {
            let text = format!("FROM base\nRUN --mount=type=cache,id=l,target=/c rm -rf /c/d && ln -s {target} /c/d\n");
            place.image(&text, &[]);
            let text = "FROM base\nRUN --mount=type=cache,id=l,source=d,target=/m (ls -a /m/; touch /m/written) >/out 2>&1; true\n";
            let output = place.output(text, &[]);
            if output.status.success() && isolation != "in-place" {
                let tree = Image::read(&place.folder.join("test/image")).tree_above(1);
                assert!(!tree["out"].text().contains("canary"), "{isolation}: {}", tree["out"].text());
            }
            assert!(place.folder.join("test/context/app").exists() && !place.folder.join("test/written").exists(), "{isolation}");
            assert!(place.folder.join("test/store/blobs").exists(), "{isolation}");
        }
    }
    canary.sings();
}

/// Row 51 of the adversarial list: mount points behind links out of the image, and links that a step puts in the place of a mount point's
/// parents before these are taken away again.
#[test]
fn mount_points_and_what_is_made_for_them_stay_in_the_image() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    // Empty directories and files by the names of what is taken away after a step.
    for name in ["q/b/c", "deep/t"] {
        fs::create_dir_all(canary.path.join(name)).expect("a folder");
    }
    write(&canary.path.join("q/word"), "");
    let canary = Canary { before: hash(&canary.path), ..canary };
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        write(&place.folder.join("test/word"), "lent");
        // In place, what has to stay out of reach is what the builder keeps in the tree.
        let outside = if isolation == "in-place" { "/test/kept".to_owned() } else { canary.path.display().to_string() };
        for name in ["kept/q/b/c", "kept/deep/t"] {
            fs::create_dir_all(place.folder.join("test").join(name)).expect("a folder");
        }
        write(&place.folder.join("test/kept/q/word"), "");
        let before = hash(&place.folder.join("test/kept"));
        let secret = format!("id=s,src={}", place.root().join("word").display());
        let up = "../".repeat(12);
        let mounts =
            "--mount=type=secret,id=s,target=/abs/deep/word --mount=type=tmpfs,target=/up/deep/t --mount=type=cache,target=/abs/q/b";
        // In place the command could write there itself.
        let write = if isolation == "in-place" { "true" } else { "touch /up/deep/t/x /abs/q/b/x" };
        let text = format!(
            "FROM base\nRUN ln -s {outside} /abs && ln -s {up}{outside} /up\nRUN {mounts} cat /abs/deep/word >/seen; {write}; true\n"
        );
        let output = place.output(&text, &["--secret", &secret]);
        if output.status.success() {
            let tree = Image::read(&place.folder.join("test/image")).tree_above(1);
            let beside: Vec<&String> = tree.keys().filter(|path| !["abs", "up", "seen"].contains(&path.as_str())).collect();
            assert!(beside.is_empty() && tree["seen"].text() == "lent", "{isolation}: {beside:?}");
        } else {
            // In place the link leads to what is guarded.
            assert_eq!(isolation, "in-place", "{}", String::from_utf8_lossy(&output.stderr));
        }
        // The parents, made for the mounts, are moved away, and a link takes their place.
        let mounts = "--mount=type=secret,id=s,target=/p/q/word --mount=type=tmpfs,target=/p/q/b/c --mount=type=cache,target=/p/q/deep/t";
        let swapped = format!("mv /p/q /moved 2>/dev/null; mv /p /gone 2>/dev/null; ln -s {outside} /p 2>/dev/null; true");
        let _ = place.output(&format!("FROM base\nRUN {mounts} {swapped}\n"), &["--secret", &secret]);
        assert_eq!(hash(&place.folder.join("test/kept")), before, "{isolation}: what the builder keeps has changed");
        let next = place.image("FROM base\nRUN test ! -e /p && test ! -e /gone && test ! -e /moved && echo y >/y\n", &[]);
        assert_eq!(next.tree_above(1).keys().collect::<Vec<_>>(), ["y"], "{isolation}");
    }
    canary.sings();
}

/// Rows 52 and 53 of the adversarial list: neither mount options nor privileges can be had from a Dockerfile.
#[test]
fn what_a_dockerfile_cannot_ask_for() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    for flag in [
        "type=bind,target=/m,bind-propagation=shared",
        "type=bind,target=/m,propagation=rshared",
        "type=tmpfs,target=/m,options=suid",
        "type=bind,source=/,target=/m,relabel=shared",
        "type=bind,target=/m,z",
        "type=devpts,target=/m",
    ] {
        let error = env.build(&format!("{BUSYBOX}RUN --mount={flag} true\n")).fail(1);
        assert!(
            error.contains("unexpected key") || error.contains("unsupported mount type") || error.contains("must be a key=value pair"),
            "{flag}: {error}"
        );
    }
    for (text, word) in [
        ("RUN --security=insecure true\n", "entitlement security.insecure is not allowed"),
        ("RUN --network=host true\n", "entitlement network.host is not allowed"),
        ("RUN --privileged true\n", "unknown flag: --privileged"),
        ("RUN --device=vendor.test/d=x,required true\n", "entitlement device is not allowed"),
    ] {
        // A Dockerfile that says so itself is no operator.
        let error = env.build(&format!("# allow=security.insecure\n{BUSYBOX}{text}")).fail(1);
        assert!(error.contains(word), "{text}: {error}");
    }
    canary.sings();
}

/// Row 54 of the adversarial list: a secret is read by the step, decides nothing, and is in no core that a command dumps, nor anywhere else.
#[test]
fn a_secret_is_for_its_step_alone() {
    const WORD: &str = "a-secret-for-a-core";
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        let build = |word: &str, id: &str| {
            fs::write(place.folder.join("test/word"), word).expect("a file can be written");
            let secret = format!("id={id},src={}", place.root().join("word").display());
            let text = format!(
                "FROM base\nRUN --mount=type=secret,id={id},env=S --mount=type=secret,id={id} test \"$S\" = \"$(cat /run/secrets/{id})\" && \
                 ulimit -H -c >/limit && cd /tmp && {{ sh -c 'ulimit -c unlimited; kill -SEGV $$'; ls -a /tmp >/cores; }} && head -c 8 /dev/urandom >/when\n"
            );
            place.image(&text, &["--secret", &secret, "--cache", "--cache-repo", "local:"])
        };
        let image = build(WORD, "s");
        let layer = image.layer(-1);
        assert_eq!((layer["limit"].text(), layer["cores"].text()), ("0\n", ".\n..\n"), "{isolation}: no core is dumped");
        let holds = |bytes: &[u8]| bytes.windows(WORD.len()).any(|part| part == WORD.as_bytes());
        assert!(!layer.values().any(|entry| holds(&entry.content)), "{isolation}: the layer holds it");
        assert!(!holds(image.config.to_string().as_bytes()) && !holds(image.manifest.to_string().as_bytes()), "{isolation}");
        let holding =
            output(Command::new("grep").args(["-rlaF", WORD]).arg(&place.folder).args(["--exclude-dir=proc", "--exclude-dir=dev"]));
        let word = format!("{}\n", place.folder.join("test/word").display());
        assert_eq!(String::from_utf8_lossy(&holding.stdout), word, "{isolation}: it is in the store, in a record or in the tree");
        assert_eq!(build("another value", "s").diff_ids(), image.diff_ids(), "{isolation}: the value is in the key");
        assert_ne!(build(WORD, "t").diff_ids(), image.diff_ids(), "{isolation}: the id is not in the key");
    }
    canary.sings();
}

/// Row 55 of the adversarial list: output is taken, and neither shown nor kept beyond what anybody reads. Sixteen times as much of it takes
/// no more memory and no more disk, so that ten gibibytes do not either.
#[test]
fn a_command_that_writes_without_end_fills_nothing() {
    const SOME: u64 = 32 << 20;
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let size = |path: &Path| -> u64 {
        let said = run(Command::new("du").arg("-sk").arg(path));
        said.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a size")
    };
    for (isolation, output) in [
        ("overlay", "cat /dev/zero"),
        ("chroot", "cat /dev/zero"),
        // Lines are what is shown.
        ("overlay", "yes $(head -c 4000 /dev/zero | tr '\\0' x)"),
    ] {
        let store = env.path(format!("store-{isolation}"));
        let build = |bytes: u64| {
            let text = format!("{BUSYBOX}RUN {output} | head -c {bytes}\n");
            let finished = env.build(&text).args(["--isolation", isolation]).store(store.clone()).finish();
            finished.image();
            finished
        };
        let (some, before) = (build(SOME), size(&store));
        let many = build(16 * SOME);
        assert!(many.stderr.len() < 30 << 20 && many.stderr.contains("output clipped"), "{} bytes", many.stderr.len());
        assert!(many.stderr.len() < some.stderr.len() + 4096, "{isolation}: more is shown");
        assert!(many.peak_kib < some.peak_kib + (20 << 10), "{isolation}: {} KiB, {} for less", many.peak_kib, some.peak_kib);
        assert!(many.peak_kib < 150 << 10, "{isolation}: {} KiB", many.peak_kib);
        assert!(size(&store) < before + 1024, "{isolation}: the output is kept in the store");
    }
    canary.sings();
}

/// Row 55 of the adversarial list: what a command forks ends with it.
#[test]
fn a_command_that_does_too_much_ends() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    // Processes without end, of a user who may not have so many.
    let bomb = "USER 4711\nRUN f() { f | f & }; (f) 2>/dev/null; sleep 0.5; true\n";
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        let started = Instant::now();
        let output = place.output(&format!("FROM base\n{bomb}"), &["--ulimit", "nproc=100"]);
        assert!(started.elapsed() < Duration::from_secs(60), "{isolation}: {:?}", started.elapsed());
        assert!(output.status.code().is_some(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(owned_by(4711).is_empty(), "{isolation}: {:?}", owned_by(4711));
        place.image("FROM base\nRUN true\n", &[]);
    }
    // Of root, where control groups can be made.
    let finished = env
        .build(&format!("{BUSYBOX}RUN (for n in $(seq 1 60); do sleep 60 & done) 2>&1 | grep -c 'an.t fork' >/out; true\n"))
        .args(["--pids-limit", "20"])
        .finish();
    match finished.code {
        Some(0) => assert_eq!(finished.image().tree_above(1)["out"].text(), "1\n", "{}", finished.stderr),
        _ => assert!(finished.stderr.contains("the limits asked for cannot be set"), "{}", finished.stderr),
    }
    canary.sings();
}

/// The processes of a user.
fn owned_by(user: u32) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir("/proc").expect("/proc is readable").flatten();
    entries.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == user)).map(|entry| entry.path()).collect()
}

/// A filesystem of a few MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).expect("the folder can be made");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&path));
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// Rows 55 and 73 of the adversarial list: a full disk is said, leaves nothing, and is no disk that stays full.
#[test]
fn a_full_disk_is_an_error_and_the_next_build_works() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    for isolation in ["overlay", "chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        write(&place.folder.join("test/context/large"), vec![7; 4 << 20]);
        let store = SmallDisk::new(place.folder.join("test/store"), "12m");
        for text in [
            "FROM base\nRUN dd if=/dev/urandom of=/fill bs=1M count=64\n",
            // In layers that nothing was unpacked for, and then in files.
            "FROM base\nRUN true\nCOPY large /one\nRUN head -c 6000000 /dev/urandom >/two\nRUN head -c 6000000 /dev/urandom >/three; cat /one /two >/four\nRUN cat /one /two /three >/five\n",
        ] {
            let output = place.output(text, &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{isolation}: {said}");
            assert!(said.contains("o space left on device"), "{isolation}: {said}");
            assert!(!place.folder.join("test/image/index.json").exists(), "{isolation}: half an image is there");
            assert_eq!(fs::read_dir(store.0.join("tmp")).expect("the store is there").count(), 0, "{isolation}: something is left");
        }
        let next = place.image("FROM base\nCOPY app /small\nRUN cat /small\n", &[]);
        assert_eq!(next.tree_above(1)["small"].text(), "app", "{isolation}");
    }
    canary.sings();
}

/// Row 56 of the adversarial list, and kaniko-asks 9: what a command can see of the builder, in the strong modes.
#[test]
fn the_builder_cannot_be_looked_at() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    write(&env.path("home/.docker/config.json"), "{\"auths\":{}}");
    let store = env.path("root-store");
    let look = format!(
        "RUN (tr '\\0' '\\n' </proc/1/environ; ls /proc/1/fd; ls -l /proc/self/fd; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ls {0} {1} {2}) >/out 2>&1; echo $(ls /proc | grep -c '^[0-9]') >>/out\n",
        store.display(),
        env.path("home/.docker").display(),
        canary.path.display()
    );
    for isolation in ["overlay", "rootless"] {
        let build = env.build(&format!("{BUSYBOX}{look}")).variable("BUILDER_SECRET", "known-to-the-builder");
        let build = match isolation {
            "rootless" => build.by_user(4245).with_subordinate_ids(),
            _ => build.args(["--isolation", isolation]).store(store.clone()),
        };
        let finished = build.finish();
        let text = finished.image().tree_above(1)["out"].text().to_owned();
        for hidden in ["known-to-the-builder", "config.json", "canary", "blobs", "--dockerfile", "--context"] {
            assert!(!text.contains(hidden), "{isolation}: {hidden} is visible\n{text}");
        }
        let processes: u32 = text.trim().rsplit('\n').next().and_then(|line| line.parse().ok()).expect("a number");
        assert!(processes < 10, "{isolation}: the machine's processes are visible\n{text}");
    }
    canary.sings();
}

/// Row 56 of the adversarial list: what a command sees in place is what the documentation says that it sees.
#[test]
fn what_is_visible_in_place_is_listed_as_visible() {
    let env = TestEnv::new();
    let place = Place::new(&env, "in-place");
    write(&place.folder.join("test/home/.docker/config.json"), "{}");
    let look = "RUN ls /test/home/.docker /test/context >/files; tr '\\0' '\\n' </proc/*/environ >/variables 2>/dev/null; cat /proc/[0-9]*/cmdline >/processes; true\n";
    let tree = place.image(&format!("FROM base\n{look}"), &[]).tree_above(1);
    assert!(tree["files"].text().contains("config.json") && tree["files"].text().contains("app"), "logins and the context");
    assert!(String::from_utf8_lossy(&tree["processes"].content).contains("--dockerfile"), "processes");
    let page = fs::read_to_string(repository().join("docs/isolation.md")).expect("the page is there");
    for row in ["RUN sees the builder's files", "RUN sees the builder's processes"] {
        let line = page.lines().find(|line| line.starts_with(&format!("| {row}"))).unwrap_or_else(|| panic!("no row {row:?}"));
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(cells[5].starts_with("**yes**"), "in place: {line}");
        assert!(cells[2].starts_with("no") && cells[3].starts_with("no"), "{line}");
    }
}

/// Row 57 of the adversarial list: stages side by side that change one path of their base, each in a tree of its own.
#[test]
fn stages_at_once_do_not_meet() {
    let env = TestEnv::new();
    let canary = Canary::new(&env);
    let stage = |n: u32| {
        format!(
            "{BUSYBOX}RUN for i in $(seq 1 300); do rm -rf /etc/x; ln -s {} /etc/x; rm /etc/x; mkdir /etc/x; echo {n} >/etc/x/n; test \"$(cat /etc/x/n)\" = {n} || exit 1; done; cp /etc/x/n /n\n",
            canary.path.display()
        )
    };
    let mut text = String::new();
    for n in 0..4 {
        text += &stage(n).replacen('\n', &format!(" AS s{n}\n"), 1);
    }
    text += "FROM scratch\nCOPY --from=s0 /n /0\nCOPY --from=s1 /n /1\nCOPY --from=s2 /n /2\nCOPY --from=s3 /n /3\n";
    for isolation in ["overlay", "chroot", "rootless", "in-place"] {
        let tree = match isolation {
            "rootless" => env.build(&text).by_user(4246).with_subordinate_ids().succeed(),
            // One after the other, in one tree.
            "in-place" => Place::new(&env, isolation).image(&text.replace(BUSYBOX.trim_end(), "FROM base"), &[]),
            _ => env.build(&text).args(["--isolation", isolation]).store(env.path(format!("store-{isolation}"))).succeed(),
        }
        .tree_above(0);
        for n in 0..4 {
            assert_eq!(tree[&n.to_string()].text(), format!("{n}\n"), "{isolation}");
        }
    }
    canary.sings();
}
