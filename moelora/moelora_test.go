package moelora_test

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

var description = model.Description{Family: "llama", Vocabulary: 30, Hidden: 12, Layers: 3, Heads: 3, KVHeads: 1, HeadDim: 4,
	Intermediate: 20, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.5, Rope: model.PlainRope(4, 10000), Activation: model.SiLU}

var once = sync.OnceValues(func() (*engine.Engine, error) { return engine.Open("") })

func open(t *testing.T) *engine.Engine {
	eng, err := once()
	require.NoError(t, err)
	return eng
}

// fresh makes an adapter whose B are random too.
func fresh(t *testing.T, experts, topK []int, targets []model.Site) *moelora.Adapter {
	a, err := moelora.New(base(t), moelora.Shape{Kind: moelora.MoELoRA, Rank: 2, Alpha: 6, Experts: experts, TopK: topK, Targets: targets}, 1)
	require.NoError(t, err)
	randomise(a)
	return a
}

// call builds and runs one graph over the adapter's variables and x.
func call(t *testing.T, a *moelora.Adapter, x *tensors.Tensor, build func(b *moelora.Bound, x *Node) []*Node) [][]float32 {
	exec, err := NewExec(open(t).Backend, func(inputs []*Node) []*Node {
		params, rest := a.Params.Nodes(inputs)
		return build(a.Bind(params, moelora.Mode{}), rest[0])
	})
	require.NoError(t, err)
	var args []any
	for _, p := range a.Params.Tensors {
		args = append(args, p)
	}
	outs, err := engine.Try1(func() []*tensors.Tensor { return exec.MustCall(append(args, x)...) })
	require.NoError(t, err)
	var all [][]float32
	for _, o := range outs {
		values, err := tensors.CopyFlatData[float32](o)
		require.NoError(t, err)
		all = append(all, values)
	}
	return all
}

func times(w []float32, x []float32) []float64 { // w [rows, len(x)]
	out := make([]float64, len(w)/len(x))
	for i := range out {
		for j, v := range x {
			out[i] += float64(w[i*len(x)+j]) * float64(v)
		}
	}
	return out
}

// gates are the renormalised weights of the k best of a router's rows; of all rows, the
// softmax.
func gates(router, x []float32, k int) []float64 {
	logits := times(router, x)
	g, sum := make([]float64, len(logits)), 0.0
	for range k {
		best := -1
		for i, l := range logits {
			if g[i] == 0 && (best < 0 || l > logits[best]) {
				best = i
			}
		}
		g[best] = math.Exp(logits[best])
		sum += g[best]
	}
	for i := range g {
		g[i] /= sum
	}
	return g
}

// loop is the formula of the package, one expert after the other.
func loop(t *testing.T, a *moelora.Adapter, values map[string]weights.Tensor, layer int, site model.Site, x []float32) []float64 {
	get := func(part string) []float32 {
		v, err := values["base_model.model.model.layers."+string(rune('0'+layer))+"."+site.Module()+"."+part+".weight"].Float32s()
		require.NoError(t, err)
		return v
	}
	e, k := a.Experts[layer], a.TopK[layer]
	g := []float64{1}
	if e > 1 {
		g = gates(get("router.router"), x, k)
	}
	_, out := description.SiteDims(site)
	y := make([]float64, out)
	for i, g := range g {
		n := string(rune('0' + i))
		h := times(get("lora_A_"+n), x)
		h32 := make([]float32, len(h))
		for j, v := range h {
			h32[j] = float32(v)
		}
		for j, v := range times(get("lora_B_"+n), h32) {
			y[j] += g * a.Scale() * v
		}
	}
	return y
}

// TestFusedFormIsTheLoop holds the fused products against the formula.
func TestFusedFormIsTheLoop(t *testing.T) {
	for _, c := range []struct {
		targets []model.Site
		topK    []int
		kind    moelora.Kind
	}{
		{model.Sites(), []int{1, 1, 2}, moelora.MoELoRA},
		{[]model.Site{model.K, model.Up}, []int{1, 1, 2}, moelora.MoELoRA},
		{model.Sites(), []int{1, 2, 5}, moelora.LoRAMoE},
	} {
		targets := c.targets
		a := fresh(t, []int{1, 2, 5}, c.topK, targets)
		a.Kind = c.kind
		values, err := a.Values()
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(3, 4))
		for layer := range 3 {
			for _, sites := range model.Groups() {
				in, _ := description.SiteDims(sites[0])
				const rows = 4
				x := make([]float32, rows*in)
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
				var present []model.Site
				got := call(t, a, tensors.FromFlatDataAndDimensions(x, rows, in), func(b *moelora.Bound, x *Node) []*Node {
					outs := []*Node{x}
					present = nil
					for i, d := range b.Delta(model.Group{Layer: layer, Sites: sites, X: x}) {
						if d != nil {
							outs, present = append(outs, d), append(present, sites[i])
						}
					}
					return outs
				})
				for i, site := range present {
					_, out := description.SiteDims(site)
					for row := range rows {
						want := loop(t, a, values, layer, site, x[row*in:(row+1)*in])
						for j, v := range want {
							require.InDelta(t, v, got[i+1][row*out+j], 1e-3+1e-4*math.Abs(v), "layer %d, %s, row %d", layer, site, row)
						}
					}
				}
				if len(targets) == 7 {
					require.Equal(t, sites, present)
				}
			}
		}
	}
}

