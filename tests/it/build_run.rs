//! What a RUN sees, may do, and says when it fails.
//!
//! Scenarios of the sections RUN that have no test here, and why:
//!
//! | scenario | why |
//! | --- | --- |
//! | 98, nodes | the devices of a machine are described in the test itself, and only those that every machine has are mounted |

use std::fs;

use serde_json::json;

use crate::support::{Kind, TestEnv, write};

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

/// What the build's commands wrote to `/out`.
fn out(env: &TestEnv, commands: &str, arguments: &[&str]) -> String {
    env.build(&format!("{BUSYBOX}{commands}")).args(arguments).succeed().tree_above(1)["out"].text().to_owned()
}

// scenario 91
#[test]
fn users_and_their_groups() {
    let env = TestEnv::new();
    let cases = [
        ("", "0 0 0 0,10 /root"),
        ("root", "0 0 0 0,10 /root"),
        ("0", "0 0 0 0,10 /root"),
        ("me", "1001 1001 1001 1001,1002 /home/me"),
        ("1001", "1001 1001 1001 1001,1002 /home/me"),
        ("me:extra", "1001 1002 1002 1002 /home/me"),
        ("me:1002", "1001 1002 1002 1002 /home/me"),
        ("1001:extra", "1001 1002 1002 1002 /home/me"),
        ("1001:1001", "1001 1001 1001 1001 /home/me"),
        ("me:4242", "1001 4242 4242 4242 /home/me"),
        ("root:extra", "0 1002 1002 1002 /root"),
        ("0:4242", "0 4242 4242 4242 /root"),
        ("4242", "4242 0 0 0 /"),
        ("4242:4243", "4242 4243 4243 4243 /"),
        ("4242:extra", "4242 1002 1002 1002 /"),
    ];
    let mut dockerfile = format!(
        "{BUSYBOX}RUN echo 'me:x:1001:1001::/home/me:/bin/sh' >> /etc/passwd && printf 'me:x:1001:\\nextra:x:1002:me\\nwheel:x:10:root\\n' >> /etc/group && touch /out && chmod 666 /out\n"
    );
    for (user, _) in cases {
        if !user.is_empty() {
            dockerfile.push_str(&format!("USER {user}\n"));
        }
        dockerfile.push_str("RUN echo \"$(id -u) $(id -g) $(id -g -r) $(id -G | tr ' ' ,) $HOME\" >> /out\n");
    }
    let image = env.build(&dockerfile).succeed();
    let tree = image.tree_above(1);
    let found: Vec<_> = tree["out"].text().lines().zip(cases).map(|(line, (user, _))| format!("{user}: {line}")).collect();
    let expected: Vec<_> = cases.iter().map(|(user, line)| format!("{user}: {line}")).collect();
    assert_eq!(found, expected);
    assert_eq!(image.setting("User"), "4242:extra", "the configuration has it as written");
}

// scenario 92
#[test]
fn a_number_without_an_entry_has_group_0_and_no_other() {
    let env = TestEnv::new();
    assert_eq!(out(&env, "RUN touch /out && chmod 666 /out\nUSER 1234\nRUN id > /out\n", &[]), "uid=1234 gid=0(root) groups=0(root)\n");
    let error = env.build(&format!("{BUSYBOX}USER nobody-here\nRUN true\n")).fail(1);
    assert!(error.contains("user \"nobody-here\" is not in the image's /etc/passwd"), "{error}");
}

// scenario 93
#[test]
fn the_host_name_is_known_and_can_be_chosen() {
    let env = TestEnv::new();
    let commands = "RUN hostname > /out && grep -c \"127.0.0.1.*$(hostname)\" /etc/hosts >> /out\n";
    assert_eq!(out(&env, commands, &[]), "buildkitsandbox\n1\n");
    assert_eq!(out(&env, commands, &["--hostname", "box"]), "box\n1\n");
    let argument = ["--hostname", "box", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=arg"];
    assert_eq!(out(&env, commands, &argument), "arg\n1\n", "the argument wins");
    let error = env.build(BUSYBOX).args(["--hostname", "a b"]).fail(1);
    assert!(error.contains("--hostname") && error.contains("is no name of a machine"), "{error}");
}

// scenario 94
#[test]
fn the_working_directory_is_made_where_it_is_missing() {
    let env = TestEnv::new();
    let image = env
        .build(&format!("{BUSYBOX}WORKDIR /a/b\nUSER daemon\nWORKDIR c\nRUN pwd > /tmp/out\nUSER root\nRUN rmdir /a/b/c && chmod 700 /a\nRUN pwd >> /tmp/out\n"))
        .succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["tmp/out"].text(), "/a/b/c\n/a/b/c\n");
    assert_eq!(tree["a/b"].rights(), "0755 0:0");
    assert_eq!(tree["a/b/c"].rights(), "0755 0:0", "made again for the last command");
    assert_eq!(tree["a"].rights(), "0700 0:0", "what is there stays as it is");
}

