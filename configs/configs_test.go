package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/internal/testkit"
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
		"model: '*x'\noutput: '&y'\ndata: {train: ['0x10', '010', '---', 'null', 'a: b', '3', '<<', '#', '\\']}",
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
		require.Equal(t, run.Data.Train, again.Data.Train)
		require.Equal(t, run.Model, again.Model)
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
		least + "trainig: {}":                                                              "trainig: no such key, did you mean training?",
		least + "training: {learning_rat: 1}":                                              "training.learning_rat: no such key, did you mean learning_rate?",
		least + "training: 5":                                                              "training is 5: keys of its own are needed",
		least + "training: {batch: many}":                                                  "training.batch is many: a whole number is needed",
		least + "training: {batch: 1.5}":                                                   "training.batch is 1.5: a whole number is needed",
		least + "training: {learning_rate: fast}":                                          "training.learning_rate is fast: a number is needed",
		least + "training: {learning_rate: .nan}":                                          "training.learning_rate is NaN: a number above 0 is needed",
		least + "training: {gradient_checkpointing: 1}":                                    "training.gradient_checkpointing is 1: true or false is needed",
		least + "training: {betas: [0.9]}":                                                 "training.betas is [0.9]: a list of 2 numbers is needed",
		least + "training: {batch: 6, micro_batch: 4}":                                     "training.micro_batch is 4: a divisor of batch 6 is needed",
		least + "training: {micro_batch: 0}":                                               "training.micro_batch is 0",
		least + "training: {epochs: 0}":                                                    "both 0: nothing to do",
		least + "training: {steps: 5, warmup_steps: 6}":                                    "training.warmup_steps is 6: at most steps, 5, is needed",
		least + "training: {schedule: step}":                                               `training.schedule is "step": one of linear, cosine, constant, wsd`,
		least + "training: {decay_steps: 5}":                                               "training.decay_steps is set, but schedule linear has none",
		least + "training: {schedule: wsd, decay_steps: 8, warmup_steps: 5, steps: 10}":    "training.decay_steps is 8: with warmup_steps at most steps, 10",
		least + "training: {min_rate: 1.5}":                                                "training.min_rate is 1.5: 0 to 1",
		least + "training: {schedule: constant, min_rate: 0.1}":                            "schedule constant never falls",
		least + "training: {no_decay: [biases]}":                                           `training.no_decay has "biases"`,
		least + "training: {no_decay: [norm, norm]}":                                       "training.no_decay has norm twice",
		least + "training: {patience: 2}":                                                  "data.validation is empty",
		least + "training: {validate_every: -1}":                                           "training.validate_every is -1",
		least + "training: {dtype: float8}":                                                `training.dtype is "float8"`,
		least + "training:":                                                                "training is empty: keys of its own are needed",
		"output: o\ndata: {train: [a]}":                                                    "model is missing",
		"model: m\noutput: o":                                                              "data.train is empty",
		least + "init: random":                                                             "only adapter.kind full",
		least + "adapter: {dropout: 1}":                                                    "adapter.dropout is 1: at least 0 and below 1 is needed",
		least + "adapter: {targets: [x_proj]}":                                             `adapter.targets has "x_proj"`,
		least + "adapter: {targets: [q_proj, q_proj]}":                                     "adapter.targets has q_proj twice",
		least + "adapter: {kind: qlora}":                                                   `adapter.kind is "qlora": one of full, moe-lora, lora, rslora, dora, lora-plus, loramoe, mixlora is needed`,
		least + "adapter: {from: a}\nallocation: {experts: 8}":                             "allocation stands beside adapter.from",
		least + "adapter: {kind: full}\nallocation: {experts: 8}":                          "allocation is set, but adapter.kind full has none",
		least + "allocation: {strategy: best}":                                             "allocation.strategy",
		least + "allocation: {beta: -1}":                                                   "allocation.beta is -1",
		least + "allocation: {per_layer: [1]}":                                             "go together",
		"model: m\noutput: o\ndata: {train: [a, b], weights: [1]}":                         "data.weights has 1 numbers for the 2 files of train",
		"model: m\noutput: o\ndata: {train: [a], weights: [0]}":                            "data.weights has 0: above 0 and at most 1000 is needed",
		"model: m\noutput: o\ndata: {train: [a], weights: [.nan]}":                         "data.weights has NaN: above 0",
		"model: m\noutput: o\ndata: {train: [a], validation: [a]}":                         "data.validation has a, which is in data.train",
		"model: m\noutput: o\ndata: {train: [a], template: alpacca}":                       `data.template is "alpacca": alpaca, chat or the name of a .jinja file is needed`,
		"model: m\noutput: o\nmodel_quant: int4\ndata: {train: [a]}":                       `model_quant is "int4": none, int8 or nf4 is needed`,
		"model: m\noutput: o\nmodel_quant: nf4\nadapter: {kind: full}\ndata: {train: [a]}": `model_quant is nf4, but adapter.kind full trains the weights themselves`,
		"model: m\noutput: o\ndata: {train: [a], on_error: ignore}":                        `data.on_error is "ignore": stop or skip is needed`,
		"model: m\nmodel: n":                                                               "x.yaml",
		"[1, 2]":                                                                           "x.yaml",
		"{":                                                                                "x.yaml",
		"a: &a [*a]":                                                                       "x.yaml",
		least + "training: {devices: 0}":                                                   "training.devices is 0: a whole number of 1 or more, or all, is needed",
		least + "training: {devices: every}":                                               "training.devices is every: a whole number of 1 or more, or all, is needed",
		least + "training: {shard_base: true}":                                             "training.devices is 1: there is nobody to share with",
		least + "adapter: {kind: full}\ntraining: {shard_base: true, devices: 2}":          "with adapter.kind full nothing is frozen",
		least + "adapter: {kind: dora}\ntraining: {shard_base: true, devices: 2}":          "starts from norms of whole weights",
	} {
		_, err := Parse("x.yaml", []byte(text), nil)
		require.ErrorContains(t, err, why, text)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), text)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := Parse("x.yaml", []byte(least+"trainig: {}\nadapter: {r: 0, dropout: 2}"), nil)
	for _, part := range []string{"trainig", "adapter.r is 0", "adapter.dropout is 2"} {
		require.ErrorContains(t, err, part, "what cannot be decoded does not hide the rest")
	}
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
	require.EqualError(t, err, path+": has more than the 16384 bytes allowed (is this a configuration?)")
	_, err = Read("/dev/zero", nil)
	require.ErrorContains(t, err, "has more than")
}

