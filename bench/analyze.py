"""Times of two ways to the spectra of one layer, in PyTorch: the release's (svdvals of
the weight, then its fit with xmin at the median), and Gram matrix with eigvalsh.

    python bench/analyze.py [--threads N] [--shape mistral-7b]

Prints JSON: seconds for each shape, and for a layer of the model.
"""

import argparse
import json
import time

import torch

# shape: matrices of that shape in a layer, and layers
MODELS = {
    "mistral-7b": ({(4096, 4096): 2, (1024, 4096): 2, (14336, 4096): 3}, 32),
    "llama-2-7b": ({(4096, 4096): 4, (11008, 4096): 3}, 32),
    "tiny": ({(192, 192): 2, (96, 192): 2, (512, 192): 3}, 4),
}


def heavy_tailed(rows, cols):
    scale = (torch.rand(rows, 1) + 0.005) ** -0.4
    return (scale * torch.randn(rows, cols) * 0.02).to(torch.bfloat16)


def fit(eigenvalues):
    eigenvalues = torch.sort(eigenvalues).values
    logs = torch.log(eigenvalues)
    i = len(eigenvalues) // 2
    n = float(len(eigenvalues) - i)
    alpha = 1 + n / (logs[i:].sum() - n * logs[i])
    steps = torch.arange(n) / n
    distance = (1 - (eigenvalues[i:] / eigenvalues[i]) ** (1 - alpha) - steps).abs().max()
    return alpha.item(), distance.item()


def by_svd(w):
    return fit(torch.linalg.svdvals(w.float()) ** 2)


def by_gram(w):
    w = w.float()
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    return fit(torch.linalg.eigvalsh(gram).clamp(min=1e-30))


def seconds(way, w):
    begun = time.perf_counter()
    way(w)
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", default="mistral-7b", choices=sorted(MODELS))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shapes, layers = MODELS[args.shape]
    result = {"torch": torch.__version__, "threads": args.threads, "layers": layers, "shapes": [], "layer": {"svd": 0.0, "gram": 0.0}}
    for shape, count in shapes.items():
        w = heavy_tailed(*shape)
        times = {"svd": seconds(by_svd, w), "gram": seconds(by_gram, w)}
        result["shapes"].append({"shape": shape, "count": count, **times})
        for way, took in times.items():
            result["layer"][way] += count * took
    print(json.dumps(result))


if __name__ == "__main__":
    main()
