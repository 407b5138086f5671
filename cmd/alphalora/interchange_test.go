package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"
)

// adapterFor writes an adapter with random values for a model directory, all layers with
// so many experts.
func adapterFor(t *testing.T, dir string, experts int) string {
	base, err := describe(dir)
	require.NoError(t, err)
	counts := make([]int, base.Layers)
	for layer := range counts[1:] { // the last has none
		counts[layer] = experts
	}
	a, err := moelora.New(base, moelora.Shape{Kind: moelora.MoELoRA, Rank: 3, Alpha: 6, Experts: counts, TopK: moelora.DefaultTopK(counts),
		Targets: []model.Site{model.Q, model.O, model.Up, model.Down}}, 5)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for i, p := range a.Params.Tensors {
		values := make([]float32, p.Size())
		for j := range values {
			values[j] = float32(0.1 * rng.NormFloat64())
		}
		a.Params.Tensors[i] = tensors.FromFlatDataAndDimensions(values, p.Shape().Dimensions...)
	}
	out := filepath.Join(t.TempDir(), "adapter")
	require.NoError(t, a.Save(out, base, 0))
	return out
}

func golden(t *testing.T, name string) string {
	return filepath.Join(testkit.Root(t), "model", "testdata", "goldens", name)
}

func scores(t *testing.T, args ...string) []float32 {
	out := filepath.Join(t.TempDir(), "logits.safetensors")
	ids := writeJSONFile(t, [][]int{{1, 5, 9, 33, 2, 60, 17}})
	_, stderr, status := call(t, append([]string{"score", "--ids", ids, "--logits", out}, args...)...)
	require.Zero(t, status, stderr)
	tensor, ok := openSet(t, out).Get("logits.0")
	require.True(t, ok)
	values, err := tensor.Float32s()
	require.NoError(t, err)
	return values
}

// apart is the largest difference, in units of the largest value.
func apart(a, b []float32) float64 {
	var most, largest float32
	for i := range a {
		most, largest = max(most, a[i]-b[i], b[i]-a[i]), max(largest, a[i], -a[i])
	}
	return float64(most / largest)
}

// TestAnAdapterGoesOutAndInAndMerges holds the logits of an adapter that was exported and
// imported again, and of the merged model, against the adapter's own.
func TestAnAdapterGoesOutAndInAndMerges(t *testing.T) {
	for _, name := range []string{"llama-3.2", "phi-3"} {
		dir := golden(t, name)
		adapter, tmp := adapterFor(t, dir, 1), t.TempDir()
		peft, back, out := filepath.Join(tmp, "peft"), filepath.Join(tmp, "back"), filepath.Join(tmp, "deep", "merged")
		run := func(args ...string) {
			_, stderr, status := call(t, args...)
			require.Zero(t, status, stderr)
		}
		run("export", "--model", dir, "--adapter", adapter, "--format", "peft", "--out", peft)
		run("import", "--model", dir, "--peft", peft, "--out", back, "--json", filepath.Join(tmp, "import.json"))
		run("merge", "--model", dir, "--adapter", adapter, "--out", out, "--dtype", "float32", "--json", filepath.Join(tmp, "merge.json"))
		want := scores(t, "--model", dir, "--adapter", adapter)
		require.Greater(t, apart(want, scores(t, "--model", dir)), 1e-2, "the adapter matters")
		require.InDelta(t, 0, apart(want, scores(t, "--model", dir, "--adapter", back)), 1e-5)
		require.InDelta(t, 0, apart(want, scores(t, "--model", out)), 1e-5)
		var i imported
		readJSONFile(t, filepath.Join(tmp, "import.json"), &i)
		require.Equal(t, 1, i.Experts[0])
		require.Zero(t, i.Experts[len(i.Experts)-1])
		require.InDelta(t, 2, i.Sources[0].Scale, 1e-12)
		var m merged
		readJSONFile(t, filepath.Join(tmp, "merge.json"), &m)
		require.NotNil(t, m.Change)
		require.Equal(t, comparedTokens, m.Tokens)
		require.Greater(t, m.Largest, 0.1)
		require.Less(t, *m.Change, 1e-5*m.Largest)
	}
}

// TestMergeTellsTheRounding merges into the base's bfloat16: the change is real and told.
func TestMergeTellsTheRounding(t *testing.T) {
	dir, tmp := golden(t, "llama-2"), t.TempDir()
	adapter := adapterFor(t, dir, 1)
	stdout, stderr, status := call(t, "merge", "--model", dir, "--adapter", adapter, "--out", filepath.Join(tmp, "m"), "--json", filepath.Join(tmp, "j"))
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "largest change of a logit")
	var m merged
	readJSONFile(t, filepath.Join(tmp, "j"), &m)
	require.Greater(t, *m.Change, 1e-5)
	require.Less(t, *m.Change, 0.1)
	stdout, stderr, status = call(t, "merge", "--model", dir, "--adapter", adapter, "--out", filepath.Join(tmp, "n"), "--compare", "none", "--json", filepath.Join(tmp, "k"))
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "not compared")
	readJSONFile(t, filepath.Join(tmp, "k"), &m)
	require.Nil(t, m.Change)
}

