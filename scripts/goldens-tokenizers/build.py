"""Small tokenizers in the style of each family, trained on the corpus of texts.py."""

import json
from collections import Counter

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from texts import SENTENCES

BYTES = [f"<0x{b:02X}>" for b in range(256)]
SPLIT_LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPLIT_QWEN = SPLIT_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def train(words, size, vocab, rank):
    """Byte-pair merges by count, ties by the pair itself: the library's trainer draws its ties."""
    words, merges = Counter(words), []
    splits = {w: list(w) for w in words}
    vocab = list(vocab)
    while len(vocab) < size:
        pairs = Counter()
        for word, parts in splits.items():
            for pair in zip(parts, parts[1:]):
                if pair[0] in rank and pair[1] in rank:
                    pairs[pair] += words[word]
        left, right = max(pairs, key=lambda p: (pairs[p], p))
        merges.append((left, right))
        if left + right not in rank:
            vocab.append(left + right)
            rank.add(left + right)
        for parts in splits.values():
            for i in range(len(parts) - 1, 0, -1):
                if parts[i - 1:i + 1] == [left, right]:
                    parts[i - 1:i + 1] = [left + right]
    return {token: i for i, token in enumerate(vocab)}, merges


def template(token, tokenizer):
    return processors.TemplateProcessing(single=f"{token}:0 $A:0", pair=f"{token}:0 $A:0 {token}:1 $B:1",
                                         special_tokens=[(token, tokenizer.token_to_id(token))])


def sentencepiece(names, unk, prefix):
    """BPE over whole words with bytes as fallback, as SentencePiece models are converted."""
    text = [("▁" + w) for line in SENTENCES for w in line.split(" ")]
    letters = [c for c, _ in sorted(Counter("".join(text)).items(), key=lambda e: (-e[1], e[0]))[:130]]
    vocab, merges = train(text, 700, names + BYTES + letters, set(letters))
    t = Tokenizer(models.BPE(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=True))
    t.add_special_tokens(names)
    replace = normalizers.Replace(" ", "▁")
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    t.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    return t


def llama2():
    t = sentencepiece(["<unk>", "<s>", "</s>"], "<unk>", True)
    t.post_processor = template("<s>", t)
    return t


def phi3():
    t = llama2()
    names = ["<|endoftext|>", "<|assistant|>", "<|step|>", "<|system|>", "<|end|>", "<|user|>"]
    t.add_tokens([AddedToken(n, rstrip=n != "<|endoftext|>", normalized=False, special=True) for n in names])
    t.post_processor = None
    return t


def gemma():
    t = sentencepiece(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"], "<unk>", False)
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.post_processor = template("<bos>", t)
    return t


def byte_level(split, special, normalizer=None, ignore_merges=False, pieces=()):
    """pieces are tokens that no merge reaches."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), level])
    text = [w for line in SENTENCES for w, _ in cut.pre_tokenize_str(line)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab, merges = train(text, 560, alphabet + list(pieces), set(alphabet))
    t = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, cut, decoders.ByteLevel()
    t.add_tokens([AddedToken(n, normalized=False, special=True) for n in special])
    return t


def llama3():
    t = byte_level(SPLIT_LLAMA3, ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
                   ignore_merges=True, pieces=["Ġwordy"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template("<|begin_of_text|>", t)])
    return t


def qwen():
    t = byte_level(SPLIT_QWEN, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizers.NFC())
    t.add_tokens([AddedToken(n, normalized=False) for n in ["<tool_call>", "<think>", "</think>"]])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


def all_files():
    return {name: json.loads(f().to_str()) for name, f in
            {"llama2": llama2, "phi3": phi3, "gemma": gemma, "llama3": llama3, "qwen": qwen}.items()}
