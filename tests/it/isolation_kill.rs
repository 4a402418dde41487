//! Killed at any moment, a builder leaves no process, no mount, and a store that the next build uses.

use std::fs;
use std::os::unix::process::CommandExt as _;
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
fn running(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    let read = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let lines = entries.flatten().filter_map(read).map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

/// Rows 55 and 73 of the adversarial list; SIGTERM ends a build within two seconds.
fn killed_at_any_moment(isolation: &'static str, seed: u64) {
    let env = TestEnv::new();
    let place = Place::new(&env, isolation);
    let quick = "FROM base\nCOPY app /app\nRUN echo y >/y && touch -d @1000000000 /y\n";
    let builds = || place.image(quick, &[]).diff_ids().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let wanted = builds();
    let marker = format!("{}", 500_000_000 + u64::from(std::process::id()) * 10 + seed % 10);
    let slow = format!(
        "FROM base\nCOPY app /app\nRUN --mount=type=cache,target=/c echo x >/x; (setsid sleep {marker} &) ; sleep 0.2\nRUN sleep {marker}\n"
    );
    let mut random = Random(seed);
    for signal in ["TERM", "INT", "KILL"] {
        for time in 0..TIMES {
            let moment = Duration::from_millis(random.below(700));
            let what = format!("{isolation}, seed {seed}, SIG{signal} number {time} after {moment:?}");
            let mut command = place.builder(&slow);
            command.stderr(Stdio::null()).process_group(0);
            let mut builder = command.spawn().expect("the program starts");
            std::thread::sleep(moment);
            run(Command::new("kill").args(["-s", signal, &builder.id().to_string()]));
            let killed = Instant::now();
            builder.wait().expect("the builder ends");
            assert!(killed.elapsed() < Duration::from_secs(2), "{what}: it took {:?}", killed.elapsed());
            while !running(&marker).is_empty() {
                assert!(killed.elapsed() < Duration::from_secs(5), "{what} left {:?}", running(&marker));
                std::thread::sleep(Duration::from_millis(10));
            }
            if time % 5 == 4 {
                assert_eq!(builds(), wanted, "{what}: the next build is another one");
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts are listed");
    assert!(!mounts.contains(&place.folder.display().to_string()), "{isolation}: a mount is left\n{mounts}");
    let left = fs::read_dir(place.folder.join("test/store/tmp")).expect("the store is there").count();
    assert_eq!(left, 0, "{isolation}: work of dead builders is left");
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