func TestEverythingWrongComesAtOnce(t *testing.T) {
	_, err := Parse("x.yaml", []byte("modle: m\noutput: 5\ntraining: {batch: many, epochs: -1}\nlearning_rate: 1"), []string{"adapter.r=0", "data.packing=maybe", "junk"})
	require.EqualError(t, err, "x.yaml: --set junk: write key=value; "+
		"data.packing is maybe: true or false is needed; learning_rate: no such key, there are model, output, init, model_quant, quant_cache, adapter, allocation, data, training; "+
		"modle: no such key, did you mean model?; output is 5: text is needed; training.batch is many: a whole number is needed; "+
		"adapter.r is 0: 1 or more is needed; data.train is empty: at least one file is needed; "+
		"training.epochs is -1: 0 or more is needed; training.steps and training.epochs are both 0: nothing to do (mend these keys)")
}

// A value that cannot be read is not judged a second time by its default.
func TestRulesLeaveUndecodedKeysAlone(t *testing.T) {
	_, err := Parse("x.yaml", []byte(least+"training: {batch: many, micro_batch: 3}"), nil)
	require.EqualError(t, err, "x.yaml: training.batch is many: a whole number is needed (mend these keys)")
}

// What YAML or its library would bend into something else is refused.
func TestNothingIsBent(t *testing.T) {
	for text, why := range map[string]string{
		"---\n" + least + "---\ninit: random":                                "line 5 has \"---\": one document is the whole configuration",
		least + "training: {batch: 010}":                                     `line 4 has "010": whole numbers are written in decimal`,
		least + "training: {batch: 0x10}":                                    "whole numbers are written in decimal",
		least + "training: {seed: &s 1, batch: *s}":                          "references have no place here",
		least + "<<: {init: random}":                                         "references have no place here",
		least + "allocation: {strategy: manual, per_layer: [1.5]}":           "allocation.per_layer is [1.5]: a list, each a whole number, is needed",
		least + "allocation: {strategy: manual, per_layer: ['3']}":           "allocation.per_layer is [3]: a list, each a whole number, is needed",
		least + "adapter: {targets: [1]}":                                    "adapter.targets is [1]: a list, each text, is needed",
		least + "adapter: {r: '8'}":                                          "adapter.r is 8: a whole number is needed",
		least + "training: {betas: [0.9, x]}":                                "training.betas is [0.9 x]: a list of 2 numbers, each a number, is needed",
		least + "training: {seed: 18446744073709551615}":                     "training.seed is 18446744073709551615: a whole number is needed",
		least + "training: {learning_rate: 1e999}":                           "training.learning_rate is 1e999: a number is needed",
		least + "training: {learning_rate: inf}":                             "training.learning_rate is +Inf: a number above 0 is needed",
		"model: " + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "\n": "...: text is needed",
	} {
		_, err := Parse("x.yaml", []byte(text), nil)
		require.ErrorContains(t, err, why, text)
	}
	run, err := Parse("x.yaml", []byte("# a comment\n---\n"+least+"training: {learning_rate: 1e-4, betas: [9e-1, 0], seed: -1}"), []string{"adapter.from="})
	require.NoError(t, err)
	require.Equal(t, 1e-4, run.Training.LearningRate)
	require.Equal(t, [2]float64{0.9, 0}, run.Training.Betas)
	require.EqualValues(t, -1, run.Training.Seed)
	_, err = Parse("x.yaml", []byte(least), []string{"data.cutoff=0x20"})
	require.ErrorContains(t, err, "--set data.cutoff=0x20: the value is not plain YAML")
}

