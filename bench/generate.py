"""The peer of `alphalora bench generate`: transformers on the same model, same machine.

    python bench/generate.py MODEL --json FILE     time a model directory
    python bench/generate.py MODEL --make          write the random model there first

Needs torch and transformers. Prints tokens per second of prefill (8 x 128 tokens) and of
greedy decoding (128 new tokens after a prompt of 128) at batch 1 and 8, in float32: the
median of the counted runs.
"""
import argparse
import json
import os
import statistics
import time

import torch
import transformers

PROMPT, NEW = 128, 128


def make(path):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=8, vocab_size=4096, max_position_embeddings=2048, tie_word_embeddings=False)
    transformers.LlamaForCausalLM(config).save_pretrained(path)


def median(run, runs):
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def prompts(rows, vocabulary):
    return torch.randint(3, vocabulary, (rows, PROMPT), generator=torch.Generator().manual_seed(rows))


def measure(model, runs):
    vocabulary = model.config.vocab_size
    options = dict(do_sample=False, eos_token_id=None, pad_token_id=0)
    out = {}

    def generate(ids, new):
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, **options)

    eight = prompts(8, vocabulary)
    out["prefill_8x128"] = 8 * PROMPT / median(lambda: model(eight, use_cache=True, logits_to_keep=1), runs)
    for rows in (1, 8):
        ids = prompts(rows, vocabulary)
        whole = median(lambda: generate(ids, NEW), runs)
        first = median(lambda: generate(ids, 1), runs)
        out[f"decode_batch_{rows}"] = rows * (NEW - 1) / (whole - first)
    return out


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("--make", action="store_true")
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--json")
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    if a.make:
        make(a.model)
        return
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    with torch.inference_mode():
        out = measure(model, a.runs)
    out = {"tokens_per_second": out, "torch": torch.__version__, "transformers": transformers.__version__,
           "threads": a.threads}
    print(json.dumps(out, indent=1))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(out, f)


main()
