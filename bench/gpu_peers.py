"""The peers of `alphalora bench train` on a GPU, from the formula, in PyTorch.

    python bench/gpu_peers.py loop|batched|lora --shape mistral-7b --rows 16 --length 256

loop     a router and a loop over experts with gather and scatter, as the paper's code has it
batched  the same mixture as batched products over all experts, gates zero for those not chosen
lora     peft's plain LoRA (r 40 unless --r says otherwise)

Random weights in bfloat16, adapters in float32 cast where they are used, scaled-dot-product
attention, AdamW, clipping at 1. Prints JSON: the median step, its spread, peak memory, and
the rate of one large bfloat16 product measured here. --check holds loop against batched.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

# hidden, intermediate, layers, heads, key/value heads, head width, vocabulary
SHAPES = {
    "tiny": (192, 512, 4, 6, 3, 32, 960),
    "llama-2-7b": (4096, 11008, 32, 32, 32, 128, 32000),
    "mistral-7b": (4096, 14336, 32, 32, 8, 128, 32000),
    "gemma-7b": (3072, 24576, 28, 16, 16, 256, 256000),
}
NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Layer(nn.Module):
    def __init__(self, c, f, heads, kv, d, gemma):
        super().__init__()
        self.heads, self.kv, self.d, self.gemma = heads, kv, d, gemma
        self.before, self.between = Norm(c), Norm(c)
        widths = [(c, heads * d), (c, kv * d), (c, kv * d), (heads * d, c), (c, f), (c, f), (f, c)]
        for name, (i, o) in zip(NAMES, widths):
            setattr(self, name, nn.Linear(i, o, bias=False))

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        y = self.before(x)
        split = lambda z, n: z.view(b, t, n, self.d).transpose(1, 2)
        q, k, v = split(self.q_proj(y), self.heads), split(self.k_proj(y), self.kv), split(self.v_proj(y), self.kv)
        a = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v,
                                           is_causal=True, enable_gqa=self.kv != self.heads)
        x = x + self.o_proj(a.transpose(1, 2).reshape(b, t, -1))
        y = self.between(x)
        g = self.gate_proj(y)
        g = F.gelu(g, approximate="tanh") if self.gemma else F.silu(g)
        return x + self.down_proj(g * self.up_proj(y))


class Decoder(nn.Module):
    def __init__(self, shape, layers):
        super().__init__()
        c, f, n, heads, kv, d, v = SHAPES[shape]
        gemma = shape.startswith("gemma")
        self.scale, self.d, self.recompute = (c ** 0.5 if gemma else 1.0), d, False
        self.embed = nn.Embedding(v, c)
        self.layers = nn.ModuleList(Layer(c, f, heads, kv, d, gemma) for _ in range(layers or n))
        self.norm, self.head = Norm(c), nn.Linear(c, v, bias=False)
        if gemma:
            self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids) * self.scale
        at = torch.arange(ids.shape[1], device=ids.device).float()
        angles = at[:, None] * 10000.0 ** (-torch.arange(0, self.d, 2, device=ids.device).float() / self.d)
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = checkpoint(layer, x, cos, sin, use_reentrant=False) if self.recompute else layer(x, cos, sin)
        return self.head(self.norm(x))


class Mixture(nn.Module):
    """y = W x + (alpha/r) sum over the chosen experts of gate * B_e A_e dropout(x)."""

    def __init__(self, base, experts, r, dropout):
        super().__init__()
        i, o, device = base.in_features, base.out_features, base.weight.device
        self.base, self.experts, self.k, self.dropout = base, experts, min(2, experts), dropout
        self.a = nn.Parameter(torch.empty(experts, r, i, device=device).uniform_(-(i ** -0.5), i ** -0.5))
        self.b = nn.Parameter(torch.zeros(experts, o, r, device=device))
        if experts > 1:
            self.router = nn.Parameter(torch.empty(experts, i, device=device).uniform_(-(i ** -0.5), i ** -0.5))

    def gates(self, x):
        if self.experts == 1:
            return torch.ones(len(x), 1, device=x.device), torch.zeros(len(x), 1, dtype=torch.long, device=x.device)
        gates, chosen = torch.softmax(F.linear(x, self.router.to(x.dtype)).float(), -1).topk(self.k, -1)
        return gates / gates.sum(-1, keepdim=True), chosen


class Loop(Mixture):
    def forward(self, x):
        y = self.base(x)
        flat, added = x.reshape(-1, x.shape[-1]), torch.zeros_like(y).reshape(-1, y.shape[-1])
        gates, chosen = self.gates(flat)
        for e in range(self.experts):
            token, place = torch.where(chosen == e)
            low = F.linear(F.dropout(flat[token], self.dropout, self.training), self.a[e].to(x.dtype))
            delta = 2.0 * F.linear(low, self.b[e].to(x.dtype))
            added.index_add_(0, token, delta * gates[token, place, None].to(x.dtype))
        return y + added.view_as(y)


class Batched(Mixture):
    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        gates, chosen = self.gates(flat)
        dense = torch.zeros(len(flat), self.experts, device=x.device).scatter(1, chosen, gates)
        low = torch.einsum("ni,eri->ner", F.dropout(flat, self.dropout, self.training), self.a.to(x.dtype))
        low = low * (2.0 * dense[..., None]).to(x.dtype)
        return self.base(x) + torch.einsum("ner,eor->no", low, self.b.to(x.dtype)).view(*x.shape[:-1], -1)


def adapt(model, args):
    model.requires_grad_(False)
    if args.kind == "lora":
        import peft
        config = peft.LoraConfig(r=args.r or 40, lora_alpha=2 * (args.r or 40), lora_dropout=args.dropout, target_modules=NAMES)
        return peft.get_peft_model(model, config)
    experts = args.experts + args.experts[-1:] * (len(model.layers) - len(args.experts))
    for layer, count in zip(model.layers, experts):
        for name in NAMES:
            kind = Loop if args.kind == "loop" else Batched
            setattr(layer, name, kind(getattr(layer, name), count, args.r or 8, args.dropout))
    return model


def build(args):
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16 if args.dtype == "bfloat16" else torch.float32)
    with torch.device(args.device):
        model = Decoder(args.shape, args.layers)
        for w in model.parameters():
            if w.dim() > 1:
                nn.init.normal_(w, std=0.02)
    torch.set_default_dtype(torch.float32)
    model.recompute = args.gradient_checkpointing
    return adapt(model, args).train()


def wait(args):
    if args.device == "cuda":
        torch.cuda.synchronize()


def product_rate(args, n):
    """Operations a second of one n x n x n product in bfloat16."""
    x, y = (torch.randn(n, n, device=args.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(8):
        wait(args)
        begun = time.perf_counter()
        for _ in range(4):
            x @ y
        wait(args)
        seconds.append((time.perf_counter() - begun) / 4)
    return 2 * n ** 3 / statistics.median(seconds[3:])


def measure(args):
    rate = product_rate(args, 8192 if args.device == "cuda" else 512)
    model = build(args)
    run = torch.compile(model) if args.compile else model
    owned = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(owned, lr=3e-4, weight_decay=0.0, fused=args.device == "cuda")
    ids = torch.randint(0, SHAPES[args.shape][6], (args.rows, args.length), device=args.device)
    seconds = []
    for _ in range(args.steps + 2):
        wait(args)
        begun = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        logits = run(ids)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(owned, 1.0)
        optimizer.step()
        last = loss.item()
        wait(args)
        seconds.append(time.perf_counter() - begun)
    counted = sorted(seconds[2:])
    step = statistics.median(counted)
    return {"kind": args.kind, "shape": args.shape, "rows": args.rows, "length": args.length, "compile": args.compile,
            "gradient_checkpointing": args.gradient_checkpointing, "step_seconds": step, "steps_seconds": counted,
            "first_step_seconds": seconds[0], "tokens_per_second": args.rows * args.length / step,
            "trainable_parameters": sum(w.numel() for w in owned), "loss": last, "bf16_flops_per_second": rate,
            "peak_bytes": torch.cuda.max_memory_allocated() if args.device == "cuda" else 0, "torch": torch.__version__}


def check(args):
    """The largest difference of loop and batched with the same weights, of outputs near 1."""
    torch.manual_seed(2)
    base = nn.Linear(64, 48, bias=False)
    loop, batched = Loop(base, 5, 4, 0.0), Batched(base, 5, 4, 0.0)
    nn.init.normal_(loop.b)
    batched.load_state_dict(loop.state_dict())
    x = torch.randn(3, 7, 64)
    difference = (loop(x) - batched(x)).abs().max().item()
    assert difference < 1e-4, difference
    return {"loop_against_batched": difference}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("kind", choices=["loop", "batched", "lora", "check"])
    p.add_argument("--shape", choices=list(SHAPES), default="tiny")
    p.add_argument("--layers", type=int, default=0)
    p.add_argument("--experts", type=lambda s: [int(n) for n in s.split(",")], default=[5])
    p.add_argument("--r", type=int, default=0)
    p.add_argument("--rows", type=int, default=16)
    p.add_argument("--length", type=int, default=256)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--dropout", type=float, default=0.05)
    p.add_argument("--dtype", default="bfloat16")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--gradient-checkpointing", action="store_true")
    p.add_argument("--compile", action="store_true")
    args = p.parse_args()
    print(json.dumps(check(args) if args.kind == "check" else measure(args)))


if __name__ == "__main__":
    main()
