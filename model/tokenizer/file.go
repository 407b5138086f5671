package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// file is a tokenizer.json that was looked through.
type file struct {
	parts map[string]json.RawMessage
	model string         // the kind: BPE, Unigram, ...
	ids   map[string]int // the model's own tokens
	added []addedToken
	level bool // names ByteLevel
	pads  padding
}

// padding is how the file would pad.
type padding struct {
	Direction string `json:"direction"`
	Token     string `json:"pad_token"`
}

// parse checks the file and takes out of it what encoding must not do: transformers cuts
// and pads only when asked to, whatever the file says.
func parse(data []byte) (*file, error) {
	if hasNUL(data) {
		return nil, errors.New("has a NUL character in a string, which the library cannot take")
	}
	f := &file{level: bytes.Contains(data, []byte(`"ByteLevel"`))}
	if err := json.Unmarshal(data, &f.parts); err != nil {
		return nil, fmt.Errorf("is not a JSON object: %w", err)
	}
	_ = json.Unmarshal(f.parts["padding"], &f.pads) // absent or odd: no padding
	delete(f.parts, "truncation")
	delete(f.parts, "padding")
	for _, key := range []string{"normalizer", "pre_tokenizer", "post_processor", "decoder"} {
		part, err := cleanPart(f.parts[key])
		if err != nil {
			return nil, fmt.Errorf("%s %w", key, err)
		}
		f.parts[key] = part
	}
	var err error
	if f.model, f.ids, err = readModel(f.parts["model"]); err != nil {
		return nil, err
	}
	if raw := f.parts["added_tokens"]; raw != nil {
		if err := json.Unmarshal(raw, &f.added); err != nil {
			return nil, fmt.Errorf("added_tokens cannot be read: %w", err)
		}
	}
	return f, nil
}

// finish puts the added tokens in and writes the file for the library.
func (f *file) finish(v *vocabulary) (data []byte, err error) {
	if f.parts["decoder"], err = markNUL(f.parts["decoder"]); err != nil {
		return nil, err
	}
	if f.parts["added_tokens"], err = json.Marshal(v.added); err != nil {
		return nil, err
	}
	return json.Marshal(f.parts)
}

// hasNUL finds an escaped NUL. The library turns its messages into C strings, and one
// that quotes a NUL ends the process.
func hasNUL(data []byte) bool {
	escape := []byte(`\u0000`)
	for from := 0; ; {
		at := bytes.Index(data[from:], escape)
		if at < 0 {
			return false
		}
		at += from
		first := at
		for first > 0 && data[first-1] == '\\' {
			first--
		}
		if (at-first)%2 == 0 { // the backslash is not itself escaped
			return true
		}
		from = at + len(escape)
	}
}

// nulMark stands for a NUL in the text that the library decodes: its texts are C strings,
// which end there. It is made of characters that Unicode keeps out of texts.
const nulMark = "\uFDD0\U0010FFFF\uFDD0"

// markNUL adds the rule that writes nulMark to a decoder.
func markNUL(decoder json.RawMessage) (json.RawMessage, error) {
	if string(decoder) == "null" { // tokens are then joined as the file has them, without NUL
		return decoder, nil
	}
	return json.Marshal(map[string]any{"type": "Sequence", "decoders": []any{decoder,
		map[string]any{"type": "Replace", "pattern": map[string]string{"String": "\x00"}, "content": nulMark}}})
}

// maxDepth bounds the nesting of a part: the library ends the process at 128.
const maxDepth = 32

// cleanPart refuses the rules on which the library is known to end the process, and
// writes the rest anew: strings are then valid Unicode, numbers finite.
func cleanPart(raw json.RawMessage) (json.RawMessage, error) {
	if raw == nil {
		return json.RawMessage("null"), nil
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if _, ok := tree.(map[string]any); !ok && tree != nil {
		return nil, errors.New("is neither an object nor null")
	}
	if err := checkRules(tree, 0); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

func checkRules(tree any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("is nested more than %d deep", maxDepth)
	}
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			if err := checkRules(child, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		if stop, ok := node["stop"].(float64); ok && stop > 0 {
			return errors.New("strips characters at the end of tokens, which is not supported")
		}
		if _, ok := node["precompiled_charsmap"]; ok {
			return errors.New("has a precompiled character map, which is not supported")
		}
		if err := checkTemplate(node); err != nil {
			return err
		}
		for _, child := range node {
			if err := checkRules(child, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTemplate looks for special tokens that a template names but does not define.
func checkTemplate(node map[string]any) error {
	defined, _ := node["special_tokens"].(map[string]any)
	for _, key := range []string{"single", "pair"} {
		pieces, _ := node[key].([]any)
		for _, piece := range pieces {
			p, _ := piece.(map[string]any)
			special, ok := p["SpecialToken"].(map[string]any)
			if !ok {
				continue
			}
			name, _ := special["id"].(string)
			if _, ok := defined[name]; !ok {
				return fmt.Errorf("names the special token %.40q without defining it", name)
			}
		}
	}
	return nil
}

// readModel finds the kind of model and its own tokens. The library could give their
// number, but not their ids.
func readModel(raw json.RawMessage) (kind string, ids map[string]int, err error) {
	var model struct {
		Type   string          `json:"type"`
		Vocab  json.RawMessage `json:"vocab"`
		Prefix string          `json:"continuing_subword_prefix"`
		Merges json.RawMessage `json:"merges"`
	}
	if json.Unmarshal(raw, &model) != nil || model.Vocab == nil {
		return "", nil, errors.New("has no vocabulary that can be read")
	}
	if model.Prefix != "" && model.Merges != nil {
		return "", nil, errors.New("model joins merges over a prefix of subwords, which is not supported")
	}
	if model.Type == "" && model.Merges != nil { // older files do not say it
		model.Type = "BPE"
	}
	if json.Unmarshal(model.Vocab, &ids) != nil {
		ids, err = listed(model.Vocab)
	}
	if err == nil {
		err = checkIDs(ids)
	}
	return model.Type, ids, err
}

// listed reads the vocabulary of a Unigram model: [text, score] in the order of ids.
func listed(raw json.RawMessage) (map[string]int, error) {
	var pieces [][]any
	if err := json.Unmarshal(raw, &pieces); err != nil {
		return nil, errors.New("has no vocabulary that can be read")
	}
	ids := map[string]int{}
	for i, piece := range pieces {
		if len(piece) != 2 {
			return nil, fmt.Errorf("piece %d of the vocabulary is not a text and a score", i)
		}
		text, ok := piece[0].(string)
		if !ok {
			return nil, fmt.Errorf("piece %d of the vocabulary is not a text and a score", i)
		}
		ids[text] = i
	}
	return ids, nil
}

// maxTokenID bounds the ids: the largest vocabularies in use have some 262,000 tokens.
const maxTokenID = 1 << 24

func checkIDs(ids map[string]int) error {
	for text, id := range ids {
		if id < 0 || id > maxTokenID {
			return fmt.Errorf("token %.40q has id %d", text, id)
		}
	}
	return nil
}
