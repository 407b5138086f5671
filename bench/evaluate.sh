#!/usr/bin/env bash
# Evaluation beside a transformers generate loop on the same prompts, and likelihood
# scoring with and without shared prefixes, in one run: on the shipped model, and on a
# random one of 8 layers, hidden 512.
#
#   PYTHON=/path/to/python bench/evaluate.sh DATA [BENCHMARK]
#
# DATA is the folder of the benchmarks; BENCHMARK (cola) must have choices. PYTHON has torch
# and transformers (pip install torch transformers). Where STEP is set, each timed command
# runs under it. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 benchmark=${2:-cola}
python=${PYTHON:-python3}
step=${STEP:-}
dir=runs/bench-evaluate
shipped=internal/seedling/base
export HF_HUB_OFFLINE=1 GOMLX_NO_AUTO_INSTALL=1
make build
rm -rf "$dir"
mkdir -p "$dir"
"$python" bench/generate.py "$dir/small" --make 2>/dev/null
cp $shipped/tokenizer*.json "$dir/small/" # it needs fewer rows of the vocabulary than there are

beside() { # NAME MODEL ITEMS NEW
  local flags=(--model "$2" --benchmark "$benchmark" --data "$data" --limit "$3" --batch 8 --max-new-tokens "$4")
  bin/alphalora eval "${flags[@]}" --samples "$dir/$1.jsonl" >/dev/null 2>&1
  $step bin/alphalora bench evaluate "${flags[@]}" --json "$dir/$1-ours.json" >/dev/null 2>&1
  $step "$python" bench/evaluate.py "$2" "$dir/$1.jsonl" --batch 8 --max-new-tokens "$4" --json "$dir/$1-theirs.json" >/dev/null 2>&1
  "$python" - "$dir/$1" <<'END'
import json, sys
ours, theirs = (json.load(open(f"{sys.argv[1]}-{who}.json")) for who in ("ours", "theirs"))
ways = {w["way"]: w for w in ours["ways"]}
g, peer = ways.pop("generation"), theirs["items_per_second"]
print(f"{sys.argv[1].split('/')[-1]}: {ours['benchmark']}, {ours['items']} items, batch {ours['batch']}, {theirs['threads']} threads")
print(f"  generation                   {g['warm']:7.1f} items/s, {g['first']:.1f} with compilation; transformers {peer:.1f}: "
      f"ratio {g['warm'] / peer:.2f}, {g['first'] / peer:.2f} with compilation; {theirs['same_output']} outputs are the same")
for w in ways.values():
    print(f"  {w['way']:28} {w['warm']:7.1f} items/s, {w['first']:.1f} with compilation")
shared, rows = ways.values()
print(f"  shared prefixes over rows    {shared['warm'] / rows['warm']:7.2f} warm, {shared['first'] / rows['first']:.2f} with compilation")
END
}
beside shipped $shipped 512 64
beside small "$dir/small" 48 64
