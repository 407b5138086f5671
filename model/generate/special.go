package generate

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"alphalora/internal/fault"
)

// Special are the tokens with a meaning that a model directory states by number, for
// token ids that no tokenizer made.
type Special struct {
	BOS  int32   // begins a text; -1 for none
	Ends []int32 // each ends an output
}

// maxConfigBytes bounds the files: real ones have a few kilobytes.
const maxConfigBytes = 1 << 20

// ReadSpecial reads generation_config.json and config.json of a model directory; what
// the first states goes before the second. Both may be absent.
func ReadSpecial(dir string, vocabulary int) (Special, error) {
	s := Special{BOS: -1}
	for _, name := range []string{"config.json", "generation_config.json"} {
		path := filepath.Join(dir, name)
		data, err := readConfig(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, fault.Input(path, "make it readable", "cannot be read: %v", fault.Reason(err))
		}
		if err := s.parse(path, data, vocabulary); err != nil {
			return s, err
		}
	}
	return s, nil
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxConfigBytes))
}

// parse lays what a file states over what is there. An id of -1 is some files' none.
func (s *Special) parse(path string, data []byte, vocabulary int) error {
	const remedy = "mend or replace it"
	var file struct {
		BOS *int32          `json:"bos_token_id"`
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return fault.Input(path, remedy, "cannot be read: %v", err)
	}
	var ends []int32
	if len(file.EOS) > 0 && string(file.EOS) != "null" {
		var one int32
		if json.Unmarshal(file.EOS, &one) == nil {
			ends = []int32{one}
		} else if err := json.Unmarshal(file.EOS, &ends); err != nil {
			return fault.Input(path, remedy, "eos_token_id is %.40s: neither a token nor a list of them", file.EOS)
		}
		s.Ends = nil
	}
	if file.BOS != nil {
		s.BOS = max(*file.BOS, -1)
	}
	for _, id := range append(ends, s.BOS) {
		if int(id) >= vocabulary {
			return fault.Input(path, "use the files that belong together", "token %d is outside the vocabulary of %d", id, vocabulary)
		}
	}
	for _, id := range ends {
		if id >= 0 {
			s.Ends = append(s.Ends, id)
		}
	}
	return nil
}

// Shorten cuts a prompt to at most most tokens: its end stays, and so does its first
// token where that is bos.
func Shorten(ids []int32, most int, bos int32) []int32 {
	if len(ids) <= most {
		return ids
	}
	short := append([]int32{}, ids[len(ids)-most:]...)
	if ids[0] == bos {
		short[0] = bos
	}
	return short
}
