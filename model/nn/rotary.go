package nn

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Positions is [B, T]: 0, 1, 2, … from the first token that is not left padding. pads [B]
// counts the padding of each row; nil for none.
func Positions(g *Graph, b, t int, pads *Node) *Node {
	p := Iota(g, shapeI32(b, t), 1)
	if pads != nil {
		p = MaxScalar(Sub(p, BroadcastToDims(Reshape(pads, b, 1), b, t)), int32(0))
	}
	return p
}

// RotaryAngles gives the cosines and sines of the rotary embedding, [B, T, 1, P] in f32:
// angle = position · inverse. positions [B, T]; inverse [1 or B, 1 or T, 1, P], the
// inverse frequencies of all rows, of each or of each token. Source: Su et al., 2021.
func RotaryAngles(positions, inverse *Node) (cos, sin *Node) {
	p := ConvertDType(InsertAxes(positions, -1, -1), dtypes.Float32) // [B, T, 1, 1]
	angle := Mul(p, inverse)
	return Cos(angle), Sin(angle)
}

// Rotate applies the rotary embedding to the first 2·P dimensions of x [B, T, heads, D],
// the two halves of those forming the pairs, as checkpoints expect.
func Rotate(x, cos, sin *Node) *Node {
	dtype := x.DType()
	half := cos.Shape().Dim(-1)
	lo := ConvertDType(SliceAxis(x, -1, AxisRangeFromStart(half)), dtypes.Float32)
	hi := ConvertDType(SliceAxis(x, -1, AxisRange(half, 2*half)), dtypes.Float32)
	parts := []*Node{
		ConvertDType(Sub(Mul(lo, cos), Mul(hi, sin)), dtype),
		ConvertDType(Add(Mul(hi, cos), Mul(lo, sin)), dtype),
	}
	if x.Shape().Dim(-1) > 2*half {
		parts = append(parts, SliceAxis(x, -1, AxisRangeToEnd(2*half)))
	}
	return Concatenate(parts, -1)
}
