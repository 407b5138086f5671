package benchmark

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBenchmarksOfOnesOwn(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "moods"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "moods", name), []byte(content), 0o644))
	}
	_, err := FindIn(dir, "moods")
	require.ErrorContains(t, err, "is none of the ten (mrpc, cola,")
	write(OwnFile, `{"format": "label", "labels": ["glad", "sad"]}`)
	write("test.json", `[{"instruction": "How is Ann?", "output": "Answer: sad."}]`)
	b, err := FindIn(dir, "moods")
	require.NoError(t, err)
	items, err := b.Load(dir, "test")
	require.NoError(t, err)
	require.Equal(t, Answer("sad"), items[0].Gold)
	_, right, parsed := b.Grade(items[0], "Answer: sad.", Default)
	require.True(t, right && parsed)

	for content, why := range map[string]string{
		"":                                       "is not the JSON of a benchmark",
		`{"format": "label"}`:                    "labels and format label go together",
		`{"format": "choice","labels":["x"]}`:    "labels and format label go together",
		`{"format": "essay"}`:                    `format is "essay"`,
		`{"format": "label","labels":["x"]}`:     "two or more are needed",
		`{"format": "label","labels":["x","x"]}`: "comes twice",
		`{"format": "number"} {}`:                "goes on after",
		`{"format": "number", "label": []}`:      "unknown field",
	} {
		write(OwnFile, content)
		_, err := FindIn(dir, "moods")
		require.ErrorContains(t, err, why, content)
		require.ErrorContains(t, err, filepath.Join(dir, "moods", OwnFile))
	}
	for _, name := range []string{"", ".", "..", "a/b", "../moods"} {
		_, err := FindIn(dir, name)
		require.ErrorContains(t, err, "is not known", name)
	}
	published, err := FindIn(dir, "cola")
	require.NoError(t, err)
	require.Equal(t, "cola", published.Name)
}

func FuzzOwn(f *testing.F) {
	for _, seed := range []string{`{"format":"label","labels":["a","b"]}`, `{"format":"choice"}`, `{"format":"number"}`, `{"labels":[""]}`, "[", "{}{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		own, err := parseOwn(content)
		if err != nil {
			return
		}
		require.NotNil(t, formatNamed(own.Format))
		again, err := json.Marshal(own)
		require.NoError(t, err)
		same, err := parseOwn(again)
		require.NoError(t, err)
		require.Equal(t, own.Format, same.Format)
		require.Equal(t, len(own.Labels), len(same.Labels))
	})
}
