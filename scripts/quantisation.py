"""Quantised weights of alphalora, held against bitsandbytes (see quantisation.sh).

    python scripts/quantisation.py MODEL FILE

MODEL is a model directory of one safetensors file, FILE its nf4 cache. Codes, sizes and what they stand for must be
those of bitsandbytes.functional.quantize_4bit (nf4, blocks of 64, compressed statistics), but for a few sizes in a
thousand, which are the neighbouring level.
"""

import pathlib
import sys

import bitsandbytes.functional as bnb
import safetensors.torch as st
import torch

whole = st.load_file(pathlib.Path(sys.argv[1]) / "model.safetensors")
ours = st.load_file(sys.argv[2])
names = sorted(n.removesuffix(".codes") for n in ours if n.endswith(".codes"))
assert names, "the cache holds no projection"
values = codes = sizes = 0
worst = {"offset": 0.0, "nested": 0.0, "restored": 0.0}
for name in names:
    w = whole[name].float()
    packed, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
    count = w.numel() // 2
    codes += int((packed.flatten()[:count] != ours[name + ".codes"].flatten()[:count]).sum())
    sizes += int((state.absmax != ours[name + ".absmax"]).sum())
    values += w.numel()

    def off(a, b):
        return float((a - b).abs().max() / b.abs().max())

    worst["offset"] = max(worst["offset"], off(ours[name + ".offset"], state.offset))
    worst["nested"] = max(worst["nested"], off(ours[name + ".nested"], state.state2.absmax))
    size = state.state2.code[ours[name + ".absmax"].long()] * ours[name + ".nested"].repeat_interleave(256)[: len(state.absmax)]
    size = (size + ours[name + ".offset"]).repeat_interleave(64)
    both = ours[name + ".codes"].flatten()
    levels = state.code[torch.stack([both >> 4, both & 15], 1).flatten().long()]
    mine = (levels * size)[: w.numel()].reshape(w.shape)
    worst["restored"] = max(worst["restored"], off(mine, bnb.dequantize_4bit(packed, state)))
print(f"{len(names)} projections, {values} values: {codes} bytes of codes differ, {sizes} sizes; "
      + ", ".join(f"{k} at most {v:.1e} off" for k, v in worst.items()))
# of two levels that are about as near, bitsandbytes' kernel for CPUs takes the farther one now and then
sys.exit(codes > 0 or sizes * 64 > values / 200 or max(worst["offset"], worst["nested"]) > 1e-6 or worst["restored"] > 2e-2)
