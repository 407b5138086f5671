#!/usr/bin/env bash
# Adapters in and out, beside the real peft and transformers: import, export and merge give
# the same logits. Prints the largest differences, and fails above 1e-5.
#
#   PYTHON=/path/to/python scripts/interchange.sh
#
# PYTHON has torch, transformers and peft (pip install torch transformers peft). Adapters of
# the released code are looked for in ../shared/reference, or below ALPHALORA_SHARED.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=runs/interchange
rm -rf "$dir"
mkdir -p "$dir"
export HF_HUB_OFFLINE=1 GOMLX_NO_AUTO_INSTALL=1 PYTHONDONTWRITEBYTECODE=1
make build
"${PYTHON:-python3}" scripts/interchange.py bin/alphalora "$dir" "${ALPHALORA_SHARED:-../shared}"
