package main

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"alphalora/internal/seedling"
)

// TestMergingIntoFewBitsIsRefused says what to do instead.
func TestMergingIntoFewBitsIsRefused(t *testing.T) {
	refused(t, "the adapter is merged into the full-precision base", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--model-quant", "nf4")
	refused(t, "use none, int8 or nf4", "merge", "--model", "m", "--adapter", "a", "--out", "o", "--model-quant", "int4")
}

// TestQuantisedOnSeveralDevices holds what eval and score answer with the base in few
// bits on four devices against the same on one: texts byte for byte, scores but for the order
// of sums, as more devices are more threads of a processor.
func TestQuantisedOnSeveralDevices(t *testing.T) {
	severalDevices(t)
	dir, model := t.TempDir(), base(t)
	both := func(verb, file string, args ...string) (paths [2]string) {
		for i, devices := range []string{"1", "4"} {
			paths[i] = filepath.Join(dir, verb+devices)
			done(t, append(append([]string{verb}, args...), "--model", model, "--model-quant", "int8", "--quant-cache", dir, "--batch", "1",
				"--devices", devices, file, paths[i])...)
		}
		return paths
	}
	answers := both("eval", "--samples", "--data", ownRecords(t), "--benchmark", "cola", "--max-new-tokens", "6")
	require.Greater(t, len(readFile(t, answers[0])), 100)
	require.Equal(t, readFile(t, answers[0]), readFile(t, answers[1]))
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

// distant is by how much logits in bf16, over int8 and over nf4 may differ from those in f32, as
// the root of the mean square in parts of theirs: about twice what was seen (docs/quantisation.md).
var distant = map[string][3]float64{"llama": {0.05, 0.07, 0.8}, "mistral": {0.05, 0.07, 0.8}, "gemma": {0.015, 0.017, 0.25}, "shipped": {0.012, 0.013, 0.16}}

// TestQuantisedLogits holds the logits in bf16, and in f32 over a base in few bits, against f32,
// on the reference models and on text of the shipped one.
func TestQuantisedLogits(t *testing.T) {
	references(t, func(t *testing.T, dir string) {
		var ids []int32
		for _, id := range slices.Concat(integers(t, openSet(t, dir, "reference.safetensors"), "input_ids")...) {
			ids = append(ids, int32(id))
		}
		requireNear(t, dir, ids, distant[filepath.Base(dir)])
	})
	t.Run("shipped", func(t *testing.T) {
		dir := base(t)
		text, err := openTokenizer(dir, math.MaxInt)
		require.NoError(t, err)
		defer text.Close()
		var ids []int32
		for document := range seedling.NewWorld().Corpus(1) {
			encoded, err := text.Encode(document, len(ids) == 0)
			require.NoError(t, err)
			if ids = append(ids, encoded...); len(ids) >= 256 {
				break
			}
		}
		requireNear(t, dir, ids[:256], distant["shipped"])
	})
}

func requireNear(t *testing.T, dir string, ids []int32, limits [3]float64) {
	want := logitsOf(t, dir, ids, "float32", "none")
	spread := rootMeanSquare(want, make([]float32, len(want)))
	t.Logf("%d tokens, root mean square of the logits %.3f", len(ids), spread)
	for i, c := range [][2]string{{"bfloat16", "none"}, {"float32", "int8"}, {"float32", "nf4"}} {
		got := logitsOf(t, dir, ids, c[0], c[1])
		off, most, changed := rootMeanSquare(want, got), 0.0, 0
		for i := range want {
			most = max(most, math.Abs(float64(want[i]-got[i])))
		}
		vocabulary := len(want) / len(ids)
		for at := 0; at < len(want); at += vocabulary {
			if likeliest(want[at:at+vocabulary]) != likeliest(got[at:at+vocabulary]) {
				changed++
			}
		}
		t.Logf("%s, model_quant %s: root mean square %.4f (%.4f of the logits'), at most %.4f, %d of %d next tokens are others", c[0], c[1], off, off/spread, most, changed, len(ids))
		require.LessOrEqual(t, off/spread, limits[i])
		require.Greater(t, off/spread, 1e-4, "it is another model")
	}
}

// logitsOf are the scores [tokens, V] of a sequence.
func logitsOf(t *testing.T, dir string, ids []int32, dtype, kind string) []float32 {
	l, err := newApp(io.Discard, io.Discard).load(t.Context(), &subject{model: dir, dtype: dtype, batch: 1, quant: quantisation{kind: kind, cache: "none"}})
	require.NoError(t, err)
	defer l.close()
	scores, err := l.generator.Logits(ids)
	require.NoError(t, err)
	values, err := tensors.CopyFlatData[float32](scores.Vocabulary)
	require.NoError(t, err)
	return values
}

func rootMeanSquare(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum / float64(len(a)))
}

func likeliest(scores []float32) int { return slices.Index(scores, slices.Max(scores)) }
