#!/usr/bin/env bash
# The nf4 weights of the shipped model beside those that bitsandbytes makes: codes, sizes and
# what they stand for. Fails where a code differs, or more than 5 of 1,000 sizes.
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
[ -x bin/alphalora ] || make build
bin/alphalora generate --model internal/seedling/base --prompt The --max-new-tokens 1 --model-quant nf4 --quant-cache "$dir" --backend go >/dev/null
"${PYTHON:-python3}" scripts/quantisation.py internal/seedling/base "$dir"/nf4-*.safetensors
