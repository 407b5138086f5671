package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// generatedBy runs generate and reads its JSON.
func generatedBy(t *testing.T, args ...string) generated {
	t.Helper()
	stdout, stderr, status := call(t, append([]string{"generate", "--json", "-"}, args...)...)
	require.Zero(t, status, stderr)
	var g generated
	require.NoError(t, json.Unmarshal([]byte(stdout), &g))
	return g
}

func TestGenerateStopsAndStreams(t *testing.T) {
	dir := base(t)
	whole := generatedBy(t, "--model", dir, "--prompt", "The", "--max-new-tokens", "40").Outputs[0]
	require.Equal(t, "length", whole.Finish)
	require.Len(t, whole.IDs, 40)
	stop := whole.Text[len(whole.Text)/3 : len(whole.Text)/3+7] // some characters of several tokens
	cut := generatedBy(t, "--model", dir, "--prompt", "The", "--max-new-tokens", "40", "--stop", "never", "--stop", stop).Outputs[0]
	require.Equal(t, "stop", cut.Finish)
	require.Equal(t, whole.Text[:strings.Index(whole.Text, stop)], cut.Text)
	require.Equal(t, whole.IDs[:len(cut.IDs)], cut.IDs)
	require.Less(t, len(cut.IDs), 40)

	args := []string{"generate", "--model", dir, "--prompt", "The", "--max-new-tokens", "40", "--temperature", "0.9", "--seed", "7"}
	drawn, stderr, status := call(t, args...)
	require.Zero(t, status, stderr)
	streamed, stderr, status := call(t, append(args, "--stream")...)
	require.Zero(t, status, stderr)
	require.Equal(t, drawn, streamed)
	require.NotEqual(t, whole.Text+"\n", drawn)
	again, _, _ := call(t, args...)
	require.Equal(t, drawn, again)
	other, _, _ := call(t, append(args, "--seed", "8")...)
	require.NotEqual(t, drawn, other)
}

// TestGenerateEndsWithoutATokenizer: the end tokens, one or a list, come from the
// configurations then.
func TestGenerateEndsWithoutATokenizer(t *testing.T) {
	dir := base(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	args := []string{"--model", dir, "--ids", writeJSONFile(t, [][]int{{1, 40}}), "--max-new-tokens", "12"}
	whole := generatedBy(t, args...).Outputs[0]
	require.Len(t, whole.IDs, 12)
	require.Empty(t, whole.Text)
	last := whole.IDs[5]
	content, err := json.Marshal(map[string]any{"eos_token_id": []int32{0, last}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "generation_config.json"), content, 0o644))
	ended := generatedBy(t, args...).Outputs[0]
	require.Equal(t, "stop", ended.Finish)
	require.Equal(t, whole.IDs[:len(ended.IDs)], ended.IDs)
	require.NotContains(t, ended.IDs, last)
	refused(t, "need the text", append([]string{"generate", "--stop", "x"}, args...)...)
}

func TestGenerateHoldsPromptsAgainstTheContext(t *testing.T) {
	dir := base(t) // of 256 positions
	long := make([]int, 300)
	for i := range long {
		long[i] = 1 + i%200
	}
	ids := writeJSONFile(t, [][]int{{1, 2}, long})
	args := []string{"generate", "--model", dir, "--ids", ids, "--max-new-tokens", "4"}
	refused(t, "prompt 2: its 300 tokens and 4 new ones are more than the model's context of 256", args...)
	refused(t, "choose allow, truncate or error", append(args, "--over-context", "drop")...)
	refused(t, "leaves no room", "generate", "--model", dir, "--ids", ids, "--max-new-tokens", "256", "--over-context", "truncate")

	_, stderr, status := call(t, append(args, "--over-context", "allow")...)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, "warning: 1 prompts")
	short := append([]int{1}, long[len(long)-251:]...)
	got := generatedBy(t, append(args[1:], "--over-context", "truncate")...)
	want := generatedBy(t, "--model", dir, "--ids", writeJSONFile(t, [][]int{{1, 2}, short}), "--max-new-tokens", "4")
	require.Equal(t, want, got, "the prompt's end stays, and the token that begins it")
}

func TestGenerateRefusesWrongNumbers(t *testing.T) {
	dir := base(t)
	prompts := filepath.Join(t.TempDir(), "prompts.jsonl")
	require.NoError(t, os.WriteFile(prompts, []byte("\"one\"\n{\"prompt\": \"two\"}\n"), 0o644))
	for why, flags := range map[string][]string{
		"temperature: is -1":      {"--temperature", "-1"},
		"temperature: is NaN":     {"--temperature", "NaN"},
		"top-k: is -3":            {"--top-k", "-3"},
		"top-p: is 1.5":           {"--top-p", "1.5"},
		"--top-p 0: is not above": {"--top-p", "0"},
		"min-p: is 7":             {"--min-p", "7"},
		"repetition-penalty: is":  {"--repetition-penalty", "-2"},
		"max-new-tokens: is 0":    {"--max-new-tokens", "0"},
		"batch: 0 rows":           {"--batch", "0"},
		"there are 2 prompts":     {"--stream"},
	} {
		refused(t, why, append([]string{"generate", "--model", dir, "--prompts", prompts}, flags...)...)
	}
}