// TestChosenTies holds that of equal entries the first ones win.
func TestChosenTies(t *testing.T) {
	rows := [][]float32{{1, 1, 1, 1}, {0, 2, 2, 2}, {3, 1, 3, 2}, {-1, -2, -1, -1}}
	want := map[int][][]float32{
		1: {{1, 0, 0, 0}, {0, 1, 0, 0}, {1, 0, 0, 0}, {1, 0, 0, 0}},
		2: {{1, 1, 0, 0}, {0, 1, 1, 0}, {1, 0, 1, 0}, {1, 0, 1, 0}},
		4: {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
	}
	for k, masks := range want {
		exec, err := NewExec(open(t).Backend, func(x *Node) *Node { return moelora.Chosen(x, k) })
		require.NoError(t, err)
		require.Equal(t, masks, exec.MustCall1(rows).Value())
	}
}

// TestBalance holds E/k · Σ f·P on router logits that are known.
func TestBalance(t *testing.T) {
	a := fresh(t, []int{1, 0, 3}, []int{1, 0, 2}, []model.Site{model.O})
	x := tensors.FromValue([][]float32{{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}})
	values, err := a.Values()
	require.NoError(t, err)
	router, err := values["base_model.model.model.layers.2.self_attn.o_proj.router.router.weight"].Float32s()
	require.NoError(t, err)
	share, mean := make([]float64, 3), make([]float64, 3)
	for row := range 2 {
		var logits [3]float64
		sum, lowest := 0.0, 0
		for e := range 3 {
			logits[e] = float64(router[e*12+row])
			sum += math.Exp(logits[e])
			if logits[e] < logits[lowest] {
				lowest = e
			}
		}
		for e := range 3 {
			mean[e] += math.Exp(logits[e]) / sum / 2
			if e != lowest {
				share[e] += 0.5
			}
		}
	}
	want := 0.0
	for e := range 3 {
		want += 3.0 / 2 * share[e] * mean[e]
	}
	got := call(t, a, x, func(b *moelora.Bound, x *Node) []*Node {
		for layer := range 3 {
			b.Delta(model.Group{Layer: layer, Sites: []model.Site{model.O}, X: x})
		}
		return b.Balance(x.Graph(), Scalar(x.Graph(), dtypes.Float32, 2))
	})
	require.Equal(t, float32(1), got[0][0], "one expert is always even")
	require.Equal(t, float32(0), got[1][0], "no expert, no loss")
	require.InDelta(t, want, got[2][0], 1e-5)
}

// base writes a tiny checkpoint and loads it.
func base(t *testing.T) *model.Model {
	m, err := model.NewRandom(open(t), description, "float32", 9)
	require.NoError(t, err)
	m.Dir = t.TempDir()
	require.NoError(t, m.Save(filepath.Join(m.Dir, "model.safetensors"), "float32"))
	return m
}

func TestSaveAndLoadAreExact(t *testing.T) {
	a := fresh(t, []int{1, 3, 0}, []int{1, 2, 0}, model.Sites())
	dir := t.TempDir()
	m := base(t)
	require.NoError(t, a.Save(dir, m, 0.05))
	b, err := moelora.Load(dir, m, 0)
	require.NoError(t, err)
	require.Equal(t, a.Shape, b.Shape)
	want, err := a.Values()
	require.NoError(t, err)
	got, err := b.Values()
	require.NoError(t, err)
	require.Equal(t, len(want), len(got))
	for name, tensor := range want {
		require.Equal(t, tensor.Data, got[name].Data, name)
	}
	one, err := moelora.Load(dir, m, 1)
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 0}, one.TopK)
}

func TestReleasedFormat(t *testing.T) {
	for _, family := range []string{"llama", "mistral", "gemma"} {
		t.Run(family, func(t *testing.T) { requireReleasedFormat(t, testkit.Shared(t, "reference", family)) })
	}
}

