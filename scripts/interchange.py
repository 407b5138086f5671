"""Adapters in and out of alphalora, held against peft and transformers (see interchange.sh).

    python scripts/interchange.py BINARY DIR SHARED

Makes tiny random models with transformers and LoRAs with peft in DIR, then for each LoRA: import it (the logits are
peft's), export it (peft loads it, no key missing or left over, same logits), merge it (transformers loads it, same
logits). Several together are held against a plain loop over the mixture's formula. Everything in float32.
"""

import json
import pathlib
import subprocess
import sys
import warnings

import safetensors.torch as st
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict

LIMIT = 1e-5
SITES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SMALL = dict(
    hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=320, max_position_embeddings=128, tie_word_embeddings=False, initializer_range=0.05,
    bos_token_id=1, eos_token_id=2, pad_token_id=0)

# base model -> name -> what LoraConfig is given
LORAS = {
    "llama": {
        "all": dict(r=8, lora_alpha=16, target_modules=SITES),
        "rslora": dict(r=4, lora_alpha=10, use_rslora=True, target_modules=["q_proj", "v_proj"]),
        "some-layers": dict(r=16, lora_alpha=8, target_modules=["gate_proj", "up_proj", "down_proj"],
                            layers_to_transform=[0, 2]),
        "patterns": dict(r=6, lora_alpha=9, target_modules=r".*(q_proj|o_proj|down_proj)",
                         rank_pattern={"o_proj": 3, r"layers\.1\.mlp\.down_proj": 12}, alpha_pattern={"q_proj": 30}),
    },
    "mistral": {
        "dora": dict(r=4, lora_alpha=6, use_dora=True, target_modules=SITES),
        "dora-rslora": dict(r=4, lora_alpha=6, use_dora=True, use_rslora=True, target_modules=["q_proj", "down_proj"],
                            layers_to_transform=[1, 3]),
    },
    "phi3": {
        "dora": dict(r=3, lora_alpha=6, use_dora=True,
                     target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
        "fused": dict(r=5, lora_alpha=15, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
        "fused-some": dict(r=3, lora_alpha=3, target_modules=["gate_up_proj"], layers_to_transform=[1, 3]),
    },
    "gemma": {"all-linear": dict(r=4, lora_alpha=8, target_modules="all-linear")},
}
MIXTURES = [("all,rslora,some-layers,patterns", 2, "random"), ("all,rslora", 1, "random"), ("all,patterns", 2, "zero")]
REFUSED = {
    "bias": dict(r=4, target_modules=["q_proj"], bias="lora_only"),
    "modules_to_save": dict(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "c_attn, which is no projection": None,  # made by hand: peft would not save it
}

worst, checks = 0.0, 0


def note(what, difference, limit=LIMIT):
    global worst, checks
    worst, checks = max(worst, difference), checks + 1
    print(f"  {what:58} {difference:9.2e}{'' if difference <= limit else '   ABOVE ' + str(limit)}")
    if not difference <= limit:
        sys.exit("interchange: logits differ")


def must(condition, what):
    global checks
    checks += 1
    print(f"  {what:58} {'yes' if condition else 'NO'}")
    if not condition:
        sys.exit("interchange: " + what + ": no")


class Run:
    def __init__(self, binary, root):
        self.binary, self.root = binary, root
        self.ids = torch.randint(3, 320, (2, 24), generator=torch.Generator().manual_seed(1))
        (root / "ids.json").write_text(json.dumps(self.ids.tolist()))

    def call(self, *args, status=0):
        done = subprocess.run([self.binary, *map(str, args)], capture_output=True, text=True)
        if done.returncode != status:
            sys.exit(f"interchange: {' '.join(map(str, args))}: status {done.returncode}: {done.stderr.strip()}")
        return done.stderr.strip().splitlines()[-1] if status else done.stdout

    def score(self, model, adapter=None):
        out = self.root / "logits.safetensors"
        extra = ["--adapter", adapter] if adapter else []
        self.call("score", "--model", model, *extra, "--ids", self.root / "ids.json", "--logits", out)
        found = st.load_file(out)
        return torch.stack([found[f"logits.{i}"] for i in range(len(self.ids))])

    def torch(self, model):
        with torch.no_grad():
            return model.eval()(self.ids).logits


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def make_base(name, path):
    torch.manual_seed(len(name))
    more = dict(head_dim=24, tie_word_embeddings=True) if name == "gemma" else {}
    config = transformers.AutoConfig.for_model(name, **(SMALL | more))
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(path, max_shard_size="150KB" if name == "llama" else "5GB")


def make_lora(base, path, seed, **config):
    """Without peft's initialisation both A and B are random, so that the LoRA does something."""
    torch.manual_seed(seed)
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **config))
    for key, value in model.named_parameters():
        if "magnitude" in key:  # at first the rows' own lengths, which would make it a plain LoRA
            value.data *= 1 + 0.3 * torch.randn_like(value)
    model.save_pretrained(path)


def largest(a, b):
    return (a - b).abs().max().item()


def with_peft(run, base, path):
    """Logits of an adapter that peft must load without a key missing or left over."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(load(base), path)
    odd = [str(w.message) for w in told if "key" in str(w.message)]
    saved, held = set(st.load_file(path / "adapter_model.safetensors")), set(get_peft_model_state_dict(model))
    return run.torch(model), not odd and saved == held


def one_lora(run, base, name, source):
    print(f"{base.name}: {name}")
    imported, exported, merged = (run.root / f"{base.name}-{name}-{what}" for what in ("ours", "peft", "merged"))
    want, complete = with_peft(run, base, source)
    must(complete, "peft loads its own file")
    must(largest(want, run.torch(load(base))) > 0.1, "it changes the base's logits by more than 0.1")
    run.call("import", "--model", base, "--peft", source, "--out", imported)
    note("imported, score: peft", largest(run.score(base, imported), want))
    run.call("export", "--model", base, "--adapter", imported, "--format", "peft", "--out", exported)
    got, complete = with_peft(run, base, exported)
    must(complete, "peft loads the export, no key missing or left over")
    note("exported, peft: peft", largest(got, want))
    result = run.root / "merge.json"
    run.call("merge", "--model", base, "--adapter", imported, "--out", merged, "--json", result)
    note("merged, transformers: peft", largest(run.torch(load(merged)), want))
    found = json.loads(result.read_text())
    note("merged, what merge itself found", found["max_logit_change"], LIMIT * max(1, found["max_logit"]))
    theirs = PeftModel.from_pretrained(load(base), source).merge_and_unload().state_dict()
    ours = load(merged).state_dict()
    must(set(theirs) == set(ours), "merged: the tensors of peft's merge_and_unload")
    note("merged, weights: peft's merge_and_unload", max(largest(theirs[k], ours[k]) for k in ours))


def gates(logits, k):
    """Softmax over all experts, cut to the k largest and renormalised."""
    p = torch.softmax(logits.float(), -1)
    top = torch.topk(p, k)
    return torch.zeros_like(p).scatter(-1, top.indices, top.values / top.values.sum(-1, keepdim=True))


def loop_over(base, adapter):
    """The base with the mixture's formula on every projection: one expert after the other."""
    model, values = load(base), st.load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / config["r"]

    def hook(prefix, experts, k):
        def add(_, inputs, output):
            x = inputs[0]
            g = gates(x @ values[prefix + "router.router.weight"].T, k)
            for e in range(experts):
                h = x @ values[f"{prefix}lora_A_{e}.weight"].T @ values[f"{prefix}lora_B_{e}.weight"].T
                output = output + scale * g[..., e:e + 1] * h
            return output
        return add

    for layer, experts in enumerate(config["number_experts"]):
        for name, module in model.model.layers[layer].named_modules():
            if experts and name.split(".")[-1] in config["target_modules"]:
                prefix = f"base_model.model.model.layers.{layer}.{name}."
                module.register_forward_hook(hook(prefix, experts, config["top_k"][layer]))
    return model


def mixture(run, base, names, k, router):
    print(f"{base.name}: {names}, top-k {k}, router {router}")
    out = run.root / f"{base.name}-mixture-{names.replace(',', '-')}-{router}-{k}"
    sources = ",".join(str(run.root / f"{base.name}-{name}") for name in names.split(","))
    run.call("import", "--model", base, "--peft", sources, "--out", out, "--router", router, "--top-k", k)
    note("score: a loop over the formula", largest(run.score(base, out), run.torch(loop_over(base, out))))
    nowhere = run.root / "nowhere"
    for why in (run.call("export", "--model", base, "--adapter", out, "--format", "peft", "--out", nowhere, status=2),
                run.call("merge", "--model", base, "--adapter", out, "--out", nowhere, status=2)):
        must("layers have several: 0 (" in why and not nowhere.exists(), "refused, with the layers: " + why[:40] + "...")
    # each expert is exactly its LoRA: all gates on one
    if router == "random":
        for e, name in enumerate(names.split(",")):
            alone = chosen(out, e, run.root / f"{out.name}-alone-{e}")
            want, _ = with_peft(run, base, run.root / f"{base.name}-{name}")
            note(f"expert {e} alone: peft's {name}", largest(run.score(base, alone), want))


def chosen(adapter, expert, out):
    """The adapter with top-k 1 and experts swapped, so that the first, which wins ties of a zero router, is the one."""
    values = st.load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    for key in list(values):
        if "router" in key:
            values[key] = torch.zeros_like(values[key])
        elif "_0.weight" in key:
            other = key.replace("_0.weight", f"_{expert}.weight")
            values[key], values[other] = values[other], values[key]
    config["top_k"] = [min(1, e) for e in config["number_experts"]]
    out.mkdir()
    st.save_file(values, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(json.dumps(config))
    return out


def check_the_check(run, base, source):
    """Peft's word on keys is only worth something if it speaks up."""
    print("the check of keys itself")
    values = st.load_file(source / "adapter_model.safetensors")
    first = sorted(values)[0]
    for what, changed in (("missing", {k: v for k, v in values.items() if k != first}),
                          ("left over", values | {first.replace("layers.0", "layers.99"): values[first].clone()})):
        path = run.root / f"keys-{what.split()[0]}"
        path.mkdir()
        (path / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
        st.save_file(changed, path / "adapter_model.safetensors", metadata={"format": "pt"})
        must(not with_peft(run, base, path)[1], f"a key that is {what} is noticed")
        run.call("import", "--model", base, "--peft", path, "--out", run.root / "nowhere", status=2)


def refusals(run, base):
    print(f"{base.name}: what cannot be carried")
    for number, (field, config) in enumerate(REFUSED.items()):
        path = run.root / f"refused-{number}"
        if config:
            make_lora(base, path, 1, **config)
        else:
            make_lora(base, path, 1, r=4, target_modules=["q_proj"])
            told = json.loads((path / "adapter_config.json").read_text())
            (path / "adapter_config.json").write_text(json.dumps(told | dict(target_modules=["q_proj", "c_attn"])))
        why = run.call("import", "--model", base, "--peft", path, "--out", run.root / "nowhere", status=2)
        must(field.split(",")[0] in why, "refused: " + why.split(": ", 2)[-1][:46])


def released(run, shared):
    for base in sorted(p.parent for p in (shared / "reference").glob("*/adapter")):
        print(f"released code's adapter of {base.name}")
        out = run.root / f"released-{base.name}"
        run.call("export", "--model", base, "--adapter", base / "adapter", "--format", "released", "--out", out)
        name = "adapter_model.safetensors"
        must((base / "adapter" / name).read_bytes() == (out / name).read_bytes(), "tensors file: byte for byte the same")
        a, b = (json.loads((d / "adapter_config.json").read_text()) for d in (base / "adapter", out))
        must(a == b, "configuration: the same fields and values")


def main():
    binary, root, shared = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    run = Run(binary, root)
    for number, (name, loras) in enumerate(LORAS.items()):
        base = root / name
        make_base(name, base)
        note(f"{name}: the base alone", largest(run.score(base), run.torch(load(base))))
        for seed, (lora, config) in enumerate(loras.items()):
            source = root / f"{name}-{lora}"
            make_lora(base, source, 100 * number + seed, **config)
            one_lora(run, base, lora, source)
    for names, k, router in MIXTURES:
        mixture(run, root / "llama", names, k, router)
    check_the_check(run, root / "llama", root / "llama-all")
    refusals(run, root / "llama")
    if (shared / "reference").exists():
        released(run, shared)
    else:
        print("released code's adapters: not there, not compared")
    print(f"interchange: {checks} checks; the largest difference of logits or weights {worst:.2e}, limit {LIMIT:.0e}")


main()
