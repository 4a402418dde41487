#!/usr/bin/env bash
# Makes a small root filesystem from this machine's static busybox, as a tar archive.
# usage: busybox-rootfs.sh OUT.tar      needs busybox-static; its owners are 0:0 whoever runs it
set -euo pipefail
out=$(realpath -m "${1:?usage: busybox-rootfs.sh OUT.tar}")
busybox=$(command -v busybox) || { echo "error: there is no busybox here: apt-get install busybox-static" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cd "$root"
mkdir -p bin dev etc home proc root sys tmp usr/bin usr/sbin var
chmod 755 . && chmod 1777 tmp && chmod 700 root
cp "$busybox" bin/busybox && chmod 755 bin/busybox
for applet in $("$busybox" --list); do
  [ "$applet" = busybox ] || ln bin/busybox "bin/$applet"
done
ln -s /bin/env usr/bin/env
printf '%s\n' root:x:0:0:root:/root:/bin/sh daemon:x:1:1:daemon:/usr/sbin:/bin/false nobody:x:65534:65534:nobody:/home:/bin/false >etc/passwd
printf '%s\n' root:x:0: daemon:x:1: nobody:x:65534: >etc/group
mkdir -p "$(dirname "$out")"
tar --sort=name --format=posix --owner=0 --group=0 --numeric-owner --mtime=@1767225600 --pax-option=delete=atime,delete=ctime -cf "$out" .
