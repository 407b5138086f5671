package tokenizer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// settings is what the files beside tokenizer.json say. add_bos_token and add_eos_token
// are not among it: transformers 5 leaves them out where there is a tokenizer.json.
type settings struct {
	dir string

	Class          string     `json:"tokenizer_class"`
	Legacy         *bool      `json:"legacy"`
	AddPrefixSpace *bool      `json:"add_prefix_space"`
	PaddingSide    string     `json:"padding_side"`
	SplitSpecial   bool       `json:"split_special_tokens"`
	CleanUp        bool       `json:"clean_up_tokenization_spaces"`
	CleanUpBPE     bool       `json:"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"`
	MistralRegex   bool       `json:"fix_mistral_regex"`
	AddedTokens    tokensByID `json:"added_tokens_decoder"`

	ChatTemplate json.RawMessage `json:"chat_template"`

	model     modelConfig                // config.json
	generate  numbered                   // generation_config.json
	raw       map[string]json.RawMessage // tokenizer_config.json with special_tokens_map.json
	addedFile map[string]int             // added_tokens.json
	named     []addedToken               // special tokens with a role, as *_token
	roles     map[string]addedToken      // the same by role
	stated    map[string]bool            // the roles that a file states
	extra     []addedToken               // special tokens without one
}

type modelConfig struct {
	numbered
	Type  string `json:"model_type"`
	Class string `json:"tokenizer_class"`
}

// readSettings reads the files, each of which may be absent.
func readSettings(dir string) (*settings, error) {
	s := &settings{dir: dir, raw: map[string]json.RawMessage{}}
	config, specials := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, f := range []struct {
		name string
		into any
	}{{configFile, s}, {configFile, &config}, {"special_tokens_map.json", &specials}, {"added_tokens.json", &s.addedFile},
		{"config.json", &s.model}, {"generation_config.json", &s.generate}} {
		if err := readJSON(filepath.Join(dir, f.name), f.into); err != nil {
			return nil, err
		}
	}
	if s.Class == "" {
		s.Class = s.model.Class
	}
	maps.Copy(s.raw, config)
	if s.AddedTokens == nil { // special_tokens_map.json is of older versions, and goes first
		maps.Copy(s.raw, specials)
	}
	return s, s.check()
}

const configFile = "tokenizer_config.json"

// check refuses what would change ids or texts and is not supported.
func (s *settings) check() error {
	path := filepath.Join(s.dir, configFile)
	if s.PaddingSide != "" && s.PaddingSide != "left" && s.PaddingSide != "right" {
		return fault.Input(path, "write left or right", "padding_side is %.40q", s.PaddingSide)
	}
	if s.MistralRegex {
		return fault.Input(path, "take it out, or save the tokenizer anew with transformers", "fix_mistral_regex is not supported")
	}
	return nil
}

// cleansUp tells whether transformers would take spaces out of decoded text. It does not
// for BPE, whatever clean_up_tokenization_spaces says, unless told so twice.
func (s *settings) cleansUp(model string) bool {
	return s.CleanUp && (model != "BPE" || s.CleanUpBPE)
}

// roleOrder is the order in which transformers adds special tokens that are missing.
var roleOrder = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// readSpecials finds the special tokens by role: the files', else the class's. Properties
// are taken from an added token of the same text.
func (s *settings) readSpecials(c class, own []addedToken, pad string) error {
	flags := map[string]addedToken{}
	for _, token := range s.decoder(own) {
		flags[token.Content] = token
	}
	s.roles, s.stated = map[string]addedToken{}, map[string]bool{}
	for role, text := range c.defaults() {
		s.roles[role] = specialToken(text)
	}
	if pad != "" {
		s.roles["pad_token"] = specialToken(pad)
	}
	for role, data := range s.raw {
		if !strings.HasSuffix(role, "_token") || role == "add_bos_token" || role == "add_eos_token" {
			continue
		}
		var token addedToken
		if err := json.Unmarshal(data, &token); err != nil {
			return fault.Input(filepath.Join(s.dir, configFile), "write its text", "%.40s is not a token", role)
		}
		delete(s.roles, role)
		if token.Content == "" {
			continue
		}
		if known, ok := flags[token.Content]; ok && slices.Contains(roleOrder, role) {
			token = known
		}
		s.roles[role], s.stated[role] = token, true
	}
	s.named = s.inOrder()
	return s.readExtra()
}

func (s *settings) inOrder() (named []addedToken) {
	for _, role := range roleOrder {
		if token, ok := s.roles[role]; ok {
			named = append(named, token)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(s.roles)) {
		if !slices.Contains(roleOrder, role) {
			named = append(named, s.roles[role])
		}
	}
	return named
}

// readExtra reads the special tokens without a role; a list or an object of named ones.
func (s *settings) readExtra() error {
	for _, key := range []string{"extra_special_tokens", "additional_special_tokens"} {
		data := s.raw[key]
		var list []addedToken
		var byName map[string]addedToken
		if data == nil {
			continue
		}
		if json.Unmarshal(data, &list) != nil && json.Unmarshal(data, &byName) != nil {
			return fault.Input(filepath.Join(s.dir, configFile), "write a list of texts", "%s is not a list of tokens", key)
		}
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			s.named = append(s.named, byName[name])
		}
		if len(list)+len(byName) > 0 {
			s.extra = list
			return nil
		}
	}
	return nil
}

// text is the token with a role, or "".
func (s *settings) text(role string) string { return s.roles[role].Content }

// readJSON reads a file if it is there.
func readJSON(path string, into any) error {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if hasNUL(data) {
		return fault.Input(path, "mend or replace it", "has a NUL character in a string")
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fault.Input(path, "mend or replace it", "cannot be read: %v", err)
	}
	return nil
}
