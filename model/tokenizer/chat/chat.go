// Package chat renders chat templates: how a conversation is written for a model, in the
// language Jinja, as transformers' apply_chat_template does it.
//
// The language is run by a library that is made for such templates (ardanlabs/jinja). In
// front of it a template is cut and written anew here, for three reasons. White space is
// settled as Jinja does with trim_blocks and lstrip_blocks. Some filters and methods of
// strings are Python's to the letter: tojson, split, replace, title, printing. And nothing
// runs without bound: every loop, macro, output and value that is set passes a function
// which counts, so that a template is stopped after some seconds, steps or bytes, and
// macros that call themselves are stopped too. The language has no other way to repeat.
//
// What is not supported is refused when the template is read: tags such as include,
// recursive loops, filters that are not listed in rewrite.go, the operator *, %-formatting,
// methods that change a list. One thing differs silently: an attribute of an undefined
// value is undefined, where Jinja raises an error.
package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"

	"alphalora/internal/fault"
)

// Message is a turn of a conversation. Role is user, assistant, system or what else the
// template knows.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Template is a chat template that was read. It may be used concurrently.
type Template struct {
	from  string // the file
	t     *jinja.Template
	names map[string]string // of special tokens: bos_token and so on
	now   func() time.Time
}

// Parse reads a template that comes from a file; tokens are the special tokens that it can
// name, by role.
func Parse(from, source string, tokens map[string]string) (*Template, error) {
	if len(source) > maxSource {
		return nil, fault.Input(from, "is this a chat template?", "the chat template has %d bytes, more than the %d allowed", len(source), maxSource)
	}
	t := &Template{from: from, names: tokens, now: time.Now}
	pieces, err := cut(source)
	if err == nil {
		source, err = rewrite(pieces)
	}
	if err == nil {
		err = guard(func() error {
			t.t, err = jinja.Compile(source)
			return err
		})
	}
	if err != nil {
		return nil, fault.Input(from, "write the template in what is supported, or use --prompt", "the chat template cannot be used: %v", err)
	}
	return t, nil
}

// At is the template as it would be at a moment, for those that print the date.
func (t *Template) At(moment time.Time) *Template {
	fixed := *t
	fixed.now = func() time.Time { return moment }
	return &fixed
}

// Render writes a conversation. With prompt, the beginning of the assistant's next turn
// follows.
func (t *Template) Render(messages []Message, prompt bool) (string, error) {
	if len(messages) == 0 {
		return "", fault.Input("messages", "give at least one", "is empty")
	}
	size := 0
	for _, m := range messages {
		size += len(m.Role) + len(m.Content) + 16
	}
	if size > maxValue {
		return "", fault.Input("messages", "shorten them", "have %d bytes, more than the %d allowed", size, maxValue)
	}
	var text string
	err := guard(func() (err error) {
		text, err = t.t.RenderValues(t.data(messages, prompt))
		return err
	})
	return text, t.explain(err)
}

// data is everything that the template can name.
func (t *Template) data(messages []Message, prompt bool) map[string]jinja.Value {
	list := make([]jinja.Value, len(messages))
	for i, m := range messages {
		d := jinja.NewDict()
		d.AsDict().Set("role", jinja.NewString(m.Role))
		d.AsDict().Set("content", jinja.NewString(m.Content))
		list[i] = d
	}
	return t.complete(map[string]jinja.Value{"messages": jinja.NewList(list), "add_generation_prompt": jinja.NewBool(prompt),
		"tools": jinja.None(), "documents": jinja.None()}, newBudget())
}

// complete adds the special tokens and the functions to what a template can name.
func (t *Template) complete(data map[string]jinja.Value, b *budget) map[string]jinja.Value {
	for role, token := range t.names {
		data[role] = jinja.NewString(token)
	}
	for name, f := range b.globals(t.now) {
		data[name] = jinja.NewCallable(name, f)
	}
	for _, functions := range []map[string]function{b.hooks(), b.filters()} {
		for name, f := range functions {
			data[hook+name] = jinja.NewCallable(name, f)
		}
	}
	return data
}

// guard turns a panic of the library into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the template engine failed: %v", p)
		}
	}()
	return f()
}

// explain says what to do about an error of rendering.
func (t *Template) explain(err error) error {
	var says raised
	var stopped errBound
	switch {
	case err == nil:
		return nil
	case errors.As(err, &says):
		return fault.Input("messages", "change the messages", "the model's chat template refuses them: %s", strings.TrimSpace(says.message))
	case errors.As(err, &stopped):
		return fault.Input(t.from, "use the model's own template", "the chat template %v", stopped)
	}
	return fault.Input(t.from, "write the template in what is supported, or use --prompt", "the chat template fails: %.300v", err)
}
