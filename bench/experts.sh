#!/usr/bin/env bash
# What a training step costs as experts grow, as kinds differ and as dropout masks multiply.
#
#   bench/experts.sh            STEP=... goes before each measurement
set -euo pipefail
cd "$(dirname "$0")/.."
make build
file=$(mktemp)
trap 'rm -f "$file"' EXIT
printf '%-34s%8s%10s%9s%12s%9s\n' "" "step s" "GFLOP" "floor s" "parameters" "peak GB"
row() {
  ${STEP:-} bin/alphalora bench train --steps 6 "${@:2}" --json "$file" >/dev/null 2>&1
  python3 - "$1" "$file" <<'PY'
import json, sys
r = json.load(open(sys.argv[2]))
print(f"{sys.argv[1]:34}{r['step_seconds']:8.3f}{r['flops'] / 1e9:10.1f}{r['floor_seconds']:9.3f}{r['trainable_parameters']:12d}{r['peak_bytes'] / 1e9:9.2f}", flush=True)
PY
}
for e in 1 2 4 8 12 16 20; do row "moe-lora, $e experts a layer" --experts "$e"; done
for kind in lora rslora lora-plus dora moe-lora loramoe mixlora; do row "$kind" --kind "$kind"; done
row "moe-lora, no dropout" --dropout 0
row "moe-lora, a mask for each expert" --mask-per-expert
row "moe-lora, layers computed again" --gradient-checkpointing