func requireReleasedFormat(t *testing.T, dir string) {
	m, err := model.Load(t.Context(), open(t), dir, "float32")
	require.NoError(t, err)
	a, err := moelora.Load(filepath.Join(dir, "adapter"), m, 0)
	require.NoError(t, err)
	require.Equal(t, []int{1, 3, 2, 5}, a.Experts)
	require.Equal(t, []int{1, 2, 2, 2}, a.TopK)
	out := t.TempDir()
	require.NoError(t, a.Save(out, m, 0))
	ours, err := weights.OpenFile(filepath.Join(out, moelora.WeightsFile))
	require.NoError(t, err)
	defer func() { _ = ours.Close() }()
	released, err := weights.OpenFile(filepath.Join(dir, "adapter", moelora.WeightsFile))
	require.NoError(t, err)
	defer func() { _ = released.Close() }()
	require.Equal(t, released.Fingerprint(), ours.Fingerprint(), "the same tensors, byte for byte")
}

func TestWrongAdaptersAreErrors(t *testing.T) {
	m := base(t)
	write := func(change func(list []weights.Tensor) []weights.Tensor, config func(string) string) string {
		dir := t.TempDir()
		a := fresh(t, []int{1, 2, 1}, []int{1, 2, 1}, []model.Site{model.Q})
		require.NoError(t, a.Save(dir, m, 0))
		values, err := a.Values()
		require.NoError(t, err)
		var list []weights.Tensor
		for _, v := range values {
			list = append(list, v)
		}
		require.NoError(t, weights.Write(filepath.Join(dir, moelora.WeightsFile), change(list), nil))
		path := filepath.Join(dir, moelora.ConfigFile)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(config(string(content))), 0o644))
		return dir
	}
	same := func(list []weights.Tensor) []weights.Tensor { return list }
	keep := func(s string) string { return s }
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			require.Contains(t, s, old)
			return strings.Replace(s, old, new, 1)
		}
	}
	extra := func(list []weights.Tensor) []weights.Tensor {
		x, err := weights.FromFloat32s("stranger", []int{1}, []float32{1}, weights.F32)
		require.NoError(t, err)
		return append(list, x)
	}
	poisoned := func(list []weights.Tensor) []weights.Tensor {
		x, err := weights.FromFloat32s(list[0].Name, list[0].Shape, make([]float32, list[0].Count()), weights.F32)
		require.NoError(t, err)
		copy(x.Data, "\x00\x00\xc0\x7f")
		return append(list[1:], x)
	}
	fingerprint, err := m.Fingerprint()
	require.NoError(t, err)
	for name, c := range map[string]struct{ dir, why string }{
		"missing":     {write(func(l []weights.Tensor) []weights.Tensor { return l[1:] }, keep), "lacks tensor"},
		"extra":       {write(extra, keep), "tensor stranger [1] is not expected"},
		"NaN":         {write(poisoned, keep), "is not finite"},
		"rank":        {write(same, replace(`"r": 2`, `"r": 3`)), "where [3 12] is expected"},
		"rank 0":      {write(same, replace(`"r": 2`, `"r": 0`)), "rank r is 0"},
		"top-k":       {write(same, replace("\"top_k\": [\n    1", "\"top_k\": [\n    2")), "top-k 2 with 1 experts"},
		"target":      {write(same, replace(`"q_proj"`, `"x_proj"`)), "target x_proj"},
		"fingerprint": {write(same, replace(fingerprint, strings.Repeat("cd", 32))), "fingerprint cdcdcdcd"},
		"version":     {write(same, replace(`"format_version": 2`, `"format_version": 3`)), "newer"},
		"JSON":        {write(same, func(string) string { return "{" }), "adapter_config.json"},
		"layers":      {write(same, replace("\"number_experts\": [\n    1,", "\"number_experts\": [\n    1, 1,")), "expert counts"},
		"absent":      {t.TempDir(), "cannot be read"},
	} {
		_, err := moelora.Load(c.dir, m, 0)
		require.ErrorContains(t, err, c.why, name)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), name)
	}
}

func TestCountsAreThePublishedRule(t *testing.T) {
	c := moelora.Count(description, moelora.Shape{Rank: 2, Alpha: 1, Experts: []int{1, 2, 0}, TopK: []int{1, 2, 0}, Targets: []model.Site{model.Q}})
	require.Equal(t, 3*(2*(12+12)+12), c.Trainable)
	require.Len(t, c.Sites, 21)
}
