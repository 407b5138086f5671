"""Writes model/generate/testdata/processors.json: what transformers' logits processors make
of made-up scores. Run from the project's root with a Python that has torch and transformers:

    python scripts/goldens-sampling/make.py
"""

import json

import torch
from transformers.generation import logits_process as processors

VOCABULARY = 24
CASES = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.9},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_k": 5},
    {"temperature": 0.8, "top_k": 100},
    {"temperature": 1.0, "top_p": 0.3},
    {"temperature": 1.3, "top_p": 0.9},
    {"temperature": 1.0, "top_p": 1e-6},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 2.0, "min_p": 1.0},
    {"temperature": 1.0, "repetition_penalty": 1.3},
    {"temperature": 0.9, "repetition_penalty": 0.6},
    {"temperature": 1.2, "top_k": 9, "top_p": 0.8},
    {"temperature": 1.5, "top_k": 12, "top_p": 0.95, "min_p": 0.15, "repetition_penalty": 1.2},
]


def chain(case):
    """The processors in the order in which GenerationMixin applies them."""
    if "repetition_penalty" in case:
        yield processors.RepetitionPenaltyLogitsProcessor(case["repetition_penalty"])
    yield processors.TemperatureLogitsWarper(case.get("temperature", 1.0))
    if "top_k" in case:
        yield processors.TopKLogitsWarper(case["top_k"])
    if "top_p" in case:
        yield processors.TopPLogitsWarper(case["top_p"])
    if "min_p" in case:
        yield processors.MinPLogitsWarper(case["min_p"])


def main():
    torch.manual_seed(0)
    out = []
    for case in CASES:
        scores = torch.randn(1, VOCABULARY) * 2
        seen = torch.randint(0, VOCABULARY, (1, 10))
        result = scores.clone()
        for processor in chain(case):
            result = processor(seen, result)
        out.append({**case, "scores": scores[0].tolist(), "seen": seen[0].tolist(),
                    "probabilities": torch.softmax(result.double(), -1)[0].tolist()})
    with open("model/generate/testdata/processors.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]\n")


if __name__ == "__main__":
    main()
