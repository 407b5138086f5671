package tokenizer

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"alphalora/internal/fault"
)

// numbered is what config.json and generation_config.json say of ids.
type numbered struct {
	BOS *int32    `json:"bos_token_id"`
	EOS oneOrMore `json:"eos_token_id"`
	Pad *int32    `json:"pad_token_id"`
}

// over lays the ids of generation_config.json over those of config.json; -1 is some
// files' none.
func (n numbered) over(model numbered) numbered {
	n.BOS, n.Pad = stated(n.BOS, model.BOS), stated(n.Pad, model.Pad)
	ends := n.EOS
	if ends == nil {
		ends = model.EOS
	}
	n.EOS = nil
	for _, id := range ends {
		if id >= 0 {
			n.EOS = append(n.EOS, id)
		}
	}
	return n
}

// Stated are the tokens with a meaning that a model directory states by number, for
// token ids that no tokenizer made.
type Stated struct {
	BOS  int32   // begins a text; -1 for none
	Ends []int32 // each ends an output
}

// ReadStated reads generation_config.json and config.json of a model directory; what the
// first states goes before the second. Both may be absent.
func ReadStated(dir string, vocabulary int) (Stated, error) {
	s := Stated{BOS: -1}
	var model, generate numbered
	for _, f := range []struct {
		name string
		into *numbered
	}{{"config.json", &model}, {"generation_config.json", &generate}} {
		path := filepath.Join(dir, f.name)
		if err := readJSON(path, f.into); err != nil {
			return s, err
		}
		for _, id := range f.into.over(numbered{}).all() {
			if int(id) >= vocabulary {
				return s, fault.Input(path, "use the files that belong together", "token %d is outside the vocabulary of %d", id, vocabulary)
			}
		}
	}
	n := generate.over(model)
	if n.BOS != nil {
		s.BOS = *n.BOS
	}
	s.Ends = n.EOS
	return s, nil
}

func (n numbered) all() []int32 {
	if n.BOS == nil {
		return n.EOS
	}
	return append([]int32{*n.BOS}, n.EOS...)
}

// oneOrMore reads an id or a list of ids.
type oneOrMore []int32

func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var one int32
	if json.Unmarshal(data, &one) == nil {
		*o = []int32{one}
		return nil
	}
	var list []int32
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("%.40s is neither an id nor a list of them", data)
	}
	*o = list
	return nil
}
