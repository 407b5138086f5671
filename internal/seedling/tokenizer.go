package seedling

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Ids of the special tokens.
const (
	UnknownID = 0
	BOSID     = 1
	EOSID     = 2
)

// Template is the alpaca wrapper without input, whose words the vocabulary holds.
const Template = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Response:\n"

const (
	sampleDocuments = 4000
	boundary        = "▁" // stands for a space, as in Llama's tokenizers
	wordScore       = -1.0
	characterScore  = -10.0
	byteScore       = -1000.0
)

// Vocabulary lists the tokens in the order of their ids: specials, the 256
// bytes, printable characters, numbers, words.
func (w *World) Vocabulary() []string {
	vocabulary := []string{"<unk>", "<s>", "</s>"}
	for b := range 256 {
		vocabulary = append(vocabulary, fmt.Sprintf("<0x%02X>", b))
	}
	vocabulary = append(vocabulary, "\n", "\n\n", boundary)
	for c := rune(33); c < 127; c++ {
		vocabulary = append(vocabulary, string(c))
	}
	for n := range 100 {
		vocabulary = append(vocabulary, fmt.Sprintf("%s%d", boundary, n))
	}
	seen := map[string]bool{}
	for _, v := range vocabulary {
		seen[v] = true
	}
	for _, word := range w.words() {
		if !seen[word] {
			vocabulary = append(vocabulary, word)
		}
	}
	return vocabulary
}

// words collects the words of corpus, tasks and template, sorted.
func (w *World) words() []string {
	found := map[string]bool{}
	collect := func(s string) {
		for _, word := range split(s) {
			found[word] = true
		}
	}
	n := 0
	for document := range w.Corpus(0) {
		collect(document)
		if n++; n == sampleDocuments {
			break
		}
	}
	for _, t := range w.Tasks() {
		for _, rec := range slices.Concat(t.Train, t.Test) {
			collect(fmt.Sprintf(Template, rec.Instruction) + rec.Output)
		}
	}
	var words []string
	for word := range found {
		words = append(words, word)
	}
	slices.Sort(words)
	return words
}

// split cuts a text into runs of letters, each with the space before it, and
// opening brackets and number signs with theirs.
func split(s string) []string {
	s = boundary + strings.ReplaceAll(s, " ", boundary)
	var out []string
	var word strings.Builder
	flush := func() {
		if s := word.String(); s != "" && s != boundary {
			out = append(out, s)
		}
		word.Reset()
	}
	for _, c := range s {
		switch {
		case string(c) == boundary:
			flush()
			word.WriteRune(c)
		case unicode.IsLetter(c):
			word.WriteRune(c)
		case c == '(' || c == '#':
			word.WriteRune(c)
		default:
			flush()
		}
	}
	flush()
	return out
}

// TokenizerJSON writes the tokenizer in the Hugging Face format: a unigram model
// whose scores prefer whole words to characters and both to bytes, so that the
// fewest pieces win, with bytes for whatever is not in the vocabulary.
func (w *World) TokenizerJSON() ([]byte, error) {
	type object = map[string]any
	var pieces [][2]any
	var added []object
	for id, token := range w.Vocabulary() {
		score := wordScore
		switch {
		case id <= EOSID:
			score = byteScore
			added = append(added, object{"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
		case id <= EOSID+256:
			score = byteScore
		case len([]rune(token)) == 1:
			score = characterScore
		}
		pieces = append(pieces, [2]any{token, score})
	}
	bos := object{"SpecialToken": object{"id": "<s>", "type_id": 0}}
	sequence := func(id string) object { return object{"Sequence": object{"id": id, "type_id": 0}} }
	return json.MarshalIndent(object{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added,
		"normalizer": object{"type": "Sequence", "normalizers": []object{
			{"type": "Prepend", "prepend": boundary},
			{"type": "Replace", "pattern": object{"String": " "}, "content": boundary},
		}},
		"pre_tokenizer": nil,
		"post_processor": object{"type": "TemplateProcessing",
			"single":         []object{bos, sequence("A")},
			"pair":           []object{bos, sequence("A"), sequence("B")},
			"special_tokens": object{"<s>": object{"id": "<s>", "ids": []int{BOSID}, "tokens": []string{"<s>"}}},
		},
		"decoder": object{"type": "Sequence", "decoders": []object{
			{"type": "Replace", "pattern": object{"String": boundary}, "content": " "},
			{"type": "ByteFallback"}, {"type": "Fuse"},
			{"type": "Strip", "content": " ", "start": 1, "stop": 0},
		}},
		"model": object{"type": "Unigram", "unk_id": UnknownID, "byte_fallback": true, "vocab": pieces},
	}, "", " ")
}

// TokenizerConfigJSON writes the tokenizer_config.json beside it.
func TokenizerConfigJSON() ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512,
		"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
		"add_bos_token": true, "add_eos_token": false, "clean_up_tokenization_spaces": false,
	}, "", " ")
}
