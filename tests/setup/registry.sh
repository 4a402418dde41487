# shellcheck shell=bash
# Starts Debian's docker-registry for the tests; needs common.sh.

registry_processes=()

# start_registry NAME DIR [YAML]: serves DIR/NAME/data on a free port of 127.0.0.1 and sets `address`.
# YAML is added to the configuration: one line, indented by two spaces for a key of `http`.
start_registry() {
  local dir=$2/$1
  mkdir -p "$dir"
  cat >"$dir/config.yml" <<YAML
version: 0.1
log:
  level: info
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: $dir/data
  delete:
    enabled: true
http:
  addr: 127.0.0.1:0
${3-}
YAML
  : >"$dir/log"
  docker-registry serve "$dir/config.yml" >"$dir/log" 2>&1 </dev/null &
  registry_processes+=($!)
  address=
  for _ in $(seq 100); do
    address=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$dir/log")
    [ -z "$address" ] || return 0
    sleep 0.1
  done
  tail -n 5 "$dir/log" >&2
  die "the $1 registry did not start"
}

# Ends the registries that this script started, and no others.
stop_registries() {
  local process
  for process in "${registry_processes[@]}"; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  registry_processes=()
}
