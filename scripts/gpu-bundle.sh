#!/usr/bin/env bash
# One folder, dist/gpu-bundle, that runs on a machine with a GPU but without network and Go:
# the program (the small model is part of it), the scripts that measure, and how to use them.
# The machine brings a Python with JAX and PyTorch, in which the program finds its plugin.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly bundle=${1:-dist/gpu-bundle} most=60000000

rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/bench"
go build -trimpath -ldflags '-s -w' -o "$bundle/bin/alphalora" ./cmd/alphalora
cp bench/gpu.sh bench/gpu_peers.py bench/gpu_table.py bench/gpu_compile.py "$bundle/bench/"
cp docs/gpu.md "$bundle/README.md"
cp LICENSE "$bundle/"
size=$(du -sb "$bundle" | cut -f 1)
if [ "$size" -ge "$most" ]; then
  echo "gpu-bundle: $bundle has $size bytes (it must stay below $most)" >&2
  exit 1
fi
echo "gpu-bundle: $bundle, $((size / 1000000)) MB"
