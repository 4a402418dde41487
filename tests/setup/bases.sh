#!/usr/bin/env bash
# Makes the base images of the tests as OCI layouts: DIR/busybox and DIR/debian, tag latest. What is there already is not made again.
# usage: bases.sh DIR      needs root, busybox-static, mmdebstrap, umoci
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(realpath -m "${1:?usage: bases.sh DIR}")
mkdir -p "$dir"
cd "$dir"

# layout NAME COMMAND: NAME.tar becomes the one layer of an image.
layout() {
  rm -rf "$1.part"
  umoci init --layout "$1.part"
  umoci new --image "$1.part:latest"
  umoci raw add-layer --image "$1.part:latest" "$1.tar" --history.created_by "$1 for the tests" --history.created 2026-01-01T00:00:00Z
  umoci config --image "$1.part:latest" --no-history --architecture "$(dpkg --print-architecture)" --os linux --created 2026-01-01T00:00:00Z \
    --config.cmd "$2" --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  umoci gc --layout "$1.part" >/dev/null 2>&1
  mv "$1.part" "$1"
  rm "$1.tar"
}

if ! [ -e busybox ]; then
  "$here/../../examples/busybox-rootfs.sh" busybox.tar
  layout busybox sh
fi

if ! [ -e debian ]; then
  sources=()
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    if [ -s "$file" ]; then
      sources=("$file")
      break
    fi
  done
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
  rm -rf debian.root
  mmdebstrap --quiet --variant=minbase --mode=root --format=directory --include=ca-certificates --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    "$suite" debian.root "${sources[@]}"
  rm -rf debian.root/{dev,run,tmp}/* debian.root/etc/{resolv.conf,hostname} debian.root/var/lib/apt/lists/*
  : >debian.root/etc/machine-id
  tar --numeric-owner --sort=name --xattrs --xattrs-include='security.*' --format=posix -C debian.root -cf debian.tar .
  rm -rf debian.root
  layout debian bash
fi
