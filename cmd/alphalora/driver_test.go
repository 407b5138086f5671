package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/alphalora"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/moelora"
	"alphalora/train"
)

// validated is a tiny run that is judged on its way.
func validated(t *testing.T, steps int) (config, output string) {
	config, output = tinyRun(t, steps)
	held := filepath.Join(filepath.Dir(config), "held.jsonl")
	require.NoError(t, os.WriteFile(held, []byte("{\"input_ids\":[3,9,20,31,5]}\n{\"input_ids\":[7,8,9,10]}\n"), 0o644))
	edit(t, config, func(b []byte) []byte {
		b = bytes.ReplaceAll(b, []byte("data: {"), []byte("data: {validation: ["+held+"], "))
		return bytes.ReplaceAll(b, []byte("training: {"), []byte("training: {validate_every: 2, "))
	})
	return config, output
}

// complaint is the one line of an error.
func complaint(t *testing.T, stderr string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "alphalora:") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 1, stderr)
	require.NotContains(t, stderr, "goroutine")
	require.NotContains(t, stderr, ".go:")
	return lines[0]
}

// requireWhole holds every file of a checkpoint, its list of sums aside, against that list.
func requireWhole(t *testing.T, dir string) {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	require.NoError(t, err)
	checked := 1
	for line := range strings.Lines(string(sums)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, ok, line)
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		digest := sha256.Sum256(content)
		require.Equal(t, sum, hex.EncodeToString(digest[:]), name)
		checked++
	}
	require.Len(t, tree(t, dir), checked)
}

// TestADriversErrorKeepsTheLastCheckpoint ends a run by errors as a GPU's driver makes them,
// where they come: from a launch, as a panic, when a result is read, in validation and when a
// checkpoint reads the state. The run then goes on, on an engine that works, as if unbroken.
func TestADriversErrorKeepsTheLastCheckpoint(t *testing.T) {
	const steps = 6
	config, straight := validated(t, steps)
	_, stderr, status := call(t, onGo(config)...)
	require.Zero(t, status, stderr)
	lost := errors.New("CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure")
	full := errors.New("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.\ngithub.com/gomlx/x.Execute\n\t/home/x/exec.go:12")
	for name, c := range map[string]struct {
		what   breakage
		kept   int // step of the last checkpoint
		wanted string
	}{
		"launch":       {breakage{event: "run accumulate", nth: 7, err: lost}, 3, "step 4: .*CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure .the GPU or its driver failed: see dmesg and nvidia-smi; "},
		"memory":       {breakage{event: "run accumulate", nth: 8, err: full, panics: true}, 3, "step 4: .*RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes. .take fewer rows at once, or free the GPU; "},
		"update":       {breakage{event: "run apply", nth: 3, err: lost}, 2, "step 3: .*CUDA_ERROR_LAUNCH_FAILED"},
		"loss":         {breakage{event: "read accumulate -1", nth: 3, err: lost}, 2, "step 3: loss: .*CUDA_ERROR_LAUNCH_FAILED"},
		"norm":         {breakage{event: "read apply -1", nth: 3, err: lost}, 2, "step 3: gradient norm: .*CUDA_ERROR_LAUNCH_FAILED"},
		"moments":      {breakage{event: "read apply -2", nth: 3, err: lost}, 2, ".*not written: .*CUDA_ERROR_LAUNCH_FAILED"},
		"validation":   {breakage{event: "run validate", nth: 2, err: lost}, 3, "step 4: validation: .*CUDA_ERROR_LAUNCH_FAILED"},
		"judged":       {breakage{event: "read validate", nth: 4, err: lost}, 3, "step 4: validation: .*CUDA_ERROR_LAUNCH_FAILED"},
		"never before": {breakage{event: "run apply", nth: 2, err: errors.New("INTERNAL: unheard of")}, 1, "step 2: .*INTERNAL: unheard of .alphalora doctor tells whether the engine works; "},
	} {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "out")
			args := []string{"train", "--config", config, "--set", "output=" + output}
			stderr, status, _ := callOn(t, engine.Go, c.what, args...)
			require.Equal(t, fault.StatusFailed, status, stderr)
			kept := filepath.Join(output, "checkpoints", fmt.Sprintf("step-%06d", c.kept))
			require.Regexp(t, "^alphalora: "+c.wanted+`.*`+kept+` is whole: go on with --resume\)\n$`, complaint(t, stderr))
			requireWhole(t, kept)
			newest, err := train.Checkpoints{Dir: filepath.Dir(kept)}.Choose()
			require.NoError(t, err)
			require.Equal(t, c.kept, newest.Step)

			_, stderr, status = call(t, append(args, "--backend", engine.Go, "--resume")...)
			require.Zero(t, status, stderr)
			requireSame(t, straight, output)
		})
	}
}

// requireSame holds that two runs came to the same, the times aside.
func requireSame(t *testing.T, straight, output string) {
	t.Helper()
	require.Equal(t, timeless(t, straight), timeless(t, output))
	for _, dir := range []string{"adapter", bestDir} {
		want, err := os.ReadFile(filepath.Join(straight, dir, moelora.WeightsFile))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(output, dir, moelora.WeightsFile))
		require.NoError(t, err)
		require.Equal(t, want, got, dir)
	}
}

