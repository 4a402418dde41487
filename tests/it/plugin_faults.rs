//! Plugins that misbehave: each file of `tests/guests/src/bin` fails here in its own way, clearly, and the process lives on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use layerwright::build::handler::{FileInfo, HandlerArguments, HandlerError, HandlerInput, Inspect, LookError, Place, StageState};
use layerwright::oci::Platform;
use layerwright::operation::Operation;
use layerwright::plugin::{Limits, PluginSet, PluginSettings, PluginSource};
use layerwright::progress::{Event, Reporter};
use layerwright::registry::auth::{Access, AuthAnswer, AuthError, AuthTarget};

use crate::support::cargo;

/// Every file of `tests/guests/src/bin`, which the last test compares with the folder.
const GUESTS: &[&str] = &[
    "escapes",
    "floods",
    "foreign",
    "future",
    "grows",
    "lies",
    "nonsense",
    "oversteps",
    "pesters",
    "recurses",
    "spins",
    "traps",
    "wrong_world",
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The guest of a name, built once for all tests.
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        // Where the build script builds the standard plugins: the standard library is there already.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("plugins");
        cargo::build(workspace(), &target, &["-p", "layerwright-guests", "--examples"])
            .unwrap_or_else(|message| panic!("{message}"))
            .join("examples")
    });
    folder.join(format!("{name}.wasm"))
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Reporter for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    fn messages(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events.iter().filter_map(|event| if let Event::Log { message, .. } = event { Some(message.clone()) } else { None }).collect()
    }
}

/// Answers every look in the same way.
struct Answering(Result<Option<FileInfo>, LookError>);

impl Inspect for Answering {
    fn stat(&mut self, _: &Place, _: &str) -> Result<Option<FileInfo>, LookError> {
        self.0.clone()
    }

    fn read(&mut self, _: &Place, _: &str) -> Result<Vec<u8>, LookError> {
        Err(LookError::NotFound)
    }

    fn entries(&mut self, _: &Place, _: &str) -> Result<Vec<String>, LookError> {
        Err(LookError::NotFound)
    }
}

/// Time is short for those alone that are to run out of it: a busy machine is no fault of the others.
fn limits() -> Limits {
    Limits { time: Duration::from_secs(20), memory: 64 << 20, ..Limits::default() }
}

fn settings(sources: impl IntoIterator<Item = PluginSource>) -> PluginSettings {
    PluginSettings { plugins: sources.into_iter().collect(), limits: limits(), ..PluginSettings::default() }
}

fn refusal(settings: &PluginSettings) -> String {
    match PluginSet::load(settings, Arc::new(Heard::default())) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    }
}

fn lower_with(name: &str, text: &str, heard: &Arc<Heard>, look: &mut dyn Inspect) -> Result<Vec<Operation>, HandlerError> {
    let mut settings = settings([PluginSource::file(guest(name))]);
    if matches!(text, "SPINS" | "PESTERS") {
        settings.limits.time = Duration::from_millis(300);
    }
    let set = PluginSet::load(&settings, heard.clone()).unwrap_or_else(|error| panic!("{error}"));
    let call = HandlerInput {
        name: text.split(' ').next().unwrap_or_default().to_owned(),
        flags: Vec::new(),
        arguments: HandlerArguments::Text(text.to_owned()),
        heredocs: Vec::new(),
        text: text.to_owned(),
    };
    let stage = StageState {
        target: Platform::host(),
        build: Platform::host(),
        build_args: Vec::new(),
        env: Vec::new(),
        labels: Vec::new(),
        user: String::new(),
        working_dir: "/".to_owned(),
        working_dir_set: false,
        shell: Vec::new(),
        shell_set: false,
    };
    set.handlers()[0].lower(&call, &stage, look).map(|lowered| lowered.operations)
}

fn failure(name: &str, text: &str) -> String {
    guest(name);
    let begun = Instant::now();
    let result = lower_with(name, text, &Arc::new(Heard::default()), &mut Answering(Ok(None)));
    assert!(begun.elapsed() < Duration::from_secs(30), "{name} took {:?}", begun.elapsed());
    match result {
        Err(HandlerError::Plugin { plugin, message }) => {
            assert_eq!(plugin, format!("test/{name}"));
            message
        }
        other => panic!("{other:?}"),
    }
}

