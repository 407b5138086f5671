#!/usr/bin/env bash
# What is to be shown on a GPU, in calls of under ten minutes each: prints a short table last
# and writes JSON into OUT/PART (and OUT/PART.json, all of it together).
#
#   bench/gpu.sh PART [OUT]          OUT is runs/gpu unless given
#
#   first                       what matters most, where a machine is lent for a quarter of an hour:
#                               Mistral-7B 16x256 beside two peers, generation, analysis
#   doctor                      engines, GPU, plugin, libraries
#   parity                      demo; the loss of a few steps beside the pure-Go engine, TF32 off
#   mistral-7b llama-2-7b gemma-7b, each with -16x256 or -8x1024: training beside its peers;
#                               with -compile after that: beside those that torch.compile makes
#   flags                       the same step with other flags of XLA's compiler (docs/gpu.md)
#   module                      the compiled step: calls of flash attention, the memory report
#   generate                    Mistral-7B, batch 64, beside the memory's floor
#   analyze                     Mistral-7B's spectra, products on the GPU
#   tiny tiny-compile           training at a tiny shape, to try the script on a CPU
#
# ALPHALORA names the program, SHAPE the model of first and flags, PYTHON a Python with torch and
# peft, BACKEND the engine; LIMIT is how many seconds the call may take, PEER_SECONDS a peer. The
# status is 0 where all runs of a part succeeded; one that failed says why in a line.
set -uo pipefail
cd "$(dirname "$0")/.."
part=${1:-} out=${2:-runs/gpu} python=${PYTHON:-python3} backend=${BACKEND:-xla:cuda}
alphalora=${ALPHALORA:-$PWD/bin/alphalora}
limit=${LIMIT:-560} # seconds of the whole call
failed=0            # runs
export GOMLX_NO_AUTO_INSTALL=1 HF_HUB_OFFLINE=1

readonly parts='^(first|flags|doctor|parity|module|generate|analyze|(tiny|(mistral-7b|llama-2-7b|gemma-7b)-[0-9]+x[0-9]+)(-compile)?)$'

declare -A experts=( # published for 160 experts
  [mistral-7b]=1,3,5,4,5,5,4,4,3,4,3,2,2,3,3,4,9,4,7,7,7,7,7,7,9,7,6,8,6,7,4,3
  [gemma-7b]=2,4,7,8,8,7,6,5,7,6,7,4,5,4,3,3,4,6,4,5,7,8,7,9,6,7,6,5
  [tiny]=2,3,1,4)

fail() { # WHAT: WHY, REMEDY, STATUS
  echo "gpu.sh: $1 ($2)" >&2
  exit "$3"
}

# check refuses what would fail in every run of the part, with one line.
check() {
  if [ -z "$part" ]; then sed -n '2,21s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
  [[ $part =~ $parts ]] || fail "part $part: there is none of that name" 'bench/gpu.sh alone lists them' 2
  command -v "$alphalora" >/dev/null || fail "$alphalora: is not there" 'make build, or name the program in ALPHALORA' 2
  command -v "$python" >/dev/null || fail "$python: is not there" 'name a Python in PYTHON' 2
  if [ "$part" = doctor ]; then return; fi
  local said
  if ! said=$(timeout -k 10 100 "$alphalora" doctor --backend "$backend" 2>&1 >/dev/null); then
    echo "${said##*$'\n'}" >&2
    exit 1
  fi
}

# llama's list is allocated from the published alphas by the same rule.
list_for() {
  if [ -n "${experts[$1]:-}" ]; then echo "${experts[$1]}"; return; fi
  "$alphalora" allocate --published "$1" --experts 160 --json - 2>/dev/null |
    "$python" -c 'import json, sys; print(",".join(map(str, json.load(sys.stdin)["experts"])))'
}

# missed NAME WHY counts a run without a result, and says so.
missed() {
  echo "$1: $2" >&2
  failed=$((failed + 1))
}

# one NAME SECONDS COMMAND... runs a command whose JSON goes to NAME.json, for so long as the
# call has left, and notes the GPU's fullest moment beside it.
one() {
  local name=$1 most=$2 left=$((limit - SECONDS)) status=0 watcher=
  shift 2
  if [ "$left" -lt 20 ]; then missed "$name" "not run, the call's $limit seconds are over"; return 1; fi
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$dir/$name.memory" 2>/dev/null &
    watcher=$!
  fi
  most=$((most < left ? most : left))
  { timeout -k 10 "$most" "$@" >"$dir/$name.out" 2>"$dir/$name.err" || status=$?; } 2>/dev/null
  [ -z "$watcher" ] || { kill "$watcher"; wait "$watcher"; } 2>/dev/null
  case $status in
  0) ;;
  124 | 137) missed "$name" "not done within $most seconds" ;;
  *) missed "$name" "failed ($status): $(grep -v '^ *$' "$dir/$name.err" | tail -n 1 | cut -c 1-1000)" ;;
  esac
  return "$status"
}

ours() { local name=$1 most=$2; shift 2; one "$name" "$most" "$alphalora" "$@" --backend "$backend" --json "$dir/$name.json"; }

# theirs NAME KIND FLAGS... is a training step of a peer, which has PEER_SECONDS.
theirs() {
  local name=$1 most=100
  shift
  [[ $name != *-compile ]] || most=180
  one "$name" "${PEER_SECONDS:-$most}" "$python" bench/gpu_peers.py "$@" && tail -n 1 "$dir/$name.out" >"$dir/$name.json"
}

