package moelora_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

const layersPrefix = "base_model.model.model.layers."

// matrix is a tensor's values and its number of columns.
type matrix struct {
	values []float32
	cols   int
}

func matrixOf(t *testing.T, values map[string]weights.Tensor, name string) matrix {
	v, ok := values[name]
	require.True(t, ok, name)
	list, err := v.Float32s()
	require.NoError(t, err)
	return matrix{list, v.Shape[1]}
}

// added is scale · b·a.
func added(a, b matrix, scale float64) []float64 {
	out := make([]float64, len(b.values)/b.cols*a.cols)
	for i := range out {
		row, col := i/a.cols, i%a.cols
		for k := range b.cols {
			out[i] += scale * float64(b.values[row*b.cols+k]) * float64(a.values[k*a.cols+col])
		}
	}
	return out
}

func requireClose(t *testing.T, want, got []float64, what string) {
	require.Len(t, got, len(want), what)
	for i := range want {
		require.InDelta(t, want[i], got[i], 1e-5*(1+math.Abs(want[i])), "%s, value %d", what, i)
	}
}

func readTensors(t *testing.T, path string) map[string]weights.Tensor {
	set, err := weights.OpenFile(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = set.Close() })
	all := map[string]weights.Tensor{}
	for _, name := range set.Names() {
		all[name], _ = set.Get(name)
	}
	return all
}

// loraSpec is one LoRA of a PEFT adapter to be made.
type loraSpec struct {
	module        string // of a layer, such as self_attn.q_proj
	layer         int
	out, rank, in int
}

// writePeft writes a PEFT adapter with random values.
func writePeft(t *testing.T, config map[string]any, loras ...loraSpec) string {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(7, uint64(len(loras))))
	var list []weights.Tensor
	for _, l := range loras {
		for name, shape := range map[string][]int{"A": {l.rank, l.in}, "B": {l.out, l.rank}} {
			values := make([]float32, shape[0]*shape[1])
			for i := range values {
				values[i] = float32(rng.NormFloat64())
			}
			v, err := weights.FromFloat32s(fmt.Sprintf("%s%d.%s.lora_%s.weight", layersPrefix, l.layer, l.module, name), shape, values, weights.F32)
			require.NoError(t, err)
			list = append(list, v)
		}
	}
	require.NoError(t, weights.Write(filepath.Join(dir, moelora.WeightsFile), list, nil))
	data, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, moelora.ConfigFile), data, 0o644))
	return dir
}

// two adapters of the tiny model that share q_proj of layer 0 alone.
func twoPefts(t *testing.T) []string {
	first := writePeft(t, map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": []string{"q_proj", "up_proj"},
		"layers_to_transform": []int{0}},
		loraSpec{"self_attn.q_proj", 0, 12, 2, 12}, loraSpec{"mlp.up_proj", 0, 20, 2, 12})
	second := writePeft(t, map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 3, "use_rslora": true, "target_modules": "model.layers.[02].self_attn.q_proj",
		"rank_pattern": map[string]int{"layers.2.self_attn.q_proj": 3}, "alpha_pattern": map[string]float64{"nowhere": 9, "2.self_attn.q_proj": 5}},
		loraSpec{"self_attn.q_proj", 0, 12, 4, 12}, loraSpec{"self_attn.q_proj", 2, 12, 3, 12})
	return []string{first, second}
}

// TestImportIsEachLoRA holds every expert against its LoRA: ranks, scales and targets differ.
func TestImportIsEachLoRA(t *testing.T) {
	m := base(t)
	dirs := twoPefts(t)
	got, err := moelora.Import(m.Description, dirs, moelora.ImportOptions{Router: moelora.RandomRouter, Seed: 3})
	require.NoError(t, err)
	require.Equal(t, []int{2, 0, 2}, got.Experts)
	require.Equal(t, []int{2, 0, 2}, got.TopK)
	require.Equal(t, 4, got.Rank)
	require.Equal(t, []model.Site{model.Q, model.Up}, got.Targets)
	require.Equal(t, [][]string{{"model.layers.2.self_attn.q_proj", "model.layers.2.mlp.up_proj"},
		{"model.layers.0.mlp.up_proj", "model.layers.2.mlp.up_proj"}}, got.Zeros)
	out := t.TempDir()
	require.NoError(t, got.Save(out, m))
	a, err := moelora.Load(out, m, 0)
	require.NoError(t, err)
	values, err := a.Values()
	require.NoError(t, err)
	checked := 0
	for _, layer := range []int{0, 2} {
		for _, site := range got.Targets {
			for e, dir := range dirs {
				name := fmt.Sprintf("%s%d.%s.", layersPrefix, layer, site.Module())
				ours := added(matrixOf(t, values, fmt.Sprintf("%slora_A_%d.weight", name, e)), matrixOf(t, values, fmt.Sprintf("%slora_B_%d.weight", name, e)), a.Scale())
				want := make([]float64, len(ours))
				scale := []float64{6.0 / 2, 3 / math.Sqrt(4)}[e]
				if e == 1 && layer == 2 {
					scale = 5 / math.Sqrt(3)
				}
				if theirs := readTensors(t, filepath.Join(dir, moelora.WeightsFile)); theirs[name+"lora_A.weight"].Data != nil {
					want = added(matrixOf(t, theirs, name+"lora_A.weight"), matrixOf(t, theirs, name+"lora_B.weight"), scale)
					checked++
				}
				requireClose(t, want, ours, name)
			}
			router := matrixOf(t, values, fmt.Sprintf("%s%d.%s.router.router.weight", layersPrefix, layer, site.Module()))
			require.Len(t, router.values, 2*12)
			require.NotContains(t, router.values, float32(0))
		}
	}
	require.Equal(t, 4, checked)
}

