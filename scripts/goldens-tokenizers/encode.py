"""What transformers makes of the strings with each case."""

import json
import os
import random
import tempfile

from transformers import AutoTokenizer

from cases import CASES
from texts import strings

# Strings that are decoded with and without special tokens, beside runs of random ids.
DECODED = 14


def write(directory, case, files):
    file = {**files[case["file"]], **case["patch"]}
    parts = {"tokenizer.json": file, "config.json": case["model"], **case["files"]}
    if case["config"]:
        parts["tokenizer_config.json"] = case["config"]
    for name, content in parts.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False)


def around(tokenizer, texts, ids):
    """The tokens before and after every text: the same for all, or the script stops."""
    whole = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    at = next(i for i in range(len(whole) - len(bare) + 1) if whole[i:i + len(bare)] == bare)
    prefix, suffix = whole[:at], whole[at + len(bare):]
    for text, own in zip(texts, ids):
        if tokenizer(text)["input_ids"] != prefix + own + suffix:
            raise SystemExit(f"goldens: {text!r} gets other special tokens than 'a'")
    return prefix, suffix


def decoded(tokenizer, ids):
    rng = random.Random(7)
    top = len(tokenizer)
    lists = rng.sample([i for i in ids if 2 < len(i) < 30], DECODED)
    lists += [[rng.randrange(top) for _ in range(rng.randint(1, 30))] for _ in range(DECODED)]
    return [[i, tokenizer.decode(i, skip_special_tokens=False), tokenizer.decode(i, skip_special_tokens=True)] for i in lists]


def golden(case, files, texts):
    with tempfile.TemporaryDirectory() as directory:
        write(directory, case, files)
        t = AutoTokenizer.from_pretrained(directory)
        ids = [t(text, add_special_tokens=False)["input_ids"] for text in texts]
        prefix, suffix = around(t, texts, ids)
        return ids, {**case, "class": type(t).__name__, "prefix": prefix, "suffix": suffix, "padding_side": t.padding_side,
                     "bos": t.bos_token_id, "eos": t.eos_token_id, "pad": t.pad_token_id, "length": len(t), "decoded": decoded(t, ids)}


def generate(files):
    """The files of the golden directory, by name. A list of ids holds for all cases with the
    same tokenizer.json; a case states by index the strings whose ids are others."""
    texts = strings()
    out = {f"{name}.tokenizer.json": file for name, file in files.items()}
    cases = {}
    for name, case in CASES.items():
        ids, cases[name] = golden(case, files, texts)
        base = out.setdefault(f"{case['file']}.ids.json", ids)
        cases[name]["others"] = {str(i): own for i, (own, b) in enumerate(zip(ids, base)) if own != b}
    out["strings.json"] = texts
    out["cases.json"] = cases
    return out
