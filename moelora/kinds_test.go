package moelora_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/nn"
	"alphalora/model/weights"
	"alphalora/moelora"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// shapeOf is an adapter of a kind on the test's model: 1, 3 and 0 experts where it mixes.
func shapeOf(k moelora.Kind) moelora.Shape {
	experts := []int{1, 3, 0}
	if k.Single {
		experts = []int{1, 1, 0}
	}
	return moelora.Shape{Kind: k, Rank: 2, Alpha: 6, Experts: experts, TopK: k.TopK(experts), Targets: model.Sites()}
}

// scramble gives every variable of an adapter random values; lengths stay above 0.
func scramble(a *moelora.Adapter, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for i, tensor := range a.Params.Tensors {
		values := make([]float32, tensor.Size())
		for j := range values {
			values[j] = float32(0.3 * rng.NormFloat64())
			if tensor.Rank() == 1 {
				values[j] = 0.5 + float32(math.Abs(float64(values[j])))
			}
		}
		a.Params.Tensors[i] = tensors.FromFlatDataAndDimensions(values, tensor.Shape().Dimensions...)
	}
}

// runner runs a graph over base weights, an adapter's variables and ids.
type runner struct {
	base *model.Model
	ids  [][]int32
}

// loss is a sum of logits with fixed signs, and whatever more of the graph is asked for.
func (r runner) graph(a *moelora.Adapter, more func(bound *moelora.Bound, base []*Node, owned []*Node, loss *Node) []*Node) ([]*tensors.Tensor, error) {
	exec, err := NewExec(r.base.Engine.Backend, func(inputs []*Node) []*Node {
		d := r.base.Decoder(nil)
		frozen := inputs[:r.base.Len()]
		var rest []*Node
		d.Weights, rest = r.base.Nodes(inputs)
		var bound *moelora.Bound
		var owned []*Node
		if a != nil {
			owned = rest[:a.Params.Len()]
			named, left := a.Params.Nodes(rest)
			bound, rest = a.Bind(named, moelora.Mode{}), left
			d.Delta = bound
		}
		logits := d.Logits(d.Forward(rest[0], nil))
		signs := Sin(ConvertDType(Iota(logits.Graph(), logits.Shape(), 0), logits.DType()))
		loss := ReduceAllSum(Mul(logits, Add(signs, Cos(logits))))
		return append([]*Node{logits}, more(bound, frozen, owned, loss)...)
	})
	if err != nil {
		return nil, err
	}
	var args []any
	for _, t := range r.base.Tensors {
		args = append(args, t)
	}
	if a != nil {
		for _, t := range a.Params.Tensors {
			args = append(args, t)
		}
	}
	return engine.Try1(func() []*tensors.Tensor { return exec.MustCall(append(args, r.ids)...) })
}

func (r runner) logits(t *testing.T, a *moelora.Adapter) []float32 {
	outs, err := r.graph(a, func(*moelora.Bound, []*Node, []*Node, *Node) []*Node { return nil })
	require.NoError(t, err)
	values, err := tensors.CopyFlatData[float32](outs[0])
	require.NoError(t, err)
	return values
}

func furthest(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// TestKinds is what every kind has to keep.
func TestKinds(t *testing.T) {
	m := base(t)
	r := runner{base: m, ids: [][]int32{{3, 14, 15, 9, 2}, {6, 5, 3, 5, 8}}}
	plain := r.logits(t, nil)
	for _, k := range moelora.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			a, err := moelora.New(m, shapeOf(k), 7)
			require.NoError(t, err)
			require.LessOrEqual(t, furthest(plain, r.logits(t, a)), 1e-6, "a fresh adapter changes nothing")
			scramble(a, 3)
			require.Greater(t, furthest(plain, r.logits(t, a)), 1e-2, "a trained one does")
			t.Run("gradients", func(t *testing.T) { requireFiniteDifferences(t, r, a) })
			t.Run("file", func(t *testing.T) { requireRoundTrip(t, r, a) })
			t.Run("count", func(t *testing.T) {
				stored := 0
				values, err := a.Values()
				require.NoError(t, err)
				for _, v := range values {
					stored += v.Count()
				}
				require.Equal(t, stored, moelora.Count(description, a.Shape).Trainable, "what the file holds is what is counted")
			})
			t.Run("rates", func(t *testing.T) {
				for i, rate := range a.Rates(0) {
					if k.RateRatio > 0 && a.Params.Tensors[i].Rank() == 2 && rate != 1 {
						require.Equal(t, k.RateRatio, rate)
					} else {
						require.Equal(t, 1.0, rate)
					}
				}
				require.Contains(t, a.Rates(4), 4.0)
			})
		})
	}
}

