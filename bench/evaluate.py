"""The peer of `alphalora eval`: a transformers generate loop over the same prompts.

    python bench/evaluate.py MODEL SAMPLES.jsonl --batch 8 --max-new-tokens 64 --json FILE

SAMPLES is what `alphalora eval --samples` wrote: its prompts are asked, and its outputs are
compared. Batches are made as there: prompts sorted by tokens, the longest first, greedy
decoding in float32, padded on the left. Needs torch and transformers.
"""
import argparse
import json
import os
import time

import torch
import transformers


def ask(model, tokenizer, prompts, batch, limit):
    lengths = [len(ids) for ids in tokenizer(prompts)["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda i: -lengths[i])
    outputs = [None] * len(prompts)
    for start in range(0, len(order), batch):
        part = order[start:start + batch]
        rows = tokenizer([prompts[i] for i in part], return_tensors="pt", padding=True)
        ids = model.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"],
                             max_new_tokens=limit, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        for i, new in zip(part, ids[:, rows["input_ids"].shape[1]:]):
            outputs[i] = tokenizer.decode(new, skip_special_tokens=True)
    return outputs


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("model")
    arguments.add_argument("samples")
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--max-new-tokens", type=int, default=64)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--json")
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    with open(a.samples) as f:
        samples = [json.loads(line) for line in f]
    prompts = [s["prompt"] for s in samples]
    with torch.inference_mode():
        ask(model, tokenizer, prompts[:a.batch], a.batch, 4)
        start = time.perf_counter()
        outputs = ask(model, tokenizer, prompts, a.batch, a.max_new_tokens)
        seconds = time.perf_counter() - start
    same = sum(o == s["output"] for o, s in zip(outputs, samples))
    out = {"items": len(prompts), "seconds": seconds, "items_per_second": len(prompts) / seconds, "same_output": same,
           "torch": torch.__version__, "transformers": transformers.__version__, "threads": a.threads}
    print(json.dumps(out, indent=1))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(out, f)


main()
