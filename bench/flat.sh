#!/usr/bin/env bash
# Does memory grow with a run? Trains the shipped model for many steps, with checkpoints, the
# page and TensorBoard's files as any run has them, and tells the process' resident memory on
# the way and its slope over the second half.
#
#   bench/flat.sh [STEPS] [KEY=VALUE ...]      2,000 steps: about a quarter of an hour on two cores
#
# KEY=VALUE is handed to train's --set, such as training.batch=8.
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-2000}
sets=()
for set in "${@:2}"; do sets+=(--set "$set"); done
make -s build
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bin/alphalora demo --steps 1 --items 1 --out "$dir/demo" >/dev/null 2>&1
bin/alphalora recipes seedling >"$dir/run.yaml"
bin/alphalora train --config "$dir/run.yaml" --set model="$dir/demo/base" --set "data.train=[$dir/demo/train.json]" \
  --set output="$dir/run" --set training.steps="$steps" "${sets[@]}" >"$dir/log" 2>&1 &
run=$!
while kill -0 "$run" 2>/dev/null; do
  rss=$(awk '/^VmRSS/ {print $2}' "/proc/$run/status" 2>/dev/null) || break
  [ -z "$rss" ] || [ ! -e "$dir/run/metrics.jsonl" ] || echo "$(wc -l <"$dir/run/metrics.jsonl") $rss"
  sleep 0.5
done >"$dir/samples"
wait "$run" || { tail -5 "$dir/log" >&2; exit 1; }
awk -v steps="$steps" '
  { step[NR] = $1; rss[NR] = $2 / 1024; if (rss[NR] > peak) peak = rss[NR] }
  function at(s,  i) { for (i = 1; i <= NR && step[i] < s; i++); return i > NR ? NR : i }
  END {
    for (part = 1; part <= 20; part++)
      if (part == 1 || part % 5 == 0) { i = at(int(steps * part / 20)); printf "step %5d  %7.1f MiB\n", step[i], rss[i] }
    for (i = at(int(steps / 2)); i <= NR; i++) { n++; x += step[i]; y += rss[i]; xx += step[i] * step[i]; xy += step[i] * rss[i] }
    printf "peak        %7.1f MiB\nslope of the second half: %+.2f MiB per 1,000 steps (%d samples)\n", peak, 1000 * (n * xy - x * y) / (n * xx - x * x), n
  }' "$dir/samples"
[ -z "${SAMPLES:-}" ] || cp "$dir/samples" "$SAMPLES"