func TestMixturesAreRefusedWhereTheyCannotGo(t *testing.T) {
	dir, tmp := golden(t, "llama-2"), t.TempDir()
	single, several := adapterFor(t, dir, 1), adapterFor(t, dir, 3)
	out := filepath.Join(tmp, "out")
	refused(t, "these layers have several: 0 (3 experts), 1 (3 experts)", "merge", "--model", dir, "--adapter", several, "--out", out)
	refused(t, "these layers have several: 0 (3 experts), 1 (3 experts)", "export", "--model", dir, "--adapter", several, "--format", "peft", "--out", out)
	refused(t, `--format "onnx"`, "export", "--model", dir, "--adapter", single, "--format", "onnx", "--out", out)
	refused(t, "--dtype: dtype int8", "merge", "--model", dir, "--adapter", single, "--dtype", "int8", "--out", out)
	refused(t, "--compare: dtype int8", "merge", "--model", dir, "--adapter", single, "--compare", "int8", "--out", out)
	refused(t, "--peft: is missing", "import", "--model", dir, "--out", out)
	refused(t, "--adapter: is missing", "export", "--model", dir, "--format", "peft", "--out", out)
	refused(t, "--model: is missing", "import", "--peft", single, "--out", out)
	refused(t, "--out: is missing", "merge", "--model", dir, "--adapter", single)
	refused(t, "was trained on a base with fingerprint", "merge", "--model", golden(t, "llama-yarn"), "--adapter", single, "--out", out)
	require.NoDirExists(t, out)
	require.NoError(t, os.Mkdir(out, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(out, "mine"), nil, 0o644))
	refused(t, "exists and is not empty (mine is in it)", "merge", "--model", dir, "--adapter", single, "--out", out)
	refused(t, "exists and is not empty (mine is in it)", "export", "--model", dir, "--adapter", single, "--format", "peft", "--out", out)
	refused(t, "exists and is not empty (mine is in it)", "import", "--model", dir, "--peft", single, "--out", out)
	refused(t, "not a directory", "import", "--model", dir, "--peft", single, "--out", filepath.Join(out, "mine"))
}

// TestStoppedMergesLeaveNothing cancels before the first tensor.
func TestStoppedMergesLeaveNothing(t *testing.T) {
	dir, tmp := golden(t, "llama-2"), t.TempDir()
	adapter := adapterFor(t, dir, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var errs strings.Builder
	err := run(ctx, newApp(&errs, &errs), []string{"merge", "--model", dir, "--adapter", adapter, "--compare", "none", "--out", filepath.Join(tmp, "m")})
	require.ErrorIs(t, err, context.Canceled)
	entries, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// TestReleasedAdaptersComeOutAsTheyWentIn exports the released code's adapters again.
func TestReleasedAdaptersComeOutAsTheyWentIn(t *testing.T) {
	references(t, func(t *testing.T, dir string) {
		out := filepath.Join(t.TempDir(), "released")
		_, stderr, status := call(t, "export", "--model", dir, "--adapter", filepath.Join(dir, "adapter"), "--format", "released", "--out", out)
		require.Zero(t, status, stderr)
		want, err := os.ReadFile(filepath.Join(dir, "adapter", moelora.WeightsFile))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(out, moelora.WeightsFile))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), "the same file, byte for byte")
		var a, b map[string]any
		readJSONFile(t, filepath.Join(dir, "adapter", moelora.ConfigFile), &a)
		readJSONFile(t, filepath.Join(out, moelora.ConfigFile), &b)
		require.Equal(t, a, b)
	})
}

// TestReleasedFormatKeepsOurAdapters goes out in the released code's format and comes back.
func TestReleasedFormatKeepsOurAdapters(t *testing.T) {
	dir := golden(t, "llama-2")
	adapter, out := adapterFor(t, dir, 3), filepath.Join(t.TempDir(), "released")
	stdout, stderr, status := call(t, "export", "--model", dir, "--adapter", adapter, "--format", "released", "--out", out)
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "the format does not state top-k")
	base, err := describe(dir)
	require.NoError(t, err)
	a, err := moelora.Load(adapter, base, 0)
	require.NoError(t, err)
	b, err := moelora.Load(out, base, 0)
	require.NoError(t, err)
	require.Equal(t, a.Shape, b.Shape)
	require.Equal(t, fingerprintOf(t, adapter), fingerprintOf(t, out))
}

func fingerprintOf(t *testing.T, dir string) string {
	set, err := weights.OpenFile(filepath.Join(dir, moelora.WeightsFile))
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	return set.Fingerprint()
}