// requireFiniteDifferences holds gradients along random directions, and that every owned
// variable has one. DoRA's lengths of W + BA count as constants in its gradient: there
// the direction moves lengths alone.
func requireFiniteDifferences(t *testing.T, r runner, a *moelora.Adapter) {
	outs, err := r.graph(a, func(_ *moelora.Bound, _, owned []*Node, loss *Node) []*Node {
		return append([]*Node{loss}, Gradient(loss, owned...)...)
	})
	require.NoError(t, err)
	at := func(step float64) float64 {
		moved := &moelora.Adapter{Shape: a.Shape, Description: a.Description, Params: &model.Params{}, Idle: a.Idle}
		rng := rand.New(rand.NewPCG(5, 6))
		for i, name := range a.Params.Names {
			values, err := tensors.CopyFlatData[float32](a.Params.Tensors[i])
			require.NoError(t, err)
			for j := range values {
				d := rng.NormFloat64()
				if !a.Kind.Magnitude || a.Params.Tensors[i].Rank() == 1 {
					values[j] += float32(step * d)
				}
			}
			moved.Params.Add(name, tensors.FromFlatDataAndDimensions(values, a.Params.Tensors[i].Shape().Dimensions...))
		}
		o, err := r.graph(moved, func(_ *moelora.Bound, _, _ []*Node, loss *Node) []*Node { return []*Node{loss} })
		require.NoError(t, err)
		return float64(tensors.ToScalar[float32](o[1]))
	}
	rng := rand.New(rand.NewPCG(5, 6))
	want := 0.0
	for i, name := range a.Params.Names {
		g, err := tensors.CopyFlatData[float32](outs[2+i])
		require.NoError(t, err)
		size := 0.0
		for _, v := range g {
			size += math.Abs(float64(v))
			if d := rng.NormFloat64(); !a.Kind.Magnitude || a.Params.Tensors[i].Rank() == 1 {
				want += float64(v) * d
			}
		}
		require.Greater(t, size, 0.0, "%s has a gradient", name)
	}
	const h = 1e-3
	require.InEpsilon(t, want, (at(h)-at(-h))/(2*h), 2e-2)
}

