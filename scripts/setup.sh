#!/usr/bin/env bash
# Set-up of the two native libraries. Prints one line a step; a step that is done is
# skipped; nothing waits for ever; a failure says what to do.
#
#   scripts/setup.sh          the PJRT CPU plugin and libtokenizers.a
#   scripts/setup.sh cuda     the PJRT CUDA plugin, on a machine with an NVIDIA GPU
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

# The PJRT CPU plugin, from the PyPI package: the wheel and the library inside it.
readonly wheel_spec='xla-cpu-pjrt==0.0.1'
readonly wheel_sha256=55837b6b7b47daa717f2d9a5a03563ea0ceaa338d06a81a1e2d3f060d960decc
readonly wheel_member=xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so
readonly plugin_sha256=88c3f28c5900f48ad4a82cab9e79bba9537809743395e341485f8794268820dc

readonly deps=$PWD/.deps
readonly user_lib=$HOME/.local/lib/go-xla
readonly plugin=pjrt_c_api_cpu_plugin.so

main() {
  mkdir -p "$deps/lib"
  one_at_a_time "$deps/lock"
  need go 'install Go 1.26 or newer'
  case "${1:-}" in
  '')
    cpu_plugin
    tokenizers
    ;;
  cuda) cuda_plugin ;;
  *) fail "setup.sh $1" 'unknown argument' 'none, or cuda' ;;
  esac
}

# --- PJRT CPU plugin ---------------------------------------------------------------

cpu_plugin() {
  local have
  if have=$(find_plugin cpu) || have=$(PJRT_PLUGIN_LIBRARY_PATH='' find_plugin cpu); then
    say "PJRT CPU plugin: already there ($have)"
  elif [ -f "$deps/lib/$plugin" ]; then
    copy_whole "$deps/lib/$plugin" "$user_lib/$plugin" || fail 'PJRT CPU plugin' "$reason" 'free the disk, then run make setup again'
    say "PJRT CPU plugin: copied from .deps/lib to $user_lib"
  elif plugin_from_installer; then
    say "PJRT CPU plugin: installed by go-xla's installer in $user_lib"
  elif plugin_from_wheel; then
    say "PJRT CPU plugin: installed from the PyPI package $wheel_spec in $user_lib (hashes match)"
  else
    fail 'PJRT CPU plugin' "$reason" \
      "put a plugin at $user_lib/$plugin or name its directory in PJRT_PLUGIN_LIBRARY_PATH, then run make setup again; --backend go works without one"
  fi
  if [ -n "${PJRT_PLUGIN_LIBRARY_PATH:-}" ] && ! find_plugin cpu >/dev/null; then
    say "PJRT CPU plugin: PJRT_PLUGIN_LIBRARY_PATH hides it (unset it, or add $user_lib to it)"
  fi
}

# find_plugin KIND prints the plugin that `go test` and the program find by themselves.
find_plugin() {
  local dirs=$user_lib:$user_lib/nvidia:/usr/local/lib/go-xla:/usr/local/lib/go-xla/nvidia dir file
  local IFS=:
  for dir in ${PJRT_PLUGIN_LIBRARY_PATH:-$dirs}; do
    for file in "$dir"/pjrt_c_api_"$1"_plugin.so "$dir"/pjrt_c_api_"$1"*_plugin.so "$dir"/pjrt_c_api_"$1"*_plugin.dylib; do
      if [ -f "$file" ]; then
        echo "$file"
        return
      fi
    done
  done
  return 1
}

# The release gives no hashes; its file is taken when it comes over TLS from go-xla's
# own installer and opens as a plugin here.
plugin_from_installer() {
  local dir=$deps/build/installer file
  fresh "$dir"
  say 'PJRT CPU plugin: trying go-xla'"'"'s installer'
  if ! logged installer.log 420 go run ./scripts/plugin cpu "$dir"; then
    say "PJRT CPU plugin: go-xla's installer did not do it: $(last_line installer.log)"
    return 1
  fi
  file=$(find "$dir" -name 'pjrt_c_api_cpu*' -type f | head -n 1)
  if [ -z "$file" ] || ! logged check.log 120 go run ./scripts/plugin check "$file"; then
    say "PJRT CPU plugin: the installer's file does not work here: $(last_line check.log)"
    return 1
  fi
  copy_whole "$file" "$user_lib/$(basename "$file")" || return 1
  rm -rf "$dir"
}

