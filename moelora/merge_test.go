package moelora_test

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// randomise gives all variables of an adapter random values.
func randomise(a *moelora.Adapter) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i, tensor := range a.Params.Tensors {
		values := make([]float32, tensor.Size())
		for j := range values {
			values[j] = float32(rng.NormFloat64())
		}
		a.Params.Tensors[i] = tensors.FromFlatDataAndDimensions(values, tensor.Shape().Dimensions...)
	}
}

// TestMergeIsTheSum holds every adapted weight against W + scale·B·A, and all others byte
// for byte; fused matrices and a tied head too.
func TestMergeIsTheSum(t *testing.T) {
	for name, targets := range map[string][]model.Site{
		"llama-2": model.Sites(), "phi-3": {model.K, model.O, model.Up}, "qwen2": {model.Q, model.Down},
	} {
		t.Run(name, func(t *testing.T) {
			m, a := fuses(t, name, targets...)
			out := t.TempDir()
			var told []string
			require.NoError(t, a.Merge(t.Context(), m.Dir, out, "float32", func(s string) { told = append(told, s) }))
			before, after := openModel(t, m.Dir), openModel(t, out)
			require.Equal(t, before.Names(), after.Names())
			require.ElementsMatch(t, before.Names(), told)
			values, err := a.Values()
			require.NoError(t, err)
			changed := map[string]bool{}
			for layer, experts := range a.Experts {
				for _, site := range targets {
					if experts == 0 {
						continue
					}
					file, _ := m.Place(layer, site)
					changed[file] = true
					requireSum(t, m.Description, before, after, values, layer, site, a.Scale())
				}
			}
			kept := t.TempDir()
			require.NoError(t, a.Merge(t.Context(), m.Dir, kept, model.FileDType, nil))
			same := openModel(t, kept)
			untouched := 0
			for _, name := range before.Names() {
				x, _ := before.Get(name)
				y, _ := same.Get(name)
				require.Equal(t, x.DType, y.DType, name)
				require.Equal(t, !changed[name], string(x.Data) == string(y.Data), name)
				if !changed[name] {
					untouched++
				}
			}
			require.Positive(t, untouched)
		})
	}
}

func openModel(t *testing.T, dir string) *weights.Set {
	set, err := weights.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = set.Close() })
	return set
}

func requireSum(t *testing.T, d model.Description, before, after *weights.Set, values map[string]weights.Tensor, layer int, site model.Site, scale float64) {
	name := layersPrefix + string(rune('0'+layer)) + "." + site.Module() + ".lora_"
	want := added(matrixOf(t, values, name+"A_0.weight"), matrixOf(t, values, name+"B_0.weight"), scale)
	x, ok := d.Projection(before, layer, site)
	require.True(t, ok)
	y, ok := d.Projection(after, layer, site)
	require.True(t, ok)
	old, err := x.Float32s()
	require.NoError(t, err)
	sum, err := y.Float32s()
	require.NoError(t, err)
	got := make([]float64, len(sum))
	for i := range sum {
		want[i] += float64(old[i])
		got[i] = float64(sum[i])
	}
	requireClose(t, want, got, name)
}

// sharded writes a golden model in two files.
func sharded(t *testing.T, m *model.Model) string {
	dir := t.TempDir()
	set := openModel(t, m.Dir)
	files, index := map[string][]weights.Tensor{}, map[string]string{}
	for i, name := range set.Names() {
		tensor, _ := set.Get(name)
		file := []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}[i%2]
		files[file], index[name] = append(files[file], tensor), file
	}
	for file, list := range files {
		require.NoError(t, weights.Write(filepath.Join(dir, file), list, nil))
	}
	data, err := json.Marshal(map[string]any{"weight_map": index})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, weights.IndexFile), data, 0o644))
	for _, name := range []string{"config.json", "tokenizer.model", "pytorch_model.bin"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(`{"torch_dtype":"bfloat16"}`), 0o644))
	}
	return dir
}

