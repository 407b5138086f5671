#!/usr/bin/env bash
# A training step beside its peers, in turns on the same cores, and the ratios of the medians:
# the mixture of experts and plain LoRA by alphalora, peft's LoRA of the same total rank, and
# the mixture as a loop over experts in PyTorch.
#
#   PYTHON=/path/to/python [SHAPE=small|tinyllama-1.1b] bench/train.sh [ROUNDS]
#
# tinyllama-1.1b is in bfloat16, one row of 256 tokens, 110 experts, layers computed again in
# the backward pass by all. STEPS=... counts so many steps (10).
#
# PYTHON has torch, transformers and peft (pip install torch transformers peft). Leave the
# machine alone meanwhile: a round takes about two minutes on two cores. STEP=... goes before
# each measurement.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3} python=${PYTHON:-python3} shape=${SHAPE:-small}
case $shape in
  small) common=() mixture=() ;;
  tinyllama-1.1b)
    common=(--dtype bfloat16 --rows 1 --length 256 --gradient-checkpointing)
    mixture=(--experts 3,3,3,4,4,4,4,4,5,5,5,5,5,5,6,6,6,6,6,7,7,7) ;;
  *) echo "bench: no shape $shape (choose small or tinyllama-1.1b)" >&2; exit 2 ;;
esac
common+=(--shape "$shape" --steps "${STEPS:-10}")
export HF_HUB_OFFLINE=1 GOMLX_NO_AUTO_INSTALL=1
"$python" -c 'import torch, transformers, peft' 2>/dev/null || {
  echo "bench: $python lacks torch, transformers or peft (name one that has them in PYTHON)" >&2
  exit 2
}
make build
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ours() { ${STEP:-} bin/alphalora bench train "${common[@]}" "${@:2}" --json "$dir/$1.json" >/dev/null 2>"$dir/log" || { cat "$dir/log" >&2; exit 1; }; }
theirs() { ${STEP:-} "$python" bench/train.py "${@:2}" "${common[@]}" >"$dir/$1.json" 2>/dev/null; }
for i in $(seq "$rounds"); do
  ours "mixture-$i" --kind moe-lora "${mixture[@]}"
  theirs "peft40-$i" lora --r 40
  theirs "loop-$i" loop "${mixture[@]}"
  ours "lora8-$i" --kind lora --r 8
done
"$python" - "$dir" "$rounds" <<'PY'
import json, statistics, sys

dir, rounds = sys.argv[1], int(sys.argv[2])
def read(name): return [json.load(open(f"{dir}/{name}-{i+1}.json")) for i in range(rounds)]
def middle(list, key): return statistics.median(one[key] for one in list)
names = {"mixture": "mixture of experts", "lora8": "own LoRA, r 8", "peft40": "peft's LoRA, r 40", "loop": "loop over experts"}
runs = {name: read(name) for name in names}
mixture = middle(runs["mixture"], "step_seconds")
print(f"{'medians of ' + str(rounds) + ' rounds':22}{'step s':>8}{'spread':>16}{'tokens/s':>10}{'peak GB':>9}{'ours takes':>12}")
for name, what in names.items():
    list = runs[name]
    steps = [one["step_seconds"] for one in list]
    step = statistics.median(steps)
    print(f"{what:22}{step:8.3f}{min(steps):8.3f}-{max(steps):.3f}{middle(list, 'tokens_per_second'):12.0f}"
          f"{middle(list, 'peak_bytes') / 1e9:9.2f}{mixture / step:11.2f}x")
r = runs["mixture"]
print(f"floor of the mixture's step: {middle(r, 'flops') / 1e9:.0f} GFLOP at {middle(r, 'flops_per_second') / 1e9:.0f} GFLOP/s, "
      f"{middle(r, 'floor_seconds'):.3f} s, {100 * middle(r, 'of_floor'):.0f} % of it reached")
PY