// requireRoundTrip holds that a saved adapter loads as it was.
func requireRoundTrip(t *testing.T, r runner, a *moelora.Adapter) {
	dir := filepath.Join(t.TempDir(), "adapter")
	require.NoError(t, a.Save(dir, r.base, 0.05))
	b, err := moelora.Load(dir, r.base, 0)
	require.NoError(t, err)
	require.Equal(t, a.Shape, b.Shape)
	require.Equal(t, a.Idle, b.Idle)
	require.Equal(t, r.logits(t, a), r.logits(t, b))
	for i, name := range a.Params.Names {
		require.Equal(t, name, b.Params.Names[i])
		want, err := tensors.CopyFlatData[float32](a.Params.Tensors[i])
		require.NoError(t, err)
		got, err := tensors.CopyFlatData[float32](b.Params.Tensors[i])
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

// TestWrongShapesOfKinds holds the rules between a kind and its shape.
func TestWrongShapesOfKinds(t *testing.T) {
	for why, s := range map[string]moelora.Shape{
		"kind lora has one a layer":     {Kind: moelora.LoRA, Experts: []int{1, 2, 1}, TopK: []int{1, 1, 1}, Targets: model.Sites()},
		"but kind loramoe uses all":     {Kind: moelora.LoRAMoE, Experts: []int{1, 3, 1}, TopK: []int{1, 2, 1}, Targets: model.Sites()},
		"kind mixlora are without both": {Kind: moelora.MixLoRA, Experts: []int{1, 2, 1}, TopK: []int{1, 2, 1}, Targets: []model.Site{model.Q, model.Down}},
	} {
		s.Rank, s.Alpha = 2, 4
		require.ErrorContains(t, s.Check(description), why)
	}
	_, err := moelora.KindNamed("qlora")
	require.ErrorContains(t, err, "use one of moe-lora, lora, rslora, dora, lora-plus, loramoe, mixlora")
}

// weightsOf reads the base's projections [out, in] from its file.
func weightsOf(t *testing.T, m *model.Model, layer int, site model.Site) []float32 {
	set, err := weights.OpenFile(filepath.Join(m.Dir, "model.safetensors"))
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	w, ok := set.Get(site.WeightName(layer))
	require.True(t, ok)
	values, err := w.Float32s()
	require.NoError(t, err)
	return values
}

func valuesOf(t *testing.T, a *moelora.Adapter) func(layer int, module, part string) []float32 {
	values, err := a.Values()
	require.NoError(t, err)
	return func(layer int, module, part string) []float32 {
		name := fmt.Sprintf("base_model.model.model.layers.%d.%s.%s", layer, module, part)
		v, ok := values[name]
		require.True(t, ok, name)
		f, err := v.Float32s()
		require.NoError(t, err)
		return f
	}
}

// TestSingleKindsAreTheirMergedWeights puts the formula's weight in the base's place.
func TestSingleKindsAreTheirMergedWeights(t *testing.T) {
	for _, k := range moelora.Kinds() {
		if !k.Single {
			continue
		}
		m, merged := base(t), base(t)
		a, err := moelora.New(m, shapeOf(k), 7)
		require.NoError(t, err)
		scramble(a, 4)
		get := valuesOf(t, a)
		scale := map[string]float64{"rslora": 6 / math.Sqrt2}[k.Name]
		if scale == 0 {
			scale = 3
		}
		for i, p := range merged.Names {
			for layer := range 2 {
				for _, site := range model.Sites() {
					if p != site.WeightName(layer) {
						continue
					}
					w := weightsOf(t, m, layer, site)
					lowA, lowB := get(layer, site.Module(), "lora_A_0.weight"), get(layer, site.Module(), "lora_B_0.weight")
					in, out := description.SiteDims(site)
					for o := range out {
						length := 0.0
						for c := range in {
							w[o*in+c] += float32(scale * (float64(lowB[o*2])*float64(lowA[c]) + float64(lowB[o*2+1])*float64(lowA[in+c])))
							length += float64(w[o*in+c]) * float64(w[o*in+c])
						}
						for c := range in {
							if k.Magnitude {
								w[o*in+c] *= get(layer, site.Module(), "lora_magnitude_vector")[o] / float32(math.Sqrt(length))
							}
						}
					}
					merged.Tensors[i] = placed(w, out, in, merged.InOut)
				}
			}
		}
		ids := [][]int32{{3, 14, 15, 9, 2}, {6, 5, 3, 5, 8}}
		want := runner{base: merged, ids: ids}.logits(t, nil)
		got := runner{base: m, ids: ids}.logits(t, a)
		require.LessOrEqual(t, furthest(want, got), 2e-4, k.Name)
	}
}

// placed is a weight [out, in] as the model holds it.
func placed(w []float32, out, in int, turned bool) *tensors.Tensor {
	if !turned {
		return tensors.FromFlatDataAndDimensions(w, out, in)
	}
	values := make([]float32, len(w))
	for o := range out {
		for c := range in {
			values[c*out+o] = w[o*in+c]
		}
	}
	return tensors.FromFlatDataAndDimensions(values, in, out)
}

// TestMixLoRAIsTheLoop holds the shared products against whole MLPs, one after the other.
func TestMixLoRAIsTheLoop(t *testing.T) {
	m := base(t)
	const layer, rows = 1, 4
	a, err := moelora.New(m, shapeOf(moelora.MixLoRA), 7)
	require.NoError(t, err)
	scramble(a, 5)
	rng := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, rows*12)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	got := call(t, a, tensors.FromFlatDataAndDimensions(x, rows, 12), func(b *moelora.Bound, x *Node) []*Node {
		return []*Node{b.MLP(layer, x, model.MLP{Activate: nn.SiLU, Linear: func(site model.Site, x *Node) *Node {
			in, out := description.SiteDims(site)
			return nn.Linear(x, Reshape(Const(x.Graph(), weightsOf(t, m, layer, site)), out, in))
		}})}
	})[0]
	get := valuesOf(t, a)
	for row := range rows {
		in := x[row*12 : (row+1)*12]
		want := make([]float64, 12)
		for e, gate := range gates(get(layer, "mlp", "router.router.weight"), in, 2) {
			expert := func(site model.Site, x []float32) []float64 {
				y := times(weightsOf(t, m, layer, site), x)
				low := times(get(layer, site.Module(), fmt.Sprintf("lora_A_%d.weight", e)), x)
				for i, v := range times(get(layer, site.Module(), fmt.Sprintf("lora_B_%d.weight", e)), narrow(low)) {
					y[i] += 3 * v
				}
				return y
			}
			g, u := expert(model.Gate, in), expert(model.Up, in)
			for i := range g {
				g[i] = g[i] / (1 + math.Exp(-g[i])) * u[i]
			}
			for i, v := range expert(model.Down, narrow(g)) {
				want[i] += gate * v
			}
		}
		for i, v := range want {
			require.InDelta(t, v, got[row*12+i], 1e-3+1e-4*math.Abs(v), "row %d", row)
		}
	}
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// TestMasks holds that dropout drops what it should, scales the rest, draws another mask
// for another key, place in the graph and expert, and the same one again for the same.
func TestMasks(t *testing.T) {
	m := base(t)
	s := shapeOf(moelora.MoELoRA)
	s.Rank = 12 // A is the unit matrix, so that what is dropped shows in Δ
	a, err := moelora.New(m, s, 1)
	require.NoError(t, err)
	for i := range a.Params.Names {
		dims := a.Params.Tensors[i].Shape().Dimensions
		values := make([]float32, a.Params.Tensors[i].Size())
		for j := range values {
			if row, col := j/dims[1], j%dims[1]; row%12 == col {
				values[j] = 1
			}
		}
		a.Params.Tensors[i] = tensors.FromFlatDataAndDimensions(values, dims...)
	}
	const rows, p = 2000, 0.25
	ones := make([]float32, rows*12)
	for i := range ones {
		ones[i] = 1
	}
	draw := func(key uint32, apart bool) [][]float32 {
		exec, err := NewExec(open(t).Backend, func(inputs []*Node) []*Node {
			params, rest := a.Params.Nodes(inputs)
			b := a.Bind(params, moelora.Mode{Dropout: p, Key: rest[1], MaskPerExpert: apart})
			one := b.Delta(model.Group{Layer: 0, Sites: []model.Site{model.Q, model.K, model.V}, X: rest[0]})
			return append(one[:2], b.Delta(model.Group{Layer: 0, Sites: []model.Site{model.O}, X: rest[0]})...)
		})
		require.NoError(t, err)
		var args []any
		for _, v := range a.Params.Tensors {
			args = append(args, v)
		}
		outs := exec.MustCall(append(args, tensors.FromFlatDataAndDimensions(ones, rows, 12), key)...)
		var all [][]float32
		for _, o := range outs {
			v, err := tensors.CopyFlatData[float32](o)
			require.NoError(t, err)
			all = append(all, v)
		}
		return all
	}
	// q has 12 outputs, k the first 4 of the same mask, o again 12
	first, again, other, apart := draw(1, false), draw(1, false), draw(2, false), draw(1, true)
	require.Equal(t, first, again)
	for _, outs := range [][][]float32{first, other, apart} {
		for i, width := range []int{12, 4, 12} {
			dropped := 0.0
			for _, v := range outs[i] {
				if v == 0 {
					dropped++
				} else {
					require.InDelta(t, 6.0/12/(1-p), v, 1e-5)
				}
			}
			n := float64(rows * width)
			require.InDelta(t, p, dropped/n, 5*math.Sqrt(p*(1-p)/n))
		}
	}
	alike := func(a, b []float32, stride int) float64 { // how often two masks agree
		same := 0.0
		for i := range b {
			if (a[i/stride*12+i%stride] == 0) == (b[i] == 0) {
				same++
			}
		}
		return same / float64(len(b))
	}
	independent := p*p + (1-p)*(1-p)
	bound := 5 * math.Sqrt(independent*(1-independent)/(rows*4))
	require.Equal(t, 1.0, alike(first[0], first[1], 4), "one input, one mask")
	require.InDelta(t, independent, alike(apart[0], apart[1], 4), bound, "each expert its own mask")
	require.InDelta(t, independent, alike(first[0], first[2], 12), bound, "another input, another mask")
	require.InDelta(t, independent, alike(first[0], other[0], 12), bound, "another key, another mask")
	require.InDelta(t, independent, alike(first[0][12:], first[0][:(rows-1)*12], 12), bound, "neighbours have nothing in common")
}
