# Helpers of the set-up scripts; sourced with the project's root as working directory.

say() { echo "setup: $*"; }

# fail WHAT WHY DO ends the set-up with one line.
fail() {
  echo "setup: $1: $2 ($3)" >&2
  exit 1
}

# need COMMAND REMEDY
need() { command -v "$1" >/dev/null || fail "$1" 'is not on PATH' "$2, then run make setup again"; }

# fresh DIR makes an empty directory.
fresh() {
  rm -rf "$1"
  mkdir -p "$1"
}

# logged NAME SECONDS COMMAND... runs a command for so long at most; what it prints
# goes to .deps/NAME.
logged() {
  local log=$deps/$1 seconds=$2 status=0
  shift 2
  if command -v timeout >/dev/null; then
    timeout -k 10 "$seconds" "$@" >"$log" 2>&1 </dev/null || status=$?
  else
    "$@" >"$log" 2>&1 </dev/null || status=$?
  fi
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    echo "stopped after $seconds seconds" >>"$log"
  fi
  return "$status"
}

# last_line NAME is the last line with words of .deps/NAME, go run's own remark aside.
last_line() { grep -v '^exit status' "$deps/$1" 2>/dev/null | grep '[[:alpha:]]' | tail -n 1 | cut -c 1-300; }

# first_error NAME is the first line of .deps/NAME that begins with error, or the last.
first_error() { grep -m 1 '^error' "$deps/$1" | cut -c 1-300 || last_line "$1"; }

# copy_whole FROM TO makes the file appear at once and whole, or says why not in $reason.
copy_whole() {
  if mkdir -p "$(dirname "$2")" && cp "$1" "$2.part" && chmod 755 "$2.part" && mv "$2.part" "$2"; then
    return
  fi
  rm -f "$2.part"
  reason="$2 cannot be written"
  return 1
}

# sha256_is HASH FILE
sha256_is() {
  local got
  if command -v sha256sum >/dev/null; then
    got=$(sha256sum "$2")
  else
    got=$(shasum -a 256 "$2")
  fi
  [ "${got%% *}" = "$1" ]
}

# one_at_a_time FILE waits for another set-up in the same tree, ten minutes at most.
one_at_a_time() {
  command -v flock >/dev/null || return 0
  exec 9>"$1"
  flock -w 600 9 || fail 'setup' 'another set-up has been running for ten minutes' 'wait for it or end it'
}
