package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/internal/seedling"
)

// base writes the shipped model's directory, where a test can damage it.
func base(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "base")
	require.NoError(t, seedling.WriteBase(dir))
	return dir
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(content), 0o644))
}

func replaced(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !strings.Contains(string(b), old) {
			panic("the text to replace is not there: " + old)
		}
		return []byte(strings.Replace(string(b), old, new, 1))
	}
}

// refused holds that a call ends with status 2 and one line that names what is wrong.
func refused(t *testing.T, why string, args ...string) {
	t.Helper()
	_, stderr, status := call(t, args...)
	require.Equal(t, fault.StatusBad, status, "%v: %s", args, stderr)
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(stderr), "\n") {
		if strings.HasPrefix(line, "alphalora:") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 1, stderr)
	require.Contains(t, lines[0], why)
	require.NotContains(t, stderr, "goroutine")
}

func TestDamagedModelsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		change func([]byte) []byte
		why    string
	}{
		"truncated":            {"model.safetensors", func(b []byte) []byte { return b[:len(b)/2] }, "claims bytes"},
		"header of too much":   {"model.safetensors", func(b []byte) []byte { b[3] = 0x7f; return b }, "claims"},
		"other shape":          {"config.json", replaced(`"intermediate_size": 384`, `"intermediate_size": 385`), "where [385 128] is expected"},
		"more layers":          {"config.json", replaced(`"num_hidden_layers": 4`, `"num_hidden_layers": 5`), "lacks tensor model.layers.4"},
		"fewer layers":         {"config.json", replaced(`"num_hidden_layers": 4`, `"num_hidden_layers": 3`), "is not expected"},
		"unknown architecture": {"config.json", replaced(`"model_type": "llama"`, `"model_type": "mamba"`), `model_type "mamba" is not supported`},
		"negative":             {"config.json", replaced(`"hidden_size": 128`, `"hidden_size": -1`), "hidden_size is -1"},
		"not a number":         {"config.json", replaced(`"hidden_size": 128`, `"hidden_size": "x"`), "hidden_size"},
		"other arithmetic":     {"config.json", replaced(`"attention_bias": false`, `"alibi": true`), "alibi"},
		"scaled positions":     {"config.json", replaced(`"mlp_bias": false`, `"rope_scaling": {"type": "dynamic", "factor": 2}`), "rope_scaling"},
		"not JSON":             {"config.json", func([]byte) []byte { return []byte("{") }, "is not a JSON object"},
		"not finite":           {"model.safetensors", func(b []byte) []byte { copy(b[len(b)-2:], "\xc0\x7f"); return b }, "is not finite"},
		"tokenizer":            {"tokenizer.json", func([]byte) []byte { return []byte("{}") }, "tokenizer.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := base(t)
			edit(t, filepath.Join(dir, c.file), c.change)
			refused(t, c.why, "generate", "--model", dir, "--prompt", "x", "--max-new-tokens", "1", "--batch", "1")
		})
	}
	dir := base(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	refused(t, "tokenizer.json", "generate", "--model", dir, "--prompt", "x")
	refused(t, "config.json", "generate", "--model", t.TempDir(), "--prompt", "x")
	refused(t, "vocabulary", "score", "--model", base(t), "--ids", writeJSONFile(t, [][]int{{1, 99999}}))
}

// TestVocabularyLargerThanTheEmbedding gives a tokenizer that belongs to another model.
func TestVocabularyLargerThanTheEmbedding(t *testing.T) {
	dir := base(t)
	edit(t, filepath.Join(dir, "tokenizer.json"), replaced(`"added_tokens"`, `"ignored"`))
	edit(t, filepath.Join(dir, "tokenizer.json"), func(b []byte) []byte {
		return []byte(strings.Replace(string(b), "{", `{"added_tokens":[{"id":5000,"content":"<big>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],`, 1))
	})
	_, stderr, status := call(t, "generate", "--model", dir, "--prompt", "x")
	require.Equal(t, fault.StatusBad, status, stderr)
	require.Contains(t, stderr, "tokenizer")
}

// runFile writes a configuration over one record file.
func runFile(t *testing.T, dir, records, more string) (config, output string) {
	tmp := t.TempDir()
	data, config := filepath.Join(tmp, "train.json"), filepath.Join(tmp, "run.yaml")
	output = filepath.Join(tmp, "out")
	require.NoError(t, os.WriteFile(data, []byte(records), 0o644))
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"model: %s\noutput: %s\nallocation: {experts: 8}\ndata: {train: [%s], cutoff: 96}\ntraining: {steps: 3, batch: 2, micro_batch: 2, warmup_steps: 0, dtype: float32}\n%s",
		dir, output, data, more), 0o644))
	return config, output
}