plugin_from_wheel() {
  local dir=$deps/build/wheel wheel python
  if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    reason="the PyPI package is for Linux on x86_64 only, this is $(uname -sm)"
    return 1
  fi
  if ! python=$(command -v python3 || command -v python); then
    reason='go-xla'"'"'s installer failed, and there is no Python whose pip could fetch the PyPI package'
    return 1
  fi
  fresh "$dir"
  say "PJRT CPU plugin: fetching the PyPI package $wheel_spec (63 MB)"
  if ! logged pip.log 600 "$python" -m pip download --quiet --timeout 30 --retries 2 --no-deps \
    --only-binary=:all: --dest "$dir" "$wheel_spec"; then
    reason="pip could not fetch $wheel_spec: $(last_line pip.log)"
    return 1
  fi
  wheel=$(find "$dir" -name '*.whl' | head -n 1)
  if ! sha256_is "$wheel_sha256" "$wheel"; then
    reason="the wheel of $wheel_spec does not have the sha256 $wheel_sha256"
    return 1
  fi
  "$python" -m zipfile -e "$wheel" "$dir/unpacked"
  if ! sha256_is "$plugin_sha256" "$dir/unpacked/$wheel_member"; then
    reason="$wheel_member in the wheel does not have the sha256 $plugin_sha256"
    return 1
  fi
  copy_whole "$dir/unpacked/$wheel_member" "$user_lib/$plugin" || return 1
  rm -rf "$dir"
}

# --- libtokenizers.a ---------------------------------------------------------------

# The module's GitHub release has this library too, but publishes no hash that could be
# pinned here, so that source is not used: the one built is the source that go.sum pins.
tokenizers() {
  local version built=$deps/lib/libtokenizers.a
  version=$(go list -m -f '{{.Version}}' github.com/daulet/tokenizers)
  if [ -f "$built" ] && [ "$(cat "$built.version" 2>/dev/null)" = "$version" ]; then
    say "libtokenizers.a: already there (.deps/lib, $version)"
    return
  fi
  need cargo 'install Rust with cargo 1.78 or newer'
  need gcc 'install gcc'
  say "libtokenizers.a: building $version with cargo (2 to 5 minutes on 2 cores)"
  build_tokenizers "$deps/build/tokenizers"
  copy_whole "$deps/build/tokenizers/target/release/libtokenizers_ffi.a" "$built" ||
    fail 'libtokenizers.a' "$reason" 'free the disk, then run make setup again'
  echo "$version" >"$built.version"
  rm -rf "$deps/build/tokenizers"
  say 'libtokenizers.a: built, in .deps/lib'
}

build_tokenizers() {
  local dir=$1 source
  fresh "$dir"
  logged download.log 300 go mod download github.com/daulet/tokenizers ||
    fail 'libtokenizers.a' "its Go module cannot be fetched: $(last_line download.log)" 'make the Go module proxy reachable, then run make setup again'
  source=$(go list -m -f '{{.Dir}}' github.com/daulet/tokenizers)
  cp -r "$source/Cargo.toml" "$source/crates" "$dir"
  chmod -R u+w "$dir"
  # a git dependency, published under this version too
  sed -i.orig 's|^tiktoken-rs = .*|tiktoken-rs = "0.9"|' "$dir/crates/tokenizers/Cargo.toml"
  cp scripts/tokenizers.lock "$dir/Cargo.lock"
  keep_rust_home
  if ! (cd "$dir" && CARGO_HTTP_TIMEOUT=30 CARGO_NET_RETRY=2 CARGO_TARGET_DIR=$dir/target RUST_BACKTRACE=0 \
    logged cargo.log 1200 cargo build --quiet --release --locked -p tokenizers-ffi); then
    fail 'libtokenizers.a' "cargo failed: $(first_error cargo.log)" \
      "see .deps/cargo.log; cargo 1.78 or newer and a reachable crate registry are needed; or put a libtokenizers.a of this version in .deps/lib and its version in .deps/lib/libtokenizers.a.version"
  fi
}

# keep_rust_home lets rustup's cargo work when HOME is not where Rust was installed.
keep_rust_home() {
  local home
  home=$(dirname "$(dirname "$(dirname "$(command -v cargo)")")")
  if ! cargo --version >/dev/null 2>&1 && [ -d "$home/.rustup" ]; then
    export RUSTUP_HOME=$home/.rustup
  fi
}

# --- PJRT CUDA plugin --------------------------------------------------------------

cuda_plugin() {
  local have
  if have=$(find_plugin cuda); then
    say "PJRT CUDA plugin: already there ($have)"
    return
  fi
  say 'PJRT CUDA plugin: go-xla'"'"'s installer fetches it and its libraries (3 GB, hashes checked)'
  logged cuda.log 1800 go run ./scripts/plugin cuda "$user_lib" ||
    fail 'PJRT CUDA plugin' "$(last_line cuda.log)" 'make the Python package index reachable, then run make setup-cuda again'
  say "PJRT CUDA plugin: installed in $user_lib/nvidia"
}

reason='not found'
main "$@"
