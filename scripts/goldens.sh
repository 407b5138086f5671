#!/usr/bin/env bash
# Makes all goldens anew with the versions that scripts/goldens/requirements.txt pins, in a
# virtual environment of its own (.deps/goldens; several GB, as torch's package is), and
# fails on files that no case made. Says what has changed; git diff shows it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

readonly deps=$PWD/.deps
readonly env=$deps/goldens requirements=scripts/goldens/requirements.txt

mkdir -p "$deps"
python=$(command -v python3 || command -v python) || fail 'goldens' 'there is no Python' 'install Python 3.11 or newer with pip'
if ! cmp -s "$requirements" "$env/made-with"; then
  say 'goldens: installing torch and transformers into .deps/goldens (several GB, some minutes)'
  rm -rf "$env"
  "$python" -m venv "$env"
  logged goldens.log 1800 "$env/bin/pip" install --quiet -r "$requirements" ||
    fail 'goldens' "pip failed: $(last_line goldens.log)" 'make the Python package index reachable, then run make goldens again'
  cp "$requirements" "$env/made-with"
fi
export HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
"$env/bin/python" scripts/goldens/make.py
"$env/bin/python" scripts/goldens-tokenizers/make.py
"$env/bin/python" scripts/goldens-sampling/make.py
if git diff --quiet -- model; then
  say 'goldens: nothing has changed'
else
  say 'goldens: changed, see git diff -- model'
fi