# training SHAPE ROWS LENGTH [compile]
training() {
  local list attention=flash
  list=$(list_for "$1") || fail "$1: has no list of experts" "see $alphalora allocate --published $1" 1
  [ "$backend" = xla:cuda ] || attention=plain
  local lora=(--shape "$1" --rows "$2" --length "$3" --steps "${STEPS:-8}")
  local mixture=("${lora[@]}" --experts "$list")
  local step=(170 bench train --random-weights --dtype bfloat16 "${mixture[@]}")
  ours ours-$attention "${step[@]}" --attention $attention
  if ! "$python" -c 'import torch' 2>/dev/null; then
    missed peers "not run, $python has no torch (name a Python with torch and peft in PYTHON)"
  elif [ "${4:-}" = compile ]; then
    theirs peft-compile lora --compile "${lora[@]}"
    theirs batched-compile batched --compile "${mixture[@]}"
    theirs loop-compile loop --compile "${mixture[@]}"
  else
    theirs peft lora "${lora[@]}"
    theirs loop loop "${mixture[@]}"
    theirs batched batched "${mixture[@]}"
    theirs peft-checkpointing lora --gradient-checkpointing "${lora[@]}"
    theirs loop-checkpointing loop --gradient-checkpointing "${mixture[@]}"
    theirs batched-checkpointing batched --gradient-checkpointing "${mixture[@]}"
  fi
  if [ "${4:-}" = compile ]; then return; fi
  ours ours-$attention-checkpointing "${step[@]}" --attention $attention --gradient-checkpointing
  [ $attention = plain ] || ours ours-plain "${step[@]}" --attention plain
}

# first SHAPE is the least that says most, each within its share of the call.
first() {
  local attention=flash list
  list=$(list_for "$1") || fail "$1: has no list of experts" "see $alphalora allocate --published $1" 1
  [ "$backend" = xla:cuda ] || attention=plain
  local lora=(--shape "$1" --rows 16 --length 256 --steps "${STEPS:-4}")
  ours ours-$attention 170 bench train --random-weights --dtype bfloat16 "${lora[@]}" --experts "$list" --attention $attention
  PEER_SECONDS=${PEER_SECONDS:-60} theirs peft lora "${lora[@]}"
  PEER_SECONDS=${PEER_SECONDS:-80} theirs loop loop "${lora[@]}" --experts "$list"
  generation "$1" 130
  analysis "$1" 90
}

# flags SHAPE is a step as `xla:cuda` compiles it, and with each of its flags as XLA has it.
flags() {
  local attention=flash list way
  list=$(list_for "$1") || fail "$1: has no list of experts" "see $alphalora allocate --published $1" 1
  [ "$backend" = xla:cuda ] || attention=plain
  for way in ours triton=xla_gpu_enable_triton_gemm=true merging=xla_gpu_dot_merger_threshold_mb=64; do
    (
      [ "$way" = ours ] || export XLA_FLAGS="${XLA_FLAGS:-} --${way#*=}"
      ours "${way%%=*}" 180 bench train --random-weights --dtype bfloat16 --shape "$1" --experts "$list" --rows 16 --length 256 \
        --steps "${STEPS:-8}" --attention $attention
    ) || failed=$((failed + 1))
  done
}

generation() { ours generate "$2" bench generate --random-weights --shape "$1" --dtype bfloat16 --batch 64 --prompt 128 --new 64 --runs 2; }

analysis() { ours analyze "$2" bench analyze --random-weights --shape "$1" --products engine; }

parity() {
  ours demo 300 demo --out "$dir/demo"
  for engine in "$backend" go; do
    one "step-${engine//:/-}" 150 "$alphalora" bench train --random-weights --backend "$engine" --shape tiny --experts 2,3,1,4 \
      --rows 2 --length 32 --steps 4 --dropout 0 --json "$dir/step-${engine//:/-}.json"
  done
}

module() {
  XLA_FLAGS="${XLA_FLAGS:-} --xla_dump_to=$dir/dump --xla_dump_hlo_as_text" ours step 400 bench train --random-weights --shape mistral-7b \
    --experts "$(list_for mistral-7b)" --rows 16 --length 256 --steps 1 --dtype bfloat16 --attention flash || return
  for call in fmhaSoftmax fmhaSoftmaxBackward; do
    echo "$call: $(cat "$dir"/dump/*accumulate*after_optimizations.txt | grep -c "__cudnn\$$call\"")"
  done | tee "$dir/calls.txt"
  head -n 40 "$dir"/dump/*accumulate*memory-usage-report.txt >"$dir/memory-report.txt"
  head -n 12 "$dir/memory-report.txt"
  rm -rf "$dir/dump"
}

check
dir=$out/$part
rm -rf "$dir"
mkdir -p "$dir"
shape=${part%-compile} how=
[ "$shape" = "$part" ] || how=compile
case $shape in
doctor)
  one doctor 100 "$alphalora" doctor --backend "$backend" --json "$dir/doctor.json"
  cat "$dir/doctor.out"
  ;;
parity) parity ;;
module) module ;;
first) first "${SHAPE:-mistral-7b}" ;;
flags) flags "${SHAPE:-mistral-7b}" ;;
generate) generation mistral-7b 500 ;;
analyze) analysis mistral-7b 500 ;;
tiny) training tiny 2 32 $how ;;
*) size=${shape##*-}; training "${shape%-*}" "${size%x*}" "${size#*x}" $how ;;
esac
"$python" bench/gpu_table.py "$dir" || missed table failed
[ "$failed" = 0 ]