func TestImportOptions(t *testing.T) {
	d := base(t).Description
	dirs := twoPefts(t)
	zero, err := moelora.Import(d, dirs, moelora.ImportOptions{Router: moelora.ZeroRouter})
	require.NoError(t, err)
	require.Equal(t, []int{2, 0, 2}, zero.TopK, "a router of zeros runs all experts")
	for why, o := range map[string]moelora.ImportOptions{
		"--top-k 1: with a router of zeros all experts tie, and the first 1 of 2 would always be taken": {TopK: 1, Router: moelora.ZeroRouter},
		"--top-k 3: is not possible with 2 experts a layer":                                             {TopK: 3, Router: moelora.RandomRouter},
		"--top-k -1: is not possible":                                                                   {TopK: -1, Router: moelora.RandomRouter},
		`--router "hash": is no initial router`:                                                         {Router: "hash"},
	} {
		_, err := moelora.Import(d, dirs, o)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}

// TestWrongPeftsAreErrors changes one thing of a good adapter at a time.
func TestWrongPeftsAreErrors(t *testing.T) {
	m := base(t)
	good := map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": []string{"q_proj"}, "bias": "none",
		"layers_to_transform": []int{1}, "task_type": "CAUSAL_LM", "use_dora": false, "rank_pattern": map[string]int{}, "megatron_core": "megatron.core"}
	q := loraSpec{"self_attn.q_proj", 1, 12, 2, 12}
	_, err := moelora.Import(m.Description, []string{writePeft(t, good, q)}, moelora.ImportOptions{Router: moelora.RandomRouter})
	require.NoError(t, err)
	changes := map[string]struct {
		key   string
		value any
	}{
		`bias is "all": trained biases`:                                             {"bias", "all"},
		`modules_to_save is ["lm_head"]`:                                            {"modules_to_save", []string{"lm_head"}},
		"lacks tensor " + layersPrefix + "1.self_attn.q_proj.lora_magnitude_vector": {"use_dora", true},
		"fan_in_fan_out is true":                                                    {"fan_in_fan_out", true},
		`peft_type is "IA3", not "LORA"`:                                            {"peft_type", "IA3"},
		"r is a list: this is an adapter of AlphaLoRA's":                            {"r", []int{2, 2, 2}},
		"r is 0: a whole number":                                                    {"r", 0},
		`r is "x"`:                                                                  {"r", "x"},
		"lora_alpha is -1: a number above 0":                                        {"lora_alpha", -1},
		"lora_dropout is 1: a number from 0 to below 1":                             {"lora_dropout", 1},
		"is [2 12] where [3 12] is expected":                                        {"r", 3},
		`target_modules has "c_attn", which is no projection`:                       {"target_modules", []string{"q_proj", "c_attn"}},
		"target_modules is missing":                                                 {"target_modules", nil},
		`target_modules is "(?=q)x"`:                                                {"target_modules", "(?=q)x"},
		"the adapter adapts no projection of it":                                    {"target_modules", "lm_head"},
		"lacks tensor " + layersPrefix + "0.self_attn.q_proj":                       {"layers_to_transform", nil},
		"lora_A.weight [2 12] is not expected":                                      {"layers_to_transform", 2},
		`init_lora_weights is "pissa"`:                                              {"init_lora_weights", "pissa"},
		`rank_pattern is {"q_proj":0}`:                                              {"rank_pattern", map[string]int{"q_proj": 0}},
		`alpha_pattern is {"q_proj":-1}`:                                            {"alpha_pattern", map[string]int{"q_proj": -1}},
		"rank_pattern is 3: an object is needed":                                    {"rank_pattern", 3},
		`a_new_field is {"on":1}: not known here`:                                   {"a_new_field", map[string]int{"on": 1}},
		`task_type is "SEQ_CLS"`:                                                    {"task_type", "SEQ_CLS"},
		`layers_pattern is "h"`:                                                     {"layers_pattern", "h"},
	}
	for why, c := range changes {
		config := maps.Clone(good)
		config[c.key] = c.value
		_, err := moelora.Import(m.Description, []string{writePeft(t, config, q)}, moelora.ImportOptions{Router: moelora.RandomRouter})
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
		require.NotContains(t, err.Error(), "\n")
	}
	config := maps.Clone(good)
	config["bias"], config["lora_bias"] = "all", true
	_, err = moelora.Import(m.Description, []string{writePeft(t, config, q)}, moelora.ImportOptions{Router: moelora.RandomRouter})
	require.ErrorContains(t, err, "bias is")
	require.ErrorContains(t, err, "lora_bias is", "all of them come together")
}

