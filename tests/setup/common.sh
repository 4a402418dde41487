# shellcheck shell=bash
# Shared by ./demo, ./test and .ci/run: what a machine must have, and one clear line where it does not.

PATH=$PATH:/usr/sbin:/sbin

say() { printf '==> %s\n' "$*"; }
warn() { printf '!!! %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# debian_packages NAME...: installs packages, or says that they must be.
debian_packages() {
  if ! command -v apt-get >/dev/null; then
    die "this machine lacks $* (names of Debian packages) and is no Debian: install them, then try again"
  elif [ "$(id -u)" != 0 ]; then
    die "this machine lacks $*: run as root, or first \`apt-get install $*\`"
  fi
  say "installing $*"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "apt-get could not install $*"
  fi
  rm -f "$log"
}

# need COMMAND=PACKAGE...: installs the packages of the commands that are missing.
need() {
  local pair missing=()
  for pair in "$@"; do
    # Not `command -v`, to which `time` is a word of the shell's own.
    type -P "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] || debian_packages "${missing[@]}"
}

# rust_toolchain: cargo, and a compiler for wasm32-unknown-unknown, which the standard plugins are built for.
rust_toolchain() {
  command -v cargo >/dev/null || die "this machine has no Rust toolchain: install one with rustup (https://rustup.rs), then try again"
  cargo --version >/dev/null || die "cargo does not start (the message is above)"
  need cc=gcc
  local target=wasm32-unknown-unknown folder
  folder=$(rustc --print target-libdir --target $target 2>/dev/null) || folder=
  compgen -G "$folder/libstd-*.rlib" >/dev/null && return
  if command -v rustup >/dev/null && [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ]; then
    say "rustup target add $target"
    rustup target add $target </dev/null && return
    warn "rustup could not; Debian's compiler and the sources of its standard library do as well"
  fi
  if ! [ -e "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; then
    debian_packages rustc-web rust-web-src
  fi
  [ -e "$(rustc --print target-libdir)/../bin/rust-lld" ] || need wasm-ld=lld
}