func TestMergeKeepsShardsAndFiles(t *testing.T) {
	m, a := fuses(t, "llama-2", model.Q)
	from, to := sharded(t, m), t.TempDir()
	require.NoError(t, a.Merge(t.Context(), from, to, "bfloat16", nil))
	whole := t.TempDir()
	require.NoError(t, a.Merge(t.Context(), m.Dir, whole, "bfloat16", nil))
	require.Equal(t, openModel(t, whole).Fingerprint(), openModel(t, to).Fingerprint())
	for dir, dtype := range map[string]string{to: "f32", whole: model.FileDType} {
		left, err := moelora.CopyConfiguration(from, dir, dtype)
		require.NoError(t, err)
		require.Equal(t, []string{"pytorch_model.bin"}, left)
		require.FileExists(t, filepath.Join(dir, "tokenizer.model"))
	}
	content, err := os.ReadFile(filepath.Join(to, "config.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"torch_dtype":"float32","dtype":"float32"}`, string(content))
	content, err = os.ReadFile(filepath.Join(whole, "config.json"))
	require.NoError(t, err)
	require.Equal(t, `{"torch_dtype":"bfloat16"}`, string(content))
	entries, err := os.ReadDir(to)
	require.NoError(t, err)
	require.Len(t, entries, 5, "two shards, the index, and two copied files")
}

func TestMergeStopsAndRefuses(t *testing.T) {
	m, a := fuses(t, "llama-2", model.Q)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := t.TempDir()
	require.ErrorIs(t, a.Merge(ctx, m.Dir, out, model.FileDType, nil), context.Canceled)
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, entries)

	a.Alpha = 1e6
	err = a.Merge(t.Context(), m.Dir, t.TempDir(), "float16", nil)
	require.ErrorContains(t, err, "too large for F16")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	a.Alpha = 1e39
	err = a.Merge(t.Context(), m.Dir, t.TempDir(), model.FileDType, nil)
	require.ErrorContains(t, err, "is not finite in BF16 with the adapter in it")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// TestNeighboursAndStrangersAreNamed damages adapters in the ways that people do.
func TestNeighboursAndStrangersAreNamed(t *testing.T) {
	m := base(t)
	a := fresh(t, []int{1, 3, 1}, []int{1, 2, 1}, []model.Site{model.Q, model.V})
	values, err := a.Values()
	require.NoError(t, err)
	save := func(drop string, manifest func(map[string]any)) string {
		dir := t.TempDir()
		require.NoError(t, a.Save(dir, m, 0))
		list := maps.Clone(values)
		delete(list, layersPrefix+drop)
		require.NoError(t, weights.Write(filepath.Join(dir, moelora.WeightsFile), slices.Collect(maps.Values(list)), nil))
		content, err := os.ReadFile(filepath.Join(dir, moelora.ConfigFile))
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(content, &fields))
		manifest(fields)
		content, err = json.Marshal(fields)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, moelora.ConfigFile), content, 0o644))
		return dir
	}
	nothing := func(map[string]any) {}
	released := func(f map[string]any) {
		f["peft_type"] = "LORA"
		delete(f, "number_experts")
		delete(f, "top_k")
	}
	neighbour := "holds tensor " + layersPrefix + "1.self_attn.v_proj.lora_A_2.weight but not " + layersPrefix +
		"1.self_attn.q_proj.lora_A_2.weight: 3 experts and 2, where all target projections of a layer have equally many"
	for dir, why := range map[string]string{
		save("1.self_attn.q_proj.lora_A_2.weight", nothing):                             neighbour,
		save("1.self_attn.q_proj.lora_A_2.weight", released):                            neighbour,
		save("1.self_attn.q_proj.lora_B_1.weight", released):                            "lacks tensor " + layersPrefix + "1.self_attn.q_proj.lora_B_1.weight",
		save("0.self_attn.q_proj.router.router.weight", nothing):                        "lacks tensor " + layersPrefix + "0.self_attn.q_proj.router.router.weight",
		save("", func(f map[string]any) { f["target_modules"] = []string{"q_proj"} }):   "v_proj.lora_A_0.weight [2 12] is not expected",
		save("", func(f map[string]any) { f["target_modules"] = []string{"w_proj"} }):   "adapter_config.json: target w_proj: no such projection",
		save("", func(f map[string]any) { f["peft_type"] = "IA3" }):                     `peft_type is "IA3", not MOELORA or LORA`,
		save("", func(f map[string]any) { f["top_k"] = []int{1, 4, 1} }):                "layer 1 has top-k 4 with 3 experts",
		save("", func(f map[string]any) { f["r"] = 99 }):                                "rank r is 99",
		save("", func(f map[string]any) { f["number_experts"] = []int{1, 1 << 40, 1} }): "layer 1 has 1099511627776 experts",
		writePeft(t, map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": []string{"q_proj"}}, loraSpec{"self_attn.q_proj", 0, 12, 2, 12}): "alphalora import --peft",
	} {
		_, err := moelora.Load(dir, m, 0)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
	}
	good := save("", nothing)
	_, err = moelora.Load(good, m, -1)
	require.ErrorContains(t, err, "top-k -1: is negative")
	other := base(t)
	require.NoError(t, os.Rename(filepath.Join(other.Dir, "model.safetensors"), filepath.Join(other.Dir, "x")))
	list := readTensors(t, filepath.Join(other.Dir, "x"))
	embed := list["model.embed_tokens.weight"]
	embed.Data = slices.Clone(embed.Data)
	embed.Data[0] ^= 1
	list[embed.Name] = embed
	require.NoError(t, weights.Write(filepath.Join(other.Dir, "model.safetensors"), slices.Collect(maps.Values(list)), nil))
	_, err = moelora.Load(good, &model.Model{Description: m.Description, Dir: other.Dir}, 0)
	require.ErrorContains(t, err, m.Dir)
	require.ErrorContains(t, err, other.Dir, "both are named")
}
