package train

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// AdamW holds the optimiser's constants; its state is two f32 tensors a variable.
//
//	m ← β₁m + (1-β₁)g;  v ← β₂v + (1-β₂)g²
//	p ← p·(1 - lr·decay) - lr · m̂ / (√v̂ + ε),  m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ)
//
// Source: Loshchilov and Hutter, 2019; the constants and the place of ε as in torch.
type AdamW struct {
	Beta1, Beta2, Epsilon float64
	Decay                 float64 // of matrices; vectors (norms) never decay
}

// update returns the next p, m and v in f32 for a gradient already clipped. step counts
// from 1; both it and lr are f32 scalars.
func (o AdamW) update(p, m, v, g, lr, step *Node) (p1, m1, v1 *Node) {
	one := ScalarOne(p.Graph(), dtypes.Float32)
	beta := func(b float64) *Node { return Scalar(p.Graph(), dtypes.Float32, b) }
	m1 = Add(MulScalar(m, o.Beta1), MulScalar(g, 1-o.Beta1))
	v1 = Add(MulScalar(v, o.Beta2), MulScalar(Square(g), 1-o.Beta2))
	correct1 := Sub(one, Pow(beta(o.Beta1), step))
	correct2 := Sqrt(Sub(one, Pow(beta(o.Beta2), step)))
	denominator := AddScalar(Div(Sqrt(v1), correct2), o.Epsilon)
	p32 := ConvertDType(p, dtypes.Float32)
	if o.Decay != 0 && p.Rank() > 1 {
		p32 = Mul(p32, Sub(one, MulScalar(lr, o.Decay)))
	}
	p1 = Sub(p32, Mul(Div(lr, correct1), Div(m1, denominator)))
	return ConvertDType(p1, p.DType()), m1, v1
}

// clip scales the gradients so that their global norm is at most limit (0: no limit),
// as torch.nn.utils.clip_grad_norm_ does, and returns the norm before.
func clip(grads []*Node, limit float64) (norm *Node, clipped []*Node) {
	var sum *Node
	for _, g := range grads {
		s := ReduceAllSum(Square(g))
		if sum == nil {
			sum = s
		} else {
			sum = Add(sum, s)
		}
	}
	norm = Sqrt(sum)
	if limit == 0 {
		return norm, grads
	}
	limitNode := Scalar(norm.Graph(), dtypes.Float32, limit)
	factor := Min(Div(limitNode, AddScalar(norm, 1e-6)), ScalarOne(norm.Graph(), dtypes.Float32))
	for _, g := range grads {
		clipped = append(clipped, Mul(g, factor))
	}
	return norm, clipped
}

// Schedule gives the learning rate of each step.
type Schedule struct {
	Kind   string  // linear or constant, both after Warmup
	Peak   float64 // the rate at the end of the warm-up
	Warmup int     // steps of linear growth from 0
	Total  int     // steps of the run
}

// Rate is the learning rate of a step counted from 0. Linear is transformers'
// get_linear_schedule_with_warmup: 0 at step 0, Peak at step Warmup, and down to 0 after
// the last step.
func (s Schedule) Rate(step int) float64 {
	switch {
	case step < s.Warmup:
		return s.Peak * float64(step) / float64(max(1, s.Warmup))
	case s.Kind == "constant":
		return s.Peak
	default:
		return s.Peak * math.Max(0, float64(s.Total-step)/float64(max(1, s.Total-s.Warmup)))
	}
}
