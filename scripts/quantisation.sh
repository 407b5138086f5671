#!/usr/bin/env bash
# The nf4 and int8 weights of the shipped model beside those that bitsandbytes makes: codes,
# sizes and what they stand for. Fails beyond the limits that scripts/quantisation.py states.
#
#   PYTHON=/path/to/python scripts/quantisation.sh
#
# PYTHON has torch, safetensors and bitsandbytes (pip install torch safetensors bitsandbytes).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=runs/quantisation
rm -rf "$dir"
mkdir -p "$dir"
export GOMLX_NO_AUTO_INSTALL=1 PYTHONDONTWRITEBYTECODE=1 TORCHDYNAMO_DISABLE=1
make build
for kind in nf4 int8; do
  bin/alphalora generate --model internal/seedling/base --prompt The --max-new-tokens 1 --model-quant $kind --quant-cache "$dir" --backend go >/dev/null
done
"${PYTHON:-python3}" scripts/quantisation.py internal/seedling/base "$dir"