func TestWrongPeftFilesAreErrors(t *testing.T) {
	m := base(t)
	good := map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": []string{"q_proj"}}
	q := []loraSpec{{"self_attn.q_proj", 0, 12, 2, 12}, {"self_attn.q_proj", 1, 12, 2, 12}, {"self_attn.q_proj", 2, 12, 2, 12}}
	one := layersPrefix + "1.self_attn.q_proj."
	for why, change := range map[string]func(map[string]weights.Tensor){
		"lacks tensor " + one + "lora_B.weight": func(l map[string]weights.Tensor) { delete(l, one+"lora_B.weight") },
		"tensor " + one + "lora_A.weight: value 0 of 24 is not finite": func(l map[string]weights.Tensor) {
			v := l[one+"lora_A.weight"]
			v.Data = slices.Clone(v.Data)
			copy(v.Data, "\x00\x00\xc0\x7f")
			l[v.Name] = v
		},
		"lora_magnitude_vector is not a LoRA's":           stranger(one + "lora_magnitude_vector"),
		"lora_embedding_A is a LoRA of an embedding":      stranger("base_model.model.model.embed_tokens.lora_embedding_A"),
		"base_layer.weight is the base model's":           stranger(one + "base_layer.weight"),
		"lora_B.bias is a trained bias":                   stranger(one + "lora_B.bias"),
		"lora_A_0.weight is an expert's":                  stranger(one + "lora_A_0.weight"),
		"tensor lm_head.weight is not a LoRA's":           stranger("lm_head.weight"),
		"lm_head.lora_A.weight [1 1] is not expected":     stranger("base_model.model.lm_head.lora_A.weight"),
		"layers.1.mlp.up_proj.lora_A.weight [1 1] is not": stranger(layersPrefix + "1.mlp.up_proj.lora_A.weight"),
	} {
		dir := writePeft(t, good, q...)
		path := filepath.Join(dir, moelora.WeightsFile)
		list := readTensors(t, path)
		change(list)
		require.NoError(t, weights.Write(path+".new", slices.Collect(maps.Values(list)), nil))
		require.NoError(t, os.Rename(path+".new", path))
		_, err := moelora.Import(m.Description, []string{dir}, moelora.ImportOptions{Router: moelora.RandomRouter})
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
	}
	for why, write := range map[string]func(dir string){
		"claims":             func(dir string) { truncate(t, filepath.Join(dir, moelora.WeightsFile)) },
		"unexpected end":     func(dir string) { truncate(t, filepath.Join(dir, moelora.ConfigFile)) },
		"1048576 bytes":      func(dir string) { fill(t, filepath.Join(dir, moelora.ConfigFile), 2<<20) },
		"exceeded max depth": func(dir string) { fill(t, filepath.Join(dir, moelora.ConfigFile), 1<<19) },
		"cannot be read":     func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, moelora.ConfigFile))) },
	} {
		dir := writePeft(t, good, q...)
		write(dir)
		_, err := moelora.Import(m.Description, []string{dir}, moelora.ImportOptions{Router: moelora.RandomRouter})
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
	}
}

func stranger(name string) func(map[string]weights.Tensor) {
	return func(l map[string]weights.Tensor) {
		l[name], _ = weights.FromFloat32s(name, []int{1, 1}, []float32{1}, weights.F32)
	}
}

func truncate(t *testing.T, path string) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, int64(len(content)-3)))
}

// fill writes n brackets: hostile by its size, or by its depth.
func fill(t *testing.T, path string, n int) {
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("[", n)), 0o644))
}

