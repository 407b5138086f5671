package moelora

import (
	"alphalora/model"
	"alphalora/model/nn"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// MixLoRA makes each expert a whole MLP: the base's, with LoRA on its projections. One
// router before the MLP chooses:
//
//	g_e as in moe-lora, of R·x;  h_e = act(W_g·x + Δ_{g,e}(x)) · (W_u·x + Δ_{u,e}(x))
//	y = Σ_e g_e · (W_d·h_e + Δ_{d,e}(h_e)) = W_d·Σ_e g_e·h_e + Σ_e Δ_{d,e}(g_e·h_e)
//
// The products with the base's weights are computed once, not once an expert: those of
// gate and up have the same input for all, and W_d is linear. Attention has plain LoRA.
//
// Source: Li et al., MixLoRA, 2024.
var MixLoRA = Kind{Name: "mixlora", SharedRouter: true}

// MLP implements [model.MLPDelta]: x [N, C] → [N, C], nil where no choice is to be made.
func (b *Bound) MLP(layer int, x *Node, m model.MLP) *Node {
	pair := b.targeted([]model.Site{model.Gate, model.Up})
	if !b.Kind.SharedRouter || b.Experts[layer] < 2 || len(pair) == 0 {
		return nil
	}
	hidden, logits := b.down(layer, pair, x)                       // [N, sites, E, r], [N, 1, E]
	gates := Squeeze(b.route(layer, pair[:1], logits), 1)          // [N, E]
	gates = ConvertDType(TransposeAllDims(gates, 1, 0), x.DType()) // [E, N]
	branch := func(site model.Site) *Node {                        // [E, N, F], or [1, N, F] without experts
		y := ExpandAxes(m.Linear(site, x), 0)
		for j, s := range pair {
			if s == site {
				y = Add(y, b.upEach(layer, site, Squeeze(SliceAxis(hidden, 1, AxisElem(j)), 1)))
			}
		}
		return y
	}
	h := Mul(Mul(m.Activate(branch(model.Gate)), branch(model.Up)), ExpandAxes(gates, -1)) // [E, N, F]
	y := m.Linear(model.Down, ReduceSum(h, 0))
	if len(b.targeted([]model.Site{model.Down})) > 0 {
		y = Add(y, b.downEach(layer, h))
	}
	return y
}

// upEach is each expert's scaled product with its B, apart: [N, E, r] → [E, N, out].
func (b *Bound) upEach(layer int, site model.Site, hidden *Node) *Node {
	w := ConvertDType(b.params[upName(layer, site)], hidden.DType()) // [E·r, out]
	w = Reshape(w, b.Experts[layer], b.Rank, w.Shape().Dim(1))
	return MulScalar(nn.Contract(hidden, []int{2}, []int{1}, w, []int{1}, []int{0}), b.Shape.Scale())
}

// downEach is the sum of what the experts add to the down projection: h [E, N, F], gated
// already → [N, C].
func (b *Bound) downEach(layer int, h *Node) *Node {
	e, n := h.Shape().Dim(0), h.Shape().Dim(1)
	a := ConvertDType(b.params[downName(layer, []model.Site{model.Down})], h.DType()) // [E·r, F]
	a = Reshape(a, e, b.Rank, a.Shape().Dim(1))
	low := nn.Contract(b.drop(h), []int{2}, []int{0}, a, []int{2}, []int{0}) // [E, N, r]
	low = Reshape(TransposeAllDims(low, 1, 0, 2), n, 1, e, b.Rank)
	return b.up(layer, model.Down, MulScalar(low, b.Shape.Scale()))
}
