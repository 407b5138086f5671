"""Compares `alphalora analyze` with WeightWatcher (PyPI) on the matrices of one model.

    alphalora analyze MODEL --precision f64 --estimator ks --json spectrum.json
    python scripts/against_weightwatcher.py MODEL spectrum.json

Needs torch, safetensors and weightwatcher in a virtual environment. Prints the largest
relative difference of each number. docs/spectra.md explains those of alpha.
"""

import glob
import json
import sys

import torch
import weightwatcher
from safetensors.torch import load_file


def main(directory, spectrum):
    ours = {m["name"]: m for m in json.load(open(spectrum))["matrices"]}
    tensors = {}
    for path in glob.glob(f"{directory}/*.safetensors"):
        tensors.update(load_file(path))
    modules = torch.nn.ModuleDict()
    for name in ours:
        w = tensors[name].float()
        layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        layer.weight.data = w
        modules[name.removesuffix(".weight").replace(".", "/")] = layer
    table = weightwatcher.WeightWatcher(model=modules).analyze(min_evals=1, randomize=False, plot=False)
    worst, apart = {}, []
    for _, row in table.iterrows():
        m = ours[row["longname"].replace("/", ".") + ".weight"]
        pairs = {
            "spectral norm": (m["spectral_norm"], 10 ** row["log_spectral_norm"]),
            "squared Frobenius norm": (m["frobenius_norm_squared"], 10 ** row["log_norm"]),
            "stable rank": (m["stable_rank"], row["stable_rank"]),
            "entropy": (m["entropy"], row["entropy"]),
            "alpha": (m["alpha"], row["alpha"]),
            "Kolmogorov-Smirnov distance": (m["ks_distance"], row["D"]),
        }
        for what, (a, b) in pairs.items():
            worst[what] = max(worst.get(what, 0.0), abs(a - b) / abs(b))
        if abs(m["alpha"] - row["alpha"]) > 1e-3:
            apart.append((m["name"], m["alpha"], m["xmin"], m["ks_distance"], row["alpha"], row["xmin"], row["D"]))
    print(f"{len(table)} matrices, weightwatcher {weightwatcher.__version__}; largest relative difference of")
    for what, value in worst.items():
        print(f"  {what}: {value:.1e}")
    print(f"alpha differs by more than 0.001 in {len(apart)} matrices (alpha, xmin, distance; ours, then WeightWatcher's):")
    for name, *numbers in apart:
        print(f"  {name}: " + " ".join(f"{x:.4g}" for x in numbers))


if __name__ == "__main__":
    main(*sys.argv[1:3])
