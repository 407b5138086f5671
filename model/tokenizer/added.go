package tokenizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// addedToken is a token that is found in a text before the model cuts it.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// UnmarshalJSON reads a string or an object. What is not stated is as for the class
// AddedToken: not special, and normalized unless special.
func (a *addedToken) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*a = specialToken(text)
		return nil
	}
	type plain addedToken
	p := struct {
		*plain
		Normalized *bool `json:"normalized"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	a.Normalized = !a.Special
	if p.Normalized != nil {
		a.Normalized = *p.Normalized
	}
	return nil
}

func specialToken(text string) addedToken { return addedToken{Content: text, Special: true} }

// same compares all but the id, which follows from the content.
func (a addedToken) same(b addedToken) bool {
	a.ID = b.ID
	return a == b
}

// vocabulary is the model's tokens and the added ones.
type vocabulary struct {
	ids   map[string]int // of every token
	own   int            // number of the model's tokens
	next  int            // id of the next new token
	added []addedToken   // in the order in which they were added; the last of a content holds
	last  map[string]addedToken
}

func newVocabulary(model map[string]int) *vocabulary {
	return &vocabulary{ids: maps.Clone(model), own: len(model), next: len(model), last: map[string]addedToken{}}
}

// add adds tokens as the library does: one that is known keeps its id and takes the new
// properties, a new one gets the next id.
func (v *vocabulary) add(tokens []addedToken) {
	for _, token := range tokens {
		if last, ok := v.last[token.Content]; token.Content == "" || ok && last.same(token) {
			continue
		}
		id, known := v.ids[token.Content]
		if !known {
			id = v.next
			v.ids[token.Content] = id
		}
		v.next = max(v.next, id+1)
		token.ID = id
		v.added, v.last[token.Content] = append(v.added, token), token
	}
}

// addOwn adds the tokens of tokenizer.json. The library numbers them itself; a file that
// states other numbers would be encoded to ids that it does not mean.
func (v *vocabulary) addOwn(tokens []addedToken) error {
	v.add(tokens)
	for _, token := range tokens {
		if id, ok := v.ids[token.Content]; ok && id != token.ID {
			return fmt.Errorf("added token %.40q is stated as id %d, but its place makes it %d", token.Content, token.ID, id)
		}
	}
	return nil
}

// special lists the contents of special tokens; once special is always special.
func (v *vocabulary) special() map[string]bool {
	set := map[string]bool{}
	for _, token := range v.added {
		set[token.Content] = set[token.Content] || token.Special
	}
	return set
}

func (v *vocabulary) maxID() int {
	top := 0
	for _, id := range v.ids {
		top = max(top, id)
	}
	return top
}

// register adds what the files beside tokenizer.json add to it, as transformers does for
// the class: own are tokenizer.json's added tokens.
func (v *vocabulary) register(c class, own []addedToken, s *settings) {
	var more []addedToken
	for _, token := range s.decoder(own) {
		if last, ok := v.last[token.Content]; !ok || !last.same(token) {
			more = append(more, token)
		}
	}
	known := map[string]bool{}
	for _, token := range slices.Concat(v.added, more) {
		known[token.Content] = true
	}
	special := map[string]bool{}
	for _, token := range s.named {
		special[token.Content] = true
	}
	for _, token := range slices.Concat(s.named, s.extra) {
		if !known[token.Content] {
			more = append(more, token)
		}
	}
	for i := range more {
		more[i].Special = more[i].Special || special[more[i].Content]
	}
	v.add(more)
	if c == classQwen2 { // its constructor adds its special tokens once more, all plain
		for _, token := range slices.Concat(s.named, s.extra) {
			v.add([]addedToken{specialToken(token.Content)})
		}
	}
}

// defined are the ids of the tokens that a file defines and does not only name.
func (v *vocabulary) defined(f *file, s *settings) map[string]int {
	ids := maps.Clone(f.ids)
	for _, token := range slices.Concat(f.added, s.decoder(f.added)) {
		if id, ok := v.ids[token.Content]; ok {
			ids[token.Content] = id
		}
	}
	return ids
}

// decoder lists the tokens that transformers sees as added before it makes the
// tokenizer: added_tokens_decoder where there is one, else added_tokens.json and
// tokenizer.json's own, in the order of their ids.
func (s *settings) decoder(own []addedToken) []addedToken {
	if s.AddedTokens != nil {
		return sorted(s.AddedTokens)
	}
	byID := map[int]addedToken{}
	for text, id := range s.addedFile {
		special := slices.ContainsFunc(slices.Concat(s.named, s.extra), func(t addedToken) bool { return t.Content == text })
		byID[id] = addedToken{Content: text, Special: special, Normalized: !special}
	}
	for _, token := range own {
		byID[token.ID] = token
	}
	return sorted(byID)
}

func sorted(byID map[int]addedToken) []addedToken {
	var list []addedToken
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		list = append(list, byID[id])
	}
	return list
}

// tokensByID is added_tokens_decoder of tokenizer_config.json.
type tokensByID map[int]addedToken

func (t *tokensByID) UnmarshalJSON(data []byte) error {
	var byText map[string]addedToken
	if err := json.Unmarshal(data, &byText); err != nil {
		return err
	}
	if byText == nil {
		return nil
	}
	*t = tokensByID{}
	for text, token := range byText {
		id, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%.40q is not a token's id", text)
		}
		(*t)[id] = token
	}
	return nil
}
