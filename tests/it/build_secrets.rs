//! Secrets and SSH agents: given to the commands that ask, and found nowhere else.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Build, Image, TestEnv, run, write};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";
const VALUE: &str = "hunter2-and-then-some";

fn build<'a>(env: &'a TestEnv, commands: &str) -> Build<'a> {
    env.build(&format!("{BUSYBOX}{commands}"))
}

fn file(env: &TestEnv, value: &str) -> String {
    let path = env.path("secret");
    write(&path, value);
    path.display().to_string()
}

// scenario 86
#[test]
fn a_secret_has_the_mode_and_owner_that_are_asked() {
    let env = TestEnv::new();
    let secret = format!("id=s,src={}", file(&env, VALUE));
    let stat = "stat -c '%a %u %g'";
    let commands = format!(
        "RUN --mount=type=secret,id=s {stat} /run/secrets/s > /out\nRUN --mount=type=secret,id=s,target=/new/s,mode=741,uid=100,gid=102 {stat} /new/s >> /out; wc -c < /new/s >> /out\nWORKDIR /w\nRUN --mount=type=secret,source=s,dst=here cat here | wc -c >> /out\nRUN --mount=type=secret,target=/x/s cat /x/s | wc -c >> /out\n"
    );
    let image = build(&env, &commands).args(["--secret", &secret]).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "400 0 0\n741 100 102\n21\n21\n21\n");
    assert!(
        !tree.keys().any(|path| path.starts_with("run") || path.starts_with("new") || path.starts_with('x') || path == "w/here"),
        "{:?}",
        tree.keys()
    );
}

// scenario 87
#[test]
fn a_secret_that_is_required_and_missing_is_an_error_before_anything_runs() {
    let env = TestEnv::new();
    let error = build(&env, "RUN echo ran > /x\nRUN --mount=type=secret,id=mysecret,required true\n").fail(1);
    assert!(error.contains("error: secret mysecret: not found"), "{error}");
    assert!(error.contains("hint: give it with --secret id=mysecret,src=FILE") && !error.contains("done in"), "{error}");
    let optional = build(&env, "RUN --mount=type=secret,id=mysecret test ! -e /run/secrets/mysecret && test ! -e /run/secrets\nRUN --mount=type=secret,id=mysecret,env=X test -z \"${X+set}\"\n").succeed();
    assert!(optional.tree_above(1).is_empty());
}

// scenarios 88 and 89
#[test]
fn a_secret_as_a_variable_wins_over_the_image_s() {
    let env = TestEnv::new();
    let commands = "ENV TOKEN=image\nARG TOKEN=arg\nRUN --mount=type=secret,id=s,env=TOKEN echo -n \"$TOKEN\" | md5sum | cut -d ' ' -f 1 > /out; test ! -e /run/secrets/s\nRUN --mount=type=secret,id=s,env=TOKEN,target=/f test \"$TOKEN\" = \"$(cat /f)\" && echo both >> /out\nRUN echo $TOKEN >> /out\n";
    let finished = build(&env, commands).args(["--secret", "id=s,env=FROM_ENV"]).variable("FROM_ENV", VALUE).finish();
    let image = finished.image();
    assert_eq!(image.variable("TOKEN"), Some("image"));
    let text = image.tree_above(1)["out"].text().to_owned();
    let mut sum = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut sum.stdin.take().unwrap(), VALUE.as_bytes()).unwrap();
    let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(text, format!("{}\nboth\narg\n", sum.split(' ').next().unwrap()));
    assert!(!finished.stderr.contains(VALUE), "{}", finished.stderr);
}

#[test]
fn where_a_secret_comes_from() {
    let env = TestEnv::new();
    let path = file(&env, "of the file");
    let read = |secret: &str| {
        let image = build(&env, "RUN --mount=type=secret,id=S tr a-z A-Z < /run/secrets/S > /out\n")
            .args(["--secret", secret])
            .variable("S", "of the variable")
            .succeed();
        image.tree_above(1)["out"].text().to_owned()
    };
    assert_eq!(read("id=S"), "OF THE VARIABLE");
    assert_eq!(read("id=S,type=env"), "OF THE VARIABLE");
    assert_eq!(read(&format!("id=S,src={path}")), "OF THE FILE");
    assert_eq!(read(&format!("id=S,type=file,source={path}")), "OF THE FILE");
    write(&env.path("home/S"), "beside");
    assert_eq!(read("id=S,type=file"), "BESIDE");
    let large = env.path("large");
    write(&large, vec![b'x'; 500 * 1024 + 1]);
    let error = build(&env, "").arg("--secret").arg(format!("id=S,src={}", large.display())).fail(1);
    assert!(error.contains("larger than 500 KiB"), "{error}");
}