async fn ask(set: &PluginSet, repository: &str) -> Result<Option<AuthAnswer>, AuthError> {
    let target = AuthTarget { registry: "registry.example".to_owned(), repository: repository.to_owned(), access: Access::Pull };
    set.auth_providers()[0].credential(&target).await
}

fn wait<R>(work: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Row 70 of the adversarial list.
#[test]
fn traps() {
    let message = failure("traps", "TRAPS now");
    assert!(message.contains("cannot go on with TRAPS now"), "{message}");
    assert!(!message.contains('\u{1b}'), "{message:?}");
}

/// Row 62 of the adversarial list.
#[test]
fn spins() {
    let message = failure("spins", "SPINS");
    assert!(message.contains("computed for more than 0.3 s"), "{message}");
}

/// Row 62 of the adversarial list.
#[test]
fn recurses() {
    let message = failure("recurses", "RECURSES");
    assert!(message.contains("itself without end"), "{message}");
}

/// Row 62 of the adversarial list.
#[test]
fn grows() {
    let message = failure("grows", "GROWS");
    assert!(message.contains("more than 64 MiB of memory"), "{message}");
}

/// Row 62 of the adversarial list.
#[test]
fn pesters() {
    let message = failure("pesters", "PESTERS");
    assert!(message.contains("computed for more than 0.3 s"), "{message}");

    // Whatever a handler makes of an answer that is not known yet, it counts for nothing.
    let heard = Arc::new(Heard::default());
    let deferred = lower_with("pesters", "PESTERS once", &heard, &mut Answering(Err(LookError::Deferred)));
    assert_eq!(deferred, Err(HandlerError::Deferred));
    let known = lower_with("pesters", "PESTERS once", &heard, &mut Answering(Ok(None)));
    assert_eq!(known, Ok(vec![Operation::Remove("/true".to_owned())]));
}

/// Row 70 of the adversarial list.
#[test]
fn floods() {
    let message = failure("floods", "FLOODS");
    assert!(message.contains("handed over more than"), "{message}");

    let heard = Arc::new(Heard::default());
    let _ = lower_with("floods", "FLOODS log", &heard, &mut Answering(Ok(None)));
    let messages = heard.messages();
    assert!(messages.iter().map(String::len).sum::<usize>() <= (1 << 20) + 100);
    assert!(messages.iter().all(|message| !message.contains('\u{1b}')));
    assert!(messages.last().is_some_and(|message| message.contains("says too much")), "{:?}", messages.last());
}

#[test]
fn nonsense() {
    for (text, wanted) in [("nul", "NUL"), ("empty", "without a program"), ("slash", "file name"), ("equals", "`=`")] {
        let message = failure("nonsense", &format!("NONSENSE {text}"));
        assert!(message.contains(wanted), "{text}: {message}");
    }
}

#[test]
fn lies() {
    let mut claimants = settings([PluginSource::file(guest("lies"))]);
    claimants.plugins.insert(0, PluginSource::standard("dockerfile"));
    let message = refusal(&claimants);
    assert!(message.contains("RUN") && message.contains("test/lies") && message.contains("layerwright/"), "{message}");

    let twice = refusal(&settings([PluginSource::file(guest("traps")), PluginSource::file(guest("traps"))]));
    assert!(twice.contains("test/traps is named twice"), "{twice}");
}

/// Row 71 of the adversarial list.
#[test]
fn wrong_world() {
    let message = refusal(&settings([PluginSource::file(guest("wrong_world"))]));
    assert!(message.contains("it exports run; a plugin exports `instruction`, `auth` or `mirror`"), "{message}");
}

/// Row 71 of the adversarial list.
#[test]
fn foreign() {
    let message = refusal(&settings([PluginSource::file(guest("foreign"))]));
    assert!(message.contains("imports `acme:other/machine`, which the host does not offer"), "{message}");
}

/// Row 71 of the adversarial list.
#[test]
fn future() {
    let message = refusal(&settings([PluginSource::file(guest("future"))]));
    assert!(message.contains("needs `layerwright:plugin/mirror@0.2.0`; this host offers layerwright:plugin/*@0.1.x"), "{message}");
}

/// Rows 67 and 68 of the adversarial list.
#[test]
fn escapes() {
    let folder = Scratch::new("escapes");
    fs::create_dir(folder.0.join("open")).unwrap();
    fs::write(folder.0.join("open/file"), "the content").unwrap();
    fs::write(folder.0.join("secret"), "canary").unwrap();
    std::os::unix::fs::symlink("../secret", folder.0.join("open/link")).unwrap();
    let base = folder.0.display().to_string().replace('/', "!");

    let mut source = PluginSource::file(guest("escapes"));
    let host = "host=https://granted.example".to_owned();
    source.grants = ["env=GRANTED".to_owned(), format!("file={}/open", folder.0.display()), host, "credential-helper=other".to_owned()]
        .map(|grant| grant.parse().unwrap())
        .into();
    source.environment = BTreeMap::from([("GRANTED".to_owned(), "given".to_owned())]);
    let mut settings = settings([source]);
    settings.environment = ["GRANTED", "SECRET"].map(|name| (name.to_owned(), "canary".to_owned())).into();
    let set = PluginSet::load(&settings, Arc::new(Heard::default())).unwrap();
    assert_eq!(set.infos()[0].summary, "asked early and was refused");

    let asked = |what: String| wait(ask(&set, &what)).unwrap_err();
    assert_eq!(asked("env/GRANTED".to_owned()).message, "got given");
    assert_eq!(asked(format!("file/{base}!open!file")).message, "got the content");

    for (what, line) in [
        ("env/SECRET".to_owned(), "env=SECRET"),
        (format!("file/{base}!secret"), "file=/"),
        (format!("file/{base}!open!..!secret"), "file=/"),
        (format!("file/{base}!open!link"), "file=PATH"),
        ("file/!etc!passwd".to_owned(), "file=/etc/passwd"),
        ("file/~!.ssh!id_rsa".to_owned(), "file=~/.ssh/id_rsa"),
        ("http/https:!!other.example!".to_owned(), "host=https://other.example"),
        ("http/http:!!granted.example!".to_owned(), "host=http://granted.example"),
        ("http/https:!!granted.example:8443!".to_owned(), "host=https://granted.example:8443"),
        ("http/https:!!granted.example.!".to_owned(), "host=https://granted.example."),
        ("http/https:!!127.0.0.1!".to_owned(), "host=https://127.0.0.1"),
        ("helper/granted".to_owned(), "credential-helper=granted"),
    ] {
        let error = asked(what.clone());
        assert!(error.message.contains("Denied"), "{what}: {}", error.message);
        assert!(!error.message.contains("canary"), "{what}: {}", error.message);
        let hint = error.hint.unwrap_or_default();
        assert!(hint.contains("test/escapes") && hint.contains(line), "{what}: {hint}");
    }

    let unasked = refusal(&self::settings([PluginSource { grants: Vec::new(), ..PluginSource::file(folder.0.join("open/file")) }]));
    assert!(unasked.contains("not a WebAssembly component"), "{unasked}");
}

#[test]
fn an_interface_of_which_nothing_is_granted_is_not_there() {
    let settings = settings([PluginSource { grants: vec!["env=OTHER".parse().unwrap()], ..PluginSource::file(guest("escapes")) }]);
    let set = PluginSet::load(&settings, Arc::new(Heard::default())).unwrap();
    assert_eq!(set.infos()[0].summary, "asked early and was refused");
    let asked = |what: &str| wait(ask(&set, what)).unwrap_err().message;
    assert_eq!(asked("nothing/x"), "got nothing asked", "what is not called does no harm");
    for (what, interface, line) in [
        ("file/!granted", "`files`", "file=/granted"),
        ("http/https:!!granted.example!", "`http`", "host=https://granted.example"),
        ("helper/granted", "`credential-helper`", "credential-helper=granted"),
    ] {
        let message = asked(what);
        assert!(message.contains(interface) && message.contains("nothing of that interface is granted"), "{what}: {message}");
        assert!(message.contains(&format!("--grant {}:{line}`", guest("escapes").display())), "{what}: {message}");
    }
    assert!(asked("env/SECRET").contains("Denied"), "one is granted: the others are refused one by one");
}

/// Row 67 of the adversarial list.
#[test]
fn requests_go_to_the_granted_host_and_no_further() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let answers = std::thread::spawn(move || {
        let flood = format!("HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n{}", "x".repeat(4 << 20));
        let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned();
        for answer in [redirect, flood] {
            let (mut stream, _) = server.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            // The other side may have had enough before the end.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let mut source = PluginSource::file(guest("escapes"));
    source.grants = vec![format!("host=http://127.0.0.1:{port}").parse().unwrap(), "host=https://localhost".parse().unwrap()];
    let settings = settings([source]);
    let set = PluginSet::load(&settings, Arc::new(Heard::default())).unwrap();
    let asked = |what: String| wait(ask(&set, &what)).unwrap_err().message;
    assert_eq!(asked(format!("http/http:!!127.0.0.1:{port}!")), "got 302");
    let flooded = asked(format!("http/http:!!127.0.0.1:{port}!"));
    assert!(flooded.contains("TooLarge"), "{flooded}");
    let this_machine = asked("http/https:!!localhost!".to_owned());
    assert!(this_machine.contains("Denied") && this_machine.contains("which its grant does not open"), "{this_machine}");
    answers.join().unwrap();
}

/// Rows 69 and 70 of the adversarial list.
#[test]
fn oversteps() {
    let heard = Arc::new(Heard::default());
    let set = PluginSet::load(&settings([PluginSource::file(guest("oversteps"))]), heard.clone()).unwrap();
    let error = wait(ask(&set, "library/x")).unwrap_err();
    assert!(error.message.contains("offers a credential for `other.example`"), "{}", error.message);
    let answer = wait(ask(&set, "honest")).unwrap().unwrap();
    assert_eq!(answer.valid_for, "registry.example");
    assert!(!format!("{answer:?}").contains("hunter22"));
    assert_eq!(heard.messages(), ["the password is ***", "the password is ***"]);
}

/// Row 72 of the adversarial list.
#[test]
fn the_compile_cache_believes_nothing() {
    let folder = Scratch::new("cache");
    let heard = Arc::new(Heard::default());
    let mut settings = settings([PluginSource::file(guest("traps"))]);
    settings.cache_dir = Some(folder.0.join("cache"));
    let load = || PluginSet::load(&settings, heard.clone()).map(|_| ()).unwrap_or_else(|error| panic!("{error}"));

    load();
    let engine = fs::read_dir(folder.0.join("cache")).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(&engine).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&file).unwrap();
    load();
    assert!(heard.messages().is_empty(), "{:?}", heard.messages());

    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0x40;
    fs::write(&file, &bad).unwrap();
    load();
    assert!(heard.messages().last().is_some_and(|message| message.contains("its checksum is wrong")));
    assert!(fs::read(&file).unwrap() == good, "the file was not made anew");

    fs::write(&file, &good[..100]).unwrap();
    load();

    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&engine, open).unwrap();
    load();
    assert!(heard.messages().last().is_some_and(|message| message.contains("others may enter it")), "{:?}", heard.messages());
}

/// Row 71 of the adversarial list.
#[test]
fn files_that_are_no_plugins() {
    let folder = Scratch::new("files");
    let file = folder.0.join("plugin.wasm");
    for (content, wanted) in [
        (&b""[..], "not a WebAssembly component"),
        (b"#!/bin/sh", "not a WebAssembly component"),
        (b"\0asm\x01\0\0\0", "it exports nothing"),
        (b"\0asm\x01\0\0\0\xff", "not a WebAssembly component"),
        (b"\0asm\x0d\0\x01\0", "it exports nothing"),
        (b"\0asm\x0d\0\x01\0\xff\xff\xff", "not a WebAssembly component"),
        (b"\0asm\x63\0\x01\0", "not a WebAssembly component"),
    ] {
        fs::write(&file, content).unwrap();
        let message = refusal(&settings([PluginSource::file(&file)]));
        assert!(message.contains(wanted), "{content:?}: {message}");
    }
    let component = fs::read(guest("traps")).unwrap();
    fs::write(&file, &component[..component.len() / 2]).unwrap();
    assert!(refusal(&settings([PluginSource::file(&file)])).contains("plugin.wasm"));

    let mut small = settings([PluginSource::file(&file)]);
    small.limits.file = 1000;
    assert!(refusal(&small).contains("is larger than"));
    assert!(refusal(&settings([PluginSource::file("/nonexistent.wasm")])).contains("/nonexistent.wasm"));
    assert!(refusal(&settings([PluginSource::standard("nonexistent")])).contains("no standard plugin"));
}

#[test]
fn every_guest_has_a_test_of_its_name() {
    let mut files: Vec<String> = fs::read_dir(workspace().join("tests/guests/src/bin"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, GUESTS);
    let tests = include_str!("plugin_faults.rs");
    for guest in GUESTS {
        assert!(tests.contains(&format!("#[test]\nfn {guest}()")), "{guest}");
    }
}

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-faults-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
