package serve

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// tokenTexts tells what single tokens are in a text. It is safe for concurrent use.
type tokenTexts struct {
	tokenizer *tokenizer.Tokenizer
	mu        sync.Mutex
	known     map[int32]string
}

// text is what a token adds to a text before it, spaces included, and token_id:N of one
// that is no whole character.
func (t *tokenTexts) text(id int32) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text, ok := t.known[id]; ok {
		return text
	}
	text, err := t.behind(id)
	if err != nil {
		text = fmt.Sprintf("token_id:%d", id)
	}
	t.known[id] = text
	return text
}

// behind decodes the token twice and once, as the first token of a text may lose its space.
func (t *tokenTexts) behind(id int32) (string, error) {
	twice, err := t.tokenizer.Decode([]int32{id, id}, false)
	if err != nil {
		return "", err
	}
	once, err := t.tokenizer.Decode([]int32{id}, false)
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(twice, once)
	if !ok || text == "" {
		text = once
	}
	if strings.ContainsRune(text, utf8.RuneError) {
		return fmt.Sprintf("token_id:%d", id), nil
	}
	return text, nil
}

// float is a log-probability that JSON can hold.
func float(v float32) float64 {
	if f := float64(v); !math.IsInf(f, 0) && !math.IsNaN(f) {
		return f
	}
	return -9999
}

// completionLogProbs is the form of /v1/completions: four lists, one entry a token.
type completionLogProbs struct {
	Tokens     []string             `json:"tokens"`
	LogProbs   []*float64           `json:"token_logprobs"`
	Top        []map[string]float64 `json:"top_logprobs"`
	TextOffset []int                `json:"text_offset"`
}

// offsets counts the characters of a choice's text, token by token.
type offsets struct {
	stream *tokenizer.Stream
	at     int
}

// next returns where a token's text begins.
func (o *offsets) next(id int32) int {
	at := o.at
	if text, err := o.stream.Next(id); err == nil {
		o.at += utf8.RuneCountInString(text)
	}
	return at
}

// completionScores writes tokens, of which the first has no score where it begins a prompt.
func (t *tokenTexts) completionScores(list []generate.Scored, begins bool, o *offsets) *completionLogProbs {
	l := &completionLogProbs{Tokens: []string{}, LogProbs: []*float64{}, Top: []map[string]float64{}, TextOffset: []int{}}
	for i, s := range list {
		l.Tokens, l.TextOffset = append(l.Tokens, t.text(s.ID)), append(l.TextOffset, o.next(s.ID))
		if begins && i == 0 {
			l.LogProbs, l.Top = append(l.LogProbs, nil), append(l.Top, nil)
			continue
		}
		v := float(s.LogProb)
		top := map[string]float64{}
		for _, alternative := range s.Top {
			t.put(top, alternative)
		}
		if !hasID(s.Top, s.ID) { // the chosen token is always told
			t.put(top, s)
		}
		l.LogProbs, l.Top = append(l.LogProbs, &v), append(l.Top, top)
	}
	return l
}

func hasID(list []generate.Scored, id int32) bool {
	for _, s := range list {
		if s.ID == id {
			return true
		}
	}
	return false
}

// put names a token by its text, or by its id where a likelier one has the same text.
func (t *tokenTexts) put(top map[string]float64, s generate.Scored) {
	text := t.text(s.ID)
	if _, taken := top[text]; taken {
		text = fmt.Sprintf("token_id:%d", s.ID)
	}
	top[text] = float(s.LogProb)
}

// chatLogProbs is the form of /v1/chat/completions.
type chatLogProbs struct {
	Content []chatToken `json:"content"`
	Refusal *string     `json:"refusal"`
}

type chatToken struct {
	Token   string      `json:"token"`
	LogProb float64     `json:"logprob"`
	Bytes   []int       `json:"bytes"`
	Top     []chatToken `json:"top_logprobs,omitempty"`
}

func (t *tokenTexts) chatScores(list []generate.Scored) *chatLogProbs {
	l := &chatLogProbs{Content: []chatToken{}}
	for _, s := range list {
		one := t.chatToken(s)
		one.Top = []chatToken{}
		for _, alternative := range s.Top {
			one.Top = append(one.Top, t.chatToken(alternative))
		}
		l.Content = append(l.Content, one)
	}
	return l
}

func (t *tokenTexts) chatToken(s generate.Scored) chatToken {
	text := t.text(s.ID)
	one := chatToken{Token: text, LogProb: float(s.LogProb), Bytes: []int{}}
	for _, b := range []byte(text) {
		one.Bytes = append(one.Bytes, int(b))
	}
	return one
}
