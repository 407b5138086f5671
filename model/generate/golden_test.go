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

	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/generate"

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

func openGolden(t *testing.T, name, dtype string) subject {
	dir := filepath.Join(goldens(t), name)
	return openSubject(t, dir, filepath.Join(dir, "goldens.safetensors"), dtype)
}

// goldenTolerance is the absolute error of a golden's logit that counts as equal, in
// float32. Logits of Gemma may be off by 1e-3, but are not; only so do the goldens tell
// its GELU from the exact one.
const goldenTolerance = 1e-4

func requireGoldenLogits(t *testing.T, g subject) {
	for _, part := range []string{"", "long."} {
		rows := g.ints(t, part+"input_ids")
		got := g.logits(t, g.model.Description, rows, make([]int32, len(rows)))
		want := g.floats(t, part+"logits")
		require.Len(t, got, len(want))
		require.LessOrEqual(t, furthest(got, want, nil), goldenTolerance, part+"logits")
	}
	g.requirePadded(t, g.floats(t, "padded.logits"), goldenTolerance)
}

// TestGoldens holds logits, padded logits and greedy tokens of every case.
func TestGoldens(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name, "float32")
			requireGoldenLogits(t, g)
			_, _, prompts := g.padded(t)
			want := g.ints(t, "padded.greedy")
			long := g.ints(t, "long.input_ids")[0][:28]
			wantLong := g.ints(t, "long.greedy")[0]
			gen, err := generate.New(g.model, nil, 4)
			require.NoError(t, err)
			defer gen.Close()
			outputs, err := gen.Greedy(t.Context(), append(slices.Clone(prompts), long), len(wantLong), nil, nil)
			require.NoError(t, err)
			for i, tokens := range append(slices.Clone(want), wantLong) {
				require.Equal(t, tokens, outputs[i].IDs, "row %d", i)
			}
		})
	}
}

// TestBatchesAgree draws prompts of many lengths: alone and in batches they are continued
// by the same tokens, in every family.
func TestBatchesAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	byFamily := map[string]string{}
	for _, name := range cases(t) {
		d, err := model.ReadDescription(filepath.Join(goldens(t), name))
		require.NoError(t, err)
		byFamily[d.Family] = name
	}
	require.Len(t, byFamily, len(model.Families()))
	for _, family := range model.Families() {
		name := byFamily[family]
		t.Run(family, func(t *testing.T) {
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

// maxBF16 bounds how far bfloat16 may take the logits of these models from those of
// float32: the norm of the difference over the norm. A number in bfloat16 has 8 bits, so
// that each rounding costs up to 0.4 %.
const maxBF16 = 0.03

// TestBF16 holds bfloat16 against float32.
func TestBF16(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name, "bfloat16")
			ids := g.ints(t, "input_ids")
			got, want := g.logits(t, g.model.Description, ids, make([]int32, len(ids))), g.floats(t, "logits")
			difference, norm := 0.0, 0.0
			for i := range want {
				difference += math.Pow(float64(got[i]-want[i]), 2)
				norm += math.Pow(float64(want[i]), 2)
			}
			relative := math.Sqrt(difference / norm)
			t.Logf("relative error %.4f", relative)
			require.LessOrEqual(t, relative, maxBF16)
			require.Greater(t, relative, 1e-5, "this was not computed in bfloat16")
		})
	}
}
