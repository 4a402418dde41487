# shellcheck shell=bash
# Looks for the secrets that tests gave to the program in all that is left of the tests; needs common.sh.

# search_secrets LIST PATH...: fails where a line of LIST is in a file, compressed by gzip or not.
search_secrets() {
  local list=$1 found=0 file
  shift
  [ -s "$list" ] || return 0
  sort -u -o "$list" "$list"
  while IFS= read -r -d '' file; do
    if [ "$(head -c 2 "$file" | od -An -tx1)" = ' 1f 8b' ]; then
      zcat "$file" 2>/dev/null | grep -qaFf "$list" || continue
    else
      grep -qaFf "$list" "$file" || continue
    fi
    warn "a secret of the tests is in $file"
    found=1
  done < <(find "$@" -type f -size -8M -print0)
  return $found
}
