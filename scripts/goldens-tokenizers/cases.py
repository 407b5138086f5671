"""What is varied: the configuration beside each tokenizer.json, and parts of the file itself.

A case is the name of a file of build.py, tokenizer_config.json, config.json, other files
of the directory, and the parts of tokenizer.json that it replaces.
"""

LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
LLAMA3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
QWEN = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
PHI = {"bos_token": "<s>", "eos_token": "<|end|>", "unk_token": "<unk>", "pad_token": "<|endoftext|>"}
BACKEND = "PreTrainedTokenizerFast"


def token(content, **flags):
    base = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": False}
    return {"content": content, **base, **flags}


def case(file, config, family, more=None, files=None, patch=None, **policies):
    return {"file": file, "config": {**config, **policies}, "model": {"model_type": family, **(more or {})},
            "files": files or {}, "patch": patch or {}}


NEW = {str(i): t for i, t in [
    (0, token("<unk>", special=True)), (1, token("<s>", special=True)), (2, token("</s>", special=True, rstrip=True)),
    (900, token("<extra>", lstrip=True, rstrip=True)), (901, token("word", single_word=True, normalized=True)),
    (902, token("tool_call", normalized=True)), (903, token("<Extra>", special=True))]}
NEW_QWEN = {str(i): t for i, t in [
    (900, token("<extra>", lstrip=True)), (901, token("<|im_end|>", special=True, rstrip=True)), (902, token("tool_call", single_word=True))]}
PADDING = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}

CASES = {
    # Llama-2: a class that transformers builds anew, and the file itself.
    "llama2-legacy": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", legacy=True),
    "llama2-not-legacy": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizerFast", legacy=False),
    "llama2-default": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer"),
    "llama2-null": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", legacy=None, add_prefix_space=None),
    "llama2-no-prefix": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", add_prefix_space=False),
    "llama2-policies": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", legacy=True, add_bos_token=False,
                            add_eos_token=True, padding_side="right", clean_up_tokenization_spaces=True),
    "llama2-file": case("llama2", LLAMA, "llama", tokenizer_class=BACKEND, add_bos_token=False, add_eos_token=True,
                        clean_up_tokenization_spaces=True, padding_side="left"),
    "llama2-no-class": case("llama2", LLAMA, "llama"),
    "llama2-no-tokenizer-config": case("llama2", None or {}, "llama"),
    "llama2-class-in-config": case("llama2", LLAMA, "llama", more={"tokenizer_class": "LlamaTokenizer"}),
    "llama2-unknown-class": case("llama2", LLAMA, "llama", tokenizer_class="HomemadeTokenizer"),
    "llama2-mistral": case("llama2", LLAMA, "mistral", tokenizer_class="LlamaTokenizer", legacy=False),
    "llama2-no-post-processor": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", add_bos_token=True,
                                     patch={"post_processor": None}),
    "llama2-file-no-post-processor": case("llama2", LLAMA, "llama", tokenizer_class=BACKEND, add_bos_token=True, add_eos_token=True,
                                          patch={"post_processor": None}),
    "llama2-added": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", legacy=False, added_tokens_decoder=NEW),
    "llama2-file-added": case("llama2", LLAMA, "llama", tokenizer_class=BACKEND, added_tokens_decoder=NEW),
    "llama2-extra": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", legacy=True, pad_token="<pad>",
                         additional_special_tokens=["<extra>", {"__type": "AddedToken", **token("<mask>", rstrip=True)}]),
    "llama2-file-extra": case("llama2", LLAMA, "llama", tokenizer_class=BACKEND, extra_special_tokens=["<extra>"],
                              tool_token="tool_call", pad_token="<pad>"),
    "llama2-map": case("llama2", {"bos_token": "<unk>"}, "llama", tokenizer_class="LlamaTokenizer",
                       files={"special_tokens_map.json": {"bos_token": token("<s>", normalized=True), "eos_token": "</s>", "pad_token": "<extra>"},
                              "added_tokens.json": {"<extra>": 750, "tool_call": 751}}),
    "llama2-map-unused": case("llama2", LLAMA, "llama", tokenizer_class="LlamaTokenizer", added_tokens_decoder=NEW,
                              files={"special_tokens_map.json": {"bos_token": "</s>"}}),
    "llama2-split-special": case("llama2", LLAMA, "llama", tokenizer_class=BACKEND, split_special_tokens=True),
    "llama2-file-padding": case("llama2", LLAMA, "llama", tokenizer_class=BACKEND, patch={"padding": PADDING}),
    # Phi-3: the file holds whatever the class says.
    "phi3": case("phi3", PHI, "phi3", tokenizer_class="LlamaTokenizer", legacy=False, padding_side="left"),
    "phi3-as-llama": case("phi3", PHI, "llama", tokenizer_class="LlamaTokenizer", legacy=False),
    # Llama-3.
    "llama3": case("llama3", LLAMA3, "llama", tokenizer_class=BACKEND, clean_up_tokenization_spaces=True),
    "llama3-as-llama": case("llama3", LLAMA3, "llama", tokenizer_class="LlamaTokenizer"),
    "llama3-added": case("llama3", LLAMA3, "llama", tokenizer_class=BACKEND, added_tokens_decoder=NEW_QWEN),
    # Gemma.
    "gemma": case("gemma", GEMMA, "gemma", tokenizer_class="GemmaTokenizer"),
    "gemma2-policies": case("gemma", GEMMA, "gemma2", tokenizer_class="GemmaTokenizerFast", add_bos_token=False, add_eos_token=True),
    "gemma3-no-class": case("gemma", GEMMA, "gemma3_text"),
    "gemma-file": case("gemma", GEMMA, "gemma2", tokenizer_class=BACKEND, padding_side="left"),
    "gemma-new-mask": case("gemma", GEMMA, "gemma", tokenizer_class="GemmaTokenizer", mask_token="<extra>"),
    # Qwen.
    "qwen2": case("qwen", QWEN, "qwen2", tokenizer_class="Qwen2Tokenizer", add_prefix_space=False),
    "qwen3": case("qwen", QWEN, "qwen3", tokenizer_class="Qwen2Tokenizer", add_bos_token=False),
    "qwen3-no-class": case("qwen", QWEN, "qwen3"),
    "qwen2-other-class": case("qwen", QWEN, "qwen2", tokenizer_class=BACKEND),
    "qwen3-file": case("qwen", QWEN, "qwen3", tokenizer_class=BACKEND),
    "qwen3-prefix": case("qwen", QWEN, "qwen3", tokenizer_class="Qwen2Tokenizer", add_prefix_space=True),
    "qwen3-added": case("qwen", QWEN, "qwen3", tokenizer_class="Qwen2Tokenizer", added_tokens_decoder=NEW_QWEN),
    "qwen2-other-split": case("llama3", LLAMA3, "qwen2", tokenizer_class="Qwen2Tokenizer"),
}
