package tokenizer

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlaces(t *testing.T) {
	for name, c := range golden[map[string]goldenCase](t, "cases.json") {
		tok := c.open(t)
		for _, text := range []string{"", "abc", "a b", "é a"} {
			ids, starts, err := tok.Places(text)
			require.NoError(t, err, name)
			want, err := tok.Encode(text, false)
			require.NoError(t, err, name)
			require.Equal(t, want, ids, "%s: %q", name, text)
			require.Len(t, starts, len(ids))
			for i, start := range starts {
				require.True(t, start <= len(text) && (i == 0 || start >= starts[i-1]), "%s: %q: %v", name, text, starts)
			}
			if len(starts) > 0 {
				require.Zero(t, starts[0], "%s: %q", name, text)
			}
		}
	}
	tok := golden[map[string]goldenCase](t, "cases.json")
	for _, c := range tok {
		_, _, err := c.open(t).Places("a\x00")
		require.ErrorContains(t, err, "NUL")
		_, _, err = c.open(t).Places("\xff")
		require.ErrorContains(t, err, "UTF-8")
		break
	}
}

// The date that some templates print must not change what is learnt.
func TestConversationsHaveOneDate(t *testing.T) {
	dir := write(t, map[string]any{"tokenizer.json": tiny(), "tokenizer_config.json": config(object{"chat_template": "{{ strftime_now('%d %b %Y') }}"})})
	tok, err := Open(dir)
	require.NoError(t, err)
	defer tok.Close()
	text, err := tok.Conversation([]Message{{Role: "user", Content: "abc"}}, false)
	require.NoError(t, err)
	require.Equal(t, "26 Jul 2024", text)
}

func TestConcurrentUse(t *testing.T) {
	dir := write(t, map[string]any{"tokenizer.json": tiny(), "tokenizer_config.json": config(object{"chat_template": "{{ messages[0].content }}"})})
	tok, err := Open(dir)
	require.NoError(t, err)
	defer tok.Close()
	want, err := tok.Encode("abc ab", true)
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				ids, err := tok.Encode("abc ab", true)
				if err != nil || len(ids) != len(want) {
					t.Errorf("%v, %v", ids, err)
				}
				if _, err := tok.Conversation([]Message{{Role: "user", Content: "a"}}, true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
