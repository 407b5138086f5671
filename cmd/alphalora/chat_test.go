package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// rendered is a [template] of one token a message and one for the answer's head.
type rendered struct{}

func (rendered) Chat(messages []tokenizer.Message, prompt bool) ([]int32, string, error) {
	ids := make([]int32, len(messages), len(messages)+1)
	if prompt {
		ids = append(ids, 1)
	}
	return ids, "", nil
}

// newChat is a conversation with a model that echoes how many tokens it was given.
func newChat(stdout, stderr io.Writer) *chat {
	c := &chat{app: newApp(stdout, stderr), template: rendered{}, sampling: &sampling{over: "error"}, context: 8, out: stdout}
	c.sampling.options.MaxNewTokens = 2
	c.generate = func(_ context.Context, prompts [][]int32, o generate.Options) ([]generate.Output, error) {
		text := strings.Repeat("x", len(prompts[0]))
		return []generate.Output{{Text: text, Finish: generate.Stopped}}, o.Emit(0, text)
	}
	c.reset()
	return c
}

func TestChatKeepsTheConversation(t *testing.T) {
	var out, errs bytes.Buffer
	c := newChat(&out, &errs)
	require.NoError(t, c.talk(t.Context(), strings.NewReader("one\r\n\ntwo\n/system be kind\nthree"), false))
	require.Equal(t, "xx\nxxxx\nxxx\n", out.String())
	require.Equal(t, []tokenizer.Message{{Role: "system", Content: "be kind"}, {Role: "user", Content: "three"}, {Role: "assistant", Content: "xxx"}}, c.messages)
	require.NoError(t, c.talk(t.Context(), strings.NewReader("/reset\n/quit\nnever read\n"), false))
	require.Equal(t, []tokenizer.Message{{Role: "system", Content: "be kind"}}, c.messages)
	require.Empty(t, errs.String())
}

// TestChatRefusesATurn: on a terminal it is told and left out, elsewhere it ends the work.
func TestChatRefusesATurn(t *testing.T) {
	const lines = "one\ntwo\nthree\nfour\n/frob\n"
	var out, errs bytes.Buffer
	c := newChat(&out, &errs)
	err := c.talk(t.Context(), strings.NewReader(lines), false)
	require.ErrorContains(t, err, "more than the model's context of 8")
	require.ErrorContains(t, err, "/reset")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	require.Len(t, c.messages, 6, "three turns")

	c = newChat(&out, &errs)
	require.NoError(t, c.talk(t.Context(), strings.NewReader(lines), true))
	require.Len(t, c.messages, 6)
	require.Contains(t, errs.String(), "more than the model's context of 8")
	require.Contains(t, errs.String(), "/frob: is not a command")
}

// TestCtrlCStopsTheAnswerAlone: what had come stays in the conversation, and the next
// signal, with nothing to stop, is the program's own.
func TestCtrlCStopsTheAnswerAlone(t *testing.T) {
	var out, errs bytes.Buffer
	c := newChat(&out, &errs)
	c.generate = func(ctx context.Context, _ [][]int32, o generate.Options) ([]generate.Output, error) {
		require.NoError(t, o.Emit(0, "half"))
		require.True(t, c.interrupt())
		return []generate.Output{{Text: "half"}}, ctx.Err()
	}
	require.NoError(t, c.answer(t.Context(), "go on"))
	require.Equal(t, "half\n", out.String())
	require.Equal(t, "half", c.messages[1].Content)
	require.False(t, c.interrupt())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.talk(ctx, blocked{}, false), context.Canceled, "a signal is heard while nothing is typed")
}

// blocked is an input where nothing is typed.
type blocked struct{}

func (blocked) Read([]byte) (int, error) { select {} }

// TestChatWithAModel goes through the verb, with the shipped model and a template.
func TestChatWithAModel(t *testing.T) {
	dir := base(t)
	refused(t, "chat template", "chat", "--model", dir)
	edit(t, filepath.Join(dir, "tokenizer_config.json"), replaced("{", `{"chat_template":"{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",`))
	for _, sampled := range []string{"0", "0.8"} {
		var out, errs bytes.Buffer
		a := newApp(&out, &errs)
		a.stdin = strings.NewReader("Where does Kinip live?\nWhy?\n")
		path := filepath.Join(t.TempDir(), "talk.json")
		err := run(t.Context(), a, []string{"chat", "--model", dir, "--max-new-tokens", "12", "--temperature", sampled, "--system", "Say it", "--json", path})
		require.NoError(t, err, errs.String())
		var talk transcript
		readJSONFile(t, path, &talk)
		require.Len(t, talk.Messages, 5)
		require.Equal(t, talk.Messages[2].Content+"\n"+talk.Messages[4].Content+"\n", out.String())
		require.NotEmpty(t, talk.Messages[2].Content)
	}
}
