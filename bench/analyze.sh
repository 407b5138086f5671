#!/usr/bin/env bash
# Spectra of a 7B model's layer by alphalora and by PyTorch, in turns on the same cores, and
# the ratios of the medians. A layer stands for the model: all layers have the same shapes.
#
#   bench/analyze.sh [ROUNDS [SHAPE]]      PYTHON=... a Python with torch; THREADS=2
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-3} shape=${2:-mistral-7b} threads=${THREADS:-2} python=${PYTHON:-python3}
command -v "$python" >/dev/null && "$python" -c 'import torch' 2>/dev/null || {
  echo "bench: $python has no torch (name one that has it in PYTHON)" >&2
  exit 2
}
[ -x bin/alphalora ] || make build
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for i in $(seq "$rounds"); do
  GOMAXPROCS=$threads bin/alphalora bench analyze --shape "$shape" --layers 1 --json "$dir/ours-$i.json" >/dev/null 2>"$dir/log" ||
    { cat "$dir/log" >&2; exit 1; }
  OMP_NUM_THREADS=$threads "$python" bench/analyze.py --threads "$threads" --shape "$shape" >"$dir/torch-$i.json"
done

"$python" - "$dir" <<'PY'
import glob, json, statistics, sys

def read(pattern):
    return [json.load(open(path)) for path in sorted(glob.glob(f"{sys.argv[1]}/{pattern}-*.json"))]

ours, torch = read("ours"), read("torch")
median = statistics.median
layers = torch[0]["layers"]
own = median(o["seconds"] for o in ours)
print(f"{ours[0]['shape']}, {len(ours)} rounds, {torch[0]['threads']} threads, torch {torch[0]['torch']}; seconds, medians")
for i, s in enumerate(torch[0]["shapes"]):
    print(f"  {s['shape'][0]}x{s['shape'][1]}: svdvals {median(t['shapes'][i]['svd'] for t in torch):.2f}, "
          f"Gram and eigvalsh {median(t['shapes'][i]['gram'] for t in torch):.2f}")
print(f"  a layer: alphalora {own:.1f} (its weights made meanwhile), {ours[0]['workers']} workers, peak {median(o['peak_memory_bytes'] for o in ours) / 1e9:.2f} GB")
for way, name in (("svd", "the release's way, svdvals"), ("gram", "Gram and eigvalsh")):
    layer = median(t["layer"][way] for t in torch)
    ratio = median(t["layer"][way] / o["seconds"] for t, o in zip(torch, ours))
    print(f"  a layer: {name} {layer:.1f}; alphalora is {ratio:.2f} times as fast; the model in proportion {own * layers:.0f} against {layer * layers:.0f}")
PY
