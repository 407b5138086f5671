package tokenizer

import (
	"encoding/json"
	"errors"
	"strings"
)

// class is what transformers 5 makes of a tokenizer.json. The class of most tokenizers
// takes the file as it is. Some take from it only the vocabulary, the merges and the
// post-processor, and make the rest anew: what the file says of normalizing, splitting
// and decoding does not count then.
type class string

const (
	classFile  class = "TokenizersBackend"
	classLlama class = "LlamaTokenizer"
	classGemma class = "GemmaTokenizer"
	classQwen2 class = "Qwen2Tokenizer"
)

// registered are the classes that transformers 5 has for the kinds of model.
var registered = map[string]class{
	"gemma": classGemma, "gemma2": classGemma, "gemma3": classGemma, "gemma3_text": classGemma,
	"qwen2": classQwen2, "qwen3": classQwen2, "qwen2_moe": classQwen2, "qwen3_moe": classQwen2,
	"mistral": classFile, "phi3": classFile,
}

// distrusted are the kinds of model whose files often name a wrong class: the registered
// one holds.
var distrusted = map[string]bool{"qwen2": true, "phi3": true}

// classOf follows AutoTokenizer: declared is the class named in tokenizer_config.json or
// config.json, if any.
func classOf(modelType, declared string, byteLevel bool) class {
	named := class(strings.TrimSuffix(declared, "Fast")) // older files write LlamaTokenizerFast
	reg := registered[modelType]
	switch {
	case named == "":
		if reg == "" {
			return classFile
		}
		return reg
	case named == classLlama && byteLevel && !distrusted[modelType]:
		return classFile
	case reg == "" || reg == named:
	case reg == classFile:
		return classFile
	case distrusted[modelType]:
		return reg
	}
	switch named {
	case classLlama, classGemma, classQwen2:
		return named
	}
	return classFile
}

// remakes tells whether the class makes the rules anew.
func (c class) remakes() bool { return c != classFile }

// defaults are the special tokens that the class names where the files name none.
func (c class) defaults() map[string]string {
	switch c {
	case classLlama:
		return map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
	case classGemma:
		return map[string]string{"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
	case classQwen2:
		return map[string]string{"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
	}
	return nil
}

// paddingSide is the side where the class pads unless the files say.
func (c class) paddingSide() string {
	if c == classLlama || c == classGemma {
		return "left"
	}
	return "right"
}

type rule = map[string]any

// remake replaces the rules of the file by those of the class.
func (c class) remake(parts map[string]json.RawMessage, s *settings) error {
	var model struct {
		Vocab  json.RawMessage `json:"vocab"`
		Merges json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(parts["model"], &model); err != nil || model.Merges == nil {
		return errors.New("has no merges, which its tokenizer_class needs")
	}
	bpe := rule{"type": "BPE", "vocab": model.Vocab, "merges": model.Merges, "fuse_unk": c != classQwen2, "byte_fallback": c != classQwen2}
	fresh := rule{"model": bpe}
	switch c {
	case classLlama:
		c.likeLlama(fresh, s)
	case classGemma:
		bpe["unk_token"] = s.text("unk_token")
		fresh["normalizer"] = rule{"type": "Replace", "pattern": rule{"String": " "}, "content": space}
		fresh["pre_tokenizer"] = rule{"type": "Split", "pattern": rule{"String": " "}, "behavior": "MergedWithPrevious", "invert": false}
		fresh["decoder"] = pieces()
	case classQwen2:
		level := rule{"type": "ByteLevel", "add_prefix_space": s.AddPrefixSpace != nil && *s.AddPrefixSpace, "trim_offsets": true, "use_regex": false}
		split := rule{"type": "Split", "pattern": rule{"Regex": qwen2Words}, "behavior": "Isolated", "invert": false}
		fresh["normalizer"] = rule{"type": "NFC"}
		fresh["pre_tokenizer"] = rule{"type": "Sequence", "pretokenizers": []rule{split, level}}
		fresh["decoder"] = rule{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}
	}
	for _, key := range []string{"normalizer", "pre_tokenizer", "decoder", "model"} {
		data, err := json.Marshal(fresh[key])
		if err != nil {
			return err
		}
		parts[key] = data
	}
	return nil
}

// likeLlama: a space goes before every piece of text between added tokens (legacy), or
// before the first only, or nowhere.
func (c class) likeLlama(fresh rule, s *settings) {
	prefix := s.AddPrefixSpace == nil || *s.AddPrefixSpace
	scheme := "first"
	switch {
	case !prefix:
		scheme = "never"
	case s.Legacy != nil && *s.Legacy:
		scheme = "always"
	}
	fresh["pre_tokenizer"] = rule{"type": "Metaspace", "replacement": space, "prepend_scheme": scheme, "split": false}
	var more []rule
	if prefix {
		more = append(more, rule{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	fresh["decoder"] = pieces(more...)
}

// space stands for a space in the tokens of SentencePiece.
const space = "▁"

// pieces is the decoder of SentencePiece's tokens.
func pieces(more ...rule) rule {
	return rule{"type": "Sequence", "decoders": append([]rule{
		{"type": "Replace", "pattern": rule{"String": space}, "content": " "},
		{"type": "ByteFallback"}, {"type": "Fuse"}}, more...)}
}

// qwen2Words is where Qwen's tokenizers cut: contractions, words, single digits, signs,
// line ends, spaces.
const qwen2Words = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
