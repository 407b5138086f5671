package model

import (
	"alphalora/model/nn"
	"alphalora/model/quant"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// quantised is a projection's weight inside a graph, in few bits. It is made whole anew
// wherever it is used, so that one layer's weights at a time are whole.
type quantised struct {
	kind    quant.Kind
	pieces  []*Node // as of [quant.Kind.Pieces]
	out, in int
}

// quantised finds a projection's pieces; false where it is stored whole.
func (d *Decoder) quantised(layer int, site Site) (q quantised, ok bool) {
	q.kind = d.Quant
	q.in, q.out = d.SiteDims(site)
	for _, p := range d.Quant.Pieces(q.out, q.in) {
		q.pieces = append(q.pieces, d.Weights[site.WeightName(layer)+p.Suffix])
	}
	return q, len(q.pieces) > 0
}

// product is x·Wᵀ, whose gradient reaches x alone: [N, in] → [N, out].
//
// The gradient of the engine's own product would hold the whole weight from the forward to
// the backward pass. So the product is cut off from it, and a sum of 0 takes its place,
// whose gradient is computed from the pieces again.
func (q quantised) product(x *Node) *Node {
	y := StopGradient(nn.Linear(x, q.weight(x)))
	wide := Concatenate([]*Node{x, ZerosLike(y)}, 1) // [N, in + out]
	wide = IdentityWithCustomGradient(wide, func(_, v *Node) *Node {
		dy := SliceAxis(v, 1, AxisRangeToEnd(q.in))
		return Concatenate([]*Node{nn.Product(dy, q.weight(dy)), ZerosLike(dy)}, 1)
	})
	return Add(y, SliceAxis(wide, 1, AxisRangeToEnd(q.in)))
}

// weight is the whole weight [out, in] in the number format of after, and not made before
// that is; in f32 for nil.
func (q quantised) weight(after *Node) *Node {
	codes, dtype := q.pieces[0], dtypes.Float32
	if after != nil {
		codes, dtype = follow(codes, after), after.DType()
	}
	var w *Node
	if q.kind == quant.Int8 {
		w = Mul(ConvertDType(codes, dtypes.Float32), ExpandAxes(q.pieces[1], -1))
	} else {
		w = q.blocks(codes)
	}
	return ConvertDType(w, dtype)
}

// blocks restores nf4: codes [blocks, Block/2] → [out, in].
func (q quantised) blocks(codes *Node) *Node {
	g, blocks := codes.Graph(), codes.Shape().Dim(0)
	shape := shapes.Make(dtypes.Uint8, blocks, quant.Block/2, 2)
	pairs := BroadcastToDims(ExpandAxes(codes, -1), shape.Dimensions...)
	shift := MulScalar(OneMinus(Iota(g, shape, 2)), 4) // the first of two is in the upper half
	each := Reshape(BitwiseAnd(BitwiseShiftRightLogical(pairs, shift), Scalar(g, dtypes.Uint8, 15)), blocks, quant.Block)
	w := Mul(choose(each, quant.NF4), BroadcastToDims(ExpandAxes(q.sizes(blocks), -1), blocks, quant.Block))
	if n := q.out * q.in; n < blocks*quant.Block {
		w = SliceAxis(Reshape(w, blocks*quant.Block), 0, AxisRangeFromStart(n))
	}
	return Reshape(w, q.out, q.in)
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
