package nn_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model/nn"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// array is a small tensor of random values.
func array(seed uint64, dims ...int) *tensors.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	rng := rand.New(rand.NewPCG(seed, 5))
	flat := make([]float32, n)
	for i := range flat {
		flat[i] = float32(rng.NormFloat64())
	}
	return tensors.FromFlatDataAndDimensions(flat, dims...)
}

func flat(t *testing.T, x *tensors.Tensor) []float64 {
	values, err := tensors.CopyFlatData[float32](x)
	require.NoError(t, err)
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return wide
}

var opened = sync.OnceValues(func() (*engine.Engine, error) { return engine.Open("") })

// hold runs build and compares its result with want.
func hold(t *testing.T, want []float64, build func([]*Node) *Node, args ...any) {
	t.Helper()
	eng, err := opened() // tensors belong to one engine
	require.NoError(t, err)
	got, err := engine.Try1(func() *tensors.Tensor {
		return MustNewExec(eng.Backend, func(in []*Node) []*Node { return []*Node{build(in)} }).MustCall(args...)[0]
	})
	require.NoError(t, err)
	values := flat(t, got)
	require.Len(t, values, len(want))
	for i, v := range values {
		require.InDelta(t, want[i], v, 2e-5, "value %d", i)
	}
}

func TestProducts(t *testing.T) {
	x, w := array(1, 3, 5), array(2, 4, 5)
	a, b := flat(t, x), flat(t, w)
	var want, turned []float64
	for n := range 3 {
		for o := range 4 {
			sum := 0.0
			for i := range 5 {
				sum += a[n*5+i] * b[o*5+i]
			}
			want = append(want, sum)
		}
	}
	hold(t, want, func(in []*Node) *Node { return nn.Linear(in[0], in[1]) }, x, w)
	for i := range 5 {
		for o := range 4 {
			turned = append(turned, b[o*5+i])
		}
	}
	values := make([]float32, len(turned))
	for i, v := range turned {
		values[i] = float32(v)
	}
	hold(t, want, func(in []*Node) *Node { return nn.Product(in[0], in[1]) }, x, tensors.FromFlatDataAndDimensions(values, 5, 4))
}

func TestRMSNorm(t *testing.T) {
	x, w := array(3, 4, 6), array(4, 6)
	a, b := flat(t, x), flat(t, w)
	for _, offset := range []float64{0, 1} {
		var want []float64
		for n := range 4 {
			sum := 0.0
			for i := range 6 {
				sum += a[n*6+i] * a[n*6+i]
			}
			for i := range 6 {
				want = append(want, a[n*6+i]/math.Sqrt(sum/6+0.01)*(b[i]+offset))
			}
		}
		hold(t, want, func(in []*Node) *Node { return nn.RMSNorm(in[0], in[1], 0.01, offset) }, x, w)
	}
}

func TestActivationsAndCap(t *testing.T) {
	x := array(5, 40)
	for name, c := range map[string]struct {
		graph func(*Node) *Node
		naive func(float64) float64
	}{
		"SiLU": {nn.SiLU, func(v float64) float64 { return v / (1 + math.Exp(-v)) }},
		"GELU": {nn.GELU, func(v float64) float64 { return v / 2 * (1 + math.Erf(v/math.Sqrt2)) }},
		"tanh GELU": {nn.GELUTanh, func(v float64) float64 {
			return v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		}},
		"soft cap": {func(x *Node) *Node { return nn.SoftCap(x, 0.7) }, func(v float64) float64 { return 0.7 * math.Tanh(v/0.7) }},
	} {
		t.Run(name, func(t *testing.T) {
			var want []float64
			for _, v := range flat(t, x) {
				want = append(want, c.naive(v))
			}
			hold(t, want, func(in []*Node) *Node { return c.graph(in[0]) }, x)
		})
	}
}

// TestAttention holds grouped queries, the scale, the cap and the mask against loops.
func TestAttention(t *testing.T) {
	const b, tt, s, h, kv, d = 2, 3, 4, 4, 2, 5
	const scale, limit = 0.3, 1.5
	q, k, v := array(6, b, tt, h, d), array(7, b, kv, s, d), array(8, b, kv, s, d)
	visible := make([]bool, b*tt*s)
	for i := range visible {
		visible[i] = i%s <= (i/s)%tt+1 && (i/(tt*s) == 0 || i%s > 0)
	}
	fq, fk, fv := flat(t, q), flat(t, k), flat(t, v)
	for _, capped := range []float64{0, limit} {
		var want []float64
		for row := range b {
			for at := range tt {
				for head := range h {
					weights, total := make([]float64, s), 0.0
					for key := range s {
						if !visible[(row*tt+at)*s+key] {
							continue
						}
						score := 0.0
						for i := range d {
							score += fq[((row*tt+at)*h+head)*d+i] * fk[((row*kv+head/(h/kv))*s+key)*d+i]
						}
						score *= scale
						if capped > 0 {
							score = capped * math.Tanh(score/capped)
						}
						weights[key] = math.Exp(score)
						total += weights[key]
					}
					for i := range d {
						sum := 0.0
						for key := range s {
							sum += weights[key] / total * fv[((row*kv+head/(h/kv))*s+key)*d+i]
						}
						want = append(want, sum)
					}
				}
			}
		}
		hold(t, want, func(in []*Node) *Node { return nn.Attention(in[0], in[1], in[2], in[3], scale, capped) },
			q, k, v, tensors.FromFlatDataAndDimensions(visible, b, tt, s))
	}
}

func TestLogProb(t *testing.T) {
	logits := array(9, 3, 7)
	f := flat(t, logits)
	ids := []int32{6, 0, 3}
	var want []float64
	for n, id := range ids {
		sum := 0.0
		for i := range 7 {
			sum += math.Exp(f[n*7+i])
		}
		want = append(want, f[n*7+int(id)]-math.Log(sum))
	}
	hold(t, want, func(in []*Node) *Node { return nn.LogProb(in[0], in[1]) }, logits, tensors.FromFlatDataAndDimensions(ids, 3))
}

// TestWindow holds what a query sees: nothing ahead, no padding, no more than the window.
func TestWindow(t *testing.T) {
	pads := tensors.FromFlatDataAndDimensions([]int32{0, 2}, 2)
	query := make([]int32, 2*5*5)
	var want []float64
	for i := range query {
		at, key, row := i/5%5, i%5, i/25
		query[i] = int32(at)
		seen := 0.0
		if key <= at && at-key < 3 && key >= 2*row {
			seen = 1
		}
		want = append(want, seen)
	}
	hold(t, want, func(in []*Node) *Node {
		distances := nn.Distances(in[0])
		return ConvertDType(nn.Within(nn.Visible(distances, in[1]), distances, 3), in[2].DType())
	}, tensors.FromFlatDataAndDimensions(query, 2, 5, 5), pads, array(1, 1))
}