// The YAML library's time grows with the square of what is nested.
func TestNestedTextEndsSoon(t *testing.T) {
	begun := time.Now()
	for _, open := range []string{"[", "{a: ", "- ", "? ", "a:\n "} {
		_, err := Parse("x.yaml", []byte(strings.Repeat(open, maxBytes/len(open))), nil)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), open)
	}
	require.Less(t, time.Since(begun), time.Minute, "minutes where the size is not bounded")
}

func TestNearestKeys(t *testing.T) {
	names := []string{"warmup_steps", "steps", "batch", "micro_batch"}
	for key, want := range map[string]string{"warmup": "warmup_steps", "step": "steps", "bacth": "batch", "microbatch": "micro_batch", "lr": "", "x": "", "checkpoint": ""} {
		meant, hint := nearest(key, names)
		require.Equal(t, want, meant, key)
		require.NotEmpty(t, hint)
	}
}

// The document of the command line is a configuration, and its values are the defaults.
func TestDocumentedConfiguration(t *testing.T) {
	content, err := os.ReadFile(testkit.Shared(t, "cli.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(content), "```yaml\n")
	require.True(t, found)
	text, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	run, err := Parse("cli.md", []byte(text), nil)
	require.NoError(t, err)
	want := Defaults()
	want.Model, want.Output, want.Data.Train = run.Model, run.Output, []string{"train.json"}
	want.Allocation.PerLayer, want.Data.Validation = []int{}, []string{} // the document's empty lists
	require.Equal(t, want, run)
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

func TestDevicesAreANumberOrAll(t *testing.T) {
	for text, want := range map[string]Devices{"4": 4, "all": AllDevices, "1": 1} {
		run, err := Parse("run.yaml", []byte(least+"training: {devices: "+text+"}"), nil)
		require.NoError(t, err)
		require.Equal(t, want, run.Training.Devices)
		written, err := run.YAML()
		require.NoError(t, err)
		again, err := Parse("run.yaml", written, []string{"training.devices=" + text})
		require.NoError(t, err)
		require.Equal(t, run.Training, again.Training)
		plain, err := Parse("run.yaml", []byte(least), nil)
		require.NoError(t, err)
		for _, c := range Changes(plain, run) {
			require.Equal(t, "training.devices was 1, now "+text, c.String())
			require.Empty(t, c.Why, "a run goes on with other devices")
		}
	}
}
