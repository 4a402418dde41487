//! Killed at any moment, a builder leaves no process, no mount, and a store that the next build uses.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::place::Place;
use crate::support::{TestEnv, output, run};

/// How often each signal is sent, under each isolation.
const TIMES: usize = 20;

/// Numbers that are the same each time; the seed is in what a failure says.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What runs on this machine with a word in its command line.
pub fn running(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    let read = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let lines = entries.flatten().filter_map(read).map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

/// What there still is of a builder: processes that have its folder or the marker in their command line, or live in the folder, and mounts in
/// the folder, whichever mount namespace they are in.
fn left(place: &Place, marker: &str) -> Vec<String> {
    let folder = place.folder.display().to_string();
    let processes = fs::read_dir("/proc").expect("/proc is readable").flatten().map(|entry| entry.path());
    let mut found = Vec::new();
    for process in processes.filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))) {
        // It may end while it is looked at.
        let line = String::from_utf8_lossy(&fs::read(process.join("cmdline")).unwrap_or_default()).replace('\0', " ");
        // What makes the place for a build in place was killed before it had become the builder, and has a child that is about to end.
        if line.starts_with("sh -c mount ") {
            continue;
        }
        let lives =
            ["exe", "root", "cwd"].iter().any(|name| fs::read_link(process.join(name)).is_ok_and(|path| path.starts_with(&place.folder)));
        if lives || line.contains(&folder) || line.contains(marker) {
            found.push(format!("{}: {line}", process.display()));
        }
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        found.extend(mounts.lines().filter(|mount| mount.contains(&folder)).map(|mount| format!("{}: {mount}", process.display())));
    }
    found
}

/// Names in a folder; none where it is not there.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// The same command, whatever signals this program was told to ignore, as what a shell starts in the background is.
fn interruptible(builder: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM").arg(builder.get_program()).args(builder.get_args());
    command.envs(builder.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Rows 55 and 73 of the adversarial list; SIGTERM ends a build within two seconds.
fn killed_at_any_moment(isolation: &'static str, seed: u64) {
    let env = TestEnv::new();
    let place = Place::new(&env, isolation);
    let (kept, temporary) = (place.folder.join("test"), place.folder.join("test/temporary"));
    fs::create_dir(&temporary).expect("the folder is new");
    let quick = "FROM base\nCOPY app /app\nRUN echo y >/y && touch -d @1000000000 /y\n";
    let builds = || place.image(quick, &[]).diff_ids().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let wanted = builds();
    let beside = names(&kept);
    let marker = format!("{}", 500_000_000 + u64::from(std::process::id()) * 10 + seed % 10);
    let slow = format!(
        "FROM base\nCOPY app /app\nRUN --mount=type=cache,target=/c echo x >/x; (setsid sleep {marker} &) ; sleep 0.2\nRUN sleep {marker}\n"
    );
    let mut random = Random(seed);
    let mut seen = false;
    for signal in ["TERM", "INT", "KILL"] {
        for time in 0..TIMES {
            let moment = Duration::from_millis(random.below(700));
            let what = format!("{isolation}, seed {seed}, SIG{signal} number {time} after {moment:?}");
            drop(fs::remove_dir_all(kept.join("image")));
            let mut command = interruptible(&place.builder(&slow));
            command.env("TMPDIR", place.root().join("temporary")).process_group(0);
            let mut builder = command.spawn().expect("the program starts");
            std::thread::sleep(moment);
            seen |= left(&place, &marker).len() > 1;
            run(Command::new("kill").args(["-s", signal, &builder.id().to_string()]));
            let killed = Instant::now();
            builder.wait().expect("the builder ends");
            assert!(killed.elapsed() < Duration::from_secs(2), "{what}: it took {:?}", killed.elapsed());
            loop {
                let left = left(&place, &marker);
                if left.is_empty() {
                    break;
                }
                assert!(killed.elapsed() < Duration::from_secs(10), "{what} left {left:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(!kept.join("image/index.json").exists(), "{what}: half an image is there");
            if time % 2 == 1 {
                assert_eq!(builds(), wanted, "{what}: the next build is another one");
                assert_eq!(names(&kept.join("store/tmp")), [""; 0], "{what}: work of dead builders is left");
                assert_eq!(names(&temporary), [""; 0], "{what}: temporary files are left");
                assert_eq!(names(&kept), beside, "{what}: something is left beside the store");
            }
        }
    }
    assert!(seen, "{isolation}: no moment was one at which there is something to leave");
}

#[test]
fn in_an_overlay() {
    killed_at_any_moment("overlay", 11);
}

#[test]
fn in_a_root_directory() {
    killed_at_any_moment("chroot", 22);
}

#[test]
fn in_place() {
    killed_at_any_moment("in-place", 33);
}

/// A secret that is lent where nothing can be mounted goes with the command, although the one who lent it was killed.
#[test]
fn a_secret_does_not_outlive_its_builder() {
    let env = TestEnv::new();
    for isolation in ["chroot", "in-place"] {
        let place = Place::new(&env, isolation);
        fs::write(place.folder.join("test/word"), "do-not-keep-this").expect("a file can be written");
        let secret = format!("id=word,src={}", place.root().join("word").display());
        let marker = format!("{}", 600_000_000 + u64::from(std::process::id()));
        let mut command = place.builder(&format!("FROM base\nRUN --mount=type=secret,id=word,target=/deep/er/word sleep {marker}\n"));
        let mut builder = command.args(["--secret", &secret]).stderr(Stdio::null()).spawn().expect("the program starts");
        let started = Instant::now();
        let lent = || {
            String::from_utf8(
                output(Command::new("grep").arg("-rl").arg("--include=word").arg("do-not-keep-this").arg(&place.folder)).stdout,
            )
            .expect("paths in UTF-8")
        };
        while running(&marker).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(30), "{isolation}: the command does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(lent().lines().count(), 2, "{isolation}: it is there while the command runs: {}", lent());
        builder.kill().expect("it can be killed");
        builder.wait().expect("it ends");
        let killed = Instant::now();
        while !running(&marker).is_empty() || lent().lines().count() > 1 {
            assert!(killed.elapsed() < Duration::from_secs(5), "{isolation}: left {:?} and {}", running(&marker), lent());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