/// Every file below a directory in which the bytes are found.
fn holding(directory: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let found = Command::new("grep").args(["-rlaF", "-e"]).arg(std::str::from_utf8(wanted).unwrap()).arg(directory).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().map(PathBuf::from).collect()
}

#[test]
fn secrets_are_found_nowhere() {
    let env = TestEnv::new();
    let path = file(&env, &format!("{VALUE}\n"));
    let other = "env-secret-0123456789";
    let multi = "-----BEGIN KEY-----\nFirstLineOfTheKey\nSecondLineOfTheKey\n-----END KEY-----\n";
    write(&env.path("key"), multi);
    let commands = "RUN --mount=type=secret,id=s --mount=type=secret,id=e,env=E --mount=type=secret,id=k cat /run/secrets/s; echo \"<$E>\"; cat /run/secrets/k; grep Second /run/secrets/k\n\
RUN --mount=type=secret,id=s head -c 9 /run/secrets/s; sleep 0.2; tail -c +10 /run/secrets/s; cat /run/secrets/s >&2\n\
RUN --mount=type=secret,id=e,env=E yes \"$E$E\" | head -n 2000 | tr -d '\\n'\n\
RUN --mount=type=secret,id=s,env=S echo \"failing with $S\"; sh -c \"exit 3\"; exit 4\n";
    let finished = build(&env, commands)
        .args(["--verbosity", "debug"])
        .args(["--secret", &format!("id=s,src={path}"), "--secret", "id=e,env=E"])
        .arg("--secret")
        .arg(format!("id=k,src={}", env.path("key").display()))
        .variable("E", other)
        .finish();
    assert_eq!(finished.code, Some(4), "{}", finished.stderr);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for hidden in [VALUE, other, "FirstLineOfTheKey", "SecondLineOfTheKey"] {
        assert!(!said.contains(hidden), "{hidden} is shown");
    }
    assert!(said.contains("<****>") && said.contains("failing with ****") && said.contains("  failing with ****"), "{}", finished.stderr);

    let commands = commands.replace("; exit 4", "; true");
    let succeeded = build(&env, &commands)
        .args(["--secret", &format!("id=s,src={path}"), "--secret", "id=e,env=E"])
        .arg("--secret")
        .arg(format!("id=k,src={}", env.path("key").display()))
        .variable("E", other)
        .finish();
    let image: Image = succeeded.image();
    assert!(image.tree_above(1).is_empty(), "{:?}", image.tree_above(1).keys());
    for hidden in [VALUE, other, "FirstLineOfTheKey"] {
        assert!(!image.config.to_string().contains(hidden));
        let places = [env.path("store"), image.layout.clone()];
        let left: Vec<_> = places.iter().flat_map(|place| holding(place, hidden.as_bytes())).collect();
        assert!(left.is_empty(), "{hidden} is left in {left:?}");
    }
}

/// Programs of the machine with the libraries that they need, in the context.
fn programs(env: &TestEnv, names: &[&str]) -> &'static str {
    for name in names {
        let path = run(Command::new("sh").args(["-c", &format!("command -v {name}")]));
        let libraries = run(Command::new("ldd").arg(path.trim()));
        fs::create_dir_all(env.path("context/tools")).unwrap();
        fs::copy(path.trim(), env.path("context/tools").join(name)).unwrap();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            fs::copy(library, env.path("context/tools").join(Path::new(library).file_name().unwrap())).unwrap();
        }
    }
    "/t/ld-linux-x86-64.so.2 --library-path /t /t/"
}

fn key(env: &TestEnv, kind: &str) -> String {
    let path = env.path(format!("id_{kind}"));
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", &format!("{kind}-of-a-test"), "-f"]).arg(&path));
    path.display().to_string()
}

