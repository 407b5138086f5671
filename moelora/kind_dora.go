package moelora

import (
	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// DoRA learns the direction of W + s·BA and the length m of each of its rows apart:
//
//	y = m/‖W + s·BA‖ · (W + s·BA)·x,  s = α/r, m at first the length of W's rows
//
// The length in the denominator has no gradient, as in the paper's section 4.3. Dropout
// touches what goes through A alone.
//
// Source: Liu et al., DoRA, ICML 2024.
var DoRA = Kind{Name: "dora", Single: true, Magnitude: true}

// redirect turns what a plain expert adds into what DoRA adds: both [N, out].
func (b *Bound) redirect(g model.Group, i int, added *Node) *Node {
	site, base := g.Sites[i], g.Base[i]
	a := SliceAxis(b.params[downName(g.Layer, b.targeted(g.Sites))], 0, AxisRange(b.rowsBefore(g, site), b.rowsBefore(g, site)+b.Rank))
	length := StopGradient(rowLengths(g.Weight(i), a, b.params[upName(g.Layer, site)], b.Shape.Scale()))
	ratio := ConvertDType(Div(b.params[magnitudeName(g.Layer, site)], length), base.DType()) // [out]
	ratio = ExpandLeftToRank(ratio, 2)
	return Add(Mul(AddScalar(ratio, -1), base), Mul(ratio, added))
}

// rowsBefore is where the rows of a site begin in its group's A.
func (b *Bound) rowsBefore(g model.Group, site model.Site) int {
	rows := 0
	for _, s := range b.targeted(g.Sites) {
		if s == site {
			break
		}
		rows += b.Rank
	}
	return rows
}

// rowLengths is ‖W + s·BA‖ of each row [out], without the product BA: w [out, in],
// a [r, in], up [r, out] (B turned).
//
//	‖w + s·ba‖² = ‖w‖² + 2s · b·(A·w) + s² · b·(A·Aᵀ)·b
func rowLengths(w, a, up *Node, scale float64) *Node {
	w, a = ConvertDType(w, dtypes.Float32), ConvertDType(a, dtypes.Float32)
	squares := ReduceSum(Square(w), 1)
	across := ReduceSum(Mul(up, nn.Contract(a, []int{1}, nil, w, []int{1}, nil)), 0) // [r, out] summed
	gram := nn.Contract(a, []int{1}, nil, a, []int{1}, nil)                          // [r, r]
	within := ReduceSum(Mul(up, nn.Contract(gram, []int{1}, nil, up, []int{0}, nil)), 0)
	return Sqrt(Add(squares, Add(MulScalar(across, 2*scale), MulScalar(within, scale*scale))))
}

// lengths measures the rows of the base's weights at a fresh adapter's sites.
func lengths(base *model.Model, s Shape) (map[string][]float32, error) {
	var names []string
	build := func(inputs []*Node) []*Node {
		d := base.Decoder(nil)
		d.Weights, _ = base.Nodes(inputs)
		var outs []*Node
		names = nil
		for layer := range s.Experts {
			for _, site := range s.targeted(model.Sites()) {
				if s.experts(layer, site) == 0 {
					continue
				}
				w := ConvertDType(d.Weight(layer, site, nil), dtypes.Float32)
				names, outs = append(names, magnitudeName(layer, site)), append(outs, Sqrt(ReduceSum(Square(w), 1)))
			}
		}
		return outs
	}
	out := map[string][]float32{}
	err := engine.Try(func() {
		exec := MustNewExec(base.Engine.Backend, build)
		defer exec.Finalize()
		args := make([]any, base.Len())
		for i, t := range base.Tensors {
			args[i] = t
		}
		for i, t := range exec.MustCall(args...) {
			values, err := model.Float32s(t)
			if err != nil {
				panic(err)
			}
			out[names[i]] = values
			_ = t.FinalizeAll()
		}
	})
	return out, err
}
