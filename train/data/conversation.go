package data

import (
	"errors"
	"fmt"
	"strings"

	"alphalora/model/tokenizer"
)

// assistant is the role whose turns are learnt.
const assistant = "assistant"

// span is a part of a text, in bytes.
type span struct{ from, to int }

// conversation encodes turns as the model's chat template writes them. A token carries
// loss where its text begins inside a turn of the assistant's, what ends the turn included.
func (o *Options) conversation(messages []tokenizer.Message) (Sample, error) {
	if o.Encoder == nil {
		return Sample{}, errNoTokenizer
	}
	whole, err := o.Encoder.Conversation(messages, false)
	if err != nil {
		return Sample{}, err
	}
	ids, starts, err := o.Encoder.Places(whole)
	if err != nil {
		return Sample{}, err
	}
	s := Sample{IDs: ids}
	if o.TrainOnInputs {
		return s, o.check(s)
	}
	spans, err := o.spoken(messages, whole)
	if err != nil {
		return Sample{}, err
	}
	s.Labels = make([]int32, len(ids))
	for i, id := range ids {
		for len(spans) > 0 && starts[i] >= spans[0].to {
			spans = spans[1:]
		}
		s.Labels[i] = Ignored
		if len(spans) > 0 && starts[i] >= spans[0].from {
			s.Labels[i] = id
		}
	}
	return s, o.check(s)
}

// spoken finds the assistant's turns in a conversation that is written whole. A turn is
// what follows the prompt that the turns before it make, up to where the turn ends.
func (o *Options) spoken(messages []tokenizer.Message, whole string) ([]span, error) {
	var spans []span
	for i, m := range messages {
		if m.Role != assistant {
			continue
		}
		if i == 0 {
			return nil, errors.New("begins with a turn of the assistant's: no prompt leads to it")
		}
		prompt, err := o.Encoder.Conversation(messages[:i], true)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(whole, prompt) {
			return nil, fmt.Errorf("the chat template begins message %d otherwise in a prompt, so that its mask is not known: use train_on_inputs or a template of your own", i+1)
		}
		to := len(whole)
		if i+1 < len(messages) {
			last, err := o.Encoder.Conversation(messages[:i+1], false)
			if err != nil {
				return nil, err
			}
			if to = turnEnd(whole, last, m.Content, len(prompt)); to < 0 {
				return nil, fmt.Errorf("the chat template writes message %d otherwise where others follow, so that its mask is not known: end the record there, or use train_on_inputs", i+1)
			}
		}
		spans = append(spans, span{len(prompt), to})
	}
	if len(spans) == 0 {
		return nil, errors.New("has no message of the assistant's")
	}
	return spans, nil
}

// turnEnd is where a turn that begins at from ends in whole, or -1; last is the
// conversation up to that turn. Some templates write a last turn otherwise than earlier
// ones (Qwen-3's adds empty thoughts): then what follows its content tells the end.
func turnEnd(whole, last, content string, from int) int {
	if strings.HasPrefix(whole, last) {
		return len(last)
	}
	content = strings.TrimSpace(content)
	a, b := strings.Index(whole[from:], content), strings.LastIndex(last, content)
	if content == "" || a < 0 || b < 0 {
		return -1
	}
	end, rest := from+a+len(content), last[b+len(content):]
	common := 0
	for common < len(rest) && end+common < len(whole) && whole[end+common] == rest[common] {
		common++
	}
	if common == 0 {
		return -1
	}
	return end + common
}