// TestExportPeftComesBack exports and imports: values and scale are the same.
func TestExportPeftComesBack(t *testing.T) {
	m := base(t)
	a := fresh(t, []int{1, 0, 1}, []int{1, 0, 1}, []model.Site{model.K, model.Down})
	dir := t.TempDir()
	require.NoError(t, a.ExportPeft(dir, moelora.Manifest{Base: "somewhere", Dropout: 0.1}))
	content, err := os.ReadFile(filepath.Join(dir, moelora.ConfigFile))
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(content, &config))
	require.Equal(t, []any{0.0, 2.0}, config["layers_to_transform"])
	require.Equal(t, []any{"k_proj", "down_proj"}, config["target_modules"])
	back, err := moelora.Import(m.Description, []string{dir}, moelora.ImportOptions{Router: moelora.RandomRouter})
	require.NoError(t, err)
	require.Equal(t, a.Shape, back.Shape)
	out := t.TempDir()
	require.NoError(t, back.Save(out, m))
	want, err := a.Values()
	require.NoError(t, err)
	got := readTensors(t, filepath.Join(out, moelora.WeightsFile))
	require.Len(t, got, len(want))
	for name, v := range want {
		if !strings.Contains(name, "router") { // of single experts: exports leave them
			require.Equal(t, v.Data, got[name].Data, name)
		}
	}
	several := fresh(t, []int{1, 3, 2}, []int{1, 2, 2}, []model.Site{model.K})
	require.ErrorContains(t, several.ExportPeft(t.TempDir(), moelora.Manifest{}), "these layers have several: 1 (3 experts), 2 (2 experts)")
	require.ErrorContains(t, several.CheckMergeable(), "these layers have several: 1 (3 experts), 2 (2 experts)")
	none := fresh(t, []int{0, 0, 0}, []int{0, 0, 0}, []model.Site{model.K})
	require.ErrorContains(t, none.ExportPeft(t.TempDir(), moelora.Manifest{}), "no layer of the adapter has an expert")
}

// fuses reads a golden model whose checkpoint holds q, k, v in one matrix, and makes an
// adapter of some of its projections.
func fuses(t *testing.T, name string, targets ...model.Site) (*model.Model, *moelora.Adapter) {
	dir := filepath.Join(testkit.Root(t), "model", "testdata", "goldens", name)
	d, err := model.ReadDescription(dir)
	require.NoError(t, err)
	experts := make([]int, d.Layers)
	for layer := range experts[1:] { // the last has none
		experts[layer] = 1
	}
	a, err := moelora.New(&model.Model{Description: d}, moelora.Shape{Kind: moelora.MoELoRA, Rank: 3, Alpha: 12, Experts: experts, TopK: experts, Targets: targets}, 5)
	require.NoError(t, err)
	randomise(a)
	return &model.Model{Description: d, Dir: dir}, a
}

// TestExportOfFusedMatricesComesBack exports q and v of a model that fuses q, k, v.
func TestExportOfFusedMatricesComesBack(t *testing.T) {
	m, a := fuses(t, "phi-3", model.Q, model.V, model.O, model.Up)
	dir, out := t.TempDir(), t.TempDir()
	require.NoError(t, a.ExportPeft(dir, moelora.Manifest{}))
	theirs := readTensors(t, filepath.Join(dir, moelora.WeightsFile))
	require.Equal(t, []int{6, 32}, theirs[layersPrefix+"0.self_attn.qkv_proj.lora_A.weight"].Shape)
	require.Equal(t, []int{3, 32}, theirs[layersPrefix+"0.mlp.gate_up_proj.lora_A.weight"].Shape)
	back, err := moelora.Import(m.Description, []string{dir}, moelora.ImportOptions{Router: moelora.RandomRouter})
	require.NoError(t, err)
	require.NoError(t, back.Save(out, m))
	b, err := moelora.Load(out, m, 0)
	require.NoError(t, err)
	require.Equal(t, []model.Site{model.Q, model.K, model.V, model.O, model.Gate, model.Up}, b.Targets)
	want, err := a.Values()
	require.NoError(t, err)
	got, err := b.Values()
	require.NoError(t, err)
	for _, site := range b.Targets {
		name := layersPrefix + "1." + site.Module() + ".lora_"
		ours := added(matrixOf(t, got, name+"A_0.weight"), matrixOf(t, got, name+"B_0.weight"), b.Scale())
		expected := make([]float64, len(ours))
		if slices.Contains(a.Targets, site) {
			expected = added(matrixOf(t, want, name+"A_0.weight"), matrixOf(t, want, name+"B_0.weight"), a.Scale())
		}
		requireClose(t, expected, ours, name)
	}
}
