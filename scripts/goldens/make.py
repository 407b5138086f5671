"""Makes the goldens: tiny random models of every family, and what transformers computes with them.

    make goldens        (its own virtual environment, then this script)

Each case becomes a folder: config.json, model.safetensors (bfloat16), goldens.safetensors. manifest.json holds the
versions and the sums. Files that no case made are an error. A folder whose numbers come out the same, but for the
rounding of another processor, is left as it is.
"""

import hashlib
import json
import pathlib
import re
import sys
import tempfile

import numpy as np
import safetensors.torch as st
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from cases import CASES

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent / "model" / "testdata" / "goldens"
FILES = ["config.json", "goldens.safetensors", "model.safetensors"]
NEW_TOKENS = 12
MARGIN = 0.005  # the least lead of a greedy token, so that no rounding can turn it
ROUNDING = 1e-5  # the most that logits may differ by and still count as the same


def main():
    check_versions()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    ROOT.mkdir(parents=True, exist_ok=True)
    changed, seeds = [], {}
    for number, (name, case) in enumerate(CASES.items()):
        with tempfile.TemporaryDirectory() as made:
            seeds[name] = make(case, 1000 * (number + 1), pathlib.Path(made))
            if settle(pathlib.Path(made), ROOT / name):
                changed.append(name)
    write_manifest(seeds)
    orphans = find_orphans()
    if orphans:
        sys.exit("goldens: no case made these (delete them, or write their case): " + ", ".join(orphans))
    print(f"goldens: {len(CASES)} cases, {len(changed)} changed" + (": " + ", ".join(changed) if changed else ""))


def check_versions():
    """Goldens of another version would not be those of the manifest."""
    pins = dict(re.findall(r"^([a-z]+)==(\S+)$", (HERE / "requirements.txt").read_text(), re.M))
    have = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    for package, version in have.items():
        if version != pins[package]:
            sys.exit(f"goldens: {package} is {version}, but requirements.txt pins {pins[package]} (use make goldens)")


def make(case, seed, folder):
    """Writes one case with the first seed whose greedy tokens lead clearly, and returns that seed."""
    write_config(case, folder)
    for seed in range(seed, seed + 200):
        write_weights(folder, np.random.default_rng(seed))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)
        numbers = run(model, np.random.default_rng(seed + 500))
        if numbers:
            st.save_file(numbers, folder / "goldens.safetensors")
            return seed
    sys.exit(f"goldens: no seed gives clear greedy tokens for {case['config']['model_type']} (make its weights larger)")


def write_config(case, folder):
    path = folder / "config.json"
    if case["style"] == "old":
        path.write_text(json.dumps(case["config"], indent=2, sort_keys=True) + "\n")
        return
    fields = dict(case["config"])
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    config.dtype = torch.bfloat16
    config.to_json_file(path)


def write_weights(folder, rng):
    """Random weights that bfloat16 holds exactly; norms and biases are far from neutral."""
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    tied, gemma = model.config.tie_word_embeddings, "gemma" in model.config.model_type
    state = {}
    for name, tensor in sorted(model.state_dict().items()):
        if tied and name == "lm_head.weight":
            continue
        values = centre(name, gemma) + spread(name, tensor.shape, gemma) * rng.standard_normal(tuple(tensor.shape))
        state[name] = torch.from_numpy(values).to(torch.bfloat16).contiguous()
    st.save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def centre(name, gemma):
    """Gemma's norms multiply by 1 + w."""
    return 1.0 if "norm" in name and not gemma else 0.0


def spread(name, shape, gemma):
    """Large enough that attention is far from uniform, and that a token does not only predict itself."""
    if len(shape) == 1:
        return 0.3
    if "embed" in name:
        return 0.1 if gemma else 0.5
    return (3.0 if "o_proj" in name or "down_proj" in name else 1.5) / shape[1] ** 0.5


@torch.no_grad()
def run(model, rng):
    """What the model computes; None where a greedy token hardly leads."""
    draw = lambda *shape: torch.from_numpy(rng.integers(3, model.config.vocab_size, shape))
    ids, long, padded = draw(2, 24), draw(1, 56), draw(3, 14)
    mask = torch.ones_like(padded)
    for row, pads in enumerate([0, 5, 9]):
        mask[row, :pads] = 0
    padded = padded * mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    greedy, clear = continue_greedily(model, padded, mask)
    long_greedy, long_clear = continue_greedily(model, long[:, :28], torch.ones_like(long[:, :28]))
    if not (clear and long_clear):
        return None
    numbers = {
        "input_ids": ids, "logits": model(ids).logits,
        "padded.input_ids": padded, "padded.attention_mask": mask, "padded.greedy": greedy,
        "padded.logits": model(padded, attention_mask=mask, position_ids=positions).logits * mask[..., None],
        "long.input_ids": long, "long.logits": model(long).logits, "long.greedy": long_greedy,
    }
    return {name: t.to(torch.int32 if not t.is_floating_point() else t.dtype).contiguous() for name, t in numbers.items()}


def continue_greedily(model, ids, mask):
    """The next tokens, and whether each leads clearly and they vary."""
    out = model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, output_logits=True,
                         return_dict_in_generate=True)
    best = torch.stack(out.logits, 1).topk(2).values
    new = out.sequences[:, ids.shape[1]:]
    varied = all(len(set(row.tolist())) >= 3 for row in new)
    return new, varied and bool((best[..., 0] - best[..., 1]).min() > MARGIN)


def settle(made, kept):
    """Puts made in the place of kept where they differ, and tells whether they do."""
    if all((kept / f).exists() for f in FILES) and same(made, kept):
        return False
    kept.mkdir(exist_ok=True)
    for f in FILES:
        (kept / f).write_bytes((made / f).read_bytes())
    return True


def same(made, kept):
    for f in ["config.json", "model.safetensors"]:
        if (made / f).read_bytes() != (kept / f).read_bytes():
            return False
    a, b = st.load_file(made / "goldens.safetensors"), st.load_file(kept / "goldens.safetensors")
    return a.keys() == b.keys() and all(
        a[k].shape == b[k].shape and a[k].dtype == b[k].dtype and (a[k].double() - b[k].double()).abs().max() <= ROUNDING
        for k in a)


def write_manifest(seeds):
    sums = {f"{name}/{f}": hashlib.sha256((ROOT / name / f).read_bytes()).hexdigest() for name in seeds for f in FILES}
    manifest = {
        "command": "make goldens", "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
        "seeds": seeds, "sha256": sums,
    }
    (ROOT / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def find_orphans():
    made = {ROOT / name / f for name in CASES for f in FILES} | {ROOT / "manifest.json"}
    found = {p for p in ROOT.rglob("*") if p.is_file() or not any(p.iterdir())}
    return sorted(str(p.relative_to(ROOT)) for p in found - made)


if __name__ == "__main__":
    main()
