"""Prints the table of a part of bench/gpu.sh, and writes all of its JSON into DIR.json.

Needs no package. Ratios are those of median steps within the one call.
"""
import json
import pathlib
import sys


def read(directory):
    results = {}
    for path in sorted(directory.glob("*.json")):
        try:
            results[path.stem] = json.loads(path.read_text())
        except ValueError:
            continue
        used = path.with_suffix(".memory")
        numbers = [int(n) for n in used.read_text().split() if n.isdigit()] if used.exists() else []
        if numbers:
            results[path.stem]["gpu_peak_bytes"] = max(numbers) << 20
    return results


def bf16_rate(r):
    """Operations a second of the large bfloat16 product that a run measured; 0 for none."""
    return r.get("bf16_flops_per_second", 0) or (r["flops_per_second"] if r.get("dtype") == "bfloat16" else 0)


def main():
    directory = pathlib.Path(sys.argv[1])
    results = read(directory)
    directory.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    steps = {name: r for name, r in results.items() if "step_seconds" in r}
    best = min((r["step_seconds"] for n, r in steps.items() if n.startswith("ours")), default=None)
    rate = max(map(bf16_rate, steps.values()), default=0)
    if steps:
        print(f"{'run':26}{'step s':>9}{'tokens/s':>10}{'first s':>9}{'GPU GB':>8}{'of rate':>9}{'to ours':>9}")
    for name, r in sorted(steps.items(), key=lambda pair: pair[1]["step_seconds"]):
        of_rate = f"{100 * r['flops'] / r['step_seconds'] / rate:.0f} %" if rate and "flops" in r else ""
        ratio = f"{r['step_seconds'] / best:.2f}x" if best else ""
        memory = f"{r['gpu_peak_bytes'] / 1e9:.1f}" if "gpu_peak_bytes" in r else ""
        print(f"{name:26}{r['step_seconds']:9.3f}{r['tokens_per_second']:10.0f}{r['first_step_seconds']:9.1f}{memory:>8}{of_rate:>9}{ratio:>9}")
    if rate:
        print(f"rate: {rate / 1e12:.3g} TFLOP/s, the fastest large bfloat16 product of this call")
    for name, r in results.items():
        for d in r.get("decode", []):
            print(f"decode, batch {d['batch']}: {d['tokens_per_second']:.0f} tokens/s, {1e3 * d['step_seconds']:.1f} ms a step, "
                  f"floor {1e3 * d['floor_seconds']:.1f} ms, {100 * d['of_floor']:.0f} % of it reached")
        if "whole_model_seconds" in r:
            print(f"analysis: {r['whole_model_seconds']:.0f} s the model; {r['solver']}")
        if "after" in r:
            print(f"demo on {r['engine']}: {r['before']:.2f} before, {r['after']:.2f} after, {r['seconds']:.0f} s")
        if name.startswith("step-"):
            print(f"{name[5:]}: loss {r['loss']:.6f}")
    print(f"all of it: {directory.with_suffix('.json')}")


if __name__ == "__main__":
    main()
