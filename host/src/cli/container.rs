//! Whether this process lives in a container, which it may then use up.

use std::path::Path;

/// Words that runtimes leave in control groups, command lines and variables.
const WORDS: &[&str] = &[
    "docker",
    "rkt",
    "systemd-nspawn",
    "lxc",
    "openvz",
    "kube",
    "containerd",
    "crio",
    "libpod",
    "garden",
    "podman",
    "gvisor",
    "firejail",
    "wsl",
];

/// Files that only containers have.
const MARKERS: &[&str] = &[
    "/run/.containerenv",
    "/.dockerenv",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "/run/secrets/kubernetes.io/serviceaccount",
    "/__runsc_containers__",
];

/// What shows that this is a container; none where nothing does. `variable` is the value of `container` in the environment.
pub fn evidence(variable: Option<&str>) -> Option<String> {
    evidence_below(Path::new("/"), variable)
}

fn evidence_below(root: &Path, variable: Option<&str>) -> Option<String> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let read = |path: &str| std::fs::read(at(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    if let Some(marker) = MARKERS.iter().find(|marker| at(marker).exists()) {
        return Some((*marker).to_owned());
    }
    if let Some(word) = word_in(&read("/proc/self/cgroup")) {
        return Some(format!("{word} in /proc/self/cgroup"));
    }
    if at("/proc/vz").exists() && !at("/proc/bc").exists() {
        return Some("/proc/vz".to_owned());
    }
    // The program alone: what it was told may hold any word, `--dockerfile` for one.
    let cmdline = read("/proc/1/cmdline");
    if let Some(word) = cmdline.split('\0').next().and_then(word_in) {
        return Some(format!("{word} is process 1"));
    }
    if read("/proc/version_signature").starts_with("Microsoft") {
        return Some("/proc/version_signature".to_owned());
    }
    // systemd-nspawn, podman and others set it to their names.
    if let Some(value) = variable {
        return Some(format!("the variable container is {value}"));
    }
    if word_in(&read("/run/systemd/container")).is_some() {
        return Some("/run/systemd/container".to_owned());
    }
    // gVisor's kernel calls itself by its name; its root is served by gofer or an overlay of its own.
    if read("/proc/version").contains("gVisor") {
        return Some("gVisor in /proc/version".to_owned());
    }
    root_filesystem(&read("/proc/mounts")).map(|kind| format!("/ is {kind}"))
}

fn word_in(text: &str) -> Option<&'static str> {
    WORDS.iter().copied().find(|word| text.contains(word))
}

/// The type of the root's filesystem, where it is one that containers have.
fn root_filesystem(mounts: &str) -> Option<&str> {
    let mut kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == "/").then(|| fields.next())?
    });
    kinds.next_back().filter(|kind| matches!(*kind, "overlay" | "fuse.fuse-overlayfs" | "aufs" | "9p"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], variable: Option<&str>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        evidence_below(dir.path(), variable).is_some()
    }

    #[test]
    fn containers_of_every_runtime_are_known() {
        for (what, files) in [
            ("docker", vec![("/.dockerenv", "")]),
            ("podman", vec![("/run/.containerenv", "")]),
            ("kubernetes", vec![("/var/run/secrets/kubernetes.io/serviceaccount/token", "x")]),
            ("cgroup v1 of docker", vec![("/proc/self/cgroup", "12:pids:/docker/8f9\n")]),
            ("cgroup v1 of a pod", vec![("/proc/self/cgroup", "3:cpu:/kubepods/burstable/pod1/2\n")]),
            (
                "cgroup v2 in a namespace, overlay",
                vec![("/proc/self/cgroup", "0::/\n"), ("/proc/mounts", "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n")],
            ),
            ("containerd without a cgroup namespace", vec![("/proc/self/cgroup", "0::/system.slice/containerd.service/x\n")]),
            (
                "Docker 20.10, cgroup v2",
                vec![("/.dockerenv", ""), ("/proc/self/cgroup", "0::/\n"), ("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")],
            ),
            ("LXC", vec![("/proc/self/cgroup", "4:memory:/lxc/ci\n")]),
            ("CRI-O, cgroup v2 of the machine", vec![("/proc/self/cgroup", "0::/kubepods.slice/crio-1.scope\n")]),
            ("OpenVZ", vec![("/proc/vz/x", "")]),
            ("WSL", vec![("/proc/version_signature", "Microsoft 4.4.0\n")]),
            ("gVisor's own marker", vec![("/__runsc_containers__/x", "")]),
            ("gVisor's kernel", vec![("/proc/version", "Linux version 4.4.0 gVisor\n")]),
            ("rootless podman", vec![("/proc/mounts", "fuse / fuse.fuse-overlayfs rw 0 0\n")]),
            ("gVisor", vec![("/proc/mounts", "none / 9p rw 0 0\n")]),
            ("gVisor's newer root", vec![("/proc/mounts", "none / overlay rw 0 0\n")]),
            ("systemd-nspawn", vec![("/run/systemd/container", "systemd-nspawn")]),
            ("an init that a runtime brings", vec![("/proc/1/cmdline", "/sbin/docker-init\0--\0sh\0")]),
        ] {
            assert!(found(&files, None), "{what}");
        }
        assert!(found(&[], Some("oci")));
    }

    #[test]
    fn a_machine_is_none_whatever_the_command_line_says() {
        let machine =
            [("/proc/self/cgroup", "0::/init.scope\n"), ("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\noverlay /var/lib/x overlay rw 0 0\n")];
        assert!(!found(&machine, None));
        for cmdline in ["/sbin/init\0", "layerwright\0build\0--dockerfile=/x\0", "sh\0-c\0docker build\0"] {
            assert!(!found(&[machine[0], machine[1], ("/proc/1/cmdline", cmdline)], None), "{cmdline}");
        }
    }
}