// TestADriversErrorInTheFirstStep leaves nothing to go on with; the same call with --resume
// begins anew.
func TestADriversErrorInTheFirstStep(t *testing.T) {
	config, straight := validated(t, 2)
	_, stderr, status := call(t, onGo(config)...)
	require.Zero(t, status, stderr)
	for name, c := range map[string]struct {
		what   breakage
		wanted string
	}{
		"compiling":   {breakage{event: "compile accumulate", nth: 1, err: errors.New("INTERNAL: ptxas exited with non-zero error code 2")}, "step 1: .*ptxas exited with non-zero error code 2 .alphalora doctor tells"},
		"too large":   {breakage{event: "run accumulate", nth: 1, err: errors.New("RESOURCE_EXHAUSTED: Out of memory")}, "step 1: .*RESOURCE_EXHAUSTED: Out of memory .take fewer rows at once"},
		"the weights": {breakage{event: "write", nth: 3, err: errors.New("RESOURCE_EXHAUSTED: Out of memory")}, `model\.layers\.0\..*: not moved to the device: .*RESOURCE_EXHAUSTED: Out of memory .take fewer rows at once`},
	} {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "out")
			args := []string{"train", "--config", config, "--set", "output=" + output}
			stderr, status, _ := callOn(t, engine.Go, c.what, args...)
			require.Equal(t, fault.StatusFailed, status, stderr)
			line := complaint(t, stderr)
			require.Regexp(t, "^alphalora: "+c.wanted, line)
			require.NotContains(t, line, "is whole")
			left, err := filepath.Glob(filepath.Join(output, "checkpoints", "*"))
			require.NoError(t, err)
			require.Empty(t, left)
			if _, err := os.Stat(filepath.Join(output, configFile)); err == nil {
				args = append(args, "--resume")
			}
			_, stderr, status = call(t, append(args, "--backend", engine.Go)...)
			require.Zero(t, status, stderr)
			requireSame(t, straight, output)
		})
	}
}

// TestADriversErrorInAnAnalysis ends it while products are made on the engine: what was found
// before is kept, and the way without the engine is named.
func TestADriversErrorInAnAnalysis(t *testing.T) {
	dir := filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama")
	tmp := t.TempDir()
	analyze := func(cache string) []string {
		return []string{"analyze", dir, "--products", "engine", "--cache", cache, "--json", filepath.Join(tmp, "spectrum.json")}
	}
	spectrum := func() (a alphalora.Analysis) {
		readJSONFile(t, filepath.Join(tmp, "spectrum.json"), &a)
		return a
	}
	const event = "run gramGraph"
	stderr, status, all := callOn(t, engine.CPU, breakage{event: event}, analyze("none")...)
	require.Zero(t, status, stderr)
	require.Equal(t, 3*7, all, "a product a matrix")
	want := spectrum()
	for _, where := range []string{event, "read gramGraph -1"} {
		cache, nth := filepath.Join(tmp, strings.Fields(where)[0]), 6
		what := breakage{event: where, nth: nth, err: errors.New("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")}
		stderr, status, _ := callOn(t, engine.CPU, what, analyze(cache)...)
		require.Equal(t, fault.StatusFailed, status, stderr)
		require.Regexp(t, `^alphalora: .*tinyllama: model\.layers\.\d+\..*_proj\.weight: .*Gram matrix of \d+×\d+: .*CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access `+
			`\(the GPU or its driver failed: see dmesg and nvidia-smi, or compute on the cores with --products cores\)\n$`, complaint(t, stderr))
		require.Contains(t, stderr, "the eigenvalues found so far are kept")
		stderr, status, seen := callOn(t, engine.CPU, breakage{event: event}, analyze(cache)...)
		require.Zero(t, status, stderr)
		require.Equal(t, all-(nth-1), seen, "what was found is not computed again")
		require.Equal(t, want, spectrum())
	}
}

// TestADriversErrorInGeneration is one line too, wherever it comes.
func TestADriversErrorInGeneration(t *testing.T) {
	dir := filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama")
	ids := filepath.Join(t.TempDir(), "ids.json")
	require.NoError(t, os.WriteFile(ids, []byte("[[3,9,20,31,5]]"), 0o644))
	for _, event := range []string{"run prefill", "compile decode", "run decode", "read decode"} {
		what := breakage{event: event, nth: 1, err: errors.New("RESOURCE_EXHAUSTED: Out of memory")}
		stderr, status, _ := callOn(t, engine.Go, what, "generate", "--model", dir, "--ids", ids, "--max-new-tokens", "4")
		require.Equal(t, fault.StatusFailed, status, stderr)
		require.Regexp(t, `RESOURCE_EXHAUSTED: Out of memory \(take fewer rows at once, or free the GPU\)\n$`, complaint(t, stderr), event)
	}
}
