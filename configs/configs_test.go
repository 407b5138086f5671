package configs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

const least = "model: m\noutput: o\ndata: {train: [a.json]}\n"

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	run, err := Parse("x.yaml", []byte(least), nil)
	require.NoError(t, err)
	want := Defaults()
	want.Model, want.Output, want.Data.Train = "m", "o", []string{"a.json"}
	require.Equal(t, want, run)
	require.Equal(t, 3e-4, run.Training.LearningRate)
	require.Equal(t, 160, run.Allocation.Experts)
	require.Equal(t, [2]float64{0.9, 0.999}, run.Training.Betas)
}

func TestWhatIsWrittenReadsTheSame(t *testing.T) {
	for _, text := range []string{
		least,
		least + "training: {learning_rate: 3e-5, betas: [0.8, 0.9], seed: 7}\nallocation: {strategy: manual, per_layer: [1, 2]}",
		"model: m\noutput: o\ninit: random\nadapter: {kind: full}\ndata: {train: [a, b]}",
		least + "adapter: {from: other, kind: moe-lora}",
		least + "adapter: {kind: lora}",
	} {
		run, err := Parse("x.yaml", []byte(text), nil)
		require.NoError(t, err, text)
		written, err := run.YAML()
		require.NoError(t, err)
		again, err := Parse("again.yaml", written, nil)
		require.NoError(t, err, string(written))
		second, err := again.YAML()
		require.NoError(t, err)
		require.Equal(t, string(written), string(second))
	}
}

func TestSet(t *testing.T) {
	run, err := Parse("x.yaml", []byte(least+"training: {batch: 64}"), []string{"training.learning_rate=1e-3", "data.cutoff=99", "adapter.targets=[q_proj]", "output=elsewhere"})
	require.NoError(t, err)
	require.Equal(t, 1e-3, run.Training.LearningRate)
	require.Equal(t, 64, run.Training.Batch)
	require.Equal(t, 99, run.Data.Cutoff)
	require.Equal(t, []string{"q_proj"}, run.Adapter.Targets)
	require.Equal(t, "elsewhere", run.Output)
}

func TestWrongConfigurations(t *testing.T) {
	for text, why := range map[string]string{
		least + "trainig: {}":                                      "trainig: no such key, did you mean training?",
		least + "training: {learning_rat: 1}":                      "training.learning_rat: no such key, did you mean learning_rate?",
		least + "training: 5":                                      "training is 5: keys of its own are needed",
		least + "training: {batch: many}":                          "training.batch is many: a whole number is needed",
		least + "training: {batch: 1.5}":                           "training.batch is 1.5: a whole number is needed",
		least + "training: {learning_rate: fast}":                  "training.learning_rate is fast: a number is needed",
		least + "training: {learning_rate: .nan}":                  "training.learning_rate is NaN: a number above 0 is needed",
		least + "training: {gradient_checkpointing: 1}":            "training.gradient_checkpointing is 1: true or false is needed",
		least + "training: {betas: [0.9]}":                         "training.betas is [0.9]: a list of two numbers is needed",
		least + "training: {batch: 6, micro_batch: 4}":             "training.micro_batch is 4: a divisor of batch 6 is needed",
		least + "training: {micro_batch: 0}":                       "training.micro_batch is 0",
		least + "training: {epochs: 0}":                            "both 0: nothing to do",
		least + "training: {steps: 5, warmup_steps: 6}":            "training.warmup_steps is 6: at most steps, 5, is needed",
		least + "training: {dtype: float8}":                        `training.dtype is "float8"`,
		least + "training:":                                        "training is <nil>: keys of its own are needed",
		"output: o\ndata: {train: [a]}":                            "model is missing",
		"model: m\noutput: o":                                      "data.train is empty",
		least + "init: random":                                     "only adapter.kind full",
		least + "adapter: {dropout: 1}":                            "adapter.dropout is 1: at least 0 and below 1 is needed",
		least + "adapter: {targets: [x_proj]}":                     `adapter.targets has "x_proj"`,
		least + "adapter: {targets: [q_proj, q_proj]}":             "adapter.targets has q_proj twice",
		least + "adapter: {kind: dora}":                            `adapter.kind is "dora"`,
		least + "adapter: {from: a}\nallocation: {experts: 8}":     "allocation stands beside adapter.from",
		least + "adapter: {kind: full}\nallocation: {experts: 8}":  "allocation is set, but adapter.kind full has none",
		least + "allocation: {strategy: best}":                     "allocation.strategy",
		least + "allocation: {beta: -1}":                           "allocation.beta is -1",
		least + "allocation: {per_layer: [1]}":                     "go together",
		"model: m\noutput: o\ndata: {train: [a], packing: true}":   "data.packing is true: not supported yet",
		"model: m\noutput: o\ndata: {train: [a], validation: [b]}": "data.validation is set: not supported yet",
		"model: m\nmodel: n":                                       "x.yaml",
		"[1, 2]":                                                   "x.yaml",
		"{":                                                        "x.yaml",
		"a: &a [*a]":                                               "x.yaml",
	} {
		_, err := Parse("x.yaml", []byte(text), nil)
		require.ErrorContains(t, err, why, text)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), text)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := Parse("x.yaml", []byte(least+"trainig: {}\nadapter: {r: 0, dropout: 2}"), nil)
	require.ErrorContains(t, err, "trainig")
	_, err = Parse("x.yaml", []byte(least+"adapter: {r: 0, dropout: 2}"), []string{"training.batch=0"})
	for _, part := range []string{"adapter.r is 0", "adapter.dropout is 2", "training.batch is 0"} {
		require.ErrorContains(t, err, part, "all errors come at once")
	}
	_, err = Parse("x.yaml", []byte(least), []string{"nonsense"})
	require.ErrorContains(t, err, "--set nonsense: write key=value")
	_, err = Parse("x.yaml", []byte(least), []string{"model.x=1"})
	require.ErrorContains(t, err, "model has no keys of its own")
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	_, err := Read(filepath.Join(dir, "absent.yaml"), nil)
	require.ErrorContains(t, err, "cannot be read: no such file or directory")
	path := filepath.Join(dir, "big.yaml")
	require.NoError(t, os.WriteFile(path, make([]byte, maxBytes+1), 0o644))
	_, err = Read(path, nil)
	require.ErrorContains(t, err, "more than")
}

func FuzzParse(f *testing.F) {
	f.Add(least)
	f.Add(least + "training: {betas: [0.9, 0.1]}\nadapter: {targets: [q_proj]}")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		run, err := Parse("x.yaml", []byte(text), nil)
		if err == nil {
			require.NotEmpty(t, run.Model)
		}
	})
}