const record = `{"instruction":"Say no","output":"no"}`

func TestWrongRunsAreRefusedAndWriteNothing(t *testing.T) {
	dir := base(t)
	for name, c := range map[string]struct{ records, more, why string }{
		"misspelt key":   {"[" + record + "]", "trainig: {}", "did you mean training?"},
		"empty file":     {"", "", "holds no record"},
		"no output":      {"[" + record + ",\n{\"instruction\":\"x\"}]", "", "train.json:2 (record 2): has no output"},
		"all too long":   {`[{"instruction":"` + strings.Repeat("word ", 400) + `","output":"x"}]`, "", "cut-off of 96 tokens"},
		"few experts":    {"[" + record + "]", "", "experts"},
		"absent adapter": {"[" + record + "]", "", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			config, output := runFile(t, dir, c.records, c.more)
			args := []string{"train", "--config", config, "--set", "data.train_on_inputs=false"}
			if name == "few experts" {
				args = append(args, "--set", "allocation.experts=2")
			}
			if name == "absent adapter" {
				edit(t, config, replaced("allocation: {experts: 8}\n", "adapter: {from: nowhere}\n"))
			}
			refused(t, c.why, args...)
			require.NoDirExists(t, output)
		})
	}
	config, output := runFile(t, dir, "["+record+"]", "")
	require.NoError(t, os.WriteFile(output, []byte("a file"), 0o644))
	refused(t, "output", "train", "--config", config)
	refused(t, "there is no run to go on with", "train", "--config", config, "--resume", "--set", "output="+filepath.Join(t.TempDir(), "x"))
	refused(t, "cannot be read", "train", "--config", filepath.Join(t.TempDir(), "absent.yaml"))
}

// TestStoppedRunsLeaveNothingHalfWritten cancels a run before it starts and in its middle.
func TestStoppedRunsLeaveNothingHalfWritten(t *testing.T) {
	config, output := runFile(t, base(t), "["+record+"]", "")
	for _, args := range [][]string{
		{"train", "--config", config}, {"analyze", base(t)}, {"demo", "--out", filepath.Join(t.TempDir(), "demo")},
		{"generate", "--model", base(t), "--prompt", "x"}, {"score", "--model", base(t), "--ids", writeJSONFile(t, [][]int{{1, 2}})},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var errs strings.Builder
		err := run(ctx, newApp(&errs, &errs), args)
		require.ErrorIs(t, err, context.Canceled, "%v", args)
	}
	require.NoFileExists(t, filepath.Join(output, "adapter", "adapter_model.safetensors"))
	partial, err := filepath.Glob(filepath.Join(output, ".*"))
	require.NoError(t, err)
	require.Empty(t, partial)
}

// TestDryRunShowsTheSampleAndWritesNothing also resumes nothing.
func TestDryRunShowsTheSampleAndWritesNothing(t *testing.T) {
	config, output := runFile(t, base(t), "["+record+"]", "")
	stdout, stderr, status := call(t, "train", "--config", config, "--dry-run", "--set", "data.train_on_inputs=false")
	require.Zero(t, status, stderr)
	require.Regexp(t, `--- not learnt: tokens 1 to \d+\n(.|\n)*### Response:\n\n--- learnt: tokens \d+ to \d+\nno`, stdout)
	require.Contains(t, stdout, "trainable")
	require.NoDirExists(t, output)
}

// TestSkippedRecordsAreShown trains on what is left; validation files are checked too.
func TestSkippedRecordsAreShown(t *testing.T) {
	config, output := runFile(t, base(t), record+"\n{\"instruction\":\"x\"}\n"+record, "")
	args := []string{"train", "--config", config, "--dry-run"}
	refused(t, "train.json:2: has no output", args...)
	held := filepath.Join(filepath.Dir(config), "held.jsonl")
	require.NoError(t, os.WriteFile(held, []byte(record), 0o644))
	args = append(args, "--set", "data.on_error=skip", "--set", "data.validation=["+held+"]", "--set", "data.weights=[1.5]")
	stdout, stderr, status := call(t, args...)
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "2 samples, 0 cut")
	require.Contains(t, stdout, "2 samples, 3 an epoch")
	require.Contains(t, stdout, "1 bad records skipped\n  "+filepath.Join(filepath.Dir(config), "train.json")+":2: has no output")
	require.Contains(t, stdout, "1 samples of validation")
	require.NoDirExists(t, output)
}
