//! Files that change while a build reads them: what is kept in the cache is what belongs to its key.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::cache::{CACHED, hits};
use crate::support::{TestEnv, run, write};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a file below a folder.
fn wait_for(folder: &Path, name: &str) -> PathBuf {
    let start = Instant::now();
    loop {
        let found = run(std::process::Command::new("sh").args(["-c", "find \"$0\" -name \"$1\" 2>/dev/null || :"]).arg(folder).arg(name));
        if let Some(path) = found.lines().next() {
            return path.into();
        }
        assert!(start.elapsed() < PATIENCE, "nobody has made {name}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Writes to a file, which looks untouched afterwards.
fn rewrite(path: &Path, content: &str) {
    let before = fs::metadata(path).and_then(|metadata| metadata.modified()).expect("the file is there");
    let mut file = fs::File::options().write(true).truncate(true).open(path).expect("the file can be written");
    std::io::Write::write_all(&mut file, content.as_bytes()).expect("the file can be written");
    file.set_modified(before).expect("times can be set");
}

/// Adversarial 61: between key and copy a file has another content, and afterwards it is what it was, to its time of modification.
#[test]
fn a_file_that_was_another_one_meanwhile_is_not_kept_under_its_key() {
    const WAIT: &str = "FROM {registry}/base/busybox:latest
RUN --mount=type=cache,target=/c touch /c/begun; until test -e /c/go; do sleep 0.02; done
";
    let mounted = "RUN --mount=type=bind,source=file,target=/f --mount=type=cache,target=/c cat /f >/seen; touch /c/copied; until test -e /c/end; do sleep 0.02; done\n";
    let copied = "COPY --chmod=600 file copied /\nRUN cat /file >/seen\n";
    for (name, step, expected) in [("mounted", mounted, "h."), ("copied", copied, "h..")] {
        let env = TestEnv::new();
        let file = env.file("file", "as hashed");
        let large = env.file("copied", "");
        fs::File::options().write(true).open(large).and_then(|file| file.set_len(256 << 20)).expect("a sparse file");
        let store = env.path("store");
        let build = || env.build(&format!("{WAIT}{step}")).args(CACHED).args(["--cache-repo=local:", "--compression-level=1"]).finish();
        let first = thread::scope(|scope| {
            let first = scope.spawn(build);
            let caches = wait_for(&store.join("caches"), "begun").parent().expect("a folder").to_owned();
            rewrite(&file, "otherwise");
            write(&caches.join("go"), "");
            wait_for(&store, "copied");
            rewrite(&file, "as hashed");
            write(&caches.join("end"), "");
            first.join().expect("it ends")
        });
        assert_eq!(first.image().tree_above(1)["seen"].text(), "otherwise", "{name}");
        assert!(first.stderr.contains("files changed while they were copied: nothing that follows is kept"), "{name}: {}", first.stderr);
        let again = build();
        assert_eq!(hits(&again), expected, "{name}: {}", again.stderr);
        assert_eq!(again.image().tree_above(1)["seen"].text(), "as hashed", "{name}");
        let last = build();
        assert!(!hits(&last).contains('.'), "{name}: what stays as it is, is kept: {}", last.stderr);
    }
}