// scenario 96
#[test]
fn networks() {
    let env = TestEnv::new();
    let interfaces = "ls /sys/class/net | sort | tr '\\n' ' ' > /out";
    assert_eq!(out(&env, &format!("RUN --network=none {interfaces}\n"), &[]), "lo ");
    assert_eq!(out(&env, &format!("RUN {interfaces}\n"), &["--network", "none"]), "lo ");
    let machine = out(&env, &format!("RUN {interfaces}\n"), &[]);
    assert_eq!(out(&env, &format!("RUN --network=default {interfaces}\n"), &[]), machine);
    assert_eq!(out(&env, &format!("RUN --network=host {interfaces}\n"), &["--allow", "network.host"]), machine);
    assert_eq!(out(&env, &format!("RUN --network=host {interfaces}\n"), &["--network", "host"]), machine);

    let error = env.build(&format!("{BUSYBOX}RUN echo not reached > /x\nRUN --network=host true\n")).fail(1);
    assert!(error.contains("entitlement network.host is not allowed"), "{error}");
    assert!(error.contains("hint: the operator allows it with --allow network.host"), "{error}");
    assert!(!error.contains("done in"), "nothing runs before: {error}");
}

// scenario 97
#[test]
fn rights_in_the_sandbox_and_without_it() {
    let env = TestEnv::new();
    let bounds = "grep CapBnd /proc/self/status | cut -f 2 > /out; grep Seccomp: /proc/self/status | cut -f 2 >> /out";
    assert_eq!(out(&env, &format!("RUN {bounds}\n"), &[]), "00000000a80425fb\n2\n");
    assert_eq!(out(&env, &format!("RUN --security=sandbox {bounds}\n"), &["--allow", "security.insecure"]), "00000000a80425fb\n2\n");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap().to_owned();
    let commands = format!("RUN --security=insecure {bounds}; mkdir /m && mount -t tmpfs x /m && umount /m && rmdir /m\n");
    assert_eq!(out(&env, &commands, &["--allow", "security.insecure"]), format!("{own}\n0\n"));

    let error = env.build(&format!("{BUSYBOX}RUN --security=insecure true\n")).fail(1);
    assert!(error.contains("entitlement security.insecure is not allowed") && error.contains("--allow security.insecure"), "{error}");
    let error = env.build(BUSYBOX).args(["--allow", "everything"]).fail(1);
    assert!(error.contains("is none of network.host, security.insecure, device"), "{error}");
}

// scenario 98
#[test]
fn devices_are_injected_where_they_are_allowed() {
    let env = TestEnv::new();
    let specs = env.path("cdi");
    let config = json!({
        "cdiVersion": "0.6.0", "kind": "vendor.test/part",
        "containerEdits": { "env": ["KIND=part"] },
        "devices": [{ "name": "one", "containerEdits": {
            "env": ["PART=one"],
            "deviceNodes": [{ "path": "/dev/part", "hostPath": "/dev/zero" }],
            "mounts": [{ "hostPath": env.path("driver").display().to_string(), "containerPath": "/opt/driver" }],
            "additionalGids": [4711],
        } }],
    });
    write(&specs.join("vendor.json"), config.to_string());
    write(&env.path("driver"), "driver\n");
    let specs = specs.display().to_string();
    let commands = "RUN --device=vendor.test/part=one,required echo \"$KIND $PART $(cat /opt/driver) $(id -G) $(head -c 3 /dev/part | wc -c)\" > /out\n";
    let image =
        env.build(&format!("{BUSYBOX}{commands}")).args(["--cdi-spec-dir", &specs, "--allow", "device=vendor.test/part=one"]).succeed();
    let tree = image.tree_above(1);
    assert!(tree["out"].text().starts_with("part one driver 0 "), "{}", tree["out"].text());
    assert!(tree["out"].text().ends_with("4711 3\n"), "{}", tree["out"].text());
    let others: Vec<_> = tree.iter().filter(|(_, entry)| entry.kind != Kind::Directory).map(|(path, _)| path.as_str()).collect();
    assert_eq!(others, ["out"], "nothing of the device stays");

    let error = env.build(&format!("{BUSYBOX}{commands}")).args(["--cdi-spec-dir", &specs]).fail(1);
    assert!(error.contains("entitlement device is not allowed for vendor.test/part=one"), "{error}");
    let error = env.build(&format!("{BUSYBOX}RUN --device=vendor.test/none,required true\n")).args(["--allow", "device"]).fail(1);
    assert!(error.contains("device vendor.test/none is not on this machine"), "{error}");
    let optional = env.build(&format!("{BUSYBOX}RUN --device=vendor.test/none true\n")).args(["--allow", "device"]).finish();
    assert_eq!(optional.code, Some(0), "{}", optional.stderr);
    assert!(optional.stderr.contains("vendor.test/none is left out"), "{}", optional.stderr);
}

// scenario 99
#[test]
fn limits() {
    let env = TestEnv::new();
    assert_eq!(out(&env, "RUN df -k /dev/shm | awk 'NR == 2 { print $2 }' > /out\n", &["--shm-size", "128m"]), "131072\n");
    let commands = "RUN ulimit -n > /out; ulimit -H -n >> /out\n";
    assert_eq!(out(&env, commands, &["--ulimit", "nofile=123:456"]), "123\n456\n");
    let error = env.build(BUSYBOX).args(["--ulimit", "files=1"]).fail(1);
    assert!(error.contains("\"files\" is none of as, core, cpu"), "{error}");
}

