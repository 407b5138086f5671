#!/usr/bin/env bash
# The server under 32 clients for 60 seconds, beside generation without it in the same run:
# the shipped model, and, where PYTHON is set, a random one of 8 layers, hidden 512.
#
#   [PYTHON=/path/to/python] bench/serve.sh [SECONDS]
#
# PYTHON has torch and transformers. Where STEP is set, each timed command runs under it.
# Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
step=${STEP:-}
dir=runs/bench-serve
export HF_HUB_OFFLINE=1 GOMLX_NO_AUTO_INSTALL=1
make build
rm -rf "$dir"
mkdir -p "$dir"
load() { # NAME MODEL
  echo "$1:"
  $step bin/alphalora bench serve --model "$2" --clients 32 --seconds "${seconds}s" --json "$dir/$1.json"
  grep -q '"failed": 0,' "$dir/$1.json" || { echo "bench: a request failed" >&2; exit 1; }
}
load shipped internal/seedling/base
if [ -n "${PYTHON:-}" ]; then
  "$PYTHON" bench/generate.py "$dir/small" --make 2>/dev/null
  cp internal/seedling/base/tokenizer*.json "$dir/small/" # it needs fewer rows of the vocabulary than there are
  load small "$dir/small"
fi
