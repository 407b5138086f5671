package tokenizer

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"alphalora/internal/fault"
)

// specials are the ids of the tokens with a meaning.
type specials struct {
	bos, pad *int32
	eos      []int32 // the tokenizer's own first
}

// findSpecials looks the tokens up. Where the tokenizer names none, config.json's ids
// hold; generation_config.json's go before config.json's. ids are those of the tokens
// that a file defines: one that is only named has an id that no model has learned.
func findSpecials(s *settings, ids map[string]int) (found specials, err error) {
	bos, err := s.lookUp("bos_token", ids)
	if err != nil {
		return found, err
	}
	eos, err := s.lookUp("eos_token", ids)
	if err != nil {
		return found, err
	}
	if eos != nil {
		found.eos = append(found.eos, *eos)
	}
	numbers := s.generate.over(s.model.numbered)
	for _, id := range numbers.EOS {
		if !slices.Contains(found.eos, id) {
			found.eos = append(found.eos, id)
		}
	}
	found.bos, found.pad = bos, find(ids, s.text("pad_token"))
	if found.bos == nil {
		found.bos = numbers.BOS
	}
	if found.pad == nil {
		found.pad = numbers.Pad
	}
	return found, nil
}

// lookUp finds the id of a special token given by its text; nil where none is given.
func (s *settings) lookUp(role string, ids map[string]int) (*int32, error) {
	id := find(ids, s.text(role))
	if id == nil && s.stated[role] {
		return nil, fault.Input(filepath.Join(s.dir, configFile), "use the files that belong together",
			"%s is %.40q, which tokenizer.json does not have", role, s.text(role))
	}
	return id, nil
}

func find(ids map[string]int, text string) *int32 {
	id, ok := ids[text]
	if text == "" || !ok {
		return nil
	}
	v := int32(id)
	return &v
}

// stated is the first id that is given; -1 is some files' way to say none.
func stated(ids ...*int32) *int32 {
	for _, id := range ids {
		if id != nil && *id >= 0 {
			return id
		}
	}
	return nil
}

// frame finds what goes around a prompt: the post-processor is seen at work on a letter.
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
	for _, id := range slices.Concat(t.prefix, t.suffix, t.special.eos) {
		if int(id) >= len(t.kinds) {
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
