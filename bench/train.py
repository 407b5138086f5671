"""The peers of `alphalora bench train`: peft's LoRA, and a mixture of LoRA experts as a loop.

    python bench/train.py lora --r 40         peft's LoRA on every projection
    python bench/train.py loop --experts ...  a router and a loop over experts, from the formula

Needs torch, transformers and peft. A random Llama of one of SHAPES, AdamW, clipping at 1,
dropout 0.05. Prints the median step and peak memory.
"""
import argparse
import json
import os
import resource
import statistics
import time

import torch
import transformers
from torch import nn

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

SHAPES = {
    "small": dict(hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8,
                  num_key_value_heads=8, vocab_size=4096),
    "tinyllama-1.1b": dict(hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
                           num_key_value_heads=4, vocab_size=32000),
}


class Mixture(nn.Module):
    """y = W x + (alpha/r) sum over the chosen experts of gate * B_e A_e dropout(x)."""

    def __init__(self, base, experts, r, alpha, dropout):
        super().__init__()
        self.base, self.scale, self.k = base, alpha / r, min(2, experts)
        self.router = nn.Linear(base.in_features, experts, bias=False)  # f32, as all that trains
        self.a = nn.ModuleList(nn.Linear(base.in_features, r, bias=False) for _ in range(experts))
        self.b = nn.ModuleList(nn.Linear(r, base.out_features, bias=False) for _ in range(experts))
        self.dropout = nn.Dropout(dropout)
        for b in self.b:
            nn.init.zeros_(b.weight)

    def forward(self, x):
        y = self.base(x)
        flat, out = x.reshape(-1, x.shape[-1]).float(), y.reshape(-1, y.shape[-1]).float()
        gates, chosen = torch.topk(torch.softmax(self.router(flat), -1), self.k, dim=-1)
        gates = gates / gates.sum(-1, keepdim=True)
        added = torch.zeros_like(out)
        for e in range(len(self.a)):
            token, place = torch.where(chosen == e)
            if token.numel():
                delta = self.b[e](self.a[e](self.dropout(flat[token]))) * self.scale
                added.index_add_(0, token, delta * gates[token, place, None])
        return (out + added).to(y.dtype).view_as(y)


def base_model(args):
    config = transformers.LlamaConfig(
        **SHAPES[args.shape], max_position_embeddings=2048, tie_word_embeddings=False, use_cache=False)
    torch.manual_seed(1)
    torch.set_default_dtype(getattr(torch, args.dtype))
    model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    return model


def with_lora(model, args):
    import peft
    config = peft.LoraConfig(r=args.r, lora_alpha=2 * args.r, lora_dropout=args.dropout, target_modules=TARGETS)
    return peft.get_peft_model(model, config)


def with_loop(model, args):
    model.requires_grad_(False)
    for layer, experts in zip(model.model.layers, args.experts):
        for part in (layer.self_attn, layer.mlp):
            for name in TARGETS:
                if hasattr(part, name):
                    setattr(part, name, Mixture(getattr(part, name), experts, args.r, 2 * args.r, args.dropout))
    return model


def main():
    p = argparse.ArgumentParser()
    p.add_argument("kind", choices=["lora", "loop"])
    p.add_argument("--shape", choices=list(SHAPES), default="small")
    p.add_argument("--gradient-checkpointing", action="store_true")
    p.add_argument("--r", type=int, default=8)
    p.add_argument("--experts", type=lambda s: [int(n) for n in s.split(",")], default=[3, 4, 4, 5, 5, 6, 6, 7])
    p.add_argument("--dropout", type=float, default=0.05)
    p.add_argument("--dtype", default="float32")
    p.add_argument("--rows", type=int, default=8)
    p.add_argument("--length", type=int, default=128)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    model = {"lora": with_lora, "loop": with_loop}[args.kind](base_model(args), args)
    model.train()
    owned = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(owned, lr=3e-4, weight_decay=0.0)
    ids = torch.randint(0, SHAPES[args.shape]["vocab_size"], (args.rows, args.length), generator=torch.Generator().manual_seed(3))
    seconds = []
    for _ in range(args.steps + 2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(owned, 1.0)
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - start)
    step = statistics.median(seconds[2:])
    print(json.dumps({
        "kind": args.kind, "r": args.r, "step_seconds": step, "steps_seconds": sorted(seconds[2:]),
        "tokens_per_second": args.rows * args.length / step, "trainable": sum(w.numel() for w in owned),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "torch": torch.__version__, "transformers": transformers.__version__}))


if __name__ == "__main__":
    main()
