#!/usr/bin/env bash
# Reads our event files back with the tensorboard package, in a virtual environment of its
# own (or in VENV, an absolute path), and makes the golden file anew that this package wrote.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-$PWD/.deps/tensorboard-venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q tensorboard==2.21.0
"$venv/bin/python" scripts/tensorboard/check.py golden internal/tensorboard/testdata/events.golden
ALPHALORA_TENSORBOARD_PYTHON="$venv/bin/python" go test -count=1 -v -run TensorBoard ./internal/tensorboard ./cmd/alphalora
