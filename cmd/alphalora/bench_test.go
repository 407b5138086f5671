package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// measured runs a bench verb and reads its JSON.
func measured(t *testing.T, args ...string) map[string]any {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bench.json")
	_, stderr, status := call(t, append(append([]string{"bench"}, args...), "--backend", engine.Go, "--json", path)...)
	require.Zero(t, status, stderr)
	var result map[string]any
	readJSONFile(t, path, &result)
	return result
}

// TestBenchMeasuresADirectorysWeightsOrRandomOnes: its own count unless others are asked for,
// and then config.json is all that is read.
func TestBenchMeasuresADirectorysWeightsOrRandomOnes(t *testing.T) {
	goldens := filepath.Join(testkit.Root(t), "model", "testdata", "goldens")
	own, bare := filepath.Join(goldens, "tinyllama"), t.TempDir()
	config, err := os.ReadFile(filepath.Join(own, "config.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(bare, "config.json"), config, 0o644))

	train := func(more ...string) float64 {
		r := measured(t, append([]string{"train", "--rows", "2", "--length", "8", "--steps", "1", "--dropout", "0"}, more...)...)
		require.Equal(t, more[1], r["shape"])
		require.Equal(t, len(more) > 2, r["random_weights"])
		require.Positive(t, r["step_seconds"])
		return r["loss"].(float64)
	}
	loss := train("--model", own)
	random := train("--model", own, "--random-weights")
	require.NotEqual(t, loss, random)
	require.Equal(t, random, train("--model", bare, "--random-weights"), "weights are not read")

	for verb, flags := range map[string][]string{
		"generate": {"--batch", "1", "--prompt", "4", "--new", "3", "--runs", "1"},
		"analyze":  {"--layers", "1"},
		"load":     {"--runs", "1"},
	} {
		for dir, more := range map[string][]string{own: nil, bare: {"--random-weights"}} {
			r := measured(t, append(append([]string{verb, "--model", dir}, flags...), more...)...)
			require.Equal(t, more != nil, r["random_weights"], verb)
			require.Contains(t, []any{r["model"], r["shape"]}, dir, verb)
		}
		refused(t, "--model "+bare+": has no weights: neither model.safetensors nor model.safetensors.index.json (add --random-weights",
			append([]string{"bench", verb, "--model", bare, "--backend", engine.Go}, flags...)...)
	}
	require.Equal(t, true, measured(t, "analyze", "--shape", "tiny", "--layers", "1")["random_weights"])
	require.Equal(t, true, measured(t, "analyze", "--shape", "tiny", "--layers", "1", "--random-weights")["random_weights"], "the flag changes nothing there")
}

func TestBenchRefusesWhatContradicts(t *testing.T) {
	own := filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama")
	for _, verb := range []string{"train", "generate", "analyze", "load"} {
		refused(t, "[model shape] were all set", "bench", verb, "--shape", "tiny", "--model", own)
		refused(t, "config.json: cannot be read: no such file", "bench", verb, "--model", t.TempDir(), "--random-weights")
	}
	for _, flag := range []string{"layers", "vocabulary"} {
		refused(t, "--"+flag+" 2: cannot be changed in the weights of "+own+" (leave it out, or add --random-weights)",
			"bench", "train", "--model", own, "--"+flag, "2")
	}
	require.Equal(t, true, measured(t, "train", "--model", own, "--random-weights", "--layers", "2", "--rows", "1", "--length", "4", "--steps", "1")["random_weights"])
}

// TestBenchWritesProgramsForAGPU holds that programs for a GPU that is not there are written
// whole: of a step, on several devices with how its inputs lie, and of decoding.
func TestBenchWritesProgramsForAGPU(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program.mlir")
	for _, c := range []struct {
		args  []string
		holds string
	}{
		{[]string{"train", "--experts", "2,3,1,4"}, `"stablehlo.dot_general"`},
		{[]string{"train", "--experts", "2,3,1,4", "--devices", "4", "--shard-base", "--model-quant", "nf4"}, `<["data"=4]>`},
		{[]string{"generate", "--batch", "4", "--model-quant", "int8"}, `"stablehlo.while"`},
	} {
		_, stderr, status := call(t, append([]string{"bench", c.args[0], "--shape", "tiny", "--dtype", "bfloat16", "--stablehlo", file}, c.args[1:]...)...)
		require.Zero(t, status, stderr)
		program, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(program), c.holds)
		require.True(t, strings.HasSuffix(strings.TrimSpace(string(program)), "}"))
	}
	for remedy, args := range map[string][]string{
		"add --stablehlo FILE": {"--devices", "4"},
		"set --devices":        {"--shard-base", "--stablehlo", file},
		"use 1 to 4":           {"--devices", "8", "--stablehlo", file},
		"its rows cannot be":   {"--devices", "4", "--rows", "6", "--stablehlo", file},
		"over 4 devices":       {"--devices", "4", "--attention", "flash", "--dtype", "bfloat16", "--stablehlo", file},
	} {
		_, stderr, status := call(t, append([]string{"bench", "train", "--shape", "tiny"}, args...)...)
		require.Equal(t, fault.StatusBad, status)
		require.Contains(t, stderr, remedy)
	}
}