// scenario 99
#[test]
fn limits_of_all_processes_are_set_or_refused() {
    let env = TestEnv::new();
    let own = "cat /proc/self/cgroup > /out";
    let finished = env.build(&format!("{BUSYBOX}RUN {own}\n")).args(["--memory", "64m", "--cgroup-parent", "layerwright-tests"]).finish();
    if finished.code == Some(0) {
        let image = finished.image();
        let text = image.tree_above(1)["out"].text().to_owned();
        // In a namespace of its own the group is the root; a kernel that does not hide it shows the parent.
        assert!(text.contains(":/\n") || text.contains("layerwright-tests/layerwright-"), "{text}");
    } else {
        assert!(finished.stderr.contains("the limits asked for cannot be set"), "{}", finished.stderr);
    }
    for place in ["/sys/fs/cgroup/layerwright-tests", "/sys/fs/cgroup/memory/layerwright-tests"] {
        let left = fs::read_dir(place).map(|entries| entries.flatten().filter(|entry| entry.path().is_dir()).count());
        assert!(matches!(left, Ok(0) | Err(_)), "a step's control group is left in {place}");
        let _ = fs::remove_dir(place);
    }
}

// scenarios 100 and 101
#[test]
fn hosts_are_added_and_never_in_the_layer() {
    let env = TestEnv::new();
    let image = env
        .build(&format!(
            "{BUSYBOX}RUN grep -h added /etc/hosts > /out; test -e /etc/resolv.conf; (echo x >> /etc/hosts) 2> /dev/null || true\n"
        ))
        .args(["--add-host", "added:10.1.2.3", "--add-host", "added6=::2"])
        .succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "10.1.2.3\tadded\n::2\tadded6\n");
    assert!(!tree.keys().any(|path| path.starts_with("etc/")), "{:?}", tree.keys());
}

#[test]
fn the_environment_of_a_command() {
    let env = TestEnv::new();
    let dockerfile = format!(
        "{BUSYBOX}ENV A=env B=env\nARG A=arg\nARG UNSET\nARG C=1\nENV C=2\nRUN env | grep -E '^(A|B|C|UNSET|.*PROXY|.*proxy|HOME|PATH)=' | sort > /out; umask >> /out; wc -c < /dev/stdin >> /out\n"
    );
    let image = env.build(&dockerfile).args(["--build-arg", "http_proxy=http://p:1", "--build-arg", "NO_PROXY=x"]).succeed();
    let text = image.tree_above(1)["out"].text().to_owned();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = [
        "A=arg",
        "B=env",
        "C=2",
        "HOME=/root",
        "HTTP_PROXY=http://p:1",
        "NO_PROXY=x",
        &format!("PATH={path}"),
        "http_proxy=http://p:1",
        "no_proxy=x",
        "0022",
        "0",
    ];
    let mut found: Vec<_> = text.lines().collect();
    let mut wanted = expected.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert!(!image.config.to_string().contains("http://p:1"), "a proxy is not in the image");
}

#[test]
fn a_failing_command_says_how_it_ended() {
    let env = TestEnv::new();
    let error = env.build(&format!("{BUSYBOX}RUN seq 1 100; echo the last words >&2; exit 7\n")).fail(7);
    assert!(
        error.contains(
            "error: process \"/bin/sh -c seq 1 100; echo the last words >&2; exit 7\" did not complete successfully: exit code: 7\n"
        ),
        "{error}"
    );
    let repeated = error.split("last lines of output:").nth(1).unwrap();
    assert!(repeated.contains("the last words") && repeated.contains("  100\n") && !repeated.contains("  50\n"), "{repeated}");
    let error = env.build(&format!("{BUSYBOX}RUN kill -9 $$\n")).fail(137);
    assert!(error.contains("exit code: 137: killed by signal 9 (SIGKILL)"), "{error}");
    let error = env.build(&format!("{BUSYBOX}RUN [\"/no/such\"]\n")).fail(127);
    assert!(error.contains("process \"/no/such\" could not be run: "), "{error}");
}

#[test]
fn output_without_end_is_clipped_and_its_end_repeated() {
    let env = TestEnv::new();
    let build = env.build(&format!("{BUSYBOX}RUN yes | head -n 200000; echo end; false\n")).variable("BUILDKIT_STEP_LOG_MAX_SIZE", "1000");
    let error = build.fail(1);
    assert!(error.len() < 10_000, "{} bytes", error.len());
    assert!(error.contains("output clipped") && error.contains("  end\n"), "{error}");
}

#[test]
fn what_a_command_leaves_running_ends_with_it() {
    let env = TestEnv::new();
    let image = env
        .build(&format!("{BUSYBOX}RUN (sleep 2; echo late > /late) & echo now > /out\nRUN sleep 3; ls /late > /found 2>&1 || true\n"))
        .succeed();
    let tree = image.tree_above(1);
    assert!(!tree.contains_key("late"), "{:?}", tree.keys());
}
