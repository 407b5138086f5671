#!/usr/bin/env bash
# Evaluation beside a transformers generate loop on the same prompts, and likelihood
# scoring with and without shared prefixes, in one run: on the shipped model, and on a
# random one of 8 layers, hidden 512. Then all items of the benchmark as a user calls for
# them, compilation and all; "whole" does this part only.
#
#   PYTHON=/path/to/python bench/evaluate.sh DATA [BENCHMARK [whole]]
#
# DATA is the folder of the benchmarks; BENCHMARK (cola) must have choices. PYTHON has torch
# and transformers (pip install torch transformers). Where STEP is set, each timed command
# runs under it. Leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 benchmark=${2:-cola} part=${3:-all}
python=${PYTHON:-python3}
step=${STEP:-}
dir=runs/bench-evaluate
shipped=internal/seedling/base
export HF_HUB_OFFLINE=1 GOMLX_NO_AUTO_INSTALL=1
make build
rm -rf "$dir"
mkdir -p "$dir"

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

wall() { # COMMAND: its seconds
  local TIMEFORMAT=%R
  { time $step "$@" >/dev/null 2>&1; } 2>&1
}

whole() { # one process each, all items of the shipped model
  local ours theirs to=$dir/whole
  ours=$(wall bin/alphalora eval --model $shipped --benchmark "$benchmark" --data "$data" --batch 8 --max-new-tokens 64 --samples "$to.jsonl" --json "$to-ours.json")
  theirs=$(wall "$python" bench/evaluate.py $shipped "$to.jsonl" --batch 8 --max-new-tokens 64 --json "$to-theirs.json")
  "$python" - "$to" "$ours" "$theirs" <<'END'
import json, sys
ours, theirs = (json.load(open(f"{sys.argv[1]}-{who}.json")) for who in ("ours", "theirs"))
r, (mine, their) = ours["results"][0], map(float, sys.argv[2:])
print(f"whole call: {r['benchmark']}, {r['items']} items, batch {ours['batch']}, {theirs['threads']} threads; {theirs['same_output']} outputs are the same")
print(f"  items, with compilation      {r['items_per_second']:7.1f} items/s; transformers' loop, model loaded {theirs['items_per_second']:.1f}: "
      f"ratio {r['items_per_second'] / theirs['items_per_second']:.2f}")
print(f"  process, from start to end   {mine:7.1f} s; transformers {their:.1f}: ratio {their / mine:.2f}")
END
}

if [ "$part" = all ]; then
  "$python" bench/generate.py "$dir/small" --make 2>/dev/null
  cp $shipped/tokenizer*.json "$dir/small/" # it needs fewer rows of the vocabulary than there are
  beside shipped $shipped 512 64
  beside small "$dir/small" 48 64
fi
whole
