package model

import (
	"fmt"

	"alphalora/internal/fault"
	"alphalora/model/nn"
	"alphalora/model/quant"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// quantised is a projection's weight inside a graph, in few bits. It is made whole anew
// wherever it is used, so that one layer's weights at a time are whole.
type quantised struct {
	kind    quant.Kind
	pieces  []*Node // as of [quant.Kind.Pieces]
	out, in int
	again   bool // the codes are divided, and their layer is computed again in the backward pass
}

// quantised finds a projection's pieces; false where it is stored whole.
func (d *Decoder) quantised(layer int, site Site) (q quantised, ok bool) {
	q.kind = d.Quant
	q.in, q.out = d.SiteDims(site)
	for _, p := range d.Quant.Pieces(q.out, q.in) {
		q.pieces = append(q.pieces, d.Weights[site.WeightName(layer)+p.Suffix])
	}
	if len(q.pieces) == 0 {
		return q, false
	}
	q.again = d.Checkpoint && divided(q.pieces[0])
	return q, true
}

// storable refuses what a kind cannot store: two values of nf4 share a byte, in one row.
func (d Description) storable(kind quant.Kind) error {
	for _, site := range Sites() {
		if in, _ := d.SiteDims(site); kind == quant.FourBit && in%2 != 0 {
			return fault.Input(fmt.Sprintf("model_quant %s", kind), "use int8", "%s has %d inputs, an odd number", site, in)
		}
	}
	return nil
}

// product is x·Wᵀ, whose gradient reaches x alone: [N, in] → [N, out].
//
// The gradient of the engine's own product would hold the whole weight from the forward to
// the backward pass. So the product is cut off from it, and a sum of 0 takes its place,
// whose gradient is computed from the pieces again.
func (q quantised) product(x *Node) *Node {
	codes := q.codes(x)
	xs, ws := q.split(x), q.parts(codes, x.DType())
	y := nn.Linear(xs[0], ws[0])
	for i := 1; i < len(ws); i++ {
		y = Add(y, nn.Linear(xs[i], ws[i]))
	}
	wide := Concatenate([]*Node{x, ZerosLike(y)}, 1) // [N, in + out]
	if q.again {                                     // what is computed again of wide then has the codes among its inputs
		wide = SchedulingBarrier(wide, codes)
	}
	wide = IdentityWithCustomGradient(wide, func(wide, v *Node) *Node {
		dy := SliceAxis(v, 1, AxisRangeToEnd(q.in))
		codes := q.codes(dy)
		if q.again { // put together once for both products
			codes = follow(OptimizationBarrier(wide.Inputs()[0].Inputs()[1]), dy) // clones lose theirs
		}
		dx := q.parts(codes, dy.DType())
		for i, w := range dx {
			dx[i] = nn.Product(dy, w)
		}
		return Concatenate([]*Node{q.join(dx), ZerosLike(dy)}, 1)
	})
	return Add(StopGradient(y), SliceAxis(wide, 1, AxisRangeToEnd(q.in)))
}

// weight is the whole weight [out, in] in the number format of after, and not made before
// that is; in f32 for nil.
func (q quantised) weight(after *Node) *Node {
	dtype := dtypes.Float32
	if after != nil {
		dtype = after.DType()
	}
	return q.join(q.parts(q.codes(after), dtype))
}

// codes are the first piece, put together where it is divided over devices, and not before
// after is there, if that is not nil. The barrier keeps XLA from restoring the parts first.
func (q quantised) codes(after *Node) *Node {
	codes := q.pieces[0]
	if after != nil {
		codes = follow(codes, after)
	}
	if divided(codes) {
		codes = OptimizationBarrier(together(codes, nil))
	}
	return codes
}

// parts is the weight of codes in as many matrices as [quantised.split] makes of its input.
// The two of nf4 are the upper and the lower halves of its bytes, each of which XLA restores
// many values at once; taking turns, it does it one by one.
func (q quantised) parts(codes *Node, dtype dtypes.DType) []*Node {
	if q.kind == quant.Int8 {
		return []*Node{ConvertDType(Mul(ConvertDType(codes, dtypes.Float32), ExpandAxes(q.pieces[1], -1)), dtype)}
	}
	g, blocks := codes.Graph(), codes.Shape().Dim(0)
	size := BroadcastToDims(ExpandAxes(q.sizes(blocks), -1), blocks, quant.Block/2)
	halves := []*Node{BitwiseShiftRightLogical(codes, Scalar(g, dtypes.Uint8, 4)), BitwiseAnd(codes, Scalar(g, dtypes.Uint8, 15))}
	for i, half := range halves {
		w := Reshape(Mul(choose(half, quant.NF4), size), blocks*quant.Block/2)
		w = SliceAxis(w, 0, AxisRangeFromStart(q.out*q.in/2)) // the last block may be longer
		halves[i] = ConvertDType(Reshape(w, q.out, q.in/2), dtype)
	}
	return halves
}

// split divides the last axis for the parts: nf4's into its even and its odd places, which
// share bytes.
func (q quantised) split(x *Node) []*Node {
	if q.kind == quant.Int8 {
		return []*Node{x}
	}
	pairs := Reshape(x, x.Shape().Dim(0), q.in/2, 2)
	return []*Node{Squeeze(SliceAxis(pairs, 2, AxisElem(0)), 2), Squeeze(SliceAxis(pairs, 2, AxisElem(1)), 2)}
}

// join is the inverse of split.
func (q quantised) join(parts []*Node) *Node {
	if len(parts) == 1 {
		return parts[0]
	}
	return Reshape(Stack(parts, -1), parts[0].Shape().Dim(0), q.in)
}

// sizes restores the blocks' sizes [blocks].
func (q quantised) sizes(blocks int) *Node {
	codes, nested, offset := q.pieces[1], q.pieces[2], q.pieces[3]
	n := nested.Shape().Dim(0)
	each := Reshape(BroadcastToDims(ExpandAxes(nested, -1), n, quant.Nested), n*quant.Nested)
	each = SliceAxis(each, 0, AxisRangeFromStart(blocks))
	level := Gather(Const(codes.Graph(), quant.Dynamic), ExpandAxes(ConvertDType(codes, dtypes.Int32), -1))
	return Add(Mul(level, each), offset)
}

// choose is levels[code] by a tree of comparisons, one a bit, which XLA runs on many values
// at once; a gather it does one by one. len(levels) is a power of two.
func choose(codes *Node, levels []float32) *Node {
	g, half := codes.Graph(), len(levels)/2
	if half == 0 {
		return BroadcastToDims(Const(g, levels[0]), codes.Shape().Dimensions...)
	}
	upper := NotEqual(BitwiseAnd(codes, Scalar(g, codes.DType(), half)), ScalarZero(g, codes.DType()))
	return Where(upper, choose(codes, levels[half:]), choose(codes, levels[:half]))
}

// follow is codes, but known only when after is: otherwise XLA restores all weights at once,
// before the loop that decodes tokens or in the forward pass for the backward one. What is
// added is 0 but for NaN, a loss of which nothing is left anyway; XLA, which takes out
// barriers before it shares and moves what is alike, must leave that.
func follow(codes, after *Node) *Node {
	first := make([]SliceAxisSpec, after.Rank())
	for i := range first {
		first[i] = AxisElem(0)
	}
	one := Reshape(Slice(after, first...))
	return Add(codes, ConvertDType(NotEqual(one, one), codes.DType()))
}

// Bytes is what the weights take where a value has so many bytes and the projections are
// stored as kind says.
func (d Description) Bytes(value int, kind quant.Kind) int64 {
	whole, few := d.Parameters(), 0
	if kind == quant.None {
		return int64(value) * int64(whole)
	}
	for _, site := range Sites() {
		in, out := d.SiteDims(site)
		whole, few = whole-d.Layers*in*out, few+d.Layers*kind.Bytes(out, in)
	}
	return int64(value)*int64(whole) + int64(few)
}
