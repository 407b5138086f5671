package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMergingIntoFewBitsIsRefused says what to do instead.
func TestMergingIntoFewBitsIsRefused(t *testing.T) {
	refused(t, "the adapter is merged into the full-precision base", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--model-quant", "nf4")
	refused(t, "use none, int8 or nf4", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--model-quant", "int4")
}

// TestQuantisedOnSeveralDevices holds what generate, eval and score answer with the base in few
// bits on four devices against the same on one: texts byte for byte, scores but for the order
// of sums, as more devices are more threads of a processor.
func TestQuantisedOnSeveralDevices(t *testing.T) {
	severalDevices(t)
	dir, model := t.TempDir(), base(t)
	prompts := filepath.Join(dir, "prompts.jsonl")
	require.NoError(t, os.WriteFile(prompts, []byte(strings.Repeat("{\"prompt\":\"The\"}\n{\"prompt\":\"A dog is\"}\n", 4)), 0o644))
	both := func(verb, file string, args ...string) (paths [2]string) {
		for i, devices := range []string{"1", "4"} {
			paths[i] = filepath.Join(dir, verb+devices)
			done(t, append(append([]string{verb}, args...), "--model", model, "--model-quant", "nf4", "--quant-cache", dir, "--batch", "1",
				"--devices", devices, file, paths[i])...)
		}
		return paths
	}
	for _, wrote := range [][2]string{
		both("generate", "--json", "--prompts", prompts, "--max-new-tokens", "8"),
		both("eval", "--samples", "--data", ownRecords(t), "--benchmark", "cola,openbookqa", "--max-new-tokens", "6"),
	} {
		require.Greater(t, len(readFile(t, wrote[0])), 100)
		require.Equal(t, readFile(t, wrote[0]), readFile(t, wrote[1]))
	}
	var one, four scored
	wrote := both("score", "--json", "--ids", writeJSONFile(t, [][]int{{1, 5, 9, 30}, {1, 7}, {1, 40, 41, 42, 43}, {2, 3, 4}, {1, 8, 9}}))
	readJSONFile(t, wrote[0], &one)
	readJSONFile(t, wrote[1], &four)
	require.Len(t, four.Sequences, 5)
	for i, s := range one.Sequences {
		require.InEpsilon(t, s.Loss, four.Sequences[i].Loss, 1e-5)
	}
}

// TestCachesOfOtherBasesAreRefused puts the cache of one base where another's is looked for.
func TestCachesOfOtherBasesAreRefused(t *testing.T) {
	cache, one, other := t.TempDir(), base(t), base(t)
	edit(t, filepath.Join(other, "model.safetensors"), func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
	with := func(model string) []string {
		return []string{"generate", "--backend", "go", "--model", model, "--prompt", "The", "--max-new-tokens", "1", "--model-quant", "int8", "--quant-cache", cache}
	}
	kept := func() string {
		list, err := filepath.Glob(filepath.Join(cache, "int8-*.safetensors"))
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0]
	}
	done(t, with(one)...)
	path := kept()
	require.NoError(t, os.Rename(path, path+"-away"))
	done(t, with(other)...)
	require.NoError(t, os.Rename(kept(), path))
	refused(t, path+": is of another base or way: its base is", with(one)...)
	require.NoError(t, os.Rename(path+"-away", path))
	done(t, with(one)...)
	refused(t, "cache "+path+": cannot be made: not a directory (name another directory, or none)", append(with(one), "--quant-cache", path)...)
}
