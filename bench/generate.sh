#!/usr/bin/env bash
# Decoding and prefill beside transformers, on one random model, in one run.
#
#   PYTHON=/path/to/python bench/generate.sh [ROUNDS]
#
# PYTHON has torch and transformers (pip install torch transformers). The two take turns,
# ROUNDS times (3); the ratios are those of the medians. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
python=${PYTHON:-python3}
dir=runs/bench-generate
mkdir -p "$dir"
export HF_HUB_OFFLINE=1 GOMLX_NO_AUTO_INSTALL=1
make build
"$python" bench/generate.py "$dir/model" --make 2>/dev/null
for round in $(seq "$rounds"); do
  bin/alphalora bench generate --model "$dir/model" --batch 1,8 --json "$dir/ours-$round.json" >/dev/null
  "$python" bench/generate.py "$dir/model" --json "$dir/theirs-$round.json" >/dev/null 2>&1
done
"$python" - "$dir" "$rounds" <<'END'
import json, statistics, sys
dir, rounds = sys.argv[1], int(sys.argv[2])
ours = [json.load(open(f"{dir}/ours-{i+1}.json")) for i in range(rounds)]
theirs = [json.load(open(f"{dir}/theirs-{i+1}.json"))["tokens_per_second"] for i in range(rounds)]
middle = lambda values: statistics.median(list(values))
print(f"{'tokens/s, median of ' + str(rounds):28}{'ours':>9}{'transformers':>14}{'ratio':>8}{'floor reached':>15}")
for name, mine, key, floor in [
    ("prefill 8 x 128", lambda r: r["prefill"][1]["tokens_per_second"], "prefill_8x128", None),
    ("decode, batch 1", lambda r: r["decode"][0]["tokens_per_second"], "decode_batch_1", lambda r: r["decode"][0]["of_floor"]),
    ("decode, batch 8", lambda r: r["decode"][1]["tokens_per_second"], "decode_batch_8", lambda r: r["decode"][1]["of_floor"]),
]:
    a, b = middle(map(mine, ours)), middle(t[key] for t in theirs)
    share = f"{100 * middle(map(floor, ours)):.0f} %" if floor else ""
    print(f"{name:28}{a:9.1f}{b:14.1f}{a / b:8.2f}{share:>15}")
END
