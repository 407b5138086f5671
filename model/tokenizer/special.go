package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"alphalora/internal/fault"
)

// specials are the tokens with a meaning, and when they are added.
type specials struct {
	bos, pad       *int32
	eos            []int32 // the tokenizer's own first
	addBOS, addEOS *bool   // nil: as the post-processor does
	rebuilds       bool    // transformers builds this class's post-processor from the policies
}

// rebuilding are the tokenizer classes for which transformers replaces the post-processor
// of tokenizer.json by one made from add_bos_token (default true) and add_eos_token
// (default false). For the others the file's own holds.
var rebuilding = []string{"LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast"}

// named is what tokenizer_config.json and special_tokens_map.json say.
type named struct {
	BOS    token  `json:"bos_token"`
	EOS    token  `json:"eos_token"`
	Pad    token  `json:"pad_token"`
	AddBOS *bool  `json:"add_bos_token"`
	AddEOS *bool  `json:"add_eos_token"`
	Class  string `json:"tokenizer_class"`
}

// numbered is what config.json and generation_config.json say.
type numbered struct {
	BOS *int32    `json:"bos_token_id"`
	EOS oneOrMore `json:"eos_token_id"`
	Pad *int32    `json:"pad_token_id"`
}

// readSpecials reads the files beside tokenizer.json, each of which may be absent. The
// later goes before the earlier in each pair.
func readSpecials(dir string, ids map[string]int) (s specials, err error) {
	var n named
	var g numbered
	for _, f := range []struct {
		name string
		into any
	}{{"special_tokens_map.json", &n}, {"tokenizer_config.json", &n}, {"config.json", &g}, {"generation_config.json", &g}} {
		if err := readJSON(filepath.Join(dir, f.name), f.into); err != nil {
			return s, err
		}
	}
	s.addBOS, s.addEOS, s.rebuilds = n.AddBOS, n.AddEOS, slices.Contains(rebuilding, n.Class)
	if s.bos, err = lookUp(dir, "bos_token", n.BOS, ids); err != nil {
		return s, err
	}
	eos, err := lookUp(dir, "eos_token", n.EOS, ids)
	if err != nil {
		return s, err
	}
	if eos != nil {
		s.eos = append(s.eos, *eos)
	}
	if id, ok := ids[string(n.Pad)]; ok { // one that transformers would add is of no use here
		v := int32(id)
		s.pad = &v
	}
	for _, id := range g.EOS {
		if id >= 0 && !slices.Contains(s.eos, id) {
			s.eos = append(s.eos, id)
		}
	}
	if s.bos == nil {
		s.bos = stated(g.BOS)
	}
	if s.pad == nil {
		s.pad = stated(g.Pad)
	}
	return s, nil
}

// readJSON reads a file if it is there.
func readJSON(path string, into any) error {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fault.Input(path, "mend or replace it", "cannot be read: %v", err)
	}
	return nil
}

// lookUp finds the id of a special token given by its text; nil where none is given.
func lookUp(dir, name string, text token, ids map[string]int) (*int32, error) {
	if text == "" {
		return nil, nil
	}
	id, ok := ids[string(text)]
	if !ok {
		return nil, fault.Input(filepath.Join(dir, "tokenizer_config.json"), "use the files that belong together",
			"%s is %.40q, which tokenizer.json does not have", name, string(text))
	}
	v := int32(id)
	return &v, nil
}

// stated is an id of config.json; -1 is some files' way to say none.
func stated(id *int32) *int32 {
	if id == nil || *id < 0 {
		return nil
	}
	return id
}

// frame finds what goes around a prompt: the post-processor is seen at work on a letter,
// then the policies are laid over it.
func (t *Tokenizer) frame() error {
	const probe = "a"
	bare, err := t.cut(probe, false)
	if err != nil {
		return err
	}
	whole, err := t.cut(probe, true)
	if err != nil {
		return err
	}
	at := indexOf(whole, bare)
	if at < 0 {
		return errors.New("post_processor changes the tokens of a text, which is not supported")
	}
	t.prefix, t.suffix = whole[:at:at], whole[at+len(bare):]
	s := t.special
	if s.rebuilds {
		t.prefix, t.suffix = nil, nil
		if s.bos != nil && (s.addBOS == nil || *s.addBOS) {
			t.prefix = []int32{*s.bos}
		}
	} else if s.addBOS != nil && *s.addBOS && s.bos != nil && !slices.Contains(t.prefix, *s.bos) {
		t.prefix = append([]int32{*s.bos}, t.prefix...)
	}
	if s.addEOS != nil && *s.addEOS && len(s.eos) > 0 && !slices.Contains(t.suffix, s.eos[0]) {
		t.suffix = append(slices.Clip(t.suffix), s.eos[0])
	}
	for _, id := range slices.Concat(t.prefix, t.suffix, s.eos) {
		if int(id) > t.maxID {
			return fmt.Errorf("has no token %d, which its post_processor or the configuration beside it names", id)
		}
	}
	return nil
}

// indexOf finds part in whole. An empty part, of a tokenizer that drops the probe, is at
// the end: what is added is taken for a prefix.
func indexOf(whole, part []int32) int {
	for at := len(whole) - len(part); at >= 0; at-- {
		if slices.Equal(whole[at:at+len(part)], part) {
			return at
		}
	}
	return -1
}

// token reads a special token given as a string or as an object with its content.
type token string

func (s *token) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*s = token(text)
		return nil
	}
	var object struct {
		Content string `json:"content"`
	}
	err := json.Unmarshal(data, &object)
	*s = token(object.Content)
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
