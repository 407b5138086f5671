"""Quantised weights of alphalora, held against bitsandbytes (see quantisation.sh).

    python scripts/quantisation.py MODEL CACHE

MODEL is a model directory of one safetensors file, CACHE the folder with its int8 and nf4 caches. Fails where more
differs than bitsandbytes' own rounding accounts for:

nf4   beside quantize_4bit (blocks of 64, compressed statistics): no byte of codes; of 1,000 sizes 5, by one level, ours
      being the nearer one in exact arithmetic; offsets and sizes of sizes by 1e-6 of the largest
int8  beside int8_vectorwise_quant: of 1,000 codes 1, by one and only halfway between two; scales by 1e-6
"""

import pathlib
import sys

import bitsandbytes
import bitsandbytes.functional as bnb
import safetensors.torch as st
import torch

failed = []


def hold(ok, what):
    if not ok:
        failed.append(what)


def off(a, b):
    """The largest difference in parts of b's largest value."""
    return float((a - b).abs().max() / b.abs().max())


def four_bits(whole, ours):
    codes = sizes = blocks = 0
    worst = {"offset": 0.0, "nested": 0.0, "restored": 0.0}
    for name, w in whole.items():
        packed, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
        both, level = ours[name + ".codes"].flatten(), ours[name + ".absmax"].long()
        nested, offset = ours[name + ".nested"].repeat_interleave(256)[: len(level)], ours[name + ".offset"]
        codes += int((packed.flatten()[: w.numel() // 2] != both[: w.numel() // 2]).sum())
        blocks += len(level)
        differ = (state.absmax.long() - level).nonzero().flatten()
        sizes += len(differ)
        hold((state.absmax.long() - level).abs().max() <= 1, f"{name}: a size differs by more than one level")
        padded = torch.nn.functional.pad(w.flatten(), (0, -w.numel() % 64)).view(-1, 64)
        exact = (padded.double().abs().amax(1) - offset.double()) / nested.double()
        table = state.state2.code.double()
        distance = [(table[side[differ]] - exact[differ]).abs() for side in (level, state.absmax.long())]
        hold((distance[0] <= distance[1]).all(), f"{name}: bitsandbytes' size is the nearer one")
        worst["offset"] = max(worst["offset"], off(offset, state.offset))
        worst["nested"] = max(worst["nested"], off(ours[name + ".nested"], state.state2.absmax))
        size = (state.state2.code[level] * nested + offset).repeat_interleave(64)
        mine = state.code[torch.stack([both >> 4, both & 15], 1).flatten().long()] * size
        worst["restored"] = max(worst["restored"], off(mine[: w.numel()].reshape(w.shape), bnb.dequantize_4bit(packed, state)))
    print(f"nf4: {codes} bytes of codes differ, {sizes} of {blocks} sizes; " + ", ".join(f"{k} at most {v:.1e} off" for k, v in worst.items()))
    hold(codes == 0, "codes of nf4 differ")
    hold(sizes * 1000 <= blocks * 5, "more than 5 of 1,000 sizes differ")
    hold(max(worst["offset"], worst["nested"]) <= 1e-6, "offsets or sizes of sizes differ by more than 1e-6")
    hold(worst["restored"] <= 2e-2, "restored weights differ by more than 0.02 of the largest")


def eight_bits(whole, ours):
    codes = values = 0
    worst = 0.0
    for name, w in whole.items():
        packed, largest, _ = bnb.int8_vectorwise_quant(w.half())
        mine = ours[name + ".codes"]
        differ = packed != mine
        codes, values = codes + int(differ.sum()), values + w.numel()
        worst = max(worst, off(ours[name + ".scale"], largest / 127))
        exact = (w.double() / (w.double().abs().amax(1, keepdim=True) / 127))[differ]
        hold((packed.int() - mine.int()).abs().max() <= 1, f"{name}: a code differs by more than one")
        hold(((exact - exact.floor() - 0.5).abs() < 1e-4).all(), f"{name}: a code differs that is not halfway between two")
    print(f"int8: {codes} of {values} codes differ, scales by {worst:.1e} at most")
    hold(codes * 1000 <= values, "more than 1 of 1,000 codes of int8 differ")
    hold(worst <= 1e-6, "scales differ by more than 1e-6")


def main():
    model = st.load_file(pathlib.Path(sys.argv[1]) / "model.safetensors")
    print(f"bitsandbytes {bitsandbytes.__version__}, torch {torch.__version__}")
    for kind, compare in (("nf4", four_bits), ("int8", eight_bits)):
        (path,) = pathlib.Path(sys.argv[2]).glob(kind + "-*.safetensors")
        ours = st.load_file(path)
        names = sorted(n.removesuffix(".codes") for n in ours if n.endswith(".codes"))
        hold(len(names) > 0, f"{path} holds no projection")
        print(f"{len(names)} projections, {sum(model[n].numel() for n in names)} values")
        compare({n: model[n].float() for n in names}, ours)
    for what in failed:
        print("quantisation:", what, file=sys.stderr)
    sys.exit(len(failed) > 0)


main()