// scenario 90
#[test]
fn keys_are_used_and_never_seen() {
    let env = TestEnv::new();
    let tool = programs(&env, &["ssh-add", "ssh-keygen"]);
    let keys: Vec<String> = ["ed25519", "rsa", "ecdsa"].iter().map(|kind| key(&env, kind)).collect();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        fs::copy(env.path(format!("id_{kind}.pub")), env.path(format!("context/{kind}.pub"))).unwrap();
    }
    let commands = format!(
        "RUN --mount=source=tools,target=/t --mount=type=ssh echo $SSH_AUTH_SOCK > /out && {tool}ssh-add -L | cut -d ' ' -f 3 >> /out\n\
COPY *.pub /keys/\n\
RUN --mount=source=tools,target=/t --mount=type=ssh echo signed > /file && for key in ed25519 rsa ecdsa; do {tool}ssh-keygen -q -Y sign -f /keys/$key.pub -n test /file && mv /file.sig /$key.sig; done\n\
RUN --mount=source=tools,target=/t --mount=type=ssh ! {tool}ssh-add -D && ! {tool}ssh-add -x < /dev/null && {tool}ssh-add -l | wc -l >> /out\n\
RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit && echo gone >> /out\n"
    );
    let image = build(&env, &commands).args(["--ssh", &format!("default={}", keys.join(","))]).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "/run/buildkit/ssh_agent.0\ned25519-of-a-test\nrsa-of-a-test\necdsa-of-a-test\n3\ngone\n");
    assert!(!tree.keys().any(|path| path.starts_with("run")), "{:?}", tree.keys());
    for kind in ["ed25519", "rsa", "ecdsa"] {
        write(&env.path(format!("{kind}.sig")), tree[&format!("{kind}.sig")].text());
        let mut check = Command::new("ssh-keygen");
        check.args(["-Y", "check-novalidate", "-n", "test", "-s"]).arg(env.path(format!("{kind}.sig")));
        let mut check = check.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), b"signed\n").unwrap();
        assert!(check.wait().unwrap().success(), "the signature by {kind}");
    }
    let secret = fs::read_to_string(&keys[0]).unwrap();
    let line = secret.lines().nth(2).unwrap();
    let left: Vec<_> = [env.path("store"), image.layout.clone()].iter().flat_map(|place| holding(place, line.as_bytes())).collect();
    assert!(left.is_empty(), "a key is left in {left:?}");
}

// scenario 90
#[test]
fn a_socket_is_forwarded_with_its_mode_and_owner() {
    let env = TestEnv::new();
    let socket = env.path("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // An agent without keys that counts who came.
    let served = std::thread::spawn(move || {
        let mut served = 0;
        while let Ok((mut client, _)) = listener.accept() {
            let mut request = [0; 5];
            if std::io::Read::read_exact(&mut client, &mut request).is_err() {
                break;
            }
            assert_eq!(request, [0, 0, 0, 1, 11]);
            std::io::Write::write_all(&mut client, &[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            served += 1;
        }
        served
    });
    let tool = programs(&env, &["ssh-add"]);
    let commands = format!(
        "RUN --mount=type=ssh,mode=0741,uid=100,gid=102,target=/a/s --mount=source=tools,target=/t {tool}ssh-add -l >> /out; stat -c '%a %u %g' /a/s >> /out\nRUN --mount=type=ssh --mount=type=ssh,id=other echo $SSH_AUTH_SOCK >> /out; ls /run/buildkit >> /out\nENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK >> /out\n"
    );
    let image = build(&env, &commands)
        .args(["--ssh", "default", "--ssh", &format!("other={}", socket.display())])
        .variable("SSH_AUTH_SOCK", &socket)
        .succeed();
    let text = image.tree_above(1)["out"].text().to_owned();
    assert_eq!(text, "The agent has no identities.\n741 100 102\n/run/buildkit/ssh_agent.0\nssh_agent.0\nssh_agent.1\n/own\n");
    drop(UnixStream::connect(&socket).unwrap());
    assert_eq!(served.join().unwrap(), 1);
}

#[test]
fn an_agent_that_is_not_there() {
    let env = TestEnv::new();
    build(&env, "RUN --mount=type=ssh test ! -e \"$SSH_AUTH_SOCK\"\n").succeed();
    let error = build(&env, "RUN --mount=type=ssh,id=deploy,required true\n").fail(1);
    assert!(error.contains("ssh deploy: no such agent") && error.contains("--ssh deploy"), "{error}");
    let error = build(&env, "").args(["--ssh", "default"]).fail(1);
    assert!(error.contains("SSH_AUTH_SOCK is not set"), "{error}");
    let locked = env.path("locked");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "phrase", "-f"]).arg(&locked));
    let error = build(&env, "").arg("--ssh").arg(format!("default={}", locked.display())).fail(1);
    assert!(error.contains("the key has a passphrase"), "{error}");
}
