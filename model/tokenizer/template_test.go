package tokenizer

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

// chatGoldens are what transformers renders, by template, conversation and whether the
// beginning of an answer follows.
type chatGoldens struct {
	Conversations [][]Message `json:"conversations"`
	Templates     map[string]struct {
		Case     string `json:"case"`
		Template string `json:"template"`
		Rendered [][]struct {
			Text  string  `json:"text"`
			Error string  `json:"error"`
			IDs   []int32 `json:"ids"`
		} `json:"rendered"`
	} `json:"templates"`
}

func TestChatLikeTransformers(t *testing.T) {
	goldens, cases := golden[chatGoldens](t, "chat.json"), golden[map[string]goldenCase](t, "cases.json")
	texts, refusals := 0, 0
	for _, name := range slices.Sorted(maps.Keys(goldens.Templates)) {
		g := goldens.Templates[name]
		c := cases[g.Case]
		c.Config = maps.Clone(c.Config)
		c.Config["chat_template"] = g.Template
		tok := c.open(t)
		require.NoError(t, tok.CheckChat(), name)
		for i, conversation := range goldens.Conversations {
			for j, want := range g.Rendered[i] {
				ids, text, err := tok.Chat(conversation, j == 1)
				if want.Error != "" {
					require.ErrorContains(t, err, "the model's chat template refuses them: "+want.Error, "%s %d", name, i)
					require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
					refusals++
					continue
				}
				require.NoError(t, err, "%s %d", name, i)
				require.Equal(t, want.Text, text, "%s %d", name, i)
				require.Equal(t, want.IDs, ids, "%s %d", name, i)
				texts++
			}
		}
	}
	require.NotZero(t, texts)
	require.NotZero(t, refusals)
	t.Logf("%d conversations rendered, %d refused", texts, refusals)
}

func TestWhereTheTemplateIs(t *testing.T) {
	named := func(name string) []any {
		return []any{object{"name": "tool_use", "template": "tools"}, object{"name": name, "template": "{{ bos_token }}{{ messages[0].content }}"}}
	}
	for why, c := range map[string]struct {
		config object
		jinja  string
		text   string
		err    string
	}{
		"a text":              {config(object{"chat_template": "{{ messages[0].role }}"}), "", "user", ""},
		"a list":              {config(object{"chat_template": named("default")}), "", "<s>abc", ""},
		"a list, no default":  {config(object{"chat_template": named("rag")}), "", "", "none of the 2 chat templates is the default"},
		"the file goes first": {config(object{"chat_template": "x"}), "{{ eos_token }}{{ messages|length }}\n", "</s>1", ""},
		"none":                {config(nil), "", "", "tokenizer_config.json: the model has no chat template (give a prompt instead"},
		"null":                {config(object{"chat_template": nil}), "", "", "has no chat template"},
		"a number":            {config(object{"chat_template": 5}), "", "", "neither a text nor a list"},
		"malformed":           {config(object{"chat_template": "{% if %}"}), "", "", "the chat template cannot be used: line 1"},
		"too long":            {config(nil), strings.Repeat("x", 300_000), "", "has 300000 bytes"},
	} {
		dir := write(t, map[string]any{"tokenizer.json": tiny(), "tokenizer_config.json": c.config})
		if c.jinja != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(c.jinja), 0o644))
		}
		tok, err := Open(dir)
		require.NoError(t, err, why)
		_, text, err := tok.Chat([]Message{{Role: "user", Content: "abc"}}, false)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, why)
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
			require.Error(t, tok.CheckChat(), why)
		} else {
			require.NoError(t, err, why)
			require.Equal(t, c.text, text, why)
		}
		tok.Close()
	}
}
