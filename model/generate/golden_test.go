package generate_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/weights"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// goldens is the folder of tiny models that transformers computed; make goldens fills it.
func goldens(t *testing.T) string {
	return filepath.Join(testkit.Root(t), "model", "testdata", "goldens")
}

// cases lists the goldens, by their folders.
func cases(t *testing.T) []string {
	entries, err := os.ReadDir(goldens(t))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	require.NotEmpty(t, names, "no goldens: run make goldens")
	return names
}

// TestGoldensComplete holds the folder against its manifest: every file has its sum, every
// family a case.
func TestGoldensComplete(t *testing.T) {
	var manifest struct {
		Transformers string
		SHA256       map[string]string
	}
	content, err := os.ReadFile(filepath.Join(goldens(t), "manifest.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &manifest))
	require.NotEmpty(t, manifest.SHA256)
	found, size := map[string]string{}, 0
	families := map[string]int{}
	for _, name := range cases(t) {
		files, err := os.ReadDir(filepath.Join(goldens(t), name))
		require.NoError(t, err)
		for _, f := range files {
			content, err := os.ReadFile(filepath.Join(goldens(t), name, f.Name()))
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			found[name+"/"+f.Name()], size = hex.EncodeToString(sum[:]), size+len(content)
		}
		d, err := model.ReadDescription(filepath.Join(goldens(t), name))
		require.NoError(t, err)
		families[d.Family]++
	}
	require.Equal(t, manifest.SHA256, found, "files and manifest differ: run make goldens")
	require.Less(t, size, 2_500_000, "bytes in all")
	require.ElementsMatch(t, model.Families(), slices.Collect(maps.Keys(families)), "families with goldens")
	t.Logf("%d goldens of %d families, made with transformers %s, %d bytes", len(cases(t)), len(families), manifest.Transformers, size)
}

// golden is one case, loaded.
type golden struct {
	model  *model.Model
	values subject
}

func openGolden(t *testing.T, name, dtype string) golden {
	eng, err := engine.Open("")
	require.NoError(t, err)
	dir := filepath.Join(goldens(t), name)
	m, err := model.Load(t.Context(), eng, dir, dtype)
	require.NoError(t, err)
	set, err := weights.OpenFile(filepath.Join(dir, "goldens.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { m.Free(); _ = set.Close() })
	return golden{m, subject{model: m, values: set}}
}

// tolerance is the absolute error of a logit that counts as equal, in float32.
func (g golden) tolerance() float64 {
	if g.model.NormOffset == 1 { // Gemma's
		return 1e-3
	}
	return 1e-4
}

// logits runs rows [B, T] with left padding [B] through d, a description of the model's
// tensors, and returns [B·T·V] values.
func (g golden) logits(t *testing.T, d model.Description, rows [][]int32, pads []int32) []float32 {
	exec, err := NewExec(g.model.Engine.Backend, func(inputs []*Node) *Node {
		decoder := &model.Decoder{Description: d}
		var rest []*Node
		decoder.Weights, rest = g.model.Nodes(inputs)
		return decoder.Logits(decoder.Forward(rest[0], rest[1]))
	})
	require.NoError(t, err)
	defer exec.Finalize()
	var args []any
	for _, tensor := range g.model.Tensors {
		args = append(args, tensor)
	}
	args = append(args, tensors.FromFlatDataAndDimensions(slices.Concat(rows...), len(rows), len(rows[0])), tensors.FromFlatDataAndDimensions(pads, len(pads)))
	out, err := engine.Try1(func() *tensors.Tensor { return exec.MustCall(args...)[0] })
	require.NoError(t, err)
	values, err := tensors.CopyFlatData[float32](out)
	require.NoError(t, err)
	return values
}

// padded reads the left-padded batch: whole rows, their padding and their prompts.
func (g golden) padded(t *testing.T) (rows [][]int32, pads []int32, prompts [][]int32) {
	rows = g.values.ints(t, "padded.input_ids")
	for i, mask := range g.values.ints(t, "padded.attention_mask") {
		start := slices.Index(mask, 1)
		pads, prompts = append(pads, int32(start)), append(prompts, rows[i][start:])
	}
	return rows, pads, prompts
}

// furthest is the largest difference of two lists where real is true.
func furthest(a, b []float32, real func(i int) bool) float64 {
	far := 0.0
	for i := range a {
		if real == nil || real(i) {
			far = max(far, math.Abs(float64(a[i]-b[i])))
		}
	}
	return far
}

func (g golden) requireLogits(t *testing.T) {
	for _, part := range []string{"", "long."} {
		rows := g.values.ints(t, part+"input_ids")
		got := g.logits(t, g.model.Description, rows, make([]int32, len(rows)))
		want := g.values.floats(t, part+"logits")
		require.Len(t, got, len(want))
		require.LessOrEqual(t, furthest(got, want, nil), g.tolerance(), part+"logits")
	}
	rows, pads, _ := g.padded(t)
	got, want := g.logits(t, g.model.Description, rows, pads), g.values.floats(t, "padded.logits")
	length := len(rows[0])
	require.LessOrEqual(t, furthest(got, want, func(i int) bool {
		token := i / g.model.Vocabulary
		return token%length >= int(pads[token/length])
	}), g.tolerance(), "padded.logits")
}

// TestGoldens holds logits, padded logits and greedy tokens of every case.
func TestGoldens(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name, "float32")
			g.requireLogits(t)
			_, _, prompts := g.padded(t)
			want := g.values.ints(t, "padded.greedy")
			long := g.values.ints(t, "long.input_ids")[0][:28]
			wantLong := g.values.ints(t, "long.greedy")[0]
			for _, rows := range []int{1, 4} {
				gen, err := generate.New(g.model, nil, rows)
				require.NoError(t, err)
				outputs, err := gen.Greedy(t.Context(), append(slices.Clone(prompts), long), len(wantLong), nil, nil)
				require.NoError(t, err)
				for i, tokens := range append(slices.Clone(want), wantLong) {
					require.Equal(t, tokens, outputs[i].IDs, "row %d in batches of %d", i, rows)
				}
				gen.Close()
			}
		})
	}
}

// TestBatchesAgree draws prompts of many lengths: alone and in batches they are continued
// by the same tokens, in every family.
func TestBatchesAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name, "float32")
			prompts := make([][]int32, 9)
			for i := range prompts {
				prompts[i] = make([]int32, 1+rng.IntN(40))
				for j := range prompts[i] {
					prompts[i][j] = int32(rng.IntN(g.model.Vocabulary))
				}
			}
			var alone []generate.Output
			for _, rows := range []int{1, 5} {
				gen, err := generate.New(g.model, nil, rows)
				require.NoError(t, err)
				outputs, err := gen.Greedy(t.Context(), prompts, 10, nil, nil)
				require.NoError(t, err)
				gen.Close()
				if rows == 1 {
					alone = outputs
					continue
				}
				require.Equal(t, alone, outputs)
			}
		})
	}
}
