package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"alphalora/internal/fault"
	"alphalora/model/tokenizer/chat"
)

// Form is a template of the user's own: a Jinja file that writes a record, whose fields
// are its names. It prints begin_answer where the answer begins; what follows is learnt
// and ended by the model's end token.
type Form struct{ template *chat.Template }

// answerMark is what begin_answer prints. Its characters are kept out of texts by Unicode.
const answerMark = "\uFDD0\uFDD1\uFDD0"

// beginAnswer is the name that prints it.
const beginAnswer = "begin_answer"

// maxForm bounds a template.
const maxForm = 256 << 10

// ReadForm reads a template file.
func ReadForm(path string) (*Form, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "name a Jinja file, or use alpaca or chat", "data.template cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	source, err := io.ReadAll(io.LimitReader(f, maxForm+1))
	if err != nil {
		return nil, fault.Input(path, "name a Jinja file, or use alpaca or chat", "data.template cannot be read: %v", fault.Reason(err))
	}
	return newForm(path, string(source))
}

func newForm(path, source string) (*Form, error) {
	if !strings.Contains(source, beginAnswer) {
		return nil, fault.Input(path, "write {{ begin_answer }} where the answer begins", "the template does not say what is learnt")
	}
	t, err := chat.Parse(path, source, map[string]string{beginAnswer: answerMark})
	var bad *fault.Bad
	if errors.As(err, &bad) {
		return nil, fault.Input(path, "write it in the Jinja of docs/data.md", "%s", strings.Replace(bad.Why, "the chat template", "the template", 1))
	}
	return &Form{t}, err
}

// render writes a record and parts it where the answer begins.
func (f *Form) render(text []byte) (prompt, answer string, err error) {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a large whole number stays one
	if err := d.Decode(&fields); err != nil {
		return "", "", fmt.Errorf("is not a JSON record: %w", err)
	}
	written, err := f.template.RenderRecord(fields)
	if err != nil {
		return "", "", err
	}
	if n := strings.Count(written, answerMark); n != 1 {
		return "", "", fmt.Errorf("the template prints begin_answer %d times for it: once is needed", n)
	}
	prompt, answer, _ = strings.Cut(written, answerMark)
	if strings.TrimSpace(answer) == "" {
		return "", "", errors.New("the template prints no answer for it")
	}
	return prompt, answer, nil
}
