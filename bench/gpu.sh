#!/usr/bin/env bash
# What is to be shown on a GPU, in calls of under ten minutes each: prints a short table last
# and writes JSON into OUT/PART (and OUT/PART.json, all of it together).
#
#   bench/gpu.sh PART [OUT]          OUT is runs/gpu unless given
#
#   doctor                      engines, GPU, plugin, libraries
#   parity                      demo; the loss of a few steps beside the pure-Go engine, TF32 off
#   mistral-7b llama-2-7b gemma-7b, each with -16x256 or -8x1024: training beside its peers
#   module                      the compiled step: calls of flash attention, the memory report
#   generate                    Mistral-7B, batch 64, beside the memory's floor
#   analyze                     Mistral-7B's spectra, products on the GPU
#   tiny                        a training part at a tiny shape, to try the script on a CPU
#
# ALPHALORA names the binary, PYTHON a Python with torch and peft, BACKEND the engine.
set -uo pipefail
cd "$(dirname "$0")/.."
part=${1:-} out=${2:-runs/gpu} python=${PYTHON:-python3} backend=${BACKEND:-xla:cuda}
alphalora=${ALPHALORA:-$PWD/bin/alphalora}
limit=${LIMIT:-560} # seconds of the whole call
export GOMLX_NO_AUTO_INSTALL=1 HF_HUB_OFFLINE=1

declare -A experts=( # published for 160 experts
  [mistral-7b]=1,3,5,4,5,5,4,4,3,4,3,2,2,3,3,4,9,4,7,7,7,7,7,7,9,7,6,8,6,7,4,3
  [gemma-7b]=2,4,7,8,8,7,6,5,7,6,7,4,5,4,3,3,4,6,4,5,7,8,7,9,6,7,6,5
  [tiny]=2,3,1,4)

usage() { sed -n '2,19s/^# \{0,1\}//p' "$0"; exit 2; }

# llama's list is allocated from the published alphas by the same rule.
list_for() {
  if [ -n "${experts[$1]:-}" ]; then echo "${experts[$1]}"; return; fi
  "$alphalora" allocate --published "$1" --experts 160 --json - 2>/dev/null |
    "$python" -c 'import json, sys; print(",".join(map(str, json.load(sys.stdin)["experts"])))'
}

# one NAME SECONDS COMMAND... runs a command whose JSON goes to NAME.json, for so long as the
# call has left, and notes the GPU's fullest moment beside it.
one() {
  local name=$1 most=$2 left=$((limit - SECONDS)) status=0 watcher=
  shift 2
  if [ "$left" -lt 20 ]; then echo "$name: not run, the call's time is over" >&2; return 1; fi
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$dir/$name.memory" 2>/dev/null &
    watcher=$!
  fi
  timeout "$((most < left ? most : left))" "$@" >"$dir/$name.out" 2>"$dir/$name.err" || status=$?
  [ -z "$watcher" ] || { kill "$watcher"; wait "$watcher"; } 2>/dev/null
  if [ "$status" != 0 ]; then echo "$name: failed ($status): $(tail -n 1 "$dir/$name.err" | cut -c 1-300)" >&2; fi
  return "$status"
}

ours() { local name=$1 most=$2; shift 2; one "$name" "$most" "$alphalora" "$@" --backend "$backend" --json "$dir/$name.json"; }
theirs() { local name=$1; shift; one "$name" "${PEER_SECONDS:-100}" "$python" bench/gpu_peers.py "$@" && tail -n 1 "$dir/$name.out" >"$dir/$name.json"; }

training() { # SHAPE ROWS LENGTH
  local list dtype=bfloat16 flash=flash
  list=$(list_for "$1") || exit 1
  [ "$backend" = xla:cuda ] || flash=plain
  local shape=(--shape "$1" --experts "$list" --rows "$2" --length "$3") steps=(--steps "${STEPS:-8}")
  ours flash 170 bench train "${shape[@]}" "${steps[@]}" --dtype "$dtype" --attention $flash
  theirs peft lora --shape "$1" --rows "$2" --length "$3" "${steps[@]}"
  theirs loop loop "${shape[@]}" "${steps[@]}"
  theirs batched batched "${shape[@]}" "${steps[@]}"
  ours flash-checkpointing 170 bench train "${shape[@]}" "${steps[@]}" --dtype "$dtype" --attention $flash --gradient-checkpointing
  theirs peft-checkpointing lora --gradient-checkpointing --shape "$1" --rows "$2" --length "$3" "${steps[@]}"
  theirs loop-checkpointing loop --gradient-checkpointing "${shape[@]}" "${steps[@]}"
  theirs peft-compile lora --compile --shape "$1" --rows "$2" --length "$3" "${steps[@]}"
  theirs batched-compile batched --compile "${shape[@]}" "${steps[@]}"
  ours plain 170 bench train "${shape[@]}" "${steps[@]}" --dtype "$dtype" --attention plain
}

parity() {
  ours demo 300 demo --out "$dir/demo"
  for engine in "$backend" go; do
    one "step-${engine//:/-}" 150 "$alphalora" bench train --backend "$engine" --shape tiny --experts 2,3,1,4 --rows 2 --length 32 --steps 4 --dropout 0 --json "$dir/step-${engine//:/-}.json"
  done
}

module() {
  local list; list=$(list_for mistral-7b)
  XLA_FLAGS="${XLA_FLAGS:-} --xla_dump_to=$dir/dump --xla_dump_hlo_as_text" ours step 400 bench train --shape mistral-7b \
    --experts "$list" --rows 16 --length 256 --steps 1 --dtype bfloat16 --attention flash
  for call in fmhaSoftmax fmhaSoftmaxBackward; do
    echo "$call: $(cat "$dir"/dump/*accumulate*after_optimizations.txt 2>/dev/null | grep -c "__cudnn\$$call\"")"
  done | tee "$dir/calls.txt"
  head -n 40 "$dir"/dump/*accumulate*memory-usage-report.txt >"$dir/memory-report.txt" 2>/dev/null
  head -n 12 "$dir/memory-report.txt"
  rm -rf "$dir/dump"
}

[ -n "$part" ] || usage
dir=$out/$part
rm -rf "$dir"
mkdir -p "$dir"
case $part in
doctor) one doctor 100 "$alphalora" doctor --backend "$backend" --json "$dir/doctor.json"; cat "$dir/doctor.out" ;;
parity) parity ;;
mistral-7b-* | llama-2-7b-* | gemma-7b-*) size=${part##*-}; training "${part%-*}" "${size%x*}" "${size#*x}" ;;
tiny) training tiny 2 32 ;;
module) module ;;
generate) ours generate 500 bench generate --shape mistral-7b --dtype bfloat16 --batch 64 --prompt 128 --new 64 --runs 2 ;;
analyze) ours analyze 500 bench analyze --shape mistral-7b ;;
*) usage ;;
esac
"$python" bench/gpu_table.py "$dir"
