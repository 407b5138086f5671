package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	hf "github.com/daulet/tokenizers"

	"alphalora/internal/fault"
	"alphalora/model/tokenizer/chat"
)

// Message is a turn of a conversation.
type Message = chat.Message

// Chat writes a conversation with the model's chat template and cuts it into ids, as
// transformers' apply_chat_template does. The template itself writes the special tokens
// that the model expects, so none are added around. With prompt, the beginning of the
// assistant's next turn follows.
//
// Text in a message that spells a special token becomes that token, as there.
func (t *Tokenizer) Chat(messages []Message, prompt bool) (ids []int32, text string, err error) {
	if err := t.CheckChat(); err != nil {
		return nil, "", err
	}
	if text, err = t.template.Render(messages, prompt); err != nil {
		return nil, "", err
	}
	ids, err = t.Encode(text, false)
	return ids, text, err
}

// trainingDate is the date in templates that print one, while data are made: else what is
// learnt would change overnight. Llama's templates have it for want of a clock.
var trainingDate = time.Date(2024, time.July, 26, 12, 0, 0, 0, time.UTC)

// Conversation writes turns as [Tokenizer.Chat] does, always on the same date.
func (t *Tokenizer) Conversation(messages []Message, prompt bool) (string, error) {
	if err := t.CheckChat(); err != nil {
		return "", err
	}
	return t.template.At(trainingDate).Render(messages, prompt)
}

// Places is Encode without tokens around the text, and the byte at which the text of each
// token begins.
func (t *Tokenizer) Places(text string) (ids []int32, starts []int, err error) {
	if err := checkText(text); err != nil {
		return nil, nil, err
	}
	encoding, err := t.encoding(text, false, hf.WithReturnOffsets())
	if err != nil {
		return nil, nil, err
	}
	if len(encoding.Offsets) != len(encoding.IDs) {
		return nil, nil, fmt.Errorf("the tokenizer gives %d places for %d tokens", len(encoding.Offsets), len(encoding.IDs))
	}
	starts = make([]int, len(encoding.IDs))
	for i, offset := range encoding.Offsets {
		starts[i] = int(offset[0])
	}
	return signed(encoding.IDs), starts, nil
}

// CheckChat tells whether the model has a chat template that can be used, without a
// conversation.
func (t *Tokenizer) CheckChat() error {
	t.reading.Do(func() { t.template, t.templateErr = t.settings.readTemplate() })
	return t.templateErr
}

// readTemplate reads chat_template.jinja, or chat_template of tokenizer_config.json: a
// text, or a list of named ones.
func (s *settings) readTemplate() (*chat.Template, error) {
	path := filepath.Join(s.dir, "chat_template.jinja")
	data, err := readFile(path)
	source := string(data)
	if errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(s.dir, configFile)
		source, err = defaultTemplate(path, s.ChatTemplate)
	}
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for role, token := range s.roles {
		names[role] = token.Content
	}
	return chat.Parse(path, source, names)
}

// defaultTemplate picks the template for a conversation without tools.
func defaultTemplate(path string, raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", fault.Input(path, "give a prompt instead, or take the model's instruct variant", "the model has no chat template")
	}
	var source string
	if json.Unmarshal(raw, &source) == nil {
		return source, nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return "", fault.Input(path, "mend or replace it", "chat_template is neither a text nor a list of named ones")
	}
	for _, named := range list {
		if named.Name == "default" {
			source = named.Template
		}
	}
	if source == "" {
		return "", fault.Input(path, "name one of them default", "none of the %d chat templates is the default", len(list))
	}
	return source, nil
}
