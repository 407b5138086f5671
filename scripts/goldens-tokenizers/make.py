"""Writes the goldens of model/tokenizer, or compares them.

    python scripts/goldens-tokenizers/make.py            writes model/tokenizer/testdata
    python scripts/goldens-tokenizers/make.py --check    fails where a file differs, lacks or is an orphan

Needs transformers 5 and tokenizers from PyPI; nothing is downloaded.
"""

import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import build
import chat
import encode

TARGET = pathlib.Path(__file__).resolve().parents[2] / "model" / "tokenizer" / "testdata" / "goldens"


def text(content):
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def main():
    files = build.all_files()
    parts = {**encode.generate(files), **chat.generate(files)}
    new = {name: text(content) for name, content in parts.items()}
    old = {p.name: p.read_text(encoding="utf-8") for p in TARGET.glob("*")} if TARGET.is_dir() else {}
    if "--check" in sys.argv:
        bad = sorted(n for n in new.keys() | old.keys() if new.get(n) != old.get(n))
        for name in bad:
            print(f"goldens: {name} {'is an orphan' if name not in new else 'is missing' if name not in old else 'differs'}", file=sys.stderr)
        print(f"goldens: {len(new)} files of tokenizers compared")
        sys.exit(1 if bad else 0)
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in old.keys() - new.keys():
        (TARGET / name).unlink()
    for name, content in new.items():
        (TARGET / name).write_text(content, encoding="utf-8")
    print(f"goldens: {len(new)} files of tokenizers written, {sum(map(len, new.values())) // 1024} Ki characters")


if __name__ == "__main__":
    main()
