// Package tokenizer turns text into the token ids of a model and back, with the Rust
// library behind Hugging Face's tokenizers (through daulet/tokenizers).
//
// tokenizer.json says how text is cut; which special tokens a prompt gets is said by its
// post-processor and by tokenizer_config.json (add_bos_token, add_eos_token); which
// tokens end a generation by config.json and generation_config.json.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	hf "github.com/daulet/tokenizers"

	"alphalora/internal/fault"
)

// maxFileBytes bounds a tokenizer.json: the largest ones in use have some 35 MB.
const maxFileBytes = 256 << 20

// Tokenizer is not safe for concurrent use.
type Tokenizer struct {
	hf     *hf.Tokenizer
	dir    string
	maxID  int
	bos    *int32
	eos    []int32
	pad    *int32
	addBOS bool
	addEOS bool
}

// Open reads the tokenizer of a model directory.
func Open(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "tokenizer.model")); err == nil {
			return nil, fault.Input(path, "convert it once with transformers: AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)",
				"is missing; the directory has only a SentencePiece tokenizer.model")
		}
		return nil, fault.Input(path, "download the model's tokenizer.json into the directory", "is missing")
	}
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{dir: dir}
	ids, err := vocabulary(path, data)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		t.maxID = max(t.maxID, id)
	}
	if t.hf, err = hf.FromBytes(data); err != nil {
		return nil, fault.Input(path, "download it again", "is not a tokenizer that can be read: %v", err)
	}
	if err := t.readPolicies(ids); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, fault.Input(path, "is this a model's file?", "%d bytes are more than the %d allowed", info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// vocabulary lists the ids of tokens by their text, added tokens included. The library
// can give the number of tokens, but not the largest id, and added tokens may leave gaps.
func vocabulary(path string, data []byte) (map[string]int, error) {
	var file struct {
		Added []struct {
			ID      int
			Content string
		} `json:"added_tokens"`
		Model struct {
			Vocab json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fault.Input(path, "download it again", "is not JSON: %v", err)
	}
	ids := map[string]int{}
	if err := json.Unmarshal(file.Model.Vocab, &ids); err != nil {
		var pieces []json.RawMessage // Unigram lists [text, score] in the order of ids
		if err := json.Unmarshal(file.Model.Vocab, &pieces); err != nil {
			return nil, fault.Input(path, "download it again", "has no vocabulary that can be read")
		}
		for i, raw := range pieces {
			var piece []any
			if json.Unmarshal(raw, &piece) == nil && len(piece) > 0 {
				ids[fmt.Sprint(piece[0])] = i
			}
		}
	}
	for _, a := range file.Added {
		ids[a.Content] = a.ID
	}
	for text, id := range ids {
		if id < 0 || id > 1<<30 {
			return nil, fault.Input(path, "download it again", "token %.40q has id %d", text, id)
		}
	}
	return ids, nil
}

// readPolicies reads which special tokens there are and when they are added.
func (t *Tokenizer) readPolicies(ids map[string]int) error {
	var c struct {
		BOS    special `json:"bos_token"`
		EOS    special `json:"eos_token"`
		Pad    special `json:"pad_token"`
		AddBOS bool    `json:"add_bos_token"`
		AddEOS bool    `json:"add_eos_token"`
	}
	var g struct {
		BOS *int32    `json:"bos_token_id"`
		EOS oneOrMore `json:"eos_token_id"`
		Pad *int32    `json:"pad_token_id"`
	}
	for _, f := range []struct {
		name string
		into any
	}{{"tokenizer_config.json", &c}, {"config.json", &g}, {"generation_config.json", &g}} {
		path := filepath.Join(t.dir, f.name)
		data, err := readBounded(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, f.into); err != nil {
			return fault.Input(path, "mend or replace it", "%v", err)
		}
	}
	named := func(s special) *int32 {
		if id, ok := ids[string(s)]; ok && s != "" {
			v := int32(id)
			return &v
		}
		return nil
	}
	t.addBOS, t.addEOS = c.AddBOS, c.AddEOS
	t.bos, t.pad = firstOf(named(c.BOS), g.BOS), firstOf(named(c.Pad), g.Pad)
	if id := named(c.EOS); id != nil {
		t.eos = append(t.eos, *id)
	}
	for _, id := range g.EOS {
		if !slices.Contains(t.eos, id) {
			t.eos = append(t.eos, id)
		}
	}
	return nil
}

func firstOf(a, b *int32) *int32 {
	if a != nil {
		return a
	}
	return b
}

// special reads a token given as a string or as an object with its content.
type special string

func (s *special) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*s = special(text)
		return nil
	}
	var object struct{ Content string }
	err := json.Unmarshal(data, &object)
	*s = special(object.Content)
	return err
}

// oneOrMore reads an id or a list of ids.
type oneOrMore []int32

func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one int32
	if string(data) == "null" {
		return nil
	}
	if json.Unmarshal(data, &one) == nil {
		*o = []int32{one}
		return nil
	}
	var list []int32
	err := json.Unmarshal(data, &list)
	*o = list
	return err
}

// Encode cuts text into ids. With special, the tokens that the model expects around a
// prompt are added, as transformers' tokenizer(text) does. Text that spells a special
// token becomes that token, as there. A NUL is refused: the library would take it for
// the end.
func (t *Tokenizer) Encode(text string, special bool) ([]int32, error) {
	if strings.ContainsRune(text, 0) {
		return nil, fault.Input("text", "remove the NUL character", "has a NUL character at byte %d", strings.IndexByte(text, 0))
	}
	raw, _, err := t.hf.EncodeErr(text, special)
	if err != nil {
		return nil, fault.Input("text", "give valid UTF-8", "cannot be encoded: %v", err)
	}
	ids := make([]int32, 0, len(raw)+2)
	if special && t.addBOS && t.bos != nil && (len(raw) == 0 || int32(raw[0]) != *t.bos) {
		ids = append(ids, *t.bos)
	}
	for _, id := range raw {
		ids = append(ids, int32(id))
	}
	if special && t.addEOS && len(t.eos) > 0 && (len(ids) == 0 || ids[len(ids)-1] != t.eos[0]) {
		ids = append(ids, t.eos[0])
	}
	return ids, nil
}

// Decode turns ids back into text, without special tokens where skip is set.
func (t *Tokenizer) Decode(ids []int32, skip bool) (string, error) {
	if len(ids) == 0 {
		return "", nil
	}
	raw := make([]uint32, len(ids))
	for i, id := range ids {
		raw[i] = uint32(id)
	}
	return t.hf.DecodeErr(raw, skip)
}

// MaxID is the largest token id, added tokens included.
func (t *Tokenizer) MaxID() int { return t.maxID }

// BOS returns the token that begins a text, if there is one.
func (t *Tokenizer) BOS() (int32, bool) { return value(t.bos) }

// EOS returns the token that ends a text, if there is one.
func (t *Tokenizer) EOS() (int32, bool) {
	if len(t.eos) == 0 {
		return 0, false
	}
	return t.eos[0], true
}

// Pad returns the padding token, if there is one. Nothing here depends on it: padding
// is known by its place, never by its id.
func (t *Tokenizer) Pad() (int32, bool) { return value(t.pad) }

// EOSList lists every token that ends a generation.
func (t *Tokenizer) EOSList() []int32 { return slices.Clone(t.eos) }

func value(id *int32) (int32, bool) {
	if id == nil {
		return 0, false
	}
	return *id, true
}

// Close frees the tokenizer.
func (t *Tokenizer) Close() {
	if t.hf != nil {
		_ = t.hf.Close()
		t.hf = nil
	}
}
